"""The resource for the asset `cluster_costs`: what the deployment's clusters cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from emr_pipelines import environment
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import deployment_name
from emr_pipelines.aws.preflight import check_region
from emr_pipelines.backends.emr.ledger import ledger
from emr_pipelines.costs.ledger import LedgerEntry
from emr_pipelines.resource import StrictResource
from emr_pipelines.runners.emr_settings import PRICES, validate_prices


class ClusterLedger(StrictResource):
    """The costs of this deployment's clusters, by day, as EMR reports them.

    A deployment that runs its programs on this machine has no clusters, so EMR is not asked. Set `target` to "emr" if
    your definitions name an EmrSparkRunner themselves:

        dg.Definitions(resources={"spark": EmrSparkRunner(), "ledger": ClusterLedger(target="emr")}, ...)
    """

    target: Literal["", "local", "emr"] = Field(
        default="", description="Where programs run; empty for what EMR_PIPELINES_TARGET says."
    )
    prices: dict[str, float] = Field(default={}, description=PRICES)

    @field_validator("prices")
    @classmethod
    def _priced(cls, told: dict[str, float]) -> dict[str, float]:
        return validate_prices(told)

    def entries(self, known: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Return the entries of all days: the known ones, brought up to date. Raises the AwsErrors."""
        if (self.target or environment.target()) == "local":
            return list(known)

        aws = Aws()
        check_region(aws.region)  # an unknown region is an unknown host, and its retries take minutes
        return ledger(aws, deployment_name(), known, self.prices)
