"""Which labels are a release's, and what it has."""

from __future__ import annotations

import pytest

from emr_emulator import releases


@pytest.mark.parametrize(
    "label",
    [
        "emr-5.0.3", "emr-5.29.0", "emr-5.36.2", "emr-6.0.1", "emr-6.15.0", "emr-7.0.0", "emr-7.10.0", "emr-7.14.0",
        "emr-7.14.1", "emr-7.99.0", "emr-spark-8.0.0", "emr-spark-8.1.0", "emr-spark-8.2.0", "emr-spark-9.0.0",
    ],
)  # fmt: skip
def test_labels_of_releases(label: str) -> None:
    """Of lines that are open, newer ones than are known too."""
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
        ("emr-spark-9.0.0", "3.5.9", ""),  # nobody knows
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
    assert releases.stand_in(label, installed) == says
