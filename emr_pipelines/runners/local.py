"""Run programs here: Spark in this process, on all cores."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

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
        thread = threading.Thread(target=work, name="spark-program", daemon=True)
        with _printed_lines_to(log):
            thread.start()
            said = ""
            try:
                while not wait([outcome], timeout=self.progress_seconds).done:
                    progress = _observed(_running_stages, spark.sparkContext)
                    if progress and progress != said:
                        log(progress)
                        said = progress
            except BaseException:
                _in_own_thread(lambda: spark.sparkContext.cancelJobGroup(group))
                thread.join(STOP_SECONDS)
                raise
            thread.join()
        result = outcome.result()
        summary = _observed(lambda context: _summary(context, group), spark.sparkContext)
        if summary:
            log(summary)
        return result

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        if self._started is not None:
            _in_own_thread(self._started.stop)
            self._started = None

    def _session(self, warn: Callable[[str], None]) -> SparkSession:
        import pyspark  # a second
        from dagster_pyspark import LazyPySparkResource
        from pyspark.sql import SparkSession

        running = self._started or SparkSession.getActiveSession()
        if running is not None and _answers(running.sparkContext):  # a test's or a notebook's is used, and not stopped
            return running
        use_java(warn)
        # the Python that runs this and the Spark that it imports, whatever another installation has put there
        os.environ |= {
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
        }
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # a laptop's own name often cannot be looked up
        settings = {**DEFAULT_SPARK_CONFIG, "spark.master": self.master, **self.spark_config}
        on_interrupt = signal.getsignal(signal.SIGINT)
        session: SparkSession = LazyPySparkResource(spark_config=settings).spark_session
        self._started = session
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # pyspark puts its own in the place of Dagster's
        return session


def _in_own_thread(action: Callable[[], None]) -> None:
    """Do something to the JVM that works even if this thread was interrupted within a call to it: py4j has a connection
    per thread."""
    thread = threading.Thread(target=action, name="spark-stop", daemon=True)
    thread.start()
    thread.join(STOP_SECONDS)


class _LineTee:
    """A text stream that passes all it gets on to another, and each whole line to a function; in all else the other."""

    def __init__(self, passed_on_to: TextIO, on_line: Callable[[str], None]) -> None:
        self._passed_on_to = passed_on_to
        self._on_line = on_line
        self._begun = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        self._passed_on_to.write(text)
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._on_line(line)
        return len(text)

    def finish(self) -> None:
        if self._begun.strip():
            self._on_line(self._begun)
        self._begun = ""

    def __getattr__(self, name: str) -> object:
        return getattr(self._passed_on_to, name)


@contextmanager
def _printed_lines_to(log: Callable[[str], None]) -> Iterator[None]:
    """Log each line that is printed meanwhile, when it is printed."""
    tee = _LineTee(sys.stdout, log)
    try:
        with redirect_stdout(cast("TextIO", tee)):
            yield
    finally:
        tee.finish()


def _answers(spark: SparkContext) -> bool:
    """Whether nobody has stopped it: a program may."""
    return getattr(spark, "_jsc", None) is not None


def _observed(look: Callable[[SparkContext], str], spark: SparkContext) -> str:
    """What a look at Spark's progress gives; nothing when Spark has gone: to watch a program must not make it fail."""
    from py4j.protocol import Py4JError

    try:
        return look(spark) if _answers(spark) else ""
    except (AttributeError, OSError, Py4JError):  # AttributeError: stopped meanwhile
        return ""


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
