"""Quotas that block a cluster or a step: how AWS says that one is full, and its name in Service Quotas.

EC2 has codes for them. EMR has none: it names a quota in the message of a VALIDATION_ERROR, an INTERNAL_ERROR or a
ValidationException, and its documentation of ErrorDetails lists no code for quotas. That is why messages are read here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# codes that mean a full quota, in all services
FULL = frozenset({
    "LimitExceededException", "LimitExceeded", "ServiceQuotaExceededException", "ResourceLimitExceeded",
    "VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded",
    "VolumeLimitExceeded", "MaxIOPSLimitExceeded", "InsufficientFreeAddressesInSubnet",
})  # fmt: skip
RATE = re.compile(r"(?i)\brate\b|throttl|too many requests")  # a LimitExceededException may mean throttling instead
STEPS_FULL = re.compile(r"(?i)maximum number of active steps")


class Quota(NamedTuple):
    """A quota: how its messages look, what to do, and its service, name and code in Service Quotas, if it has them."""

    shown_by: re.Pattern[str]
    hint: str
    service: str = ""
    name: str = ""
    code: str = ""

    @property
    def advice(self) -> str:
        """The hint, with the name of the quota."""
        label = f'"{self.name}" ({self.code})' if self.code else f'"{self.name}"'
        return self.hint + (f" The quota is {label} in Service Quotas." if self.name else "")


MORE_QUOTA = "Try again when other work has finished, or request a higher quota from AWS."
QUOTAS = (
    Quota(
        re.compile("(?i)MaxSpotInstanceCountExceeded|max spot instance count exceeded"),
        MORE_QUOTA,
        "ec2",
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        "L-34B43A08",
    ),
    Quota(
        re.compile(
            "(?i)VcpuLimitExceeded|InstanceLimitExceeded|exceeds? (the|your) EC2 (service )?quota|EC2 quota exceeded"
            "|than your current vCPU limit"
        ),
        MORE_QUOTA,
        "ec2",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        "L-1216C47A",
    ),
    Quota(
        re.compile("(?i)VolumeLimitExceeded|MaxIOPSLimitExceeded|EBS volume limit was exceeded"),
        MORE_QUOTA,
        "ebs",
        "Storage for General Purpose SSD (gp3) volumes, in TiB",
        "L-7A658B76",
    ),
    Quota(
        re.compile(
            "(?i)InsufficientFreeAddressesInSubnet|subnet.* is not large enough"
            "|(not enough|insufficient) free addresses"
        ),
        "Try again when other instances in the subnet have ended, or use more or larger subnets.",
    ),
    Quota(
        re.compile(r"(?i)maximum number of (active |running )?(clusters|job ?flows)"),
        MORE_QUOTA,
        "elasticmapreduce",
        "The maximum number of active clusters that can be run at the same time",
    ),
    Quota(
        STEPS_FULL,
        "Try again when steps of the cluster have ended: EMR allows 256 running and pending steps per cluster.",
    ),
)


def quota_of(*texts: str) -> Quota | None:
    """Return the quota that a code or message of AWS says is full, if any."""
    return next((quota for quota in QUOTAS for text in texts if quota.shown_by.search(text)), None)
