"""The ledger of a deployment's clusters. EMR is asked, not our own records, so a cluster whose run was killed, or that
nobody ever used, is in it as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.bills import Rates, bill_of, listed_prices, rates_of
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.cluster_usage import Life, life_of
from emr_pipelines.backends.emr.names import ClusterName, StepName, prefix_of
from emr_pipelines.costs.ledger import Entry
from emr_pipelines.errors import AccessDenied, NotFound, RequestRefused

DAY = timedelta(days=1)


def ledger(aws: Aws, deployment: str, known: Sequence[Entry], prices: Mapping[str, float]) -> list[Entry]:
    """All entries of a deployment, by day: those that are known and final, as they are; the others, and those of
    clusters of the last 30 days that are not known, from what EMR says now.

    prices: as for `rates_of`; without any, AWS's price list is asked. With some, what had no price is asked for again,
        as long as EMR remembers it. Raises the AwsErrors.
    """
    unpriced = {entry.cluster_id for entry in known if entry.usd is None} if prices else set()
    final = {entry.cluster_id for entry in known if entry.final} - unpriced
    listed = None if prices else listed_prices(aws)
    there = [cluster.id for cluster in Clusters(aws).recent(prefix_of(deployment))]
    asked = dict.fromkeys([*there, *(entry.cluster_id for entry in known)])
    kept = [entry for entry in known if entry.cluster_id in final]
    fresh: list[Entry] = []
    for cluster_id in asked:
        if cluster_id in final:
            continue
        try:
            life = life_of(aws, cluster_id)
        except (NotFound, RequestRefused, AccessDenied) as error:
            # EMR forgets a cluster two months after its end, and with it the tags by which one may ask
            if isinstance(error, AccessDenied) and cluster_id in there:
                raise
            fresh += [entry for entry in known if entry.cluster_id == cluster_id]
        else:
            fresh += entries_of(life, rates_of(life, prices, listed))
    return sorted([*kept, *fresh], key=lambda entry: (entry.day, entry.cluster_id, entry.run_id, entry.asset))


def entries_of(life: Life, rates: Rates) -> Iterator[Entry]:
    """The entries of one cluster. Where several steps shared it, each bears what it cost by the seconds that it ran."""
    run_of_cluster = ClusterName.parse(life.name).run_id
    begin = datetime.combine(life.created.date(), datetime.min.time(), timezone.utc)
    while begin < life.end or begin.date() == life.created.date():
        bill = bill_of(life, rates, begin, begin + DAY)
        owners: dict[tuple[str, str], list[str]] = {}
        for step_id, name in bill.step_names.items():
            for asset in StepName.parse(name).assets:
                owners.setdefault((StepName.parse(name).run_id or run_of_cluster, asset), []).append(step_id)
        seconds = sum(usage.seconds for usage in bill.usages)
        many = {name: len(StepName.parse(name).assets) for name in bill.step_names.values()}
        for (run_id, asset), step_ids in (owners or {(run_of_cluster, ""): []}).items():
            shares = [bill.share_of([step_id]) / many[bill.step_names[step_id]] for step_id in step_ids]
            share = sum(shares) if owners else 1.0
            yield Entry(
                day=begin.date(),
                cluster_id=life.cluster_id,
                run_id=run_id,
                asset=asset,
                instance_seconds=share * seconds,
                usd=None if bill.usd is None else share * bill.usd,
                idle_share=bill.idle_share,
                final=life.ended,
            )
        begin += DAY
