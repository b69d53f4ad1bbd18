"""When something that costs money is an orphan: nobody needs it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum
from functools import cache
from typing import TypeVar

T = TypeVar("T")

# What is younger is left alone, whatever its run's state: the record of the run may be written, or arrive from another
# machine, after the launch; and no cluster is up much sooner, so little is lost.
GRACE_SECONDS = 600.0


class RunIs(Enum):
    """The state of a run, as far as it is known."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    UNKNOWN = "unknown"


def age_seconds(created: datetime | None, now: float) -> float:
    """Return an age; 0 if the service does not say when it was created. now: seconds since 1970."""
    return max(0.0, now - created.timestamp()) if created else 0.0


def orphaned(
    noun: str,
    found: Iterable[tuple[T, datetime | None, str]],
    run_is: Callable[[str], RunIs],
    now: float,
    max_age_seconds: float,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[tuple[T, str]]:
    """Yield each orphan and the reason. found: with the time of its creation, and its run's id.

    run_is: asked once per run. now: seconds since 1970. The rest is as for `why_orphaned`.
    """
    state_of = cache(run_is)
    for one, created, run_id in found:
        age = age_seconds(created, now)
        if reason := why_orphaned(noun, age, run_id, state_of, max_age_seconds, grace_seconds):
            yield one, reason


def why_orphaned(
    noun: str,
    age: float,
    run_id: str,
    run_is: Callable[[str], RunIs],
    max_age_seconds: float,
    grace_seconds: float = GRACE_SECONDS,
) -> str:
    """Return why a cluster or a job run is an orphan; an empty text if it is none.

    One of a run is an orphan if the run has finished or is unknown and it is older than the grace period. Any is above
    the maximum age. noun: what it is. run_id: empty if it belongs to no run.
    """
    if age >= max_age_seconds:
        return f"it is {age / 3600:.1f} h old, older than the {max_age_seconds / 3600:g} h that a {noun} may be"
    if not run_id or age < grace_seconds:
        return ""
    state = run_is(run_id)
    if state is RunIs.FINISHED:
        return f"its run {run_id} has finished"
    if state is RunIs.UNKNOWN:
        return f"Dagster knows no run {run_id}, {age / 60:.0f} min after its launch"
    return ""
