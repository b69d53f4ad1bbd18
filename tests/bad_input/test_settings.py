"""Run config of assets and runners, and the environment, with values that are not allowed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.assets.costs import spark_costs
from emr_pipelines.aws.deployment import base_uri, deployment_name
from emr_pipelines.environment import target
from emr_pipelines.errors import InvalidValue
from emr_pipelines.pipelines.pi.assets import pi_estimates
from emr_pipelines.pipelines.word_count.assets import input_text, word_counts
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.ledger import CostLedger
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.runners.target import InvalidEnvironment, configured_runner
from emr_pipelines.storage import Storage
from tests.bad_input.conftest import Shelf, validate_sentence
from tests.emr_env import EmrEnv, Failed

LONG = "x" * 100_000


def _never(*_: Any, **__: Any) -> None:
    raise AssertionError("Spark was started")


def refusal(shelf: Shelf, instance: dg.DagsterInstance, config: dict[str, Any]) -> str:
    """Return the message for a run with this config: Dagster's refusal, or the failure of its step."""
    ops = {op: {"config": settings} for op, settings in config.items() if op != "resources"}
    name = next(iter(ops), "input_text")
    try:
        run = dg.materialize(
            [input_text, word_counts, pi_estimates, spark_costs],
            selection=[name],
            instance=instance,
            resources={"spark": LocalSparkRunner(), "ledger": CostLedger(), "storage": shelf.storage},
            run_config={"ops": ops, "resources": config.get("resources", {})},
            raise_on_error=False,
        )
    except dg.DagsterInvalidConfigError as error:  # before the run begins
        return " ".join(entry.message for entry in error.errors)
    assert not run.success
    (failure,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return str(failure.user_failure_data.description)


# Dagster reports a wrong type, with its path; bounds are this package's
OF_ASSETS: list[tuple[dict[str, Any], str]] = [
    ({"input_text": {"sources": "books/*.txt"}}, "at path root:ops:input_text:config:sources must be list"),
    ({"input_text": {"sources": [3]}}, 'Invalid scalar at path root:ops:input_text:config:sources[0]'),
    ({"input_text": {"sources": None}}, "sources is None; allowed: a valid list."),
    ({"input_text": {"sources": ["  "]}}, "A source is '  '; allowed: a file, a folder or a glob on this machine"),
    ({"input_text": {"sources": ["gs://bucket/x"]}}, "A source is 'gs://bucket/x'; allowed: a file"),
    ({"word_counts": {"min_count": 2**63}}, f"min_count is {2**63}; allowed: less than or equal to {2**63 - 1}."),
    ({"word_counts": {"min_count": "2"}}, "root:ops:word_counts:config:min_count"),
    ({"word_counts": {"top": 1001}}, "top is 1001; allowed: less than or equal to 1000."),
    ({"word_counts": {"top": 1.5}}, "root:ops:word_counts:config:top"),
    ({"word_counts": {"case_sensitive": "yes"}}, "root:ops:word_counts:config:case_sensitive"),
    ({"word_counts": {"stop_words": [""]}}, "stop_words is ''; allowed: one word each"),
    ({"word_counts": {"stop_words": ["the", None]}}, "root:ops:word_counts:config:stop_words[1]"),
    ({"word_counts": {"stop_words": [LONG + " x"]}}, "…; allowed: one word each"),
    ({"word_counts": {"count_min": 1}}, 'unexpected config entry "count_min" at path root:ops:word_counts:config'),
    ({"pi_estimates": {"samples": [10**15 + 1]}}, "samples is 1000000000000001; allowed: 1 to 1,000,000,000,000,000"),
    ({"pi_estimates": {"samples": [0.5]}}, "root:ops:pi_estimates:config:samples[0]"),
    ({"pi_estimates": {"samples": {}}}, "root:ops:pi_estimates:config:samples must be list"),
    ({"pi_estimates": {"seed": 2**63}}, f"seed is {2**63}; allowed: less than or equal to {2**63 - 1}."),
    ({"pi_estimates": {"partitions": 100_001}}, "partitions is 100001; allowed: less than or equal to 100000."),
    ({"spark_costs": {"daily_budget_usd": -0.01}}, "daily_budget_usd is -0.01; allowed: greater than or equal to 0."),
    ({"spark_costs": {"daily_budget_usd": "much"}}, "root:ops:spark_costs:config:daily_budget_usd"),
    ({"spark_costs": {"daily_budget_usd": math.nan}}, "daily_budget_usd is nan; allowed: greater than"),
    ({"spark_costs": {"most_idle_share": 50}}, "most_idle_share is 50.0; allowed: less than or equal to 1."),
    ({"resources": {"storage": {"config": {"keep_versions": 1.5}}}}, "root:resources:storage:config:keep_versions"),
    ({"resources": {"storage": {"config": {"url": "data"}}}}, 'unexpected config entry "url" at path root:resources'),
    ({"resources": {"storage": {"config": {"uri": ["data"]}}}}, "root:resources:storage:config:uri"),
    ({"resources": {"storage": {"config": {"uri": "gs://b/x"}}}}, "The storage 'gs://b/x' is not allowed; allowed: a"),
    ({"resources": {"spark": {"config": {"spark_config": {"a": 1}}}}}, "root:resources:spark:config:spark_config"),
    ({"resources": {"spark": {"config": {"spark_config": []}}}}, "root:resources:spark:config:spark_config"),
    ({"resources": {"spark": {"config": {"master": 2}}}}, "root:resources:spark:config:master"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "says"), OF_ASSETS, ids=[says[:60] for _, says in OF_ASSETS])
def test_run_config(
    shelf: Shelf,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.setattr(LocalSparkRunner, "_session", _never)
    validate_sentence(refusal(shelf, instance, config).replace("\n", " "), says)


IN_PYTHON: list[tuple[type[Any], dict[str, Any], str]] = [
    (Storage, {"keep_versions": 0}, "keep_versions is 0; allowed: greater than or equal to 1."),
    (Storage, {"keep_versions": "all"}, "keep_versions is 'all'; allowed: a valid integer"),
    (Storage, {"uri": None}, "uri is None; allowed: a valid string."),
    (LocalSparkRunner, {"master": None}, "master is None; allowed: a valid string."),
    (LocalSparkRunner, {"spark_config": {"a": 1}}, "spark_config.a is 1; allowed: a valid string."),
    (EmrSparkRunner, {"running_minutes": math.inf}, "running_minutes is inf; allowed: 10,000,000 or less."),
    (EmrSparkRunner, {"provisioning_minutes": 1e308}, "provisioning_minutes is 1e+308; allowed: 10,000,000"),
    (EmrSparkRunner, {"queueing_minutes": math.nan}, "queueing_minutes is nan; allowed: greater than 0."),
    (EmrSparkRunner, {"log_wait_seconds": math.inf}, "log_wait_seconds is inf; allowed: 10,000,000 or less."),
    (EmrSparkRunner, {"retry_delay_seconds": -1}, "retry_delay_seconds is -1; allowed: greater than or equal to 0."),
    (EmrSparkRunner, {"prices": {"m5.xlarge": -1}}, "prices.m5.xlarge is -1.0; allowed: a number of USD, 0"),
    (EmrSparkRunner, {"prices": {"m5.xlarge": math.nan}}, "prices.m5.xlarge is nan; allowed: a number of USD"),
    (EmrSparkRunner, {"jars": "a.jar"}, "jars is 'a.jar'; allowed: a valid list."),
    (EmrSparkRunner, {"cluster": None}, "cluster is None; allowed: a mapping."),
    (EmrSparkRunner, {"bucket": None}, "bucket is None; allowed: a valid string."),
    (EmrSparkRunner, {"bucket": "my-bucket,other"}, "bucket is 'my-bucket,other'; allowed: a bucket: my-bucket"),
    (EmrSparkRunner, {"bucket": "my_bucket"}, "bucket is 'my_bucket'; allowed: a bucket that Spark can use; Spark can"),
    (EmrSparkRunner, {"bucket": "s3://a-b.v1.1/x"}, "bucket is 's3://a-b.v1.1/x'; allowed: a bucket that Spark can"),
    (EmrSparkRunner, {"retrys": 1}, "A setting of EmrSparkRunner is 'retrys'; did you mean 'retries'? Allowed: bucket"),
    (LocalSparkRunner, {"mastr": "local"}, "A setting of LocalSparkRunner is 'mastr'; did you mean 'master'? Allowed:"),
    (Storage, {"url": "data"}, "A setting of Storage is 'url'; did you mean 'uri'? Allowed: uri, keep_versions."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "says"), IN_PYTHON, ids=[says[:60] for _, _, says in IN_PYTHON])
def test_settings_in_python(kind: type[Any], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind(**settings)
    validate_sentence(str(caught.value), says)


ON_EMR: list[tuple[dict[str, Any], str]] = [
    ({"jars": ["no such.jar"]}, "jars is 'no such.jar'; allowed: names of letters, digits and"),
    ({"jars": ["nosuch.jar"]}, "jars is 'nosuch.jar'; allowed: a file that can be read (No such file or directory)"),
    ({"files": ["file:///etc/hosts"]}, "files is 'file:///etc/hosts'; allowed: a path on this machine without file:"),
    ({"spark_config": {"spark.x": "y" * 10_241}}, "allowed: up to 10,240 characters; put what is longer into a file"),
    ({"spark_config": {"spark.x": "a\x00b"}}, "allowed: characters of text, and no control characters"),
    ({"queue": "\x1b[31m"}, "allowed: characters of text, and no control characters"),
    ({"cluster": {"service_role": "a\x00b"}}, "emr.run_job_flow"),
    ({"cluster": {"tags": {"emr_pipelines:x": "y" * 300}}}, "The value of tag emr_pipelines:x"),
]


@pytest.mark.parametrize(("settings", "says"), ON_EMR, ids=[says[:60] for _, says in ON_EMR])
def test_settings_on_emr_launch_nothing(emr_env: EmrEnv, settings: dict[str, Any], says: str) -> None:
    with pytest.raises((InvalidValue, Failed)) as caught:
        emr_env.run(**settings)
    validate_sentence(str(caught.value), says)
    assert emr_env.account.emulator.clusters() == []
    assert [path for path in (emr_env.account.emulator.root / "buckets").rglob("*.json") if "steps" in path.parts] == []


OF_THE_ENVIRONMENT: list[tuple[str, str, str]] = [
    ("EMR_PIPELINES_SOURCE", "s3a://bucket/x", "A source is 's3a://bucket/x'; allowed: a file, a folder or a glob"),
    ("EMR_PIPELINES_DAILY_BUDGET_USD", "12,50", "EMR_PIPELINES_DAILY_BUDGET_USD is '12,50'; allowed: a number"),
    ("EMR_PIPELINES_DAILY_BUDGET_USD", "inf", "EMR_PIPELINES_DAILY_BUDGET_USD is 'inf'; allowed: a number, 0 or more."),
    ("EMR_PIPELINES_DAILY_BUDGET_USD", "-1", "EMR_PIPELINES_DAILY_BUDGET_USD is '-1'; allowed: a number, 0 or more."),
    ("EMR_PIPELINES_MOST_IDLE_SHARE", "50", "EMR_PIPELINES_MOST_IDLE_SHARE is '50'; allowed: a number, 0 to 1."),
    ("EMR_PIPELINES_MOST_IDLE_SHARE", "nan", "EMR_PIPELINES_MOST_IDLE_SHARE is 'nan'; allowed: a number, 0 to 1."),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "value", "says"), OF_THE_ENVIRONMENT)
def test_environment_of_assets(
    shelf: Shelf,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setattr(LocalSparkRunner, "_session", _never)
    monkeypatch.setenv(variable, value)
    asset = "input_text" if variable == "EMR_PIPELINES_SOURCE" else "spark_costs"
    validate_sentence(refusal(shelf, instance, {asset: {}}), says)


# what orphaned_clusters_sensor reads is in tests/automation/test_orphans.py, and addresses are in test_locations.py
OF_PLACES: list[tuple[dict[str, str], Callable[[], Any], str]] = [
    ({"EMR_PIPELINES_TARGET": "local,emr"}, target,
     "EMR_PIPELINES_TARGET is 'local,emr'; did you mean 'local'? Allowed: local, emr or emr-serverless."),
    ({"EMR_PIPELINES_TARGET": "yarn"}, target,
     "EMR_PIPELINES_TARGET is 'yarn'; allowed: local, emr or emr-serverless."),
    ({"EMR_PIPELINES_DEPLOYMENT": ".."}, deployment_name, "EMR_PIPELINES_DEPLOYMENT is '..'; allowed: 1 to 64 letters"),
    ({"EMR_PIPELINES_DEPLOYMENT": "data"}, deployment_name,
     "EMR_PIPELINES_DEPLOYMENT is 'data'; allowed: a name that is none of"),
    ({"EMR_PIPELINES_BUCKET": "my-bucket/a/data"}, base_uri,
     "EMR_PIPELINES_BUCKET is 'my-bucket/a/data'; allowed: a prefix whose"),
    ({"EMR_PIPELINES_DEPLOYMENT": "x" * 65}, deployment_name, "allowed: 1 to 64 letters, digits, dots"),
    ({"EMR_PIPELINES_DEPLOYMENT": "ünï"}, deployment_name, "EMR_PIPELINES_DEPLOYMENT is 'ünï'; allowed: 1 to 64"),
    ({"EMR_PIPELINES_DEPLOYMENT": "a\nb"}, deployment_name, "EMR_PIPELINES_DEPLOYMENT is 'a\\nb'; allowed: 1 to 64"),
    ({"EMR_PIPELINES_BUCKET": "s3://"}, base_uri, "EMR_PIPELINES_BUCKET is 's3://'; allowed: a bucket"),
    ({"EMR_PIPELINES_BUCKET": "s3a://bucket"}, base_uri, "EMR_PIPELINES_BUCKET is 's3a://bucket'; allowed: a bucket"),
    ({"EMR_PIPELINES_BUCKET": "My-Bucket"}, base_uri, "EMR_PIPELINES_BUCKET is 'My-Bucket'; allowed: a bucket"),
    ({"EMR_PIPELINES_BUCKET": "my-bucket/a//b"}, base_uri, "EMR_PIPELINES_BUCKET is 'my-bucket/a//b'; allowed: a"),
    ({"EMR_PIPELINES_BUCKET": "my-bucket/a b"}, base_uri, "EMR_PIPELINES_BUCKET is 'my-bucket/a b'; allowed: a bucket"),
    ({"EMR_PIPELINES_BUCKET": "my-bucket/../b"}, base_uri, "EMR_PIPELINES_BUCKET is 'my-bucket/../b'; allowed: a"),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "ask", "says"), OF_PLACES, ids=[says[:60] for _, _, says in OF_PLACES])
def test_environment_of_places(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], ask: Callable[[], Any], says: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidValue) as caught:
        ask()
    validate_sentence(str(caught.value), says)


@pytest.mark.parametrize("variable", ["EMR_PIPELINES_SERVICE_ROLE", "EMR_PIPELINES_INSTANCE_PROFILE"])
def test_environment_of_roles(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "my\x1brole")
    with pytest.raises(Failed) as failed:
        emr_env.run()
    assert "emr.run_job_flow" in str(failed.value)
    assert "pattern" in str(failed.value)  # EMR's name for it
    assert emr_env.account.emulator.clusters() == []


AT_LOAD: list[tuple[dict[str, str], str]] = [
    (
        {"EMR_PIPELINES_TARGET": "emmr"},
        "EMR_PIPELINES_TARGET is 'emmr'; did you mean 'emr'? Allowed: local, emr or emr-serverless.",
    ),
    ({"EMR_PIPELINES_BUCKET": "My-Bucket"}, "EMR_PIPELINES_BUCKET is 'My-Bucket'; allowed: a bucket"),
    ({"EMR_PIPELINES_DEPLOYMENT": "a/b"}, "EMR_PIPELINES_DEPLOYMENT is 'a/b'; allowed: 1 to 64 letters"),
    ({"EMR_PIPELINES_STORAGE": "gs://bucket"}, "The storage 'gs://bucket' is not allowed; allowed: a folder"),
    ({"EMR_PIPELINES_DAILY_BUDGET_USD": "12,50"}, "EMR_PIPELINES_DAILY_BUDGET_USD is '12,50'; allowed: a number"),
    ({"EMR_PIPELINES_MOST_IDLE_SHARE": "50"}, "EMR_PIPELINES_MOST_IDLE_SHARE is '50'; allowed: a number, 0 to 1."),
    ({"EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS": "0"}, "EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS is '0'; allowed: a number of"),
    ({"EMR_PIPELINES_ORPHAN_DRY_RUN": "maybe"}, "EMR_PIPELINES_ORPHAN_DRY_RUN is 'maybe'; allowed: 1, true, 0,"),
]


@pytest.mark.parametrize(("variables", "says"), AT_LOAD, ids=[says[:60] for _, says in AT_LOAD])
@pytest.mark.parametrize("where", ["local", "emr"])
def test_environment_is_judged_when_definitions_load(
    monkeypatch: pytest.MonkeyPatch, where: str, variables: dict[str, str], says: str
) -> None:
    for name, value in {"EMR_PIPELINES_TARGET": where, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidEnvironment) as caught:
        configured_runner()
    validate_sentence(str(caught.value), says)
    assert caught.value.format_message() == str(caught.value)  # the output of Dagster's commands


def test_a_command_of_dagster_prints_a_sentence_and_no_stack_trace(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "emr_pipelines.definitions", "-j", "pi_job"]
    environment = {**os.environ, "EMR_PIPELINES_TARGET": "emmr", "DAGSTER_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: EMR_PIPELINES_TARGET is 'emmr'; did you mean 'emr'? Allowed: local, emr or emr-serverless."
    )
    assert "Traceback" not in done.stderr
