"""The ledger of a deployment's job runs. It comes from EMR Serverless, so it also has those of killed runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr_serverless.applications import Applications
from emr_pipelines.backends.emr_serverless.bills import bill_of
from emr_pipelines.backends.emr_serverless.job_runs import JobRun
from emr_pipelines.backends.emr_serverless.search import job_runs_on
from emr_pipelines.backends.emr_serverless.states import ENDED, JobRunState
from emr_pipelines.backends.names import StepName
from emr_pipelines.costs.ledger import EMR_SERVERLESS, LedgerEntry
from emr_pipelines.costs.pricing import PriceList

DAYS = 30
ALL_STATES = frozenset(JobRunState) - {JobRunState.UNKNOWN}


def ledger(
    aws: Aws,
    deployment: str,
    known: Sequence[LedgerEntry],
    prices: Mapping[str, float],
    listed: PriceList | None = None,
) -> list[LedgerEntry]:
    """Return all entries of a deployment, by day. Known final entries with a price are kept; the others, and those of
    unknown job runs of the last 30 days, come from EMR Serverless.

    prices, listed: as for `bill_of`. Raises AwsErrors.
    """
    final = {entry.billed_id for entry in known if entry.final and not (prices and entry.usd is None)}
    fresh: dict[str, list[LedgerEntry]] = {}
    since = datetime.fromtimestamp(aws.now(), timezone.utc) - timedelta(days=DAYS)
    for application in Applications(aws).each():
        for run in job_runs_on(aws, application, deployment, ALL_STATES, besides=final, createdAtAfter=since):
            fresh[run.id.run] = list(entries_of(run, application.architecture, prices, listed))
    kept = [entry for entry in known if entry.billed_id not in fresh]
    found = [*kept, *(entry for entries in fresh.values() for entry in entries)]
    return sorted(found, key=lambda entry: (entry.day, entry.billed_id, entry.run_id, entry.asset))


def entries_of(
    run: JobRun, architecture: str, prices: Mapping[str, float], listed: PriceList | None
) -> Iterator[LedgerEntry]:
    """Yield the entries of a job run: of the day on which it was created, by asset."""
    name, bill = StepName.parse(run.name), bill_of(run, architecture, prices, listed)
    assets = name.assets
    for asset in assets:
        yield LedgerEntry(
            day=(run.created or datetime.fromtimestamp(0, timezone.utc)).date(),
            billed_id=run.id.run,
            run_id=name.run_id,
            asset=asset,
            instance_seconds=0.0,
            usd=None if bill.usd is None else bill.usd / len(assets),
            idle_share=None,
            final=run.state in ENDED and bool(run.billed),
            service=EMR_SERVERLESS,
            vcpu_hours=float(run.billed.get("vCPUHour", 0.0)) / len(assets),
        )
