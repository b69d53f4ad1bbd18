"""An emulated account without Spark, in which a test runs one asset on EMR Serverless."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest

from emr_emulator import Scripted
from emr_pipelines.backends.emr_serverless.states import ENDED
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from tests.emr_env import SCRIPTED, Clock, Env, emulated

ROLE = "arn:aws:iam::111122223333:role/jobs"


class ServerlessClock(Clock):
    """As for EMR; `result` is also what running job runs write."""

    result_when = frozenset({"RUNNING", "SUCCESS"})

    def _leave_results(self) -> None:
        super()._leave_results()
        for application in self.emulator.applications():
            for run in list(application.runs.values()):
                arguments = run.request["jobDriver"]["sparkSubmit"]["entryPointArguments"]
                tasks = [word for word in arguments if word.endswith("/task.json")]
                if tasks and str(run.state) in self.result_when:
                    task = json.loads(self._path(tasks[0]).read_text())
                    self._leave(task["result"], json.dumps({"result": self.result}))


@dataclass
class ServerlessEnv(Env[EmrServerlessSparkRunner]):
    """Runs on EMR Serverless. scripted: how programs end. observed: the observations of the asset."""

    runner = EmrServerlessSparkRunner
    defaults: ClassVar[dict[str, Any]] = {
        **Env.defaults, "execution_role": ROLE,
        "prices": {"vcpu_hour": 0.05, "memory_gb_hour": 0.006, "storage_gb_hour": 0.0001},
    }  # fmt: skip

    scripted: dict[str, Scripted] = field(default_factory=dict)

    @property
    def observed(self) -> list[Any]:
        records = self.instance.fetch_observations(dg.AssetKey("answer"), limit=10).records
        return [record.asset_observation for record in records]

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
    with emulated(folder, monkeypatch, ServerlessClock, scripted) as (account, clock, instance):
        env = ServerlessEnv(account, clock, instance, scripted=scripted)
        yield env
        assert set(env.states) <= set(map(str, ENDED))


@pytest.fixture
def serverless_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerlessEnv]:
    with made(tmp_path / "emulator", monkeypatch) as env:
        yield env
