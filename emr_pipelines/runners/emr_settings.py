"""What can be set of programs on Amazon EMR, by run config or in Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field, field_validator, model_validator

from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.base import SparkRunner

if TYPE_CHECKING:
    from emr_pipelines.emr.shipment import Submission
    from emr_pipelines.emr.spec import ClusterSpec
    from emr_pipelines.emr.steps import DeployMode
    from emr_pipelines.emr.watch import Deadlines

NONE = "none"  # stands for null, which Dagster's config does not know


class EmrSettings(SparkRunner):
    """The settings of a runner on EMR, and what they mean to emr/."""

    bucket: str = Field(
        default="",
        description="Where code, logs and results go: my-bucket, or s3://my-bucket/prefix. Empty: what "
        "EMR_PIPELINES_BUCKET says.",
    )
    cluster: dict[str, Any] = Field(
        default={},
        description="The cluster, as a ClusterSpec: release_label, primary, core, task or fleets, and so on; what is "
        "left out has a cheap default; 'none' stands for null, as in core: none.",
    )
    scope: str = Field(
        default="run",
        description="Who shares a cluster: 'asset' (nobody), 'run' (the steps of a run), or 'pool' (whoever needs the "
        "same cluster; it ends when idle).",
    )
    pool_size: int = Field(default=1, ge=1, le=100, description="With scope 'pool': at most so many clusters.")
    deploy_mode: str = Field(
        default="client",
        description="Where the driver runs: 'client', on the primary node, or 'cluster', in a YARN container.",
    )
    queue: str = Field(default="", description="The YARN queue of the programs.")
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties of the programs, for instance {'spark.executor.memory': '4g'}."
    )
    jars: list[str] = Field(default=[], description="Jars for the programs: files of this machine, or s3:// URIs.")
    files: list[str] = Field(
        default=[], description="Files to place where programs run: of this machine, or s3:// URIs."
    )
    ship_dependencies: bool = Field(
        default=True,
        description="Send the packages in the programs' REQUIREMENTS along. False: the cluster has them, by a "
        "bootstrap action or an image.",
    )
    provisioning_minutes: float = Field(default=60, gt=0, description="How long a cluster may take to come up.")
    queueing_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may wait for others.")
    running_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may run.")
    log_wait_seconds: float = Field(
        default=330,
        ge=0,
        description="How long to wait for the logs of a failed step when nothing else says why it failed; EMR pushes "
        "them every 300 seconds.",
    )
    retries: int = Field(
        default=2, ge=0, description="How often a step is tried again that AWS, not the program, made fail."
    )
    retry_delay_seconds: float = Field(default=30, ge=0, description="How long to wait before it is tried again.")
    prices: dict[str, float] = Field(
        default={},
        description="USD per instance and hour, EMR's share included, by instance type, or type and market: "
        "{'m5.xlarge': 0.24, 'm5.xlarge spot': 0.12}. Empty: AWS's price list, where it can be read.",
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, settings: Any) -> Any:
        unknown = set(settings) - set(cls.model_fields) if isinstance(settings, Mapping) else set()
        if unknown:
            allowed = ", ".join(cls.model_fields)
            raise InvalidValue("A setting of EmrSparkRunner", ", ".join(sorted(unknown)), allowed)
        return settings

    @field_validator("cluster", mode="before")
    @classmethod
    def _as_data(cls, value: Any) -> Any:
        """A ClusterSpec can be given as such. Dagster's config knows no null, so 'none' stands for it."""
        data = value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value
        return {name: NONE if member is None else member for name, member in data.items()}

    def spec(self) -> ClusterSpec:
        """The cluster. Raises InvalidValue."""
        from emr_pipelines.emr.spec import ClusterSpec

        roles = {
            "service_role": os.environ.get("EMR_PIPELINES_SERVICE_ROLE", "").strip(),
            "instance_profile": os.environ.get("EMR_PIPELINES_INSTANCE_PROFILE", "").strip(),
        }
        told = {name: None if member == NONE else member for name, member in self.cluster.items()}
        return ClusterSpec.parse({**{name: role for name, role in roles.items() if role}, **told})

    def submission(self) -> Submission:
        """How programs are submitted. Raises InvalidValue."""
        from emr_pipelines.emr.shipment import Submission

        spec = self.spec()
        return Submission(
            deploy_mode=cast("DeployMode", one_of("deploy_mode", self.deploy_mode, "client", "cluster")),
            queue=self.queue,
            conf=self.spark_config,
            jars=tuple(self.jars),
            files=tuple(self.files),
            architecture=spec.architecture,
            python=spec.python,
            ship_dependencies=self.ship_dependencies,
        )

    def deadlines(self) -> Deadlines:
        from emr_pipelines.emr.watch import Deadlines

        return Deadlines(60 * self.provisioning_minutes, 60 * self.queueing_minutes, 60 * self.running_minutes)


def one_of(name: str, value: str, *allowed: str) -> str:
    if value not in allowed:
        raise InvalidValue(name, value, ", ".join(allowed))
    return value
