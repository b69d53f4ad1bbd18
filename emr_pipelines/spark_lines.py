"""What differs between lines of Spark, and between the EMR releases that run them: all of it, in tables.

A line is a minor line of Spark, such as 3.5, with the releases that run it. EMR numbers its releases in two families,
whose numbers are unrelated: emr-x.y.z runs Spark 2 and 3, emr-spark-x.y.z runs Spark 4. A release newer than those
known here is judged as the newest known one of its family.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import NamedTuple

Version = tuple[int, ...]

LABEL = re.compile(r"(emr|emr-spark)-(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
IN_USR_BIN = re.compile(r"/usr/bin/python(3\.\d+)")
PYTHON_3_11 = "/usr/bin/python3.11"  # releases from 7.0 on have it; the system's own is too old for Dagster Pipes
GUIDE = "https://docs.aws.amazon.com/emr/latest/ReleaseGuide"
MANAGEMENT = "https://docs.aws.amazon.com/emr/latest/ManagementGuide"
SERVERLESS = "https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide"
SPARK = "https://spark.apache.org/docs"


class Line(NamedTuple):
    """A line of Spark on this machine.

    newest: the newest known release that runs it, which is a cluster's default.
    javas: the oldest and the newest Java that it runs on here.
    pyspark: what pip installs for this line.
    needs_vector_module: whether it asks Java for a module that small Javas lack (see runners/vector_module.py).
    """

    spark: str
    newest: str
    javas: tuple[int, int]
    pyspark: str
    needs_vector_module: bool
    source: str


LINES = (
    # from Java 21 on the Arrow library in Spark 3.5 fails, for java.nio.DirectByteBuffer(long, int) is gone
    Line("3.5", "emr-7.14.0", (17, 20), "pyspark<4", False, f"{GUIDE}/emr-release-7x.html"),
    Line("4.0", "emr-spark-8.0.0", (17, 21), "pyspark==4.0.*", True, f"{SPARK}/4.0.2/index.html"),
    Line("4.1", "emr-spark-8.1.0", (17, 21), "pyspark==4.1.*", True, f"{SPARK}/4.1.1/index.html"),
)


class Release(NamedTuple):
    """What EMR's releases have from this one on, until the next of its family.

    pythons: those in /usr/bin of each instance. java: the one that Spark runs on.
    """

    first: str
    spark: str
    pythons: tuple[str, ...]
    java: int
    source: str


HISTORY = f"{GUIDE}/Spark-release-history.html"
RELEASES = (
    Release("emr-5.0.0", "2", ("2.7", "3.4"), 8, HISTORY),
    Release("emr-5.20.0", "2.4", ("2.7", "3.6"), 8, HISTORY),
    Release("emr-5.30.0", "2.4", ("2.7", "3.7"), 8, HISTORY),
    Release("emr-6.0.0", "2.4", ("3.7",), 8, HISTORY),
    Release("emr-6.1.0", "3.0", ("3.7",), 8, HISTORY),
    Release("emr-6.3.0", "3.1", ("3.7",), 8, HISTORY),
    Release("emr-6.6.0", "3.2", ("3.7",), 8, HISTORY),
    Release("emr-6.8.0", "3.3", ("3.7",), 8, HISTORY),
    Release("emr-6.12.0", "3.4", ("3.7",), 8, HISTORY),
    Release("emr-7.0.0", "3.5", ("3.9", "3.11"), 17, f"{GUIDE}/emr-700-release.html"),
    Release("emr-spark-8.0.0", "4.0", ("3.11", "3.13"), 17, f"{GUIDE}/emr-spark-8x.html"),
    Release("emr-spark-8.1.0", "4.1", ("3.11", "3.13"), 17, f"{GUIDE}/emr-spark-8x.html"),
)
ALLOWED_LABELS = f"emr-x.y.z or emr-spark-x.y.z, for instance {LINES[0].newest} or {LINES[-1].newest}"


class Feature(NamedTuple):
    """The first release of each family that has a feature."""

    emr: Version
    emr_spark: Version
    source: str


FEATURES = {
    "auto-termination": Feature((5, 30, 0), (8, 0, 0), f"{MANAGEMENT}/emr-auto-termination-policy.html"),
    "runtime roles": Feature((6, 7, 0), (8, 0, 0), f"{MANAGEMENT}/emr-steps-runtime-roles.html"),
    # S3A for s3:// in Spark and Hadoop; before, EMRFS
    "S3A": Feature((7, 10, 0), (8, 0, 0), f"{GUIDE}/emr-s3a-migrate.html"),
    "EMR Serverless": Feature((6, 9, 0), (8, 0, 0), f"{SERVERLESS}/release-versions.html"),
    "queues": Feature((7, 0, 0), (8, 0, 0), f"{SERVERLESS}/applications-concurrency-queuing.html"),
    "CloudWatch logs": Feature((7, 11, 0), (8, 0, 0), f"{GUIDE}/emr-7110-release.html"),
}
WITHOUT_AUTO_TERMINATION = ("emr", (6, 0))  # although later than emr-5.30.0


def has(label: str, feature: str) -> bool:
    """Whether a release has one of FEATURES. Raises ValueError for text that is not a label."""
    family, version = _parsed(label)
    if feature == "auto-termination" and (family, version[:2]) == WITHOUT_AUTO_TERMINATION:
        return False
    return version >= (FEATURES[feature].emr if family == "emr" else FEATURES[feature].emr_spark)


def release(label: str) -> Release:
    """Return the row of RELEASES for a label; for an older one than all, the first of its family.

    Raises ValueError for text that is not a label.
    """
    family, version = _parsed(label)
    rows = [(_parsed(row.first), row) for row in RELEASES]
    own = [(first, row) for (of, first), row in rows if of == family]
    return next((row for first, row in reversed(own) if first <= version), own[0][1])


def without_python(label: str, python: str) -> str:
    """Say which releases are allowed if this one lacks a Python in /usr/bin; an empty text for any other path.

    Raises ValueError for text that is not a label.
    """
    found, pythons = IN_USR_BIN.fullmatch(python), release(label).pythons
    if not found or found[1] in pythons:
        return ""
    having = [row.first for row in RELEASES if found[1] in row.pythons]
    or_later = f"{having[0]} or later, or another python" if having else "no release; choose another python"
    return f"{or_later}: {label} has {' and '.join(f'/usr/bin/python{version}' for version in pythons)}"


def newest_below(label: str) -> str:
    """Return the newest known release of a label's family if the label is newer, else an empty text."""
    family, version = _parsed(label)
    newest = max((of, known, line.newest) for line in LINES for of, known in [_parsed(line.newest)] if of == family)
    return newest[2] if version > newest[1] else ""


def installed_spark() -> str:
    """Return the version of the pyspark of this Python, such as 4.1.4, without importing it."""
    return metadata.version("pyspark")


def line_of(spark: str) -> Line:
    """Return the line of a version of Spark; for a version of no known line, the nearest line before it.

    >>> line_of("4.1.4").newest
    'emr-spark-8.1.0'
    """
    version = _numbers(spark)[:2]
    return next((line for line in reversed(LINES) if _numbers(line.spark) <= version), LINES[0])


def default_label() -> str:
    """Return the newest known release that runs the installed line of Spark."""
    return line_of(installed_spark()).newest


def notes_on(label: str) -> tuple[list[str], list[str]]:
    """Return what to tell of a cluster's release before a run: (warnings, remarks).

    A release of another line than the installed Spark's is a warning, for programs may then behave differently here
    and there.
    """
    remarks = []
    if newest := newest_below(label):
        remarks.append(f"{label} is newer than {newest}, the newest release known here, and is judged like it.")
    here, there = ".".join(installed_spark().split(".")[:2]), release(label).spark
    if here == there:
        return [], remarks
    aligned = f"set release_label: {line_of(here).newest} for the cluster"
    if line := next((line for line in LINES if line.spark == there), None):
        aligned = f"run pip install '{line.pyspark}' here, or {aligned}"
    warning = (
        f"{label} runs Spark {there}, but Spark {installed_spark()} is installed here, so a program may behave "
        f"differently here and on the cluster. To align them, {aligned}."
    )
    return [warning], remarks


def _parsed(label: str) -> tuple[str, Version]:
    found = LABEL.fullmatch(label)
    if not found:
        raise ValueError(f"{label!r} is not a release label; allowed: {ALLOWED_LABELS}.")
    return found[1], tuple(map(int, found.groups()[1:]))


def _numbers(version: str) -> Version:
    return tuple(map(int, re.findall(r"\d+", version)))
