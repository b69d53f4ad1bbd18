"""Run programs here: Spark in this process, on all cores."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TextIO

import dagster as dg
from pydantic import Field, PrivateAttr

from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.java import use_java

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

DEFAULT_SPARK_CONFIG = {
    "spark.app.name": "emr_pipelines",
    "spark.ui.enabled": "false",  # it ends with the run, and its port is often taken
    "spark.ui.showConsoleProgress": "false",  # progress goes to Dagster
    "spark.log.level": "ERROR",
}


class LocalSparkRunner(SparkRunner):
    """Runs programs with dagster-pyspark's session in this process; the session starts with the first program and
    stops with the run."""

    master: str = Field(default="local[*]", description="Spark's master URL: local[*] is a task at a time per core.")
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties, for instance {'spark.driver.memory': '4g'}."
    )
    progress_seconds: float = Field(
        default=5.0, gt=0, description="How often, in seconds, to log which stages run and how far they are."
    )

    _started: SparkSession | None = PrivateAttr(default=None)

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        spark = self._session(context.log.warning)
        log = context.log.info
        group = f"{context.run.run_id}:{program.__name__}"
        spark.sparkContext.setJobGroup(group, program.__name__, interruptOnCancel=True)
        try:
            with _printed_lines_to(log), _progress_to(log, spark.sparkContext, self.progress_seconds):
                result = program(spark, params)
        except BaseException:
            spark.sparkContext.cancelJobGroup(group)  # an interrupt stops this thread, not the JVM's tasks
            raise
        log(_summary(spark.sparkContext, group))
        return result

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        if self._started is not None:
            self._started.stop()
            self._started = None

    def _session(self, warn: Callable[[str], None]) -> SparkSession:
        if self._started is not None:
            return self._started
        from dagster_pyspark import LazyPySparkResource  # imports pyspark
        from pyspark.sql import SparkSession

        running = SparkSession.getActiveSession()
        if running is not None:  # somebody else's, in a test or a notebook: used, and not stopped
            return running
        use_java(warn)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers run whichever python3 is on the PATH
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # a laptop's own name often cannot be looked up
        settings = {**DEFAULT_SPARK_CONFIG, "spark.master": self.master, **self.spark_config}
        session: SparkSession = LazyPySparkResource(spark_config=settings).spark_session
        self._started = session
        return session


class _LineTee(io.TextIOBase):
    """A text stream that passes all it gets on to another, and each whole line to a function."""

    def __init__(self, passed_on_to: TextIO, on_line: Callable[[str], None]) -> None:
        self._passed_on_to = passed_on_to
        self._on_line = on_line
        self._begun = ""

    def write(self, text: str) -> int:
        self._passed_on_to.write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._on_line(line)
        return len(text)

    def flush(self) -> None:
        self._passed_on_to.flush()

    def finish(self) -> None:
        if self._begun.strip():
            self._on_line(self._begun)
        self._begun = ""


@contextmanager
def _printed_lines_to(log: Callable[[str], None]) -> Iterator[None]:
    """Log each line that is printed meanwhile, when it is printed."""
    tee = _LineTee(sys.stdout, log)
    try:
        with redirect_stdout(tee):
            yield
    finally:
        tee.finish()


@contextmanager
def _progress_to(log: Callable[[str], None], spark: SparkContext, every_seconds: float) -> Iterator[None]:
    """Log which stages run and how many of their tasks are done, whenever that has changed."""
    done = threading.Event()

    def watch() -> None:
        said = ""
        while not done.wait(every_seconds):
            line = _running_stages(spark)
            if line and line != said:
                log(line)
                said = line

    watcher = threading.Thread(target=watch, name="spark-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _running_stages(spark: SparkContext) -> str:
    tracker = spark.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    parts = [
        f"stage {stage.stageId} ({stage.name}): {stage.numCompletedTasks} of {stage.numTasks} tasks done"
        for stage in stages
        if stage is not None
    ]
    return f"Spark: {'; '.join(parts)}" if parts else ""


def _summary(spark: SparkContext, group: str) -> str:
    tracker = spark.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
    numbers = {number for job in jobs if job is not None for number in job.stageIds}
    stages = [stage for stage in map(tracker.getStageInfo, numbers) if stage is not None and stage.numCompletedTasks]
    tasks = sum(stage.numCompletedTasks for stage in stages)
    return f"Spark: {len(jobs)} jobs, {len(stages)} stages, {tasks} tasks done."
