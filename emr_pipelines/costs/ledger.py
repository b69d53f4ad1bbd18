"""The ledger: what each day's clusters cost, and for whose steps. EMR is asked, not our own records, so a cluster whose
run was killed, or that nobody ever used, is in it as well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.cluster_usage import Life, life_of
from emr_pipelines.backends.emr.names import PRODUCT
from emr_pipelines.costs.bill import Rates, bill_of, listed_prices, rates_of
from emr_pipelines.errors import AccessDenied, NotFound, RequestRefused

RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Entry:
    """A day (UTC) of a cluster, as far as it was one run's and one asset's.

    run_id, asset: empty where no step ran, or it is not known. instance_seconds: billed, idle time included.
        idle_share: of what was billed that day; None when the cluster was not up. usd: None where a price is not known.
        final: the cluster had ended when this was written, so it will not change.
    """

    day: date
    cluster_id: str
    run_id: str
    asset: str
    instance_seconds: float
    usd: float | None
    idle_share: float | None
    final: bool


def ledger(aws: Aws, deployment: str, known: Sequence[Entry], prices: Mapping[str, float]) -> list[Entry]:
    """All entries of a deployment, by day: those that are known and final, as they are; the others, and those of
    clusters of the last 30 days that are not known, from what EMR says now.

    prices: as for `rates_of`; without any, AWS's price list is asked. With some, what had no price is asked for again,
        as long as EMR remembers it. Raises the AwsErrors.
    """
    unpriced = {entry.cluster_id for entry in known if entry.usd is None} if prices else set()
    final = {entry.cluster_id for entry in known if entry.final} - unpriced
    listed = None if prices else listed_prices(aws)
    there = [cluster.id for cluster in Clusters(aws).recent(f"{PRODUCT}/{deployment}")]
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
    begin = datetime.combine(life.created.date(), datetime.min.time(), timezone.utc)
    while begin < life.end or begin.date() == life.created.date():
        bill = bill_of(life, rates, begin, begin + DAY)
        owners: dict[tuple[str, str], list[str]] = {}
        for step_id, name in bill.step_names.items():
            for asset in assets_of(name):
                owners.setdefault((run_of(name) or run_of(life.name), asset), []).append(step_id)
        seconds = sum(usage.seconds for usage in bill.usages)
        many = {name: len(assets_of(name)) for name in bill.step_names.values()}
        for (run_id, asset), step_ids in (owners or {(run_of(life.name), ""): []}).items():
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


def run_of(name: str) -> str:
    """The id of the Dagster run in the name of a step, or of a cluster; empty when there is none."""
    found = RUN_ID.search(name)
    return found.group() if found else ""


def assets_of(step_name: str) -> list[str]:
    """The assets that a step was for: the first word of its name."""
    return step_name.partition(" ")[0].split(",")
