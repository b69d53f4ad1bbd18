"""EMR's release labels.

Source: Amazon EMR Release Guide, "Application versions in Amazon EMR 7.x releases".
"""

from __future__ import annotations

import re

SPARK_AND_HADOOP = {
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
}
OS_RELEASE = "2023.8.20250707.0"

# older clusters may be asked for, and run the Spark that is installed here all the same
LABEL = re.compile(r"emr-([5-7])\.(\d{1,3})\.(\d{1,3})")


def is_release(label: str) -> bool:
    """Known, or of a generation older than the table."""
    found = LABEL.fullmatch(label)
    return label in SPARK_AND_HADOOP or (found is not None and found.group(1) != "7")


def applications(label: str) -> list[dict[str, str]]:
    """The applications of a release that matter here, with their versions."""
    if label not in SPARK_AND_HADOOP:
        return []
    spark, hadoop = SPARK_AND_HADOOP[label]
    return [{"Name": "Hadoop", "Version": hadoop}, {"Name": "Spark", "Version": spark}]


def supports_auto_termination(label: str) -> bool:
    """Auto-termination policies came with 5.30 and 6.1."""
    found = LABEL.fullmatch(label)
    if found is None:
        return False
    major, minor = int(found.group(1)), int(found.group(2))
    return (major, minor) >= (5, 30) and (major, minor) != (6, 0)
