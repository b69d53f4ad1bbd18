"""AWS's partitions: which one a region is in, where its console is, and where its prices in USD are listed.

Global services, such as IAM, need no place here: botocore asks them in the partition of the client's region.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

# a region that the installed botocore does not know yet; a misspelt one (us-est-1) does not look so
REGION_FORM = re.compile(r"[a-z]{2,4}(-[a-z]+)?-(north|south|central)?(east|west)?(?<!-)-\d")


@dataclass(frozen=True)
class Partition:
    """console: the domain of the web console; empty where we know none. prices_in: the region whose price list API has
    this partition's prices in USD; empty where there is none (China's are in CNY, GovCloud has no such API)."""

    id: str
    console: str = ""
    prices_in: str = ""


PARTITIONS = {
    "aws": Partition("aws", "console.aws.amazon.com", "us-east-1"),
    "aws-us-gov": Partition("aws-us-gov", "console.amazonaws-us-gov.com"),
    "aws-cn": Partition("aws-cn", "console.amazonaws.cn"),
}
NO_PARTITION = Partition("")


def partition_of(region: str) -> Partition:
    """The partition of a region, also of one that is newer than the installed botocore; NO_PARTITION of a region whose
    name fits none."""
    for described in _described():
        if region in described["regions"] or re.match(described["regionRegex"], region):
            return PARTITIONS.get(described["id"]) or Partition(described["id"])
    return NO_PARTITION


def known_regions() -> list[str]:
    """Every region that the installed botocore knows, in all partitions."""
    return sorted(name for found in _described() for name in found["regions"] if not name.endswith("-global"))


@cache
def _described() -> list[Mapping[str, Any]]:
    from botocore.loaders import Loader  # takes time to import

    partitions: list[Mapping[str, Any]] = Loader().load_data("partitions")["partitions"]
    return partitions
