"""The runner on EMR Serverless, with scripted job runs and a clock that the tests move."""

import threading
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.backends.emr.steps import Step, hive_script, shell_command, spark_jar, spark_submit
from emr_pipelines.backends.emr_serverless.backend import EmrServerlessBackend
from emr_pipelines.backends.emr_serverless.job_runs import JobRunId, JobRuns
from emr_pipelines.costs.ledger import EMR, EMR_SERVERLESS
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from emr_pipelines.runners.ledger import CostLedger
from tests.emr_env import PARAMS, EmrEnv, Failed
from tests.runners.programs import Total, add_up
from tests.serverless_env import ROLE, ServerlessClock, ServerlessEnv, serverless_env

__all__ = ["serverless_env"]

INTERRUPTED = (KeyboardInterrupt, Failed, dg.DagsterExecutionInterruptedError)


def test_a_program_runs_once_on_an_application_that_is_made_for_it(serverless_env: ServerlessEnv) -> None:
    assert serverless_env.run() == Total(6)
    (run,) = serverless_env.job_runs
    (application,) = serverless_env.account.emulator.applications()
    assert str(run.state) == "SUCCESS"
    assert application.request["name"].startswith("emr-pipelines/default/")
    said = "\n".join(serverless_env.log)
    assert f"Created application {application.id}" in said
    assert f"/_emulator/jobruns/{run.id}" in said  # the page, at once, and the Spark UI
    assert "valid for an hour" in said


def test_what_a_job_run_asks_for(serverless_env: ServerlessEnv) -> None:
    serverless_env.run(spark_config={"spark.sql.shuffle.partitions": "8"}, application={"driver": {"cores": 2}})
    (run,) = serverless_env.job_runs
    driver = run.request["jobDriver"]["sparkSubmit"]
    parameters = driver["sparkSubmitParameters"]
    for setting in ("spark.sql.shuffle.partitions=8", "spark.driver.cores=2", "spark.archives=s3://"):
        assert f"--conf {setting}" in parameters
    assert "spark.executorEnv.PYSPARK_PYTHON=/usr/bin/python3.11" in parameters
    assert driver["entryPoint"].startswith("s3://emr-tests/default/code/")
    assert run.request["executionRoleArn"] == ROLE
    assert run.request["executionTimeoutMinutes"] == 24 * 60 + 15
    assert run.tags["emr_pipelines:deployment"] == "default"
    assert run.tags["emr_pipelines:asset"] == "answer"


@pytest.mark.extended
def test_the_second_run_uses_the_same_application(serverless_env: ServerlessEnv) -> None:
    serverless_env.run()
    serverless_env.run()
    assert len(serverless_env.account.emulator.applications()) == 1
    assert serverless_env.states == ["SUCCESS", "SUCCESS"]


def test_what_it_cost_is_observed_on_the_asset(serverless_env: ServerlessEnv) -> None:
    serverless_env.run()
    (run,) = serverless_env.job_runs
    (observation,) = serverless_env.observed
    bill = observation.metadata["job_run"].value
    # 4 workers of 4 vCPU and 16 GB, from SCHEDULED to the end
    hours = {used["resource"]: used["amount"] for used in bill["usage"]}
    assert hours == {
        "vCPU": round(16 * run.billed_seconds / 3600, 3),
        "memory": round(64 * run.billed_seconds / 3600, 3),
    }
    usd = 0.05 * hours["vCPU"] + 0.006 * hours["memory"]
    assert observation.metadata["cost_usd"].value == pytest.approx(usd, abs=0.0001)
    assert observation.metadata["cost_share"].value == 1


def test_a_cluster_and_a_job_run_of_the_same_asset_stand_side_by_side_in_the_ledger(
    serverless_env: ServerlessEnv,
) -> None:
    EmrEnv(serverless_env.account, serverless_env.clock, serverless_env.instance).run()
    known = CostLedger(target="emr", prices={"m5.xlarge": 0.36}).entries([])
    serverless_env.run()  # the deployment has moved
    prices = {"m5.xlarge": 0.36, **serverless_env.defaults["prices"]}
    cluster, job_run = CostLedger(target="emr-serverless", prices=prices).entries(known)
    assert [(entry.service, entry.asset, entry.final) for entry in (cluster, job_run)] == [
        (EMR, "answer", True),
        (EMR_SERVERLESS, "answer", True),
    ]
    billed = serverless_env.account.aws.call(
        "emr-serverless", "get_job_run", applicationId=serverless_env.job_runs[0].application_id,
        jobRunId=serverless_env.job_runs[0].id,
    )["jobRun"]["billedResourceUtilization"]  # fmt: skip
    assert job_run.usd == pytest.approx(
        billed["vCPUHour"] * 0.05 + billed["memoryGBHour"] * 0.006 + billed["storageGBHour"] * 0.0001, abs=1e-6
    )
    assert cluster.usd == pytest.approx(cluster.instance_seconds / 3600 * 0.36, abs=1e-6)


@pytest.mark.extended
def test_without_prices_there_is_no_sum_and_no_failure(serverless_env: ServerlessEnv) -> None:
    serverless_env.run(prices={})
    (observation,) = serverless_env.observed
    assert "cost_usd" not in observation.metadata
    assert any("price not known" in line for line in serverless_env.log)


def test_a_lost_response_makes_no_second_job_run(serverless_env: ServerlessEnv) -> None:
    serverless_env.account.fault("lost_response", operation="StartJobRun", times=2)
    serverless_env.account.fault("lost_response", operation="CreateApplication")
    assert serverless_env.run() == Total(6)
    assert serverless_env.states == ["SUCCESS"]
    assert len(serverless_env.account.emulator.applications()) == 1


@pytest.mark.extended
def test_throttling_is_no_failure(serverless_env: ServerlessEnv) -> None:
    serverless_env.account.fault("throttle", times=None, rate=0.3)
    assert serverless_env.run() == Total(6)
    assert serverless_env.states == ["SUCCESS"]


class Killed(BaseException):
    """Stands for SIGKILL."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize(
    "when",
    [
        "after the call",
        *(
            pytest.param(when, marks=pytest.mark.extended)
            for when in ("before the call", "while it runs", "at its end")
        ),
    ],
)
def test_a_retry_after_a_kill_takes_up_the_job_run(
    serverless_env: ServerlessEnv, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    start, poll = JobRuns.start, EmrServerlessBackend.poll

    def killed_at_start(self: JobRuns, request: Any) -> JobRunId:
        if when == "after the call":
            start(self, request)
        raise Killed

    def killed_while(self: EmrServerlessBackend, handle: Any) -> Any:
        found = poll(self, handle)
        if found.words == ("RUNNING" if when == "while it runs" else "SUCCESS"):
            raise Killed
        return found

    def work(context: dg.AssetExecutionContext, spark: EmrServerlessSparkRunner) -> Total:
        with monkeypatch.context() as patched:
            if "call" in when:
                patched.setattr(JobRuns, "start", killed_at_start)
            else:
                patched.setattr(EmrServerlessBackend, "poll", killed_while)
            patched.setattr(JobRuns, "cancel", killed)  # a killed process cancels nothing
            with pytest.raises(Killed):
                spark.run(context, add_up, PARAMS)
        return spark.run(context, add_up, PARAMS)

    serverless_env.clock.result_when = frozenset({"SUCCESS"})
    assert serverless_env.materialize(work) == Total(6)
    assert len(serverless_env.job_runs) == 1
    if when == "while it runs":
        assert any("of an earlier attempt, which is RUNNING" in line for line in serverless_env.log)


def test_a_retry_after_a_failure_makes_another_attempt(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(seconds=10, exit_code=1)

    def work(context: dg.AssetExecutionContext, spark: EmrServerlessSparkRunner) -> Total:
        with pytest.raises(dg.Failure):
            spark.run(context, add_up, PARAMS)
        serverless_env.program(seconds=10)
        serverless_env.clock.result = {"total": 6}
        return spark.run(context, add_up, PARAMS)

    assert serverless_env.materialize(work, log_wait_seconds=0) == Total(6)
    assert serverless_env.states == ["FAILED", "SUCCESS"]
    tokens = [run.request["clientToken"] for run in serverless_env.job_runs]
    assert [token[-2:] for token in tokens] == ["-1", "-2"]


def test_a_failed_program_is_explained_from_the_drivers_log(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(
        seconds=10,
        exit_code=1,
        stdout='Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: no such colour\n',
    )
    with pytest.raises(Failed) as failed:
        serverless_env.run()
    assert str(failed.value).startswith("The program raised ValueError: no such colour.")
    assert "SPARK_DRIVER/stdout.gz" in str(failed.value)
    assert len(serverless_env.observed) == 1  # it is billed, too


@pytest.mark.extended
def test_a_program_that_leaves_no_result_is_no_success(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(seconds=10)
    with pytest.raises(Failed, match="left no result"):
        serverless_env.run()


@pytest.mark.parametrize(
    ("settings", "says", "state"),
    [
        ({"running_minutes": 5}, "The program was not done after 5 minutes", "CANCELLED"),
        ({"provisioning_minutes": 0.1}, "The job run had no workers after 6 seconds", "CANCELLED"),
    ],
)
def test_a_deadline_cancels_the_job_run(
    serverless_env: ServerlessEnv, settings: dict[str, Any], says: str, state: str
) -> None:
    serverless_env.program(seconds=100_000)
    with pytest.raises(Failed, match=says):
        serverless_env.run(**settings)
    assert serverless_env.states == [state]


@pytest.mark.extended
def test_a_job_run_that_somebody_cancels(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(seconds=100_000)
    pause = ServerlessClock.pause

    def cancelled_by_somebody(self: ServerlessClock, seconds: float, until: threading.Event | None = None) -> None:
        for run in serverless_env.job_runs:
            if str(run.state) == "RUNNING":
                JobRuns(serverless_env.account.aws).cancel(JobRunId(run.application_id, run.id), 0)
        pause(self, seconds, until)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ServerlessClock, "pause", cancelled_by_somebody)
        with pytest.raises(Failed, match="The job run was cancelled from outside this run"):
            serverless_env.run()


@pytest.mark.parametrize("when", ["it runs", pytest.param("it starts", marks=pytest.mark.extended)])
def test_an_interrupt_cancels_the_job_run(
    serverless_env: ServerlessEnv, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    serverless_env.program(seconds=100_000)
    start, pause = JobRuns.start, ServerlessClock.pause

    def interrupted_at_start(self: JobRuns, request: Any) -> JobRunId:
        monkeypatch.setattr(JobRuns, "start", start)
        start(self, request)
        raise KeyboardInterrupt

    def interrupted_while_it_runs(self: ServerlessClock, seconds: float, until: threading.Event | None = None) -> None:
        if threading.current_thread() is threading.main_thread() and "RUNNING" in serverless_env.states:
            monkeypatch.setattr(ServerlessClock, "pause", pause)
            raise KeyboardInterrupt
        pause(self, seconds, until)

    if when == "it starts":
        monkeypatch.setattr(JobRuns, "start", interrupted_at_start)
    else:
        monkeypatch.setattr(ServerlessClock, "pause", interrupted_while_it_runs)
    with pytest.raises(INTERRUPTED):
        serverless_env.run()
    serverless_env.account.emulator.advance(60)
    assert serverless_env.states == ["CANCELLED"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"execution_role": "jobs"}, "execution_role is 'jobs'; allowed: the ARN of the job runs' role"),
        ({"execution_role": ""}, "EMR_PIPELINES_EXECUTION_ROLE is ''; allowed"),
        ({"spark_config": {"spark.driver.cores": "3"}}, "spark.driver.cores is 3; allowed: 1, 2, 4, 8 or 16"),
        ({"spark_config": {"spark.executor.memory": "40g"}}, "spark.executor.memory is '40g'; allowed: 8 to 30 GB"),
        ({"spark_config": {"spark.emr-serverless.driver.disk": "500g"}}, "allowed: 20g to 200g"),
        ({"spark_config": {"spark.a": "x" * 102_401}}, "The Spark settings is"),
        ({"application": {"id": "00fnothere"}}, "allowed: the id of an application in this account and region"),
    ],
)
def test_mistakes_are_said_before_anything_starts(
    serverless_env: ServerlessEnv, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(Failed) as failed:
        serverless_env.run(**settings)
    assert says in str(failed.value)
    assert serverless_env.job_runs == []
    assert "StartJobRun" not in str(serverless_env.account.emulator.applications())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"application": {"driver": {"cores": 3}}}, "application.driver.cores is 3; allowed: 1, 2, 4, 8 or 16"),
        ({"application": {"driver": {"memory_gb": 40}}}, "application.driver.memory_gb is 40; allowed: 8 to 30"),
        ({"application": {"maximum": {"cpu": 4}}}, "application.maximum.cpu is 4; allowed: 8 or more"),
        ({"application": {"nmae": "x"}}, "did you mean 'name'?"),
        ({"application": {"release_label": "emr-6.2.0"}}, "allowed: emr-6.9.0 or later for EMR Serverless"),
        ({"application": {"extra": {"name": "x"}}}, "application.extra.name"),
        ({"application": {"tags": {"team": "données"}}}, "allowed: letters of English"),
        ({"application": {"image": "mine:latest"}}, "application.image is 'mine:latest'; allowed: <account>.dkr.ecr"),
        ({"prices": {"vcpu": 1}}, "A name in prices is 'vcpu'"),
        ({"prices": {"vcpu_hour": -1}}, "prices.vcpu_hour is -1"),
    ],
)
def test_mistakes_are_said_when_definitions_load(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        EmrServerlessSparkRunner(**settings)
    assert says in str(refused.value)


def test_an_application_of_the_users_own(serverless_env: ServerlessEnv) -> None:
    aws = serverless_env.account.aws
    made = aws.call(
        "emr-serverless", "create_application", name="own", releaseLabel="emr-7.14.0", type="SPARK",
        architecture="ARM64", clientToken="own",
        maximumCapacity={"cpu": "8 vCPU", "memory": "32 GB"},
    )["applicationId"]  # fmt: skip
    with pytest.raises(Failed, match=r"application\.architecture is 'x86_64'; allowed: arm64, which application"):
        serverless_env.run(application={"id": made})
    arm = {"id": made, "architecture": "arm64"}
    with pytest.raises(Failed, match=r"application\.release_label is 'emr-7\.0\.0'; allowed: emr-7\.14\.0"):
        serverless_env.run(application={**arm, "release_label": "emr-7.0.0"})
    with pytest.raises(Failed, match=r"The maximum cpu of application .* is '8 vCPU'.*need 12"):
        serverless_env.run(application={**arm, "driver": {"cores": 8}})
    assert serverless_env.job_runs == []
    assert serverless_env.run(application=arm) == Total(6)
    assert len(serverless_env.account.emulator.applications()) == 1


OPERATIONS = (
    "ListApplications", "CreateApplication", "GetApplication", "StartJobRun", "GetJobRun", "GetDashboardForJobRun",
)  # fmt: skip


@pytest.mark.extended
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", ["throttle", "server_error", "lost_response"])
def test_a_fault_of_any_call_fails_nothing_and_doubles_nothing(
    serverless_env: ServerlessEnv, fault: str, operation: str
) -> None:
    serverless_env.account.fault(fault, operation=operation, times=3)
    assert serverless_env.run() == Total(6)
    assert serverless_env.states == ["SUCCESS"]
    assert len(serverless_env.account.emulator.applications()) == 1
    assert serverless_env.account.emulator.faults.struck(fault) == 3 or operation == "GetDashboardForJobRun"


@pytest.mark.extended
@pytest.mark.parametrize("fault", ["throttle", "server_error", "lost_response"])
def test_a_fault_of_the_cancelling_call_leaves_nothing_running(serverless_env: ServerlessEnv, fault: str) -> None:
    serverless_env.account.fault(fault, operation="CancelJobRun", times=3)
    serverless_env.program(seconds=100_000)
    with pytest.raises(Failed, match="The program was not done"):
        serverless_env.run(running_minutes=1)
    assert serverless_env.states == ["CANCELLED"]


@pytest.mark.extended
@pytest.mark.parametrize("state", ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING"])
def test_a_failure_of_the_service_is_retried(serverless_env: ServerlessEnv, state: str) -> None:
    serverless_env.clock.result_when = frozenset({"SUCCESS"})
    serverless_env.account.fault("job_run_fails", state=state)
    assert serverless_env.run(retries=1) == Total(6)
    assert serverless_env.states == ["FAILED", "SUCCESS"]
    assert any("EMR Serverless failed to run the job: Internal service error" in line for line in serverless_env.log)


@pytest.mark.extended
@pytest.mark.parametrize("state", ["PENDING", "SCHEDULED"])
def test_a_job_run_that_gets_no_workers_is_cancelled(serverless_env: ServerlessEnv, state: str) -> None:
    serverless_env.account.fault("job_run_hangs", state=state)
    with pytest.raises(Failed, match=f"had no workers after 5 minutes: it was still {state}"):
        serverless_env.run(provisioning_minutes=5)
    assert serverless_env.states == ["CANCELLED"]


def test_a_driver_that_is_killed_ran_out_of_memory(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(seconds=1000)
    serverless_env.account.fault("step_killed", step="answer*", after_seconds=5)
    with pytest.raises(Failed, match="The program ran out of memory"):
        serverless_env.run()


@pytest.mark.extended
def test_logs_that_never_come_hide_nothing(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(seconds=10, exit_code=1, stderr="ValueError: no such colour\n")
    serverless_env.account.fault("logs_never")
    with pytest.raises(Failed, match=r"EMR Serverless says: Job failed.*no such colour"):
        serverless_env.run(log_wait_seconds=60)


def test_the_encryption_that_is_set_is_asked_of_spark_and_of_the_logs(
    serverless_env: ServerlessEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    monkeypatch.setenv("EMR_PIPELINES_KMS_KEY", key)
    serverless_env.run()
    (run,) = serverless_env.job_runs
    parameters = run.request["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]
    assert f"--conf spark.hadoop.fs.s3a.encryption.key={key}" in parameters
    logs = run.request["configurationOverrides"]["monitoringConfiguration"]["s3MonitoringConfiguration"]
    assert logs["encryptionKeyArn"] == key


@pytest.mark.extended
def test_an_attempt_whose_application_was_deleted_is_given_up(
    serverless_env: ServerlessEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = serverless_env.account.aws

    def work(context: dg.AssetExecutionContext, spark: EmrServerlessSparkRunner) -> Total:
        with monkeypatch.context() as patched:
            patched.setattr(JobRuns, "start", killed)
            with pytest.raises(Killed):
                spark.run(context, add_up, PARAMS)
        serverless_env.account.emulator.advance(60)
        (application,) = serverless_env.account.emulator.applications()
        aws.call("emr-serverless", "delete_application", applicationId=application.id)
        return spark.run(context, add_up, PARAMS)

    assert serverless_env.materialize(work) == Total(6)
    assert serverless_env.states == ["SUCCESS"]
    assert any("Attempt 1 did not begin: " in line for line in serverless_env.log)


JAR = spark_jar(
    "totals", "s3://emr-tests/totals.jar", "org.example.Totals", "2026 11", conf={"spark.driver.cores": "2"}
)


def test_a_jar_runs_as_a_step(serverless_env: ServerlessEnv) -> None:
    found = serverless_env.materialize(lambda context, spark: spark.run_step(context, JAR))
    (run,) = serverless_env.job_runs
    assert (found.id.run, str(found.state)) == (run.id, "SUCCESS")
    driver = run.request["jobDriver"]["sparkSubmit"]
    assert driver["entryPoint"] == "s3://emr-tests/totals.jar"
    assert driver["entryPointArguments"] == ["2026 11"]
    assert driver["sparkSubmitParameters"].endswith("--class org.example.Totals --conf spark.driver.cores=2")
    assert "--deploy-mode" not in driver["sparkSubmitParameters"]
    assert run.request["name"].startswith("answer ")
    assert run.request["name"].endswith(" 0 totals")
    assert len(serverless_env.observed) == 1


def test_all_attempts_at_a_step_count_as_one(serverless_env: ServerlessEnv) -> None:
    def work(context: dg.AssetExecutionContext, spark: EmrServerlessSparkRunner) -> None:
        first, second = spark.run_step(context, JAR), spark.run_step(context, JAR)
        assert first.id == second.id

    serverless_env.materialize(work)
    assert serverless_env.states == ["SUCCESS"]


def test_a_step_that_fails_is_explained(serverless_env: ServerlessEnv) -> None:
    serverless_env.program(
        seconds=5, exit_code=1, stderr='Exception in thread "main" java.lang.IllegalStateException: no totals\n'
    )
    with pytest.raises(Failed, match="IllegalStateException: no totals"):
        serverless_env.materialize(lambda context, spark: spark.run_step(context, JAR))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (hive_script("a", "s3://emr-tests/a.q"), "The command of a step is 'hive-script'; allowed: spark-submit"),
        (shell_command("a", "ls"), "The command of a step is 'bash'"),
        (spark_submit("a", "s3://emr-tests/a.py", queue="q"), "'--queue'; allowed: others: there is no YARN"),
        (spark_submit("a", "s3://emr-tests/a.py", options=["--master", "yarn"]), "EMR Serverless is the master"),
        (Step("a", ("spark-submit", "--class", "A")), "one with a program"),
    ],
)
def test_a_step_that_cannot_run_is_refused_before_anything_starts(
    serverless_env: ServerlessEnv, step: Step, says: str
) -> None:
    with pytest.raises(Failed) as refused:
        serverless_env.materialize(lambda context, spark: spark.run_step(context, step))
    assert says in str(refused.value)
    assert serverless_env.account.emulator.applications() == []
