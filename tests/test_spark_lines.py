"""Release labels: two independent lines, and releases newer than this code."""

from __future__ import annotations

import re

import pytest
from packaging.specifiers import SpecifierSet

from emr_pipelines import spark_lines
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.errors import InvalidValue
from emr_pipelines.spark_lines import FEATURES, RELEASES, default_label, has, line_of, notes_on, release

ARN = "arn:aws:iam::111122223333:role/steps"


# from the Release Guide: auto-termination since 5.30 and 6.1, runtime roles since 6.7, Python 3.11 since 7.0
@pytest.mark.parametrize(
    ("label", "auto_termination", "runtime_roles", "python", "s3a", "logs"),
    [
        ("emr-5.29.0", False, False, False, False, False),
        ("emr-5.30.0", True, False, False, False, False),
        ("emr-6.0.1", False, False, False, False, False),
        ("emr-6.1.0", True, False, False, False, False),
        ("emr-6.7.0", True, True, False, False, False),
        ("emr-6.15.0", True, True, False, False, False),
        ("emr-7.0.0", True, True, True, False, False),
        ("emr-7.10.0", True, True, True, True, False),
        ("emr-7.11.0", True, True, True, True, True),
        ("emr-7.14.0", True, True, True, True, True),
        ("emr-9.0.0", True, True, True, True, True),
        ("emr-spark-8.0.0", True, True, True, True, True),
        ("emr-spark-8.1.0", True, True, True, True, True),
        ("emr-spark-12.3.45", True, True, True, True, True),
    ],
)
def test_what_a_release_can_do(
    label: str, auto_termination: bool, runtime_roles: bool, python: bool, s3a: bool, logs: bool
) -> None:
    of_clusters = FEATURES.keys() - {"EMR Serverless", "queues"}
    found = {feature: has(label, feature) for feature in of_clusters} | {"python3.11": "3.11" in release(label).pythons}
    assert found == {
        "auto-termination": auto_termination,
        "runtime roles": runtime_roles,
        "python3.11": python,
        "S3A": s3a,
        "CloudWatch logs": logs,
    }


@pytest.mark.parametrize(
    ("label", "serverless", "queues"),
    [
        ("emr-6.8.0", False, False),
        ("emr-6.9.0", True, False),
        ("emr-7.0.0", True, True),
        ("emr-spark-8.0.0", True, True),
    ],
)
def test_what_a_release_can_do_on_emr_serverless(label: str, serverless: bool, queues: bool) -> None:
    assert (has(label, "EMR Serverless"), has(label, "queues")) == (serverless, queues)


@pytest.mark.parametrize("label", ["emr-7.14.0", "emr-7.99.0", "emr-10.0.0", "emr-spark-8.0.0", "emr-spark-8.1.0"])
def test_newer_labels_are_accepted_with_all_that_the_newest_known_has(label: str) -> None:
    spec = ClusterSpec.parse(
        {"release_label": label, "runtime_role": ARN, "security_configuration": "s", "cloudwatch_logs": {}}
    )
    assert spec.request("n", "s3://b/l", {})["ReleaseLabel"] == label


@pytest.mark.parametrize(
    "label",
    ["", "7.10.0", "emr-7.10", "emr-7.10.0-latest", "emr-spark-8.1", "emr-spork-8.1.0", "EMR-7.10.0"],
)
def test_what_has_not_the_form_of_a_label_is_refused(label: str) -> None:
    with pytest.raises(InvalidValue, match=r"allowed: emr-x\.y\.z or emr-spark-x\.y\.z, for instance"):
        ClusterSpec.parse({"release_label": label})
    with pytest.raises(ValueError, match="is not a release label"):
        has(label, "S3A")


@pytest.mark.parametrize(
    ("label", "spark"),
    [
        ("emr-5.0.0", "2"),
        ("emr-4.9.9", "2"),  # older than all that is known
        ("emr-5.36.2", "2.4"),
        ("emr-6.0.0", "2.4"),
        ("emr-6.15.0", "3.4"),
        ("emr-7.0.0", "3.5"),
        ("emr-7.14.0", "3.5"),
        ("emr-9.0.0", "3.5"),
        ("emr-spark-8.0.0", "4.0"),
        ("emr-spark-8.0.9", "4.0"),
        ("emr-spark-8.1.0", "4.1"),
        ("emr-spark-12.3.45", "4.1"),
    ],
)
def test_the_spark_of_a_release(label: str, spark: str) -> None:
    assert release(label).spark == spark


def test_the_rows_of_a_family_are_in_order() -> None:
    for family in ("emr", "emr-spark"):
        rows = [spark_lines._parsed(row.first)[1] for row in RELEASES if spark_lines._parsed(row.first)[0] == family]
        assert rows == sorted(set(rows))


@pytest.mark.parametrize(
    ("installed", "label"),
    [
        ("3.4.1", "emr-7.14.0"),
        ("3.5.9", "emr-7.14.0"),
        ("4.0.2", "emr-spark-8.0.0"),
        ("4.1.4", "emr-spark-8.1.0"),
        ("4.3.0.dev1", "emr-spark-8.1.0"),
        ("5.0.0", "emr-spark-8.1.0"),
    ],
)
def test_the_installed_spark_decides_the_default_release(
    monkeypatch: pytest.MonkeyPatch, installed: str, label: str
) -> None:
    monkeypatch.setattr(spark_lines, "installed_spark", lambda: installed)
    assert default_label() == ClusterSpec().label == label
    assert ClusterSpec().request("n", "s3://b/l", {})["ReleaseLabel"] == label


@pytest.mark.parametrize(
    ("installed", "label", "there", "aligned"),
    [
        ("4.1.4", "emr-7.14.0", "3.5", "run pip install 'pyspark<4' here, or set release_label: emr-spark-8.1.0"),
        ("3.5.9", "emr-spark-8.1.0", "4.1", "run pip install 'pyspark==4.1.*' here, or set release_label: emr-7.14.0"),
        ("4.1.4", "emr-spark-8.0.0", "4.0", "run pip install 'pyspark==4.0.*' here, or set release_label: emr-spark"),
        ("4.1.4", "emr-6.15.0", "3.4", "set release_label: emr-spark-8.1.0"),
    ],
)
def test_a_release_of_another_line_is_a_warning_that_says_how_to_align_the_two(
    monkeypatch: pytest.MonkeyPatch, installed: str, label: str, there: str, aligned: str
) -> None:
    monkeypatch.setattr(spark_lines, "installed_spark", lambda: installed)
    (warning,), remarks = notes_on(label)
    assert warning.startswith(f"{label} runs Spark {there}, but Spark {installed} is installed here")
    assert f"To align them, {aligned}" in warning
    assert remarks == []


@pytest.mark.parametrize(
    ("installed", "label", "newest"),
    [
        ("4.1.4", "emr-spark-8.1.0", ""),
        ("3.5.9", "emr-7.0.0", ""),
        ("4.1.4", "emr-spark-8.1.1", "emr-spark-8.1.0"),
        ("3.5.9", "emr-7.99.0", "emr-7.14.0"),
    ],
)
def test_a_newer_release_than_all_known_is_a_remark(
    monkeypatch: pytest.MonkeyPatch, installed: str, label: str, newest: str
) -> None:
    monkeypatch.setattr(spark_lines, "installed_spark", lambda: installed)
    said = f"{label} is newer than {newest}, the newest release known here, and is judged like it."
    assert notes_on(label) == ([], [said] if newest else [])


def test_what_pip_installs_is_of_the_line() -> None:
    for line in spark_lines.LINES:
        assert line_of(line.spark + ".7") is line
        assert SpecifierSet(line.pyspark.removeprefix("pyspark")).contains(f"{line.spark}.3")


@pytest.mark.parametrize("of_extra", [False, True])
@pytest.mark.parametrize(
    ("label", "more", "needed"),
    [
        ("emr-5.29.0", {}, r"emr-5\.30\.0, emr-6\.1\.0 or later: those before cannot end"),
        ("emr-6.15.0", {}, r"emr-7\.0\.0 or later, or another python: emr-6\.15\.0 has /usr/bin/python3\.7"),
        ("emr-7.14.0", {"python": "/usr/bin/python3.13"}, r"emr-spark-8\.0\.0 or later, or another python: emr-7\.14"),
        ("emr-spark-8.1.0", {"python": "/usr/bin/python3.9"}, r"emr-7\.0\.0 or later, or another python"),
        ("emr-spark-8.1.0", {"python": "/usr/bin/python3.14"}, r"no release; choose another python: emr-spark-8\.1\.0"),
        ("emr-7.10.0", {"cloudwatch_logs": {}}, r"emr-7\.11\.0 or later with cloudwatch_logs"),
        ("8.1.0", {}, r"emr-x\.y\.z or emr-spark-x\.y\.z"),
    ],
)
def test_a_release_is_judged_by_its_own_rules_wherever_it_is_said(
    of_extra: bool, label: str, more: dict[str, object], needed: str
) -> None:
    told = {"extra": {"ReleaseLabel": label}} if of_extra else {"release_label": label}
    name = "extra.ReleaseLabel" if of_extra else "cluster.release_label"
    with pytest.raises(InvalidValue, match=rf"{re.escape(name)} is '{re.escape(label)}'; allowed: {needed}"):
        ClusterSpec.parse({**told, **more})


def test_the_label_in_extra_replaces_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_lines, "installed_spark", lambda: "4.1.4")
    spec = ClusterSpec(
        release_label="emr-6.15.0", extra={"ReleaseLabel": "emr-spark-8.1.0"}, python="/usr/bin/python3.13"
    )
    assert (spec.label, spec.request("n", "s3://b/l", {})["ReleaseLabel"]) == ("emr-spark-8.1.0", "emr-spark-8.1.0")


@pytest.mark.parametrize(
    "more", [{"bootstrap_actions": [{"name": "python", "path": "s3://b/python.sh"}]}, {"custom_ami_id": "ami-0abc"}, {}]
)
def test_a_python_that_a_bootstrap_action_or_an_image_brings(more: dict[str, object]) -> None:
    told = {"release_label": "emr-7.14.0", "python": "/usr/bin/python3.12", **more}
    if more:
        assert ClusterSpec.parse(told).python == "/usr/bin/python3.12"
    else:
        with pytest.raises(InvalidValue, match="another python"):
            ClusterSpec.parse(told)
