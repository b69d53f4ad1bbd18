"""Clients that know nothing of the emulator: the AWS CLI, boto3's waiters, dagster-aws's PipesEMRClient."""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.waiter
import dagster as dg
import pyspark
import pytest
import yaml
from dagster_aws.pipes import PipesEMRClient, PipesS3ContextInjector, PipesS3LogReader, PipesS3MessageReader

from emr_emulator.faults import KINDS, read_faults
from tests.emulator.conftest import REQUEST, Rehearsal, step, until

BUCKET = "clients"
WORD_COUNT = Path(pyspark.__file__).parent / "examples" / "src" / "main" / "python" / "wordcount.py"
TEXT = "the cat and the dog\nand the bird\n"


class Cli:
    """The AWS CLI, as a person uses it."""

    def __init__(self, rehearsal: Rehearsal, folder: Path) -> None:
        self.environment = {**os.environ, **rehearsal.emulator.environment, "AWS_CONFIG_FILE": str(folder / "none")}
        self.folder = folder

    def __call__(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "awscli", *arguments]
        answer = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout) if answer.stdout.startswith("{") else answer.stdout


@pytest.mark.extended
def test_the_aws_cli_alone(with_spark: Rehearsal, tmp_path: Path) -> None:
    aws = Cli(with_spark, tmp_path)
    aws("s3", "mb", f"s3://{BUCKET}")
    (tmp_path / "text.txt").write_text(TEXT)
    aws("s3", "cp", "text.txt", f"s3://{BUCKET}/in/text.txt")
    aws("s3", "cp", str(WORD_COUNT), f"s3://{BUCKET}/code/wordcount.py")
    args = f"spark-submit,--deploy-mode,client,s3://{BUCKET}/code/wordcount.py,s3://{BUCKET}/in/text.txt"
    created = aws(
        "emr", "create-cluster", "--name", "by hand", "--release-label", "emr-7.10.0", "--applications", "Name=Spark",
        "--instance-type", "m5.xlarge", "--instance-count", "3", "--use-default-roles",
        "--log-uri", f"s3://{BUCKET}/logs/",
        "--steps", f"Type=CUSTOM_JAR,Name=count,Jar=command-runner.jar,ActionOnFailure=CONTINUE,Args=[{args}]",
    )  # fmt: skip
    cluster_id = created["ClusterId"]
    assert cluster_id in [cluster["Id"] for cluster in aws("emr", "list-clusters", "--active")["Clusters"]]
    (listed,) = aws("emr", "list-steps", "--cluster-id", cluster_id)["Steps"]
    until(lambda: with_spark.step_states(cluster_id) == ["COMPLETED"])  # the CLI's own wait looks every 30 seconds
    aws("emr", "wait", "step-complete", "--cluster-id", cluster_id, "--step-id", listed["Id"])
    described = aws("emr", "describe-step", "--cluster-id", cluster_id, "--step-id", listed["Id"])["Step"]
    assert described["Status"]["State"] == "COMPLETED"
    aws("emr", "terminate-clusters", "--cluster-ids", cluster_id)
    until(lambda: with_spark.state(cluster_id) == "TERMINATED")
    aws("s3", "cp", f"s3://{BUCKET}/logs/{cluster_id}/steps/{listed['Id']}/stdout.gz", ".")
    counts = dict(
        line.split(": ") for line in gzip.decompress((tmp_path / "stdout.gz").read_bytes()).decode().splitlines()
    )
    assert counts == {"the": "3", "and": "2", "cat": "1", "dog": "1", "bird": "1"}


def test_boto3s_own_waiters(with_spark: Rehearsal) -> None:
    """Their patience is 30 seconds; here a tenth of one is enough."""
    emr, often = with_spark.emr, {"Delay": 0.1, "MaxAttempts": 600}
    cluster_id = with_spark.launch(step("bash", "-c", "exit 0"))
    emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig=often)
    (step_id,) = (found["Id"] for found in with_spark.steps(cluster_id))
    emr.get_waiter("step_complete").wait(ClusterId=cluster_id, StepId=step_id, WaiterConfig=often)
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig=often)
    assert with_spark.state(cluster_id) == "TERMINATED"


def test_the_manuals_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    (example,) = re.findall(r"```python\n(import boto3\n.*?)```", page, re.DOTALL)
    exec(compile(example, "emulator.md", "exec"), {})  # noqa: S102 (it asserts)


def test_the_manuals_faults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    (example,) = re.findall(r"```yaml\n(- \{fault.*?)```", page, re.DOTALL)
    kinds = {fault.model_dump()["fault"] for fault in read_faults(yaml.safe_load(example))}
    assert kinds == set(KINDS)


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
@pytest.mark.filterwarnings("ignore")  # dagster-aws uses what dagster deprecates and previews
def test_dagsters_pipes_client(with_spark: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    with_spark.emulator.create_bucket(BUCKET)
    with_spark.s3.put_object(Bucket=BUCKET, Key="code/pipes.py", Body=PIPES_PROGRAM.encode())
    # its waiters pause 30 seconds at a time and its readers of logs 10, which says nothing of the emulator
    pause = SimpleNamespace(sleep=lambda _: threading.Event().wait(0.5))
    monkeypatch.setattr(botocore.waiter, "time", pause)
    monkeypatch.setattr("dagster_aws.pipes.clients.emr.PipesS3LogReader", partial(PipesS3LogReader, interval=0.5))
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)

    @dg.asset
    def counted(context: dg.AssetExecutionContext, emr: PipesEMRClient) -> dg.MaterializeResult[None]:
        submit = ["spark-submit", "--deploy-mode", "client", f"s3://{BUCKET}/code/pipes.py"]
        request = {**REQUEST, "LogUri": f"s3://{BUCKET}/logs", "Steps": [step(*submit)]}
        request["Instances"] = {**REQUEST["Instances"], "KeepJobFlowAliveWhenNoSteps": False}
        return emr.run(context=context, run_job_flow_params=request, extras={"rows": 42}).get_materialize_result()

    client = PipesEMRClient(
        client=with_spark.emr,
        context_injector=PipesS3ContextInjector(bucket=BUCKET, client=with_spark.s3),
        message_reader=PipesS3MessageReader(bucket=BUCKET, client=with_spark.s3, interval=0.2),
        wait_for_s3_logs_seconds=0,
    )
    result = dg.materialize([counted], resources={"emr": client})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["rows"].value == 42
