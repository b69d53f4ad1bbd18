"""Run programs with Spark in this process, on all cores."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TextIO, cast

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator

from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.job.requirements import reject_missing
from emr_pipelines.remote import codec, progress
from emr_pipelines.remote.annotations import annotation_of, reject_unfinished
from emr_pipelines.remote.printing import PrintedText
from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.failures import PASSED_ON, explained, raise_failure
from emr_pipelines.runners.local_spark import program_session, running_session, start

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession

LINE_END = re.compile(r"[\r\n]+")  # progress bars end their lines with \r
LONGEST_LINE = 8192  # characters in one event; what is longer is cut into several
STOP_SECONDS = 30  # after this, a JVM that does not answer is left to end with this process
ALL_CORES = "local[*]"
PROGRAM_THREAD = "spark-program"
# programs share this process's stdout, current session, cache and global views, so only one runs at a time
RUNNING = threading.Lock()
# https://spark.apache.org/docs/latest/submitting-applications.html#master-urls, less Spark Connect's sc://
MASTER = re.compile(r"local|local\[(\*|\d+)(, *\d+)?\]|local-cluster\[.+\]|yarn|(spark|k8s|mesos)://.+")
DEFAULT_SPARK_CONFIG = {
    "spark.app.name": "emr_pipelines",
    "spark.ui.enabled": "false",  # it ends with the run, and its port is often taken
    "spark.ui.showConsoleProgress": "false",  # progress goes to Dagster
    "spark.log.level": "ERROR",
}


class LocalSparkRunner(SparkRunner):
    """Runs programs with Spark in this process, one at a time.

    Spark starts with the first program and stops with the run. For example, with two tasks at a time and 4 GiB:

        LocalSparkRunner(master="local[2]", spark_config={"spark.driver.memory": "4g"})

    Raises InvalidValue for a master or property that Spark in this process cannot have, and JavaNotUsable when a
    program runs and no Java suits Spark.
    """

    master: str = Field(
        default=ALL_CORES, description="Spark's master URL: local[*] is a task at a time per core, local[2] two."
    )
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties, for instance {'spark.driver.memory': '4g'}."
    )

    _started: SparkSession | None = PrivateAttr(default=None)

    @field_validator("spark_config")
    @classmethod
    def _in_this_process(cls, told: dict[str, str]) -> dict[str, str]:
        if "spark.remote" in told:
            allowed = "nothing; programs use the SparkContext, which Spark Connect does not have"
            raise InvalidValue("spark_config.spark.remote", told["spark.remote"], allowed)
        return told

    @field_validator("master")
    @classmethod
    def _runs_programs(cls, master: str) -> str:
        if not (isinstance(master, dg.EnvVar) or MASTER.fullmatch(master)):
            allowed = "local, local[4], local[*], local-cluster[...], spark://host:port, yarn or k8s://..."
            if master.startswith("sc://"):
                allowed += "; programs use the SparkContext, which Spark Connect does not have"
            raise InvalidValue("master", master, allowed)
        return master

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        if threading.current_thread().name == PROGRAM_THREAD:
            raise InvalidValue(
                "The caller of spark.run",
                "a program",
                "an asset; on a cluster a program has no runner, so it has to call the other program as a function",
            )
        reject_unfinished(program)
        reject_missing(program)
        with _alone(context.log.info):
            result = self._run(context, program, params)
        if reason := _why_not_on_a_cluster(program, params, result):
            context.log.warning(f"This program runs with local Spark only: {reason}")
        return result

    def _run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        shared = self._session(context.log.warning)
        settings = {} if shared is self._started else self._told()
        log = context.log.info
        group = f"{context.run.run_id}:{program.__name__}"
        outcome: Future[ResultT] = Future()

        def work() -> None:
            try:
                with program_session(shared, settings, context.log.warning) as spark:
                    spark.sparkContext.setJobGroup(group, program.__name__, interruptOnCancel=True)
                    result = codec.call(program, spark, params)
                outcome.set_result(result)
            except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits)
                outcome.set_exception(error)

        # In a thread of its own, because a thread that an interrupt takes out of a call to the JVM cannot call it any
        # more; this one was in no call, and can cancel the program's jobs.
        thread = threading.Thread(target=work, name=PROGRAM_THREAD, daemon=True)
        with _printed_lines_to(log):
            thread.start()
            try:
                progress.follow(shared.sparkContext, lambda seconds: bool(wait([outcome], seconds).done), log)
            except BaseException:
                _in_own_thread(lambda: shared.sparkContext.cancelJobGroup(group))
                thread.join(STOP_SECONDS)
                raise
            thread.join()
        try:
            result = outcome.result()
        except PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001 (a program may raise anything)
            raise_failure(explained(error, program))
        summary = progress.observed(lambda context: progress.summary(context, group), shared.sparkContext)
        if summary:
            log(summary)
        return result

    def session(self) -> SparkSession:
        """Return a session for a test or a notebook. Runs in this process share its context, but not its session."""
        return self._session(print)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        if self._started is not None:
            _in_own_thread(self._started.stop)
            self._started = None

    def _session(self, warn: Callable[[str], None]) -> SparkSession:
        """Return a session of the Spark that runs in this process, and start Spark if none does."""
        if running := running_session():
            return self._started or running
        on_interrupt = signal.getsignal(signal.SIGINT)
        self._started = start({**DEFAULT_SPARK_CONFIG, "spark.master": self.master, **self.spark_config}, warn)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # pyspark puts its own in the place of Dagster's
        return self._started

    def _told(self) -> dict[str, str]:
        """Return the properties of this runner that differ from the defaults."""
        return {**({} if self.master == ALL_CORES else {"spark.master": self.master}), **self.spark_config}


def _why_not_on_a_cluster(program: Callable[..., object], params: object, result: object) -> str:
    """Return why a program that ended well here could not be sent to a cluster; an empty text if it could.

    Local Spark calls the function directly, so it needs neither a name to import nor values that JSON can hold. The
    warning comes before the same program fails on another target.
    """
    try:
        codec.name_of(program)
        codec.round_trip(annotation_of(program, "params"), params)
        codec.round_trip(annotation_of(program, "return"), result, "result")
    except PackagingError as error:
        return str(error)
    return ""


@contextmanager
def _alone(log: Callable[[str], None]) -> Iterator[None]:
    """Let programs of this process run one at a time, across threads and runs."""
    if not RUNNING.acquire(blocking=False):
        log("Waiting for another program in this process to end.")
        RUNNING.acquire()
    try:
        yield
    finally:
        RUNNING.release()


def _in_own_thread(action: Callable[[], None]) -> None:
    """Call the JVM from another thread, which works even if this thread was interrupted during a call: py4j has a
    connection per thread."""
    thread = threading.Thread(target=action, name="spark-stop", daemon=True)
    thread.start()
    thread.join(STOP_SECONDS)


class _Lines:
    """Cuts text into lines and passes each on to a function."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._begun: list[str] = []
        self._begun_characters = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        with self._lock:
            self._begun.append(text)
            self._begun_characters += len(text)
            if "\n" not in text and "\r" not in text and self._begun_characters < LONGEST_LINE:
                return
            *lines, rest = LINE_END.split("".join(self._begun))
            if len(rest) >= LONGEST_LINE:
                lines, rest = [*lines, rest], ""
            self._begun, self._begun_characters = [rest], len(rest)
        for line in lines:
            self._pass_on(line)

    def finish(self) -> None:
        self._pass_on("".join(self._begun))

    def _pass_on(self, line: str) -> None:
        for begin in range(0, len(line), LONGEST_LINE):
            if part := line[begin : begin + LONGEST_LINE].rstrip():
                self._on_line(part)


@contextmanager
def _printed_lines_to(log: Callable[[str], None]) -> Iterator[None]:
    """Log each printed line as it is printed. Dagster's console shows the log, so the line does not go to stdout
    too."""
    lines = _Lines(log)
    try:
        with redirect_stdout(cast("TextIO", PrintedText(sys.stdout, lines.add))):
            yield
    finally:
        lines.finish()
