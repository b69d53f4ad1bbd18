"""The columns of the files that a program wrote."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from emr_pipelines.assets.fields import parquet_schema


def write(path: Path, column: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({column: [1]}), path)


def columns(folder: Path) -> list[str] | None:
    schema = parquet_schema(f"file://{folder}")
    return None if schema is None else [column.name for column in schema.columns]


@pytest.mark.parametrize(
    "hidden", ["_delta_log/0.checkpoint.parquet", "_temporary/0/part-0.parquet", ".a.parquet", "_metadata.parquet"]
)
def test_columns_are_those_of_files_that_spark_reads(tmp_path: Path, hidden: str) -> None:
    write(tmp_path / hidden, "hidden")
    assert columns(tmp_path) is None
    write(tmp_path / "part-0.parquet", "number")
    assert columns(tmp_path) == ["number"]


def test_columns_of_folders_come_after_those_of_files(tmp_path: Path) -> None:
    write(tmp_path / "table.parquet" / "_year=2026" / "day=1" / "part-0.parquet", "number")
    assert columns(tmp_path) == ["number", "_year", "day"]


def test_a_folder_that_is_not_there_has_no_columns(tmp_path: Path) -> None:
    assert columns(tmp_path / "nothing") is None
