"""All resources: run config changes the settings that it names, and no others."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from emr_pipelines.assets.costs import SparkCostsConfig
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage

EMR: dict[str, Any] = {
    "bucket": "my-bucket",
    "cluster": {"preset": "spot", "tags": {"a": "b"}},
    "scope": "asset",
    "pool_size": 3,
    "deploy_mode": "cluster",
    "queue": "nightly",
    "spark_config": {"spark.executor.memory": "9g"},
    "jars": ["s3://b/a.jar"],
    "files": ["s3://b/a.conf"],
    "ship_dependencies": False,
    "provisioning_minutes": 7.0,
    "queueing_minutes": 8.0,
    "running_minutes": 9.0,
    "log_wait_seconds": 0.0,
    "retries": 0,
    "retry_delay_seconds": 0.0,
    "prices": {"m5.xlarge spot": 0.12},
}


def within_a_run(resource: Any, config: dict[str, Any]) -> Any:
    with dg.build_resources({"any": resource}, resource_config={"any": {"config": config}}) as resources:
        return resources.any


@pytest.mark.parametrize("told_at_launch", EMR)
def test_run_config_of_one_setting_leaves_the_others(told_at_launch: str) -> None:
    assert set(EMR) == set(EmrSparkRunner.model_fields)
    runner = within_a_run(EmrSparkRunner(**EMR), {told_at_launch: EMR[told_at_launch]})
    assert {name: getattr(runner, name) for name in EMR} == EMR


def test_run_config_goes_over_what_python_says_even_with_a_default() -> None:
    fields = EmrSparkRunner.model_fields
    config = {
        name: fields[name].default for name in ("retries", "scope", "queue", "ship_dependencies", "jars", "bucket")
    }
    runner = within_a_run(EmrSparkRunner(**EMR), {**config, "cluster": {}, "spark_config": {}})
    assert {name: getattr(runner, name) for name in config} == config
    assert (runner.spec().tags, runner.spark_config, runner.pool_size) == ({}, {}, 3)


def test_so_it_is_with_the_others() -> None:
    local = within_a_run(LocalSparkRunner(master="local[2]", spark_config={"a": "b"}), {"master": "local[3]"})
    assert (local.master, local.spark_config) == ("local[3]", {"a": "b"})
    storage = within_a_run(Storage(uri="s3://b-b/data", keep_versions=2), {"keep_versions": 9})
    assert (storage.uri, storage.keep_versions) == ("s3://b-b/data", 9)


def test_a_job_with_run_config_keeps_them_too() -> None:
    seen = []

    @dg.op
    def look(spark: EmrSparkRunner) -> None:
        seen.append((spark.bucket, spark.cluster, spark.retries))

    @dg.job(resource_defs={"spark": EmrSparkRunner(bucket="my-bucket", cluster={"tags": {"a": "b"}})})
    def any_job() -> None:
        look()

    assert any_job.execute_in_process({"resources": {"spark": {"config": {"retries": 7}}}}).success
    assert seen == [("my-bucket", {"tags": {"a": "b"}}, 7)]


def test_an_assets_settings_in_python_have_names_too() -> None:
    with pytest.raises(dg.Failure, match="'daily_budget'; did you mean 'daily_budget_usd'") as caught:
        SparkCostsConfig(daily_budget=1)  # type: ignore[call-arg]
    assert str(caught.value.description).startswith("A setting of SparkCostsConfig is 'daily_budget'; did you mean")


def test_run_config_with_a_mistake_fails_the_step_that_uses_the_resource() -> None:
    storage = within_a_run(Storage(), {"keep_versions": 0})
    with pytest.raises(dg.Failure) as caught:
        storage.latest(dg.AssetKey("any"))
    assert caught.value.description == "keep_versions is 0; allowed: greater than or equal to 1."
    assert not caught.value.allow_retries
