"""Processes whose calls interleave in random orders, and that are killed at any call."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.errors import NotMaterialized, Superseded
from emr_pipelines.storage import Storage
from emr_pipelines.storage.attempts import latest
from emr_pipelines.storage.folder import Found
from emr_pipelines.storage.versions import ABANDONED_AFTER
from tests.patience import HUNG_SECONDS
from tests.storage.conftest import KEY, Place, first_time, noon

WEEK = int(ABANDONED_AFTER.total_seconds()) // 60


class Killed(BaseException):
    """Ends a killed process."""


class Turns:
    """Threads that take turns at random, call by call."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 (chance, not secrets)
        self._condition = threading.Condition()
        self._waiting: set[threading.Thread] = set()
        self._alive: set[threading.Thread] = set()
        self._next: threading.Thread | None = None
        self._order: list[threading.Thread] = []
        self.dead: set[threading.Thread] = set()
        self.errors: list[BaseException] = []

    def run(self, *actors: Callable[[], Any]) -> None:
        threads = [threading.Thread(target=self._act, args=(actor,), daemon=True) for actor in actors]
        self._alive = set(threads)
        self._order = threads
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HUNG_SECONDS)
            assert not thread.is_alive()

    def take(self) -> None:
        """Wait until it is this thread's turn. Raises Killed from the moment when chance says so."""
        me = threading.current_thread()
        if me not in self._order:
            return
        with self._condition:
            self._waiting.add(me)
            self._choose()
            assert self._condition.wait_for(lambda: self._next is me, timeout=HUNG_SECONDS)
            self._waiting.discard(me)
            self._next = None
            if self._chance.random() < 0.01:
                self.dead.add(me)
        if me in self.dead:
            raise Killed

    def _choose(self) -> None:
        if self._next is None and self._waiting == self._alive and self._alive:
            self._next = self._chance.choice([thread for thread in self._order if thread in self._waiting])
            self._condition.notify_all()

    def _act(self, actor: Callable[[], Any]) -> None:
        try:
            self.take()
            actor()
        except (Killed, Superseded):
            pass
        except BaseException as error:  # noqa: BLE001 (for the test to raise)
            self.errors.append(error)
        finally:
            with self._condition:
                self._alive.discard(threading.current_thread())
                self._choose()


class Memory:
    """A folder like S3: each call is atomic, nothing is locked, and the invariant is checked after each."""

    resumable = True

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.files: dict[str, bytes] = {}

    def uri(self, name: str) -> str:
        return f"memory://{name}"

    shown = uri

    def prepare(self) -> None:
        pass

    def read(self, name: str) -> Found | None:
        with self._moment():
            return Found(self.files[name]) if name in self.files else None

    def has(self, name: str) -> bool:
        with self._moment():
            return name in self.files

    def names(self) -> list[str]:
        with self._moment():
            return sorted({name.split("/")[0] for name in self.files})

    def write(self, name: str, data: bytes, replacing: Found | None) -> bool:
        with self._moment():
            if self.files.get(name) != (replacing.data if replacing else None):
                return False
            self.files[name] = data
            return True

    def delete(self, name: str) -> None:
        with self._moment():
            self.files.pop(name, None)

    def has_visible_file(self, name: str) -> bool:
        return self.filled(name)

    def sweep(self, _: Any) -> None:
        pass

    def delete_version(self, name: str) -> None:
        self.delete(f"{name}/_published.json")
        self.delete(f"{name}/part-0.txt")

    def filled(self, uri: str) -> bool:
        with self._moment():
            return f"{uri.removeprefix('memory://')}/part-0.txt" in self.files

    def fill(self, version: str) -> None:
        with self._moment():
            self.files[f"{version}/part-0.txt"] = b"x"

    @contextmanager
    def _moment(self) -> Iterator[None]:
        self._turns.take()
        yield
        if "latest.json" in self.files:
            version = latest(_Still(self.files)).version  # type: ignore[union-attr, arg-type]
            assert f"{version}/part-0.txt" in self.files, f"the pointer is at {version}, which was deleted"
            assert f"{version}/_published.json" in self.files, f"the pointer is at {version}, which is not marked"


class _Still:
    """The same files, read while all threads are paused."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def read(self, name: str) -> Found | None:
        return Found(self._files[name]) if name in self._files else None

    def uri(self, name: str) -> str:
        return name

    shown = uri


def _materialize(storage: Storage, folder: Memory, minutes: list[int], work: str, fails: bool = False) -> None:
    for minute in minutes:
        with storage.new_version(KEY, f"{minute}", work, now=noon(minute), done=folder.filled) as version:
            if not folder.filled(version.uri):
                folder.fill(version.name)
            if fails:
                raise Superseded("as if")
            storage.publish(KEY, version, "data")
            storage.prune(KEY, now=noon(minute))


def _read(storage: Storage, folder: Memory, times: int) -> None:
    """After the first publication there is always a published version, whoever publishes, prunes or dies."""
    for _ in range(times):
        published = "latest.json" in folder.files
        try:
            storage.require(KEY)
        except NotMaterialized:
            assert not published, "nothing was published for a moment"


def _prune(storage: Storage, minutes: list[int]) -> None:
    for minute in minutes:
        storage.prune(KEY, now=noon(minute))


@pytest.mark.parametrize("block", range(4))
def test_the_pointer_is_never_at_a_version_that_was_deleted(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    outcomes = set()
    for seed in range(block * 50, block * 50 + 50):
        turns = Turns(seed)
        folder = Memory(turns)
        monkeypatch.setattr(Storage, "_folder", lambda _self, _asset, _partition, folder=folder: folder)
        storage = Storage(uri="memory", keep_versions=1)

        work = partial(_materialize, storage, folder)
        turns.run(
            partial(work, [5], "a"),
            partial(work, [6], "a"),
            partial(work, [7], "a", fails=True),
            partial(work, [1], "b"),  # its clock is behind
            partial(work, [2, 9], "c"),
            partial(_prune, storage, [10 + WEEK, 11 + 2 * WEEK]),
            partial(_read, storage, folder, 5),
        )
        assert turns.errors == [], seed
        outcomes.add((bool(turns.dead), "latest.json" in folder.files))
    assert (True, True) in outcomes  # some were killed, and others still published


def test_a_prune_does_not_delete_what_is_about_to_be_published(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is marked, its name is older than that of the latest, and only one is kept."""
    place = place.keeping(1)
    place.publish(9)
    pruned: list[str] = []
    first_time(monkeypatch, place, "write", "latest.json", lambda: pruned.extend(place.storage.prune(KEY)))
    behind = place.publish(1)
    assert pruned == []
    assert place.storage.require(KEY).version == behind.name
    assert place.filled(behind.name)


def test_a_prune_sees_what_was_published_after_it_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place.keeping(1)
    first, second = place.publish(8), place.publish(9)
    published: list[dg.AssetKey | str] = []
    first_time(monkeypatch, place, "read", "latest.json", lambda: published.append(place.publish(7).name))
    assert place.storage.prune(KEY) == [first.name]
    assert place.storage.require(KEY).version == published[0]
    assert place.filled(str(published[0]))
    assert place.filled(second.name)


def test_a_reader_meets_a_prune(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it read the pointer, another version is published and this one is deleted."""
    place = place.keeping(1)
    first = place.publish(1)

    def publish() -> None:
        place.publish(2)
        assert place.storage.prune(KEY) == [first.name]

    first_time(monkeypatch, place, "has", f"{first.name}/_published.json", publish)
    assert place.storage.require(KEY).version != first.name


def test_who_is_overtaken_decides_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run moves the pointer between its read and its write."""
    place.publish(0)
    first_time(monkeypatch, place, "write", "latest.json", lambda: place.publish(2))
    with pytest.raises(Superseded, match="run 00000002-run began later than this one"):
        place.publish(1)
    assert place.storage.require(KEY).run_id == "00000002-run"
    assert len(place.versions()) == 2
    assert place.begun() == []


def test_who_is_overtaken_by_an_earlier_run_publishes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(0)
    with place.storage.new_version(KEY, "00000001-run", now=noon(1)) as earlier:
        place.fill(earlier)
        first_time(
            monkeypatch,
            place,
            "write",
            "latest.json",
            lambda: place.storage.publish(KEY, earlier, data_version="data1"),
        )
        place.publish(2)
    assert place.storage.require(KEY).run_id == "00000002-run"
    assert len(place.versions()) == 3
