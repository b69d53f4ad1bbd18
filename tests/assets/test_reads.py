"""Which data of other assets a program gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.assets.program import program_asset
from emr_pipelines.storage import Storage
from tests.assets.test_program import Here, failure, run
from tests.patience import HUNG_SECONDS

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-11")
WRITTEN = dg.AssetKey("day")


@dataclass(frozen=True)
class Read:
    days: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    uris: tuple[str, ...]


@dataclass(frozen=True)
class One:
    day: str


def read_all(spark: Any, params: Read) -> Given:  # noqa: ARG001
    return Given(params.days)


def read_one(spark: Any, params: One) -> Given:  # noqa: ARG001
    return Given((params.day,))


def written(folder: Path, *days: str) -> list[str]:
    """Publish partitions without a program; return their URIs."""
    storage = Storage(uri=str(folder))
    for day in days:
        with storage.new_version(WRITTEN, "run", partition=day) as version:
            storage.write(WRITTEN, version, "part-0.txt", day.encode(), day)
            storage.publish(WRITTEN, version, day, day)
    return [storage.require(WRITTEN, day).uri for day in days]


def log(dagster: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in dagster.all_logs(result.run_id) if entry.level == 30]


DAY = dg.AssetSpec(WRITTEN, partitions_def=DAYS)


@pytest.fixture
def dagster() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_all_partitions_are_those_that_are_published(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    uris = written(tmp_path, "2026-01-02", "2026-01-05")
    result = run([DAY, program_asset(read_all, reads={"days": DAY})], dagster, tmp_path, only=["read_all"])
    (event,) = result.asset_materializations_for_node("read_all")
    assert event.metadata["uris"].value == uris
    assert event.metadata["absent_partitions"].value == 8
    assert log(dagster, result) == [
        (
            "Not published, and left out: 8 of the 10 partitions of day that this run reads: '2026-01-01', "
            "'2026-01-03', '2026-01-04', '2026-01-06', '2026-01-07' and 3 more."
        )
    ]


def test_when_none_is_absent_nothing_is_said(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    uris = written(tmp_path, *DAYS.get_partition_keys())
    result = run([DAY, program_asset(read_all, reads={"days": DAY})], dagster, tmp_path, only=["read_all"])
    (event,) = result.asset_materializations_for_node("read_all")
    assert (event.metadata["uris"].value, event.metadata["absent_partitions"].value) == (uris, 0)
    assert log(dagster, result) == []


def test_partitions_are_looked_for_at_the_same_time(
    dagster: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = written(tmp_path, *DAYS.get_partition_keys())
    require, two = Storage.require, threading.Barrier(2)

    def require_two(self: Storage, *arguments: Any) -> Any:
        two.wait(HUNG_SECONDS)
        return require(self, *arguments)

    monkeypatch.setattr(Storage, "require", require_two)
    result = run([DAY, program_asset(read_all, reads={"days": DAY})], dagster, tmp_path, only=["read_all"])
    (event,) = result.asset_materializations_for_node("read_all")
    assert event.metadata["uris"].value == uris  # in the order of the partitions


def test_when_none_is_published_the_run_fails(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    failed = run([DAY, program_asset(read_all, reads={"days": DAY})], dagster, tmp_path, only=["read_all"])
    assert failure(failed).startswith(
        "None of the 10 partitions of day that this run reads is published; materialize one first: "
        "'2026-01-01', '2026-01-02', '2026-01-03', '2026-01-04', '2026-01-05' and 5 more."
    )


def test_partitions_that_a_mapping_names_are_no_different(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    uris = written(tmp_path, "2026-01-02", "2026-01-05")
    named = dg.AssetDep(DAY, partition_mapping=dg.SpecificPartitionsPartitionMapping(["2026-01-02", "2026-01-03"]))
    result = run([DAY, program_asset(read_all, reads={"days": named})], dagster, tmp_path, only=["read_all"])
    (event,) = result.asset_materializations_for_node("read_all")
    assert event.metadata["uris"].value == uris[:1]
    assert log(dagster, result) == [
        "Not published, and left out: 1 of the 2 partitions of day that this run reads: '2026-01-03'."
    ]


def test_the_last_days_of_a_window_are_no_different(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    uris = written(tmp_path, "2026-01-03", "2026-01-05")
    last = dg.AssetDep(DAY, partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-2))
    asset = program_asset(days_of, reads={"days": last}, partition="day", partitions_def=DAYS)
    result = run([DAY, asset], dagster, tmp_path, partition="2026-01-05", only=["days_of"])
    (event,) = result.asset_materializations_for_node("days_of")
    assert event.metadata["uris"].value == uris
    assert event.metadata["absent_partitions"].value == 1


@dataclass(frozen=True)
class Window:
    day: str
    days: tuple[str, ...]


def days_of(spark: Any, params: Window) -> Given:  # noqa: ARG001
    return Given(params.days)


def test_a_single_partition_must_be_there(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    written(tmp_path, "2026-01-02")
    one = dg.AssetDep(DAY, partition_mapping=dg.SpecificPartitionsPartitionMapping(["2026-01-03"]))
    failed = run([DAY, program_asset(read_one, reads={"day": one})], dagster, tmp_path, only=["read_one"])
    assert failure(failed).startswith(f"partition '2026-01-03' of day has no published version in {tmp_path}; mater")


def test_a_partition_that_cannot_be_read_is_not_absent(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    written(tmp_path, "2026-01-02", "2026-01-05")
    (tmp_path / "day" / "partition=2026-01-05" / "latest.json").write_text("{")
    failed = run([DAY, program_asset(read_all, reads={"days": DAY})], dagster, tmp_path, only=["read_all"])
    assert "partition=2026-01-05/latest.json is not a pointer to a version" in failure(failed)


def test_a_partition_of_which_the_data_has_gone_is_not_absent(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    _, gone = written(tmp_path, "2026-01-02", "2026-01-05")
    Path(gone.removeprefix("file://"), "_published.json").unlink()
    failed = run([DAY, program_asset(read_all, reads={"days": DAY})], dagster, tmp_path, only=["read_all"])
    assert failure(failed).startswith("partition '2026-01-05' of day has no published version in")


@pytest.mark.parametrize("uri", ["file:///in/table", "file:/in/table", "/in/table"])
def test_a_place_on_this_machine_is_brought_in_any_form(dagster: dg.DagsterInstance, uri: str) -> None:
    spec = dg.AssetSpec("table", metadata={"dagster/uri": uri})
    result = run([program_asset(read_one, reads={"day": spec})], dagster)
    (event,) = result.asset_materializations_for_node("read_one")
    assert event.metadata["uris"].value == ["brought:/in/table"]


def test_a_home_folder_is_somebody_s(
    dagster: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = dg.AssetSpec("table", metadata={"dagster/uri": "~/table"})
    result = run([program_asset(read_one, reads={"day": spec})], dagster, spark=Here(brought=""))
    (event,) = result.asset_materializations_for_node("read_one")
    assert event.metadata["uris"].value == [f"{tmp_path}/table"]


def test_keys_of_any_kind_are_named_in_the_log(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    keys = ["there", "a\x7fb", "x" * 300, "日本"]
    spec = dg.AssetSpec(WRITTEN, partitions_def=dg.StaticPartitionsDefinition(keys))
    written(tmp_path, "there")
    result = run([spec, program_asset(read_all, reads={"days": spec})], dagster, tmp_path, only=["read_all"])
    assert log(dagster, result) == [
        (
            "Not published, and left out: 3 of the 4 partitions of day that this run reads: 'a\\x7fb', "
            f"'{'x' * 100}'..., '日本'."
        )
    ]
