"""Programs that the runners' tests send to clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Numbers:
    values: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Total:
    total: int


@dataclass(frozen=True)
class Anything:
    value: Any


def add_up(spark: SparkSession, params: Numbers) -> Total:
    """Add numbers on the executors, and print a line."""
    print(f"adding {len(params.values)} numbers")
    return Total(spark.sparkContext.parallelize(params.values, 1).sum())


def add_here(spark: SparkSession, params: Numbers) -> Total:  # noqa: ARG001
    """Add numbers without Spark."""
    return Total(sum(params.values))


def fails(spark: SparkSession, params: Numbers) -> Total:  # noqa: ARG001
    """Print a line, then raise."""
    print(f"about to fail on {params.values}")
    raise ValueError(f"no good: {params.note}")


def returns_no_json(spark: SparkSession, params: Numbers) -> Anything:  # noqa: ARG001
    """Return a result that is not JSON."""
    return Anything(value={1, 2})
