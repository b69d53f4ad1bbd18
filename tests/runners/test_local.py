"""Programs in local Spark: their results, the event log, and what remains afterwards."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from emr_pipelines.errors import InvalidValue, NotText, PackagingError, RequirementsMissing, SparkNotUsable
from emr_pipelines.remote import progress
from emr_pipelines.runners import local_spark
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.local import LONGEST_LINE, LocalSparkRunner, _Lines


@dataclass(frozen=True)
class Params:
    number: int


Program = Callable[[SparkSession, Params], Any]


def materialize(program: Program, instance: dg.DagsterInstance, runner: LocalSparkRunner | None = None) -> Any:
    """Run a program in an asset; gives the execution result."""
    returned = []

    @dg.asset
    def probe(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        returned.append(spark.run(context, program, Params(7)))

    result = dg.materialize(
        [probe],
        instance=instance,
        resources={"spark": runner or LocalSparkRunner()},
        raise_on_error=False,
    )
    return result, returned


def logged(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(run_id) if int(entry.level) >= logging.INFO]


def test_the_result_of_the_program_is_returned(spark: SparkSession, instance: dg.DagsterInstance) -> None:
    def double(session: SparkSession, params: Params) -> int:
        assert session is not spark
        assert session.sparkContext is spark.sparkContext
        assert SparkSession.builder.getOrCreate() is session
        assert SparkSession.getActiveSession() is session
        return session.range(params.number).count() * 2

    result, returned = materialize(double, instance)
    assert result.success
    assert returned == [14]
    assert SparkSession.builder.getOrCreate() is spark


def test_what_is_printed_is_logged_line_by_line_and_shown_once(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def talk(session: SparkSession, params: Params) -> None:  # noqa: ARG001
        print("first\nsecond", end="")
        print(" half\n\nunended", end="")

    result, _ = materialize(talk, instance)
    lines = logged(instance, result.run_id)
    assert [line for line in lines if line in {"first", "second half", "unended"}] == [
        "first",
        "second half",
        "unended",
    ]
    shown = capfd.readouterr()
    assert (shown.out + shown.err).count("second half") == 1  # by Dagster's console


def test_what_is_printed_is_in_the_event_log_while_the_program_runs(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    seen: list[bool] = []

    @dg.asset
    def probe(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        def talk(session: SparkSession, params: Params) -> None:  # noqa: ARG001
            print("on my way")
            seen.append("on my way" in logged(instance, context.run.run_id))

        spark.run(context, talk, Params(1))

    assert dg.materialize([probe], instance=instance, resources={"spark": LocalSparkRunner()}).success
    assert seen == [True]


def test_progress_is_logged_while_tasks_run_and_summed_up(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    look = progress.running_stages
    openings: list[int] = []

    def look_and_open_the_gate(context: SparkContext) -> str:
        line = look(context)
        if line and not openings:
            openings.append(os.open(gate, os.O_RDWR))  # for reading as well, so that it does not block
        return line

    def wait_at_the_gate(number: int) -> int:
        with gate.open():
            return number

    monkeypatch.setattr(progress, "running_stages", look_and_open_the_gate)
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)

    def three_tasks(session: SparkSession, params: Params) -> list[int]:  # noqa: ARG001
        return session.sparkContext.parallelize(range(3), 3).map(wait_at_the_gate).collect()

    result, returned = materialize(three_tasks, instance)
    os.close(*openings)
    assert returned == [[0, 1, 2]]
    lines = [line for line in logged(instance, result.run_id) if line.startswith("Spark: ")]
    assert lines[0].startswith("Spark: 0 % of stage ")
    assert lines[0].endswith(", 0 of 3 tasks")
    assert lines[-1] == "Spark: 1 job, 1 stage, 3 tasks done."


@pytest.mark.extended
def test_a_program_that_ends_spark_has_succeeded_and_the_next_gets_a_new_session(tmp_path: Path) -> None:
    """In a process of its own, because the session of these tests must not be stopped."""
    script = tmp_path / "stops.py"
    script.write_text(STOPS)
    environ = {**os.environ, "SPARK_LOCAL_DIRS": str(tmp_path), "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={tmp_path}"}
    answer = subprocess.run([sys.executable, str(script)], env=environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "counts: [3, 4, 5]"


STOPS = """
import dagster as dg
from emr_pipelines.runners import local_spark
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.local import LocalSparkRunner

counts = []

def count_and_stop(spark, params):
    counts.append(spark.range(params).count())
    spark.stop()

def kill_the_jvm(spark, params):
    spark.sparkContext._gateway.proc.kill()
    spark.sparkContext._gateway.proc.wait()

@dg.asset
def first(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
    spark.run(context, count_and_stop, 3)

@dg.asset(deps=[first])
def second(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
    spark.run(context, count_and_stop, 4)

@dg.asset(deps=[second])
def third(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
    spark.run(context, kill_the_jvm, None)

@dg.asset(deps=[third])
def fourth(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
    spark.run(context, count_and_stop, 5)

assets = [first, second, third, fourth]
assert dg.materialize(assets, resources={"spark": LocalSparkRunner(master="local[1]")}).success
print("counts:", counts)
"""


@pytest.mark.extended
def test_another_spark_and_python_in_the_environment_are_not_used() -> None:
    environ = {
        **os.environ,
        "SPARK_HOME": "/nowhere",
        "PYSPARK_PYTHON": "/bin/false",
        "SPARK_REMOTE": "sc://nowhere",
    }
    script = (
        "from emr_pipelines.runners.local import LocalSparkRunner\n"
        "spark = LocalSparkRunner(master='local[1]')._session(print)\n"
        "print(spark.sparkContext.parallelize([1, 2]).map(lambda n: n * 2).sum())\n"
        "spark.stop()\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert answer.stdout == "6\n", answer.stderr


def test_long_and_endless_lines_are_cut_into_several() -> None:
    lines: list[str] = []
    cut = _Lines(lines.append)
    for _ in range(1000):
        cut.add("x" * 50)
    cut.add("\rstep 1\rstep 2\nend")
    cut.finish()
    assert lines[-3:] == ["step 1", "step 2", "end"]
    assert sum(map(len, lines[:-3])) == 50_000
    assert max(map(len, lines)) <= LONGEST_LINE


def test_stdout_is_still_the_stream_it_was(spark: SparkSession, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    def use_stdout(session: SparkSession, params: Params) -> str:  # noqa: ARG001
        sys.stdout.flush()
        return sys.stdout.encoding

    result, returned = materialize(use_stdout, instance)
    assert result.success
    assert returned == [sys.stdout.encoding]


def test_programs_in_threads_run_one_at_a_time(spark: SparkSession) -> None:
    inside, waiting = threading.Event(), threading.Event()
    logs: dict[str, list[str]] = {"first": [], "second": []}
    order: list[str] = []
    stdout = sys.stdout

    def run(name: str, program: Program) -> None:
        def info(line: str) -> None:
            logs[name].append(line)
            if line.startswith("Waiting"):
                waiting.set()

        context = SimpleNamespace(log=SimpleNamespace(info=info, warning=print), run=SimpleNamespace(run_id=name))
        order.append(f"{name}: {LocalSparkRunner().run(cast('Any', context), program, Params(7))}")

    def first(session: SparkSession, params: Params) -> int:
        session.range(params.number).createOrReplaceGlobalTempView("first")
        inside.set()
        assert waiting.wait(60)
        print("the first")
        return session.table("global_temp.first").count()

    def second(session: SparkSession, params: Params) -> int:  # noqa: ARG001
        print("the second")
        assert SparkSession.builder.getOrCreate() is session
        return session.range(3).count()

    threads = [threading.Thread(target=run, args=("first", first))]
    threads[0].start()
    assert inside.wait(60)
    threads.append(threading.Thread(target=run, args=("second", second)))
    threads[1].start()
    for thread in threads:
        thread.join()
    assert order == ["first: 7", "second: 3"]
    assert [line for line in logs["first"] if "the " in line] == ["the first"]
    assert logs["second"][:2] == ["Waiting for another program in this process to end.", "the second"]
    assert sys.stdout is stdout
    assert SparkSession.builder.getOrCreate() is spark


def test_a_program_that_runs_another_is_refused(spark: SparkSession, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    @dg.asset
    def probe(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        def inner(session: SparkSession, params: Params) -> None: ...

        def outer(session: SparkSession, params: Params) -> None:  # noqa: ARG001
            spark.run(context, inner, params)

        spark.run(context, outer, Params(1))

    result = dg.materialize([probe], instance=instance, resources={"spark": LocalSparkRunner()}, raise_on_error=False)
    assert "a program has no runner, so it has to call the other program as a function" in str(failure(result).error)


def test_no_thread_is_left(spark: SparkSession, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    result, _ = materialize(lambda session, params: None, instance)  # noqa: ARG005
    assert result.success
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("spark-")]


def failure(result: Any) -> Any:
    assert not result.success
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("spark-")]
    return result.failure_data_for_node("probe")


def test_an_exception_of_the_program_is_explained_with_its_own_frames(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    def fail(session: SparkSession, params: Params) -> None:  # noqa: ARG001
        raise ZeroDivisionError("the program's own words")

    result, _ = materialize(fail, instance)
    found = failure(result)
    said = found.user_failure_data.description.splitlines()
    assert said[:4] == [
        "The program raised ZeroDivisionError: the program's own words.",
        "Retrying will not help: the error comes from your program.",
        "",
        "Traceback (most recent call last):",
    ]
    assert said[-2:] == [
        '    raise ZeroDivisionError("the program\'s own words")',
        "ZeroDivisionError: the program's own words",
    ]
    assert found.user_failure_data.metadata["kind"].value == "USER_EXCEPTION"
    assert found.user_failure_data.description in found.error.message
    assert found.error.to_string().rstrip().endswith(said[0])  # the probable cause is the last thing on a terminal
    whole = found.user_failure_data.metadata["stack_trace"].value
    assert "runners/local.py" in whole
    assert "ZeroDivisionError" in whole
    assert not [entry for entry in instance.all_logs(result.run_id) if "Traceback" in (entry.user_message or "")]


def test_an_error_in_a_worker_is_explained_by_the_line_that_raised(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    def parse(word: str) -> int:
        return int(word)

    def fail(session: SparkSession, params: Params) -> int:  # noqa: ARG001
        return session.sparkContext.parallelize(["1", "two"], 1).map(parse).sum()

    said = failure(materialize(fail, instance)[0]).user_failure_data.description
    assert said.startswith("The program raised ValueError: invalid literal for int() with base 10: 'two'.\n")
    assert "return int(word)" in said
    assert "py4j" not in said
    assert len(said.splitlines()) < 25


def test_a_path_that_is_not_there_is_told_from_the_program_s_own_errors(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    def fail(session: SparkSession, params: Params) -> int:  # noqa: ARG001
        return session.read.parquet(str(tmp_path / "none")).count()

    found = failure(materialize(fail, instance)[0]).user_failure_data
    assert found.description.startswith("The program's input does not exist: AnalysisException: [PATH_NOT_FOUND]")
    assert found.metadata["hint"].value == "Check the path, and whether the job that writes it has run."


def test_this_package_s_errors_pass_through(spark: SparkSession, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    def fail(session: SparkSession, params: Params) -> None:  # noqa: ARG001
        raise NotText("x.txt is not text.")

    found = failure(materialize(fail, instance)[0])
    assert found.user_failure_data is None
    assert "NotText: x.txt is not text." in str(found.error.cause)


def test_a_session_of_somebody_else_is_used_and_not_stopped(spark: SparkSession, instance: dg.DagsterInstance) -> None:
    result, _ = materialize(lambda session, params: session.range(1).count(), instance)  # noqa: ARG005
    assert result.success
    assert spark.range(3).count() == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "REQUIREMENTS = ('no-such-library>=1',)\ndef run(spark, params): ...",
            r"requires no-such-library>=1 \(not installed\)\. Run: pip install 'no-such-library>=1'",
        ),
        (
            "import local_helper\ndef run(spark, params): ...",
            r"requires numpy<1 \(.* is installed\)\. Run: pip install 'nu",
        ),
        ("async def run(spark, params): ...", r"run is a coroutine function \(async def\)"),
        ("def run(spark, params):\n    yield", r"run is a generator function"),
    ],
)
def test_what_cannot_run_here_is_said_before_spark_starts(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "local_job", raising=False)
    (tmp_path / "local_helper.py").write_text("REQUIREMENTS = ('numpy<1',)\n")
    (tmp_path / "local_job.py").write_text(text)
    invalidate_caches()
    name = "local_job"  # not a literal in the call, by which this module would import it for good
    program = import_module(name).run
    monkeypatch.setattr(LocalSparkRunner, "_session", lambda *_: pytest.fail("Spark was started"))
    context = dg.build_asset_context(instance=instance)
    with pytest.raises((RequirementsMissing, PackagingError), match=said):
        LocalSparkRunner().run(context, program, None)


def returned_by(program: Program, instance: dg.DagsterInstance, **settings: Any) -> Any:
    result, returned = materialize(program, instance, LocalSparkRunner(**settings))
    assert result.success
    return returned[0]


def refused(instance: dg.DagsterInstance, **settings: Any) -> str:
    result, _ = materialize(lambda session, params: None, instance, LocalSparkRunner(**settings))  # noqa: ARG005
    return str(failure(result).error.to_string())


def leave_things_behind(session: SparkSession, params: Params) -> None:
    session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    numbers = session.range(params.number)
    numbers.createOrReplaceTempView("mine")
    numbers.createOrReplaceGlobalTempView("everybodys")
    session.udf.register("plus_one", lambda number: number + 1, "long")


def look_around(session: SparkSession, params: Params) -> dict[str, Any]:  # noqa: ARG001
    return {
        "zone": session.conf.get("spark.sql.session.timeZone"),
        "views": [table.name for table in session.catalog.listTables("global_temp")],
        "function": session.catalog.functionExists("plus_one"),
    }


def test_a_program_leaves_no_setting_view_or_function_to_the_next(
    spark: SparkSession, instance: dg.DagsterInstance
) -> None:
    returned_by(leave_things_behind, instance)
    zone = spark.conf.get("spark.sql.session.timeZone")
    assert zone != "Asia/Tokyo"
    assert returned_by(look_around, instance) == {"zone": zone, "views": [], "function": False}


def test_a_program_does_not_read_what_another_has_cached(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    table = tmp_path / "table"

    def write_and_cache(session: SparkSession, params: Params) -> int:
        session.range(params.number).coalesce(1).write.parquet(str(table))
        return session.read.parquet(str(table)).cache().count()

    def read(session: SparkSession, params: Params) -> int:  # noqa: ARG001
        return session.read.parquet(str(table)).count()

    assert returned_by(write_and_cache, instance) == 7
    for file in table.iterdir():  # as another process would
        file.unlink()
    table.joinpath("_SUCCESS").touch()
    one = tmp_path / "one"
    returned_by(lambda session, params: session.range(1).write.parquet(str(one)), instance)  # noqa: ARG005
    for file in one.glob("*.parquet"):
        file.rename(table / file.name)
    assert returned_by(read, instance) == 1


def test_tables_left_in_the_catalog_are_named_in_a_warning(
    spark: SparkSession, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def save(session: SparkSession, params: Params) -> None:
        session.range(params.number).write.option("path", str(tmp_path / "left")).saveAsTable("left_behind")

    result, _ = materialize(save, instance)
    spark.sql("DROP TABLE left_behind")
    warned = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert [line for line in warned if "default.left_behind" in line and "without a metastore" in line]


def test_a_second_runner_s_dynamic_settings_apply_to_its_programs_alone(
    spark: SparkSession, instance: dg.DagsterInstance
) -> None:
    def partitions(session: SparkSession, params: Params) -> str:  # noqa: ARG001
        return str(session.conf.get("spark.sql.shuffle.partitions"))

    before = spark.conf.get("spark.sql.shuffle.partitions")
    assert returned_by(partitions, instance, spark_config={"spark.sql.shuffle.partitions": "17"}) == "17"
    assert returned_by(partitions, instance) == before


@pytest.mark.parametrize(
    ("settings", "name", "has"),
    [
        ({"spark_config": {"spark.driver.memory": "9g"}}, "spark.driver.memory", "Spark's default"),
        ({"spark_config": {"spark.hadoop.fs.defaultFS": "hdfs://a"}}, "spark.hadoop.fs.defaultFS", "Spark's default"),
        ({"spark_config": {"spark.sql.warehouse.dir": "/elsewhere"}}, "spark.sql.warehouse.dir", "file:"),
        ({"master": "local[3]"}, "spark.master", "'local[2]'"),
    ],
)
def test_a_second_runner_s_other_settings_are_refused_by_name(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    settings: dict[str, Any],
    name: str,
    has: str,
) -> None:
    said = refused(instance, **settings)
    assert f"spark_config.{name} is " in said
    assert has in said
    assert "multiprocess executor" in said


def test_settings_that_spark_was_started_with_are_no_conflict(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    assert returned_by(lambda session, params: params.number, instance, master="local[2]") == 7  # noqa: ARG005


@pytest.mark.parametrize("code", [None, 0, 3, "no data"])
def test_a_program_that_exits_gets_a_sentence(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    code: int | str | None,
) -> None:
    def leave(session: SparkSession, params: Params) -> None:  # noqa: ARG001
        sys.exit(code)

    said = failure(materialize(leave, instance)[0]).error.to_string()
    shown = "" if code is None else repr(code)
    assert f"leave called sys.exit({shown}) and returned no result. Return the result to succeed" in said


@pytest.mark.parametrize(
    "master", ["local", "local[4]", "local[*]", "local[*, 3]", "local-cluster[2,1,1024]", "spark://host:7077", "yarn"]
)
def test_masters_that_run_programs(master: str) -> None:
    assert LocalSparkRunner(master=master).master == master


@pytest.mark.parametrize("master", ["sc://localhost", "", "local[]", "locl[2]", "spark://", "local[two]"])
def test_other_masters_are_refused(master: str) -> None:
    with pytest.raises(InvalidValue, match=r"^master is .*; allowed: local, local\[4\], ") as refusal:
        LocalSparkRunner(master=master)
    assert ("Spark Connect" in str(refusal.value)) is master.startswith("sc:")


def test_spark_connect_is_not_used_unasked() -> None:
    with pytest.raises(InvalidValue, match=r"spark_config\.spark\.remote is 'sc://x'; allowed: nothing"):
        LocalSparkRunner(spark_config={"spark.remote": "sc://x"})


def test_pyspark_3_5_without_distutils_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 dropped it; a program would fail in the middle."""
    monkeypatch.setattr(local_spark, "installed_spark", lambda: "3.5.9")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        SparkNotUsable, match=r"pyspark 3\.5\.9 needs distutils, .* pip install 'emr-pipelines\[spark35\]'"
    ):
        local_spark._reject_without_distutils()
    monkeypatch.setattr(local_spark, "installed_spark", lambda: "4.1.4")
    local_spark._reject_without_distutils()
