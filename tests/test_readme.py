"""What the README tells a user, held against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import emr_pipelines
from emr_pipelines.emr.spec import ClusterSpec
from emr_pipelines.runners.emr import EmrSparkRunner

README = Path(__file__).parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the built package is tested without the README")

CALL = re.compile(r'\.call\(\s*"(\w+)",\s*"(\w+)"')
EMR_PAGES = re.compile(r'emr_pages\(\w+(?:\._aws)?, "(\w+)"')
S3_CALL = re.compile(r'self\._call\("(\w+)"')
# what a call needs that is not called so
ACTIONS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:UploadFile": "s3:AbortMultipartUpload",
}
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
WITH_RUN_JOB_FLOW = {
    "elasticmapreduce:AddTags", "elasticmapreduce:PutAutoTerminationPolicy",
    "elasticmapreduce:PutManagedScalingPolicy", "iam:PassRole",
}  # fmt: skip
CALLED_BY_NAME = {"iam:GetRole", "iam:GetInstanceProfile", "pricing:GetProducts", "ec2:DescribeSpotPriceHistory"}


def blocks(language: str) -> list[str]:
    text = README.read_text() if README.exists() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def project_files() -> dict[str, str]:
    """The files of "Your own program", by their paths."""
    found = {}
    for block in blocks("python"):
        path = re.match(r"# (my_project/\w+\.py)\n", block)
        if path:
            found[path.group(1)] = block
    return found


def test_the_policy_allows_what_is_called_and_no_more() -> None:
    (policy,) = (json.loads(block) for block in blocks("json") if '"Statement"' in block)
    allowed: set[str] = set()
    for statement in policy["Statement"]:
        action = statement["Action"]
        allowed |= {action} if isinstance(action, str) else set(action)
    package = Path(emr_pipelines.__file__).parent
    called = set()
    for path in package.rglob("*.py"):
        if "emulator" not in path.parts:
            found = [("emr", operation) for operation in EMR_PAGES.findall(path.read_text())]
            found += [("s3", operation) for operation in S3_CALL.findall(path.read_text())]
            for service, operation in found + CALL.findall(path.read_text()):
                action = "".join(part.capitalize() for part in operation.split("_"))
                prefix = "elasticmapreduce" if service == "emr" else service
                called.add(ACTIONS.get(f"{prefix}:{action}", f"{prefix}:{action}"))
    called = {re.sub("V2$", "", action) for action in called}
    assert allowed == (called - NEEDS_NO_PERMISSION) | WITH_RUN_JOB_FLOW | CALLED_BY_NAME


def test_the_settings_are_ones_that_the_runner_takes() -> None:
    (settings,) = (
        found["resources"]["spark"]["config"]
        for found in map(yaml.safe_load, blocks("yaml"))
        if isinstance(found, dict) and "scope" in found.get("resources", {}).get("spark", {}).get("config", {})
    )
    runner = EmrSparkRunner(**settings)
    request = ClusterSpec.parse(runner.cluster).request("name", "s3://bucket/logs/", {})
    types: list[Any] = [group["InstanceType"] for group in request["Instances"]["InstanceGroups"]]
    assert types == ["m6g.xlarge", "m6g.xlarge"]


def test_your_own_program_is_20_lines() -> None:
    files = project_files()
    lines = [line for text in files.values() for line in text.splitlines() if line.strip()]
    assert set(files) == {"my_project/squares.py", "my_project/definitions.py"}
    assert len(lines) <= 20
