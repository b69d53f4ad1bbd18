"""EMR's release labels, with the versions of their applications.

Sources: Amazon EMR Release Guide, "Application versions in Amazon EMR 7.x releases" (and 6.x, 5.x), "Spark release
history" and "Amazon EMR Spark 8.x".
"""

from __future__ import annotations

import re

# newest first, like ListReleaseLabels; where the guide's table was not available, only the line (3.5) is given
SPARK_AND_HADOOP = {
    "emr-spark-8.1.0": ("4.1.1", "3.4"),
    "emr-spark-8.0.0": ("4.0.2", "3.4"),
    "emr-7.14.0": ("3.5", "3.4"),
    "emr-7.13.0": ("3.5.6", "3.4"),
    "emr-7.12.0": ("3.5.6", "3.4.1"),
    "emr-7.11.0": ("3.5.6", "3.4.1"),
    "emr-7.10.0": ("3.5.5", "3.4.1"),
    "emr-7.9.0": ("3.5.5", "3.4.1"),
    "emr-7.8.0": ("3.5.4", "3.4.1"),
    "emr-7.7.0": ("3.5.3", "3.4.0"),
    "emr-7.6.0": ("3.5.3", "3.4.0"),
    "emr-7.5.0": ("3.5.2", "3.4.0"),
    "emr-7.4.0": ("3.5.2", "3.4.0"),
    "emr-7.3.0": ("3.5.1", "3.3.6"),
    "emr-7.2.0": ("3.5.1", "3.3.6"),
    "emr-7.1.0": ("3.5.0", "3.3.6"),
    "emr-7.0.0": ("3.5.0", "3.3.6"),
    "emr-6.15.0": ("3.4.1", "3.3.6"),
    "emr-6.14.0": ("3.4.1", "3.3.3"),
    "emr-6.13.0": ("3.4.1", "3.3.3"),
    "emr-6.12.0": ("3.4.0", "3.3.3"),
    "emr-6.11.0": ("3.3.2", "3.3.3"),
    "emr-6.10.0": ("3.3.1", "3.3.3"),
    "emr-6.9.0": ("3.3.0", "3.3.3"),
    "emr-6.8.0": ("3.3.0", "3.2.1"),
    "emr-6.7.0": ("3.2.1", "3.2.1"),
    "emr-6.6.0": ("3.2.0", "3.2.1"),
    "emr-6.5.0": ("3.1.2", "3.2.1"),
    "emr-6.4.0": ("3.1.2", "3.2.1"),
    "emr-6.3.0": ("3.1.1", "3.2.1"),
    "emr-6.2.0": ("3.0.1", "3.2.1"),
    "emr-6.1.0": ("3.0.0", "3.2.1"),
    "emr-6.0.0": ("2.4.4", "3.2.1"),
    "emr-5.36.2": ("2.4.8", "2.10.1"),
    "emr-5.36.1": ("2.4.8", "2.10.1"),
    "emr-5.36.0": ("2.4.8", "2.10.1"),
    "emr-5.35.0": ("2.4.8", "2.10.1"),
    "emr-5.34.0": ("2.4.8", "2.10.1"),
    "emr-5.33.0": ("2.4.7", "2.10.1"),
    "emr-5.32.0": ("2.4.7", "2.10.1"),
    "emr-5.31.0": ("2.4.6", "2.10.0"),
    "emr-5.30.0": ("2.4.5", "2.8.5"),
}
OS_RELEASE = "2023.8.20250707.0"

LABEL = re.compile(r"emr-(spark-)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
LAST_MINOR = {5: 36, 6: 15}  # last minor of the lines that get no more releases
OPEN_LINES = {7}  # of emr-x; those of emr-spark-x begin with 8, and all are open
FIRST_SPARK_LINE = 8
MAX_PATCH = 9  # no release of a closed line has a higher patch number


def is_release(label: str) -> bool:
    """Tell whether a label may be a release: one in the table, an older one, or a newer one of an open line."""
    found = LABEL.fullmatch(label)
    if found is None:
        return False
    line, minor, patch = (int(found.group(number)) for number in (2, 3, 4))
    if found.group(1):
        return line >= FIRST_SPARK_LINE
    return line in OPEN_LINES or (minor <= LAST_MINOR.get(line, -1) and patch <= MAX_PATCH)


def spark_version(label: str) -> str | None:
    """Return the release's Spark version, for one that is not in the table its line (3.5, 4.1), or None."""
    if label in SPARK_AND_HADOOP:
        return SPARK_AND_HADOOP[label][0]
    found = LABEL.fullmatch(label)
    if found is None or not is_release(label):
        return None
    line = f"emr-{found.group(1) or ''}{found.group(2)}."
    known = {_numbers(other): version for other, (version, _) in SPARK_AND_HADOOP.items() if other.startswith(line)}
    near = [version for numbers, version in known.items() if numbers[:2] == _numbers(label)[:2]]
    newest = [known[max(known)]] if known and _numbers(label) > max(known) else []
    return ".".join((near or newest)[0].split(".")[:2]) if near or newest else None


def applications(label: str) -> list[dict[str, str]]:
    """Return the relevant applications of a release, with their versions."""
    if label not in SPARK_AND_HADOOP:
        return []
    spark, hadoop = SPARK_AND_HADOOP[label]
    return [{"Name": "Hadoop", "Version": hadoop}, {"Name": "Spark", "Version": spark}]


def supports_auto_termination(label: str) -> bool:
    """Tell whether a release has auto-termination policies (5.30 and 6.1 introduced them)."""
    return at_least(label, (5, 30)) and _numbers(label)[:2] != (6, 0)


def at_least(label: str, release: tuple[int, int]) -> bool:
    return LABEL.fullmatch(label) is not None and _numbers(label)[:2] >= release


def _numbers(label: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", label)))
