"""The examples on both lines of Spark in one emulated account: the release decides, and the results are the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emr_emulator import Durations, Emulator, find_sparks
from tests.other_spark import HERE, OTHER, other_spark
from tests.test_on_emr import TEXT, OnEmr

__all__ = ["other_spark"]

MOMENT = Durations(provisioning=0, bootstrapping=0, termination=0, log_push_interval=0.2)
MASTERS = ["local[2]", "local-cluster[2,1,1024]"]
# a bucket, a version, and how long it took
OF_THIS_RUN = re.compile(rb's3://of-[\d-]+/|\d{8}T\d{12}Z-[0-9a-f]{8}|"\w*seconds": [\d.e-]+')
ASSETS = "input_text,word_counts,pi_estimates"

pytestmark = pytest.mark.extended


@pytest.fixture(params=MASTERS)
def emulator(tmp_path: Path, other_spark: Path, request: pytest.FixtureRequest) -> Iterator[Emulator]:
    sparks = find_sparks(request.param, {OTHER.spark: other_spark})
    with Emulator(tmp_path / "emulator", durations=MOMENT, spark=sparks) as emulator:
        yield emulator


def content(root: Path, asset: str) -> list[bytes]:
    """The content of an asset's latest version, without when, where and in which time it was written.

    A Parquet file tells, beside its rows, which Spark wrote it, and has a random name. So it is a table here, in
    Arrow's format, which is the same to the byte for the same columns, types, rows and order of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    latest = json.loads((root / asset / "latest.json").read_text())
    found = []
    for path in sorted((root / asset / latest["version"]).rglob("*")):
        if path.suffix == ".parquet":
            buffer, table = pa.BufferOutputStream(), pq.read_table(path).replace_schema_metadata(None)
            table = table.drop_columns([name for name in table.column_names if "second" in name]).combine_chunks()
            with pa.ipc.new_stream(buffer, table.schema) as stream:
                stream.write_table(table)
            found.append(buffer.getvalue().to_pybytes())
        elif path.is_file() and path.name != "_published.json":
            found.append(OF_THIS_RUN.sub(b"", path.read_bytes()))
    return found


def test_the_results_are_the_same_to_the_byte(emulator: Emulator, tmp_path: Path) -> None:
    found: dict[str, dict[str, list[bytes]]] = {}
    for line in (HERE, OTHER):
        folder = tmp_path / line.spark
        folder.mkdir()
        on_emr = OnEmr(emulator, folder, f"of-{line.spark.replace('.', '-')}")
        (on_emr.text / "b.txt").write_text("Deux mots. " * 5 + TEXT.upper())
        spark: dict[str, Any] = {
            "ship_dependencies": False,
            "cluster": {"python": "python3", "release_label": line.newest},
            "log_wait_seconds": 30,
        }
        config = {
            "resources": {"spark": {"config": spark}},
            "ops": {"pi_estimates": {"config": {"samples": [1000, 5000], "seed": 7}}},
        }
        command = ("dagster", "asset", "materialize", "-m", "emr_pipelines.definitions", "--select", ASSETS)
        on_emr.run(*command, "--config-json", json.dumps(config))
        data = on_emr.objects / "default" / "data"
        found[line.spark] = {asset: content(data, asset) for asset in ASSETS.split(",")}
        assert ("To align them" in on_emr.log()) == (line is OTHER)
        (cluster,) = on_emr.clusters
        for step in on_emr.steps:
            log = on_emr.emulator.root / "logs" / cluster.id / "steps" / step.id
            assert f"Running Spark version {line.spark}" in (log / "stderr").read_text()
            assert "instead" not in (log / "controller").read_text()
    here, other = found.values()
    assert here["input_text"] == other["input_text"]
    assert here["word_counts"] == other["word_counts"]
    assert any(b"deux" in part for part in here["word_counts"])
    assert here["pi_estimates"] == other["pi_estimates"]
