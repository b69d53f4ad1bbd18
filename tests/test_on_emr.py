"""End to end: a user's commands with the emulator, which runs the steps with Spark."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rehearsal import until

from emr_emulator import Durations, Emulator, find_spark
from emr_pipelines.runners.java import find_java
from tests.patience import HUNG_SECONDS
from tests.test_readme import project_files

BIN = Path(sys.executable).parent
TEXT = "It was the best of times, it was the worst of times.\nRock'n'roll, naïve Ünïcode — 12 monkeys.\n" * 40
MOMENT = Durations(provisioning=1, bootstrapping=0, termination=0, log_push_interval=0.5)
# the emulator's Python runs the steps, and has their requirements
HERE: dict[str, Any] = {"ship_dependencies": False, "cluster": {"python": "python3"}, "log_wait_seconds": 30}
RUNS_HERE = {"spark": {"config": HERE}}


class OnEmr:
    """An emulated account, and commands whose environment points to it."""

    def __init__(self, emulator: Emulator, folder: Path, bucket: str) -> None:
        self.emulator, self.folder, self.bucket = emulator, folder, bucket
        self.objects = emulator.create_bucket(bucket)
        self.before = len(emulator.clusters())
        self.text = folder / "text"
        self.text.mkdir()
        (self.text / "a.txt").write_text(TEXT)
        (folder / "home").mkdir()

    @property
    def clusters(self) -> list[Any]:
        return self.emulator.clusters()[self.before :]

    @property
    def steps(self) -> list[Any]:
        return [step for cluster in self.clusters for step in cluster.steps.values()]

    def environment(self, target: str = "emr") -> dict[str, str]:
        return {
            **os.environ,
            **self.emulator.environment,
            "EMR_PIPELINES_TARGET": target,
            "EMR_PIPELINES_BUCKET": self.bucket,
            "EMR_PIPELINES_SOURCE": str(self.text),
            "DAGSTER_HOME": str(self.folder / "home"),
        }

    def start(self, *command: str, config: dict[str, Any] | None = None, target: str = "emr") -> subprocess.Popen[str]:
        argv = [str(BIN / command[0]), *command[1:]]
        if config is not None:
            path = self.folder / "config.yaml"
            path.write_text(json.dumps(config))
            argv += ["-c", str(path)]
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                argv,
                env=self.environment(target),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def run(self, *command: str, config: dict[str, Any] | None = None, target: str = "emr") -> None:
        process = self.start(*command, config=config, target=target)
        assert process.wait(HUNG_SECONDS) == 0, self.log()

    def job(self, name: str) -> tuple[str, ...]:
        return ("dagster", "job", "execute", "-m", "emr_pipelines.definitions", "-j", name)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def words(self, root: Path) -> dict[str, int]:
        import pyarrow.parquet as pq

        latest = json.loads((root / "word_counts" / "latest.json").read_text())
        table = pq.read_table(root / "word_counts" / latest["version"]).to_pydict()
        return dict(zip(table["word"], table["count"], strict=True))

    def launches(self) -> int:
        return len(self.clusters)


def with_spark(root: Path, durations: Durations) -> Emulator:
    return Emulator(root, durations=durations, spark=find_spark("local[2]", find_java(print)))


def bucket_of(request: pytest.FixtureRequest) -> str:
    """Return a bucket's name for a test."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with with_spark(tmp_path_factory.mktemp("emulator"), MOMENT) as emulator:
        yield emulator


@pytest.fixture
def on_emr(emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OnEmr]:
    emr_env = OnEmr(emulator, tmp_path, bucket_of(request))
    yield emr_env
    assert {str(cluster.state) for cluster in emr_env.clusters} <= {"TERMINATED", "TERMINATED_WITH_ERRORS"}


def test_word_count_job_counts_the_same_words_as_here(on_emr: OnEmr) -> None:
    process = on_emr.start(*on_emr.job("word_count_job"), config={"resources": RUNS_HERE})
    seen = until(lambda: "Counting the words of" in on_emr.log() and [str(step.state) for step in on_emr.steps])
    assert seen[-1] == "RUNNING"  # the program's output arrived before its step ended
    assert process.wait(HUNG_SECONDS) == 0, on_emr.log()
    assert [str(cluster.state) for cluster in on_emr.clusters] == ["TERMINATED"]
    assert [str(step.state) for step in on_emr.steps] == ["COMPLETED", "COMPLETED"]
    for once in ("Launched cluster", "was provisioned after", "is TERMINATED"):
        assert len([line for line in on_emr.log().splitlines() if once in line and " INFO " in line]) == 1, once
    on_emr.run(*on_emr.job("word_count_job"), target="local")
    counted = on_emr.words(on_emr.objects / "default" / "data")
    assert counted == on_emr.words(on_emr.folder / "data")
    assert counted["times"] == 80


@pytest.mark.extended
def test_all_assets_of_a_run_share_one_cluster_under_the_multiprocess_executor(on_emr: OnEmr) -> None:
    config = {
        "execution": {"config": {"multiprocess": {"max_concurrent": 2}}},
        "resources": {"spark": {"config": {**HERE, "cluster": {"python": "python3", "step_concurrency": 2}}}},
        "ops": {"pi_estimates": {"config": {"samples": [1000]}}},
    }
    on_emr.run(
        "dagster", "asset", "materialize", "-m", "emr_pipelines.definitions", "--select", "*",
        "--config-json", json.dumps(config),
    )  # fmt: skip
    assert on_emr.launches() == 1
    assert [str(step.state) for step in on_emr.steps] == ["COMPLETED"] * 3
    first, second = sorted(on_emr.steps, key=lambda step: step.started)[:2]
    assert second.started < first.ended  # two concurrent programs
    assert on_emr.words(on_emr.objects / "default" / "data")["times"] == 80
    assert (on_emr.objects / "default" / "data" / "pi_estimates" / "latest.json").exists()


@pytest.mark.extended
def test_a_worker_that_is_killed_is_followed_by_one_that_takes_over_its_step(on_emr: OnEmr) -> None:
    """SIGKILL during a step, then a retry as started by Dagster's run monitoring or a person."""
    killed = on_emr.start(*on_emr.job("pi_job"), config={"resources": RUNS_HERE, "ops": PI})
    until(lambda: on_emr.steps and str(on_emr.steps[0].state) == "RUNNING")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    retry = on_emr.start("python", "-c", RETRY)
    assert retry.wait(HUNG_SECONDS) == 0, on_emr.log()
    assert on_emr.launches() == 1
    assert [str(step.state) for step in on_emr.steps] == ["COMPLETED"]
    assert "of an earlier attempt, which is" in on_emr.log() or "An earlier attempt has done this" in on_emr.log()
    assert (on_emr.objects / "default" / "data" / "pi_estimates" / "latest.json").exists()


PI = {"pi_estimates": {"config": {"samples": [1000]}}}
RETRY = """
import dagster as dg
from emr_pipelines.definitions import defs

with dg.DagsterInstance.get() as instance:
    (run,) = instance.get_runs()
    instance.report_run_failed(run)
    job = defs.resolve_job_def("pi_job")
    result = job.execute_in_process(
        instance=instance,
        run_config=run.run_config,
        tags={
            "dagster/parent_run_id": run.run_id, "dagster/root_run_id": run.run_id, "dagster/is_resume_retry": "true",
        },
    )
    assert result.success
"""


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_step_and_its_cluster(on_emr: OnEmr, number: signal.Signals) -> None:
    config = {"resources": RUNS_HERE, "ops": {"pi_estimates": {"config": {"samples": [10**13]}}}}
    process = on_emr.start(*on_emr.job("pi_job"), config=config)
    until(lambda: "opened dagster pipes" in on_emr.log())
    process.send_signal(number)
    assert process.wait(HUNG_SECONDS) != 0
    assert [str(step.state) for step in on_emr.steps] in (["CANCELLED"], ["INTERRUPTED"])
    assert [str(cluster.state) for cluster in on_emr.clusters] == ["TERMINATED"]


@pytest.mark.extended
def test_a_program_s_own_error_is_read_as_it_is(on_emr: OnEmr) -> None:
    (on_emr.text / "b.txt").write_bytes(b"a\0b")
    process = on_emr.start(*on_emr.job("word_count_job"), config={"resources": RUNS_HERE})
    assert process.wait(HUNG_SECONDS) != 0
    log = on_emr.log()
    assert "is not text: it has a NUL byte at offset 1" in log
    assert "Traceback (most recent call last)" in log
    assert on_emr.launches() == 1
    assert not (on_emr.objects / "default" / "data" / "input_text" / "latest.json").exists()


@pytest.mark.extended
def test_a_driver_that_is_killed_is_noticed(on_emr: OnEmr) -> None:
    on_emr.emulator.faults.add([{"fault": "step_killed", "step": "pi_estimates*", "after_seconds": 12}])
    config = {"resources": RUNS_HERE, "ops": {"pi_estimates": {"config": {"samples": [10**13]}}}}
    process = on_emr.start(*on_emr.job("pi_job"), config=config)
    assert process.wait(HUNG_SECONDS) != 0
    assert "ran out of memory" in on_emr.log()
    assert "OUT_OF_MEMORY" in on_emr.log() or "137" in on_emr.log()


@pytest.mark.extended
def test_a_result_and_messages_that_are_seen_late_fail_nothing(on_emr: OnEmr) -> None:
    bucket = on_emr.bucket
    late = [(f"{bucket}/*/attempt-1/1.json", 6), (f"{bucket}/*/result.json", 6)]
    on_emr.emulator.faults.add([{"fault": "objects_late", "key": key, "seconds": seconds} for key, seconds in late])
    on_emr.run(*on_emr.job("pi_job"), config={"resources": RUNS_HERE, "ops": PI})
    assert "opened dagster pipes" in on_emr.log()
    lines = [line for line in on_emr.log().splitlines() if " INFO " in line and "monte_carlo with" in line]
    assert len(lines) == 1
    assert [str(step.state) for step in on_emr.steps] == ["COMPLETED"]


@pytest.mark.extended
@pytest.mark.parametrize("target", ["local", "emr"])
def test_the_program_of_the_readme_runs_here_and_there(on_emr: OnEmr, target: str) -> None:
    files = project_files()
    if not files:
        pytest.skip("the built package is tested without the README")
    (on_emr.folder / "my_project").mkdir()
    (on_emr.folder / "my_project" / "__init__.py").write_text("")
    for path, text in files.items():
        (on_emr.folder / path).write_text(text)
    on_emr.run("dagster", "asset", "materialize", "-m", "my_project.definitions", "--select", "squares", target=target)
    assert on_emr.launches() == (1 if target == "emr" else 0)
    with dg.DagsterInstance.from_config(str(on_emr.folder / "home")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("squares"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["total"].value == 285  # 0 + 1 + 4 + ... + 81


@pytest.mark.extended
@pytest.mark.parametrize("target", ["emr", "local"])
def test_programs_fit_in_a_project_that_is_there(on_emr: OnEmr, target: str) -> None:
    """A project with its own resource `spark`, other assets, a job, and the multiprocess executor."""
    squares, theirs = project_files(), project_files("warehouse")
    if not theirs:
        pytest.skip("the built package is tested without the README")
    for path, text in {
        "my_project/__init__.py": "",
        "my_project/squares.py": squares["my_project/squares.py"],
        "warehouse/__init__.py": "",
        "warehouse/legacy.py": LEGACY,
        **theirs,
    }.items():
        (on_emr.folder / path).parent.mkdir(exist_ok=True)
        (on_emr.folder / path).write_text(text)
    config = {"resources": {"emr": {"config": HERE}}} if target == "emr" else None
    on_emr.run(
        "dagster", "job", "execute", "-m", "warehouse.definitions", "-j", "nightly", config=config, target=target
    )
    assert on_emr.launches() == (1 if target == "emr" else 0)
    assert len(re.findall("LOGS_CAPTURED", on_emr.log())) == 3  # the multiprocess executor
    with dg.DagsterInstance.from_config(str(on_emr.folder / "home")) as instance:
        found = {
            name: dict(event.asset_materialization.metadata)
            for name in ("orders", "squares", "report")
            if (event := instance.get_latest_materialization_event(dg.AssetKey(name))) and event.asset_materialization
        }
    assert found["squares"]["total"].value == 285
    assert found["orders"]["by"].value == "their own spark"
    assert found["report"]["largest"].value == 81


LEGACY = """
import dagster as dg
import pyarrow.parquet as pq
from emr_pipelines import Storage


class OldSpark(dg.ConfigurableResource):
    says: str = "their own spark"


@dg.asset
def orders(spark: OldSpark) -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"by": spark.says})


@dg.asset(deps=["squares"])
def report(lake: Storage) -> dg.MaterializeResult:
    table = pq.read_table(lake.require(dg.AssetKey("squares")).path)
    return dg.MaterializeResult(metadata={"largest": max(table["square"].to_pylist())})
"""


@pytest.mark.extended
@pytest.mark.parametrize("deploy_mode", ["client", "cluster"])
def test_native_packages_travel_to_driver_and_executors(on_emr: OnEmr, deploy_mode: str) -> None:
    (on_emr.folder / "mine").mkdir()
    (on_emr.folder / "mine" / "__init__.py").write_text("")
    (on_emr.folder / "mine" / "program.py").write_text(PROGRAM)
    (on_emr.folder / "mine" / "defs.py").write_text(DEFS.replace("DEPLOY_MODE", deploy_mode))
    on_emr.run("dagster", "asset", "materialize", "-m", "mine.defs", "--select", "numpy_found")
    found = dict(re.findall(r"(driver|executor|python)=(\S+)", on_emr.log()))
    if found["python"] == "3.11":  # modules of a cluster's Python
        assert "/dependencies/numpy/" in found["driver"]
        assert "dependencies/numpy/" in found["executor"]
    else:
        assert "uses its own" in on_emr.log()


PROGRAM = """
import sys
from dataclasses import dataclass

REQUIREMENTS = ("numpy>=2,<3",)

@dataclass(frozen=True)
class Where:
    driver: str
    executor: str
    python: str

def find_numpy(spark, params: None) -> Where:
    import numpy
    def look(_):
        import numpy
        return numpy.__file__
    executor = spark.sparkContext.parallelize([1], 1).map(look).first()
    return Where(numpy.__file__, executor, "%d.%d" % sys.version_info[:2])
"""
DEFS = """
import dagster as dg
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from mine.program import find_numpy

@dg.asset
def numpy_found(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
    found = spark.run(context, find_numpy, None)
    context.log.info(f"driver={found.driver} executor={found.executor} python={found.python} ")

defs = dg.Definitions(assets=[numpy_found], resources={"spark": EmrSparkRunner(deploy_mode="DEPLOY_MODE")})
"""


@pytest.mark.extended
@pytest.mark.parametrize("deploy_mode", ["client", pytest.param("cluster", marks=pytest.mark.extended)])
def test_own_code_and_the_files_beside_it_travel_to_driver_and_executors(on_emr: OnEmr, deploy_mode: str) -> None:
    for path, text in SHARED.items():
        (on_emr.folder / path).parent.mkdir(exist_ok=True)
        (on_emr.folder / path).write_text(text.replace("DEPLOY_MODE", deploy_mode))
    on_emr.run("dagster", "asset", "materialize", "-m", "jobs.defs", "--select", "read_all")
    with dg.DagsterInstance.from_config(str(on_emr.folder / "home")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("read_all"))
    assert event is not None
    assert event.asset_materialization is not None
    found = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (found["beside"], found["placed"]) == ('driver {"a": 1}, executor {"a": 1}', "driver 7, executor 7")
    assert "shipped_code/shared/names.py" in str(found["executor_file"])
    assert not list(Path(tempfile.gettempdir()).glob("shipped_code-*"))


SHARED = {  # a second top-level package, a file beside the code, and one sent by the setting `files`
    "my.conf": "7",
    "shared/__init__.py": "",
    "shared/conf.json": '{"a": 1}',
    "shared/names.py": """
from pathlib import Path

def beside():
    return (Path(__file__).parent / "conf.json").read_text()
""",
    "jobs/__init__.py": "",
    "jobs/read.py": """
from dataclasses import dataclass

from shared import names

@dataclass(frozen=True)
class Found:
    beside: str
    placed: str
    executor_file: str

def look():
    from pyspark import SparkFiles
    with open(SparkFiles.get("my.conf")) as file:
        return names.beside(), file.read(), names.__file__

def read_all(spark, params: None) -> Found:
    here, there = look(), spark.sparkContext.parallelize([1], 1).map(lambda _: look()).first()
    return Found(*(f"driver {a}, executor {b}" for a, b in zip(here[:2], there)), there[2])
""",
    "jobs/defs.py": """
import dagster as dg
from emr_pipelines import EmrSparkRunner, program_asset
from jobs.read import read_all

spark = EmrSparkRunner(deploy_mode="DEPLOY_MODE", files=["my.conf"], ship_dependencies=False)
defs = dg.Definitions(assets=[program_asset(read_all)], resources={"spark": spark})
""",
}


def test_boto3_is_not_needed_to_look_at_the_graph() -> None:
    code = "import sys, emr_pipelines.definitions; sys.exit('boto3' in sys.modules or 'pyspark' in sys.modules)"
    environment = {**os.environ, "EMR_PIPELINES_TARGET": "emr", "EMR_PIPELINES_BUCKET": "any"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
