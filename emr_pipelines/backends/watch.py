"""Watch a job to its end: one poller, few calls, a deadline for each state.

The service is asked seldom, at growing intervals, and the less often the more is watched (aws/poll_budget.py). A
wakeup, which costs the service nothing, makes an end noticed at once: the last message of the job's live log. A job
whose process was killed sends none, and is noticed by the next poll, within a minute. Success is what the service says
of the job, never of what it ran on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack

from emr_pipelines.aws.poll_budget import POLL_BUDGET
from emr_pipelines.backends.base import UNFINISHED, Deadlines, End, JobState, JobStatus
from emr_pipelines.clock import Clock, Wakeup
from emr_pipelines.report import Reporter, Unseen, Work, no_report

FIRST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 60.0  # AWS advises a minute per step for fleets of jobs
QUICK_INTERVAL_SECONDS = 2.0  # when the job is about to end
QUICK_FOR_SECONDS = 30.0
SECOND_LOOK_SECONDS = 3.0  # after a wakeup: the service learns later than we do that a process is gone
GROWTH = 1.4
JITTER = 0.15
LOOK_SECONDS = 1.0  # how often to look for wakeups


class Watch:
    """The wait for one job.

    poll: asks the service for the job's status. wakeup: is set when something happened. reports_progress: whether the
    job, while it runs, reports its own progress, so that `report` is not used.
    """

    def __init__(
        self,
        poll: Callable[[], JobStatus],
        clock: Clock,
        deadlines: Deadlines,
        wakeup: Wakeup,
        report: Reporter = no_report,
        reports_progress: bool = False,
    ) -> None:
        self._poll, self._clock, self._deadlines = poll, clock, deadlines
        self._wakeup = wakeup
        self._report, self._reports_progress = report, reports_progress
        self._waiting: Work = Unseen()  # in the current state
        self._interval = FIRST_INTERVAL_SECONDS
        self._quick_until = 0.0
        self._look_again = False
        self._ending = False

    def wait(self) -> End:
        """Wait until the job has ended, or a deadline has passed. Raises the AwsErrors."""
        with POLL_BUDGET.shared(), ExitStack() as reported:
            return self._wait(reported)

    def _wait(self, reported: ExitStack) -> End:
        state: JobState | None = None
        since = self._clock.now()
        while True:
            status = self._poll()
            if status.state not in UNFINISHED:
                return End(status)
            if status.state is not state:
                first = state is None and status.state is JobState.PROVISIONING
                since = since if first else self._clock.now()
                state = status.state
                self._interval = FIRST_INTERVAL_SECONDS if first else 3 * FIRST_INTERVAL_SECONDS
                self._begin(status, reported)
            left = self._deadlines.of(state) - (self._clock.now() - since)
            if left <= 0:
                return End(status, timed_out=state)
            if status.words and state is not JobState.RUNNING:
                self._waiting.heartbeat(status.words)
            self._pause(left)

    def _begin(self, status: JobStatus, reported: ExitStack) -> None:
        reported.close()  # the state before
        silent = status.state is JobState.RUNNING and self._reports_progress
        report = no_report if silent else self._report
        longest = self._deadlines.of(status.state)
        self._waiting = reported.enter_context(report(status.waiting_for, at_most_seconds=longest))

    def _pause(self, longest: float) -> None:
        """Pause until it is time to poll again, or there is a wakeup."""
        if self._clock.now() < self._quick_until:
            self._interval = min(self._interval, QUICK_INTERVAL_SECONDS)
        else:
            self._interval = POLL_BUDGET.emr_seconds(min(self._interval, LONGEST_INTERVAL_SECONDS))
        interval = min(self._interval, SECOND_LOOK_SECONDS) if self._look_again else self._interval
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (so that many watchers do not ask at once)
        until = self._clock.now() + max(0.0, min(interval * jitter, longest))
        self._interval *= GROWTH
        self._look_again = False
        while (left := until - self._clock.now()) > 0:
            self._clock.pause(min(left, LOOK_SECONDS), self._wakeup.given)
            self._waiting.heartbeat()
            if self._wakeup.given.is_set():
                self._wakeup.given.clear()
                self._wake()
                return

    def _wake(self) -> None:
        """Poll soon again, too: the service may not know yet what the wakeup was for."""
        if self._wakeup.ending and not self._ending:
            self._ending = True
            self._quick_until = self._clock.now() + QUICK_FOR_SECONDS
            self._interval = FIRST_INTERVAL_SECONDS / 2
        else:
            self._look_again = True
