"""Job runs that nobody needs, the ledger, and the command line."""

import json

import dagster as dg
import pytest
from click.testing import CliRunner

from emr_pipelines import orphaned_clusters_sensor
from emr_pipelines.backends.base import Handle, JobStatus
from emr_pipelines.backends.emr_serverless.backend import EmrServerlessBackend
from emr_pipelines.backends.emr_serverless.job_runs import JobRuns
from emr_pipelines.backends.emr_serverless.ledger import ledger
from emr_pipelines.cli import main
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from emr_pipelines.runners.ledger import CostLedger
from tests.emr_env import PARAMS
from tests.runners.programs import add_up
from tests.serverless_env import ServerlessEnv, serverless_env

__all__ = ["serverless_env"]

PRICES = {"vcpu_hour": 0.05, "memory_gb_hour": 0.006, "storage_gb_hour": 0.0}


class Killed(BaseException):
    """Stands for SIGKILL."""


def abandon(env: ServerlessEnv) -> None:
    """Leave a job run behind, as a process that is killed does."""
    env.program(seconds=10_000)
    poll = EmrServerlessBackend.poll

    def killed(self: EmrServerlessBackend, handle: Handle) -> JobStatus:
        if "RUNNING" in env.states:
            raise Killed
        return poll(self, handle)

    def work(context: dg.AssetExecutionContext, spark: EmrServerlessSparkRunner) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(EmrServerlessBackend, "poll", killed)
            patched.setattr(JobRuns, "cancel", lambda *_: None)
            with pytest.raises(Killed):
                spark.run(context, add_up, PARAMS)

    env.materialize(work)


def tick(env: ServerlessEnv) -> str:
    told = orphaned_clusters_sensor(dg.build_sensor_context(instance=env.instance))
    assert isinstance(told, dg.SkipReason)
    return str(told.skip_message)


@pytest.fixture
def deployed(serverless_env: ServerlessEnv, monkeypatch: pytest.MonkeyPatch) -> ServerlessEnv:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr-serverless")
    monkeypatch.setenv("EMR_PIPELINES_DEPLOYMENT", "mine")
    return serverless_env


def test_the_sensor_cancels_job_runs_whose_run_is_over(
    deployed: ServerlessEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tick(deployed) == "Deployment 'mine' has no active job run."
    abandon(deployed)
    assert "None of the 1 active job runs of deployment 'mine' is an orphan: each is young" in tick(deployed)
    deployed.account.emulator.advance(700)
    monkeypatch.setattr("emr_pipelines.automation.orphans.SETTLED_SECONDS", 0)
    monkeypatch.setenv("EMR_PIPELINES_ORPHAN_DRY_RUN", "1")
    assert tick(deployed).startswith("Would cancel job run")
    monkeypatch.delenv("EMR_PIPELINES_ORPHAN_DRY_RUN")
    said = tick(deployed)
    assert said.startswith("Cancelled job run")
    assert "has finished" in said
    deployed.account.emulator.advance(60)
    assert deployed.states == ["CANCELLED"]


@pytest.mark.extended
def test_the_job_runs_of_another_deployment_are_left_alone(
    deployed: ServerlessEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandon(deployed)
    deployed.account.emulator.advance(700)
    monkeypatch.setenv("EMR_PIPELINES_DEPLOYMENT", "theirs")
    assert tick(deployed) == "Deployment 'theirs' has no active job run."
    deployed.account.emulator.advance(20_000)


def said(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_line_lists_and_cancels(deployed: ServerlessEnv) -> None:
    assert said("jobruns", "list") == "No job run of deployment 'mine' is active.\n"
    assert said("applications", "list") == "Deployment 'mine' has no application.\n"
    abandon(deployed)
    (run,) = deployed.job_runs
    (application,) = deployed.account.emulator.applications()
    assert run.id in said("jobruns", "list")
    (row,) = json.loads(said("jobruns", "list", "--all", "--json"))
    assert (row["id"], row["state"], row["deployment"]) == (run.id, "RUNNING", "mine")
    assert application.id in said("applications", "list")
    assert said("jobruns", "dashboard", run.id).strip().endswith(f"/_emulator/jobruns/{run.id}")
    assert "emr-serverless.stop_application" in said("applications", "stop", application.id, code=1)
    assert "has a job run 'no'" in said("jobruns", "cancel", "--yes", "no", code=1)
    assert f"Job run {run.id} was told to end." in said("jobruns", "cancel", "--yes", run.id)
    deployed.account.emulator.advance(60)
    assert deployed.states == ["CANCELLED"]
    assert "was told to stop" in said("applications", "stop", application.id)


def test_the_ledger_has_job_runs_of_killed_runs_too(deployed: ServerlessEnv) -> None:
    aws = deployed.account.aws
    deployed.run()
    abandon(deployed)
    first = ledger(aws, "mine", [], PRICES)
    assert sorted(entry.final for entry in first) == [False, True]
    deployed.account.emulator.advance(20_000)
    second = {entry.billed_id: entry for entry in ledger(aws, "mine", first, PRICES)}
    assert {(entry.asset, entry.service, entry.final) for entry in second.values()} == {
        ("answer", "EMR Serverless", True)
    }
    assert all(entry.run_id for entry in second.values())
    for run in deployed.job_runs:
        hours, entry = run.billed_seconds / 3600, second[run.id]
        assert entry.vcpu_hours == pytest.approx(16 * hours, abs=0.001)
        assert entry.usd == pytest.approx(0.05 * 16 * hours + 0.006 * 64 * hours, abs=0.001)
    assert ledger(aws, "theirs", [], PRICES) == []


@pytest.mark.extended
def test_an_entry_without_a_price_gets_one_later(deployed: ServerlessEnv) -> None:
    deployed.run()
    (unpriced,) = CostLedger().entries([])
    assert unpriced.usd is None
    (priced,) = CostLedger(prices=PRICES).entries([unpriced])
    assert priced.usd is not None
    assert priced.billed_id == unpriced.billed_id
