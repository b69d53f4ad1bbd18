"""Bad days: full clusters, expiring credentials, and failures that the user must fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.backends.emr.steps import Step, shell_command
from emr_pipelines.runners.emr import EmrSparkRunner
from tests.account import ended
from tests.emr_env import PARAMS, EmrEnv, Failed
from tests.runners.programs import Total, add_up
from tests.tiers import extended

ACTION = {"bootstrap_actions": [{"name": "install", "path": "s3://b/i.sh"}]}


def fill(emr_env: EmrEnv, kind: str, spare: int = 0) -> None:
    """Add as many steps as the first cluster accepts."""
    steps = [Step(f"other {number}", (kind,)).request() for number in range(256 - spare)]
    emr_env.account.aws.call(
        "emr", "add_job_flow_steps", JobFlowId=emr_env.account.emulator.clusters()[0].id, Steps=steps
    )


def behind(emr_env: EmrEnv, kind: str) -> Any:
    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        spark.run_step(context, shell_command("first", "true"))
        fill(emr_env, kind)
        return spark.run(context, add_up, PARAMS)

    return work


# the cluster is full


def test_the_257th_step_waits_for_room(emr_env: EmrEnv) -> None:
    assert emr_env.materialize(behind(emr_env, "bash")) == Total(6)
    (cluster,) = emr_env.account.emulator.clusters()
    said = [line for line in emr_env.log if "the maximum that EMR allows" in line]
    told = (
        f"Cluster {cluster.id} has 256 running and pending steps, the maximum that EMR allows. This step is added as "
    )
    assert said == [f"{told}soon as another one ends."]


@pytest.mark.extended
def test_room_that_does_not_come_is_waited_for_as_long_as_a_step_may_queue(emr_env: EmrEnv) -> None:
    began = emr_env.clock.now()
    with pytest.raises(Failed, match="had not begun after 30 minutes: 256 unfinished steps were ahead of it") as failed:
        emr_env.materialize(behind(emr_env, "hour"), queueing_minutes=30, retries=2)
    assert 1800 < emr_env.clock.now() - began < 1800 + 1200  # one attempt, plus the cluster's own time
    metadata = failed.value.data.user_failure_data.metadata
    assert (metadata["kind"].value, "step_concurrency" in metadata["hint"].value) == ("TIMED_OUT", True)
    waits = [line for line in emr_env.log if line.startswith("Waiting for room on cluster j-")]
    assert 3 < len(waits) < 30  # at growing intervals
    assert "256 steps are running or pending" in waits[-1]


@pytest.mark.extended
def test_room_is_waited_for_while_emr_throttles(emr_env: EmrEnv) -> None:
    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        spark.run_step(context, shell_command("first", "true"))
        fill(emr_env, "bash")
        emr_env.account.fault("throttle", operation="AddJobFlowSteps", times=5)
        return spark.run(context, add_up, PARAMS)

    assert emr_env.materialize(work) == Total(6)


@pytest.mark.extended
def test_another_cluster_of_a_pool_has_room(emr_env: EmrEnv) -> None:
    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        spark.run_step(context, shell_command("first", "true"))
        fill(emr_env, "hour")
        return spark.run(context, add_up, PARAMS)

    assert emr_env.materialize(work, scope="pool", pool_size=2) == Total(6)
    first, second = emr_env.account.emulator.clusters()
    assert len(first.steps) == 257
    assert len(second.steps) == 1
    for cluster in (first, second):
        emr_env.account.clusters.terminate(cluster.id)
    emr_env.account.emulator.advance(1000)


# failures that the user must fix, and others


def test_a_bootstrap_script_that_fails_costs_one_cluster(emr_env: EmrEnv) -> None:
    emr_env.account.fault("bootstrap_fails", times=None, exit_code=7, stderr="no such package")
    emr_env.account.fault("logs_never", times=None)
    began = emr_env.clock.now()
    with pytest.raises(Failed, match="Fix the bootstrap action's script"):
        emr_env.run(retries=2, cluster=ACTION, log_wait_seconds=330)
    assert len(emr_env.account.emulator.clusters()) == 1
    assert emr_env.clock.now() - began < 300 + 90 + 60 + 60  # coming up, ending, flushing logs, and polling


def test_a_lost_primary_is_tried_again_without_a_wait_for_logs(emr_env: EmrEnv) -> None:
    emr_env.account.fault("primary_lost", after_seconds=60)
    emr_env.account.fault("logs_never", times=None)
    emr_env.clock.result_of_cluster = 1  # the second
    assert emr_env.run(retries=1, log_wait_seconds=330) == Total(6)
    assert len(emr_env.account.emulator.clusters()) == 2
    assert not [line for line in emr_env.log if line.startswith("Waiting for the logs")]


# credentials


class Rotated:
    """A credentials file that replaces those in the environment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "credentials"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self.file))
        self.rotate("OLD")

    def rotate(self, access_key: str) -> None:
        self.file.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = any\n")


@pytest.mark.parametrize("scope", ["run", extended("asset")])
def test_a_retry_with_new_credentials_finds_the_step_that_runs(
    emr_env: EmrEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    profile = Rotated(tmp_path, monkeypatch)
    emr_env.clock.result_when = frozenset({"COMPLETED"})
    emr_env.account.fault("expired_token", operation="DescribeStep", access_key="OLD", times=None)
    emr_env.account.fault("expired_token", operation="TerminateJobFlows", access_key="OLD", times=None)

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        if context.retry_number:
            profile.rotate("NEW")
        return spark.run(context, add_up, PARAMS)

    assert emr_env.materialize(work, retries=1, scope=scope) == Total(6)
    (cluster,) = emr_env.account.emulator.clusters()
    assert len(cluster.steps) == 1
    (said,) = [
        line
        for line in emr_env.log
        if "Retrying in 0 s (retry 1 of 1): the error does not come from your program" in line
    ]
    assert "aws sso login --profile default" in said
    assert f"Cluster {cluster.id} runs on until it has been idle for 15 min; a retry finds its steps." in said
    assert f"/_emulator/clusters/{cluster.id}" in said
    assert ended(emr_env.account)


def test_without_new_credentials_the_cluster_ends_when_it_is_idle(
    emr_env: EmrEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Rotated(tmp_path, monkeypatch)

    def expires(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        spark.run_step(context, shell_command("first", "true"))
        emr_env.account.fault("expired_token", operation="*Step*", access_key="OLD", times=None)
        emr_env.account.fault("expired_token", operation="TerminateJobFlows", access_key="OLD", times=None)
        return spark.run(context, add_up, PARAMS)

    with pytest.raises(Failed, match="ExpiredToken") as failed:
        emr_env.materialize(expires, retries=1)
    assert "aws sso login" in str(failed.value)
    assert "runs on until it has been idle for 15 min" in str(failed.value)
    profile.rotate("NEW")
    emr_env.account.emulator.advance(600 + 900 + 90)
    assert ended(emr_env.account)
