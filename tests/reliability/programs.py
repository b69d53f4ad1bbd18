"""The program of the killed runs; the emulated account does its work (account.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Where:
    output: str


@dataclass(frozen=True)
class Written:
    """digest: unique to the computation that wrote the data."""

    digest: str


def write(spark: SparkSession, params: Where) -> Written:
    """Write a file that names the computation that wrote it."""
    raise NotImplementedError
