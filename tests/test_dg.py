"""Dagster's command line `dg`, in the root of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import HUNG_SECONDS

ROOT = Path(__file__).parent.parent


def dg(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "EMR_PIPELINES_STORAGE": str(tmp_path / "storage"),
        "TMPDIR": str(tmp_path),
        "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={tmp_path}",
        "DG_CLI_CONFIG": str(tmp_path / "no-dg.toml"),  # without the developer's own settings
    }
    environ.pop("DAGSTER_HOME", None)
    command = [str(Path(sys.executable).with_name("dg")), *arguments]
    return subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HUNG_SECONDS
    )


@pytest.mark.extended
def test_check_defs(tmp_path: Path) -> None:
    answer = dg(tmp_path, "check", "defs")
    assert answer.returncode == 0, answer.stderr
    assert "All definitions loaded successfully." in answer.stdout


@pytest.mark.extended
def test_list_defs(tmp_path: Path) -> None:
    answer = dg(tmp_path, "list", "defs", "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    names = {kind: {entry.get("name") or entry["asset_key"] for entry in entries} for kind, entries in found.items()}
    assert names["assets"] == {"input_text", "word_counts", "pi_estimates", "spark_costs"}
    assert names["jobs"] == {"word_count_job", "pi_job", "spark_costs_job"}
    assert names["schedules"] == {"nightly_word_count", "daily_pi", "daily_spark_costs"}
    assert names["sensors"] == {"new_text_sensor", "orphaned_clusters_sensor"}
    described = [*found["assets"], *found["asset_checks"], *found["jobs"]]
    assert [entry for entry in described if not entry["description"]] == []


@pytest.mark.extended
def test_launch(tmp_path: Path) -> None:
    config = {"ops": {"pi_estimates": {"config": {"samples": [1000], "partitions": 1}}}}
    answer = dg(tmp_path, "launch", "--assets", "pi_estimates", "--config-json", json.dumps(config))
    assert answer.returncode == 0, answer.stderr
    published = json.loads((tmp_path / "storage" / "pi_estimates" / "latest.json").read_text())
    assert published["version"]


def test_nothing_stands_in_the_way_of_workspace_yaml() -> None:
    """With [tool.dg] or [tool.dagster] in pyproject.toml, `dagster` ignores workspace.yaml."""
    text = (ROOT / "pyproject.toml").read_text()
    assert [table for table in ("[tool.dg", "[tool.dagster") if table in text] == []
    workspace, project = (ROOT / "workspace.yaml").read_text(), (ROOT / "dg.toml").read_text()
    assert "module_name: emr_pipelines.definitions" in workspace
    assert 'code_location_target_module = "emr_pipelines.definitions"' in project
