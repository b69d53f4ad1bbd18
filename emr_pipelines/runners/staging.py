"""Stage files of this machine for programs that run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.remote import RemoteSparkRunner


def stage_inputs(context: dg.AssetExecutionContext, spark: SparkRunner, sources: Sequence[str]) -> list[str]:
    """Return the sources as programs of this runner can read them.

    Files of this machine are copied to S3 for a runner elsewhere, each content once. URIs such as s3:// and hdfs://
    stay as they are. Spark in this process needs no copies. Raises the AwsErrors as Failures.
    """
    return spark.stage_inputs(context, sources) if isinstance(spark, RemoteSparkRunner) else list(sources)


def named_here(spark: SparkRunner, text: str) -> str:
    """Replace the URIs of copies that `stage_inputs` made by the paths of the files on this machine."""
    return spark.named_here(text) if isinstance(spark, RemoteSparkRunner) else text
