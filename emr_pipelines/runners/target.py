"""Which runner: the one that EMR_PIPELINES_TARGET names."""

from __future__ import annotations

import os

from emr_pipelines.emr.encryption import Encryption
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner

TARGETS: dict[str, type[SparkRunner]] = {"local": LocalSparkRunner, "emr": EmrSparkRunner}


def configured_runner() -> SparkRunner:
    """Spark in this process, or on EMR. Raises InvalidValue for a target there is not, and for an encryption of S3
    that there is not."""
    Encryption.configured()
    target = os.environ.get("EMR_PIPELINES_TARGET", "").strip() or "local"
    if target not in TARGETS:
        raise InvalidValue("EMR_PIPELINES_TARGET", target, " or ".join(TARGETS))
    return TARGETS[target]()
