"""Third-party clients: the AWS CLI and boto3's waiters."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyspark
import pytest
from rehearsal import Rehearsal, step, until

BUCKET = "clients"
WORD_COUNT = Path(pyspark.__file__).parent / "examples" / "src" / "main" / "python" / "wordcount.py"
TEXT = "the cat and the dog\nand the bird\n"


class Cli:
    """Runs the AWS CLI."""

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
        "emr", "create-cluster", "--name", "by hand", "--release-label", "emr-spark-8.1.0",
        "--applications", "Name=Spark",
        "--instance-type", "m5.xlarge", "--instance-count", "3", "--use-default-roles",
        "--log-uri", f"s3://{BUCKET}/logs/",
        "--steps", f"Type=CUSTOM_JAR,Name=count,Jar=command-runner.jar,ActionOnFailure=CONTINUE,Args=[{args}]",
    )  # fmt: skip
    cluster_id = created["ClusterId"]
    assert cluster_id in [cluster["Id"] for cluster in aws("emr", "list-clusters", "--active")["Clusters"]]
    (listed,) = aws("emr", "list-steps", "--cluster-id", cluster_id)["Steps"]
    until(lambda: with_spark.step_states(cluster_id) == ["COMPLETED"])  # `aws emr wait` polls every 30 seconds
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
    """They pause for 30 seconds; here a tenth of a second is enough."""
    emr, often = with_spark.emr, {"Delay": 0.1, "MaxAttempts": 600}
    cluster_id = with_spark.launch(step("bash", "-c", "exit 0"), ReleaseLabel="emr-spark-8.1.0")
    emr.get_waiter("cluster_running").wait(ClusterId=cluster_id, WaiterConfig=often)
    (step_id,) = (found["Id"] for found in with_spark.steps(cluster_id))
    emr.get_waiter("step_complete").wait(ClusterId=cluster_id, StepId=step_id, WaiterConfig=often)
    emr.terminate_job_flows(JobFlowIds=[cluster_id])
    emr.get_waiter("cluster_terminated").wait(ClusterId=cluster_id, WaiterConfig=often)
    assert with_spark.state(cluster_id) == "TERMINATED"
