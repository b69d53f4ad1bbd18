"""How far Spark is, in a sentence; used where a program runs, here or on a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark import SparkContext

FOLDERS = re.compile(r"(?<= at )\S*/")  # in a stage's name: "collect at /long/path/word_count.py:117"


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
    """The stages that run, each with how many of its tasks are done; nothing when none runs."""
    tracker = spark.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    parts = [
        f"stage {stage.stageId} ({FOLDERS.sub('', stage.name)}): "
        f"{stage.numCompletedTasks} of {stage.numTasks} tasks done"
        for stage in stages
        if stage is not None
    ]
    return f"Spark: {'; '.join(parts)}" if parts else ""


def summary(spark: SparkContext, group: str) -> str:
    """What the jobs of a group came to."""
    tracker = spark.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
    numbers = {number for job in jobs if job is not None for number in job.stageIds}
    stages = [stage for stage in map(tracker.getStageInfo, numbers) if stage is not None and stage.numCompletedTasks]
    tasks = sum(stage.numCompletedTasks for stage in stages)
    return f"Spark: {len(jobs)} jobs, {len(stages)} stages, {tasks} tasks done."
