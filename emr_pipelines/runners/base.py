"""The resource that assets ask for: SparkRunner runs a program on Spark, here or on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import dagster as dg

from emr_pipelines.resource import StrictResource

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession


ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")


class SparkRunner(StrictResource, ABC):
    """Runs programs; the annotation with which an asset asks for a runner. For example:

        @dg.asset
        def total(context: dg.AssetExecutionContext, spark: SparkRunner) -> int:
            return spark.run(context, add_up, Numbers((1, 2, 3))).total

    Entering the resource does nothing; Spark or a cluster starts with the first program. A runner has one method to
    implement, `run`.
    """

    @abstractmethod
    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        """Run `program(spark, params)` and return its result.

        While it runs, what it prints and how far Spark is go to the event log of the run. An exception of the program
        is a Failure that leads with the probable cause, then says what to do, and shows the program's own frames; this
        package's errors, where the program runs in this process, pass through.
        """
