"""Column metadata, from written files and from annotations behind a NewType or an alias."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NewType, Optional

import dagster as dg
import pyarrow as pa
import pytest
from pyarrow import parquet
from typing_extensions import TypeAliasType

from emr_pipelines.assets.fields import metadata_of, parquet_schema, settings_of, table_schema

Days = TypeAliasType("Days", Annotated[int, "In days."])  # what `type Days = Annotated[...]` makes of Python 3.12
Age = NewType("Age", Annotated[int, "In years."])


@dataclass(frozen=True)
class Row:
    days: Days
    age: Optional[Age]  # noqa: UP045 (a NewType has no | in Python 3.10)
    own: Annotated[Age, "In dog years."] = Age(0)


Line = TypeAliasType("Line", Row)
Rows = TypeAliasType("Rows", tuple[Line, ...])


@dataclass(frozen=True)
class Result:
    rows: Rows


def test_settings_have_the_type_and_the_description_of_what_is_hidden() -> None:
    fields = settings_of(Row)
    assert {name: field.config_type.given_name for name, field in fields.items() if name != "age"} == {
        "days": "Int",
        "own": "Int",
    }
    assert {name: field.description for name, field in fields.items()} == {
        "days": "In days.",
        "age": None,
        "own": "In dog years.",
    }


@pytest.mark.parametrize("schema", [lambda: table_schema(Row), lambda: _rows(Result((Row(1, Age(2)),)))])
def test_columns_have_the_type_of_what_is_hidden(schema: Any) -> None:
    found = [(column.name, column.type, column.constraints.nullable) for column in schema().columns]
    assert found == [("days", "int", False), ("age", "int", True), ("own", "int", False)]


def _rows(result: Result) -> dg.TableSchema:
    table = metadata_of(result)["rows"]
    assert [record.data for record in table.records] == [{"days": 1, "age": 2, "own": 0}]
    schema: dg.TableSchema = table.schema
    return schema


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
