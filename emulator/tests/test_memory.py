"""The size of an executor's container on YARN."""

from __future__ import annotations

import pytest

from emr_emulator.memory import container_mib

MEMORY = "spark.executor.memory"


@pytest.mark.parametrize(
    ("settings", "mib"),
    [
        ({}, None),  # EMR chooses it by an undocumented rule
        ({MEMORY: "much"}, None),  # Spark refuses it
        ({MEMORY: "1g"}, 1024 + 384),
        ({MEMORY: "1024"}, 1024 + 384),
        ({MEMORY: "1024M"}, 1024 + 384),
        ({MEMORY: "1GB"}, 1024 + 384),
        ({MEMORY: "8g"}, 8192 + 819),
        ({MEMORY: "8g", "spark.executor.memoryOverheadFactor": "0.25"}, 8192 + 2048),
        ({MEMORY: "8g", "spark.executor.memoryOverheadFactor": "x"}, 8192 + 819),
        ({MEMORY: "8g", "spark.executor.memoryOverhead": "2g"}, 8192 + 2048),
        ({MEMORY: "8g", "spark.executor.memoryOverhead": "100"}, 8192 + 100),
        ({MEMORY: "8g", "spark.yarn.executor.memoryOverhead": "100"}, 8192 + 100),
        ({MEMORY: "1g", "spark.executor.pyspark.memory": "2g"}, 1024 + 384 + 2048),
        ({MEMORY: "1g", "spark.memory.offHeap.size": "1g"}, 1024 + 384),
        ({MEMORY: "1g", "spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "1g"}, 2048 + 384),
        ({MEMORY: "1g", "spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "1073741824"}, 2048 + 384),
    ],
)
def test_the_memory_of_a_container(settings: dict[str, str], mib: int | None) -> None:
    assert container_mib(settings) == mib
