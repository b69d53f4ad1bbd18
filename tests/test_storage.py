"""Versions, the pointer to the published one, and what happens to the old ones."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from upath import UPath

from emr_pipelines import storage as storage_module
from emr_pipelines.errors import NotMaterialized, StorageUnusable, Superseded
from emr_pipelines.programs import text
from emr_pipelines.storage import ABANDONED_AFTER, Storage, Version

KEY = dg.AssetKey("words")
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def write(storage: Storage, minute: int, publish: bool = False) -> Version:
    """A version that was begun at that minute past noon."""
    run_id = f"{minute:08d}-run"
    with storage.new_version(KEY, run_id, now=lambda: NOON + timedelta(minutes=minute)) as version:
        folder = Path(version.uri.removeprefix("file://"))
        folder.mkdir()
        (folder / "part-0.txt").write_text("x")
        if publish:
            storage.publish(KEY, version, data_version=f"data{minute}")
    return version


def publish(storage: Storage, minute: int) -> Version:
    return write(storage, minute, publish=True)


def versions(storage: Storage) -> list[str]:
    return sorted(path.name for path in (Path(storage.uri) / "words").iterdir() if path.is_dir())


def test_nothing_is_published_at_first(storage: Storage) -> None:
    assert storage.latest(KEY) is None
    with pytest.raises(NotMaterialized, match=r"words has no published version in .*storage; materialize it first"):
        storage.require(KEY)


def test_the_pointer_names_the_version(storage: Storage) -> None:
    version = publish(storage, 1)
    pointer = json.loads((Path(storage.uri) / "words" / "latest.json").read_text())
    assert pointer["uri"] == f"file://{storage.uri}/words/{version.name}" == version.uri
    assert pointer["version"] == version.name == "20260101T120100000000Z-00000001"
    assert pointer["data_version"] == "data1"
    assert storage.require(KEY).run_id == "00000001-run"


def test_a_version_that_is_not_published_is_not_seen(storage: Storage) -> None:
    first = publish(storage, 1)
    write(storage, 2)
    assert storage.require(KEY).version == first.name


def test_old_versions_are_pruned_and_never_the_latest(storage: Storage) -> None:
    storage = Storage(uri=storage.uri, keep_versions=2)
    names = [publish(storage, minute).name for minute in range(5)]
    assert storage.prune(KEY, now=lambda: NOON) == names[:3]
    assert versions(storage) == names[3:]
    assert storage.prune(KEY, now=lambda: NOON) == []


def test_the_latest_is_kept_even_when_its_name_is_the_oldest(storage: Storage) -> None:
    storage = Storage(uri=storage.uri, keep_versions=1)
    publish(storage, 9)
    behind = publish(storage, 1)  # by a machine whose clock is behind
    storage.prune(KEY, now=lambda: NOON)
    assert behind.name in versions(storage)
    assert Path(storage.require(KEY).uri.removeprefix("file://"), "part-0.txt").exists()


def test_what_is_not_a_version_is_never_pruned(storage: Storage) -> None:
    inner = dg.AssetKey(["words", "2024"])  # an asset whose folder is within that of another
    with storage.new_version(inner, "run-1") as version:
        Path(version.uri.removeprefix("file://")).mkdir()
        storage.publish(inner, version, "data")
    (Path(storage.uri) / "words" / "0 my backup").mkdir()
    publish(storage, 1)
    assert storage.prune(KEY, now=lambda: NOON + timedelta(days=365)) == []
    assert storage.require(inner).version == version.name


def test_no_version_that_is_being_published_is_pruned(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication by one thread waits for a prune by another, which would else delete what it has just listed."""
    storage = Storage(uri=storage.uri, keep_versions=1)
    publish(storage, 5)
    publish(storage, 6)
    listed, go_on = threading.Event(), threading.Event()
    delete = storage_module._delete

    def delete_later(path: UPath) -> None:
        listed.set()
        assert go_on.wait(timeout=60)
        delete(path)

    monkeypatch.setattr(storage_module, "_delete", delete_later)
    pruning = threading.Thread(target=lambda: storage.prune(KEY))
    pruning.start()
    assert listed.wait(timeout=60)
    publishing = threading.Thread(target=lambda: publish(storage, 7))
    publishing.start()
    assert storage.require(KEY).version.startswith("20260101T1206")
    go_on.set()
    pruning.join()
    publishing.join()
    assert storage.require(KEY).version.startswith("20260101T1207")


def test_a_storage_can_be_moved(storage: Storage, tmp_path: Path) -> None:
    version = publish(storage, 1)
    Path(storage.uri).rename(tmp_path / "moved")
    assert Storage(uri=f"{tmp_path}/moved").require(KEY).uri == f"file://{tmp_path}/moved/words/{version.name}"


def test_a_version_that_has_gone_is_not_there(storage: Storage) -> None:
    version = publish(storage, 1)
    shutil.rmtree(version.uri.removeprefix("file://"))
    with pytest.raises(NotMaterialized, match="words has no published version"):
        storage.require(KEY)


def test_storage_and_programs_mean_the_same_mark() -> None:
    assert storage_module.STORAGE_MARK == text.STORAGE_MARK


def test_what_a_dead_run_left_goes_when_no_run_can_still_be_writing_it(storage: Storage) -> None:
    abandoned = write(storage, 0)
    publish(storage, 1)
    assert storage.prune(KEY, now=lambda: NOON + ABANDONED_AFTER) == []
    assert abandoned.name in versions(storage)
    assert storage.prune(KEY, now=lambda: NOON + ABANDONED_AFTER + timedelta(minutes=1)) == [abandoned.name]


def test_a_publication_that_dies_leaves_the_previous_version(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = publish(storage, 1)

    def power_cut(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emr_pipelines.storage.os.fsync", power_cut)
    with pytest.raises(KeyboardInterrupt):
        publish(storage, 2)
    assert storage.require(KEY).version == first.name
    assert versions(storage) == [first.name]
    assert not list(Path(storage.uri).rglob(".latest.json*"))


def test_a_pointer_that_cannot_be_written_is_a_sentence(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("emr_pipelines.storage.os.fsync", full)
    with pytest.raises(StorageUnusable, match=r"words/latest\.json cannot be written: .*No space left on device\."):
        publish(storage, 1)
    assert storage.latest(KEY) is None


def test_what_an_exception_leaves_is_deleted(storage: Storage) -> None:
    with pytest.raises(FileExistsError), storage.new_version(KEY, "run-1") as version:  # noqa: PT012
        shutil.copytree(Path(__file__).parent, version.uri.removeprefix("file://"))
        shutil.copytree(Path(__file__).parent, version.uri.removeprefix("file://"))
    assert versions(storage) == []


def test_a_run_that_began_earlier_does_not_put_its_older_data_over_a_later_runs(storage: Storage) -> None:
    with (
        storage.new_version(KEY, "slow-run", now=lambda: NOON) as slow,
        storage.new_version(KEY, "fast-run", now=lambda: NOON + timedelta(minutes=1)) as fast,
    ):
        for version in (slow, fast):
            Path(version.uri.removeprefix("file://")).mkdir()
        storage.publish(KEY, fast, "fast")
        with pytest.raises(Superseded, match="words was not published: run fast-run began later than this one"):
            storage.publish(KEY, slow, "slow")
    assert storage.require(KEY).version == fast.name


def test_a_clock_that_is_behind_does_not_stop_a_later_run(storage: Storage) -> None:
    publish(storage, 9)
    behind = publish(storage, 1)
    assert storage.require(KEY).version == behind.name


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uri": "x"}', "null", '{"uri": 1, "version": 2}'])
def test_a_damaged_pointer_is_named_with_the_remedy(storage: Storage, content: str) -> None:
    publish(storage, 1)
    pointer = Path(storage.uri) / "words" / "latest.json"
    pointer.write_text(content)
    with pytest.raises(StorageUnusable, match="delete it and materialize the asset again") as caught:
        storage.latest(KEY)
    assert str(pointer) in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    ["gs://bucket/x", "s3:/bucket", "memory:/x", "C:\\data", "/data/[x]", "/data/{a}", "da*ta", "~nosuchuser/data"],
)
def test_an_address_that_is_not_allowed_is_named_with_what_is(uri: str) -> None:
    with pytest.raises(StorageUnusable, match="is not allowed") as caught:
        Storage(uri=uri).latest(KEY)
    assert repr(uri) in str(caught.value)


def test_a_storage_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    storage = Storage(uri=str(tmp_path / "file" / "data"))
    says = r"cannot be written .*; set EMR_PIPELINES_STORAGE to a folder that can"
    with pytest.raises(StorageUnusable, match=says), storage.new_version(KEY, "run"):
        raise AssertionError("work was begun")


def test_paths_with_spaces_and_uris_are_folders(tmp_path: Path) -> None:
    plain = Storage(uri=f"{tmp_path}/my data")
    version = publish(plain, 1)
    assert version.uri == f"file://{tmp_path}/my data/words/{version.name}"
    assert Storage(uri=f"file://{tmp_path}/my data").require(KEY).version == version.name


def test_the_default_is_the_environments_or_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert publish(Storage(), 1).uri.startswith(f"file://{tmp_path}/data/words/")
    monkeypatch.setenv("EMR_PIPELINES_STORAGE", f"{tmp_path}/elsewhere")
    assert publish(Storage(), 1).uri.startswith(f"file://{tmp_path}/elsewhere/words/")
