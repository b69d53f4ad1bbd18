"""What the code location offers, pinned: a change here is a change for everybody who uses it."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg

from emr_pipelines.definitions import defs


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


def test_every_setting_is_described() -> None:
    from emr_pipelines.assets.pi import PiEstimatesConfig
    from emr_pipelines.assets.word_count import InputTextConfig, WordCountsConfig

    for config in (InputTextConfig, WordCountsConfig, PiEstimatesConfig):
        settings = config.to_config_schema().as_field().config_type.fields  # type: ignore[attr-defined]
        assert settings
        for name, setting in settings.items():
            assert setting.description, name


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
