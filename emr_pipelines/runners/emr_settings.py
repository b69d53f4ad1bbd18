"""What can be set of programs on Amazon EMR, by run config or in Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from emr_pipelines.emr.disclosure import REFER, refuse_secrets
from emr_pipelines.emr.encryption import Encryption
from emr_pipelines.emr.spec import ClusterSpec, Configuration
from emr_pipelines.environment import setting
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.cluster_config import config_of
from emr_pipelines.runners.variables import is_variable, looked_up, plain, refuse_whole_numbers, without_values

LONGEST_WAIT = 10_000_000  # minutes or seconds: far longer than anybody means, and still a date

if TYPE_CHECKING:
    from emr_pipelines.emr.shipment import Submission
    from emr_pipelines.emr.watch import Deadlines

    Cluster = Mapping[str, Any] | ClusterSpec
else:
    Cluster = config_of(ClusterSpec)  # what run config and the Launchpad know of it


class EmrSettings(SparkRunner):
    """The settings of a runner on EMR, and what they mean to emr/."""

    bucket: str = Field(
        default="",
        description="Where code, logs and results go: my-bucket, or s3://my-bucket/prefix. Empty: what "
        "EMR_PIPELINES_BUCKET says.",
    )
    cluster: Cluster = Field(
        default={},
        description="The cluster, for instance {preset: spot}, or {core: {type: m6g.xlarge, count: 4}, primary: {type: "
        "m6g.xlarge}}. What is left out has a cheap default: a primary and two core m5.xlarge on demand, which end "
        "after 15 idle minutes.",
    )
    scope: Literal["run", "asset", "pool"] = Field(
        default="run",
        description="Who shares a cluster: 'asset' (nobody), 'run' (the steps of a run), or 'pool' (whoever needs the "
        "same cluster; it ends when idle).",
    )
    pool_size: int = Field(
        default=1, ge=1, le=100, description="With scope 'pool': at most so many clusters; 1 to 100."
    )
    deploy_mode: Literal["client", "cluster"] = Field(
        default="client",
        description="Where the driver runs: 'client', on the primary node, or 'cluster', in a YARN container.",
    )
    queue: str = Field(default="", description="The YARN queue of the programs. Empty: YARN's default.")
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties of the programs, for instance {'spark.executor.memory': '4g'}."
    )
    jars: list[str] = Field(
        default=[],
        description="Jars for the programs: files of this machine, or s3:// URIs, as in [s3://my-bucket/my.jar].",
    )
    files: list[str] = Field(
        default=[],
        description="Files for programs, which read them at SparkFiles.get('my.conf') on driver and executors: of this "
        "machine, or s3:// URIs, as in [my.conf].",
    )
    ship_dependencies: bool = Field(
        default=True,
        description="Send the packages in the programs' REQUIREMENTS along. False: the cluster has them, by a "
        "bootstrap action or an image.",
    )
    provisioning_minutes: float = Field(
        default=60, gt=0, description="How long a cluster may take to come up; more than 0."
    )
    queueing_minutes: float = Field(
        default=24 * 60, gt=0, description="How long a step may wait for others; more than 0."
    )
    running_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may run; more than 0.")
    log_wait_seconds: float = Field(
        default=330,
        ge=0,
        description="How long to wait for the logs of a failed step when nothing else says why it failed; EMR pushes "
        "them every 300 seconds, and for the last time when the cluster ends. 0: not at all.",
    )
    retries: int = Field(
        default=2, ge=0, description="How often a step is tried again that AWS, not the program, made fail; 0 or more."
    )
    retry_delay_seconds: float = Field(
        default=30, ge=0, description="How long to wait before it is tried again; 0 or more."
    )
    prices: dict[str, float] = Field(
        default={},
        description="USD per instance and hour, EMR's share included, by instance type, or type and market: "
        "{'m5.xlarge': 0.24, 'm5.xlarge spot': 0.12}. Empty: AWS's price list, where it can be read.",
    )

    @field_validator("spark_config")
    @classmethod
    def _no_secrets(cls, told: dict[str, str]) -> dict[str, str]:
        refuse_secrets("spark_config", told)
        return told

    @field_validator(
        "provisioning_minutes", "queueing_minutes", "running_minutes", "log_wait_seconds", "retry_delay_seconds"
    )
    @classmethod
    def _with_an_end(cls, told: float, info: ValidationInfo) -> float:
        """No wait is for ever: a cluster costs money meanwhile."""
        if told > LONGEST_WAIT:
            raise InvalidValue(str(info.field_name), told, f"{LONGEST_WAIT:,} or less")
        return told

    @field_validator("prices")
    @classmethod
    def _priced(cls, told: dict[str, float]) -> dict[str, float]:
        for name, price in told.items():
            if not 0 <= price < math.inf:
                raise InvalidValue(f"prices.{name}", price, "a number of USD, 0 or more")
        return told

    @field_validator("cluster", mode="plain")
    @classmethod
    def _checked(cls, told: Any) -> Any:
        """Check what was told of the cluster, as far as its variables allow, and keep it as it was told."""
        if not isinstance(told, (Mapping, ClusterSpec)) or is_variable(described := plain(told)):
            raise InvalidValue("cluster", plain(told), "a mapping")
        refuse_secrets("cluster.extra", described.get("extra"), REFER)
        if isinstance(told, Mapping):
            refuse_whole_numbers(told.get("extra"), "cluster.extra")
        ClusterSpec.check(described, is_variable)
        return described

    def spec(self) -> ClusterSpec:
        """The cluster, with the values that its variables have now, and what the environment says of roles and of
        encryption. Raises InvalidValue."""
        roles = {
            "service_role": setting("EMR_PIPELINES_SERVICE_ROLE"),
            "instance_profile": setting("EMR_PIPELINES_INSTANCE_PROFILE"),
        }
        told, names = looked_up(plain(self.cluster), "cluster")
        try:
            spec = ClusterSpec.parse({**{name: role for name, role in roles.items() if role}, **told})
        except InvalidValue as mistake:
            raise without_values(mistake, names) from None
        return encrypted(spec, Encryption.configured())

    def submission(self) -> Submission:
        """How programs are submitted. Raises InvalidValue."""
        from emr_pipelines.emr.shipment import Submission

        spec = self.spec()
        return Submission(
            deploy_mode=self.deploy_mode,
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


def encrypted(spec: ClusterSpec, encryption: Encryption) -> ClusterSpec:
    """A cluster whose programs, and EMR's own logs, are written so; what the description says itself stands. Raises
    InvalidValue."""
    told = {found.classification: found for found in spec.configurations}
    for name, properties in encryption.of_cluster(spec.release_label).items():
        before = told.get(name) or Configuration(classification=name)
        told[name] = before.model_copy(update={"properties": {**properties, **before.properties}})
    logs = {"LogEncryptionKmsKeyId": encryption.key} if encryption.key else {}
    return spec.model_copy(update={"configurations": tuple(told.values()), "extra": {**logs, **spec.extra}})
