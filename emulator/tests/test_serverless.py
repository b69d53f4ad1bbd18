"""EMR Serverless: applications and job runs, by boto3, with a manual clock and scripted programs."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from rehearsal import Rehearsal, client

ROLE = "arn:aws:iam::111122223333:role/job"
BUCKET = "serverless-logs"
LOGS = {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": f"s3://{BUCKET}/logs/"}}}


class Serverless:
    """A client, and shortcuts for calls."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        self.api = client(rehearsal.emulator, "emr-serverless")
        self.advance = rehearsal.advance

    def application(self, **more: Any) -> str:
        told = {"releaseLabel": "emr-spark-8.1.0", "type": "SPARK", "name": "mine", "clientToken": "t", **more}
        made: str = self.api.create_application(**told)["applicationId"]
        return made

    def run(
        self,
        application: str,
        token: str = "run-1",  # noqa: S107 (no secret)
        parameters: str = "",
        **more: Any,
    ) -> str:
        driver: dict[str, Any] = {"entryPoint": more.pop("entryPoint", "s3://b/job.py")}
        if parameters:
            driver["sparkSubmitParameters"] = parameters
        started = self.api.start_job_run(
            applicationId=application, clientToken=token, executionRoleArn=ROLE, jobDriver={"sparkSubmit": driver},
            **more,
        )  # fmt: skip
        return str(started["jobRunId"])

    def job(self, application: str, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
        return found

    def state(self, application: str, run: str = "") -> str:
        if run:
            return str(self.job(application, run)["state"])
        return str(self.api.get_application(applicationId=application)["application"]["state"])


@pytest.fixture
def serverless(rehearsal: Rehearsal) -> Serverless:
    return Serverless(rehearsal)


def refused(code: str, call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**params)
    assert error.value.response["Error"]["Code"] == code
    return str(error.value.response["Error"]["Message"])


def test_an_application_starts_itself_for_a_job_run_and_stops_itself(serverless: Serverless) -> None:
    application = serverless.application()
    assert serverless.state(application) == "CREATING"
    serverless.advance(10)
    assert serverless.state(application) == "CREATED"
    run = serverless.run(application)
    assert serverless.state(application, run) in ("SUBMITTED", "PENDING")
    serverless.advance(1)
    assert (serverless.state(application), serverless.state(application, run)) == ("STARTING", "PENDING")
    serverless.advance(30)
    assert (serverless.state(application), serverless.state(application, run)) == ("STARTED", "SCHEDULED")
    serverless.advance(60)
    assert serverless.state(application, run) == "RUNNING"
    serverless.advance(10)
    assert serverless.state(application, run) == "SUCCESS"
    assert serverless.state(application) == "STARTED"
    serverless.advance(15 * 60 + 30)
    assert serverless.state(application) == "STOPPED"
    second = serverless.run(application, "run-2")
    serverless.advance(200)
    assert serverless.state(application, second) == "SUCCESS"


def test_what_is_billed(serverless: Serverless) -> None:
    """Seventy seconds of a driver and three executors with 4 vCPU, 16 GB and 20 GB of disk, which are free."""
    application = serverless.application()
    run = serverless.run(application)
    serverless.advance(1000)
    job = serverless.job(application, run)
    assert job["billedResourceUtilization"] == {
        "vCPUHour": pytest.approx(16 * 70 / 3600, abs=1e-3), "memoryGBHour": pytest.approx(64 * 70 / 3600, abs=1e-3),
        "storageGBHour": 0,
    }  # fmt: skip
    assert job["totalResourceUtilization"]["storageGBHour"] == pytest.approx(80 * 70 / 3600, abs=1e-3)
    assert job["totalExecutionDurationSeconds"] == 70


def test_a_worker_is_billed_for_a_minute_at_least(serverless: Serverless) -> None:
    application = serverless.application(
        initialCapacity={"DRIVER": {"workerCount": 1, "workerConfiguration": {"cpu": "1 vCPU", "memory": "2 GB"}}}
    )
    told = "--conf spark.driver.cores=1 --conf spark.driver.memory=1g --conf spark.executor.instances=0"
    run = serverless.run(application, parameters=f"{told} --conf spark.emr-serverless.driver.disk=50G")
    serverless.advance(1000)
    assert serverless.job(application, run)["billedResourceUtilization"] == {
        "vCPUHour": pytest.approx(1 / 60, abs=1e-3), "memoryGBHour": pytest.approx(2 / 60, abs=1e-3),
        "storageGBHour": pytest.approx(30 / 60, abs=1e-3),
    }  # fmt: skip


def test_the_same_token_and_request_is_the_same_run(serverless: Serverless) -> None:
    application = serverless.application()
    assert serverless.application() == application
    run = serverless.run(application)
    assert serverless.run(application) == run
    assert serverless.run(application, "run-2") != run
    message = refused(
        "ConflictException", serverless.api.start_job_run, applicationId=application, clientToken="run-1",
        executionRoleArn=ROLE, jobDriver={"sparkSubmit": {"entryPoint": "s3://b/other.py"}},
    )  # fmt: skip
    assert "run-1" in message
    serverless.advance(1000)
    assert serverless.run(application) == run  # also when it is over


def test_job_runs_wait_their_turn_and_for_capacity(serverless: Serverless) -> None:
    application = serverless.application(schedulerConfiguration={"maxConcurrentRuns": 1, "queueTimeoutMinutes": 15})
    runs = [serverless.run(application, f"run-{number}") for number in range(3)]
    serverless.advance(40)
    assert [serverless.state(application, run) for run in runs] == ["SCHEDULED", "QUEUED", "QUEUED"]
    serverless.advance(70)
    assert [serverless.state(application, run) for run in runs] == ["SUCCESS", "SCHEDULED", "QUEUED"]
    serverless.advance(1000)
    assert {serverless.state(application, run) for run in runs} == {"SUCCESS"}
    assert serverless.job(application, runs[2])["queuedDurationMilliseconds"] == 140_000


def test_a_job_run_that_waits_too_long_fails(serverless: Serverless) -> None:
    application = serverless.application(schedulerConfiguration={"maxConcurrentRuns": 1, "queueTimeoutMinutes": 15})
    first = serverless.run(application, parameters="--conf a=b", name="first")
    serverless.rehearsal.emulator.faults.add([{"fault": "step_fails", "step": "first", "after_seconds": 5000}])
    second = serverless.run(application, "run-2")
    serverless.advance(40 + 15 * 60)
    assert serverless.state(application, first) == "RUNNING"
    job = serverless.job(application, second)
    assert job["state"] == "FAILED"
    assert "queue timeout of 15 minutes" in job["stateDetails"]


def test_more_workers_than_the_application_may_have(serverless: Serverless) -> None:
    application = serverless.application(maximumCapacity={"cpu": "6 vCPU", "memory": "100 GB"})
    run = serverless.run(application)
    serverless.advance(100)
    job = serverless.job(application, run)
    assert job["state"] == "FAILED"
    assert "exceeded maximumCapacity settings: [cpu: 6 vCPU]" in job["stateDetails"]
    assert job["billedResourceUtilization"]["vCPUHour"] == 0


@pytest.mark.parametrize("wait", [0, 20, 60])
def test_cancelling_before_it_runs(serverless: Serverless, wait: float) -> None:
    application = serverless.application()
    run = serverless.run(application)
    serverless.advance(wait)
    serverless.api.cancel_job_run(applicationId=application, jobRunId=run)
    assert serverless.state(application, run) == "CANCELLED"
    serverless.advance(1000)
    assert serverless.state(application, run) == "CANCELLED"
    refused("ValidationException", serverless.api.cancel_job_run, applicationId=application, jobRunId=run)


def test_cancelling_while_it_runs(serverless: Serverless) -> None:
    application = serverless.application()
    run = serverless.run(application)
    serverless.advance(100)
    assert serverless.state(application, run) == "RUNNING"
    serverless.api.cancel_job_run(applicationId=application, jobRunId=run, shutdownGracePeriodInSeconds=30)
    serverless.advance(1)
    job = serverless.job(application, run)
    assert job["state"] == "CANCELLED"
    assert "cancelled" in job["stateDetails"]


def test_a_timeout_cancels(serverless: Serverless) -> None:
    serverless.rehearsal.emulator.faults.add([{"fault": "step_fails", "step": "slow", "after_seconds": 5000}])
    application = serverless.application()
    run = serverless.run(application, name="slow", executionTimeoutMinutes=5)
    serverless.advance(95 + 5 * 60 + 1)
    job = serverless.job(application, run)
    assert job["state"] == "CANCELLED"
    assert "execution timeout of 5 minutes" in job["stateDetails"]


def test_a_retry_policy_makes_attempts(serverless: Serverless) -> None:
    serverless.rehearsal.emulator.faults.add([{"fault": "step_fails", "step": "flaky", "message": "ValueError: no"}])
    application = serverless.application()
    run = serverless.run(application, name="flaky", retryPolicy={"maxAttempts": 2})
    serverless.advance(1000)
    assert serverless.job(application, run)["state"] == "SUCCESS"
    assert serverless.job(application, run)["attempt"] == 2
    attempts = serverless.api.list_job_run_attempts(applicationId=application, jobRunId=run)["jobRunAttempts"]
    assert [(found["attempt"], found["state"]) for found in attempts] == [(1, "FAILED"), (2, "SUCCESS")]
    assert "ValueError: no" in attempts[0]["stateDetails"]


def test_a_failed_program(serverless: Serverless) -> None:
    serverless.rehearsal.emulator.faults.add([{"fault": "step_fails", "message": "ValueError: no", "stderr": "why\n"}])
    serverless.rehearsal.s3.create_bucket(Bucket=BUCKET)
    application = serverless.application()
    run = serverless.run(application, configurationOverrides=LOGS)
    serverless.advance(1000)
    job = serverless.job(application, run)
    assert (job["state"], job["attempt"]) == ("FAILED", 1)
    assert job["stateDetails"].endswith("ExitCode: 1. Last few exceptions: ValueError: no")
    folder = f"logs/applications/{application}/jobs/{run}"
    assert serverless.rehearsal.keys(BUCKET) == [f"{folder}/SPARK_DRIVER/stderr.gz"]
    assert serverless.rehearsal.log(BUCKET, f"{folder}/SPARK_DRIVER/stderr.gz") == "why\n"


def test_lists_and_pages(serverless: Serverless) -> None:
    application = serverless.application()
    runs = [serverless.run(application, f"run-{number}") for number in range(5)]
    pages = serverless.api.get_paginator("list_job_runs")
    found = pages.paginate(applicationId=application, PaginationConfig={"PageSize": 2}).build_full_result()["jobRuns"]
    assert [run["id"] for run in found] == runs[::-1]
    serverless.api.cancel_job_run(applicationId=application, jobRunId=runs[0])
    listed = serverless.api.list_job_runs(applicationId=application, states=["CANCELLED", "FAILED"])["jobRuns"]
    assert [run["id"] for run in listed] == [runs[0]]
    assert serverless.api.list_job_runs(applicationId=application, createdAtBefore="2001-01-01")["jobRuns"] == []
    assert [found["id"] for found in serverless.api.list_applications()["applications"]] == [application]
    assert serverless.api.list_applications(states=["TERMINATED"])["applications"] == []


def test_tags(serverless: Serverless) -> None:
    application = serverless.application(tags={"team": "data"})
    run = serverless.run(application, tags={"run": "1"})
    for arn, before in (
        (serverless.api.get_application(applicationId=application)["application"]["arn"], {"team": "data"}),
        (serverless.job(application, run)["arn"], {"run": "1"}),
    ):
        serverless.api.tag_resource(resourceArn=arn, tags={"more": "a b"})
        assert serverless.api.list_tags_for_resource(resourceArn=arn)["tags"] == {**before, "more": "a b"}
        serverless.api.untag_resource(resourceArn=arn, tagKeys=["more"])
        assert serverless.api.list_tags_for_resource(resourceArn=arn)["tags"] == before


def test_changing_stopping_and_deleting_an_application(serverless: Serverless) -> None:
    application = serverless.application(autoStopConfiguration={"enabled": False})
    serverless.advance(10)
    serverless.api.update_application(
        applicationId=application, clientToken="u", maximumCapacity={"cpu": "8 vCPU", "memory": "64 GB"}
    )
    serverless.api.start_application(applicationId=application)
    serverless.advance(3600)
    assert serverless.state(application) == "STARTED"
    refused("ValidationException", serverless.api.update_application, applicationId=application, clientToken="v")
    refused("ValidationException", serverless.api.delete_application, applicationId=application)
    run = serverless.run(application)
    assert "active" in refused("ValidationException", serverless.api.stop_application, applicationId=application)
    serverless.api.cancel_job_run(applicationId=application, jobRunId=run)
    serverless.api.stop_application(applicationId=application)
    serverless.advance(30)
    assert serverless.state(application) == "STOPPED"
    serverless.api.delete_application(applicationId=application)
    assert serverless.state(application) == "TERMINATED"
    found = serverless.api.get_application(applicationId=application)["application"]
    assert found["maximumCapacity"] == {"cpu": "8 vCPU", "memory": "64 GB"}


def test_without_automatic_start_a_job_run_needs_a_started_application(serverless: Serverless) -> None:
    application = serverless.application(autoStartConfiguration={"enabled": False})
    serverless.advance(10)
    with pytest.raises(ClientError, match="start it first"):
        serverless.run(application)
    serverless.api.start_application(applicationId=application)
    serverless.advance(60)
    assert serverless.run(application)


def test_the_dashboard_is_there_once_workers_are_asked_for(serverless: Serverless) -> None:
    application = serverless.application()
    run = serverless.run(application)
    told = {"applicationId": application, "jobRunId": run}
    assert "a dashboard is there once" in refused(
        "ValidationException", serverless.api.get_dashboard_for_job_run, **told
    )
    serverless.advance(100)
    url = serverless.api.get_dashboard_for_job_run(**told)["url"]
    status, page = serverless.rehearsal.fetch(url.removeprefix(serverless.rehearsal.emulator.url))
    assert (status, f"<code>{run}</code>".encode() in page) == (200, True)
    assert run.encode() in serverless.rehearsal.fetch("/_emulator/")[1]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("--conf spark.driver.cores=3", "spark.driver.cores is 3; workers have 1, 2, 4, 8, 16 vCPU."),
        ("--conf spark.executor.memory=40g", "are 44 GB; a worker with 4 vCPU has 8 to 30 GB."),
        ("--conf spark.executor.memory=lots", "spark.executor.memory is 'lots', which is not a size such as 14G."),
        ("--conf spark.emr-serverless.driver.disk=300G", "driver.disk is 300 GB; a worker has 20 to 200 GB."),
        ("--conf 'spark.x=y", "sparkSubmitParameters cannot be read"),
    ],
)
def test_workers_that_do_not_exist(serverless: Serverless, parameters: str, says: str) -> None:
    application = serverless.application()
    with pytest.raises(ClientError) as error:
        serverless.run(application, parameters=parameters)
    assert says in error.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"releaseLabel": "emr-6.5.0"}, "Release label emr-6.5.0 is not supported."),
        ({"releaseLabel": "latest"}, "Release label latest is not supported."),
        ({"type": "FLINK"}, "Type FLINK is not supported"),
        ({"releaseLabel": "emr-6.15.0", "schedulerConfiguration": {"maxConcurrentRuns": 5}}, "needs emr-7.0.0"),
        ({"schedulerConfiguration": {"maxConcurrentRuns": 1001}}, "maxConcurrentRuns is 1001; allowed are 1 to 1000."),
        ({"schedulerConfiguration": {"queueTimeoutMinutes": 14}}, "queueTimeoutMinutes is 14; allowed are 15 to 720."),
        ({"maximumCapacity": {"cpu": "many", "memory": "1 GB"}}, "Value 'many' at 'maximumCapacity.cpu'"),
    ],
)
def test_applications_that_cannot_be(serverless: Serverless, told: dict[str, Any], says: str) -> None:
    with pytest.raises(ClientError) as error:
        serverless.application(**told)
    assert says in error.value.response["Error"]["Message"]


def test_bad_requests(serverless: Serverless) -> None:
    assert refused("ResourceNotFoundException", serverless.api.get_application, applicationId="00fnone")
    application = serverless.application()
    missing = {"applicationId": application, "jobRunId": "00fnone"}
    assert refused("ResourceNotFoundException", serverless.api.get_job_run, **missing)
    with pytest.raises(ClientError, match="executionTimeoutMinutes is 10081"):
        serverless.run(application, executionTimeoutMinutes=10_081)
    with pytest.raises((ClientError, ParamValidationError)):
        serverless.run(application, parameters="x" * 102_401)
    message = refused("UnknownOperationException", serverless.api.list_sessions, applicationId=application)
    assert "not emulated" in message


def test_faults_strike_its_calls(serverless: Serverless) -> None:
    application = serverless.application()
    serverless.rehearsal.emulator.faults.add([
        {"fault": "throttle", "operation": "GetJobRun"}, {"fault": "server_error", "operation": "ListJobRuns"},
    ])  # fmt: skip
    run = serverless.run(application)
    told = {"applicationId": application, "jobRunId": run}
    assert refused("ThrottlingException", serverless.api.get_job_run, **told) == "Rate exceeded"
    assert refused("InternalServerException", serverless.api.list_job_runs, applicationId=application)
    serverless.rehearsal.emulator.faults.add([{"fault": "lost_response", "operation": "StartJobRun"}])
    with pytest.raises(Exception, match="onnection"):
        serverless.run(application, "lost")
    again = serverless.run(application, "lost")
    assert len(serverless.api.list_job_runs(applicationId=application)["jobRuns"]) == 2
    assert again != run


def test_nothing_is_due_any_more_when_all_has_ended(serverless: Serverless) -> None:
    serverless.rehearsal.s3.create_bucket(Bucket=BUCKET)
    application = serverless.application()
    run = serverless.run(application, configurationOverrides=LOGS)
    serverless.advance(2 * 86_400)
    assert (serverless.state(application), serverless.state(application, run)) == ("STOPPED", "SUCCESS")
    assert serverless.rehearsal.emulator._agenda._due == []


@pytest.mark.parametrize("state", ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING"])
def test_a_fault_fails_a_job_run_in_a_state(serverless: Serverless, state: str) -> None:
    serverless.rehearsal.emulator.faults.add([{"fault": "job_run_fails", "state": state, "details": "Out of luck."}])
    application = serverless.application()
    run = serverless.run(application)
    serverless.advance(1000)
    job = serverless.job(application, run)
    assert (job["state"], job["stateDetails"]) == ("FAILED", "Out of luck.")
    assert bool(job["billedResourceUtilization"]["vCPUHour"]) == (state in ("SCHEDULED", "RUNNING"))


@pytest.mark.parametrize("state", ["PENDING", "SCHEDULED"])
def test_a_fault_hangs_a_job_run_until_it_is_cancelled(serverless: Serverless, state: str) -> None:
    serverless.rehearsal.emulator.faults.add([{"fault": "job_run_hangs", "state": state}])
    application = serverless.application()
    run = serverless.run(application)
    serverless.advance(10_000)
    assert serverless.state(application, run) == state
    other = serverless.run(application, "run-2")
    serverless.advance(1000)
    assert serverless.state(application, other) == "SUCCESS"
    serverless.api.cancel_job_run(applicationId=application, jobRunId=run)
    serverless.advance(1)
    assert serverless.state(application, run) == "CANCELLED"


def test_a_fault_kills_a_driver(serverless: Serverless) -> None:
    serverless.rehearsal.emulator.faults.add([{"fault": "step_killed", "step": "nightly*", "after_seconds": 2}])
    application = serverless.application()
    run = serverless.run(application, name="nightly 1")
    serverless.advance(1000)
    assert serverless.job(application, run)["stateDetails"].endswith("ExitCode: 137.")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"name": "with a space"}, "'name'"),
        ({"tags": {"straße": "x"}}, "'tags (a key)'"),
        ({"tags": {"team": "données"}}, "'tags.team'"),
        ({"clientToken": "a/b"}, "'clientToken'"),
        ({"imageConfiguration": {"imageUri": "mine"}}, "'imageConfiguration.imageUri'"),
    ],
)
def test_texts_of_another_form_are_refused(serverless: Serverless, told: dict[str, Any], says: str) -> None:
    said = refused("ValidationException", serverless.application, **told)
    assert f"at {says} failed to satisfy constraint" in said
