"""What a cluster cost: how long it had which instances, what of that time its steps used, and about how much it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from emr_pipelines.emr.client import Aws, emr_pages
from emr_pipelines.emr.pricing import PRICES_WITHIN_SECONDS, SPOT, PriceList
from emr_pipelines.emr.steps import AddedStep, Steps

LEAST_SECONDS = 60  # EC2 and EMR bill each instance by the second, and no less than a minute
ON_DEMAND = "on demand"
NEVER_THERE = "AWAITING_FULFILLMENT"
HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Usage:
    """Instances of one type and market: the billed seconds of each, and USD per instance and hour where it is known."""

    type: str
    market: str
    seconds_each: tuple[int, ...]
    usd_per_hour: float | None = None

    @property
    def seconds(self) -> int:
        return sum(self.seconds_each)

    @property
    def usd(self) -> float | None:
        return None if self.usd_per_hour is None else self.usd_per_hour * self.seconds / HOUR_SECONDS

    def __str__(self) -> str:
        alike = len(set(self.seconds_each)) == 1
        seconds = f"{self.seconds_each[0]:,} s" if alike else f"{self.seconds:,} s in all"
        return f"{len(self.seconds_each)} x {self.type} {self.market} for {seconds}"


@dataclass(frozen=True)
class Bill:
    """What a cluster cost, as far as it can be told from here. It is an estimate: EBS volumes, S3, traffic, and what a
    savings plan takes off are not in it.

    up_seconds: from when it was ready until it had ended; 0 when it never was. busy_seconds: of these, the time in
        which at least one step ran. step_seconds, step_names: how long each step ran, and its name, by its id.
    """

    cluster_id: str
    ended: bool
    usages: tuple[Usage, ...]
    normalized_hours: int
    up_seconds: float
    busy_seconds: float
    step_seconds: Mapping[str, float]
    step_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def idle_share(self) -> float | None:
        """The share of the time in which it was up and no step ran; None when it never was up."""
        return 1 - self.busy_seconds / self.up_seconds if self.up_seconds > 0 else None

    @property
    def usd(self) -> float | None:
        """None when the price of one of its instances is not known."""
        parts = [usage.usd for usage in self.usages]
        return None if None in parts else math.fsum(part for part in parts if part is not None)

    def share_of(self, step_ids: Iterable[str]) -> float:
        """Which share of the bill these steps have to bear: by the seconds that they ran, so idle time is spread the
        same way. The shares of all steps make 1; of steps none of which ran, each bears the same."""
        wanted = set(step_ids) & self.step_seconds.keys()
        if not wanted:
            return 0.0
        total = math.fsum(self.step_seconds.values())
        if total == 0:
            return len(wanted) / len(self.step_seconds)
        return math.fsum(self.step_seconds[step_id] for step_id in wanted) / total

    def sentence(self) -> str:
        """For example: 3 x m5.xlarge on demand for 312 s, 41 % idle, about 0.06 USD."""
        parts = [str(usage) for usage in self.usages] or ["No instance"]
        parts.append("never ready" if self.idle_share is None else f"{self.idle_share:.0%} idle".replace("%", " %"))
        return ", ".join([*parts, self._price()]) + ("." if self.ended else ", so far.")

    def metadata(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "cluster_id": self.cluster_id,
            "ended": self.ended,
            "instances": [
                {
                    "type": usage.type,
                    "market": usage.market,
                    "count": len(usage.seconds_each),
                    "instance_seconds": usage.seconds,
                    "usd_per_hour": usage.usd_per_hour,
                }
                for usage in self.usages
            ],
            "normalized_instance_hours": self.normalized_hours,
            "up_seconds": self.up_seconds,
            "busy_seconds": self.busy_seconds,
            "idle_share": self.idle_share,
            "step_seconds": dict(self.step_seconds),
            "usd": self.usd,
        }

    def _price(self) -> str:
        if self.usd is None:
            return "price not known"
        return "less than 0.01 USD" if 0 < self.usd < 0.005 else f"about {self.usd:,.2f} USD"  # noqa: PLR2004 (half a cent)


def bill(aws: Aws, cluster_id: str, prices: Mapping[str, float], look_up: bool = True) -> Bill:
    """What a cluster cost; of one that has not ended, what it cost so far.

    Each instance is counted from its CreationDateTime to its EndDateTime, or where it has none to the end of the
    cluster; every second begun, and a minute at least. EC2 bills from the launch, not from when the applications are
    installed, so ReadyDateTime would leave out minutes that are paid for. EMR's own part, about a fifth of the sum, may
    begin some seconds later than that: this is rather too much than too little. An instance that EC2 never gave costs
    nothing.

    prices: USD per instance and hour, EMR's part included, by `m5.xlarge spot`, `m5.xlarge on demand`, or `m5.xlarge`
        for both; what names the market counts first.
    look_up: ask AWS's price lists for the others; it takes 10 seconds or so at most, and no answer is no failure.

    Raises the AwsErrors, when EMR cannot say what there was.
    """
    found = aws.call("emr", "describe_cluster", ClusterId=cluster_id)["Cluster"]
    times = found["Status"].get("Timeline", {})
    now = datetime.fromtimestamp(aws.clock.now(), timezone.utc)
    end, ready = times.get("EndDateTime") or now, times.get("ReadyDateTime")
    seconds_by_kind: dict[tuple[str, str], list[int]] = {}
    pages = emr_pages(aws, "list_instances", ClusterId=cluster_id)
    for instance in (instance for page in pages for instance in page["Instances"]):
        if seconds := _billed_seconds(instance, end):
            market = SPOT if instance.get("Market") == "SPOT" else ON_DEMAND
            seconds_by_kind.setdefault((instance.get("InstanceType", "?"), market), []).append(seconds)
    zone = found.get("Ec2InstanceAttributes", {}).get("Ec2AvailabilityZone", "")
    hourly = _hourly_prices(aws, list(seconds_by_kind), prices, look_up, zone, ready or end)
    steps = Steps(aws).all(cluster_id)
    return Bill(
        cluster_id=cluster_id,
        ended="EndDateTime" in times,
        usages=tuple(
            Usage(*kind, tuple(sorted(seconds, reverse=True)), hourly[kind])
            for kind, seconds in sorted(seconds_by_kind.items())
        ),
        normalized_hours=found.get("NormalizedInstanceHours", 0),
        up_seconds=max(0.0, (end - ready).total_seconds()) if ready else 0.0,
        busy_seconds=_covered_seconds(_run_intervals(steps, ready, end)),
        step_seconds={step.id: _seconds_of(step, end) for step in reversed(steps)},
        step_names={step.id: step.name for step in reversed(steps)},
    )


def _billed_seconds(instance: Mapping[str, Any], end: datetime) -> int:
    status = instance.get("Status", {})
    times = status.get("Timeline", {})
    created: datetime | None = times.get("CreationDateTime")
    if created is None or not instance.get("Ec2InstanceId") or status.get("State") == NEVER_THERE:
        return 0
    until: datetime = times.get("EndDateTime") or end
    return max(LEAST_SECONDS, math.ceil((until - created).total_seconds()))


def _hourly_prices(
    aws: Aws, kinds: list[tuple[str, str]], prices: Mapping[str, float], look_up: bool, zone: str, at: datetime
) -> dict[tuple[str, str], float | None]:
    given = {" ".join(key.lower().replace("_", " ").split()): price for key, price in prices.items()}
    found = {(type_, market): given.get(f"{type_} {market}", given.get(type_)) for type_, market in kinds}
    missing = [kind for kind, price in found.items() if price is None]
    if look_up and missing:
        listed = PriceList(Aws(aws.region, aws.clock, PRICES_WITHIN_SECONDS))
        found |= {(type_, market): listed.usd_per_hour(type_, market, zone, at) for type_, market in missing}
    return found


def _seconds_of(step: AddedStep, end: datetime) -> float:
    return max(0.0, ((step.ended or end) - step.started).total_seconds()) if step.started else 0.0


def _run_intervals(
    steps: Iterable[AddedStep], ready: datetime | None, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    for step in steps:
        if step.started and ready:
            yield max(step.started, ready), min(step.ended or end, end)


def _covered_seconds(intervals: Iterable[tuple[datetime, datetime]]) -> float:
    """The length of what the intervals cover together."""
    covered, until = 0.0, None
    for start, end in sorted(intervals):
        begin = start if until is None else max(start, until)
        if end > begin:
            covered += (end - begin).total_seconds()
            until = end
    return covered
