"""AWS's partitions: their regions, consoles and price lists.

Global services such as IAM are not mentioned here: botocore finds them by the partition of the client's region.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

# the form of a region that is newer than the installed botocore; a misspelt one (us-est-1) does not match
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
    """Return the partition of a region, even if it is newer than the installed botocore; else NO_PARTITION."""
    for described in _described():
        if region in described["regions"] or re.match(described["regionRegex"], region):
            return PARTITIONS.get(described["id"]) or Partition(described["id"])
    return NO_PARTITION


def known_regions() -> list[str]:
    """Return all regions that the installed botocore knows, in all partitions."""
    return sorted(name for found in _described() for name in found["regions"] if not name.endswith("-global"))


@cache
def _described() -> list[Mapping[str, Any]]:
    from botocore.loaders import Loader  # takes time to import

    partitions: list[Mapping[str, Any]] = Loader().load_data("partitions")["partitions"]
    return partitions
