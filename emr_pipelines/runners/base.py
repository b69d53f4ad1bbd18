"""The resource that assets ask for: SparkRunner runs a program on Spark, here or on a cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import dagster as dg

from emr_pipelines.resource import StrictResource

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession

    from emr_pipelines.costs.ledger import Entry

ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")


class SparkRunner(StrictResource, ABC):
    """Runs programs. Entering the resource does nothing; Spark or a cluster starts with the first program."""

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

    def check_storage(self, address: str) -> None:
        """Raise StorageUnusable, before any work is done, when programs cannot reach a storage at this address: a path
        of this machine, or an s3:// URI. Spark in this process can reach whatever this process can."""

    def work_id(
        self,
        context: dg.AssetExecutionContext,  # noqa: ARG002 (for runners elsewhere)
        program: Callable[[SparkSession, ParamsT], ResultT],  # noqa: ARG002
        params: ParamsT,  # noqa: ARG002
    ) -> str:
        """Identify the work that `run` would do. Attempts at the same step have the same text only if program,
        parameters, code and settings are the same, so that `run` takes up what an earlier one began. Empty where no
        program outlives the process that runs it."""
        return ""

    def has_result(
        self,
        context: dg.AssetExecutionContext,  # noqa: ARG002 (for runners elsewhere)
        program: Callable[[SparkSession, ParamsT], ResultT],  # noqa: ARG002
        params: ParamsT,  # noqa: ARG002
    ) -> bool:
        """Whether `run` would return the result of an earlier attempt and run nothing."""
        return False

    def bring(
        self,
        context: dg.AssetExecutionContext,  # noqa: ARG002 (for runners elsewhere)
        sources: Sequence[str],
    ) -> list[str]:
        """Return the sources as programs can read them. A runner on a cluster copies files of this machine to S3; URIs
        such as s3:// and hdfs:// stay as they are. Spark in this process needs no copies."""
        return list(sources)

    def named_here(self, text: str) -> str:
        """Replace the URIs of files that `bring` copied by their paths on this machine."""
        return text

    def ledger(self, known: Sequence[Entry]) -> list[Entry]:
        """Return the costs of clusters by day: the known entries, brought up to date. Spark in this process has no
        clusters."""
        return list(known)
