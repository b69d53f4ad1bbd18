"""What orchestration adds to a job run on EMR Serverless: ours, dagster-aws's PipesEMRServerlessClient and Airflow's
operator, on one emulator.

    python -m benchmarks.serverless [--quick] [--rounds 1] [--json]

Each contender runs in a process of its own and has an emulated account of its own, in a third process. Programs are
scripted: each takes exactly so long, and the emulator leaves what they would have left when EMR Serverless says
RUNNING, or SUCCESS, and no sooner.

- ours: `dg.materialize` of an asset whose program is run by an EmrServerlessSparkRunner, which makes the application.
- PipesEMRServerlessClient: `dg.materialize` of an asset that calls it, at its defaults, with PipesS3MessageReader, for
  the emulator has no CloudWatch. The application is there before.
- Airflow: EmrServerlessStartJobOperator at its defaults, its `execute` called with a context that forgets XComs. The
  application is there before; the latency of Airflow's scheduler is left out.

The overhead is the wall time without what the service itself takes: the application's start, the workers', and the
program. PipesEMRServerlessClient polls every 5 seconds and Airflow every 60, so what they add depends on the program's
length. Therefore programs of four lengths run, and the mean counts. Billed are the seconds of the workers, which the
service alone decides. So the contenders differ in seconds only, and in how often they ask.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median
from types import SimpleNamespace
from typing import Any

from benchmarks import harness
from benchmarks.account import BUCKET, OVER, account
from benchmarks.orchestration import Numbers, add_up, measured, succeed, verdict

OURS, PIPES, AIRFLOW = "ours", "PipesEMRServerlessClient", "Airflow"
FACTS = {"application": 5.0, "workers": 5.0}  # seconds
SHORT = {"application": 0.5, "workers": 0.5}
LENGTHS, SHORT_LENGTHS = (11.0, 27.0, 43.0, 59.0), (1.0,)  # seconds, spread over poll intervals of 5 and of 60
MAX_OVERHEAD_SECONDS = 5.0
TIMES_LESS = 5.0
ROLE = "arn:aws:iam::111122223333:role/jobs"


def _measured(durations: Mapping[str, float], begin: Callable[[], Callable[[], None]]) -> tuple[float, dict[str, Any]]:
    with account(**durations, result={"total": 6}) as found:
        seconds, cold, failed = measured(begin)
        report = found.in_the_end()
    return seconds, {
        "cold": cold,
        "job runs": [run["state"] for run in report["job_runs"]],
        "left": sum(run["state"] not in OVER for run in report["job_runs"]),
        "billed": sum(run["billed"] for run in report["job_runs"]),
        "calls": sum(report["calls"].values()),
        "failed": failed,
    }


def ours(durations: Mapping[str, float], interval: float | None = None) -> tuple[float, dict[str, Any]]:  # noqa: ARG001
    def begin() -> Callable[[], None]:
        import dagster as dg

        from emr_pipelines.aws import sdk  # noqa: F401 (what the runner imports when it is used)
        from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner

        @dg.asset(required_resource_keys={"spark"})
        def total(context: dg.AssetExecutionContext) -> None:
            if context.resources.spark.run(context, add_up, Numbers((1, 2, 3))).total != 6:
                raise ValueError("1 + 2 + 3 is 6")

        prices = {"vcpu_hour": 0.05, "memory_gb_hour": 0.006, "storage_gb_hour": 0.0001}
        runner = EmrServerlessSparkRunner(bucket=BUCKET, execution_role=ROLE, ship_dependencies=False, prices=prices)
        instance = dg.DagsterInstance.ephemeral()
        return lambda: succeed(dg.materialize([total], resources={"spark": runner}, instance=instance))

    return _measured(durations, begin)


def _application() -> str:
    import boto3

    made: str = boto3.client("emr-serverless").create_application(
        name="benchmark", releaseLabel="emr-spark-8.1.0", type="SPARK", clientToken="benchmark"
    )["applicationId"]
    return made


DRIVER = {"sparkSubmit": {"entryPoint": f"s3://{BUCKET}/program.py"}}


def pipes(durations: Mapping[str, float], interval: float | None = None) -> tuple[float, dict[str, Any]]:
    """interval: seconds between polls; None means its default of 5."""

    def begin() -> Callable[[], None]:
        import boto3
        import dagster as dg
        from dagster_aws.pipes import PipesEMRServerlessClient, PipesS3ContextInjector, PipesS3MessageReader

        application = _application()
        less: dict[str, Any] = {} if interval is None else {"poll_interval": interval}
        s3 = boto3.client("s3")
        client = PipesEMRServerlessClient(
            client=boto3.client("emr-serverless"),
            context_injector=PipesS3ContextInjector(bucket=BUCKET, client=s3),
            message_reader=PipesS3MessageReader(bucket=BUCKET, client=s3),
            **less,
        )

        @dg.asset(required_resource_keys={"serverless"})
        def total(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            invocation = context.resources.serverless.run(
                context=context,
                start_job_run_params={
                    "applicationId": application,
                    "clientToken": uuid.uuid4().hex,
                    "executionRoleArn": ROLE,
                    "jobDriver": {"sparkSubmit": dict(DRIVER["sparkSubmit"])},
                },
            )
            found: dg.MaterializeResult[None] = invocation.get_materialize_result()
            return found

        instance = dg.DagsterInstance.ephemeral()
        return lambda: succeed(dg.materialize([total], resources={"serverless": client}, instance=instance))

    return _measured(durations, begin)


def airflow(durations: Mapping[str, float], interval: float | None = None) -> tuple[float, dict[str, Any]]:
    """interval: seconds between polls, rounded to whole ones; None means its default of 60."""

    def begin() -> Callable[[], None]:
        from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator

        application = _application()
        often: dict[str, Any] = {} if interval is None else {"waiter_delay": max(1, round(interval))}
        context: Any = {"ti": SimpleNamespace(xcom_push=lambda **_: None)}

        def work() -> None:
            operator: Any = EmrServerlessStartJobOperator(
                task_id="run", application_id=application, execution_role_arn=ROLE, job_driver=DRIVER,
                configuration_overrides=None, enable_application_ui_links=False, **often,
            )  # fmt: skip
            operator.execute(context)

        return work

    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home  # Airflow reads it when it is imported
        return _measured(durations, begin)


CONTENDERS: dict[str, harness.Contender] = {OURS: ours, PIPES: pipes, AIRFLOW: airflow}


def main() -> None:
    asked = harness.arguments(__doc__, rounds=1)
    facts, lengths, interval = (SHORT, SHORT_LENGTHS, 0.5) if asked.quick else (FACTS, LENGTHS, None)
    runs: dict[str, list[harness.Run]] = {name: [] for name in CONTENDERS}
    added: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for length in lengths:
        durations = {**facts, "step": length}
        settings = {"durations": durations, "interval": interval}
        found = harness.in_turn("benchmarks.serverless", list(CONTENDERS), asked.rounds, **settings)
        for name, several in found.items():
            runs[name] += several
            added[name] += [run.seconds - sum(durations.values()) for run in several]
    expected = {"job runs": ["SUCCESS"], "left": 0}
    for name, several in runs.items():
        for run in several:
            harness.agree({"what is asked": expected, name: {key: run.answer[key] for key in expected}})
    title = (
        f"One asset with one job run, whose program takes {', '.join(f'{length:g}' for length in lengths)} s, after "
        f"{' and '.join(f'{seconds:g} s for the {name}' for name, seconds in facts.items())}"
    )
    if not asked.quick:
        title += f". {judged({name: mean(several) for name, several in added.items()})}"
    packages = ("dagster", "dagster-aws", "apache-airflow", "apache-airflow-providers-amazon", "boto3")
    harness.report(asked, harness.machine(*packages), [compared(title, runs, added)], runs)


def judged(means: Mapping[str, float]) -> str:
    """Say whether the goals are met. means: the mean overhead of each contender, in seconds."""
    times = min(seconds for name, seconds in means.items() if name != OURS) / means[OURS]
    return (
        f"Ours adds {means[OURS]:.1f} s ({verdict(means[OURS] <= MAX_OVERHEAD_SECONDS)}: at most "
        f"{MAX_OVERHEAD_SECONDS:g}), {times:.1f} times less than the next ({verdict(times >= TIMES_LESS)}: at least "
        f"{TIMES_LESS:g})"
    )


def compared(
    title: str, runs: Mapping[str, Sequence[harness.Run]], added: Mapping[str, Sequence[float]]
) -> harness.Table:
    columns = ("contender", "overhead s, mean", "least", "most", "cold wall s, median", "billed s", "calls", "answer")
    table = harness.Table(title, columns)
    for name, several in runs.items():
        failed = next((run.answer["failed"] for run in several if run.answer["failed"]), "")
        cold, calls = (median(run.answer[what] for run in several) for what in ("cold", "calls"))
        table.rows.append((
            name, f"{mean(added[name]):.1f}", f"{min(added[name]):.1f}", f"{max(added[name]):.1f}", f"{cold:.1f}",
            f"{mean(run.answer['billed'] for run in several):.1f}", f"{calls:g}",
            f"failed: {failed}" if failed else "succeeded",
        ))  # fmt: skip
    return table


if __name__ == "__main__":
    harness.serve(CONTENDERS)
    main()
