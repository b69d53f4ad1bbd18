"""dagster-aws's Pipes clients as third-party clients of the emulator."""

import threading
from functools import partial
from types import SimpleNamespace

import botocore.waiter
import dagster as dg
import pytest
from dagster_aws.pipes import (
    PipesEMRClient,
    PipesEMRServerlessClient,
    PipesS3ContextInjector,
    PipesS3LogReader,
    PipesS3MessageReader,
)
from rehearsal import REQUEST, Rehearsal, client, step

BUCKET = "pipes"
PIPES_PROGRAM = """
import boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes
from pyspark.sql import SparkSession

client = boto3.client("s3")
with open_dagster_pipes(
    context_loader=PipesS3ContextLoader(client), message_writer=PipesS3MessageWriter(client)
) as pipes:
    print("counting", flush=True)
    rows = SparkSession.builder.getOrCreate().range(pipes.get_extra("rows")).count()
    pipes.log.info("counted")
    pipes.report_asset_materialization(metadata={"rows": rows})
"""


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")  # dagster-aws uses deprecated and preview APIs of dagster
def test_dagsters_pipes_client(with_spark: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    with_spark.emulator.create_bucket(BUCKET)
    with_spark.s3.put_object(Bucket=BUCKET, Key="code/pipes.py", Body=PIPES_PROGRAM.encode())
    # its waiters pause for 30 seconds and its log readers for 10
    pause = SimpleNamespace(sleep=lambda _: threading.Event().wait(0.5))
    monkeypatch.setattr(botocore.waiter, "time", pause)
    monkeypatch.setattr("dagster_aws.pipes.clients.emr.PipesS3LogReader", partial(PipesS3LogReader, interval=0.5))
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)

    @dg.asset
    def counted(context: dg.AssetExecutionContext, emr: PipesEMRClient) -> dg.MaterializeResult[None]:
        submit = ["spark-submit", "--deploy-mode", "client", f"s3://{BUCKET}/code/pipes.py"]
        request = {
            **REQUEST,
            "ReleaseLabel": "emr-spark-8.1.0",
            "LogUri": f"s3://{BUCKET}/logs",
            "Steps": [step(*submit)],
        }
        request["Instances"] = {**REQUEST["Instances"], "KeepJobFlowAliveWhenNoSteps": False}
        return emr.run(context=context, run_job_flow_params=request, extras={"rows": 42}).get_materialize_result()

    pipes = PipesEMRClient(
        client=with_spark.emr,
        context_injector=PipesS3ContextInjector(bucket=BUCKET, client=with_spark.s3),
        message_reader=PipesS3MessageReader(bucket=BUCKET, client=with_spark.s3, interval=0.2),
        wait_for_s3_logs_seconds=0,
    )
    result = dg.materialize([counted], resources={"emr": pipes})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["rows"].value == 42


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")  # dagster-aws uses deprecated and preview APIs of dagster
def test_dagsters_pipes_client_for_serverless(with_spark: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads messages from S3 by a reader of its own choice, and says that it cannot."""
    with_spark.emulator.create_bucket("serverless-pipes")
    with_spark.s3.put_object(Bucket="serverless-pipes", Key="code/pipes.py", Body=PIPES_PROGRAM.encode())
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)
    api = client(with_spark.emulator, "emr-serverless")
    application = api.create_application(
        name="pipes", releaseLabel="emr-spark-8.1.0", type="SPARK", clientToken="pipes"
    )["applicationId"]

    @dg.asset
    def counted(context: dg.AssetExecutionContext, serverless: PipesEMRServerlessClient) -> dg.MaterializeResult[None]:
        request = {
            "applicationId": application,
            "clientToken": context.run.run_id,
            "executionRoleArn": "arn:aws:iam::111122223333:role/job",
            "jobDriver": {"sparkSubmit": {"entryPoint": "s3://serverless-pipes/code/pipes.py"}},
        }
        done = serverless.run(context=context, start_job_run_params=request, extras={"rows": 42})
        return done.get_materialize_result()

    pipes = PipesEMRServerlessClient(
        client=api,
        context_injector=PipesS3ContextInjector(bucket="serverless-pipes", client=with_spark.s3),
        message_reader=PipesS3MessageReader(bucket="serverless-pipes", client=with_spark.s3, interval=0.2),
        poll_interval=0.5,
    )
    result = dg.materialize([counted], resources={"serverless": pipes})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["rows"].value == 42
    (found,) = [one for one in with_spark.emulator.applications() if one.id == application]
    assert [str(run.state) for run in found.runs.values()] == ["SUCCESS"]
