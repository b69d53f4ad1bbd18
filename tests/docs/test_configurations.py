"""Dagster, ClusterSpec and AWS accept the manual's configurations."""

from __future__ import annotations

import configparser
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._check import CheckError
from dagster._config import process_config, resolve_to_config_type
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.instance.ref import InstanceRef
from dagster._core.workspace.config_schema import ensure_workspace_config
from dagster._serdes import ConfigurableClassData, class_from_code_pointer
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import create_engine

from docs import settings
from emr_pipelines.backends.emr.cluster import CONFIRMED_WITHIN_SECONDS
from emr_pipelines.definitions import defs
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from emr_pipelines.runners.emr_settings import EmrSettings
from emr_pipelines.runners.local import LocalSparkRunner
from tests.docs.blocks import blocks, file_blocks, page

INSTANCES = {name: text for name, text in file_blocks(page("deployment"), "yaml").items() if "dagster.yaml" in name}
RUN_CONFIGS: list[dict[str, Any]] = [
    found for found in map(yaml.safe_load, blocks(page("configuration"), "yaml")) if isinstance(found, dict)
]


def refused(config: Mapping[str, Any]) -> list[str]:
    """Return Dagster's errors about a run config."""
    spark = config.get("resources", {}).get("spark", {}).get("config", {})
    kinds: dict[str, type[SparkRunner]] = {"cluster": EmrSparkRunner, "application": EmrServerlessSparkRunner}
    runner = next((kind() for member, kind in kinds.items() if member in spark), LocalSparkRunner())
    project = dg.Definitions(
        assets=defs.assets,
        jobs=defs.jobs,
        executor=defs.executor,
        resources={**(defs.resources or {}), "spark": runner},
    )
    try:
        dg.validate_run_config(project.resolve_job_def("word_count_job"), dict(config))
    except DagsterInvalidConfigError as error:
        return [problem.message for problem in error.errors]
    return []


@pytest.mark.parametrize("config", RUN_CONFIGS)
def test_run_config(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY_PAIR", "pair")
    monkeypatch.setenv("MY_EXECUTOR_MEMORY", "9g")
    assert refused(config) == []
    spark = config.get("resources", {}).get("spark", {}).get("config", {})
    if "cluster" in spark:
        request = EmrSparkRunner(**spark).spec().request("name", "s3://bucket/logs/", {})
        assert request["Instances"]
    if "application" in spark:
        assert EmrServerlessSparkRunner(**spark).spec().request()["maximumCapacity"]["cpu"] == "200 vCPU"


def test_run_config_that_is_none_is_noticed() -> None:
    (problem,) = refused({"ops": {"word_counts": {"config": {"least_count": 2}}}})
    assert "least_count" in problem


def test_the_examples_show_what_they_say() -> None:
    clusters = [config["resources"]["spark"]["config"]["cluster"] for config in RUN_CONFIGS if "'core'" in str(config)]
    graviton, fleets, ranked = (
        EmrSparkRunner(cluster=cluster).spec().request("n", "s3://b/l/", {}) for cluster in clusters
    )
    assert {group["InstanceType"] for group in graviton["Instances"]["InstanceGroups"]} == {"m6g.xlarge"}
    assert [fleet["InstanceFleetType"] for fleet in fleets["Instances"]["InstanceFleets"]] == ["MASTER", "CORE", "TASK"]
    types = ranked["Instances"]["InstanceFleets"][1]["InstanceTypeConfigs"]
    assert {found["InstanceType"]: found["Priority"] for found in types} == {"m6i.2xlarge": 0, "m5.2xlarge": 1}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """That of the units."""
    (text,) = (text for name, text in file_blocks(page("deployment"), "ini").items() if name.endswith(".env"))
    found = dict(line.split("=", 1) for line in text.splitlines())
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def written(folder: Path, text: str) -> str:
    (folder / "dagster.yaml").write_text(text)
    return str(folder)


def checked(part: ConfigurableClassData) -> Mapping[str, Any]:
    """Check a class's config against its schema, and return it with the environment's values."""
    told: Any = class_from_code_pointer(part.module_name, part.class_name)
    result = process_config(resolve_to_config_type(told.config_type()), yaml.safe_load(part.config_yaml) or {})
    assert result.success, (part.class_name, result.errors)
    return result.value or {}


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.usefixtures("environment")
def test_dagster_takes_each_dagster_yaml(tmp_path: Path, name: str) -> None:
    ref = InstanceRef.from_dir(written(tmp_path, INSTANCES[name]))  # the schema of the whole
    parts = [part for part in ref if isinstance(part, ConfigurableClassData)]
    assert parts
    for part in parts:  # and of each class that it names, which the whole takes as it comes
        checked(part)


def test_postgres_is_reached_by_the_driver_that_is_there(tmp_path: Path, environment: dict[str, str]) -> None:
    """Without a server, check that SQLAlchemy can import the URL's driver."""
    ref = InstanceRef.from_dir(written(tmp_path, INSTANCES["dagster.yaml"]))
    assert ref.run_storage_data is not None
    url = pg_url_from_config(checked(ref.run_storage_data))
    assert f"@{environment['DAGSTER_PG_HOST']}:5432/{environment['DAGSTER_PG_DB']}" in url
    assert create_engine(url).dialect.driver == "psycopg2"


@pytest.mark.usefixtures("environment")
def test_logs_of_runs_come_to_the_bucket(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the whole file except Postgres with Dagster."""
    bucket = f"logs-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    monkeypatch.setenv("DAGSTER_LOGS_BUCKET", bucket)
    whole = yaml.safe_load(INSTANCES["dagster.yaml"])
    del whole["storage"]
    with dg.DagsterInstance.from_config(written(tmp_path, yaml.safe_dump(whole))) as instance:
        with instance.compute_log_manager.capture_logs(["run", "compute_logs", "step"]):
            os.write(1, b"from a run\n")
        monitored, retried = instance.run_monitoring_settings, instance.run_retries_max_retries
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert any(key.startswith("dagster-logs/") and key.endswith(".out") for key in keys)
    assert monitored["enabled"]
    assert retried == 2


@pytest.mark.parametrize("name", [name for name in INSTANCES if "in part" not in name])
def test_a_cancelled_run_has_the_time_to_end_its_cluster(name: str) -> None:
    monitoring = yaml.safe_load(INSTANCES[name])["run_monitoring"]
    assert monitoring["cancel_timeout_seconds"] > CONFIRMED_WITHIN_SECONDS + 60
    longest = (
        EmrSettings.model_fields["running_minutes"].default + EmrSettings.model_fields["provisioning_minutes"].default
    )
    assert monitoring["max_runtime_seconds"] > 60 * longest


def test_dagsters_own_launcher_resumes_no_run(tmp_path: Path) -> None:
    text = "run_monitoring: {enabled: true, max_resume_run_attempts: 1}"
    with pytest.raises(CheckError, match="does not support resuming runs"):
        dg.DagsterInstance.from_config(written(tmp_path, text))


def test_daemon_and_webserver_look_where_the_code_location_is() -> None:
    workspace = yaml.safe_load(file_blocks(page("deployment"), "yaml")["workspace.production.yaml"])
    ensure_workspace_config(workspace, "workspace.production.yaml")
    (target,) = workspace["load_from"]
    server = target["grpc_server"]
    unit = file_blocks(page("deployment"), "ini")["/etc/systemd/system/dagster-code.service"]
    assert f"--host {server['host']} --port {server['port']}" in unit
    assert f"--location-name {server['location_name']}" in unit


def test_the_units_environment_is_all_that_is_asked_for(environment: dict[str, str]) -> None:
    asked = set(re.findall(r"\{env: (\w+)\}", page("deployment")))
    ours = {name for name in environment if name.startswith("EMR_PIPELINES_")}
    assert asked <= environment.keys()
    assert ours <= settings.VARIABLES.keys()
    for name, text in file_blocks(page("deployment"), "ini").items():
        if name.endswith(".service"):
            unit = configparser.ConfigParser(interpolation=None)
            unit.read_string(text)
            assert unit["Service"]["EnvironmentFile"] == "/etc/emr_pipelines.env"
            assert unit["Service"]["User"] != "root"
