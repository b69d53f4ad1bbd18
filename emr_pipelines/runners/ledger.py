"""The resource that knows what clusters cost, for the asset `cluster_costs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from emr_pipelines import environment
from emr_pipelines.aws.deployment import deployment_name
from emr_pipelines.resource import StrictResource
from emr_pipelines.runners.emr_settings import PRICES, validate_prices

if TYPE_CHECKING:  # the ledger's module imports boto3, which takes half a second
    from emr_pipelines.costs.ledger import Entry


class ClusterLedger(StrictResource):
    """The costs of this deployment's clusters, by day, as EMR tells them. Where programs run on this machine
    (EMR_PIPELINES_TARGET=local), there are no clusters to ask for."""

    prices: dict[str, float] = Field(default={}, description=PRICES)

    @field_validator("prices")
    @classmethod
    def _priced(cls, told: dict[str, float]) -> dict[str, float]:
        return validate_prices(told)

    def entries(self, known: Sequence[Entry]) -> list[Entry]:
        """Return the entries of all days: the known ones, brought up to date. Raises the AwsErrors."""
        if environment.target() == "local":
            return list(known)
        from emr_pipelines.aws.client import Aws
        from emr_pipelines.backends.emr.ledger import ledger

        return ledger(Aws(), deployment_name(), known, self.prices)
