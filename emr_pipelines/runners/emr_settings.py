"""The settings for programs on Amazon EMR, from run config or Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.backends.emr.spec import ClusterSpec, Configuration
from emr_pipelines.backends.encryption import encryption_configurations
from emr_pipelines.environment import setting
from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.package import Submission
from emr_pipelines.runners.descriptions import checked, config_of, parsed
from emr_pipelines.runners.remote import RemoteSparkRunner
from emr_pipelines.spark_lines import release

if TYPE_CHECKING:
    Cluster = Mapping[str, Any] | ClusterSpec
else:
    Cluster = config_of(ClusterSpec)  # its schema for run config and the Launchpad


PRICES = (
    "USD per instance and hour, including EMR's share, by instance type, or by type and market: "
    "{'m5.xlarge': 0.24, 'm5.xlarge spot': 0.12}. Empty: AWS's price list, if the credentials may read it."
)


def validate_prices(told: dict[str, float]) -> dict[str, float]:
    """Return the prices. Raises InvalidValue for one that is not 0 or more."""
    for name, price in told.items():
        if not 0 <= price < math.inf:
            raise InvalidValue(f"prices.{name}", price, "a number of USD, 0 or more")
    return told


class EmrSettings(RemoteSparkRunner):
    """The settings of a runner on EMR, translated for the backend."""

    cluster: Cluster = Field(
        default={},
        description="The cluster, for instance {preset: spot}, or {core: {type: m6g.xlarge, count: 4}, primary: {type: "
        "m6g.xlarge}}. Omitted members have inexpensive defaults: a primary and two core m5.xlarge On-Demand, and an "
        "idle timeout of 15 minutes.",
    )
    scope: Literal["run", "asset", "pool"] = Field(
        default="run",
        description="Who shares a cluster: 'asset' (nobody), 'run' (the steps of a run), or 'pool' (all runs with the "
        "same cluster description; it ends when idle).",
    )
    pool_size: int = Field(
        default=1, ge=1, le=100, description="With scope 'pool': the maximum number of clusters; 1 to 100."
    )
    deploy_mode: Literal["client", "cluster"] = Field(
        default="client",
        description="Where the driver runs: 'client', on the primary node, or 'cluster', in a YARN container.",
    )
    queue: str = Field(default="", description="The YARN queue of the programs. Empty: YARN's default.")
    prices: dict[str, float] = Field(
        default={},
        description=PRICES,
    )

    @field_validator("prices")
    @classmethod
    def _priced(cls, told: dict[str, float]) -> dict[str, float]:
        return validate_prices(told)

    @field_validator("cluster", mode="plain")
    @classmethod
    def _checked(cls, told: Any) -> Any:
        return checked(ClusterSpec, told)

    def spec(self) -> ClusterSpec:
        """Return the cluster with the current values of its variables, and the environment's roles and encryption.

        Raises InvalidValue.
        """
        roles = {
            "service_role": setting("EMR_PIPELINES_SERVICE_ROLE"),
            "instance_profile": setting("EMR_PIPELINES_INSTANCE_PROFILE"),
        }
        return encrypted(parsed(ClusterSpec, self.cluster, roles), Encryption.configured())

    def submission(self) -> Submission:
        """Return how programs are submitted. Raises InvalidValue."""

        spec = self.spec()
        return Submission(
            conf=self.spark_config,
            jars=tuple(self.jars),
            files=tuple(self.files),
            architecture=spec.architecture,
            python=spec.python,
            ship_dependencies=self.ship_dependencies,
            details=(self.deploy_mode, self.queue, release(spec.label).spark, spec.python),
        )


def encrypted(spec: ClusterSpec, encryption: Encryption) -> ClusterSpec:
    """Return a cluster whose programs and EMR logs use this encryption; the description's own values win.

    Raises InvalidValue.
    """
    told = {found.classification: found for found in spec.configurations}
    for name, properties in encryption_configurations(encryption, spec.label).items():
        before = told.get(name) or Configuration(classification=name)
        told[name] = before.model_copy(update={"properties": {**properties, **before.properties}})
    logs = {"LogEncryptionKmsKeyId": encryption.key} if encryption.key else {}
    return spec.model_copy(update={"configurations": tuple(told.values()), "extra": {**logs, **spec.extra}})
