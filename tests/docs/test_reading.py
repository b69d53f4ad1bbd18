"""Run the code of docs/reading.md on data that test programs wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emr_pipelines.storage import Storage
from tests.docs.blocks import blocks, page

SQUARES, DAILY = dg.AssetKey("squares"), dg.AssetKey("daily")
OTHERS = ("pandas", "polars", "duckdb")  # readers have it, this project does not


def publish(storage: Storage, asset: dg.AssetKey, rows: dict[str, list[int]], partition: str | None = None) -> None:
    with storage.new_version(asset, "run", partition=partition) as version:
        folder = Path(version.uri.removeprefix("file://"))
        folder.mkdir(parents=True)
        pq.write_table(pa.table(rows), folder / "part-0.parquet")
        storage.publish(asset, version, "data", partition)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder, with a space in its name and two of three days published."""
    folder = tmp_path / "my data"
    monkeypatch.setenv("EMR_PIPELINES_STORAGE", str(folder))
    publish(Storage(), SQUARES, {"square": [0, 1, 4, 9]})
    for number in (2, 3):
        publish(Storage(), DAILY, {"n": list(range(number))}, f"2026-01-0{number}")
    return tmp_path


def code() -> list[str]:
    return blocks(page("reading"), "python")


def is_for_others(block: str) -> bool:
    return any(f"import {name}" in block for name in OTHERS)


def test_what_the_page_shows_reads_what_was_published(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {}
    for block in code():
        if not is_for_others(block):
            exec(compile(block, "reading.md", "exec"), found)  # noqa: S102 (what the page shows)
    first, *rest = capsys.readouterr().out.splitlines()
    published = Storage().require(SQUARES)
    assert first == f"{published.version} {published.published_at} file://{reader}/my data/squares/{published.version}"
    assert rest == ["4", "2", "2 of 3"]
    result = dg.materialize([found["largest_square"]], resources={"storage": Storage()})
    (event,) = result.asset_materializations_for_node("largest_square")
    assert (event.metadata["largest"].value, event.metadata["read_version"].value) == (9, published.version)


@pytest.mark.extended
def test_other_libraries_read_it_too(reader: Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", reader / "site", *OTHERS], check=True)
    script = reader / "read.py"
    blocks_of_it = [block for block in code()[:3] if "pyarrow" not in block]
    script.write_text(f"import sys\nsys.path.insert(0, {str(reader / 'site')!r})\n" + "".join(blocks_of_it))
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "4 4 [(9,)]"
