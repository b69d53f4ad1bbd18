"""Several attempts at the same work, after a kill and concurrently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import dagster as dg
import pytest

from emr_pipelines.assets.publication import mistakes_as_failures
from emr_pipelines.errors import AuditFailed, CredentialsMissing, StepFailed, StorageUnusable, Superseded, Unreachable
from emr_pipelines.storage import ABANDONED_AFTER, Version
from tests.storage.conftest import KEY, NOON, Place, first_time, noon


class Attempts:
    """Attempts that were begun and never closed, as if they had been killed."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._open: list[AbstractContextManager[Version]] = []  # the garbage collector would close them

    def begin(
        self, minute: int, work: str = "work", run_id: str = "first-run", done: Callable[[str], bool] | None = None
    ) -> Version:
        done = done or (lambda _: False)
        self._open.append(self._place.storage.new_version(KEY, run_id, work, now=noon(minute), done=done))
        version = self._open[-1].__enter__()
        self._place.fill(version)
        return version

    def fail(self, number: int = -1, error: BaseException | None = None) -> None:
        error = error or RuntimeError("the step failed")
        assert not self._open[number].__exit__(type(error), error, None)

    def close(self) -> None:
        for attempt in self._open:
            attempt.__exit__(None, None, None)


@contextmanager
def attempts_at(place: Place) -> Iterator[Attempts]:
    attempts = Attempts(place)
    yield attempts
    attempts.close()


@pytest.fixture
def attempts(on_s3: Place) -> Iterator[Attempts]:
    with attempts_at(on_s3) as attempts:
        yield attempts


def test_after_a_kill_the_next_attempt_takes_the_version_up(on_s3: Place, attempts: Attempts) -> None:
    before = on_s3.publish(0)
    killed = attempts.begin(1)
    on_s3.publish(2)  # by another run
    resumed = attempts.begin(3, run_id="second-run")
    assert (resumed.name, resumed.uri) == (killed.name, killed.uri)
    assert resumed.before == before.name
    assert resumed.run_id == "second-run"
    assert resumed.attempt != killed.attempt
    assert on_s3.begun() == [killed.name]


def test_what_was_taken_up_is_published_once(on_s3: Place, attempts: Attempts) -> None:
    attempts.begin(1)
    resumed = attempts.begin(2, run_id="second-run")
    published = on_s3.storage.publish(KEY, resumed, "data")
    assert (published.version, published.run_id) == (resumed.name, "second-run")
    assert on_s3.begun() == []
    assert attempts.begin(3).name != resumed.name


def test_the_version_of_other_work_or_of_none_is_not_taken_up(on_s3: Place, attempts: Attempts) -> None:
    names = {attempts.begin(minute, work).name for minute, work in enumerate(["a", "b", "", ""])}
    assert len(names) == 4
    assert sorted(names) == on_s3.begun()


def test_on_this_machine_nothing_outlives_a_kill(on_disk: Place) -> None:
    with attempts_at(on_disk) as attempts:
        assert attempts.begin(1).name != attempts.begin(2).name


def test_after_an_exception_the_next_attempt_begins_anew(on_s3: Place, attempts: Attempts) -> None:
    failed = attempts.begin(1)
    attempts.fail()
    assert on_s3.begun() == on_s3.versions() == []
    assert attempts.begin(2).name != failed.name


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_after_an_interrupt_the_next_attempt_takes_the_version_up(
    on_s3: Place, attempts: Attempts, error: BaseException
) -> None:
    """Its program may have ended at that moment."""
    interrupted = attempts.begin(1)
    attempts.fail(error=error)
    assert on_s3.filled(interrupted.name)
    assert attempts.begin(2, run_id="second-run").name == interrupted.name


def told_to_dagster(error: Exception) -> Exception:
    """Raise an error of this package as runners do: a Failure with the error as its context."""
    try:
        with mistakes_as_failures():
            raise error
    except dg.Failure as failure:
        return failure


@pytest.mark.parametrize("error", [Unreachable("no answer"), CredentialsMissing("expired", "ExpiredToken")])
@pytest.mark.parametrize("raised", [told_to_dagster, lambda error: error])
def test_a_program_that_was_lost_sight_of_keeps_its_version(
    on_s3: Place, attempts: Attempts, error: Exception, raised: Callable[[Exception], Exception]
) -> None:
    lost = attempts.begin(1)
    attempts.fail(error=raised(error))
    assert on_s3.filled(lost.name)
    assert attempts.begin(2, "other work").name != lost.name
    assert attempts.begin(3).name == lost.name


@pytest.mark.parametrize("error", [StepFailed("no"), StorageUnusable("no"), AuditFailed("no")])
def test_the_version_of_a_program_that_ended_is_deleted(on_s3: Place, attempts: Attempts, error: Exception) -> None:
    attempts.begin(1)
    error.__context__ = Unreachable("met on the way")
    attempts.fail(error=told_to_dagster(error))
    assert on_s3.begun() == on_s3.versions() == []


class Killed(BaseException):
    pass


def killed_at(monkeypatch: pytest.MonkeyPatch, place: Place, call: str, name: str, version: Version) -> None:
    """Publish a version and die just before a call of the folder."""

    def kill() -> None:
        raise Killed

    first_time(monkeypatch, place, call, name, kill)
    with pytest.raises(Killed):
        place.storage.publish(KEY, version, "data")


def test_a_version_that_is_done_and_marked_is_taken_up_and_published(
    on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = attempts.begin(1)
    killed_at(monkeypatch, on_s3, "write", "latest.json", killed)
    resumed = attempts.begin(2, run_id="second-run", done=lambda uri: uri == killed.uri)
    assert resumed.name == killed.name
    assert on_s3.storage.publish(KEY, resumed, "data").version == killed.name
    assert on_s3.storage.require(KEY).run_id == "second-run"
    assert on_s3.begun() == []


def test_what_was_published_is_given_again_to_a_retry_of_the_run(on_s3: Place, attempts: Attempts) -> None:
    """It was killed before it could report it."""
    published = on_s3.storage.publish(KEY, attempts.begin(1), "data")
    again = attempts.begin(2, run_id="second-run", done=lambda _: True)
    assert (again.name, again.uri) == (published.version, published.uri)
    assert on_s3.storage.publish(KEY, again, "data") == published
    attempts.fail()
    assert on_s3.filled(on_s3.storage.require(KEY).version)


@pytest.mark.parametrize("call", ["names", "read"])
def test_what_is_published_while_a_retry_looks_for_it_is_given_again(
    on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """By a process that survived its run, after the pointer or the list of begun versions was read."""
    first = attempts.begin(1)

    def publish() -> None:
        on_s3.storage.publish(KEY, first, "data")

    first_time(monkeypatch, on_s3, call, {"names": "", "read": f"{first.name}.begun.json"}[call], publish)
    again = attempts.begin(2, run_id="second-run", done=lambda _: True)
    assert (again.name, again.uri) == (first.name, first.uri)


@pytest.mark.parametrize(("work", "run_id", "done"), [
    ("other", "second-run", True), ("work", "first-run", True), ("work", "second-run", False), ("", "second-run", True),
])  # fmt: skip
def test_what_was_published_is_not_given_to_anybody_else(
    on_s3: Place, attempts: Attempts, work: str, run_id: str, done: bool
) -> None:
    published = on_s3.storage.publish(KEY, attempts.begin(1), "data")
    assert attempts.begin(2, work, run_id, lambda _: done).name != published.version


def test_who_lost_a_version_writes_nothing_into_it(on_s3: Place, attempts: Attempts) -> None:
    zombie = attempts.begin(1)
    on_s3.storage.write(KEY, zombie, "data.txt", b"first")
    retry = attempts.begin(2, run_id="second-run")
    assert retry.name == zombie.name
    on_s3.storage.write(KEY, retry, "data.txt", b"second")
    with pytest.raises(Superseded, match="was not written"):
        on_s3.storage.write(KEY, zombie, "data.txt", b"too late")
    on_s3.storage.publish(KEY, retry, "data")
    with pytest.raises(Superseded, match="is published"):
        on_s3.storage.write(KEY, retry, "data.txt", b"again")
    assert on_s3.storage.read(KEY, retry.name, "data.txt") == b"second"


def test_who_lost_a_version_leaves_its_mark_to_who_has_it(
    on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = attempts.begin(1)
    others: list[Version] = []
    first_time(monkeypatch, on_s3, "write", "_published.json", lambda: others.append(attempts.begin(2)))
    with pytest.raises(Superseded, match="taken version"):
        on_s3.storage.publish(KEY, zombie, "data")
    assert others[0].name == zombie.name
    assert on_s3.storage.publish(KEY, others[0], "data").version == zombie.name
    assert on_s3.storage.require(KEY).version == zombie.name


def test_a_version_that_may_be_published_is_not_taken_up(
    on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = attempts.begin(1)
    killed_at(monkeypatch, on_s3, "write", "latest.json", killed)
    assert attempts.begin(2).name != killed.name
    attempts.fail(0)  # its own process cannot know either
    assert on_s3.filled(killed.name)


def test_two_at_once_take_different_versions(on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = attempts.begin(1)
    others: list[Version] = []
    first_time(monkeypatch, on_s3, "write", ".begun.json", lambda: others.append(attempts.begin(2)))
    mine = attempts.begin(3)
    assert others[0].name == killed.name
    assert mine.name != killed.name


def test_who_lost_the_version_does_not_publish_it(on_s3: Place, attempts: Attempts) -> None:
    zombie = attempts.begin(1)
    resumed = attempts.begin(2)
    with pytest.raises(Superseded, match=f"another attempt at the same work has taken version {zombie.name} over"):
        on_s3.storage.publish(KEY, zombie, "zombie's")
    assert on_s3.storage.latest(KEY) is None
    assert on_s3.storage.publish(KEY, resumed, "data").data_version == "data"
    assert on_s3.storage.publish(KEY, zombie, "zombie's").data_version == "data"  # what is published stays


def test_who_loses_the_version_while_it_publishes_lets_go(
    on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = attempts.begin(1)
    others: list[Version] = []

    def begin_when_it_is_marked() -> None:
        first_time(monkeypatch, on_s3, "read", ".begun.json", lambda: others.append(attempts.begin(2)))

    first_time(monkeypatch, on_s3, "write", "_published.json", begin_when_it_is_marked)
    with pytest.raises(Superseded, match="taken version"):
        on_s3.storage.publish(KEY, zombie, "zombie's")
    assert others[0].name != zombie.name  # it saw that the zombie was about to publish
    assert on_s3.storage.publish(KEY, others[0], "data").version == others[0].name


def test_the_failure_of_who_lost_the_version_deletes_nothing(on_s3: Place, attempts: Attempts) -> None:
    attempts.begin(1)
    resumed = attempts.begin(2)
    attempts.fail(0)
    assert on_s3.filled(resumed.name)
    on_s3.storage.publish(KEY, resumed, "data")
    attempts.fail(1)
    assert on_s3.filled(on_s3.storage.require(KEY).version)


def test_a_version_that_has_been_published_and_deleted_does_not_come_back(
    on_s3: Place, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = on_s3.keeping(1)
    zombie = attempts.begin(5)
    resumed = attempts.begin(6)
    place.storage.publish(KEY, resumed, "data")
    place.publish(7)
    # by a clock that is behind, and in the moment before the others could be seen: its name does not stop the zombie
    monkeypatch.setattr("emr_pipelines.storage.attempts.later_than_all", lambda now, _: now)
    behind = place.publish(1)
    assert place.storage.prune(KEY, now=noon(0)) == [zombie.name]
    with pytest.raises(Superseded, match="taken version"):
        place.storage.publish(KEY, zombie, "data")
    assert place.storage.require(KEY).version == behind.name
    assert not [path for path in place.look.paths() if zombie.name in path]


def test_what_is_taken_up_is_not_abandoned(on_s3: Place, attempts: Attempts) -> None:
    week = int(ABANDONED_AFTER.total_seconds()) // 60
    attempts.begin(0)
    resumed = attempts.begin(week - 10)
    assert on_s3.storage.prune(KEY, now=noon(week + 10)) == []
    on_s3.storage.publish(KEY, resumed, "data")
    assert on_s3.storage.require(KEY).version == resumed.name


def test_what_nobody_takes_up_is_abandoned(on_s3: Place, attempts: Attempts) -> None:
    killed = attempts.begin(0)
    later = NOON + ABANDONED_AFTER + timedelta(minutes=1)
    assert on_s3.storage.prune(KEY, now=lambda: later) == [killed.name]
    assert on_s3.begun() == on_s3.versions() == []
    with pytest.raises(Superseded, match="taken version"):  # should it be alive nevertheless
        on_s3.storage.publish(KEY, killed, "data")
    assert on_s3.storage.latest(KEY) is None
