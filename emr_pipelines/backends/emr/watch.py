"""Watching a step to its end: one poller, few calls, a deadline for each phase.

EMR is asked seldom, at growing intervals, and the less often the more is watched (pace.py). What makes an end noticed
at once is a wakeup that costs EMR nothing: the live feed of the step, or its result, which are on S3. Success is read
from the step, never from the cluster: a step that failed and let others continue leaves a cluster that ends well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from emr_pipelines.aws.poll_budget import POLL_BUDGET
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.states import ENDED, STARTING_UP, STEP_ENDED, StepState
from emr_pipelines.backends.emr.steps import AddedStep, Steps
from emr_pipelines.clock import Clock, Wakeup
from emr_pipelines.enums import TextEnum
from emr_pipelines.errors import AwsError, InvalidValue
from emr_pipelines.remote.progress import FIRST_SECONDS
from emr_pipelines.report import Reporter, Unseen, Work, no_report

FIRST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 60.0  # AWS advises a minute per step for fleets of jobs
QUICK_INTERVAL_SECONDS = 2.0  # when the step is about to end
QUICK_FOR_SECONDS = 30.0
SECOND_LOOK_SECONDS = 3.0  # after a wakeup: EMR learns later than we do that a process is gone
GROWTH = 1.4
JITTER = 0.15
LOOK_SECONDS = 1.0  # how often to look for wakeups
CLUSTER_EVERY = 10  # polls of a running step between two of its cluster, which may be gone


class Phase(TextEnum):
    """What a step is waiting for, or doing."""

    PROVISIONING = "provisioning"
    QUEUEING = "queueing"
    RUNNING = "running"


@dataclass(frozen=True)
class Deadlines:
    """How long each phase may take, in seconds."""

    provisioning: float = 3600
    queueing: float = 24 * 3600
    running: float = 7 * 24 * 3600

    def __post_init__(self) -> None:
        for phase in Phase:
            if self.of(phase) <= 0:
                raise InvalidValue(f"The deadline for {phase}", self.of(phase), "more than 0 seconds")

    def of(self, phase: Phase) -> float:
        return float(getattr(self, phase.value))


@dataclass(frozen=True)
class End:
    """How a watch ended: the step as it was last seen, its cluster where that was looked at, and the phase whose
    deadline passed, if one did. `before` is how many unfinished steps were before a step that queued for too long; None
    where that is not known."""

    step: AddedStep
    cluster: Cluster | None = None
    timed_out: Phase | None = None
    before: int | None = None


class Watch:
    """Watches a step; `on_cluster` and `on_step` are told of each new state, once.

    wakeup: given by whoever has reason to believe that something happened. finished: whether the result is there.
    speaks: whether the step, while it runs, tells by itself how far it is, so that `report` need not be told.
    """

    def __init__(
        self,
        clusters: Clusters,
        steps: Steps,
        clock: Clock,
        deadlines: Deadlines,
        wakeup: Wakeup,
        finished: Callable[[], bool],
        on_cluster: Callable[[Cluster], None],
        on_step: Callable[[AddedStep], None],
        report: Reporter = no_report,
        reports_progress: bool = False,
    ) -> None:
        self._clusters, self._steps, self._clock, self._deadlines = clusters, steps, clock, deadlines
        self._wakeup, self._finished = wakeup, finished
        self._on_cluster, self._on_step = on_cluster, on_step
        self._report, self._speaks = report, reports_progress
        self._waiting: Work = Unseen()  # of the phase
        self._seen: set[str] = set()
        self._interval = FIRST_INTERVAL_SECONDS
        self._quick_until = 0.0
        self._look_again = False
        self._result_seen = False

    def wait(self, cluster_id: str, step_id: str) -> End:
        """Wait until the step has ended, its cluster has, or a deadline has passed. Raises the AwsErrors."""
        with POLL_BUDGET.shared(), ExitStack() as phase_told:
            return self._wait(cluster_id, step_id, phase_told)

    def _wait(self, cluster_id: str, step_id: str, told: ExitStack) -> End:
        phase, since, polls = Phase.PROVISIONING, self._clock.now(), 0
        cluster: Cluster | None = None
        self._begin(phase, cluster_id, step_id, told)
        while True:
            if phase is not Phase.RUNNING or polls % CLUSTER_EVERY == CLUSTER_EVERY - 1:
                cluster = self._clusters.describe(cluster_id)
                self._tell_once(cluster.state, partial(self._on_cluster, cluster))
            if cluster is None or cluster.state not in STARTING_UP or self._deadline_passed(phase, since):
                step = self._steps.describe(cluster_id, step_id)
                self._tell_once(f"step {step.state}", partial(self._on_step, step))
                if step.state in STEP_ENDED:
                    return End(step, cluster)
                if cluster is not None and cluster.state in ENDED:
                    return End(self._steps.describe(cluster_id, step_id), cluster)
                now_in = Phase.QUEUEING if step.state is StepState.PENDING else Phase.RUNNING
                if cluster is not None and cluster.state in STARTING_UP:
                    now_in = Phase.PROVISIONING
                if now_in is not phase:
                    phase, since, self._interval = now_in, self._clock.now(), 3 * FIRST_INTERVAL_SECONDS
                    self._begin(phase, cluster_id, step_id, told)
                elif self._deadline_passed(phase, since):
                    return End(step, cluster, phase, self._before(phase, cluster_id, step_id))
            polls += 1
            self._tell_how_it_looks(phase, since, cluster, step_id)
            self._pause(phase, self._deadlines.of(phase) - (self._clock.now() - since))

    def _before(self, phase: Phase, cluster_id: str, step_id: str) -> int | None:
        if phase is Phase.QUEUEING:
            with suppress(AwsError):
                return self._steps.before(cluster_id, step_id)
        return None

    def _deadline_passed(self, phase: Phase, since: float) -> bool:
        return self._clock.now() - since >= self._deadlines.of(phase)

    def _tell_once(self, state: str, tell: Callable[[], None]) -> None:
        if state not in self._seen:
            self._seen.add(state)
            tell()

    def _begin(self, phase: Phase, cluster_id: str, step_id: str, told: ExitStack) -> None:
        told.close()  # the phase before
        what = {
            Phase.PROVISIONING: f"Waiting for cluster {cluster_id} to come up",
            Phase.QUEUEING: f"Waiting for step {step_id} to begin",
            Phase.RUNNING: f"Waiting for step {step_id} to end",
        }
        report = no_report if phase is Phase.RUNNING and self._speaks else self._report
        self._waiting = told.enter_context(report(what[phase], at_most_seconds=self._deadlines.of(phase)))

    def _tell_how_it_looks(self, phase: Phase, since: float, cluster: Cluster | None, step_id: str) -> None:
        if phase is Phase.PROVISIONING and cluster is not None:
            self._waiting.still(str(cluster.state))
        elif phase is Phase.QUEUEING and cluster is not None and self._clock.now() - since >= FIRST_SECONDS:
            with suppress(AwsError):  # that it waits is known
                before = self._steps.before(cluster.id, step_id)
                self._waiting.still(f"{before} unfinished step{'s' * (before != 1)} before it")

    def _pause(self, phase: Phase, longest: float) -> None:
        """Until it is time to ask EMR again, or there is a wakeup."""
        quick = self._clock.now() < self._quick_until
        if quick:
            self._interval = min(self._interval, QUICK_INTERVAL_SECONDS)
        else:
            self._interval = POLL_BUDGET.emr_seconds(min(self._interval, LONGEST_INTERVAL_SECONDS))
        interval = min(self._interval, SECOND_LOOK_SECONDS) if self._look_again else self._interval
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (so that many watchers do not ask at once)
        until = self._clock.now() + max(0.0, min(interval * jitter, longest))
        self._interval *= GROWTH
        self._look_again = False
        while (left := until - self._clock.now()) > 0:
            self._clock.pause(min(left, POLL_BUDGET.backup_seconds(LOOK_SECONDS)), self._wakeup.given)
            self._waiting.still()
            if self._ends(phase):
                self._quick_until = self._clock.now() + QUICK_FOR_SECONDS
                self._interval = FIRST_INTERVAL_SECONDS / 2
                return
            if self._wakeup.given.is_set():
                self._wakeup.given.clear()
                self._look_again = True
                return

    def _ends(self, phase: Phase) -> bool:
        """Whether there is a first sign that the step is about to end."""
        if self._result_seen:
            return False
        if self._wakeup.given.is_set() and self._wakeup.ending:
            self._result_seen = True
        elif phase is Phase.RUNNING:
            with suppress(AwsError):  # a wakeup that cannot be read is none
                self._result_seen = self._finished()
        if self._result_seen:
            self._wakeup.given.clear()
        return self._result_seen


def stop(
    steps: Steps,
    clock: Clock,
    cluster_id: str,
    step_id: str,
    patience_seconds: float,
    report: Reporter = no_report,
) -> AddedStep:
    """Ask a step to stop, and after a while make it; returns it as it was last seen. Raises the AwsErrors."""
    with report(f"Waiting for step {step_id} to stop", at_most_seconds=2 * patience_seconds) as work:
        return _stop(steps, clock, cluster_id, step_id, patience_seconds, work)


def _stop(steps: Steps, clock: Clock, cluster_id: str, step_id: str, patience_seconds: float, work: Work) -> AddedStep:
    steps.cancel(cluster_id, step_id)
    asked_at, killed, interval = clock.now(), False, FIRST_INTERVAL_SECONDS
    while True:
        step = steps.describe(cluster_id, step_id)
        waited = clock.now() - asked_at
        if step.state in STEP_ENDED or waited >= 2 * patience_seconds:
            return step
        if not killed and waited >= patience_seconds:
            steps.cancel(cluster_id, step_id, kill=True)
            killed = True
        work.still(str(step.state))
        clock.pause(interval)
        interval = min(interval * GROWTH, QUICK_INTERVAL_SECONDS)
