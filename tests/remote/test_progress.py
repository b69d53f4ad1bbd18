"""Spark's progress: the sentence, and when it is reported."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyspark import SparkContext, SparkStageInfo

from emr_pipelines.remote import progress
from emr_pipelines.remote.progress import LOOK_SECONDS, Backoff, follow, running_stages, summary


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds


def stage(number: int, name: str, tasks: int, done: int, failed: int = 0) -> SparkStageInfo:
    return SparkStageInfo(number, 0, name, tasks, 0, done, failed)


def spark(stages: Sequence[SparkStageInfo | None], active: Sequence[int] = ()) -> SparkContext:
    """A stub of Spark in which one job of the group "mine" has all stages."""
    tracker = SimpleNamespace(
        getActiveStageIds=lambda: active,
        getStageInfo=lambda number: next((found for found in stages if found and found.stageId == number), None),
        getJobIdsForGroup=lambda group: [7] if group == "mine" else [],
        getJobInfo=lambda _: SimpleNamespace(stageIds=[found.stageId for found in stages if found]),
    )
    return cast("SparkContext", SimpleNamespace(statusTracker=lambda: tracker))


COUNTING = stage(3, "collect at /home/me/my project/word_count.py:117", 500, 210)
FAILING = stage(4, "collect at pi.py:9", 3000, 1010, failed=2)


def times_of(seconds: float) -> list[float]:
    """Return the times of reports about work that takes so long, polled four times a second."""
    clock, said = Clock(), []
    rarely = Backoff(clock.now)
    while rarely.elapsed < seconds:
        if not rarely.left:
            said.append(rarely.elapsed)
            rarely.said()
        clock.seconds += 0.25
    return said


def test_news_come_ever_more_rarely() -> None:
    assert times_of(4.9) == []
    assert times_of(300) == [5, 10, 20, 40, 80, 140, 200, 260]
    said = times_of(3 * 3600)
    assert len(said) == 68
    gaps = [later - earlier for earlier, later in pairwise(said)]
    assert gaps == sorted(gaps)
    assert all(gap <= max(60, later / 20 + 1) for gap, later in zip(gaps, said[1:], strict=True))


def test_what_was_late_is_not_made_up_for() -> None:
    clock = Clock()
    rarely = Backoff(clock.now)
    clock.seconds += 50
    assert rarely.left == 0
    rarely.said()
    assert rarely.left == 50


@pytest.mark.parametrize(
    ("active", "sentence"),
    [
        ([], ""),
        ([3], "Spark: 42 % of stage 3 (collect at word_count.py:117), 210 of 500 tasks"),
        (
            [4, 3, 99],  # 99 has ended meanwhile
            (
                "Spark: 42 % of stage 3 (collect at word_count.py:117), 210 of 500 tasks; "
                "33 % of stage 4 (collect at pi.py:9), 1,010 of 3,000 tasks, 2 failed and tried again"
            ),
        ),
    ],
)
def test_a_sentence_of_what_runs(active: list[int], sentence: str) -> None:
    assert running_stages(spark([COUNTING, FAILING], active)) == sentence


def test_what_it_came_to() -> None:
    done = [COUNTING, FAILING, stage(5, "skipped at x.py:1", 7, 0)]
    assert summary(spark(done), "mine") == "Spark: 1 job, 2 stages, 1,220 tasks done, 2 failed and tried again."
    assert summary(spark(done), "another's") == "Spark: 0 jobs, 0 stages, 0 tasks done."


def test_spark_is_followed_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage runs for the first 7 seconds, then one until the end after 30 seconds."""
    clock, said, waited = Clock(), [], []

    def ends(seconds: float) -> bool:
        waited.append(seconds)
        clock.seconds += seconds
        return clock.seconds >= 1030

    def look(_look: Any, _spark: SparkContext) -> str:
        return "Spark: 1 %" if clock.seconds >= 1007 else ""

    monkeypatch.setattr(progress, "observed", look)
    follow(spark([]), ends, lambda line: said.append((clock.seconds - 1000, line)), clock.now)
    assert said == [(7, "Spark: 1 %"), (14, "Spark: 1 %"), (28, "Spark: 1 %")]
    assert waited[:3] == [5, LOOK_SECONDS, LOOK_SECONDS]
    assert len(waited) == 6
