"""Job runs of EMR Serverless that really run, by boto3 and by the AWS CLI."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rehearsal import Rehearsal, client, until

BUCKET = "serverless"
ROLE = "arn:aws:iam::111122223333:role/job"
LOGS = {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"s3://{BUCKET}/logs"}}}
SMALL = (
    "--conf spark.driver.cores=1 --conf spark.driver.memory=2g --conf spark.executor.cores=1 "
    "--conf spark.executor.memory=512m --conf spark.executor.instances=1"
)
PROGRAM = """
import os, sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print("ran on", spark.version, "with", sys.argv[1:], os.environ.get("COLOR"), flush=True)

def on_executor(_):
    return [open("rules.txt").read(), os.environ.get("FLAVOR", "")]

print(spark.sparkContext.parallelize([0], 1).map(on_executor).collect(), open("rules.txt").read(), flush=True)
spark.range(10).write.parquet("s3://serverless/out")
if "fail" in sys.argv:
    raise ValueError("the rules are wrong")
"""


@pytest.fixture(scope="module")
def objects(with_spark: Rehearsal) -> Path:
    folder = with_spark.emulator.create_bucket(BUCKET)
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "job.py").write_text(PROGRAM)
    (folder / "code" / "rules.txt").write_text("be kind")
    return folder


def start(with_spark: Rehearsal, *arguments: str, name: str, parameters: str = SMALL) -> tuple[Any, dict[str, str]]:
    api = client(with_spark.emulator, "emr-serverless")
    made = api.create_application(releaseLabel="emr-spark-8.1.0", type="SPARK", clientToken="application")
    run = api.start_job_run(
        applicationId=made["applicationId"], clientToken=name, name=name, executionRoleArn=ROLE,
        configurationOverrides=LOGS,
        jobDriver={"sparkSubmit": {
            "entryPoint": f"s3://{BUCKET}/code/job.py", "entryPointArguments": list(arguments),
            "sparkSubmitParameters": parameters,
        }},
    )  # fmt: skip
    return api, {"applicationId": made["applicationId"], "jobRunId": run["jobRunId"]}


def end(api: Any, run: dict[str, str]) -> dict[str, Any]:
    until(lambda: api.get_job_run(**run)["jobRun"]["state"] in ("SUCCESS", "FAILED", "CANCELLED"))
    found: dict[str, Any] = api.get_job_run(**run)["jobRun"]
    return found


def logs(with_spark: Rehearsal, run: dict[str, str]) -> str:
    prefix = f"logs/applications/{run['applicationId']}/jobs/{run['jobRunId']}/"
    until(lambda: f"{prefix}SPARK_DRIVER/stdout.gz" in with_spark.keys(BUCKET, prefix))
    return with_spark.log(BUCKET, f"{prefix}SPARK_DRIVER/stdout.gz")


def test_a_program_runs_with_its_files_and_its_environment(with_spark: Rehearsal, objects: Path) -> None:
    told = f"{SMALL} --files s3://{BUCKET}/code/rules.txt --conf spark.emr-serverless.driverEnv.COLOR=red"
    api, run = start(with_spark, "a b", name="good", parameters=f"{told} --conf spark.executorEnv.FLAVOR=mint")
    job = end(api, run)
    assert job["state"] == "SUCCESS", job["stateDetails"]
    billed = max(60, job["totalExecutionDurationSeconds"])
    assert job["billedResourceUtilization"]["vCPUHour"] == pytest.approx(2 * billed / 3600, abs=2e-3)
    said = logs(with_spark, run)
    assert "with ['a b'] red" in said
    assert "[['be kind', 'mint']] be kind" in said
    assert list((objects / "out").glob("*.parquet"))


@pytest.mark.extended
def test_a_failed_program_says_its_exception(with_spark: Rehearsal, objects: Path) -> None:
    shutil.rmtree(objects / "out", ignore_errors=True)
    told = f"{SMALL} --files s3://{BUCKET}/code/rules.txt"
    api, run = start(with_spark, "fail", name="bad", parameters=told)
    job = end(api, run)
    assert job["state"] == "FAILED"
    assert job["stateDetails"].endswith("Last few exceptions: ValueError: the rules are wrong")
    assert "ValueError: the rules are wrong" in logs(with_spark, run)


@pytest.mark.extended
def test_a_cancelled_program_leaves_no_process(with_spark: Rehearsal, objects: Path) -> None:
    (objects / "code" / "sleep.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(9999)\n")
    api = client(with_spark.emulator, "emr-serverless")
    made = api.create_application(releaseLabel="emr-spark-8.1.0", type="SPARK", clientToken="application")
    run = {"applicationId": made["applicationId"]}
    started = api.start_job_run(
        **run, clientToken="sleeps", executionRoleArn=ROLE,
        jobDriver={"sparkSubmit": {"entryPoint": f"s3://{BUCKET}/code/sleep.py", "sparkSubmitParameters": SMALL}},
    )  # fmt: skip
    run["jobRunId"] = started["jobRunId"]
    folder = with_spark.emulator.root / "logs" / "applications" / run["applicationId"] / "jobs" / run["jobRunId"]
    until(
        lambda: (
            (folder / "SPARK_DRIVER" / "stdout").is_file() and "here" in (folder / "SPARK_DRIVER/stdout").read_text()
        )
    )
    api.cancel_job_run(**run, shutdownGracePeriodInSeconds=1)
    assert end(api, run)["state"] == "CANCELLED"
    assert not with_spark.emulator._job_steps.busy()


@pytest.mark.extended
def test_the_aws_cli(with_spark: Rehearsal, objects: Path, tmp_path: Path) -> None:  # noqa: ARG001
    def aws(*command: str) -> Any:
        argv = [str(Path(sys.executable).with_name("aws")), "emr-serverless", *command, "--output", "json"]
        answer = subprocess.run(
            argv, env={"PATH": "/usr/bin:/bin", **with_spark.emulator.environment}, cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout) if answer.stdout else None

    made = aws("create-application", "--type", "SPARK", "--name", "cli", "--release-label", "emr-spark-8.1.0")
    driver = {"sparkSubmit": {"entryPoint": "local:///usr/lib/spark/examples/src/main/python/pi.py"}}
    driver["sparkSubmit"]["sparkSubmitParameters"] = SMALL
    started = aws(
        "start-job-run", "--application-id", made["applicationId"], "--execution-role-arn", ROLE,
        "--job-driver", json.dumps(driver), "--configuration-overrides", json.dumps(LOGS),
    )  # fmt: skip
    run = {"applicationId": made["applicationId"], "jobRunId": started["jobRunId"]}
    end(client(with_spark.emulator, "emr-serverless"), run)
    told = ("--application-id", run["applicationId"], "--job-run-id", run["jobRunId"])
    job = aws("get-job-run", *told)["jobRun"]
    assert job["state"] == "SUCCESS", job["stateDetails"]
    assert "Pi is roughly 3.1" in logs(with_spark, run)
    assert aws("list-job-runs", "--application-id", run["applicationId"])["jobRuns"][0]["id"] == run["jobRunId"]
    assert aws("get-dashboard-for-job-run", *told)["url"].startswith(with_spark.emulator.url)
