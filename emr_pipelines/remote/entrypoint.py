"""The script that spark-submit runs: make a program's code importable on driver and executors, and start the program.

    spark-submit ... entrypoint.py s3://.../task.json --dagster-pipes-context ... --dagster-pipes-messages ...

It imports nothing of this package until the code has been unpacked. It reads and writes through Hadoop's FileSystem, so
it needs no AWS library and treats s3:, hdfs: and file: alike.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DRIVER = "emr_pipelines.remote.driver"  # runs the task, once the code is unpacked; it imports this module
CODE = "shipped_code"  # the folders where YARN unpacks the archives of these names, for the executors
LIBRARIES = "dependencies"


@dataclass(frozen=True)
class Task:
    """A task for the driver: `program` is `package.module:function`, `params` its encoded parameters.

    `result` is the URI for the result. `code` is a zip of source, `archive` a zip of packages for Python `python`
    (3.11, say), or empty; `files` are for the program to read.
    """

    program: str
    params: Any
    result: str
    code: str = ""
    archive: str = ""
    python: str = ""
    files: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Task:
        told = json.loads(data)
        return cls(**{**told, "files": tuple(told["files"])})


class Files:
    """Read, write, delete and fetch files through Hadoop's FileSystem."""

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

    def delete(self, uri: str) -> None:
        """Delete a file, or a folder with all that is in it, if it is there."""
        path, filesystem = self._locate(uri)
        filesystem.delete(path, True)  # recursive

    def fetch(self, uri: str, to: Path) -> None:
        path, filesystem = self._locate(uri)
        # not as_uri(): Hadoop takes a percent sign for itself. False, True: keep the source, write no local .crc file
        filesystem.copyToLocalFile(False, path, self._jvm.org.apache.hadoop.fs.Path(f"file://{to.absolute()}"), True)

    def _locate(self, uri: str) -> tuple[Any, Any]:
        path = self._jvm.org.apache.hadoop.fs.Path(uri)
        return path, path.getFileSystem(self._configuration)


def main(task_uri: str) -> None:
    """Run the task that a file describes."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    try:
        files = Files(spark)
        task = Task.from_json(files.read(task_uri))
        with importable(spark, files, CODE, task.code):
            importlib.import_module(DRIVER).run(spark, files, task)
    finally:
        spark.stop()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip with the files' permissions, as YARN does for the executors and `extractall` does not."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            path = opened.extract(entry, folder)
            permissions = entry.external_attr >> 16 & 0o777  # none in a zip that was not made on Unix
            if permissions and not entry.is_dir():
                os.chmod(path, permissions)  # noqa: PTH101 (a text, as zipfile has it)


@contextmanager
def importable(spark: SparkSession, files: Files, name: str, archive: str, before: int = 0) -> Iterator[None]:
    """Unpack an archive of Python modules for this driver, and put it on the path of driver and executors.

    YARN unpacks it for the executors, into the folder `name` where they work, but in client mode not for the driver
    (SPARK-36088). Modules are unpacked because a program may read files beside its code.

    before: how many archives come before this one on the path.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        packed, unpacked = Path(folder) / "archive.zip", Path(folder) / name
        files.fetch(archive, packed)
        unpack(packed, unpacked)
        packed.unlink()
        sys.path.insert(before, str(unpacked))
        # of the executors: what YARN unpacked where they work; this folder where they are in this process
        environment = spark.sparkContext.environment
        paths = environment.get("PYTHONPATH", "").split(os.pathsep)
        paths[2 * before : 2 * before] = [name, str(unpacked)]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        try:
            yield
        finally:
            if str(unpacked) in sys.path:  # a program may have changed it
                sys.path.remove(str(unpacked))


if __name__ == "__main__":
    main(sys.argv[1])
