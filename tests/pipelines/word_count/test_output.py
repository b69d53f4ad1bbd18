"""If a bucket demands encryption headers, Spark writes a program's output, and it is the same output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emr_pipelines.errors import NotText, StorageUnusable
from emr_pipelines.pipelines.word_count.count import WordCountParams, count_words
from emr_pipelines.pipelines.word_count.ingest import LEFTOVER, IngestParams, ingest_text
from emr_pipelines.pipelines.word_count.output import spark_must_write

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from emr_emulator import Emulator

BUCKET = "encrypted-writes-only"
DENIED = [
    {"fault": "s3_error", "operation": operation, "key": f"{BUCKET}/*", "code": "AccessDenied", "times": None}
    for operation in ("PutObject", "CreateMultipartUpload")
]


class Configuration:
    """Hadoop's configuration of the shared session; changes are undone."""

    def __init__(self, spark: SparkSession) -> None:
        self._hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()
        self._set: list[str] = []

    def set(self, name: str, value: str) -> None:
        self._hadoop.set(name, value)
        self._set.append(name)

    def reset(self) -> None:
        for name in self._set:
            self._hadoop.unset(name)


@pytest.fixture
def configuration(spark: SparkSession) -> Iterator[Configuration]:
    changes = Configuration(spark)
    yield changes
    changes.reset()


@pytest.fixture
def bucket(configuration: Configuration, endpoint: Emulator, s3: Any) -> Iterator[str]:
    """A bucket that Spark can write and pyarrow cannot: S3 denies writes, and Spark writes to the folder."""
    s3.create_bucket(Bucket=BUCKET)
    impl = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
    target = "fs.viewfs.overload.scheme.target.s3.impl"
    configuration.set("fs.s3.impl", impl)
    configuration.set(target, "org.apache.hadoop.fs.RawLocalFileSystem")
    configuration.set(f"fs.viewfs.mounttable.{BUCKET}.linkFallback", f"file://{endpoint.root}/buckets/{BUCKET}")
    endpoint.faults.add(DENIED)
    yield f"s3://{BUCKET}"
    endpoint.faults.clear()
    for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    s3.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def text(tree: Path) -> Path:
    (tree / "a.txt").write_bytes(b"one\r\n\r\ntwo " + b"\xff two\nthree" * 3)
    (tree / "b.txt").write_bytes(b"")
    for number in range(4):
        (tree / f"c{number}.txt").write_bytes(f"three four {number}".encode() * 50_000)
    return tree


def written_keys(s3: Any) -> list[str]:
    """Return the keys in the bucket, without Hadoop's local checksum files."""
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    return [key for key in keys if not key.endswith(".crc")]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("fs.s3a.encryption.algorithm", "SSE-KMS", True),
        ("fs.s3a.server-side-encryption-algorithm", "AES256", True),
        ("fs.s3a.bucket.mine.encryption.algorithm", "DSSE-KMS", True),
        ("fs.s3a.bucket.other.encryption.algorithm", "SSE-KMS", False),
        ("fs.s3.enableServerSideEncryption", "true", True),
        ("fs.s3.enableServerSideEncryption", "false", False),
    ],
)
def test_hadoop_s_configuration_says_whether_writes_to_s3_are_encrypted(
    spark: SparkSession, configuration: Configuration, name: str, value: str, expected: bool
) -> None:
    assert not spark_must_write(spark, "s3://mine/out")
    configuration.set(name, value)
    assert spark_must_write(spark, "s3://mine/out") is expected
    assert not spark_must_write(spark, "/mine/out")
    assert not spark_must_write(spark, "file:///mine/out")


def test_a_snapshot_that_spark_writes_is_the_one_that_tasks_write(
    spark: SparkSession,
    configuration: Configuration,
    endpoint: Emulator,
    s3: Any,
    bucket: str,
    text: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(StorageUnusable, match="cannot be written"):
        ingest_text(spark, IngestParams((str(text),), f"{bucket}/out"))
    expected = ingest_text(spark, IngestParams((str(text),), str(tmp_path / "out")))
    configuration.set("fs.s3a.encryption.algorithm", "SSE-KMS")
    left = endpoint.root / "buckets" / BUCKET / "out" / "_temporary" / "0" / "task_1" / "part-00000.txt"
    left.parent.mkdir(parents=True)
    left.write_text("a killed attempt left this\n")
    for _ in range(2):  # the second replaces the files of the first
        result = ingest_text(spark, IngestParams((str(text),), f"{bucket}/out"))
        keys = written_keys(s3)
        written = [key for key in keys if LEFTOVER.fullmatch(key.removeprefix("out/"))]
        assert set(keys) - set(written) <= {"out/", "out/_SUCCESS"}
        bodies = {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in written}
        manifest = json.loads(bodies.pop("out/_manifest.json"))
        parts = [path.read_bytes() for path in sorted(tmp_path.glob("out/part-*"))]
        assert b"".join(bodies.values()) == b"".join(parts)
        assert len(bodies) == len(parts) == 2
        assert manifest["digest"] == result.digest == expected.digest
        assert (result.lines, result.replaced_bytes) == (expected.lines, expected.replaced_bytes) == (10, 3)


def test_a_table_that_spark_writes_is_the_one_that_tasks_write(
    spark: SparkSession, configuration: Configuration, s3: Any, bucket: str, text: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"min_count": 2, "stop_words": ("four",), "top": 3}
    expected = count_words(spark, WordCountParams(str(text), str(tmp_path / "out"), **options))
    configuration.set("fs.s3a.encryption.algorithm", "SSE-KMS")
    for _ in range(2):
        result = count_words(spark, WordCountParams(str(text), f"{bucket}/out", **options))
        facts = ("digest", "total_words", "counted_words", "left_out_words", "distinct_words", "lines", "top_words")
        assert [getattr(result, fact) for fact in facts] == [getattr(expected, fact) for fact in facts]
        assert result.left_out_words >= 200_000
        assert [key for key in written_keys(s3) if not re.search(r"/(part-\d{5}-[^/]*\.parquet|_SUCCESS)?$", key)] == []


def test_what_is_not_text_is_named_where_spark_writes(
    spark: SparkSession, configuration: Configuration, bucket: str, tree: Path
) -> None:
    (tree / "a.txt").write_bytes(b"good\n")
    (tree / "b.txt").write_bytes(b"\x7fELF\0")
    configuration.set("fs.s3a.encryption.algorithm", "SSE-KMS")
    with pytest.raises(NotText, match=r"b\.txt is a program"):
        ingest_text(spark, IngestParams((str(tree),), f"{bucket}/out"))
    (tree / "b.txt").rename(tree / "b.txt.gz")
    with pytest.raises(NotText, match=r"b\.txt\.gz is called \.gz"):
        count_words(spark, WordCountParams(str(tree), f"{bucket}/out"))
