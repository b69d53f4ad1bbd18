"""How far Spark is, in a sentence, and how often to say so; used where a program runs, here or on a cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark import SparkContext
    from pyspark.status import SparkStageInfo

FIRST_SECONDS = 5.0  # what is over sooner needs no news
LEAST_SECONDS = 60.0  # between two news of what takes long
SHARE = 20  # the newest news of what takes very long are no older than this part of it
LOOK_SECONDS = 1.0  # between two looks, when it is time to say something and there is nothing to say yet
FOLDERS = re.compile(r"(?<= at ).*/")  # in a stage's name: "collect at /long/path/word_count.py:117"


class Backoff:
    """When to say how far something is: first after 5 seconds, and then ever more rarely. That is 5 lines in the first
    minute and a half, one a minute until 20 minutes have passed, and about 70 in three hours.

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
        """Seconds until it is time; none when it is."""
        return max(0.0, self._next - self._now())

    def said(self) -> None:
        """Something was said just now."""
        self._next = self._now() + min(max(self.elapsed, FIRST_SECONDS), max(LEAST_SECONDS, self.elapsed / SHARE))


def follow(
    spark: SparkContext,
    ends: Callable[[float], bool],
    say: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Say how far Spark is, until `ends`, which waits for the end for so many seconds and tells whether it has come."""
    rarely = Backoff(now)
    while not ends(rarely.left or LOOK_SECONDS):
        if not rarely.left and (news := observed(running_stages, spark)):
            say(news)
            rarely.said()


def answers(spark: SparkContext | None) -> bool:
    """Whether it is there and runs: a program may have stopped it, and a JVM can die."""
    from py4j.protocol import Py4JError

    try:
        return spark is not None and spark._jsc is not None and not spark._jsc.sc().isStopped()  # noqa: SLF001
    except (OSError, Py4JError):
        return False


def observed(look: Callable[[SparkContext], str], spark: SparkContext) -> str:
    """What a look at Spark's progress gives; nothing when Spark has gone: to watch a program must not make it fail."""
    from py4j.protocol import Py4JError

    try:
        return look(spark) if answers(spark) else ""
    except (AttributeError, OSError, Py4JError):  # AttributeError: stopped meanwhile
        return ""


def running_stages(spark: SparkContext) -> str:
    """The stages that run, each with how much of it is done; nothing when none runs.

    How long it will take is not told: tasks are of unequal length, and no one knows of the stages that come later.
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
    """What a person wants to know of tasks that are tried again."""
    failed = sum(stage.numFailedTasks for stage in stages)
    return f", {failed:,} failed and tried again" if failed else ""


def summary(spark: SparkContext, group: str) -> str:
    """What the jobs of a group came to."""
    tracker = spark.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
    numbers = {number for job in jobs if job is not None for number in job.stageIds}
    stages = [stage for stage in map(tracker.getStageInfo, numbers) if stage is not None and stage.numCompletedTasks]
    tasks = sum(stage.numCompletedTasks for stage in stages)
    parts = (pluralize(len(jobs), "job"), pluralize(len(stages), "stage"), pluralize(tasks, "task"))
    return f"Spark: {', '.join(parts)} done{_failures(stages)}."


def pluralize(number: int, what: str) -> str:
    """As people say it: 1 file, 2 files."""
    return f"{number:,} {what}{'s' * (number != 1)}"
