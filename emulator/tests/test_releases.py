"""Which release labels exist, and the versions of their applications."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_emulator import releases
from emr_emulator.sparks import Spark, choose


@pytest.mark.parametrize(
    "label",
    [
        "emr-5.0.3", "emr-5.29.0", "emr-5.36.2", "emr-6.0.1", "emr-6.15.0", "emr-7.0.0", "emr-7.10.0", "emr-7.14.0",
        "emr-7.14.1", "emr-7.99.0", "emr-spark-8.0.0", "emr-spark-8.1.0", "emr-spark-8.2.0", "emr-spark-9.0.0",
    ],
)  # fmt: skip
def test_labels_of_releases(label: str) -> None:
    """In open lines, newer labels than the known ones are accepted too."""
    assert releases.is_release(label)


@pytest.mark.parametrize(
    "label",
    [
        "emr-6.99.0", "emr-6.16.0", "emr-5.37.0", "emr-5.36.99", "emr-4.9.1", "emr-8.0.0", "emr-9.9.9", "emr-spark-8",
        "emr-spark-7.0.0", "emr-spark-3.5.0", "emr-7.10", "emr-7.10.0-latest", "7.10.0", "emr-7.10.0 ", "EMR-7.10.0",
        "",
    ],
)  # fmt: skip
def test_labels_that_no_release_has(label: str) -> None:
    assert not releases.is_release(label)


@pytest.mark.parametrize(
    ("label", "version"),
    [
        ("emr-7.10.0", "3.5.5"),
        ("emr-7.10.9", "3.5"),
        ("emr-7.99.0", "3.5"),
        ("emr-spark-8.1.0", "4.1.1"),
        ("emr-spark-8.0.0", "4.0.2"),
        ("emr-spark-8.9.0", "4.1"),
        ("emr-spark-9.0.0", None),
        ("emr-5.20.0", None),
        ("emr-5.36.2", "2.4.8"),
        ("emr-6.0.1", "2.4"),
    ],
)
def test_the_spark_of_a_release(label: str, version: str | None) -> None:
    assert releases.spark_version(label) == version


@pytest.mark.parametrize(
    ("label", "supports"),
    [
        ("emr-5.29.0", False), ("emr-5.30.0", True), ("emr-6.0.1", False), ("emr-6.1.0", True), ("emr-7.0.0", True),
        ("emr-spark-8.0.0", True), ("none", False),
    ],
)  # fmt: skip
def test_auto_termination_policies_by_release(label: str, supports: bool) -> None:
    assert releases.supports_auto_termination(label) == supports


@pytest.mark.parametrize(
    ("label", "installed", "says"),
    [
        ("emr-7.10.0", "3.5.9", ""),
        ("emr-7.99.0", "3.5.9", ""),
        ("emr-spark-8.1.0", "4.1.4", ""),
        ("emr-spark-9.0.0", "3.5.9", ""),  # unknown
        ("emr-7.10.0", "", ""),
        (
            "emr-spark-8.1.0",
            "3.5.9",
            "emr-spark-8.1.0 has Spark 4.1.1; its steps run on the installed Spark 3.5.9 instead.",
        ),
        ("emr-6.15.0", "3.5.9", "emr-6.15.0 has Spark 3.4.1; its steps run on the installed Spark 3.5.9 instead."),
    ],
)
def test_another_spark_stands_in(label: str, installed: str, says: str) -> None:
    assert Spark(Path("/spark"), "/java", "/python", "local", installed).stands_in_for(label) == says


@pytest.mark.parametrize(
    ("label", "version"),
    [("emr-7.14.0", "3.5.9"), ("emr-spark-8.1.0", "4.1.4"), ("emr-spark-8.0.0", "4.1.4"), ("emr-6.15.0", "4.1.4")],
)
def test_a_release_runs_on_the_spark_of_its_line_else_on_the_first(label: str, version: str) -> None:
    sparks = [Spark(Path("/spark"), "/java", "/python", "local", installed) for installed in ("4.1.4", "3.5.9")]
    assert choose(sparks, label).version == version
