"""Versions, the pointer to the published one, and pruning."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.errors import NothingWritten, NotMaterialized, StorageUnusable, Superseded
from emr_pipelines.remote import files
from emr_pipelines.storage import ABANDONED_AFTER, STORAGE_MARK, Storage
from tests.storage.conftest import KEY, NOON, Place, first_time, noon


def test_nothing_is_published_at_first(place: Place) -> None:
    assert place.storage.latest(KEY) is None
    with pytest.raises(NotMaterialized, match=r"words has no published version in .*/.*; materialize it first"):
        place.storage.require(KEY)
    assert place.storage.prune(KEY) == []


def test_the_pointer_names_the_version(place: Place) -> None:
    version = place.publish(1)
    pointer = json.loads(place.look.get("words/latest.json"))
    root = place.storage.uri if place.storage.uri.startswith("s3://") else f"file://{place.storage.uri}"
    assert pointer["uri"] == f"{root}/words/{version.name}" == version.uri
    assert pointer["version"] == version.name == "20260101T120100000000Z-00000001"
    assert pointer["data_version"] == "data1"
    assert json.loads(place.look.get(f"words/{version.name}/_published.json")) == pointer
    assert place.storage.require(KEY).run_id == "00000001-run"
    assert place.begun() == []


def test_a_version_that_is_not_published_is_not_seen(place: Place) -> None:
    first = place.publish(1)
    place.write(2)
    assert place.storage.require(KEY).version == first.name


def test_old_versions_are_pruned_and_never_the_latest(place: Place) -> None:
    place = place.keeping(2)
    names = [place.publish(minute).name for minute in range(5)]
    assert place.storage.prune(KEY, now=noon(0)) == names[:3]
    assert place.versions() == names[3:]
    assert place.storage.prune(KEY, now=noon(0)) == []


def test_the_latest_is_kept_even_when_its_name_is_the_oldest(place: Place) -> None:
    place = place.keeping(1)
    place.publish(9)
    behind = place.publish(1)  # by a machine whose clock is behind
    place.storage.prune(KEY, now=noon(0))
    assert place.filled(behind.name)
    assert place.storage.require(KEY).version == behind.name


def test_what_is_not_a_version_is_never_pruned(place: Place) -> None:
    inner = dg.AssetKey(["words", "2024"])  # an asset whose folder is within that of another
    with place.storage.new_version(inner, "run-1") as version:
        place.look.put(f"words/2024/{version.name}/part-0.txt", "x")
        place.storage.publish(inner, version, "data")
    place.look.put("words/0 my backup/notes", "mine")
    place.publish(1)
    assert place.storage.prune(KEY, now=lambda: NOON + timedelta(days=365)) == []
    assert place.storage.require(inner).version == version.name
    assert place.look.get("words/0 my backup/notes") == "mine"


def test_a_storage_can_be_moved(on_disk: Place, tmp_path: Path) -> None:
    version = on_disk.publish(1)
    Path(on_disk.storage.uri).rename(tmp_path / "moved")
    assert Storage(uri=f"{tmp_path}/moved").require(KEY).uri == f"file://{tmp_path}/moved/words/{version.name}"


def test_a_storage_on_s3_can_be_copied(on_s3: Place) -> None:
    version = on_s3.publish(1)
    elsewhere = on_s3.storage.uri + "/copy"
    for path in on_s3.look.paths():
        on_s3.look.put(f"copy/{path}", on_s3.look.get(path))
    assert Storage(uri=f"{elsewhere}/").require(KEY).uri == f"{elsewhere}/words/{version.name}"


def test_a_version_that_has_gone_is_not_there(place: Place) -> None:
    version = place.publish(1)
    for path in place.look.paths():
        if version.name in path:
            place.look.remove(path)
    with pytest.raises(NotMaterialized, match="words has no published version"):
        place.storage.require(KEY)


def test_storage_and_programs_mean_the_same_mark(place: Place) -> None:
    place.publish(1)
    assert STORAGE_MARK == files.STORAGE_MARK
    assert STORAGE_MARK in place.look.paths()


def test_what_a_storage_holds_is_not_found_as_text_from_above_it(on_s3: Place, s3: Any) -> None:
    version = on_s3.publish(1)
    bucket = on_s3.storage.uri.removesuffix("/my/data")
    for key in ("my/beside.txt", "my/database.txt"):
        s3.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=b"x")
    outside = [f"{bucket}/my/beside.txt", f"{bucket}/my/database.txt"]
    for source in (bucket, f"{bucket}/my", f"{bucket}/my/**"):
        assert [file.path for file in files.find_text_files([source])] == outside
    assert [file.path for file in files.find_text_files([f"{bucket}/my/dat"])] == outside[1:]
    found = [file.path for file in files.find_text_files([version.uri])]
    assert found == [f"{version.uri}/part-0.txt"]  # unless it is meant


def test_what_a_dead_run_left_goes_when_no_run_can_still_be_writing_it(place: Place) -> None:
    abandoned = place.write(0)
    place.publish(1)
    assert place.storage.prune(KEY, now=lambda: NOON + ABANDONED_AFTER) == []
    assert place.filled(abandoned.name)
    assert place.begun() == [abandoned.name]
    assert place.storage.prune(KEY, now=lambda: NOON + ABANDONED_AFTER + timedelta(minutes=1)) == [abandoned.name]
    assert not place.filled(abandoned.name)
    assert place.begun() == []


def test_a_deletion_that_was_killed_is_finished(place: Place) -> None:
    place = place.keeping(1)
    first = place.publish(1)
    place.publish(2)
    place.look.remove(f"words/{first.name}/_published.json")  # deleted first
    assert place.storage.prune(KEY, now=lambda: NOON + 2 * ABANDONED_AFTER) == [first.name]


def test_a_publication_that_dies_leaves_the_previous_version(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.publish(1)

    def power_cut() -> None:
        raise KeyboardInterrupt

    first_time(monkeypatch, place, "write", "_published.json", power_cut)
    with pytest.raises(KeyboardInterrupt):
        place.publish(2)
    assert place.storage.require(KEY).version == first.name
    assert place.versions() == [first.name]
    assert place.begun() == []


def test_a_file_that_was_not_written_to_its_end_is_not_left(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = on_disk.publish(1)

    def power_cut(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), on_disk.storage.new_version(KEY, "run") as version:  # noqa: PT012
        on_disk.fill(version)
        with monkeypatch.context() as patched:
            patched.setattr("emr_pipelines.storage.local.os.fsync", power_cut)
            on_disk.storage.publish(KEY, version, "data")
    assert on_disk.versions() == [first.name]
    assert not [path for path in on_disk.look.paths() if "/." in path and not path.endswith(".lock")]


def test_a_pointer_that_cannot_be_written_is_a_sentence(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    def fill_the_disk() -> None:
        monkeypatch.setattr("emr_pipelines.storage.local.os.fsync", full)

    first_time(monkeypatch, on_disk, "write", "latest.json", fill_the_disk)
    with pytest.raises(StorageUnusable, match=r"words/latest\.json cannot be written: .*No space left on device\."):
        on_disk.publish(1)
    assert on_disk.storage.latest(KEY) is None


def test_what_an_exception_leaves_is_deleted(place: Place) -> None:
    with pytest.raises(ZeroDivisionError), place.storage.new_version(KEY, "run-1") as version:  # noqa: PT012
        place.fill(version)
        assert place.filled(version.name)
        print(1 / 0)
    assert place.versions() == place.begun() == []


def test_what_was_published_outlives_an_exception(place: Place) -> None:
    with pytest.raises(ZeroDivisionError), place.storage.new_version(KEY, "run-1") as version:  # noqa: PT012
        place.fill(version)
        place.storage.publish(KEY, version, "data")
        print(1 / 0)
    assert place.storage.require(KEY).version == version.name
    assert place.filled(version.name)


def test_what_may_be_published_outlives_an_exception(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write = place.folder.write

    def interrupted(folder: Any, name: str, data: bytes, replacing: Any) -> bool:
        assert write(folder, name, data, replacing)
        if name == "latest.json":
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(place.folder, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        place.publish(1)
    assert place.filled(place.storage.require(KEY).version)


def test_a_run_that_began_earlier_does_not_put_its_older_data_over_a_later_runs(place: Place) -> None:
    with (
        place.storage.new_version(KEY, "slow-run", now=noon(0)) as slow,
        place.storage.new_version(KEY, "fast-run", now=noon(1)) as fast,
    ):
        for version in (slow, fast):
            place.fill(version)
        place.storage.publish(KEY, fast, "fast")
        with pytest.raises(Superseded, match="words was not published: run fast-run began later than this one"):
            place.storage.publish(KEY, slow, "slow")
    assert place.storage.require(KEY).version == fast.name


def test_a_clock_that_is_behind_does_not_stop_a_later_run(place: Place) -> None:
    place.publish(9)
    behind = place.publish(1)
    assert place.storage.require(KEY).version == behind.name


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uri": "x"}', "null", '{"uri": 1, "version": 2}'])
def test_a_damaged_pointer_is_named_with_the_remedy(place: Place, content: str) -> None:
    place.publish(1)
    place.look.put("words/latest.json", content)
    with pytest.raises(StorageUnusable, match="delete it and materialize the asset again") as caught:
        place.storage.latest(KEY)
    assert f"{place.storage.uri}/words/latest.json" in str(caught.value)


def test_a_damaged_begun_file_stops_nobody_and_goes(place: Place) -> None:
    abandoned = place.write(0)
    place.look.put(f"words/{abandoned.name}.begun.json", "{")
    with place.storage.new_version(KEY, "run-1", "work", now=noon(1)) as version:
        place.fill(version)
        place.storage.publish(KEY, version, "data")
    assert place.storage.prune(KEY, now=lambda: NOON + ABANDONED_AFTER + timedelta(minutes=1)) == [abandoned.name]
    assert place.begun() == []


def test_a_storage_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    storage = Storage(uri=str(tmp_path / "file" / "data"))
    says = r"cannot be written .*; set EMR_PIPELINES_STORAGE to a folder that can"
    with pytest.raises(StorageUnusable, match=says), storage.new_version(KEY, "run"):
        raise AssertionError("work was begun")


def test_paths_with_spaces_and_uris_are_folders(tmp_path: Path) -> None:
    with Storage(uri=f"{tmp_path}/my data").new_version(KEY, "run") as version:
        folder = tmp_path / "my data" / "words" / version.name
        folder.mkdir()
        (folder / "part-0.txt").write_text("x")
        Storage(uri=f"{tmp_path}/my data").publish(KEY, version, "data")
    assert version.uri == f"file://{tmp_path}/my data/words/{version.name}"
    assert Storage(uri=f"file://{tmp_path}/my data").require(KEY).version == version.name


@pytest.mark.parametrize(
    ("paths", "seen"),
    [
        ([], False),
        (["_SUCCESS"], False),
        (["_temporary/0/part-0.parquet", "_temporary/0/task/part-1.parquet"], False),
        ([".part-0.parquet.crc"], False),
        (["_delta_log/0.json"], False),
        (["day=1/_SUCCESS", "day=1/.part-0.crc"], False),
        (["part-0.parquet"], True),
        (["_SUCCESS", "_temporary/0/part-0.parquet", "part-0.parquet"], True),
        (["day=1/hour=2/part-0.parquet"], True),
        (["_year=2026/part-0.parquet"], True),  # a column of that name, as Spark has it
    ],
)
def test_what_has_no_file_for_readers_is_not_published(place: Place, paths: list[str], seen: bool) -> None:
    before = place.publish(1)
    with place.storage.new_version(KEY, "run", now=noon(2)) as version:
        for path in paths:
            place.look.put(f"words/{version.name}/{path}", "x")
        if not seen:
            says = rf"words was not published: there is no file in .*{version.name} \(names that begin with _ or \. do"
            with pytest.raises(NothingWritten, match=says):
                place.storage.publish(KEY, version, "data")
            assert place.storage.require(KEY).version == before.name
        else:
            place.storage.publish(KEY, version, "data")
            assert place.storage.require(KEY).version == version.name


def test_a_file_without_bytes_is_a_file(place: Place) -> None:
    """Spark writes one for a text table without rows."""
    with place.storage.new_version(KEY, "run") as version:
        place.look.put(f"words/{version.name}/part-0.txt", "")
        place.storage.publish(KEY, version, "data")
    assert place.storage.require(KEY).version == version.name


def test_small_files_may_lie_in_folders(place: Place) -> None:
    with place.storage.new_version(KEY, "run") as version:
        place.storage.write(KEY, version, "sub/deep/b.json", b"{}")
        assert place.storage.read(KEY, version.name, "sub/deep/b.json") == b"{}"
        place.storage.publish(KEY, version, "data")


def test_files_that_went_before_the_publication_are_missed(place: Place) -> None:
    with pytest.raises(NothingWritten), place.storage.new_version(KEY, "run") as version:  # noqa: PT012
        place.fill(version)
        place.look.remove(f"words/{version.name}/part-0.txt")
        place.storage.publish(KEY, version, "data")
    assert place.storage.latest(KEY) is None
    assert place.versions() == place.begun() == []


def test_work_that_may_find_nothing_is_published_without_files(place: Place) -> None:
    with place.storage.new_version(KEY, "run") as version:
        place.storage.publish(KEY, version, "data", may_be_empty=True)
    assert place.storage.require(KEY).version == version.name
    assert place.storage.read(KEY, version.name, "_published.json")


def test_a_file_in_the_place_of_the_folder_is_not_published(place: Place) -> None:
    with pytest.raises(NothingWritten), place.storage.new_version(KEY, "run") as version:  # noqa: PT012
        place.look.put(f"words/{version.name}", "x")
        place.storage.publish(KEY, version, "data")
    assert place.storage.latest(KEY) is None


def test_folders_on_s3_that_are_objects_are_no_files(on_s3: Place) -> None:
    with pytest.raises(NothingWritten), on_s3.storage.new_version(KEY, "run") as version:  # noqa: PT012
        on_s3.look.put(f"words/{version.name}/day=1/", "")  # as S3A and the console create them
        on_s3.look.put(f"words/{version.name}/day=2_$folder$", "")  # as EMR's file system does
        on_s3.storage.publish(KEY, version, "data")


@pytest.mark.extended
def test_one_list_call_tells_whether_there_is_a_file(on_s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = Aws._attempt

    def attempt(aws: Aws, service: str, operation: str, *others: Any) -> Any:
        asked.append(operation)
        return real(aws, service, operation, *others)

    with on_s3.storage.new_version(KEY, "run") as version:
        for number in range(1003):
            on_s3.look.put(f"words/{version.name}/part-{number}.txt", "")
        monkeypatch.setattr(Aws, "_attempt", attempt)
        on_s3.storage.publish(KEY, version, "data")
    assert asked.count("list_objects_v2") == 1


@pytest.mark.extended
def test_a_thousand_hidden_objects_hide_no_file(on_s3: Place) -> None:
    with on_s3.storage.new_version(KEY, "run") as version:
        for number in range(1003):
            on_s3.look.put(f"words/{version.name}/_temporary/{number}", "")
        on_s3.fill(version)
        on_s3.storage.publish(KEY, version, "data")
    assert on_s3.storage.require(KEY).version == version.name


def test_a_version_that_was_taken_over_is_not_said_to_be_empty(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Superseded, match="another attempt at the same work has taken version"):  # noqa: SIM117, PT012
        with place.storage.new_version(KEY, "run") as version:

            def lose() -> None:
                place.look.remove(f"words/{version.name}.begun.json")

            first_time(monkeypatch, place, "has_visible_file", version.name, lose)
            place.storage.publish(KEY, version, "data")


@pytest.mark.parametrize("partition", ["2026-01-01", "a/b:c", "x" * 300, "日" * 40])
def test_each_partition_has_versions_of_its_own(place: Place, partition: str) -> None:
    place.publish(1)
    with place.storage.new_version(KEY, "run", partition=partition) as version:
        place.storage.write(KEY, version, "part-0.txt", b"of it", partition)
        place.storage.publish(KEY, version, "data", partition)
    published = place.storage.require(KEY, partition)
    assert published.version == version.name
    assert place.storage.read(KEY, version.name, "part-0.txt", partition) == b"of it"
    assert published == place.storage.latest(KEY, partition)
    assert place.storage.require(KEY).data_version == "data1"
    assert place.storage.prune(KEY, now=noon(0), partition=partition) == []
    with pytest.raises(NotMaterialized, match=r"^partition 'other' of words has no published version in .*; mat"):
        place.storage.require(KEY, "other")
