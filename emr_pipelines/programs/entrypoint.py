"""What is spark-submitted: it finds a program, runs it, and leaves its result as the last thing it does.

    spark-submit ... entrypoint.py s3://.../task.json --dagster-pipes-context ... --dagster-pipes-messages ...

Everything that it reads and writes goes through Hadoop's FileSystem, so it needs no AWS library, and s3:, hdfs: and
file: are the same to it. While the program runs, what it prints and how far Spark is are sent to Dagster by way of
Pipes messages: files of JSON lines in a folder, numbered from 1. Losing them loses nothing but the news.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

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

from emr_pipelines.programs import progress, wire
from emr_pipelines.programs.outbox import Outbox

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FEED_SECONDS = 1.5  # between two files of messages
ALIVE_SECONDS = 3.0  # between two signs of life, when there is nothing to say
LAST_LOOK_SECONDS = 5.0  # how long to wait, at the end, for a look at Spark's progress that is under way
LAST_WORDS_SECONDS = 30.0  # how long to wait, at the end, until the last messages are written
ALIVE = "alive"  # the file of the sign of life
UNPACKED = "dependencies"  # the folder of the executors where YARN unpacks the archive of that name


@dataclass(frozen=True)
class Task:
    """What is to run: `program` is `package.module:function`, `params` what `wire.encode` made of its parameters.

    `result` is where the result goes. `archive` is a zip of packages for Python `python` (3.11, say), or empty.
    """

    program: str
    params: Any
    result: str
    archive: str = ""
    python: str = ""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Files:
    """Files wherever Hadoop finds them."""

    def __init__(self, spark: SparkSession) -> None:
        self._jvm: Any = spark.sparkContext._jvm  # noqa: SLF001 (there is no other way to Hadoop)
        self._configuration = spark.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001

    def read(self, uri: str) -> bytes:
        path, filesystem = self._locate(uri)
        stream = filesystem.open(path)
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream))
        finally:
            stream.close()

    def write(self, uri: str, data: bytes) -> None:
        path, filesystem = self._locate(uri)
        stream = filesystem.create(path, True)  # overwrite
        try:
            stream.write(bytearray(data))
        finally:
            stream.close()

    def fetch(self, uri: str, to: Path) -> None:
        path, filesystem = self._locate(uri)
        # without a local .crc file
        filesystem.copyToLocalFile(False, path, self._jvm.org.apache.hadoop.fs.Path(to.as_uri()), True)

    def _locate(self, uri: str) -> tuple[Any, Any]:
        path = self._jvm.org.apache.hadoop.fs.Path(uri)
        return path, path.getFileSystem(self._configuration)


class ContextFile(PipesContextLoader):
    """Reads the context that Dagster left in a file."""

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
        self._outbox = Outbox()
        self._unsent: list[PipesMessage] = []
        self._over = threading.Event()
        self._written = 0
        self._beats = 0
        self._quiet_seconds = 0.0

    def write_message(self, message: PipesMessage) -> None:
        self._outbox.put(message)

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
        """Write what waits, in files of a bounded size; when nothing does, a sign of life now and then. What could not
        be written is tried again the next time."""
        try:
            self._quiet_seconds += FEED_SECONDS
            while messages := self._unsent or self._outbox.take():
                self._unsent = messages
                lines = "\n".join(map(json.dumps, messages))
                self._files.write(f"{self._folder}/{self._written + 1}.json", lines.encode())
                self._written += 1
                self._unsent = []
                self._quiet_seconds = 0.0
            if self._quiet_seconds >= ALIVE_SECONDS:
                self._beats += 1
                self._quiet_seconds = 0.0
                self._files.write(f"{self._folder}/{ALIVE}", str(self._beats).encode())
        except Exception as error:  # noqa: BLE001 (news that cannot be sent must not stop the program)
            print(f"Messages for Dagster could not be written: {error}", file=sys.__stderr__)


class Tee(TextIOBase):
    """A text stream whose text goes to another as well as to Dagster."""

    def __init__(self, stream: TextIO, name: str, pipes: PipesContext) -> None:
        self._stream, self._name, self._pipes = stream, name, pipes

    def write(self, text: str) -> int:
        self._stream.write(text)
        if text:
            self._pipes.log_external_stream(self._name, text)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(task_uri: str) -> None:
    """Run the task that a file describes."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    try:
        files = Files(spark)
        task = Task(**json.loads(files.read(task_uri)))
        with (
            _opened_pipes(files) as pipes,
            _printing_to(pipes),
            _dependencies(spark, files, task),
            _reporting(spark, pipes, task.program),
        ):
            program = wire.load(task.program)
            params = wire.decode(wire.annotation_of(program, "params"), task.params)
            result = wire.dumps(wire.call(program, spark, params), "result")
            files.write(task.result, f'{{"result": {result}}}'.encode())
    finally:
        spark.stop()


def _opened_pipes(files: Files) -> PipesContext:
    loader = PipesCliArgsParamsLoader()  # type: ignore[no-untyped-call]
    return open_dagster_pipes(context_loader=ContextFile(files), message_writer=Feed(files), params_loader=loader)


@contextmanager
def _printing_to(pipes: PipesContext) -> Iterator[None]:
    """Send what is printed to Dagster too."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", Tee(sys.stdout, "stdout", pipes))
    sys.stderr = cast("TextIO", Tee(sys.stderr, "stderr", pipes))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def _dependencies(spark: SparkSession, files: Files, task: Task) -> Iterator[None]:
    """Make the packages of the archive importable: YARN unpacks it for the executors, but in client mode not for the
    driver (SPARK-36088)."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not task.archive:
        yield
        return
    if task.python != version:
        print(f"The packages in {task.archive} are for Python {task.python}; this is {version}, and uses its own.")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="dependencies-") as folder:
        archive = Path(folder) / "archive.zip"
        files.fetch(task.archive, archive)
        unpacked = Path(folder) / UNPACKED
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(unpacked)
        archive.unlink()
        sys.path.insert(0, str(unpacked))
        # of the executors: what YARN unpacked where they work; this folder where they are in this process
        environment = spark.sparkContext.environment
        environment["PYTHONPATH"] = os.pathsep.join(
            [UNPACKED, str(unpacked), *filter(None, [environment.get("PYTHONPATH")])]
        )
        try:
            yield
        finally:
            sys.path.remove(str(unpacked))


@contextmanager
def _reporting(spark: SparkSession, pipes: PipesContext, group: str) -> Iterator[None]:
    """Log how far Spark is, while it runs and in the end."""
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


if __name__ == "__main__":
    main(sys.argv[1])
