"""Quotas that hold up a cluster or a step: how AWS says that one is full, and what Service Quotas calls it.

EC2 has codes for them. EMR has none: it names a quota in the message of a VALIDATION_ERROR, an INTERNAL_ERROR or a
ValidationException, and its documentation of ErrorDetails has no code for one. Those messages are read for this alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# codes that mean a quota, whichever service answers
FULL = frozenset({
    "LimitExceededException", "LimitExceeded", "ServiceQuotaExceededException", "ResourceLimitExceeded",
    "VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded",
    "VolumeLimitExceeded", "MaxIOPSLimitExceeded", "InsufficientFreeAddressesInSubnet",
})  # fmt: skip
RATE = re.compile(r"(?i)\brate\b|throttl|too many requests")  # a LimitExceededException may mean throttling instead
STEPS_FULL = re.compile(r"(?i)maximum number of active steps")


class Quota(NamedTuple):
    """What is full, and what Service Quotas calls it: the service, the name and the code, empty where it has none."""

    shown_by: re.Pattern[str]
    hint: str
    service: str = ""
    name: str = ""
    code: str = ""

    @property
    def advice(self) -> str:
        """What to do about it, in a sentence or two."""
        called = f'"{self.name}" ({self.code})' if self.code else f'"{self.name}"'
        return self.hint + (f" The quota is {called} in Service Quotas." if self.name else "")


ASK = "Try again when other work has ended, or ask AWS for more."
QUOTAS = (
    Quota(
        re.compile("(?i)MaxSpotInstanceCountExceeded|max spot instance count exceeded"),
        ASK,
        "ec2",
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        "L-34B43A08",
    ),
    Quota(
        re.compile(
            "(?i)VcpuLimitExceeded|InstanceLimitExceeded|exceeds? (the|your) EC2 (service )?quota|EC2 quota exceeded"
            "|than your current vCPU limit"
        ),
        ASK,
        "ec2",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        "L-1216C47A",
    ),
    Quota(
        re.compile("(?i)VolumeLimitExceeded|MaxIOPSLimitExceeded|EBS volume limit was exceeded"),
        ASK,
        "ebs",
        "Storage for General Purpose SSD (gp3) volumes, in TiB",
        "L-7A658B76",
    ),
    Quota(
        re.compile(
            "(?i)InsufficientFreeAddressesInSubnet|subnet.* is not large enough"
            "|(not enough|insufficient) free addresses"
        ),
        "Try again when other instances in the subnet have ended, or name more or larger subnets.",
    ),
    Quota(
        re.compile(r"(?i)maximum number of (active |running )?(clusters|job ?flows)"),
        ASK,
        "elasticmapreduce",
        "The maximum number of active clusters that can be run at the same time",
    ),
    Quota(STEPS_FULL, "Try again when steps of the cluster have ended: it takes 256 that run or wait."),
)


def quota_of(*texts: str) -> Quota | None:
    """The quota that a code or message of AWS says is full."""
    return next((quota for quota in QUOTAS for text in texts if quota.shown_by.search(text)), None)
