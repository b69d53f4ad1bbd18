"""Memory of an executor's YARN container: the requested heap, and the limit at which YARN kills it.

Source: Spark, "Running on YARN" and "Configuration" (spark.executor.memory, memoryOverhead, pyspark.memory).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MIN_OVERHEAD_MIB = 384
OVERHEAD_FACTOR = 0.10
SIZE = re.compile(r"(\d+)([kmgtp]?)b?", re.IGNORECASE)
MIB_OF_UNIT = {"k": 1 / 1024, "": 1, "m": 1, "g": 1024, "t": 1024**2, "p": 1024**3}  # Spark's unit is MiB


def heap_mib(settings: Mapping[str, str]) -> int | None:
    """Return spark.executor.memory in MiB, or None if it is unset or invalid."""
    return _mib(settings.get("spark.executor.memory"))


def container_mib(settings: Mapping[str, str]) -> int | None:
    """Return heap, overhead, off-heap and Python memory in MiB, or None without spark.executor.memory.

    If nobody sets spark.executor.memory, EMR derives it from the instance type by an undocumented rule.
    """
    heap = heap_mib(settings)
    if heap is None:
        return None
    old_name = settings.get("spark.yarn.executor.memoryOverhead")
    overhead = _mib(settings.get("spark.executor.memoryOverhead", old_name))
    if overhead is None:
        overhead = max(MIN_OVERHEAD_MIB, int(heap * _factor(settings)))
    more = _mib(settings.get("spark.executor.pyspark.memory")) or 0
    if settings.get("spark.memory.offHeap.enabled", "").lower() == "true":
        more += (_mib(settings.get("spark.memory.offHeap.size"), without_unit=1 / 1024**2)) or 0
    return heap + overhead + more


def _factor(settings: Mapping[str, str]) -> float:
    try:
        return float(settings.get("spark.executor.memoryOverheadFactor", OVERHEAD_FACTOR))
    except ValueError:
        return OVERHEAD_FACTOR


def _mib(size: str | None, without_unit: float = 1) -> int | None:
    """Parse a size in Spark's notation (`4g`, `512m`, `1024`); return MiB."""
    found = SIZE.fullmatch((size or "").strip())
    if found is None:
        return None
    unit = found.group(2).lower()
    return int(int(found.group(1)) * (MIB_OF_UNIT[unit] if unit else without_unit))
