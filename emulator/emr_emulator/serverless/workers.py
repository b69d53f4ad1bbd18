"""The workers of a job run: their shapes, which are checked, and what they are billed for.

Sources: EMR Serverless User Guide, "Worker configurations", "Spark job properties" and "Pricing".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# vCPU: GB of memory, from and to
SHAPES = {1: (2, 8), 2: (4, 16), 4: (8, 30), 8: (16, 60), 16: (32, 120)}
DISK_GB = (20, 200)
FREE_DISK_GB = 20
DEFAULT_CORES = 4
DEFAULT_MEMORY = "14G"
DEFAULT_EXECUTORS = 3
OVERHEAD = 0.1
LEAST_OVERHEAD_MIB = 384
LEAST_SECONDS = 60
SIZE = re.compile(r"(\d+)\s*([kmgt]?)b?", re.IGNORECASE)
MIB = {"k": 1 / 1024, "m": 1, "": 1, "g": 1024, "t": 1024 * 1024}
CAPACITY = re.compile(r"(\d+(?:\.\d+)?)\s*(?:vCPU|GB|)", re.IGNORECASE)


class InvalidWorker(ValueError):
    """A shape that does not exist."""


class Worker(NamedTuple):
    cores: int
    memory_gb: int  # with its overhead
    disk_gb: int


class Workers(NamedTuple):
    """A driver, and so many equal executors."""

    driver: Worker
    executor: Worker
    executors: int

    @property
    def all(self) -> list[Worker]:
        return [self.driver, *[self.executor] * self.executors]


def workers_of(settings: Mapping[str, str]) -> Workers:
    """Return the workers that Spark's settings ask for. Raises InvalidWorker."""
    return Workers(_worker("driver", settings), _worker("executor", settings), _executors(settings))


def _worker(role: str, settings: Mapping[str, str]) -> Worker:
    cores = _number(f"spark.{role}.cores", settings, DEFAULT_CORES)
    if cores not in SHAPES:
        raise InvalidWorker(f"spark.{role}.cores is {cores}; workers have {', '.join(map(str, SHAPES))} vCPU.")
    memory = _mib(f"spark.{role}.memory", settings, DEFAULT_MEMORY)
    share = float(settings.get(f"spark.{role}.memoryOverheadFactor", OVERHEAD))
    told = settings.get(f"spark.{role}.memoryOverhead")
    overhead = _mib(f"spark.{role}.memoryOverhead", settings, "") if told else max(LEAST_OVERHEAD_MIB, memory * share)
    gigabytes, (least, most) = math.ceil((memory + overhead) / 1024), SHAPES[cores]
    if gigabytes > most:
        raise InvalidWorker(
            f"spark.{role}.memory and its overhead are {gigabytes} GB; a worker with {cores} vCPU has {least} to "
            f"{most} GB."
        )
    disk = math.ceil(_mib(f"spark.emr-serverless.{role}.disk", settings, f"{DISK_GB[0]}G") / 1024)
    if not DISK_GB[0] <= disk <= DISK_GB[1]:
        name = f"spark.emr-serverless.{role}.disk"
        raise InvalidWorker(f"{name} is {disk} GB; a worker has {DISK_GB[0]} to {DISK_GB[1]} GB.")
    return Worker(cores, max(gigabytes, least), disk)


def _executors(settings: Mapping[str, str]) -> int:
    names = ("spark.executor.instances", "spark.dynamicAllocation.initialExecutors")
    name = next((name for name in names if name in settings), names[0])
    return _number(name, settings, DEFAULT_EXECUTORS)


def _number(name: str, settings: Mapping[str, str], default: int) -> int:
    told = settings.get(name, str(default))
    if not told.isdecimal():
        raise InvalidWorker(f"{name} is {told!r}, which is not a number.")
    return int(told)


def _mib(name: str, settings: Mapping[str, str], default: str) -> float:
    told = settings.get(name, default)
    found = SIZE.fullmatch(told.strip())
    if not found:
        raise InvalidWorker(f"{name} is {told!r}, which is not a size such as 14G.")
    return int(found[1]) * MIB[found[2].lower()]


def hours(workers: Workers, seconds: float, billed: bool) -> dict[str, float]:
    """Return the resources that workers had for some seconds, in the API's units.

    The first 20 GB of a worker's disk are not billed.
    """
    free = FREE_DISK_GB if billed else 0
    all_hours = seconds / 3600
    return {
        "vCPUHour": round(sum(worker.cores for worker in workers.all) * all_hours, 3),
        "memoryGBHour": round(sum(worker.memory_gb for worker in workers.all) * all_hours, 3),
        "storageGBHour": round(sum(worker.disk_gb - free for worker in workers.all) * all_hours, 3),
    }


def exceeded(workers: list[Worker], maximum: Mapping[str, Any]) -> str:
    """Return the part of maximumCapacity that these workers exceed, as AWS writes it; empty if they fit."""
    sums = {
        "cpu": sum(worker.cores for worker in workers),
        "memory": sum(worker.memory_gb for worker in workers),
        "disk": sum(worker.disk_gb for worker in workers),
    }
    for name, wanted in sums.items():
        if name in maximum and wanted > capacity(str(maximum[name])):
            return f"{name}: {maximum[name]}"
    return ""


def capacity(told: str) -> float:
    """Read a capacity such as "16 vCPU" or "64GB". Raises InvalidWorker."""
    found = CAPACITY.fullmatch(told.strip())
    if not found:
        raise InvalidWorker(f"{told!r} is not a capacity such as 16 vCPU or 64 GB.")
    return float(found[1])
