"""Release labels: two lines whose numbers have nothing to do with each other, and releases newer than this code."""

from __future__ import annotations

import pytest

from emr_pipelines.backends.emr.releases import FIRST_WITH, has
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.errors import InvalidValue

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
    found = {feature: has(label, feature) for feature in FIRST_WITH}
    assert found == {
        "auto-termination": auto_termination,
        "runtime roles": runtime_roles,
        "python3.11": python,
        "S3A": s3a,
        "CloudWatch logs": logs,
    }


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
        has(label, "python3.11")
