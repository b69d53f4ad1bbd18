"""The ledger of a deployment's clusters. It comes from EMR, not from our own records, so it also has the clusters of
killed runs and those that nobody used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.bills import HOUR_SECONDS, Rates, bill_of, rates_of
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.cluster_usage import ClusterUsage, usage_of
from emr_pipelines.backends.names import ClusterName, StepName, prefix_of
from emr_pipelines.costs.bill import INSTANCE_HOURS
from emr_pipelines.costs.ledger import LedgerEntry
from emr_pipelines.costs.pricing import listed_prices
from emr_pipelines.errors import AccessDenied, NotFound, RequestRefused

DAY = timedelta(days=1)


def ledger(aws: Aws, deployment: str, known: Sequence[LedgerEntry], prices: Mapping[str, float]) -> list[LedgerEntry]:
    """Return all entries of a deployment, by day. Known final entries are kept; the others, and those of unknown
    clusters of the last 30 days, come from EMR.

    prices: as for `rates_of`; if empty, AWS's price list is used. Otherwise, entries without a price are computed again
    while EMR remembers the cluster. Raises AwsErrors.
    """
    unpriced = {entry.billed_id for entry in known if entry.usd is None} if prices else set()
    final = {entry.billed_id for entry in known if entry.final} - unpriced
    listed = None if prices else listed_prices(aws)
    there = [cluster.id for cluster in Clusters(aws).recent(prefix_of(deployment))]
    asked = dict.fromkeys([*there, *(entry.billed_id for entry in known)])
    kept = [entry for entry in known if entry.billed_id in final]
    fresh: list[LedgerEntry] = []
    for cluster_id in asked:
        if cluster_id in final:
            continue
        try:
            life = usage_of(aws, cluster_id)
        except (NotFound, RequestRefused, AccessDenied) as error:
            # EMR forgets a cluster two months after its end, and with it the tags by which one may ask
            if isinstance(error, AccessDenied) and cluster_id in there:
                raise
            fresh += [entry for entry in known if entry.billed_id == cluster_id]
        else:
            fresh += entries_of(life, rates_of(life, prices, listed))
    return sorted([*kept, *fresh], key=lambda entry: (entry.day, entry.billed_id, entry.run_id, entry.asset))


def entries_of(life: ClusterUsage, rates: Rates) -> Iterator[LedgerEntry]:
    """Yield the entries of one cluster. Steps that shared it share its cost in proportion to the seconds that they
    ran."""
    run_of_cluster = ClusterName.parse(life.name).run_id
    begin = datetime.combine(life.created.date(), datetime.min.time(), timezone.utc)
    while begin < life.end or begin.date() == life.created.date():
        bill = bill_of(life, rates, begin, begin + DAY)
        owners: dict[tuple[str, str], list[str]] = {}
        for step_id, name in bill.step_names.items():
            for asset in StepName.parse(name).assets:
                owners.setdefault((StepName.parse(name).run_id or run_of_cluster, asset), []).append(step_id)
        seconds = HOUR_SECONDS * bill.amount(INSTANCE_HOURS)
        many = {name: len(StepName.parse(name).assets) for name in bill.step_names.values()}
        for (run_id, asset), step_ids in (owners or {(run_of_cluster, ""): []}).items():
            shares = [bill.share_of([step_id]) / many[bill.step_names[step_id]] for step_id in step_ids]
            share = sum(shares) if owners else 1.0
            yield LedgerEntry(
                day=begin.date(),
                billed_id=life.cluster_id,
                run_id=run_id,
                asset=asset,
                instance_seconds=share * seconds,
                usd=None if bill.usd is None else share * bill.usd,
                idle_share=bill.idle_share,
                final=life.ended,
            )
        begin += DAY
