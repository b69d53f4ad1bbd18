"""What something cost: billed usage, how the time was spent, and each step's share. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emr_pipelines.enums import TextEnum

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
        return f"{len(self.seconds_each)} x {self.type} {self.market}, billed for {seconds}"


class Doing(TextEnum):
    """What a cluster does."""

    STARTING = "starting"
    BOOTSTRAPPING = "bootstrapping"
    STEP = "step"
    IDLE = "idle"
    ENDING = "ending"


@dataclass(frozen=True)
class Span:
    """A stretch of a cluster's life, in seconds from its creation. `name` is a step's, or says what it does."""

    doing: Doing
    name: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Bill:
    """What a cluster cost, as far as it can be told from here. It is an estimate: EBS volumes, S3, traffic, and what a
    savings plan takes off are not in it.

    step_seconds, step_names: how long each step ran, and its name, by its id. spans: what it did when; steps may
        overlap.
    """

    cluster_id: str
    ended: bool
    usages: tuple[Usage, ...]
    normalized_hours: int
    step_seconds: Mapping[str, float]
    step_names: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()

    @property
    def idle_share(self) -> float | None:
        """The share of the cluster's life, and so of the bill, in which it was ready, ran no step, and was not told to
        end. None when it never was ready."""
        if all(span.doing in (Doing.STARTING, Doing.BOOTSTRAPPING) for span in self.spans):
            return None
        idle = math.fsum(span.seconds for span in self.spans if span.doing is Doing.IDLE)
        return idle / (max(span.end for span in self.spans) - min(span.start for span in self.spans))

    @property
    def usd(self) -> float | None:
        """None when the price of one of its instances is not known."""
        parts = [usage.usd for usage in self.usages]
        return None if None in parts else math.fsum(part for part in parts if part is not None)

    def share_of(self, step_ids: Iterable[str]) -> float:
        """The share of the bill that these steps bear, by the seconds that they ran; idle time is spread the same way.
        The shares of all steps add up to 1. If no step ran, all bear the same."""
        wanted = set(step_ids) & self.step_seconds.keys()
        if not wanted:
            return 0.0
        total = math.fsum(self.step_seconds.values())
        if total == 0:
            return len(wanted) / len(self.step_seconds)
        return math.fsum(self.step_seconds[step_id] for step_id in wanted) / total

    def sentence(self) -> str:
        """For example: 3 x m5.xlarge on demand, billed for 312 s, 41 % idle, about 0.06 USD."""
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
            "idle_share": _rounded(self.idle_share),
            "step_seconds": {step_id: round(seconds, 3) for step_id, seconds in self.step_seconds.items()},
            "usd": _rounded(self.usd),
        }

    def _price(self) -> str:
        if self.usd is None:
            return "price not known (`prices` can tell it)"
        return "less than 0.01 USD" if 0 < self.usd < 0.005 else f"about {self.usd:,.2f} USD"  # noqa: PLR2004 (half a cent)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
