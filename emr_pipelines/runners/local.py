"""Run programs here: Spark in this process, on all cores."""

from __future__ import annotations

import os
import re
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

from emr_pipelines.programs import progress
from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.failures import PASSED_ON, explained, failure_of
from emr_pipelines.runners.java import use_java

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession

LINE_END = re.compile(r"[\r\n]+")  # progress bars end their lines with \r
LONGEST_LINE = 8192  # characters in one event; what is longer is cut into several
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

    master: str = Field(
        default="local[*]", description="Spark's master URL: local[*] is a task at a time per core, local[2] two."
    )
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties, for instance {'spark.driver.memory': '4g'}."
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
            try:
                progress.follow(spark.sparkContext, lambda seconds: bool(wait([outcome], seconds).done), log)
            except BaseException:
                _in_own_thread(lambda: spark.sparkContext.cancelJobGroup(group))
                thread.join(STOP_SECONDS)
                raise
            thread.join()
        try:
            result = outcome.result()
        except PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001 (a program may raise anything)
            raise failure_of(explained(error, program)) from None
        summary = progress.observed(lambda context: progress.summary(context, group), spark.sparkContext)
        if summary:
            log(summary)
        return result

    def session(self) -> SparkSession:
        """The session that programs get here, for a test or a notebook; runs in this process use it too."""
        return self._session(print)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        if self._started is not None:
            _in_own_thread(self._started.stop)
            self._started = None

    def _session(self, warn: Callable[[str], None]) -> SparkSession:
        import pyspark  # a second
        from dagster_pyspark import LazyPySparkResource
        from pyspark.sql import SparkSession

        if progress.answers(pyspark.SparkContext._active_spark_context):  # noqa: SLF001 (there is no other way to ask)
            # this run's, or a test's or a notebook's, which is used and not stopped
            return self._started or SparkSession.builder.getOrCreate()
        _forget_dead_jvm()
        use_java(warn)
        # the Python that runs this, what it can import, and its Spark, whatever another installation has set
        os.environ |= {
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
        }
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # a laptop's own name often cannot be looked up
        if os.environ.get("LC_ALL") in {"C", "POSIX"}:
            os.environ["LC_ALL"] = "C.UTF-8"  # else Java cannot open a path that is not ASCII
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
    """A text stream that passes all it gets on to another, and each line to a function; in all else it is the other."""

    def __init__(self, passed_on_to: TextIO, on_line: Callable[[str], None]) -> None:
        self._passed_on_to = passed_on_to
        self._on_line = on_line
        self._begun: list[str] = []
        self._begun_characters = 0
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        self._passed_on_to.write(text)
        with self._lock:
            self._begun.append(text)
            self._begun_characters += len(text)
            if "\n" not in text and "\r" not in text and self._begun_characters < LONGEST_LINE:
                return len(text)
            *lines, rest = LINE_END.split("".join(self._begun))
            if len(rest) >= LONGEST_LINE:
                lines, rest = [*lines, rest], ""
            self._begun, self._begun_characters = [rest], len(rest)
        for line in lines:
            self._pass_on(line)
        return len(text)

    def finish(self) -> None:
        self._pass_on("".join(self._begun))

    def _pass_on(self, line: str) -> None:
        for start in range(0, len(line), LONGEST_LINE):
            if part := line[start : start + LONGEST_LINE].rstrip():
                self._on_line(part)

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


def _forget_dead_jvm() -> None:
    """Let pyspark start a JVM anew when the one of this process has died; by itself it goes on calling it."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    gateway = SparkContext._gateway  # noqa: SLF001 (pyspark has no call for this)
    if gateway is not None and gateway.proc.poll() is not None:
        SparkContext._active_spark_context = None  # noqa: SLF001
        SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
        SparkSession._instantiatedSession = None  # noqa: SLF001
