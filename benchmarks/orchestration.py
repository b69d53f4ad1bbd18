"""What orchestration adds to a run: ours, dagster-aws's PipesEMRClient and Airflow's EMR operators on one emulator.

    python -m benchmarks.orchestration [--quick] [--rounds 5] [--json]

Five rounds take 20 minutes; `--quick` lets the contenders look more often than is their default, and times are then of
no meaning.

Each contender runs in a process of its own and has an emulated account of its own, in a third process. "Warm" is its
run alone; "cold" has what a new process imports for it besides. Steps are scripted: each takes exactly so long, and the
emulator leaves what their programs would have left (Pipes messages, and our result) at the moment at which EMR says
RUNNING, or COMPLETED, and no sooner. So nobody hears of an end before EMR knows it; on a real cluster, ours hears of it
earlier than that.

- ours: `dg.materialize` of an asset whose program is run by an EmrSparkRunner, from its call to its return.
- PipesEMRClient: `dg.materialize` of an asset that calls it, with PipesS3MessageReader as it is by default, and with
  `include_stdio_in_messages`, without which it waits for the logs of containers. It fails a completed step that has
  none; the emulator gives it some, as Spark's executors do.
- Airflow: EmrCreateJobFlowOperator, EmrAddStepsOperator, EmrStepSensor and EmrTerminateJobFlowOperator, at their
  defaults, their `execute` called one after the other with a context that takes XComs and forgets them. The latency of
  Airflow's scheduler and the start of its tasks are left out, in Airflow's favour; so is the wait for the cluster's
  end, which it does not make.

The overhead is the wall time without what the cluster itself takes: provisioning, bootstrapping, the step, and
termination. Billed seconds are of one instance, from RunJobFlow until it ends, without and with the termination's own
time, which nobody can shorten; EC2's least of a minute is not applied.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.account import BUCKET, ENDED, account

if TYPE_CHECKING:  # a contender's imports count
    from pyspark.sql import SparkSession


OURS, PIPES, PIPES_STDIO, AIRFLOW = "ours", "PipesEMRClient", "PipesEMRClient, stdio in messages", "Airflow"

# seconds
FACTS = {"provisioning": 20.0, "bootstrapping": 2.0, "step": 10.0, "termination": 3.0}
SHORT = {"provisioning": 1.0, "bootstrapping": 0.2, "step": 1.0, "termination": 0.5}
# EMR's order of magnitude (300 s to come up, 90 s to end, steps of 60 s), divided by 20
SCALED = {"provisioning": 12.0, "bootstrapping": 3.0, "step": 3.0, "termination": 4.5}

MAX_OVERHEAD_SECONDS = 3.0  # warm: a new process would mostly measure Dagster's import
TIMES_LESS = 5.0
MAX_BILLED_OF_TWO = 1.05
MAX_BILLED_OF_TEN = 0.35


# the contenders


@dataclass(frozen=True)
class Numbers:
    values: tuple[int, ...]


@dataclass(frozen=True)
class Total:
    total: int


def add_up(spark: "SparkSession", params: Numbers) -> Total:
    """Our program: it is packaged and uploaded, and a scripted step stands for its run."""
    return Total(spark.sparkContext.parallelize(params.values, 1).sum())


def measured(begin: Callable[[], Callable[[], None]]) -> tuple[float, float, str]:
    """Do a contender's work; return its seconds, those with its imports, and what it raised."""
    cold, failed = time.monotonic(), ""
    work = begin()
    began = time.monotonic()
    try:
        work()
    except Exception as error:  # noqa: BLE001 (what it raises is its answer)
        failed = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    ended = time.monotonic()
    return ended - began, ended - cold, failed


def _measured(durations: Mapping[str, float], begin: Callable[[], Callable[[], None]]) -> tuple[float, dict[str, Any]]:
    """Do a contender's work on an account: `begin` imports what it needs, and returns the work."""
    with account(**durations, result={"total": 6}) as found:
        seconds, cold, failed = measured(begin)
        report = found.in_the_end()
    clusters = report["clusters"]
    return seconds, {
        "cold": cold,
        "launches": report["calls"].get("RunJobFlow", 0),
        "left": sum(cluster["state"] not in ENDED for cluster in clusters),
        "steps": sorted(step for cluster in clusters for step in cluster["steps"]),
        "billed": sum(max(cluster["instances_ended"]) - cluster["created"] for cluster in clusters),
        "ending": len(clusters) * durations["termination"],
        "calls": sum(report["calls"].values()),
        "failed": failed,
    }


def ours(
    durations: Mapping[str, float],
    interval: float | None = None,  # noqa: ARG001 (for the others)
    assets: int = 1,
    chained: bool = False,
    **settings: Any,
) -> tuple[float, dict[str, Any]]:
    """Run so many assets, one after the other if `chained`; `settings` are the runner's."""

    def begin() -> Callable[[], None]:
        import dagster as dg

        # a program is known by its module, and this one is __main__
        from benchmarks import orchestration  # noqa: PLW0406 (it is another copy)
        from emr_pipelines.aws import sdk  # noqa: F401 (what the runner imports when it is used)
        from emr_pipelines.backends.emr import backend  # noqa: F401 (what the runner imports when it is used)
        from emr_pipelines.job import package  # noqa: F401 (what the runner imports when it is used)
        from emr_pipelines.runners.emr import EmrSparkRunner

        def asset(number: int) -> dg.AssetsDefinition:
            before = [f"total_{number - 1}"] if chained and number else []

            @dg.asset(name=f"total_{number}", deps=before, required_resource_keys={"spark"})
            def total(context: dg.AssetExecutionContext) -> None:
                params = orchestration.Numbers((1, 2, 3))
                if context.resources.spark.run(context, orchestration.add_up, params).total != 6:
                    raise ValueError("1 + 2 + 3 is 6")

            return total

        definitions = [asset(number) for number in range(assets)]
        runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, prices={"m5.xlarge": 1.0}, **settings)
        instance = dg.DagsterInstance.ephemeral()  # it imports half of Dagster
        return lambda: succeed(dg.materialize(definitions, resources={"spark": runner}, instance=instance))

    return _measured(durations, begin)


def pipes(
    durations: Mapping[str, float], interval: float | None = None, stdio: bool = False
) -> tuple[float, dict[str, Any]]:
    """interval: seconds between polls; None means botocore's 30."""

    def begin() -> Callable[[], None]:
        import boto3
        import dagster as dg
        from dagster_aws.pipes import PipesEMRClient, PipesS3MessageReader

        less: dict[str, Any] = {}
        if interval is not None:
            _hurry_pipes(interval)
            less = {"wait_for_s3_logs_seconds": 0}
        reader = PipesS3MessageReader(bucket=BUCKET, client=boto3.client("s3"), include_stdio_in_messages=stdio)
        client = PipesEMRClient(message_reader=reader, client=boto3.client("emr"), **less)

        @dg.asset(required_resource_keys={"emr"})
        def total(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            request = {**_request(keep_alive=False), "Steps": [_step()]}
            invocation = context.resources.emr.run(context=context, run_job_flow_params=request)
            found: dg.MaterializeResult[None] = invocation.get_materialize_result()
            return found

        instance = dg.DagsterInstance.ephemeral()
        return lambda: succeed(dg.materialize([total], resources={"emr": client}, instance=instance))

    return _measured(durations, begin)


def _hurry_pipes(interval: float) -> None:
    """Shorten all its pauses; only used to check that answers agree."""
    from functools import partial

    import botocore.waiter
    import dagster._core.pipes.utils as dagsters
    from dagster_aws.pipes import PipesS3LogReader
    from dagster_aws.pipes.clients import emr

    botocore.waiter.time = SimpleNamespace(sleep=lambda _: threading.Event().wait(interval))
    dagsters.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL = 0
    emr.__dict__["PipesS3LogReader"] = partial(PipesS3LogReader, interval=interval)


def pipes_stdio(durations: Mapping[str, float], interval: float | None = None) -> tuple[float, dict[str, Any]]:
    return pipes(durations, interval, stdio=True)


def airflow(durations: Mapping[str, float], interval: float | None = None) -> tuple[float, dict[str, Any]]:
    """interval: seconds between polls of the sensor; None means its default of 60."""

    def begin() -> Callable[[], None]:
        from airflow.providers.amazon.aws.operators.emr import (
            EmrAddStepsOperator,
            EmrCreateJobFlowOperator,
            EmrTerminateJobFlowOperator,
        )
        from airflow.providers.amazon.aws.sensors.emr import EmrStepSensor

        context: Any = {"ti": SimpleNamespace(xcom_push=lambda **_: None)}
        often: dict[str, Any] = {} if interval is None else {"poke_interval": interval}

        def work() -> None:
            create = EmrCreateJobFlowOperator(task_id="create", job_flow_overrides=_request(keep_alive=True))
            cluster_id = str(create.execute(context))
            steps = EmrAddStepsOperator(task_id="add", job_flow_id=cluster_id, steps=[_step()]).execute(context)
            sensor: Any = EmrStepSensor(task_id="watch", job_flow_id=cluster_id, step_id=steps[0], **often)
            sensor.execute(context)
            EmrTerminateJobFlowOperator(task_id="terminate", job_flow_id=cluster_id).execute(context)

        return work

    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home  # Airflow reads it when it is imported
        return _measured(durations, begin)


def succeed(result: Any) -> None:
    if not result.success:
        raise RuntimeError("the run failed")


def _request(keep_alive: bool) -> dict[str, Any]:
    """Return the RunJobFlow request of our default cluster."""
    from emr_pipelines.backends.emr.spec import ClusterSpec

    request = ClusterSpec().request("benchmark", f"s3://{BUCKET}/logs/", {})
    request["Instances"]["KeepJobFlowAliveWhenNoSteps"] = keep_alive
    return request


def _step() -> dict[str, Any]:
    args = ["spark-submit", f"s3://{BUCKET}/program.py"]
    jar_step = {"Jar": "command-runner.jar", "Args": args}
    return {"Name": "add_up", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar_step}


CONTENDERS: dict[str, harness.Contender] = {OURS: ours, PIPES: pipes, PIPES_STDIO: pipes_stdio, AIRFLOW: airflow}


# the checks


def _check(runs: Mapping[str, Sequence[harness.Run]], launches: int, steps: int) -> None:
    """Check that each step ran once, on so many clusters, all of which have ended. Raises Disagreement."""
    expected = {"launches": launches, "left": 0, "steps": ["COMPLETED"] * steps}
    for name, several in runs.items():
        for run in several:
            harness.agree({"what is asked": expected, name: {key: run.answer[key] for key in expected}})


def _overhead(asked: Any) -> tuple[harness.Table, dict[str, list[harness.Run]]]:
    durations, interval = (SHORT, 0.5) if asked.quick else (FACTS, None)
    settings = {"durations": durations, "interval": interval}

    def of(name: str) -> list[harness.Run]:
        return harness.in_turn("benchmarks.orchestration", [name], asked.rounds, **settings)[name]

    runs = {} if asked.quick else {OURS: of(OURS)}
    # the peers mostly sleep, so concurrent processes do not disturb each other
    with ThreadPoolExecutor() as pool:
        rest = [name for name in CONTENDERS if name not in runs]
        runs |= dict(zip(rest, pool.map(of, rest), strict=True))
    _check(runs, launches=1, steps=1)
    itself = sum(durations.values())
    table = harness.Table(
        f"One asset with one step: of the wall time, the cluster itself takes {itself:g} s "
        f"({', '.join(f'{name} {seconds:g}' for name, seconds in durations.items())})",
        (
            "contender", "wall s, warm", "overhead s", "times ours", "wall s, cold", "overhead s", "times ours",
            "billed s", "with its ending", "EMR calls", "answer",
        ),
    )  # fmt: skip
    wall = {name: (harness.median(several), _cold(several)) for name, several in runs.items()}
    ours = [seconds - itself for seconds in wall[OURS]]
    for name, several in runs.items():
        failed = next((run.answer["failed"] for run in several if run.answer["failed"]), "")
        billed, ending = _billed(several)
        times = [f"{(seconds - itself) / own:.1f}" for seconds, own in zip(wall[name], ours, strict=True)]
        warm, cold = wall[name]
        table.rows.append((
            name, f"{warm:.1f}", f"{warm - itself:.1f}", times[0], f"{cold:.1f}", f"{cold - itself:.1f}", times[1],
            f"{billed:.1f}", f"{billed + ending:.1f}", f"{median(run.answer['calls'] for run in several):g}",
            f"failed: {failed}" if failed else "step completed",
        ))  # fmt: skip
    if not asked.quick:  # then the peers poll as often as ours, only to compare answers
        least = min(warm for name, (warm, _) in wall.items() if name != OURS) - itself
        table.title += (
            f". Ours, warm: {ours[0]:.1f} s ({verdict(ours[0] <= MAX_OVERHEAD_SECONDS)}: at most "
            f"{MAX_OVERHEAD_SECONDS:g}), {least / ours[0]:.1f} times less than the next "
            f"({verdict(least / ours[0] >= TIMES_LESS)}: at least {TIMES_LESS:g})"
        )
    return table, runs


def _two_assets(asked: Any) -> tuple[harness.Table, dict[str, list[harness.Run]]]:
    durations = SHORT if asked.quick else FACTS
    name = "two assets"
    runs = {name: harness.in_turn(
        "benchmarks.orchestration", [OURS], asked.rounds, durations=durations, assets=2, chained=True
    )[OURS]}  # fmt: skip
    _check(runs, launches=1, steps=2)
    _refuse_failures(runs)
    least = durations["provisioning"] + durations["bootstrapping"] + 2 * durations["step"]
    billed, ending = _billed(runs[name])
    ratio = billed / least
    aim = "" if asked.quick else f": at most {MAX_BILLED_OF_TWO:g} times: {verdict(ratio <= MAX_BILLED_OF_TWO)}"
    table = harness.Table(
        f"Two assets, the second after the first, in one run: billed, of what provisioning and steps take{aim}",
        ("these take s", "billed s", "ratio", "with its ending s", "ratio"),
    )
    with_ending = (billed + ending) / (least + ending)
    table.rows.append((f"{least:g}", f"{billed:.2f}", f"{ratio:.3f}", f"{billed + ending:.2f}", f"{with_ending:.3f}"))
    return table, runs


def _ten_assets(asked: Any) -> tuple[harness.Table, dict[str, list[harness.Run]]]:
    durations, count = (SHORT, 2) if asked.quick else (SCALED, 10)
    runs = {
        f"{count} assets, scope {scope}": [
            harness.run("benchmarks.orchestration", OURS, durations=durations, assets=count, scope=scope)
        ]
        for scope in ("run", "asset")
    }
    shared, single = runs
    _check({shared: runs[shared]}, launches=1, steps=count)
    _check({single: runs[single]}, launches=count, steps=count)
    _refuse_failures(runs)
    (together, together_ending), (apart, apart_ending) = _billed(runs[shared]), _billed(runs[single])
    share = (together + together_ending) / (apart + apart_ending)
    aim = "" if asked.quick else f": at most {MAX_BILLED_OF_TEN:g} times: {verdict(share <= MAX_BILLED_OF_TEN)}"
    table = harness.Table(
        f"{count} assets in one run on one cluster, and each on its own{aim} "
        f"({', '.join(f'{name} {seconds:g}' for name, seconds in durations.items())} s)",
        ("scope", "clusters", "wall s", "billed s", "with its ending s", "ratio", "with its ending"),
    )
    for name, scope in ((shared, "run"), (single, "asset")):
        billed, ending = _billed(runs[name])
        table.rows.append((
            scope, f"{runs[name][0].answer['launches']}", f"{harness.median(runs[name]):.1f}", f"{billed:.1f}",
            f"{billed + ending:.1f}", f"{billed / apart:.3f}", f"{(billed + ending) / (apart + apart_ending):.3f}",
        ))  # fmt: skip
    return table, runs


def _cold(runs: Sequence[harness.Run]) -> float:
    """Return the median of the wall seconds, imports included."""
    return float(median(run.answer["cold"] for run in runs))


def _billed(runs: Sequence[harness.Run]) -> tuple[float, float]:
    """Of an instance, in seconds: without the terminations' own time, and that."""
    ending = runs[0].answer["ending"]
    return median(run.answer["billed"] for run in runs) - ending, ending


def _refuse_failures(runs: Mapping[str, Sequence[harness.Run]]) -> None:
    for name, several in runs.items():
        for run in several:
            if run.answer["failed"]:
                raise harness.Disagreement(f"{name} failed: {run.answer['failed']}")


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    asked = harness.arguments(__doc__, rounds=5)
    parts = (_overhead, _two_assets, _ten_assets)
    with ThreadPoolExecutor(len(parts) if asked.quick else 1) as pool:
        found = list(pool.map(lambda part: part(asked), parts))
    tables = [table for table, _ in found]
    runs = {name: several for _, every in found for name, several in every.items()}
    packages = ("dagster", "dagster-aws", "apache-airflow", "apache-airflow-providers-amazon", "boto3")
    harness.report(asked, harness.machine(*packages), tables, runs)


if __name__ == "__main__":
    harness.serve(CONTENDERS)
    main()
