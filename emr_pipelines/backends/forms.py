"""Texts of a cluster's description that have a form, such as an instance type or an ARN."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from emr_pipelines.spark_lines import ALLOWED_LABELS, LABEL


def refused(allowed: str, **found: Any) -> PydanticCustomError:
    return PydanticCustomError("not_allowed", "allowed: {allowed}", {"allowed": allowed, **found})


def matching(pattern: str, allowed: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise refused(allowed)
        return text

    return AfterValidator(check)


Text = Annotated[str, Field(min_length=1)]
InstanceType = Annotated[str, matching(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "family.size, for instance m5.xlarge")]
ReleaseLabel = Annotated[str, matching(LABEL.pattern, ALLOWED_LABELS)]
SubnetId = Annotated[str, matching(r"subnet-\w+", "a subnet's id, subnet-...")]
SecurityGroupId = Annotated[str, matching(r"sg-\w+", "a security group's id, sg-...")]
ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/\S+")
ROLE_ARN_ALLOWED = "arn:aws:iam::<account>:role/<name>"
RoleArn = Annotated[str, matching(ROLE_ARN.pattern, ROLE_ARN_ALLOWED)]
AmiId = Annotated[str, matching(r"ami-\w+", "an image's id, ami-...")]
