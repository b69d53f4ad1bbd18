"""An emulated account without Spark, in which a test runs one asset."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import dagster as dg
import pytest
from rehearsal import DURATIONS, EmulatedClock

from emr_emulator import Emulator, ManualClock, Scripted
from emr_pipelines.aws import client
from emr_pipelines.backends.emr.states import ENDED
from emr_pipelines.backends.emr.steps import AddedStep, Step
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.remote import RemoteSparkRunner
from tests.account import BUCKET, Account
from tests.runners.programs import Numbers, Total, add_up

SCRIPTED = {"spark-submit": Scripted(seconds=600), "bash": Scripted(seconds=10), "hour": Scripted(seconds=3600)}
PARAMS = Numbers((1, 2, 3))
RunnerT = TypeVar("RunnerT", bound=RemoteSparkRunner)


class Clock(EmulatedClock):
    """Time advances when the main thread pauses; other threads wait. `result` is what running programs write."""

    result: dict[str, Any] | None = None
    result_of_cluster = 0  # and later ones
    result_when = frozenset({"RUNNING", "COMPLETED"})  # states of the step

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        if threading.current_thread() is not threading.main_thread() and until is not None:
            until.wait(0.01)
            return
        if self.result is not None:
            self._leave_results()
        super().pause(seconds, until)

    def _leave_results(self) -> None:
        for cluster in self.emulator.clusters()[self.result_of_cluster :]:
            for step in cluster.steps.values():
                tasks = [word for word in step.args if word.endswith("/task.json")]
                if tasks and str(step.state) in self.result_when:
                    task = json.loads(self._path(tasks[0]).read_text())
                    self._leave(task["result"], json.dumps({"result": self.result}))

    def _leave(self, uri: str, text: str) -> None:
        """Write an object that does not exist yet as a file, as Spark does."""
        if not self._path(uri).exists():
            self._path(uri).write_text(text)

    def _path(self, uri: str) -> Path:
        return self.emulator.root / "buckets" / BUCKET / uri.removeprefix(f"s3://{BUCKET}/")


ClockT = TypeVar("ClockT", bound=Clock)


@dataclass
class Env(Generic[RunnerT]):
    """An emulated account, and runs of one asset in it. runner, defaults: the asset's runner, and its settings."""

    runner: ClassVar[type[RemoteSparkRunner]]
    defaults: ClassVar[dict[str, Any]] = {
        "bucket": BUCKET, "ship_dependencies": False, "retries": 0, "log_wait_seconds": 600, "retry_delay_seconds": 0,
    }  # fmt: skip

    account: Account
    clock: Clock
    instance: dg.DagsterInstance
    settings: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def materialize(self, work: Callable[[dg.AssetExecutionContext, RunnerT], Any], **settings: Any) -> Any:
        """Run `work` in an asset and return its result. Raises Failed if the run fails."""
        found: list[Any] = []

        @dg.asset
        def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
            assert isinstance(spark, self.runner)
            found.append(work(context, cast("RunnerT", spark)))

        runner = self.runner(**{**self.defaults, **self.settings, **settings})
        run = dg.materialize([answer], resources={"spark": runner}, instance=self.instance, raise_on_error=False)
        self.log = [entry.user_message for entry in self.instance.all_logs(run.run_id)]
        if not run.success:
            (failure,) = run.get_step_failure_events()[-1:]
            data = failure.step_failure_data
            raise Failed(data.user_failure_data.description if data.user_failure_data else str(data.error), data)
        return found[0]

    def run(self, **settings: Any) -> Total:
        answer = self.materialize(lambda context, spark: spark.run(context, add_up, PARAMS), **settings)
        assert isinstance(answer, Total)
        return answer


class EmrEnv(Env[EmrSparkRunner]):
    """Runs on EMR."""

    runner = EmrSparkRunner

    def step(self, step: Step, **settings: Any) -> AddedStep:
        answer = self.materialize(lambda context, spark: spark.run_step(context, step), **settings)
        assert isinstance(answer, AddedStep)
        return answer

    @contextmanager
    def ends_are_refused(self) -> Iterator[None]:
        """Refuse terminations during the block, and terminate the first cluster afterwards."""
        self.account.fault("server_error", operation="TerminateJobFlows", times=300)
        yield
        self.account.emulator.faults.clear()
        self.account.clusters.terminate(self.account.emulator.clusters()[0].id)
        self.account.emulator.advance(1000)

    def events(self, *beginnings: str) -> list[str]:
        """Return the beginnings of the log's lines that match, in order."""
        return [beginning for line in self.log for beginning in beginnings if line.startswith(beginning)]


class Failed(Exception):
    """A run failed; `data` is the failure of its step."""

    def __init__(self, text: str | None, data: Any) -> None:
        super().__init__(text)
        self.data = data


@contextmanager
def emulated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, clock_of: Callable[[Emulator], ClockT], scripted: dict[str, Scripted]
) -> Iterator[tuple[Account, ClockT, dg.DagsterInstance]]:
    """Yield an emulated account in which this process has its AWS and its time, and a Dagster instance."""
    with Emulator(folder, clock=ManualClock(), durations=DURATIONS, scripted=scripted) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        emulator.create_bucket(BUCKET)
        clock = clock_of(emulator)
        clock.result = {"total": 6}
        monkeypatch.setattr(client, "SystemClock", lambda: clock)
        with dg.DagsterInstance.ephemeral() as instance:
            yield Account(emulator, clock), clock, instance


@contextmanager
def made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmrEnv]:
    """Yield an emulated account; check afterwards that only clusters of pools are left."""
    with emulated(folder, monkeypatch, Clock, SCRIPTED) as (account, clock, instance):
        yield EmrEnv(account, clock, instance)
        account.emulator.advance(0)
        left = [cluster for cluster in account.emulator.clusters() if str(cluster.state) not in map(str, ENDED)]
        assert all(cluster.name.startswith("emr-pipelines/default/pool/") for cluster in left)


@pytest.fixture
def emr_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmrEnv]:
    with made(tmp_path / "emulator", monkeypatch) as emr_env:
        yield emr_env
