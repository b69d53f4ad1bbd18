"""The resource for the asset `spark_costs`: what the deployment's clusters and job runs cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from emr_pipelines import environment
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import deployment_name
from emr_pipelines.aws.preflight import check_region
from emr_pipelines.backends.emr import ledger as emr
from emr_pipelines.backends.emr_serverless import ledger as serverless
from emr_pipelines.backends.emr_serverless.bills import RESOURCES
from emr_pipelines.costs.ledger import EMR, EMR_SERVERLESS, LedgerEntry
from emr_pipelines.costs.pricing import listed_prices
from emr_pipelines.resource import StrictResource
from emr_pipelines.runners.emr_settings import PRICES, validate_prices

SERVICES = {"emr": EMR, "emr-serverless": EMR_SERVERLESS}


class CostLedger(StrictResource):
    """The costs of this deployment's clusters and job runs, by day, as AWS reports them.

    A deployment that runs its programs on this machine has none, so AWS is not asked. Set `target` to "emr" or
    "emr-serverless" if your definitions name a runner themselves:

        dg.Definitions(resources={"spark": EmrSparkRunner(), "ledger": CostLedger(target="emr")}, ...)
    """

    target: Literal["", "local", "emr", "emr-serverless"] = Field(
        default="", description="Where programs run; empty for what EMR_PIPELINES_TARGET says."
    )
    prices: dict[str, float] = Field(
        default={}, description=f"{PRICES} For EMR Serverless: USD per {', '.join(RESOURCES)}."
    )

    @field_validator("prices")
    @classmethod
    def _priced(cls, told: dict[str, float]) -> dict[str, float]:
        return validate_prices(told)

    def entries(self, known: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Return the entries of all days: the known ones, brought up to date.

        The service that the target names is asked, and another one as long as entries of it are not final. Raises the
        AwsErrors.
        """
        target = self.target or environment.target()
        if target == "local":
            return list(known)
        asked = {SERVICES[target], *(entry.service for entry in known if not entry.final)}
        found = [entry for entry in known if entry.service not in asked]
        aws = Aws()
        check_region(aws.region)  # an unknown region is an unknown host, and its retries take minutes
        if EMR in asked:
            prices = {name: usd for name, usd in self.prices.items() if name not in RESOURCES}
            found += emr.ledger(aws, deployment_name(), [entry for entry in known if entry.service == EMR], prices)
        if EMR_SERVERLESS in asked:
            prices = {name: usd for name, usd in self.prices.items() if name in RESOURCES}
            mine = [entry for entry in known if entry.service == EMR_SERVERLESS]
            listed = None if prices else listed_prices(aws)
            found += serverless.ledger(aws, deployment_name(), mine, prices, listed)
        return sorted(found, key=lambda entry: (entry.day, entry.service, entry.billed_id, entry.run_id, entry.asset))
