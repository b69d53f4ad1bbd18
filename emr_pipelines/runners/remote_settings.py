"""The settings that all runners of AWS's services share, as fields of a Dagster resource."""

from __future__ import annotations

import dagster as dg
from pydantic import Field, ValidationInfo, field_validator

from emr_pipelines.aws.deployment import bucket_and_prefix
from emr_pipelines.aws.redaction import reject_secrets
from emr_pipelines.backends.base import Deadlines
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.base import SparkRunner

LONGEST_WAIT = 10_000_000  # minutes or seconds: longer than anyone means, but still a valid date


class RemoteSettings(SparkRunner):
    """Where code and results go, how programs run, and how long to wait. Raises InvalidValue."""

    bucket: str = Field(
        default="",
        description="The bucket for code, logs and results: my-bucket, or s3://my-bucket/prefix. Empty: the value of "
        "EMR_PIPELINES_BUCKET.",
    )
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties for the programs, for instance {'spark.executor.memory': '4g'}."
    )
    jars: list[str] = Field(
        default=[],
        description="Jars for the programs: files on this machine, or s3:// URIs, as in [s3://my-bucket/my.jar].",
    )
    files: list[str] = Field(
        default=[],
        description="Files for the programs: on this machine, or s3:// URIs, as in [my.conf]. Driver and executors "
        "find them with SparkFiles.get('my.conf').",
    )
    ship_dependencies: bool = Field(
        default=True,
        description="Send the packages in the programs' REQUIREMENTS to the cluster. False: the cluster has them, from "
        "a bootstrap action or an image.",
    )
    provisioning_minutes: float = Field(
        default=60, gt=0, description="How long a cluster may take to start; more than 0."
    )
    queueing_minutes: float = Field(
        default=24 * 60, gt=0, description="How long a step may wait for other steps; more than 0."
    )
    running_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may run; more than 0.")
    log_wait_seconds: float = Field(
        default=330,
        ge=0,
        description="How long to wait for the logs of a failed step when nothing else shows why it failed. EMR pushes "
        "logs every 300 seconds, and once more when the cluster ends. 0: do not wait.",
    )
    retries: int = Field(
        default=2,
        ge=0,
        description="How many times to retry a step that fails because of AWS, not the program; 0 or more.",
    )
    retry_delay_seconds: float = Field(
        default=30, ge=0, description="How long to wait before such a retry, in seconds; 0 or more."
    )

    @field_validator("bucket")
    @classmethod
    def _usable(cls, told: str) -> str:
        if told.strip() and not isinstance(told, dg.EnvVar):
            bucket_and_prefix(told.strip(), "bucket")
        return told

    @field_validator("spark_config")
    @classmethod
    def _no_secrets(cls, told: dict[str, str]) -> dict[str, str]:
        reject_secrets("spark_config", told)
        return told

    @field_validator(
        "provisioning_minutes", "queueing_minutes", "running_minutes", "log_wait_seconds", "retry_delay_seconds"
    )
    @classmethod
    def _with_an_end(cls, told: float, info: ValidationInfo) -> float:
        """Reject endless waits, which cost money."""
        if told > LONGEST_WAIT:
            raise InvalidValue(str(info.field_name), told, f"{LONGEST_WAIT:,} or less")
        return told

    def deadlines(self) -> Deadlines:
        return Deadlines(60 * self.provisioning_minutes, 60 * self.queueing_minutes, 60 * self.running_minutes)
