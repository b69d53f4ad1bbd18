"""Compute the bill of a cluster: its instances, how its time was spent, and the estimated cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.cluster_usage import ClusterUsage, usage_of
from emr_pipelines.backends.emr.steps import AddedStep
from emr_pipelines.costs.bill import INSTANCE_HOURS, Bill, Doing, Span, Usage
from emr_pipelines.costs.pricing import PriceList, listed_prices

HOUR_SECONDS = 3600
ENDING_SECONDS = 300.0  # EMR takes 1 to 5 minutes to end a cluster


@dataclass(frozen=True)
class Observed:
    """Times in seconds since 1970 that EMR does not report, and that a process sees while it waits: when the cluster
    was first seen bootstrapping, and when it was told to end."""

    bootstrapping: float | None = None
    told_to_end: float | None = None


NOTHING_OBSERVED = Observed()

Rates = Mapping[tuple[str, str], "float | None"]  # USD per instance and hour, by type and market


def bill(
    aws: Aws,
    cluster_id: str,
    prices: Mapping[str, float],
    look_up: bool = True,
    observed: Observed = NOTHING_OBSERVED,
) -> Bill:
    """Return what a cluster has cost until now, or until its end. Arguments as for `rates_of` and `bill_of`.

    Raises AwsErrors.
    """
    life = usage_of(aws, cluster_id)
    return bill_of(life, rates_of(life, prices, listed_prices(aws) if look_up else None), observed=observed)


def rates_of(life: ClusterUsage, prices: Mapping[str, float], listed: PriceList | None) -> Rates:
    """Return the hourly price of each kind of instance of a cluster.

    prices: USD per instance and hour including EMR's fee, by "m5.xlarge spot", "m5.xlarge on demand", or "m5.xlarge"
        for both; a key with a market wins. listed: the price list for all others; None to leave them unknown.
    """
    given = {" ".join(key.lower().replace("_", " ").split()): price for key, price in prices.items()}
    found: dict[tuple[str, str], float | None] = {}
    for type_, market in life.instance_seconds():
        price = given.get(f"{type_} {market}", given.get(type_))
        if price is None and listed is not None:
            price = listed.usd_per_hour(type_, market, life.zone, life.ready or life.end)
        found[type_, market] = price
    return found


def bill_of(
    life: ClusterUsage,
    rates: Rates,
    start: datetime | None = None,
    until: datetime | None = None,
    observed: Observed = NOTHING_OBSERVED,
) -> Bill:
    """Return what a cluster cost, in total or within a period.

    If the time at which it was told to end is unknown, or later than its end, its last ENDING_SECONDS count as ending,
    and the time between its last step and them as idle.
    """
    ending = observed.told_to_end
    if life.ended and (ending is None or ending >= life.end.timestamp()):
        ending = life.end.timestamp() - ENDING_SECONDS
    usages = life.instance_seconds(start, until)
    start, end = max(start or life.created, life.created), min(until or life.end, life.end)
    ready = max(life.ready, start) if life.ready and life.ready < end else None
    steps = [step for step in life.steps if _touches(step, start, until)]
    return Bill(
        id=life.cluster_id,
        ended=life.ended,
        usages=tuple(_usage(*kind, seconds, rates.get(kind)) for kind, seconds in sorted(usages.items())),
        step_seconds={step.id: _seconds_of(step, start, end) for step in steps},
        step_names={step.id: step.name for step in steps},
        facts={"cluster_id": life.cluster_id, "normalized_instance_hours": life.normalized_hours},
        spans=tuple(_spans(steps, start, ready, end, _time(observed.bootstrapping), _time(ending))),
    )


def _usage(type_: str, market: str, seconds: Sequence[int], usd_per_hour: float | None) -> Usage:
    """The usage of instances of one type and market; seconds: those of each instance."""
    resource, total = f"{type_} {market}", sum(seconds)
    billed = f"{seconds[0]:,} s" if len(set(seconds)) == 1 else f"{total:,} s in all"
    words = f"{len(seconds)} x {resource}, billed for {billed}"
    return Usage(resource, INSTANCE_HOURS, total / HOUR_SECONDS, usd_per_hour, words)


def _touches(step: AddedStep, start: datetime, until: datetime | None) -> bool:
    """Whether a step waited, began or ran within a period; `until` is exclusive."""
    begun = step.started or step.created or start
    if until is not None and begun >= until:
        return False
    return begun >= start or step.ended is None or step.ended > start


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def _seconds_of(step: AddedStep, start: datetime, end: datetime) -> float:
    if not step.started:
        return 0.0
    return max(0.0, (min(step.ended or end, end) - max(step.started, start)).total_seconds())


def _spans(
    steps: Iterable[AddedStep],
    created: datetime,
    ready: datetime | None,
    end: datetime,
    bootstrapping: datetime | None,
    ending: datetime | None,
) -> Iterator[Span]:
    def span(doing: Doing, start: datetime, until: datetime, name: str = "") -> Span:
        seconds = ((start - created).total_seconds(), (until - created).total_seconds())
        return Span(doing, name or str(doing), *seconds)

    up = ready or end
    set_up = bootstrapping if bootstrapping and created < bootstrapping < up else up
    if up > created:
        yield span(Doing.STARTING, created, set_up)
    if set_up < up:
        yield span(Doing.BOOTSTRAPPING, set_up, up)
    if ready is None:
        return
    ending = end if ending is None else min(end, ending)
    free_from = ready
    for step in sorted((step for step in steps if step.started), key=lambda step: step.started or end):
        start, until = max(step.started or ready, ready), min(step.ended or end, end)
        if start > free_from:
            yield span(Doing.IDLE, free_from, start)
        yield span(Doing.STEP, start, until, step.name)
        free_from = max(free_from, until)
    if ending > free_from:
        yield span(Doing.IDLE, free_from, ending)
    if end > max(ending, free_from):
        yield span(Doing.ENDING, max(ending, free_from), end)
