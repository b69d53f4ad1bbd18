"""A snapshot of the code location: a change here affects every user."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.assets.costs import SparkCostsConfig
from emr_pipelines.automation.executor import in_process_by_default
from emr_pipelines.automation.jobs import REASON_TAG
from emr_pipelines.definitions import defs
from emr_pipelines.pipelines.pi.assets import PiEstimatesConfig
from emr_pipelines.pipelines.word_count.assets import InputTextConfig, WordCountsConfig
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage


def test_assets_and_checks() -> None:
    assets = {
        spec.key.to_user_string(): (
            spec.group_name,
            sorted(spec.kinds),
            [dep.asset_key.to_user_string() for dep in spec.deps],
        )
        for spec in defs.resolve_all_asset_specs()
    }
    assert assets == {
        "input_text": ("word_count", ["pyspark", "text"], []),
        "word_counts": ("word_count", ["parquet", "pyspark"], ["input_text"]),
        "pi_estimates": ("pi", ["parquet", "pyspark"], []),
        "spark_costs": ("operations", ["emr", "parquet"], []),
    }
    checks = {
        (spec.asset_key.to_user_string(), spec.name, spec.blocking)
        for asset in defs.assets or []
        for spec in asset.check_specs  # type: ignore[union-attr]
    }
    assert checks == {
        ("input_text", "not_empty", True),
        ("input_text", "all_bytes_decoded", False),
        ("word_counts", "counts_add_up", True),
        ("word_counts", "no_empty_word", True),
        ("pi_estimates", "monte_carlo_within_5_standard_errors", True),
        ("pi_estimates", "series_within_its_bound", True),
        ("spark_costs", "idle_share", False),
        ("spark_costs", "daily_budget", False),
    }


def test_every_asset_tells_what_it_is() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.description
        assert spec.owners == ["team:data-engineering"]
        assert spec.code_version
        assert spec.tags


def test_jobs_schedules_and_sensors_are_there_and_stopped() -> None:
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == {
        "word_count_job",
        "pi_job",
        "spark_costs_job",
    }
    assert {
        name: sorted(key.to_user_string() for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys)
        for name in ("word_count_job", "pi_job")
    } == {"word_count_job": ["input_text", "word_counts"], "pi_job": ["pi_estimates"]}
    schedules = {
        schedule.name: (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone, schedule.default_status)
        for schedule in repository.schedule_defs
    }
    assert schedules == {
        "nightly_word_count": ("word_count_job", "0 2 * * *", "UTC", dg.DefaultScheduleStatus.STOPPED),
        "daily_pi": ("pi_job", "0 6 * * *", "UTC", dg.DefaultScheduleStatus.STOPPED),
        "daily_spark_costs": ("spark_costs_job", "30 0 * * *", "UTC", dg.DefaultScheduleStatus.STOPPED),
    }
    sensors = {
        (sensor.name, tuple(target.job_name for target in sensor.targets), sensor.default_status)
        for sensor in repository.sensor_defs
    }
    assert sensors == {
        ("new_text_sensor", ("word_count_job",), dg.DefaultSensorStatus.STOPPED),
        ("orphaned_clusters_sensor", (), dg.DefaultSensorStatus.STOPPED),
    }
    assert all(schedule.description for schedule in repository.schedule_defs)
    assert all(sensor.description for sensor in repository.sensor_defs)


def test_what_a_schedule_asks_for_says_why() -> None:
    for schedule in defs.get_repository_def().schedule_defs:
        context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 1, tzinfo=timezone.utc))
        (request,) = schedule.evaluate_tick(context).run_requests or []
        assert request.tags[REASON_TAG].startswith(f"{schedule.name}: every ")


def settings_of(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Return the names of all fields of a config type, at any depth."""
    for name, setting in getattr(config, "fields", {}).items():
        yield f"{path}{name}", setting
        yield from settings_of(setting.config_type, f"{path}{name}.")
    if hasattr(config, "inner_type"):
        yield from settings_of(config.inner_type, path)


@pytest.mark.parametrize(
    ("config", "some"),
    [
        (InputTextConfig, {"sources"}),
        (WordCountsConfig, {"min_count", "stop_words", "case_sensitive", "top"}),
        (SparkCostsConfig, {"daily_budget_usd", "most_idle_share"}),
        (PiEstimatesConfig, {"samples", "seed", "decimals", "partitions"}),
        (Storage, {"uri", "keep_versions"}),
        (LocalSparkRunner, {"master", "spark_config"}),
        (
            EmrSparkRunner,
            {"scope", "cluster", "cluster.preset", "cluster.core.volumes.iops", "cluster.fleets.task.spot"},
        ),
    ],
)
def test_every_setting_is_described(config: type[dg.Config], some: set[str]) -> None:
    settings = dict(settings_of(config.to_config_schema().as_field().config_type))
    assert some <= settings.keys()
    assert [name for name, setting in settings.items() if not (setting.description or "").endswith(".")] == []
    required = [name for name, setting in settings.items() if setting.is_required]
    assert required == []


def test_the_executor_tells_its_settings_and_is_in_process_by_default() -> None:
    schema: Any = in_process_by_default.config_schema
    described = dict(settings_of(schema.config_type))
    assert {"in_process", "multiprocess", "multiprocess.max_concurrent"} <= described.keys()
    assert schema.default_value == {"in_process": {}}
    assert "max_concurrent: 2" in schema.as_field().description


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    heavy = (
        "pyspark",
        "pyarrow",
        "pandas",
        "numpy",
        "matplotlib",
        "boto3",
        "botocore",
        "moto",
        "dagster_pyspark",
        "dagster_aws",
    )
    script = f"import sys, emr_pipelines.definitions\nprint([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
