"""Run a task on the driver, once its code is importable, and write its result last.

While the program runs, its output and Spark's progress are sent to Dagster as Pipes messages: files of JSON lines in a
folder, numbered from 1. The result does not depend on them: lost messages cost only the live log.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesContext,
    PipesContextData,
    PipesContextLoader,
    PipesMessage,
    PipesMessageWriter,
    PipesMessageWriterChannel,
    PipesParams,
    open_dagster_pipes,
)

from emr_pipelines.remote import codec, progress
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.remote.entrypoint import LIBRARIES, Files, Task, importable
from emr_pipelines.remote.message_buffer import MessageBuffer
from emr_pipelines.remote.printing import PrintedText

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pyspark.sql import SparkSession

FEED_SECONDS = 1.5  # between two files of messages
LAST_LOOK_SECONDS = 5.0  # how long to wait, at the end, for a look at Spark's progress that is under way
LAST_WORDS_SECONDS = 30.0  # how long to wait, at the end, until the last messages are written


class ContextFile(PipesContextLoader):
    """Reads Dagster's context from a file."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @contextmanager
    def load_context(self, params: PipesParams) -> Iterator[PipesContextData]:
        yield json.loads(self._files.read(params["uri"]))


class Feed(PipesMessageWriter["Channel"]):
    """Writes messages to files in a folder."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @contextmanager
    def open(self, params: PipesParams) -> Iterator[Channel]:
        channel = Channel(self._files, params["folder"])
        with channel.writing():
            yield channel


class Channel(PipesMessageWriterChannel):
    """A folder of files of messages, and the thread that writes them."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder
        self._buffer = MessageBuffer()
        self._unsent: list[PipesMessage] = []
        self._over = threading.Event()
        self._written = 0

    def write_message(self, message: PipesMessage) -> None:
        self._buffer.put(message)

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._write_until_over, name="feed", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(LAST_WORDS_SECONDS)

    def _write_until_over(self) -> None:
        while not self._over.wait(FEED_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        """Write the waiting messages in files of a bounded size. After an error, they are written the next time."""
        try:
            while messages := self._unsent or self._buffer.take():
                self._unsent = messages
                lines = "\n".join(map(json.dumps, messages))
                self._files.write(f"{self._folder}/{self._written + 1}.json", lines.encode())
                self._written += 1
                self._unsent = []
        except Exception as error:  # noqa: BLE001 (messages that cannot be sent must not stop the program)
            print(f"Messages for Dagster could not be written: {error}", file=sys.__stderr__)


def tee(stream: TextIO, name: str, pipes: PipesContext) -> TextIO:
    """A text stream that writes to another stream and sends the text to Dagster too, as the output of `name`."""

    def pass_on(text: str) -> None:
        stream.write(text)
        if text:
            pipes.log_external_stream(name, text)

    return cast("TextIO", PrintedText(stream, pass_on))


def run(spark: SparkSession, files: Files, task: Task) -> None:
    """Run a task, and write its result."""
    with (
        _opened_pipes(files) as pipes,
        _printing_to(pipes),
        _libraries(spark, files, task),
        _reporting(spark, pipes, task.program),
    ):
        place_files(files, task.files)
        program = codec.load(task.program)
        params = codec.decode(annotation_of(program, "params"), task.params)
        result = codec.dumps(codec.call(program, spark, params), "result")
        files.write(task.result, f'{{"result": {result}}}'.encode())


def place_files(files: Files, uris: Sequence[str]) -> None:
    """Copy files to where `SparkFiles.get` finds them on the driver; YARN serves executors only (SPARK-21859)."""
    from pyspark import SparkFiles

    for uri in uris:
        address, _, name = uri.partition("#")
        if not address.startswith("local:"):  # on each node already
            files.fetch(address, Path(SparkFiles.getRootDirectory()) / (name or address.rpartition("/")[2]))


def _opened_pipes(files: Files) -> PipesContext:
    loader = PipesCliArgsParamsLoader()  # type: ignore[no-untyped-call]
    return open_dagster_pipes(context_loader=ContextFile(files), message_writer=Feed(files), params_loader=loader)


@contextmanager
def _printing_to(pipes: PipesContext) -> Iterator[None]:
    """Send printed text to Dagster too."""
    before = sys.stdout, sys.stderr
    sys.stdout = tee(sys.stdout, "stdout", pipes)
    sys.stderr = tee(sys.stderr, "stderr", pipes)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _libraries(spark: SparkSession, files: Files, task: Task) -> AbstractContextManager[None]:
    """Make the task's packages importable, if they were built for this Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if task.archive and task.python != version:
        print(f"The packages in {task.archive} are for Python {task.python}; this is {version}, and uses its own.")
        return nullcontext()
    return importable(spark, files, LIBRARIES, task.archive, before=1) if task.archive else nullcontext()


@contextmanager
def _reporting(spark: SparkSession, pipes: PipesContext, group: str) -> Iterator[None]:
    """Log Spark's progress while it runs and at the end."""
    over = threading.Event()
    context = spark.sparkContext
    context.setJobGroup(group, group, interruptOnCancel=True)

    follow = threading.Thread(
        target=progress.follow, args=(context, over.wait, pipes.log.info), name="progress", daemon=True
    )
    follow.start()
    try:
        yield
    finally:
        over.set()
        follow.join(LAST_LOOK_SECONDS)
    with suppress(Exception):  # the result is there already
        pipes.log.info(progress.observed(lambda spark: progress.summary(spark, group), context))
