"""An emulated account without Spark, in which a test runs one asset on EMR Serverless."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rehearsal import DURATIONS

from emr_emulator import Emulator, ManualClock, Scripted
from emr_pipelines.aws import client
from emr_pipelines.backends.emr_serverless.states import ENDED
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from tests.account import BUCKET, Account
from tests.emr_env import PARAMS, SCRIPTED, Clock, Failed
from tests.runners.programs import Total, add_up

ROLE = "arn:aws:iam::111122223333:role/jobs"


class ServerlessClock(Clock):
    """As for EMR; `result` is what running job runs write."""

    result_when = frozenset({"RUNNING", "SUCCESS"})

    def _leave_results(self) -> None:
        for application in self.emulator.applications():
            for run in list(application.runs.values()):
                arguments = run.request["jobDriver"]["sparkSubmit"]["entryPointArguments"]
                tasks = [word for word in arguments if word.endswith("/task.json")]
                if tasks and str(run.state) in self.result_when:
                    task = json.loads(self._path(tasks[0]).read_text())
                    self._leave(task["result"], json.dumps({"result": self.result}))


@dataclass
class ServerlessEnv:
    """An emulated account, and runs of one asset in it."""

    account: Account
    clock: ServerlessClock
    instance: dg.DagsterInstance
    scripted: dict[str, Scripted]
    settings: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    observed: list[Any] = field(default_factory=list)

    def materialize(
        self, work: Callable[[dg.AssetExecutionContext, EmrServerlessSparkRunner], Any], **settings: Any
    ) -> Any:
        """Run `work` in an asset and return its result. Raises Failed if the run fails."""
        found: list[Any] = []

        @dg.asset
        def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
            assert isinstance(spark, EmrServerlessSparkRunner)
            found.append(work(context, spark))

        runner = EmrServerlessSparkRunner(**{
            "bucket": BUCKET, "execution_role": ROLE, "ship_dependencies": False, "retries": 0,
            "log_wait_seconds": 600, "retry_delay_seconds": 0,
            "prices": {"vcpu_hour": 0.05, "memory_gb_hour": 0.006, "storage_gb_hour": 0.0001},
            **self.settings, **settings,
        })  # fmt: skip
        run = dg.materialize([answer], resources={"spark": runner}, instance=self.instance, raise_on_error=False)
        self.log = [entry.user_message for entry in self.instance.all_logs(run.run_id)]
        records = self.instance.fetch_observations(dg.AssetKey("answer"), limit=10).records
        self.observed = [record.asset_observation for record in records]
        if not run.success:
            (failure,) = run.get_step_failure_events()[-1:]
            data = failure.step_failure_data
            raise Failed(data.user_failure_data.description if data.user_failure_data else str(data.error), data)
        return found[0]

    def run(self, **settings: Any) -> Total:
        answer = self.materialize(lambda context, spark: spark.run(context, add_up, PARAMS), **settings)
        assert isinstance(answer, Total)
        return answer

    def program(self, **how: Any) -> None:
        """Say how programs end, and that they leave no result. how: Scripted's members."""
        self.clock.result = None
        self.scripted["spark-submit"] = Scripted(**how)

    @property
    def job_runs(self) -> list[Any]:
        return [run for application in self.account.emulator.applications() for run in application.runs.values()]

    @property
    def states(self) -> list[str]:
        return [str(run.state) for run in self.job_runs]


@contextmanager
def made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerlessEnv]:
    """Yield an emulated account; check afterwards that no job run is left."""
    scripted = dict(SCRIPTED)
    with Emulator(folder, clock=ManualClock(), durations=DURATIONS, scripted=scripted) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        emulator.create_bucket(BUCKET)
        clock = ServerlessClock(emulator)
        clock.result = {"total": 6}
        monkeypatch.setattr(client, "SystemClock", lambda: clock)
        with dg.DagsterInstance.ephemeral() as instance:
            env = ServerlessEnv(Account(emulator, clock), clock, instance, scripted)
            yield env
        assert set(env.states) <= set(map(str, ENDED))


@pytest.fixture
def serverless_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerlessEnv]:
    with made(tmp_path / "emulator", monkeypatch) as env:
        yield env
