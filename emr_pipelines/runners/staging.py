"""Stage files of this machine for programs that run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import dagster as dg

from emr_pipelines.runners.base import SparkRunner


@runtime_checkable
class StagesInputs(Protocol):
    """A runner whose programs cannot read files of this machine, so that it copies them first."""

    def stage_inputs(self, context: dg.AssetExecutionContext, sources: Sequence[str]) -> list[str]:
        """Copy what is on this machine to S3, each content once, and return the sources as programs can read them."""
        ...

    def named_here(self, text: str) -> str:
        """Replace the URIs of those copies by the paths of the files on this machine."""
        ...


def stage_inputs(context: dg.AssetExecutionContext, spark: SparkRunner, sources: Sequence[str]) -> list[str]:
    """Return the sources as programs of this runner can read them.

    Files of this machine are copied to S3 for a runner elsewhere; URIs such as s3:// and hdfs:// stay as they are.
    Spark in this process needs no copies. Raises the AwsErrors as Failures.
    """
    return spark.stage_inputs(context, sources) if isinstance(spark, StagesInputs) else list(sources)


def named_here(spark: SparkRunner, text: str) -> str:
    """Replace the URIs of copies that `stage_inputs` made by the paths of the files on this machine."""
    return spark.named_here(text) if isinstance(spark, StagesInputs) else text
