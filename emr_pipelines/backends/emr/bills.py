"""Bill a cluster: how long it had which instances, what of that time its steps used, and about how much it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.cluster_usage import Life, life_of
from emr_pipelines.backends.emr.steps import AddedStep
from emr_pipelines.costs.bill import Bill, Doing, Span, Usage
from emr_pipelines.costs.pricing import PRICES_WITHIN_SECONDS, PriceList

ENDING_SECONDS = 300.0  # EMR takes 1 to 5 minutes to end a cluster


@dataclass(frozen=True)
class Observed:
    """Times that EMR does not report and only a process that waited for the cluster knows, in seconds since 1970: when
    it was first seen bootstrapping, and when it was told to end."""

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
    """What a cluster cost; of one that has not ended, what it cost so far. Arguments as for `rates_of` and `bill_of`.

    Raises the AwsErrors, when EMR cannot say what there was.
    """
    life = life_of(aws, cluster_id)
    return bill_of(life, rates_of(life, prices, listed_prices(aws) if look_up else None), observed=observed)


def listed_prices(aws: Aws) -> PriceList:
    """AWS's price lists, which have some 10 seconds to answer, all in all; no answer is no failure."""
    return PriceList(Aws(aws.region, aws.clock, PRICES_WITHIN_SECONDS))


def rates_of(life: Life, prices: Mapping[str, float], listed: PriceList | None) -> Rates:
    """What a cluster's instances cost.

    prices: USD per instance and hour, EMR's part included, by `m5.xlarge spot`, `m5.xlarge on demand`, or `m5.xlarge`
        for both; what names the market counts first. listed: is asked for the others.
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
    life: Life,
    rates: Rates,
    start: datetime | None = None,
    until: datetime | None = None,
    observed: Observed = NOTHING_OBSERVED,
) -> Bill:
    """What a cluster cost, in total or within a period.

    Where it is not known when the cluster was told to end, or it had ended by then, its last ENDING_SECONDS count as
    its ending, and the time between its last step and them as idle.
    """
    ending = observed.told_to_end
    if life.ended and (ending is None or ending >= life.end.timestamp()):
        ending = life.end.timestamp() - ENDING_SECONDS
    usages = life.instance_seconds(start, until)
    start, end = max(start or life.created, life.created), min(until or life.end, life.end)
    ready = max(life.ready, start) if life.ready and life.ready < end else None
    steps = [step for step in life.steps if _touches(step, start, until)]
    return Bill(
        cluster_id=life.cluster_id,
        ended=life.ended,
        usages=tuple(
            Usage(*kind, tuple(sorted(seconds, reverse=True)), rates.get(kind))
            for kind, seconds in sorted(usages.items())
        ),
        normalized_hours=life.normalized_hours,
        step_seconds={step.id: _seconds_of(step, start, end) for step in steps},
        step_names={step.id: step.name for step in steps},
        spans=tuple(_spans(steps, start, ready, end, _time(observed.bootstrapping), _time(ending))),
    )


def _touches(step: AddedStep, start: datetime, until: datetime | None) -> bool:
    """Whether a step belongs to a time, `until` exclusive, in which it began, ran, or waited."""
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
