"""What a cluster cost: billed usage, how its time was spent, and each step's share. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emr_pipelines.enums import TextEnum

INSTANCE_HOURS = "instance-hours"


@dataclass(frozen=True)
class Usage:
    """A billed quantity of a resource, such as 0.25 instance-hours of "m5.xlarge spot".

    usd_per_unit: None if the price is unknown. words: the quantity as people say it.
    """

    resource: str
    unit: str
    amount: float
    usd_per_unit: float | None = None
    words: str = ""

    @property
    def usd(self) -> float | None:
        return None if self.usd_per_unit is None else self.usd_per_unit * self.amount

    def __str__(self) -> str:
        return self.words or f"{self.amount:,.2f} {self.unit} of {self.resource}"


class Doing(TextEnum):
    """What a cluster is doing."""

    STARTING = "starting"
    BOOTSTRAPPING = "bootstrapping"
    STEP = "step"
    IDLE = "idle"
    ENDING = "ending"


@dataclass(frozen=True)
class Span:
    """A period of a cluster's life, in seconds since its creation. `name` is a step's, or that of what it is doing."""

    doing: Doing
    name: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Bill:
    """What a cluster cost. It is an estimate: EBS volumes, S3, traffic and savings plans are not included.

    id: the cluster's. step_seconds, step_names: how long each step ran, and its name, by its id. spans: what the
    cluster did when; steps may overlap. facts: what else the service says, as JSON values.
    """

    id: str
    ended: bool
    usages: tuple[Usage, ...]
    step_seconds: Mapping[str, float]
    step_names: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def amount(self, unit: str) -> float:
        """Return the billed amount of all resources with this unit."""
        return math.fsum(usage.amount for usage in self.usages if usage.unit == unit)

    @property
    def idle_share(self) -> float | None:
        """The share of the cluster's life, and so of the bill, in which it was ready, ran no step, and was not ending.
        None if it was never ready."""
        if all(span.doing in (Doing.STARTING, Doing.BOOTSTRAPPING) for span in self.spans):
            return None
        idle = math.fsum(span.seconds for span in self.spans if span.doing is Doing.IDLE)
        return idle / (max(span.end for span in self.spans) - min(span.start for span in self.spans))

    @property
    def usd(self) -> float | None:
        """None if one of the prices is unknown."""
        parts = [usage.usd for usage in self.usages]
        return None if None in parts else math.fsum(part for part in parts if part is not None)

    def share_of(self, step_ids: Iterable[str]) -> float:
        """Return the share of the bill of these steps, in proportion to the seconds that they ran; idle time is shared
        the same way. The shares of all steps add up to 1. If no step ran, all have the same."""
        wanted = set(step_ids) & self.step_seconds.keys()
        if not wanted:
            return 0.0
        total = math.fsum(self.step_seconds.values())
        if total == 0:
            return len(wanted) / len(self.step_seconds)
        return math.fsum(self.step_seconds[step_id] for step_id in wanted) / total

    def sentence(self) -> str:
        """Return, for example: 3 x m5.xlarge on demand, billed for 312 s, 41 % idle, about 0.06 USD."""
        parts = [str(usage) for usage in self.usages] or ["No instance"]
        if self.spans or not self.usages:  # a job run has no spans: it is billed for its work alone
            parts.append("never ready" if self.idle_share is None else f"{self.idle_share:.0%} idle".replace("%", " %"))
        return ", ".join([*parts, self._price()]) + ("." if self.ended else ", so far.")

    def metadata(self) -> dict[str, Any]:
        """Return the bill as JSON values."""
        return {
            **self.facts,
            "ended": self.ended,
            "usage": [
                {
                    "resource": usage.resource,
                    "unit": usage.unit,
                    "amount": _rounded(usage.amount),
                    "usd_per_unit": usage.usd_per_unit,
                }
                for usage in self.usages
            ],
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
