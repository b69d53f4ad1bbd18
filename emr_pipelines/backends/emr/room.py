"""Waits until a cluster with the maximum number of active steps accepts another one."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.poll_budget import POLL_BUDGET
from emr_pipelines.aws.quotas import STEPS_FULL
from emr_pipelines.backends.base import Deadlines, JobState
from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose
from emr_pipelines.backends.watch import GROWTH, JITTER, LONGEST_INTERVAL_SECONDS
from emr_pipelines.errors import QuotaFull, TimedOut
from emr_pipelines.report import Reporter, Unseen, Work

MAX_ACTIVE_STEPS = 256  # running and pending steps of one cluster
FIRST_INTERVAL_SECONDS = 5.0


class Room:
    """The wait of one step. Its queueing deadline starts when EMR first refuses the step."""

    def __init__(self, aws: Aws, deadlines: Deadlines, report: Reporter, log: Callable[[str], None]) -> None:
        self._clock, self._seconds, self._report, self._log = aws.clock, deadlines.of(JobState.QUEUEING), report, log
        self._waits = ExitStack()
        self._work: Work = Unseen()
        self._since: float | None = None
        self._interval = FIRST_INTERVAL_SECONDS

    def close(self) -> None:
        """End the wait."""
        self._waits.close()

    def wait(self, cluster_id: str, full: QuotaFull) -> None:
        """Pause until the next attempt.

        Raises TimedOut when the deadline has passed, and `full` itself when another quota is full.
        """
        if not STEPS_FULL.search(str(full)):
            raise full
        if self._since is None:
            self._begin(cluster_id)
        left = (self._since or 0.0) + self._seconds - self._clock.now()
        if left <= 0:
            cause = diagnose(
                ClusterEvidence(
                    timed_out_phase=JobState.QUEUEING, timed_out_seconds=self._seconds, steps_before=MAX_ACTIVE_STEPS
                )
            )
            raise TimedOut(str(cause), cause.retryable, {"kind": str(cause.kind), "hint": cause.hint}) from full
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (so that many processes do not ask at once)
        self._clock.pause(min(POLL_BUDGET.emr_seconds(self._interval) * jitter, left))
        self._interval = min(self._interval * GROWTH, LONGEST_INTERVAL_SECONDS)
        self._work.heartbeat(f"{MAX_ACTIVE_STEPS} steps are running or pending")

    def _begin(self, cluster_id: str) -> None:
        self._since = self._clock.now()
        self._log(
            f"Cluster {cluster_id} has {MAX_ACTIVE_STEPS} running and pending steps, the maximum that EMR allows. This "
            "step is added as soon as another one ends."
        )
        self._waits.enter_context(POLL_BUDGET.shared())
        what = f"Waiting for room on cluster {cluster_id}"
        self._work = self._waits.enter_context(self._report(what, at_most_seconds=self._seconds))
