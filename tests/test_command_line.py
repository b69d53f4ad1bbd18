"""The README's commands, in separate processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import dagster as dg
import pyarrow.parquet as pq
import pytest

from emr_pipelines.pipelines.word_count.assets import input_text
from emr_pipelines.pipelines.word_count.assets import word_counts as word_counts_asset
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage
from tests.patience import HUNG_SECONDS

ROOT = Path(__file__).parent.parent
DAGSTER = [sys.executable, "-m", "dagster"]


@pytest.fixture
def environ(tmp_path: Path, tree: Path) -> dict[str, str]:
    """A shell's environment, with storage and source in this test's folder."""
    (tree / "a.txt").write_text("one two two\n")
    (tmp_path / "dagster_home").mkdir()
    return {
        **os.environ,
        "EMR_PIPELINES_STORAGE": str(tmp_path / "storage"),
        "EMR_PIPELINES_SOURCE": str(tree),
        "DAGSTER_HOME": str(tmp_path / "dagster_home"),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(tmp_path),  # leftovers of killed processes are deleted with this test's folder
        "SPARK_LOCAL_DIRS": str(tmp_path / "spark"),
        "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={tmp_path}",
    }


def dagster(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DAGSTER, *arguments],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HUNG_SECONDS,
    )


def published(environ: dict[str, str], asset: str) -> dict[str, str]:
    pointer: dict[str, str] = json.loads(Path(environ["EMR_PIPELINES_STORAGE"], asset, "latest.json").read_text())
    return pointer


def word_counts(environ: dict[str, str]) -> dict[str, int]:
    table = pq.read_table(published(environ, "word_counts")["uri"].removeprefix("file://"))
    return {row["word"]: row["count"] for row in table.to_pylist()}


def materialize_here(environ: dict[str, str]) -> None:
    """Materialize in this process, with the shared session, to prepare or inspect what a command uses."""
    result = dg.materialize(
        [input_text, word_counts_asset],
        resources={"spark": LocalSparkRunner(), "storage": Storage(uri=environ["EMR_PIPELINES_STORAGE"])},
        run_config={"ops": {"input_text": {"config": {"sources": [environ["EMR_PIPELINES_SOURCE"]]}}}},
    )
    assert result.success


@pytest.mark.extended
def test_dagster_job_execute_without_a_dagster_home_and_in_the_c_locale(
    environ: dict[str, str], tmp_path: Path
) -> None:
    del environ["DAGSTER_HOME"]
    environ |= {"LC_ALL": "C", "EMR_PIPELINES_STORAGE": f"{tmp_path}/données"}
    answer = dagster(environ, "job", "execute", "-m", "emr_pipelines.definitions", "-j", "word_count_job")
    assert answer.returncode == 0, answer.stderr
    assert "Launching subprocess for" not in answer.stderr  # one process, and so one Spark session
    assert word_counts(environ) == {"two": 2, "one": 1}


@pytest.mark.extended
def test_the_multiprocess_executor_on_request(environ: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("execution: {config: {multiprocess: {max_concurrent: 2}}}")
    job = ["job", "execute", "-m", "emr_pipelines.definitions", "-j", "word_count_job", "-c", str(config)]
    answer = dagster(environ, *job)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("Launching subprocess for") == 2
    assert word_counts(environ) == {"two": 2, "one": 1}


@pytest.mark.extended
def test_dagster_definitions_validate(environ: dict[str, str]) -> None:
    answer = dagster(environ, "definitions", "validate")
    assert answer.returncode == 0, answer.stderr
    assert "All code locations passed validation." in answer.stderr + answer.stdout


@pytest.mark.extended
def test_an_unknown_setting_and_a_missing_source_are_said_in_a_sentence(
    environ: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    job = ["job", "execute", "-m", "emr_pipelines.definitions", "-j", "word_count_job", "-c", str(config)]
    config.write_text("ops: {input_text: {config: {sauces: [x]}}}")
    answer = dagster(environ, *job)
    assert answer.returncode != 0
    assert 'Received unexpected config entry "sauces" at path root:ops:input_text:config.' in answer.stderr
    config.write_text("ops: {input_text: {config: {sources: [/nowhere/*.txt]}}}")
    answer = dagster(environ, *job)
    assert answer.returncode != 0
    assert "Failure: The source '/nowhere/*.txt' matches no file; a source is a file, a folder" in answer.stderr


class Waiting(Protocol):
    """Reads a process's output up to a line that contains a text, or to the end; returns what it read."""

    def __call__(self, text: str | None) -> str: ...


@contextmanager
def output_of(command: list[str], environ: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], Waiting]]:
    """Yield a running process and its output; kill it and all its children afterwards."""
    run = subprocess.Popen(
        command,
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(HUNG_SECONDS, lambda: os.killpg(run.pid, signal.SIGKILL))
    watchdog.start()

    def wait_for(text: str | None) -> str:
        assert run.stdout is not None
        said: list[str] = []
        for line in run.stdout:
            said.append(line)
            if text is not None and text in line:
                return "".join(said)
        assert text is None, f"{text!r} was never said in:\n{''.join(said)}"
        return "".join(said)

    try:
        yield run, wait_for
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGINT)
        run.communicate()
        watchdog.cancel()


KILLED = """
import sys
import dagster as dg
from emr_pipelines.pipelines.word_count import assets as word_count
from emr_pipelines.definitions import defs

def write_half(spark, params):
    words = spark.sparkContext.parallelize([(f"word {number}",) for number in range(2000)], 2)
    gate = sys.argv[1]

    def slowly(rows):
        for row in rows:
            yield row
        with open(gate, "w"):  # waits until the test opens it to read
            pass

    words.mapPartitions(slowly).toDF("word string").write.parquet(params.output)

word_count.count_words = write_half
with dg.DagsterInstance.ephemeral() as instance:
    defs.get_job_def("word_count_job").execute_in_process(instance=instance)
"""


@pytest.mark.extended
@pytest.mark.usefixtures("spark")
def test_a_run_that_is_killed_in_the_middle_of_a_write_leaves_the_previous_version(
    environ: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    materialize_here(environ)
    before = published(environ, "word_counts")
    (tree / "b.txt").write_text("three\n")
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    with output_of([sys.executable, "-c", KILLED, str(gate)], environ) as (run, wait_for):
        with gate.open():  # returns once a task has written all rows but not closed its file
            os.killpg(run.pid, signal.SIGKILL)  # the JVM too, which would otherwise clean up
        wait_for(None)
    assert run.returncode == -signal.SIGKILL

    versions = {path.name for path in Path(environ["EMR_PIPELINES_STORAGE"], "word_counts").iterdir() if path.is_dir()}
    (half_written,) = versions - {before["version"]}
    assert Path(environ["EMR_PIPELINES_STORAGE"], "word_counts", half_written, "_temporary").exists()
    assert published(environ, "word_counts") == before
    assert word_counts(environ) == {"two": 2, "one": 1}
    materialize_here(environ)
    assert word_counts(environ) == {"two": 2, "one": 1, "three": 1}


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.extended),
        pytest.param(signal.SIGKILL, marks=pytest.mark.extended),
    ],
)
def test_an_interrupted_run_says_so_and_leaves_no_process(
    environ: dict[str, str], tmp_path: Path, sent: signal.Signals
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("{ops: {pi_estimates: {config: {samples: [2000000000000], partitions: 2}}}}")  # hours of work
    command = [*DAGSTER, "job", "execute", "-m", "emr_pipelines.definitions", "-j", "pi_job", "-c", str(config)]
    with output_of(command, environ) as (run, wait_for):
        wait_for("of 2 tasks")
        os.kill(run.pid, sent)
        said = wait_for(None)  # end of the output: the last process that could write has ended
    assert run.returncode != 0
    assert not Path(environ["EMR_PIPELINES_STORAGE"], "pi_estimates", "latest.json").exists()
    if sent != signal.SIGKILL:
        assert "DagsterExecutionInterruptedError" in said
        assert "Py4J" not in said


@pytest.mark.extended
def test_dagster_dev_and_its_daemon_run_the_sensor(environ: dict[str, str], unused_tcp_port: int) -> None:
    answer = dagster(environ, "sensor", "start", "new_text_sensor")
    assert answer.returncode == 0, answer.stderr
    with output_of([*DAGSTER, "dev", "--port", str(unused_tcp_port)], environ) as (_, wait_for):
        wait_for("Completed launch of run")
        wait_for('RUN_SUCCESS - Finished execution of run for "word_count_job"')
    assert word_counts(environ) == {"two": 2, "one": 1}
