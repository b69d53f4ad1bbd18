"""Clusters that need not be spelled out: what each has, what it is for, and what it risks.

A preset is a place to start from: what a description says besides goes over it, member by member. All are of plain x86
types with 4 GiB a vCPU, so that any of a fleet can stand in for another, and most regions have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What helps against the loss of spot instances is breadth: EC2 takes from the pools that are deep and cheap.
FAMILIES = ("m5", "m5a", "m5d", "m6i", "m6a")
XLARGES = [{"type": f"{family}.xlarge"} for family in FAMILIES]
TEN_TYPES = [*XLARGES, *({"type": f"{family}.2xlarge", "weight": 2} for family in FAMILIES)]


@dataclass(frozen=True)
class Preset:
    about: str
    members: dict[str, Any]


DEFAULT_PRESET = "standard"
PRESETS = {
    DEFAULT_PRESET: Preset(
        "a primary and two core m5.xlarge on demand (12 vCPU, 48 GiB), which end after 15 idle minutes; the same as no "
        "preset.",
        {},
    ),
    "small": Preset(
        "one m5.xlarge on demand (4 vCPU, 16 GiB) that does everything and ends after 5 idle minutes. For trying "
        "things, and for a few GB. The driver and its executors share the machine, and nothing stands in for it.",
        {"primary": {"type": "m5.xlarge"}, "core": None, "idle_timeout_seconds": 300},
    ),
    "spot": Preset(
        "primary (4 vCPU) and core (8 vCPU) on demand, and task instances (32 vCPU) on spot, of whichever of ten types "
        "EC2 finds best. For much computing that may take longer: a lost task instance takes its shuffle files along, "
        "so parts are computed again; when no spot instances come within 10 minutes, they are on demand at full price; "
        "and a region that lacks one of the types may refuse.",
        {
            "fleets": {
                "primary": {"types": XLARGES, "on_demand": 1},
                "core": {"types": TEN_TYPES, "on_demand": 2},
                "task": {"types": TEN_TYPES, "spot": 8},
            },
        },
    ),
    "large": Preset(
        "a primary m5.2xlarge and four core m5.4xlarge on demand (64 vCPU, 256 GiB, 2 TB of disk), which EMR makes up "
        "to sixteen while there is work for them. For wide shuffles over hundreds of GB. It may cost four times what "
        "it begins with, and takes minutes to shrink.",
        {
            "primary": {"type": "m5.2xlarge"},
            "core": {"type": "m5.4xlarge", "count": 4, "volumes": [{"size_gib": 250, "per_instance": 2}]},
            "managed_scaling": {"minimum": 4, "maximum": 16},
        },
    ),
}
