"""End to end on EMR Serverless: a user's commands with the emulator, which runs job runs with Spark."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rehearsal import until

from emr_emulator import Durations, Emulator
from tests.patience import HUNG_SECONDS
from tests.serverless_env import ROLE
from tests.test_on_emr import DEFS, PI, PROGRAM, RETRY, SHARED, OnEmr, bucket_of, with_spark

MOMENT = Durations(
    application_creation=0, application_start=1, application_stop=0, worker_start=1, log_push_interval=0.5
)
# the emulator's Python runs the programs, and has their requirements
HERE: dict[str, Any] = {"ship_dependencies": False, "application": {"preset": "small", "python": "python3"}}
RUNS_HERE = {"spark": {"config": HERE}}
ENDED = {"SUCCESS", "FAILED", "CANCELLED"}


class OnServerless(OnEmr):
    """An emulated account, and commands whose environment points to it."""

    def __init__(self, emulator: Emulator, folder: Path, bucket: str) -> None:
        super().__init__(emulator, folder, bucket)
        self.known = {run.id for run in self._all()}

    def _all(self) -> list[Any]:
        return [run for application in self.emulator.applications() for run in application.runs.values()]

    @property
    def job_runs(self) -> list[Any]:
        return [run for run in self._all() if run.id not in self.known]

    @property
    def states(self) -> list[str]:
        return [str(run.state) for run in self.job_runs]

    def environment(self, target: str = "emr") -> dict[str, str]:
        named = "emr-serverless" if target == "emr" else target
        return {**super().environment(named), "EMR_PIPELINES_EXECUTION_ROLE": ROLE}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with with_spark(tmp_path_factory.mktemp("emulator"), MOMENT) as emulator:
        yield emulator


@pytest.fixture
def on_serverless(emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OnServerless]:
    env = OnServerless(emulator, tmp_path, bucket_of(request))
    yield env
    assert set(env.states) <= ENDED
    assert env.clusters == []


def test_word_count_job_counts_the_same_words_as_here(on_serverless: OnServerless) -> None:
    process = on_serverless.start(*on_serverless.job("word_count_job"), config={"resources": RUNS_HERE})
    seen = until(lambda: "Counting the words of" in on_serverless.log() and on_serverless.states)
    assert seen == ["SUCCESS", "RUNNING"]  # the program's output arrived before its job run ended
    assert process.wait(HUNG_SECONDS) == 0, on_serverless.log()
    assert on_serverless.states == ["SUCCESS", "SUCCESS"]
    on_serverless.run(*on_serverless.job("word_count_job"), target="local")
    counted = on_serverless.words(on_serverless.objects / "default" / "data")
    assert counted == on_serverless.words(on_serverless.folder / "data")
    assert counted["times"] == 80


@pytest.mark.extended
def test_a_worker_that_is_killed_is_followed_by_one_that_takes_over_its_job_run(on_serverless: OnServerless) -> None:
    """SIGKILL during a job run, then a retry as started by Dagster's run monitoring or a person."""
    killed = on_serverless.start(*on_serverless.job("pi_job"), config={"resources": RUNS_HERE, "ops": PI})
    until(lambda: on_serverless.states == ["RUNNING"])
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    retry = on_serverless.start("python", "-c", RETRY)
    assert retry.wait(HUNG_SECONDS) == 0, on_serverless.log()
    assert on_serverless.states == ["SUCCESS"]
    log = on_serverless.log()
    assert "of an earlier attempt, which is" in log or "An earlier attempt has done this" in log
    assert (on_serverless.objects / "default" / "data" / "pi_estimates" / "latest.json").exists()


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cancels_its_job_run(on_serverless: OnServerless, number: signal.Signals) -> None:
    config = {"resources": RUNS_HERE, "ops": {"pi_estimates": {"config": {"samples": [10**13]}}}}
    process = on_serverless.start(*on_serverless.job("pi_job"), config=config)
    until(lambda: "opened dagster pipes" in on_serverless.log())
    process.send_signal(number)
    assert process.wait(HUNG_SECONDS) != 0
    until(lambda: on_serverless.states == ["CANCELLED"])


@pytest.mark.extended
def test_a_program_s_own_error_is_read_as_it_is(on_serverless: OnServerless) -> None:
    (on_serverless.text / "b.txt").write_bytes(b"a\0b")
    process = on_serverless.start(*on_serverless.job("word_count_job"), config={"resources": RUNS_HERE})
    assert process.wait(HUNG_SECONDS) != 0
    log = on_serverless.log()
    assert "is not text: it has a NUL byte at offset 1" in log
    assert "Waiting for the logs" not in log  # the live log has said it
    assert on_serverless.states == ["FAILED"]
    assert not (on_serverless.objects / "default" / "data" / "input_text" / "latest.json").exists()


@pytest.mark.extended
def test_a_driver_that_is_killed_is_noticed(on_serverless: OnServerless) -> None:
    on_serverless.emulator.faults.add([{"fault": "step_killed", "step": "pi_estimates*", "after_seconds": 12}])
    config = {"resources": RUNS_HERE, "ops": {"pi_estimates": {"config": {"samples": [10**13]}}}}
    process = on_serverless.start(*on_serverless.job("pi_job"), config=config)
    assert process.wait(HUNG_SECONDS) != 0
    assert "ran out of memory" in on_serverless.log()
    assert on_serverless.states == ["FAILED"]


@pytest.mark.extended
def test_native_packages_travel_to_driver_and_executors(on_serverless: OnServerless) -> None:
    (on_serverless.folder / "mine").mkdir()
    (on_serverless.folder / "mine" / "__init__.py").write_text("")
    (on_serverless.folder / "mine" / "program.py").write_text(PROGRAM)
    (on_serverless.folder / "mine" / "defs.py").write_text(
        DEFS.replace(
            "runners.emr import EmrSparkRunner", "runners.emr_serverless import EmrServerlessSparkRunner"
        ).replace('EmrSparkRunner(deploy_mode="DEPLOY_MODE")', "EmrServerlessSparkRunner()")
    )
    on_serverless.run("dagster", "asset", "materialize", "-m", "mine.defs", "--select", "numpy_found")
    found = dict(re.findall(r"(driver|executor|python)=(\S+)", on_serverless.log()))
    if found["python"] == "3.11":  # the Python that they are packed for
        assert "/dependencies/numpy/" in found["driver"]
        assert "dependencies/numpy/" in found["executor"]
    else:
        assert "uses its own" in on_serverless.log()


@pytest.mark.extended
def test_own_code_and_the_files_beside_it_travel_to_driver_and_executors(on_serverless: OnServerless) -> None:
    for path, text in SHARED.items():
        (on_serverless.folder / path).parent.mkdir(exist_ok=True)
        (on_serverless.folder / path).write_text(
            text.replace("import EmrSparkRunner", "import EmrServerlessSparkRunner").replace(
                'EmrSparkRunner(deploy_mode="DEPLOY_MODE", ', "EmrServerlessSparkRunner("
            )
        )
    on_serverless.run("dagster", "asset", "materialize", "-m", "jobs.defs", "--select", "read_all")
    with dg.DagsterInstance.from_config(str(on_serverless.folder / "home")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("read_all"))
    assert event is not None
    assert event.asset_materialization is not None
    found = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (found["beside"], found["placed"]) == ('driver {"a": 1}, executor {"a": 1}', "driver 7, executor 7")
    assert "shipped_code/shared/names.py" in str(found["executor_file"])
