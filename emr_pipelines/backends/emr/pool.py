"""A pool: chooses the cluster for a step, so that runs that start at once spread over the clusters."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from emr_pipelines.backends.emr.leases import Leases
from emr_pipelines.backends.emr.states import STEP_UNFINISHED, StepState
from emr_pipelines.backends.emr.steps import AddedStep, Steps, step_of
from emr_pipelines.clock import Clock

APART_SECONDS = 2.0  # random delay before a cluster is chosen, so that concurrent runs see each other's steps


class Pool:
    """The clusters of some lease keys. Each call may raise the AwsErrors."""

    def __init__(self, leases: Leases, steps: Steps, clock: Clock, keys: Sequence[str], step_concurrency: int) -> None:
        self._leases, self._steps, self._clock = leases, steps, clock
        self._keys, self._step_concurrency = keys, step_concurrency

    def step(
        self, prefix: str, states: frozenset[StepState], held: tuple[str, str] | None
    ) -> tuple[tuple[str, str], AddedStep] | None:
        """Find a step by state and by the prefix of its name, with the key and id of its cluster.

        held: the key and id of the cluster that is searched first.
        """
        for key, cluster_id in self._searched(held):
            found = step_of(self._steps.each(cluster_id, states), prefix)
            if found:
                return (key, cluster_id), found
        return None

    def _searched(self, held: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
        if held is not None:
            yield held
        for key in self._keys:
            cluster_id = self._leases.cluster_of(key)
            if cluster_id is not None and (key, cluster_id) != held and self._leases.takes_steps(cluster_id):
                yield key, cluster_id

    def choose(self) -> str:
        """The key of the first cluster with room, so that the others become idle and end; else one without a cluster;
        else the one with the fewest unfinished steps. A cluster that is being launched counts as having one step."""
        if len(self._keys) == 1:
            return self._keys[0]
        self._clock.pause(random.uniform(0, APART_SECONDS))  # noqa: S311 (no secret)
        unfinished: dict[str, int] = {}
        for key in self._keys:
            lease = self._leases.look(key)
            if lease is None or not lease.token:
                continue
            if not lease.cluster_id:
                unfinished[key] = 1
            elif self._leases.takes_steps(lease.cluster_id):
                unfinished[key] = sum(1 for _ in self._steps.each(lease.cluster_id, STEP_UNFINISHED))
        with_room = [key for key, steps in unfinished.items() if steps < self._step_concurrency]
        if with_room:
            return with_room[0]
        fewest = min(unfinished.values(), default=0)
        without = [key for key in self._keys if key not in unfinished]
        return random.choice(without or [key for key, steps in unfinished.items() if steps == fewest])  # noqa: S311
