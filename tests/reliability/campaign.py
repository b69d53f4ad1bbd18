"""A campaign of kills. For each: a run that is struck, the sensor, a retry, and checks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import dagster as dg
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.state import KnownExecutionState

from emr_pipelines.automation import orphans
from emr_pipelines.aws import client
from emr_pipelines.backends.orphans import GRACE_SECONDS
from tests.reliability import pipeline
from tests.reliability.account import BUCKET, Account, Asked, Case
from tests.reliability.daemon import LONG_SECONDS, Daemon, Hung
from tests.reliability.plans import CUTS, SECONDS, Plan

IDLE_SECONDS = 1000.0  # longer than the idle timeout of a cluster, and its end
PRELOADED = ["tests.reliability.warm", "dagster._core.executor.multiprocess"]
RETRY_TAGS = {"dagster/is_resume_retry": "true"}


@dataclass
class Verdict:
    """The outcome of one kill; `phase` is empty if the run ended before the kill."""

    plan: Plan
    phase: str = ""
    outcome: str = ""
    violations: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class Strike:
    """Waits for a plan's moment, and strikes once."""

    def __init__(self, plan: Plan, hit: Callable[[], bool]) -> None:
        self._plan, self._hit = plan, hit
        self._lock = threading.Lock()
        self._seen = 0
        self._due = False
        self._over = self._stopped = False

    def __call__(self, asked: Asked | None, side: str) -> None:
        """asked: the current request; or None, and `side` is what a program does."""
        with self._lock:
            self._due = self._due or self._is_now(asked, side)
        self._strike_if_due()

    def late(self) -> None:
        """A share of the run's time has passed."""
        with self._lock:
            self._due = True
        self._strike_if_due()

    def stop(self) -> None:
        with self._lock:
            self._over = self._stopped = True

    def _strike_if_due(self) -> None:
        with self._lock:
            if self._over or not self._due:
                return
            self._over = True
        # without the lock, because the account's lock is held when a program strikes
        if not self._hit():
            with self._lock:
                self._over = self._stopped  # a process that does not exist yet is struck once it does

    def _is_now(self, asked: Asked | None, side: str) -> bool:
        plan = self._plan
        if plan.share is not None:
            return False
        if plan.number is not None:
            return asked is not None and side == plan.side and asked.number >= plan.number
        if asked is None:
            found = side == plan.moment
        else:
            found = side == plan.side and plan.moment in asked.what and not asked.what.startswith(("GET", "HEAD"))
        self._seen += found
        return found and self._seen >= plan.nth


class Campaign:
    """An account, a Dagster instance, and a fork server for run workers; one kill after another."""

    def __init__(self, root: Path) -> None:
        self.account = Account(root / "emulator")
        self.home = root / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        self._before = dict(os.environ), cast("Any", client).SystemClock
        os.environ.update(self.account.environment)
        pipeline.use_quick_clock()
        self.instance = dg.DagsterInstance.from_config(str(self.home))
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()
        self._server = cast("Any", forkserver)._forkserver
        self._daemon = Daemon(root, self.home, self.account)
        self._places = 0

    def stop(self) -> None:
        self._daemon.stop()
        self.instance.dispose()
        self.account.stop()
        self._server._stop()
        environment, clock = self._before
        os.environ.clear()
        os.environ.update(environment)
        cast("Any", client).SystemClock = clock

    # one kill

    def kill(self, plan: Plan) -> Verdict:
        verdict = Verdict(plan)
        self._places += 1
        before = len(self.account.emulator.clusters()), len(self.account.job_runs())
        case = Case(f"{BUCKET}/case-{self._places:04d}", *before)
        self.account.case = case
        processes: list[int] = []

        def hit() -> bool:
            targets = processes if plan.target == "worker" else [self._daemon.pid] if plan.target == "daemon" else [0]
            if plan.target == "step":
                steps = sorted(set(self._children()) - set(processes))
                targets = steps[(plan.nth - 1) % len(steps) :] if steps else []
            if not targets:
                return False
            phase = self.account.phase(case, plan.assets)
            if plan.target == "connection":
                self.account.line.cut(CUTS[plan.how])
            else:
                try:
                    os.kill(targets[0], signal.Signals[plan.how])
                except ProcessLookupError:
                    return False
            verdict.phase = phase
            verdict.log.append(f"{time.time():.2f} struck {targets[0]}")
            return True

        strike = Strike(plan, hit)
        case.strike = strike
        timer = threading.Timer((plan.share or 0) * SECONDS[plan.executor], strike.late)
        if plan.share is not None:
            timer.start()
        try:
            run_id = self._begin(plan, case, processes)
            if plan.target == "daemon":
                self._daemon.await_run(self.instance, run_id)
            timer.cancel()
            strike.stop()
            self._judge(plan, case, run_id, verdict)
        except Hung as hung:
            case.violations.append(str(hung))
            self._daemon.stop()
        finally:
            timer.cancel()
            for pid in self._children():
                os.kill(pid, signal.SIGKILL)
            self._await_processes()
        verdict.violations = list(dict.fromkeys(case.violations))
        if verdict.violations:
            verdict.log += self._told(case)
        return verdict

    def _begin(self, plan: Plan, case: Case, processes: list[int]) -> str:
        config = pipeline.run_config(plan.executor, plan.scope, case.place)
        if plan.target == "daemon":
            return self._daemon.ask_for_run(self.instance, case.place.rpartition("/")[2], config)
        job = getattr(pipeline, pipeline.JOBS[plan.executor])()
        run = self.instance.create_run_for_job(job, run_config=config)
        worker = self._worker(run.run_id)
        processes.append(cast("int", worker.pid))
        _await(worker)
        return run.run_id

    def _judge(self, plan: Plan, case: Case, run_id: str, verdict: Verdict) -> None:
        run = self._ended(run_id)
        if not plan.hasty:  # otherwise leftover processes still run during the sensor's tick or the retry
            self._await_processes()
        self._look_at_pointers(plan, case, "before the retry")
        verdict.outcome = str(run.status.value).lower()
        if not plan.retry_first:
            self._tick_twice(case, "before the retry")
        if not run.is_success:
            retried = self._retry(run)
            if retried is None:
                verdict.outcome += ", with nothing left to do"
            elif not retried.is_success:
                case.violations.append(f"the retry ended as {retried.status.value}")
            else:
                verdict.outcome += ", retried"
            self._look_at_pointers(plan, case, "after the retry")
        for asset in plan.assets:
            pointer = self.account.pointer(case.place, asset)
            if pointer is None or pointer["data_version"] not in case.committed.get(asset, ()):
                case.violations.append(f"{asset} was not published in the end")
        self._await_processes()
        self._tick_twice(case, "in the end")

    def _look_at_pointers(self, plan: Plan, case: Case, when: str) -> None:
        for asset in plan.assets:
            fault = self.account.fault_of_pointer(case.place, asset)
            if fault:
                case.violations.append(f"{when}: {fault}")

    # runs

    def _worker(self, run_id: str) -> Any:
        address = self._server._forkserver_address
        arguments = (run_id, str(self.home), self.account.environment, address)
        worker = self._forks.Process(target=pipeline.work, args=arguments)
        worker.start()
        return worker

    def _ended(self, run_id: str) -> dg.DagsterRun:
        """Return the run; mark it as failed if its worker is dead, as Dagster's run monitoring does."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        if not run.is_finished:
            self.instance.report_run_failed(run, "Its worker is gone.")
            run = self.instance.get_run_by_id(run_id)
            assert run is not None
        return run

    def _retry(self, parent: dg.DagsterRun) -> dg.DagsterRun | None:
        """Retry the run from failure, as a person or the daemon does; None if all its steps have succeeded."""
        job = getattr(pipeline, parent.job_name)()
        steps, known = KnownExecutionState.build_resume_retry_reexecution(self.instance, parent)
        if not steps:
            return None
        execution = create_execution_plan(job, parent.run_config, step_keys_to_execute=steps, known_state=known)
        tags = {**RETRY_TAGS, "dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
        run = self.instance.create_run_for_job(
            job, execution_plan=execution, run_config=parent.run_config, tags=tags,
            root_run_id=parent.run_id, parent_run_id=parent.run_id,
        )  # fmt: skip
        _await(self._worker(run.run_id))
        return self._ended(run.run_id)

    def _children(self) -> list[int]:
        """Return the living children of the fork server: run workers, and processes of steps."""
        pid = self._server._forkserver_pid
        try:
            told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(child) for child in told.split() if not _is_dead(int(child))]

    def _await_processes(self) -> None:
        _until(lambda: not self._children(), "the processes of a run that was killed")

    def _told(self, case: Case) -> list[str]:
        lines = [f"request {asked.number}: {asked.what}" for asked in case.requests]
        for run in self.instance.get_runs(limit=2)[::-1]:
            lines += [
                f"{entry.timestamp:.2f} {run.run_id[:8]} {entry.user_message}"
                for entry in self.instance.all_logs(run.run_id)
            ]
            lines += [
                str(entry.dagster_event.event_specific_data)[:3000]
                for entry in self.instance.all_logs(run.run_id)
                if entry.dagster_event and "FAILURE" in entry.dagster_event.event_type_value
            ]
        return lines

    # the sensor

    def _tick_twice(self, case: Case, when: str) -> None:
        """The sensor's two ticks, five minutes apart, when all has settled: then there is no cluster but a pool's, and
        none at all when those have been idle for long enough. If the killed left a process, it may need its cluster."""
        for _ in range(2):
            now = max(time.time(), self.account.clock.now()) + GRACE_SECONDS + orphans.SETTLED_SECONDS + 1
            with _time_is(now), dg.build_sensor_context(self.instance) as context:
                orphans.orphaned_clusters_sensor(context)
            if not self._children():
                self.account.move_on(orphans.SETTLED_SECONDS)
        if self._children():
            return
        left = [f"{name} is {state}" for name, state in self.account.left().items()]
        case.violations += [f"{when}, after two ticks: {found}" for found in left if "/pool/" not in found]
        self.account.move_on(IDLE_SECONDS)
        left = [f"{name} is {state}" for name, state in self.account.left().items()]
        case.violations += [f"{when}, long after all was idle: {found}" for found in left]


@contextmanager
def _time_is(now: float) -> Iterator[None]:
    """Set the sensor's time, here and in AWS's responses."""
    with (
        mock.patch.object(orphans, "time", SimpleNamespace(time=lambda: now)),
        mock.patch.object(client.Aws, "now", return_value=now),
    ):
        yield


def _await(worker: Any) -> None:
    worker.join(LONG_SECONDS)
    if worker.exitcode is None:
        raise Hung("a run's worker did not end")


def _until(condition: Callable[[], bool], what: str) -> None:
    pause, end = threading.Event(), time.monotonic() + LONG_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Hung(f"{what} did not end")
        pause.wait(0.02)


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
