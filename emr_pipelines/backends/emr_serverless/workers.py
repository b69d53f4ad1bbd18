"""The workers of a job run: the shapes that exist, and Spark's settings for them.

Source: EMR Serverless User Guide, "Worker configurations" and "Spark job properties".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import Field, model_validator

from emr_pipelines.backends.description import Part
from emr_pipelines.errors import InvalidValue

# GB of memory, from and to, by vCPU
SHAPES = {1: (2, 8), 2: (4, 16), 4: (8, 30), 8: (16, 60), 16: (32, 120)}
CORES = "1, 2, 4, 8 or 16"
MIN_DISK_GB, MAX_DISK_GB = 20, 200
DEFAULT_EXECUTORS = 3  # Spark starts with so many, and EMR Serverless adds more as there are tasks
OVERHEAD = 0.1  # of the memory that Spark is given, and at least
LEAST_OVERHEAD_MIB = 384
GIB = 1024  # MiB
SIZE = re.compile(r"(\d+)\s*([kmgt]?)b?", re.IGNORECASE)
MIB = {"k": 1 / GIB, "m": 1, "": 1, "g": GIB, "t": GIB * GIB}
ROLES = ("driver", "executor")
INITIAL_EXECUTORS = ("spark.dynamicAllocation.initialExecutors", "spark.executor.instances")


class Worker(Part):
    """The size of a worker."""

    cores: int = Field(default=4, description="vCPU: 1, 2, 4, 8 or 16.")
    memory_gb: int = Field(
        default=16,
        description="Memory in GB, Spark's overhead included: 2 to 8 with 1 vCPU, 4 to 16 with 2, 8 to 30 with 4, 16 "
        "to 60 with 8, 32 to 120 with 16.",
    )
    disk_gb: int = Field(default=20, description="Disk in GB, 20 to 200; the first 20 are free.")

    @model_validator(mode="after")
    def _exists(self) -> Worker:
        if self.cores not in SHAPES:
            raise InvalidValue("cores", self.cores, CORES)
        least, most = SHAPES[self.cores]
        if not least <= self.memory_gb <= most:
            raise InvalidValue("memory_gb", self.memory_gb, f"{least} to {most} with {self.cores} vCPU")
        if not MIN_DISK_GB <= self.disk_gb <= MAX_DISK_GB:
            raise InvalidValue("disk_gb", self.disk_gb, f"{MIN_DISK_GB} to {MAX_DISK_GB}")
        return self

    def conf(self, role: str) -> dict[str, str]:
        """Return Spark's settings for a worker of this size. role: driver or executor."""
        whole = self.memory_gb * GIB
        spark = math.floor(min(whole / (1 + OVERHEAD), whole - LEAST_OVERHEAD_MIB))
        return {
            f"spark.{role}.cores": str(self.cores),
            f"spark.{role}.memory": f"{spark}m",
            f"spark.emr-serverless.{role}.disk": f"{self.disk_gb}G",
        }


class Workers(NamedTuple):
    """The driver and the first executors of a job run, as Spark's settings ask for them."""

    driver: Worker
    executor: Worker
    executors: int

    def total(self) -> dict[str, int]:
        """Return cpu, memory_gb and disk_gb of one driver and one executor, without which no job run begins."""
        both = (self.driver, self.executor)
        return {
            "cpu": sum(worker.cores for worker in both),
            "memory_gb": sum(worker.memory_gb for worker in both),
            "disk_gb": sum(worker.disk_gb for worker in both),
        }


def workers_of(conf: Mapping[str, str]) -> Workers:
    """Return the workers that Spark's settings ask for. Raises InvalidValue for a shape that does not exist."""
    name = next((name for name in INITIAL_EXECUTORS if name in conf), INITIAL_EXECUTORS[0])
    driver, executor = (_worker(role, conf) for role in ROLES)
    return Workers(driver, executor, _number(name, conf, DEFAULT_EXECUTORS))


def _worker(role: str, conf: Mapping[str, str]) -> Worker:
    cores = _number(f"spark.{role}.cores", conf, 4)
    if cores not in SHAPES:
        raise InvalidValue(f"spark.{role}.cores", cores, CORES)
    memory = _mib(f"spark.{role}.memory", conf, "14g")
    told = conf.get(f"spark.{role}.memoryOverhead")
    share = _share(f"spark.{role}.memoryOverheadFactor", conf)
    overhead = _mib(f"spark.{role}.memoryOverhead", conf, "") if told else max(LEAST_OVERHEAD_MIB, memory * share)
    gigabytes, (least, most) = math.ceil((memory + overhead) / GIB), SHAPES[cores]
    if gigabytes > most:
        allowed = f"{least} to {most} GB with {cores} vCPU, overhead included; this makes {gigabytes} GB"
        raise InvalidValue(f"spark.{role}.memory", conf.get(f"spark.{role}.memory", "14g"), allowed)
    disk = math.ceil(_mib(f"spark.emr-serverless.{role}.disk", conf, f"{MIN_DISK_GB}g") / GIB)
    if not MIN_DISK_GB <= disk <= MAX_DISK_GB:
        raise InvalidValue(f"spark.emr-serverless.{role}.disk", f"{disk}g", f"{MIN_DISK_GB}g to {MAX_DISK_GB}g")
    return Worker.model_validate({"cores": cores, "memory_gb": max(gigabytes, least), "disk_gb": disk})


def _number(name: str, conf: Mapping[str, str], default: int) -> int:
    told = conf.get(name, str(default))
    if not told.isdecimal():
        raise InvalidValue(name, told, "a whole number")
    return int(told)


def _share(name: str, conf: Mapping[str, str]) -> float:
    try:
        return float(conf.get(name, OVERHEAD))
    except ValueError:
        raise InvalidValue(name, conf[name], "a number, such as 0.1") from None


def _mib(name: str, conf: Mapping[str, str], default: str) -> float:
    told = conf.get(name, default)
    found = SIZE.fullmatch(told.strip())
    if not found:
        raise InvalidValue(name, told, "a size such as 14g")
    return int(found[1]) * MIB[found[2].lower()]
