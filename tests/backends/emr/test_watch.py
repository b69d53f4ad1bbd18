"""Watching a step: its end is noticed at once, read from the step, with few calls to EMR."""

from __future__ import annotations

import threading

import pytest
from rehearsal import UP

from emr_pipelines.backends.base import Deadlines, JobState
from emr_pipelines.backends.emr.explanation import EndOfStep
from emr_pipelines.backends.emr.poller import StepPoller, stop
from emr_pipelines.backends.emr.states import ClusterState, StepState
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.backends.watch import JITTER, LONGEST_INTERVAL_SECONDS, Watch
from emr_pipelines.clock import Wakeup
from emr_pipelines.errors import InvalidValue, Throttled
from emr_pipelines.report import Lines
from tests.account import Account

MAX_CALLS_PER_HOUR = 120
NOTICED_WITHIN_SECONDS = 3


class Watched:
    """A cluster with one step, and what its watcher reported."""

    def __init__(self, account: Account, *args: str, deadlines: Deadlines | None = None) -> None:
        self.account = account
        self.cluster_id = account.launch()
        self.step_id = account.steps.add(self.cluster_id, Step("a step", args))
        self.told: list[str] = []
        self.said: list[str] = []  # of what is waited for
        self.wakeup = Wakeup()
        self.deadlines = deadlines or Deadlines()

    def wait(self, reports_progress: bool = False) -> EndOfStep:
        poller = StepPoller(
            self.account.clusters,
            self.account.steps,
            self.account.clock,
            self.cluster_id,
            self.step_id,
            on_cluster=lambda cluster: self.told.append(f"cluster {cluster.state}"),
            on_step=lambda step: self.told.append(f"step {step.state}"),
        )
        report = Lines(self.said.append, self.account.clock.now)
        watch = Watch(poller.poll, self.account.clock, self.deadlines, self.wakeup, report, reports_progress)
        end = watch.wait()
        step = poller.step or self.account.steps.describe(self.cluster_id, self.step_id)
        assert end.timed_out or end.status.words == str(step.state)
        return EndOfStep(step, poller.cluster, end.timed_out)


def test_a_step_is_watched_to_its_completion_and_each_state_is_told_once(account: Account) -> None:
    watched = Watched(account, "spark-submit")
    end = watched.wait()
    assert end.step.state is StepState.COMPLETED
    assert end.timed_out is None
    told = [state for state in watched.told if state != "cluster BOOTSTRAPPING"]  # a minute, which may pass unseen
    assert told == ["cluster STARTING", "cluster RUNNING", "step RUNNING", "step COMPLETED"]


def test_a_step_of_an_hour_costs_few_calls_and_its_end_is_noticed_at_once(account: Account) -> None:
    watched = Watched(account, "hour")
    account.calls.clear()
    pause, end_at = account.clock.pause, 1_700_000_000 + UP + 3599

    def last_message(seconds: float, until: threading.Event | None = None) -> None:
        """It arrives a second before the process ends."""
        pause(seconds, until)
        if account.clock.now() >= end_at and not watched.wakeup.ending:
            watched.wakeup.set(ending=True)

    account.clock.pause = last_message  # type: ignore[method-assign]
    end = watched.wait()
    assert end.step.state is StepState.COMPLETED
    assert end.step.ended is not None
    assert account.clock.now() - end.step.ended.timestamp() <= NOTICED_WITHIN_SECONDS
    assert account.emr_calls() <= MAX_CALLS_PER_HOUR


def test_a_step_that_is_killed_without_a_last_message_is_noticed_by_the_next_poll(account: Account) -> None:
    watched = Watched(account, "hour")
    end = watched.wait()
    assert end.step.ended is not None
    assert account.clock.now() - end.step.ended.timestamp() <= LONGEST_INTERVAL_SECONDS * (1 + JITTER) + 1


def test_a_last_message_long_before_the_end_costs_few_calls(account: Account) -> None:
    watched = Watched(account, "hour")
    account.calls.clear()
    watched.wakeup.set(ending=True)
    assert watched.wait().step.state is StepState.COMPLETED
    assert account.emr_calls() <= MAX_CALLS_PER_HOUR


def test_a_wakeup_is_used_once(account: Account) -> None:
    watched = Watched(account, "hour")
    account.clock.pause(UP + 1800)
    watched.wakeup.set()
    watched.wait()
    assert not watched.wakeup.given.is_set()


def test_more_than_30_minutes_are_nothing_special(account: Account) -> None:
    watched = Watched(account, "hour")
    assert watched.wait().step.state is StepState.COMPLETED
    assert account.clock.now() > 1_700_000_000 + 3600


def test_a_step_that_failed_under_continue_is_a_failure(account: Account) -> None:
    watched = Watched(account, "fails")
    end = watched.wait()
    assert end.step.state is StepState.FAILED
    assert account.clusters.describe(watched.cluster_id).state is ClusterState.WAITING


def test_100_throttles_in_a_row_are_no_failure(account: Account) -> None:
    watched = Watched(account, "hour")
    account.clock.pause(UP)
    account.fault("throttle", operation="Describe*", times=100)
    assert watched.wait().step.state is StepState.COMPLETED


def test_throttling_without_end_is_told_in_the_end(account: Account) -> None:
    watched = Watched(account, "hangs")
    account.clock.pause(UP)
    account.fault("throttle", operation="Describe*", times=None)
    with pytest.raises(Throttled):
        watched.wait()


def test_a_cluster_that_never_comes_up(account: Account) -> None:
    account.fault("provisioning_hangs")
    watched = Watched(account, "spark-submit", deadlines=Deadlines(provisioning=900))
    end = watched.wait()
    assert (end.timed_out, end.step.state) == (JobState.PROVISIONING, StepState.PENDING)
    assert 900 <= account.clock.now() - 1_700_000_000 < 910
    beginning = f"Waiting for cluster {watched.cluster_id} to come up: STARTING, "
    assert all(line.startswith(beginning) for line in watched.said)
    assert watched.said[0] in [f"{beginning}{seconds} s so far, at most 15 min." for seconds in (5, 6)]
    assert len(watched.said) == 18  # 5 in the first minute and a half, then one a minute


def test_a_step_behind_another(account: Account) -> None:
    cluster_id = account.launch()
    account.steps.add(cluster_id, Step("first", ("hangs",)))
    watched = Watched(account, "spark-submit", deadlines=Deadlines(queueing=600))
    watched.cluster_id = cluster_id
    watched.step_id = account.steps.add(cluster_id, Step("second", ("bash",)))
    end = watched.wait()
    assert (end.timed_out, end.step.state) == (JobState.QUEUEING, StepState.PENDING)
    queueing = [line for line in watched.said if line.startswith(f"Waiting for step {watched.step_id} to begin: ")]
    assert queueing[-1].endswith((" 9 min so far, at most 10 min.", " 10 min so far, at most 10 min."))
    assert all(" to begin: 1 unfinished step before it, " in line for line in queueing[1:])
    assert 8 <= len(queueing) <= 14


def test_a_step_that_does_not_tell_how_it_is_is_told_of(account: Account) -> None:
    silent = Watched(account, "hour")
    silent.wait()
    running = [line for line in silent.said if line.startswith(f"Waiting for step {silent.step_id} to end: ")]
    assert running[-1].endswith(" min so far, at most 168 h.")
    assert 30 <= len(running) <= 50
    speaking = Watched(account, "hour")
    speaking.wait(reports_progress=True)
    assert not [line for line in speaking.said if " to end" in line]


def test_a_step_that_runs_too_long(account: Account) -> None:
    watched = Watched(account, "hangs", deadlines=Deadlines(running=1800))
    end = watched.wait()
    assert (end.timed_out, end.step.state) == (JobState.RUNNING, StepState.RUNNING)
    assert stop(account.steps, account.clock, watched.cluster_id, watched.step_id, 20).state is StepState.CANCELLED


@pytest.mark.parametrize("code", ["VALIDATION_ERROR", "INSTANCE_FLEET_TIMEOUT", "INTERNAL_ERROR"])
def test_a_cluster_that_fails_while_it_is_provisioned(account: Account, code: str) -> None:
    account.fault("cluster_fails", code=code, error_codes=["SOME_CODE"])
    end = Watched(account, "spark-submit").wait()
    cluster = account.clusters.describe(account.emulator.clusters()[0].id)
    assert end.step.state is StepState.CANCELLED
    assert (cluster.reason_code, cluster.error_details[0].code) == (code, "SOME_CODE")


def test_a_primary_that_is_lost_while_a_step_runs(account: Account) -> None:
    account.fault("primary_lost", after_seconds=100)
    watched = Watched(account, "hour")
    end = watched.wait()
    assert end.step.state in (StepState.CANCELLED, StepState.INTERRUPTED, StepState.FAILED)
    assert account.clock.now() - 1_700_000_000 < UP + 100 + 600


def test_a_cluster_that_somebody_ends(account: Account) -> None:
    watched = Watched(account, "hangs")
    account.clock.pause(UP + 10)
    account.clusters.terminate(watched.cluster_id)
    assert watched.wait().step.state in (StepState.CANCELLED, StepState.INTERRUPTED)


def test_a_deadline_must_be_in_the_future() -> None:
    with pytest.raises(InvalidValue, match=r"^The deadline for running is 0.0; allowed: more than 0 seconds\.$"):
        Deadlines(running=0)


def test_stop_interrupts_and_then_kills(account: Account) -> None:
    watched = Watched(account, "hangs")
    account.clock.pause(UP + 10)
    assert stop(account.steps, account.clock, watched.cluster_id, watched.step_id, 20).state is StepState.CANCELLED
    assert account.emr_calls("cancel_steps") == 1
