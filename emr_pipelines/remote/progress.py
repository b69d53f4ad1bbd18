"""Describe Spark's progress in a sentence, at growing intervals; used where a program runs, here or on a cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark import SparkContext, SparkStageInfo

FIRST_SECONDS = 5.0  # shorter work needs no report
LEAST_SECONDS = 60.0  # between two reports of long work
SHARE = 20  # the last report of very long work is no older than this part of it
LOOK_SECONDS = 1.0  # between two looks when a report is due and there is nothing to report
FOLDERS = re.compile(r"(?<= at ).*/")  # in a stage's name: "collect at /long/path/word_count.py:117"


class Backoff:
    """When to report progress: after 5 seconds, and then at growing intervals. That makes 5 lines in the first minute
    and a half, one per minute until 20 minutes, and about 70 in three hours.

    now: a clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._next = self._began + FIRST_SECONDS

    @property
    def elapsed(self) -> float:
        return self._now() - self._began

    @property
    def left(self) -> float:
        """Seconds until the next report is due; 0 if it is."""
        return max(0.0, self._next - self._now())

    def said(self) -> None:
        """Note that a report was made now."""
        self._next = self._now() + min(max(self.elapsed, FIRST_SECONDS), max(LEAST_SECONDS, self.elapsed / SHARE))


def follow(
    spark: SparkContext,
    ends: Callable[[float], bool],
    log: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Report Spark's progress until `ends`, which waits for the given seconds, returns true."""
    rarely = Backoff(now)
    while not ends(rarely.left or LOOK_SECONDS):
        if not rarely.left and (news := observed(running_stages, spark)):
            log(news)
            rarely.said()


def answers(spark: SparkContext | None) -> bool:
    """Whether Spark answers: a program may have stopped it, and a JVM can die."""
    from py4j.protocol import Py4JError

    try:
        return spark is not None and spark._jsc is not None and not spark._jsc.sc().isStopped()  # noqa: SLF001
    except (OSError, Py4JError):
        return False


def observed(look: Callable[[SparkContext], str], spark: SparkContext) -> str:
    """Call a function that looks at Spark's progress; empty if Spark is gone, because watching must not make a program
    fail."""
    from py4j.protocol import Py4JError

    try:
        return look(spark) if answers(spark) else ""
    except (AttributeError, OSError, Py4JError):  # AttributeError: stopped meanwhile
        return ""


def running_stages(spark: SparkContext) -> str:
    """Describe the running stages and how much of each is done; empty if none runs.

    It gives no remaining time, because tasks are unequal and later stages unknown.
    """
    tracker = spark.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
    parts = [_sentence(stage) for stage in stages if stage is not None]
    return f"Spark: {'; '.join(parts)}" if parts else ""


def _sentence(stage: SparkStageInfo) -> str:
    percent = 100 * stage.numCompletedTasks // max(stage.numTasks, 1)
    name = f"stage {stage.stageId} ({FOLDERS.sub('', stage.name)})"
    return (
        f"{percent} % of {name}, {stage.numCompletedTasks:,} of {pluralize(stage.numTasks, 'task')}{_failures([stage])}"
    )


def _failures(stages: Iterable[SparkStageInfo]) -> str:
    """Describe the failed tasks that Spark retries."""
    failed = sum(stage.numFailedTasks for stage in stages)
    return f", {failed:,} failed and tried again" if failed else ""


def summary(spark: SparkContext, group: str) -> str:
    """Summarize the jobs of a group."""
    tracker = spark.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
    numbers = {number for job in jobs if job is not None for number in job.stageIds}
    stages = [stage for stage in map(tracker.getStageInfo, numbers) if stage is not None and stage.numCompletedTasks]
    tasks = sum(stage.numCompletedTasks for stage in stages)
    parts = (pluralize(len(jobs), "job"), pluralize(len(stages), "stage"), pluralize(tasks, "task"))
    return f"Spark: {', '.join(parts)} done{_failures(stages)}."


def pluralize(number: int, what: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{number:,} {what}{'s' * (number != 1)}"
