"""Poll a step of a cluster: what EMR says about both, as one status; and stop a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from emr_pipelines.backends.base import JobState, JobStatus
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.states import ENDED, STARTING_UP, STEP_ENDED, STEP_STOPPED, StepState
from emr_pipelines.backends.emr.steps import AddedStep, Steps
from emr_pipelines.backends.watch import FIRST_INTERVAL_SECONDS, GROWTH, QUICK_INTERVAL_SECONDS
from emr_pipelines.clock import Clock, poll
from emr_pipelines.errors import AwsError
from emr_pipelines.remote.progress import FIRST_SECONDS
from emr_pipelines.report import Reporter, no_report

CLUSTER_EVERY = 10  # poll of a running step between two of its cluster, which may be gone


class StepPoller:
    """Polls a step; `on_cluster` and `on_step` are called once for each new state.

    cluster, step: as they were last seen. ahead: the unfinished steps before one that has queued for a while.
    """

    def __init__(
        self,
        clusters: Clusters,
        steps: Steps,
        clock: Clock,
        cluster_id: str,
        step_id: str,
        on_cluster: Callable[[Cluster], None] = lambda _: None,
        on_step: Callable[[AddedStep], None] = lambda _: None,
    ) -> None:
        self._clusters, self._steps, self._clock = clusters, steps, clock
        self._cluster_id, self._step_id = cluster_id, step_id
        self._on_cluster, self._on_step = on_cluster, on_step
        self._seen: set[str] = set()
        self._state: JobState | None = None
        self._poll = 0
        self._queued_at: float | None = None
        self.cluster: Cluster | None = None
        self.step: AddedStep | None = None
        self.ahead: int | None = None

    def poll(self) -> JobStatus:
        """Return the status of the step. Asks about the cluster too, but seldom while the step runs.

        Raises the AwsErrors.
        """
        if self._state is not JobState.RUNNING or self._poll % CLUSTER_EVERY == CLUSTER_EVERY - 1:
            self.cluster = self._clusters.describe(self._cluster_id)
            self._tell_once(self.cluster.state, partial(self._on_cluster, self.cluster))
        self._poll += 1
        if self.cluster is not None and self.cluster.state in STARTING_UP:
            self._state = JobState.PROVISIONING
            return JobStatus(self._state, str(self.cluster.state), f"Waiting for cluster {self._cluster_id} to come up")
        step = self._look()
        if step.state not in STEP_ENDED and self.cluster is not None and self.cluster.state in ENDED:
            step = self._look()  # it may have ended since
            self._state = _state_of(step) if step.state in STEP_ENDED else JobState.FAILED
        else:
            self._state = _state_of(step)
        if self._state is JobState.QUEUEING:
            return JobStatus(self._state, self._queue(), f"Waiting for step {self._step_id} to begin")
        return JobStatus(self._state, str(step.state), f"Waiting for step {self._step_id} to end")

    def _look(self) -> AddedStep:
        self.step = step = self._steps.describe(self._cluster_id, self._step_id)
        self._tell_once(f"step {step.state}", partial(self._on_step, step))
        return step

    def _queue(self) -> str:
        """Say how many steps are ahead of one that has waited for a while."""
        self._queued_at = self._clock.now() if self._queued_at is None else self._queued_at
        if self._clock.now() - self._queued_at >= FIRST_SECONDS:
            with suppress(AwsError):  # that it waits is known
                self.ahead = ahead = self._steps.before(self._cluster_id, self._step_id)
                return f"{ahead} unfinished step{'s' * (ahead != 1)} before it"
        return ""

    def _tell_once(self, state: str, tell: Callable[[], None]) -> None:
        if state not in self._seen:
            self._seen.add(state)
            tell()


def _state_of(step: AddedStep) -> JobState:
    if step.state is StepState.COMPLETED:
        return JobState.SUCCEEDED
    if step.state in STEP_ENDED:
        return JobState.STOPPED if step.state in STEP_STOPPED else JobState.FAILED
    return JobState.QUEUEING if step.state is StepState.PENDING else JobState.RUNNING


def stop(
    steps: Steps,
    clock: Clock,
    cluster_id: str,
    step_id: str,
    patience_seconds: float,
    report: Reporter = no_report,
) -> AddedStep:
    """Interrupt a step, kill it if it does not stop, and return it as it was last seen. Raises the AwsErrors."""
    kill_at, within = clock.now() + patience_seconds, 2 * patience_seconds
    killed = False

    def look() -> AddedStep:
        nonlocal killed
        step = steps.describe(cluster_id, step_id)
        if step.state not in STEP_ENDED and clock.now() >= kill_at and not killed:
            steps.cancel(cluster_id, step_id, kill=True)
            killed = True
        work.heartbeat(str(step.state))
        return step

    with report(f"Waiting for step {step_id} to stop", at_most_seconds=within) as work:
        steps.cancel(cluster_id, step_id)
        intervals = FIRST_INTERVAL_SECONDS, GROWTH, QUICK_INTERVAL_SECONDS
        return poll(clock, look, within, lambda step: step.state in STEP_ENDED, *intervals)
