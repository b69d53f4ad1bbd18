"""The one annotation that assets know: run a program on Spark, somewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import dagster as dg

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession

ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")


class SparkRunner(dg.ConfigurableResource[None], ABC):
    """Runs programs. Entering the resource does nothing; what a program needs is started when the first one runs."""

    @abstractmethod
    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        """Run `program(spark, params)` and return its result.

        While it runs, what it prints and how far Spark is go to the event log of the run. An exception of the program
        passes through.
        """
