"""What the security page says of permissions and of the bucket is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import emr_pipelines
from tests.docs.blocks import blocks, page

PACKAGE = Path(emr_pipelines.__file__).parent
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


def test_the_policy_allows_what_is_called_and_no_more() -> None:
    (policy,) = map(json.loads, blocks(page("security"), "json"))
    allowed: set[str] = set()
    for statement in policy["Statement"]:
        action = statement["Action"]
        allowed |= {action} if isinstance(action, str) else set(action)
    called = set()
    for path in PACKAGE.rglob("*.py"):
        if "emulator" not in path.parts:
            found = [("emr", operation) for operation in EMR_PAGES.findall(path.read_text())]
            found += [("s3", operation) for operation in S3_CALL.findall(path.read_text())]
            for service, operation in found + CALL.findall(path.read_text()):
                action = "".join(part.capitalize() for part in operation.split("_"))
                prefix = "elasticmapreduce" if service == "emr" else service
                called.add(ACTIONS.get(f"{prefix}:{action}", f"{prefix}:{action}"))
    called = {re.sub("V2$", "", action) for action in called}
    assert allowed == (called - NEEDS_NO_PERMISSION) | WITH_RUN_JOB_FLOW | CALLED_BY_NAME


def test_the_folders_are_those_that_are_written() -> None:
    folders = re.compile(r'join\((?:base|self\._folder|self\.base), "(\w+)"|\.of\(["\'](\w+)["\']\)')
    texts = [path.read_text() for name in ("emr", "runners") for path in (PACKAGE / name).rglob("*.py")]
    written = {one or other for text in texts for one, other in folders.findall(text)}
    table = page("security").partition("## What is written where")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)/", table, re.MULTILINE))
    assert told == written | {"data"}
