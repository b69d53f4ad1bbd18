"""Which runner: the one that EMR_PIPELINES_TARGET names."""

from __future__ import annotations

from emr_pipelines.emr.place import target
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner

RUNNERS: dict[str, type[SparkRunner]] = {"local": LocalSparkRunner, "emr": EmrSparkRunner}


def configured_runner() -> SparkRunner:
    """Spark in this process, or on EMR. Raises InvalidValue for a target there is not."""
    return RUNNERS[target()]()
