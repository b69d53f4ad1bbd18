"""Which features a release of EMR has, by its label.

EMR has two lines of releases: emr-x.y.z runs Spark 2 and 3, and emr-spark-x.y.z runs Spark 4. Their numbers are
unrelated. A release newer than those known here is judged as the newest known one of its line.

Sources: "About Amazon EMR Releases" in the Amazon EMR Release Guide, and the feature pages of the Management Guide.
"""

from __future__ import annotations

import re

LABEL = re.compile(r"(emr|emr-spark)-(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
ALLOWED_LABELS = "emr-x.y.z or emr-spark-x.y.z, for instance emr-7.10.0"

Version = tuple[int, ...]

# feature: the first release of each line that has it
FIRST_WITH: dict[str, dict[str, Version]] = {
    "auto-termination": {"emr": (5, 30, 0), "emr-spark": (8, 0, 0)},
    "runtime roles": {"emr": (6, 7, 0), "emr-spark": (8, 0, 0)},
    "python3.11": {"emr": (7, 0, 0), "emr-spark": (8, 0, 0)},
    "S3A": {"emr": (7, 10, 0), "emr-spark": (8, 0, 0)},  # for s3:// in Spark and Hadoop; before, EMRFS
    "CloudWatch logs": {"emr": (7, 11, 0), "emr-spark": (8, 0, 0)},
}
WITHOUT_AUTO_TERMINATION = ("emr", (6, 0))  # although later than emr-5.30.0


def has(label: str, feature: str) -> bool:
    """Whether a release has a feature of FIRST_WITH. Raises ValueError for text that is not a label."""
    found = LABEL.fullmatch(label)
    if not found:
        raise ValueError(f"{label!r} is not a release label; allowed: {ALLOWED_LABELS}.")
    line, version = found[1], tuple(map(int, found.groups()[1:]))
    if feature == "auto-termination" and (line, version[:2]) == WITHOUT_AUTO_TERMINATION:
        return False
    return version >= FIRST_WITH[feature][line]
