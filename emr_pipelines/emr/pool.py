"""A pool: which of its clusters a step is given to, so that those who come at once spread over them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from emr_pipelines.emr.clock import Clock
from emr_pipelines.emr.leases import Leases
from emr_pipelines.emr.states import STEP_UNFINISHED, StepState
from emr_pipelines.emr.steps import AddedStep, Steps, step_of

APART_SECONDS = 2.0  # up to so long who comes waits, so that of those who come at once each sees the steps of others


class Pool:
    """The clusters behind some keys of leases. Each call may raise the AwsErrors."""

    def __init__(self, leases: Leases, steps: Steps, clock: Clock, keys: Sequence[str], step_concurrency: int) -> None:
        self._leases, self._steps, self._clock = leases, steps, clock
        self._keys, self._step_concurrency = keys, step_concurrency

    def step(self, prefix: str, states: frozenset[StepState]) -> tuple[str, AddedStep] | None:
        """A step that is in one of these states and whose name begins so, behind the key of its cluster."""
        for key in self._keys:
            cluster_id = self._leases.cluster_of(key)
            if cluster_id is not None and self._leases.takes_steps(cluster_id):
                found = step_of(self._steps.each(cluster_id, states), prefix)
                if found:
                    return key, found
        return None

    def choose(self) -> str:
        """The first cluster with room, so that the others become idle and end; or else a place where none is; or else
        one with the fewest unfinished steps. A cluster that is being launched is its launcher's: it counts as having a
        step."""
        if len(self._keys) == 1:
            return self._keys[0]
        self._clock.pause(random.uniform(0, APART_SECONDS))  # noqa: S311 (no secret)
        unfinished: dict[str, int] = {}
        for key in self._keys:
            lease = self._leases.look(key)
            if lease is None or not lease.holder:
                continue
            if not lease.cluster_id:
                unfinished[key] = 1
            elif self._leases.takes_steps(lease.cluster_id):
                unfinished[key] = sum(1 for _ in self._steps.each(lease.cluster_id, STEP_UNFINISHED))
        with_room = [key for key, steps in unfinished.items() if steps < self._step_concurrency]
        if with_room:
            return with_room[0]
        fewest = min(unfinished.values(), default=0)
        places = [key for key in self._keys if key not in unfinished]
        return random.choice(places or [key for key, steps in unfinished.items() if steps == fewest])  # noqa: S311
