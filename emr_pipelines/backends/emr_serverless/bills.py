"""What a job run cost: the vCPU-, memory- and storage-hours that EMR Serverless bills, and their prices.

Source: EMR Serverless API Reference, ResourceUtilization; the first 20 GB of each worker's disk are free.
"""

from __future__ import annotations

from collections.abc import Mapping

from emr_pipelines.backends.emr_serverless.job_runs import JobRun
from emr_pipelines.backends.emr_serverless.states import ENDED
from emr_pipelines.costs.bill import Bill, Usage
from emr_pipelines.costs.pricing import PriceList

# by the name in `prices`: the member of billedResourceUtilization, the resource, its unit
RESOURCES = {
    "vcpu_hour": ("vCPUHour", "vCPU", "vCPU-hours"),
    "memory_gb_hour": ("memoryGBHour", "memory", "GB-hours"),
    "storage_gb_hour": ("storageGBHour", "storage", "GB-hours"),
}


def bill_of(run: JobRun, architecture: str, prices: Mapping[str, float], listed: PriceList | None = None) -> Bill:
    """Return what a job run cost.

    prices: USD per unit, by the names of RESOURCES. listed: the price list for the others; None to leave them unknown.
    """
    usages = []
    for price, (member, resource, unit) in RESOURCES.items():
        amount = float(run.billed.get(member, 0.0))
        usd = prices.get(price)
        if usd is None and listed is not None and amount:
            usd = listed.usd_of_serverless(resource, architecture)
        if amount or resource != "storage":
            words = f"{amount:,.3f} {unit}" + (f" of {resource}" if resource != "vCPU" else "")
            usages.append(Usage(resource, unit, amount, usd, words))
    return Bill(
        id=run.id.run,
        ended=run.state in ENDED,
        usages=tuple(usages),
        step_seconds={run.id.run: run.seconds},
        step_names={run.id.run: run.name},
        facts={
            "application_id": run.id.application,
            "job_run_id": run.id.run,
            "execution_seconds": run.seconds,
            "queued_seconds": run.queued_seconds,
        },
    )
