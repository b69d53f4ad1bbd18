"""Leftovers of killed steps and writers are replaced by the next attempt, and finally deleted."""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from emr_pipelines.errors import StorageUnusable
from emr_pipelines.pipelines.word_count.count import WordCountParams, count_words
from emr_pipelines.pipelines.word_count.ingest import IngestParams, ingest_text
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.storage import ABANDONED_AFTER
from tests.emr_env import PARAMS, EmrEnv
from tests.runners.programs import Total, add_up
from tests.storage.conftest import KEY, NOON, Place, noon
from tests.storage.test_attempts import attempts_at

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MINUTES = int(ABANDONED_AFTER.total_seconds()) // 60


def begun_and_killed(place: Place, minute: int = 0) -> str:
    """Begin a version, write half of it with Spark's and Hadoop's temporary files, and die."""
    with attempts_at(place) as attempts:
        version = attempts.begin(minute)
        for name in ("part-00000.txt", "part-00007.txt", "_temporary/0/task_1/part-1", "_manifest.json"):
            place.look.put(f"words/{version.name}/{name}", "half")
        return version.name


def test_what_nobody_goes_on_with_goes_with_all_that_is_in_it(place: Place) -> None:
    killed = begun_and_killed(place)
    published = place.publish(1)
    assert place.storage.prune(KEY, now=noon(MINUTES - 1)) == []
    assert place.storage.prune(KEY, now=noon(MINUTES + 1)) == [killed]
    assert [path for path in place.look.paths() if killed in path] == []
    assert place.storage.require(KEY).version == published.name


def test_of_many_kills_nothing_stays(place: Place) -> None:
    """A machine that crashes repeatedly: no attempt ends properly."""
    for minute in range(20):
        begun_and_killed(place, minute)
    place.publish(30)
    place.storage.prune(KEY, now=noon(MINUTES + 60))
    left = [path for path in place.look.paths() if path.startswith("words/") and not path.endswith(".lock")]
    assert len(left) == 3  # the part, the mark, and the pointer


@pytest.mark.parametrize("moment", ["latest.json", "20260101T120000000000Z-00000000.begun.json", "probe"])
def test_a_write_that_was_killed_leaves_nothing_for_ever(on_disk: Place, moment: str) -> None:
    on_disk.publish(1)
    folder = Path(on_disk.storage.uri) / "words"
    old, young = (folder / f".{moment}-{uuid.uuid4().hex}" for _ in range(2))
    others = [folder / name for name in (".latest.json-mine", ".gitignore", "notes-0123456789abcdef0123456789abcdef")]
    for path in (old, young, *others):
        path.write_text("half")
    week_ago = (datetime.now(timezone.utc) - ABANDONED_AFTER - timedelta(hours=1)).timestamp()
    for path in (old, *others):
        os.utime(path, (week_ago, week_ago))
    assert on_disk.storage.prune(KEY) == []
    assert [path.exists() for path in (old, young, *others)] == [False, True, True, True, True]


def test_a_leftover_that_cannot_be_deleted_is_a_sentence(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk.publish(1)
    leftover = Path(on_disk.storage.uri) / "words" / f".latest.json-{uuid.uuid4().hex}"
    leftover.write_text("half")
    os.utime(leftover, (0, 0))

    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(StorageUnusable, match=r"words cannot be cleaned up: .*Permission denied"):
        on_disk.storage.prune(KEY)


def test_the_next_attempt_replaces_what_its_own_step_left_on_s3(spark: SparkSession, on_s3: Place, tree: Path) -> None:
    (tree / "a.txt").write_text("one two\n")
    killed = begun_and_killed(on_s3)
    on_s3.look.put(f"words/{killed}/part-00007.parquet", "half")
    with on_s3.storage.new_version(KEY, "second-run", "work", now=noon(1)) as version:
        assert version.name == killed
        ingested = ingest_text(spark, IngestParams((str(tree),), version.uri))
        counted = count_words(spark, WordCountParams(str(tree), version.uri))
        on_s3.storage.publish(KEY, version, ingested.digest)
    assert (ingested.lines, counted.top_words, counted.rows) == (1, {"one": 1, "two": 1}, 2)
    inside = {
        path.split("/")[-1]: on_s3.look.get(path)
        for path in on_s3.look.paths()
        if "/part-000" in path and path.endswith(".txt")
    }
    assert inside == {"part-00000.txt": "one two\n"}
    assert [path for path in on_s3.look.paths() if path.endswith(".parquet")] == [f"words/{killed}/part-00000.parquet"]


def test_what_killed_attempts_of_a_step_have_told_goes_when_one_ends_well(emr_env: EmrEnv) -> None:
    def again_and_again(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        for _ in range(2):
            with pytest.raises(dg.Failure):
                spark.run(context, add_up, PARAMS)
        assert len(told()) == 2
        emr_env.clock.result = {"total": 6}
        return spark.run(context, add_up, PARAMS)

    def told() -> list[str]:
        folders = {path.parent.name for path in emr_env.account.emulator.root.rglob("attempt-*/*")}
        return sorted(folders)

    emr_env.clock.result = None
    emr_env.account.fault("step_fails", times=2, stderr="ValueError: no")
    assert emr_env.materialize(again_and_again, log_wait_seconds=0) == Total(6)
    assert told() == []
    steps = emr_env.account.emulator.root / "buckets" / "emr-tests" / "default" / "steps"
    assert {path.name for path in steps.rglob("*") if path.is_file()} == {"result.json", "task.json"}


def test_a_clock_that_is_ahead_keeps_nothing_for_ever(place: Place) -> None:
    """A version begun by a host whose clock is a month ahead is deleted a week after that month."""
    month = 30 * 24 * 60
    ahead = begun_and_killed(place, month)
    place.publish(1)
    assert place.storage.prune(KEY, now=noon(MINUTES + 1)) == []
    assert place.storage.prune(KEY, now=lambda: NOON + timedelta(minutes=month + MINUTES + 1)) == [ahead]
