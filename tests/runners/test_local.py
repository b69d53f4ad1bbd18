"""Programs run here: what they return, what the event log shows meanwhile, and what is left afterwards."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.local import LocalSparkRunner


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
        resources={"spark": runner or LocalSparkRunner(progress_seconds=0.01)},
        raise_on_error=False,
    )
    return result, returned


def logged(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(run_id) if int(entry.level) >= logging.INFO]


def test_the_result_of_the_program_is_returned(spark: SparkSession, instance: dg.DagsterInstance) -> None:
    def double(session: SparkSession, params: Params) -> int:
        assert session is spark
        return session.range(params.number).count() * 2

    result, returned = materialize(double, instance)
    assert result.success
    assert returned == [14]


def test_prints_are_log_lines_and_still_printed(
    spark: SparkSession,  # noqa: ARG001
    instance: dg.DagsterInstance,
    capsys: pytest.CaptureFixture[str],
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
    assert "first\nsecond half\n\nunended" in capsys.readouterr().out


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
) -> None:
    def three_tasks(session: SparkSession, params: Params) -> None:  # noqa: ARG001
        session.sparkContext.parallelize(range(3), 3).map(_take_a_moment).collect()

    result, _ = materialize(three_tasks, instance)
    lines = [line for line in logged(instance, result.run_id) if line.startswith("Spark: ")]
    assert lines[-1] == "Spark: 1 jobs, 1 stages, 3 tasks done."
    assert any(line.endswith("of 3 tasks done") for line in lines[:-1])


def _take_a_moment(number: int) -> int:
    return sum(range(3_000_000)) * number


def test_no_thread_is_left(spark: SparkSession, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    materialize(lambda session, params: None, instance)  # noqa: ARG005
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("spark-")]


def test_an_exception_of_the_program_passes_through(spark: SparkSession, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    def fail(session: SparkSession, params: Params) -> None:  # noqa: ARG001
        raise ZeroDivisionError("the program's own words")

    result, _ = materialize(fail, instance)
    assert not result.success
    assert "the program's own words" in str(result.failure_data_for_node("probe").error)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("spark-")]


def test_a_session_of_somebody_else_is_used_and_not_stopped(spark: SparkSession, instance: dg.DagsterInstance) -> None:
    materialize(lambda session, params: session.range(1).count(), instance)  # noqa: ARG005
    assert spark.range(3).count() == 3
