"""Run programs here: Spark in this process, on all cores."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TextIO

import dagster as dg
from pydantic import Field, PrivateAttr

from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.java import use_java

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

STOP_SECONDS = 30  # a JVM that does not answer by then ends with this process anyway
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
        outcome: Future[ResultT] = Future()

        def work() -> None:
            try:
                spark.sparkContext.setJobGroup(group, program.__name__, interruptOnCancel=True)
                outcome.set_result(program(spark, params))
            except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits)
                outcome.set_exception(error)

        # In a thread of its own, because a thread that an interrupt takes out of a call to the JVM cannot call it any
        # more; this one was in no call, and can cancel the program's jobs.
        with _printed_lines_to(log):
            threading.Thread(target=work, name="spark-program", daemon=True).start()
            said = ""
            try:
                while not wait([outcome], timeout=self.progress_seconds).done:
                    progress = _running_stages(spark.sparkContext)
                    if progress and progress != said:
                        log(progress)
                        said = progress
            except BaseException:
                _apart(lambda: spark.sparkContext.cancelJobGroup(group))
                wait([outcome], timeout=STOP_SECONDS)
                raise
        result = outcome.result()
        log(_summary(spark.sparkContext, group))
        return result

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        if self._started is not None:
            _apart(self._started.stop)
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
        on_interrupt = signal.getsignal(signal.SIGINT)
        session: SparkSession = LazyPySparkResource(spark_config=settings).spark_session
        self._started = session
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # pyspark puts its own in the place of Dagster's
        return session


def _apart(action: Callable[[], None]) -> None:
    """Do something to the JVM that works even if this thread was interrupted within a call to it: py4j has a connection
    per thread."""
    thread = threading.Thread(target=action, name="spark-apart", daemon=True)
    thread.start()
    thread.join(STOP_SECONDS)


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
