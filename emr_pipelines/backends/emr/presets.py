"""Presets for the description of a cluster: what each contains, its purpose and its risks.

Other fields of a description override a preset, member by member. All presets use plain x86 types with 4 GiB per vCPU,
so that any type of a fleet can replace another, and most regions offer them.
"""

from __future__ import annotations

from emr_pipelines.backends.description import Preset

# Many types reduce the loss of Spot instances: EC2 chooses pools with much capacity and low prices.
FAMILIES = ("m5", "m5a", "m5d", "m6i", "m6a")
XLARGES = [{"type": f"{family}.xlarge"} for family in FAMILIES]
TEN_TYPES = [*XLARGES, *({"type": f"{family}.2xlarge", "weight": 2} for family in FAMILIES)]


DEFAULT_PRESET = "standard"
PRESETS = {
    DEFAULT_PRESET: Preset(
        "a primary and two core m5.xlarge On-Demand (12 vCPU, 48 GiB), with an idle timeout of 15 minutes; the same as "
        "no preset.",
        {},
    ),
    "small": Preset(
        "a single m5.xlarge On-Demand (4 vCPU, 16 GiB), with an idle timeout of 5 minutes. For experiments, and for a "
        "few GB. The driver and the executors share the machine, and nothing replaces it if it fails.",
        {"primary": {"type": "m5.xlarge"}, "core": None, "idle_timeout_seconds": 300},
    ),
    "spot": Preset(
        "primary (4 vCPU) and core (8 vCPU) On-Demand, and task instances (32 vCPU) on Spot, of ten types that EC2 "
        "chooses from. For large computations that may take longer: a lost task instance loses its shuffle files, "
        "so parts are computed again; if there are no Spot instances within 10 minutes, the cluster uses On-Demand "
        "at full price; and a region without one of the types may refuse the cluster.",
        {
            "fleets": {
                "primary": {"types": XLARGES, "on_demand": 1},
                "core": {"types": TEN_TYPES, "on_demand": 2},
                "task": {"types": TEN_TYPES, "spot": 8},
            },
        },
    ),
    "large": Preset(
        "a primary m5.2xlarge and four core m5.4xlarge On-Demand (64 vCPU, 256 GiB, 2 TB of disk), which EMR scales to "
        "up to sixteen while there is work. For wide shuffles over hundreds of GB. It may cost four times its initial "
        "price, and takes minutes to shrink.",
        {
            "primary": {"type": "m5.2xlarge"},
            "core": {"type": "m5.4xlarge", "count": 4, "volumes": [{"size_gib": 250, "per_instance": 2}]},
            "managed_scaling": {"minimum": 4, "maximum": 16},
        },
    ),
}
