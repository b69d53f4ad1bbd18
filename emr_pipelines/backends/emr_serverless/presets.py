"""Presets for the description of an application: what each contains, and its purpose."""

from __future__ import annotations

from emr_pipelines.backends.description import Preset

SMALL_WORKER = {"cores": 2, "memory_gb": 8}
LARGE_WORKER = {"cores": 8, "memory_gb": 60, "disk_gb": 100}

DEFAULT_PRESET = "standard"
PRESETS = {
    DEFAULT_PRESET: Preset(
        "workers of 4 vCPU and 16 GB, and at most 64 vCPU and 256 GB at once; the same as no preset.",
        {},
    ),
    "small": Preset(
        "workers of 2 vCPU and 8 GB, one executor to begin with, and at most 16 vCPU and 64 GB at once. For "
        "experiments, and for a few GB.",
        {
            "driver": SMALL_WORKER,
            "executor": SMALL_WORKER,
            "executors": 1,
            "maximum": {"cpu": 16, "memory_gb": 64, "disk_gb": 200},
        },
    ),
    "large": Preset(
        "executors of 8 vCPU, 60 GB and 100 GB of disk, and at most 400 vCPU and 3,000 GB at once. For wide shuffles "
        "over hundreds of GB. The account's quota of concurrent vCPU may be lower.",
        {"executor": LARGE_WORKER, "maximum": {"cpu": 400, "memory_gb": 3000, "disk_gb": 20000}},
    ),
    "arm": Preset(
        "the same as standard on Graviton, which costs less; native packages are built for it.",
        {"architecture": "arm64"},
    ),
}
