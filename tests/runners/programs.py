"""Programs that the runners' tests send to clusters."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files
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


def talks(spark: SparkSession, params: Numbers) -> Total:  # noqa: ARG001
    """Print lines in pieces, and one without an end."""
    print("first\nsecond", end="")
    print(" half\n\nnaïve — 12", end="")
    return Total(12)


def fails_in_a_worker(spark: SparkSession, params: Numbers) -> Total:
    """Raise on an executor."""
    return Total(spark.sparkContext.parallelize(["1", params.note], 1).map(_parse).sum())


def _parse(word: str) -> int:
    return int(word)


def reads_what_is_missing(spark: SparkSession, params: Numbers) -> Total:  # noqa: ARG001
    """Read a table that does not exist."""
    return Total(spark.read.parquet("file:///nowhere/none").count())


def exits(spark: SparkSession, params: Numbers) -> Total:  # noqa: ARG001
    """End the process with the first number."""
    sys.exit(params.values[0])


def asks_for_a_setting(spark: SparkSession, params: Numbers) -> Anything:  # noqa: ARG001
    """Return a setting that the runner was given."""
    return Anything(spark.conf.get("spark.sql.shuffle.partitions"))


def leaves_things_behind(spark: SparkSession, params: Numbers) -> Anything:  # noqa: ARG001
    """Return what an earlier program left, then leave a view and a setting."""
    found = [table.name for table in spark.catalog.listTables("global_temp")]
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    spark.range(1).createOrReplaceGlobalTempView("everybodys")
    return Anything([found, zone == "Asia/Tokyo"])


def returns_the_wrong_kind(spark: SparkSession, params: Numbers) -> Total:  # noqa: ARG001
    """Return a value that its annotation does not allow."""
    return Total("six")  # type: ignore[arg-type]


def lists_files_beside_the_code(spark: SparkSession, params: Numbers) -> Anything:
    """Read a file of this package on the driver and on an executor."""
    here = files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
    there = spark.sparkContext.parallelize(params.values[:1], 1).map(_read).collect()
    return Anything([here, *there])


def _read(_: int) -> str:
    return files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
