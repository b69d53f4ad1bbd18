"""Write the files of a program's output folder.

Tasks write them with pyarrow, which is fastest. Where Hadoop is configured to encrypt what it writes to S3, Spark does
it instead: such a bucket may deny writes without encryption headers, and pyarrow cannot send those.
"""

from __future__ import annotations

import posixpath
import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from emr_pipelines.remote.entrypoint import Files
from emr_pipelines.remote.files import locate

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark import Accumulator
    from pyspark.sql import SparkSession

# S3A's property and its older name, then EMRFS's; see Hadoop's "Working with Encrypted S3 Data"
ENCRYPTION = ("fs.s3a.encryption.algorithm", "fs.s3a.server-side-encryption-algorithm")
ENCRYPTION_OF_EMRFS = "fs.s3.enableServerSideEncryption"
UNCOMMITTED = "_temporary"  # Spark's tasks write here; the next job in the folder would commit a killed job's leftovers


def spark_must_write(spark: SparkSession, output: str) -> bool:
    """Tell whether Spark must write files in this folder: it is on S3, and Hadoop encrypts its writes there."""
    if not output.startswith("s3://"):
        return False
    bucket = output.split("/")[2]
    of_bucket = [name.replace("fs.s3a.", f"fs.s3a.bucket.{bucket}.", 1) for name in ENCRYPTION]
    configuration = spark.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001
    encrypted = any(configuration.get(name) for name in (*ENCRYPTION, *of_bucket))
    return encrypted or bool(configuration.getBoolean(ENCRYPTION_OF_EMRFS, False))


def collector(spark: SparkSession) -> Accumulator[list[Any]]:
    """Return a list to which tasks that write files can add their results."""
    from pyspark.accumulators import AccumulatorParam

    class Appending(AccumulatorParam[list[Any]]):
        def zero(self, value: list[Any]) -> list[Any]:  # noqa: ARG002 (Spark's signature)
            return []

        def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:  # noqa: N802 (Spark's name)
            return value1 + value2

    return spark.sparkContext.accumulator([], Appending())


def write_file(spark: SparkSession, path: str, data: bytes) -> None:
    """Write a small file from the driver. Raises OSError."""
    if spark_must_write(spark, path):
        Files(spark).write(path, data)
    else:
        with open_output(path) as stream:
            stream.write(data)


def open_output(path: str) -> AbstractContextManager[Any]:
    """A binary stream that writes a local path, file:// or s3:// URI, with the folders it needs. On S3 it asks for no
    encryption: see `spark_must_write`. Raises OSError."""
    filesystem, inner = locate(path)
    if not path.startswith("s3://"):  # S3 has no folders, and a program must not create a bucket
        filesystem.create_dir(posixpath.dirname(inner), recursive=True)
    stream: AbstractContextManager[Any] = filesystem.open_output_stream(inner)
    return stream


def list_folder(folder: str, names: re.Pattern[str]) -> list[str]:
    """The files directly in a folder (path or URI) whose names match, as URIs or paths, sorted; none when there is no
    such folder. Raises OSError."""
    from pyarrow.fs import FileSelector, FileType

    filesystem, inner = locate(folder)
    infos = filesystem.get_file_info(FileSelector(inner.rstrip("/"), allow_not_found=True))
    found = [info.base_name for info in infos if info.type == FileType.File and names.fullmatch(info.base_name)]
    return [f"{folder.rstrip('/')}/{name}" for name in sorted(found)]


def delete_from(spark: SparkSession, folder: str, names: re.Pattern[str]) -> None:
    """Delete the files directly in a folder (path or URI) whose names match, if there are any. Raises OSError."""
    paths = list_folder(folder, names)
    if spark_must_write(spark, folder):  # pyarrow writes an object for the folder when it deletes the last file
        files = Files(spark)
        for path in (*paths, f"{folder.rstrip('/')}/{UNCOMMITTED}"):
            files.delete(path)
    else:
        for path in paths:
            filesystem, inner = locate(path)
            filesystem.delete_file(inner)
