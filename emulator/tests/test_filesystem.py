"""Spark sees what the S3 API sees: missing buckets, objects, and bucket names that S3A cannot read."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import pytest
from rehearsal import Rehearsal, step, until

from emr_emulator import filesystem

# executes the lines of its argument; at `wait` it waits for an object
PROGRAM = """
import json, sys, traceback
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
answers = {}
for name, verb, uri in json.loads(sys.argv[1]):
    try:
        if verb == "read":
            answers[name] = sorted(row.value for row in spark.read.text(uri).collect())
        elif verb == "rdd":
            answers[name] = sorted(spark.sparkContext.textFile(uri).collect())
        elif verb == "write":
            spark.createDataFrame([(name,)], "value string").coalesce(1).write.mode("overwrite").text(uri)
            answers[name] = "written"
        else:
            path = spark._jvm.org.apache.hadoop.fs.Path(uri)
            system = path.getFileSystem(spark._jsc.hadoopConfiguration())
            while verb == "wait" and not system.exists(path):
                spark._jvm.java.lang.Thread.sleep(50)
            if verb == "touch":
                system.create(path).close()
            answers[name] = system.exists(path)
    except Exception:
        answers[name] = traceback.format_exc()
print(json.dumps(answers))
"""
BUCKET = "seen-by-spark"
MISSING = "UnknownStoreException", "NoSuchBucketException: The specified bucket does not exist"


@pytest.fixture(scope="module")
def answers(with_spark: Rehearsal) -> dict[str, Any]:
    s3 = with_spark.s3
    for bucket in (BUCKET, f"{BUCKET}.dotted", "last-label-v1.1", "goes-soon"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="text/a.txt", Body=f"in {bucket}\n".encode())
    odd = {"text/A.txt": "upper", "odd/a b+c=d%20é.txt": "odd", "file": "a file", "gone/only.txt": "gone"}
    for key, body in odd.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())
    s3.put_object(Bucket=BUCKET, Key="main.py", Body=PROGRAM.encode())
    todo = [
        ("read", "read", f"s3://{BUCKET}/text/a.txt"),
        ("s3a", "read", f"s3a://{BUCKET}/text/a.txt"),
        ("other case", "read", f"s3://{BUCKET}/text/A.txt"),
        ("odd key", "read", f"s3://{BUCKET}/odd/a b+c=d%20é.txt"),
        ("prefix", "read", f"s3://{BUCKET}/text/"),
        ("dotted", "rdd", f"s3://{BUCKET}.dotted/text/"),
        ("no bucket: read", "read", "s3://no-such-bucket/text/"),
        ("no bucket: rdd", "rdd", "s3://no-such-bucket/text/"),
        ("no bucket: write", "write", "s3://no-such-bucket/out/"),
        ("no bucket: s3a", "write", "s3a://no-such-bucket/out/"),
        ("no bucket: create", "touch", "s3n://no-such-bucket/out"),
        ("no bucket: exists", "exists", "s3://no-such-bucket/"),
        ("underscore", "write", "s3://my_bucket/out/"),
        ("last label", "read", "s3://last-label-v1.1/text/"),
        ("below an object", "write", f"s3://{BUCKET}/file/out/"),
        ("deleted before", "read", "s3://goes-soon/text/"),
        ("sync", "touch", f"s3://{BUCKET}/reached"),
        ("go on", "wait", f"s3://{BUCKET}/go-on"),
        ("deleted while it runs", "read", "s3://goes-soon/text/"),
        ("written to the deleted", "write", "s3://goes-soon/out/"),
        ("created while it runs", "write", "s3://comes-late/out/"),
        ("the last object deleted", "exists", f"s3://{BUCKET}/gone/"),
    ]
    submit = step("spark-submit", f"s3://{BUCKET}/main.py", json.dumps(todo))
    cluster_id = with_spark.launch(submit, LogUri=f"s3://{BUCKET}/logs", KeepJobFlowAliveWhenNoSteps=False)
    until(lambda: with_spark.keys(BUCKET, "reached"))
    s3.delete_object(Bucket="goes-soon", Key="text/a.txt")
    s3.delete_bucket(Bucket="goes-soon")
    s3.create_bucket(Bucket="comes-late")
    s3.delete_object(Bucket=BUCKET, Key="gone/only.txt")
    s3.put_object(Bucket=BUCKET, Key="go-on", Body=b"")
    until(lambda: with_spark.state(cluster_id) == "TERMINATED")
    (found,) = with_spark.steps(cluster_id)
    log = with_spark.log(BUCKET, f"logs/{cluster_id}/steps/{found['Id']}/stdout.gz")
    assert found["Status"]["State"] == "COMPLETED", log
    told: dict[str, Any] = json.loads(log.splitlines()[-1])
    return told


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("read", [f"in {BUCKET}"]),
        ("s3a", [f"in {BUCKET}"]),
        ("other case", ["upper"]),
        ("odd key", ["odd"]),
        ("prefix", [f"in {BUCKET}", "upper"]),
        ("dotted", [f"in {BUCKET}.dotted"]),
        ("deleted before", ["in goes-soon"]),
        ("created while it runs", "written"),
        ("the last object deleted", False),
    ],
)
def test_what_is_there(answers: dict[str, Any], name: str, expected: object) -> None:
    assert answers[name] == expected


@pytest.mark.parametrize(
    "name",
    [
        "no bucket: read", "no bucket: rdd", "no bucket: write", "no bucket: s3a", "no bucket: create",
        "no bucket: exists", "deleted while it runs", "written to the deleted",
    ],
)  # fmt: skip
def test_a_bucket_that_does_not_exist(answers: dict[str, Any], with_spark: Rehearsal, name: str) -> None:
    for words in MISSING:
        assert words in answers[name]
    folders = {folder.name for folder in (with_spark.emulator.root / "buckets").iterdir()}
    assert not {"no-such-bucket", "goes-soon"} & folders


@pytest.mark.parametrize("name", ["underscore", "last label"])
def test_a_bucket_whose_name_is_no_host(answers: dict[str, Any], name: str) -> None:
    """As S3A fails: HADOOP-17241."""
    assert "java.lang.NullPointerException: null uri host" in answers[name]


def test_writing_below_an_object(answers: dict[str, Any], with_spark: Rehearsal) -> None:
    assert "file" in answers["below an object"]
    assert answers["below an object"] != "written"
    assert with_spark.read(BUCKET, "file") == b"a file"


def test_the_api_sees_what_spark_wrote(answers: dict[str, Any], with_spark: Rehearsal) -> None:
    assert answers["created while it runs"] == "written"
    (part,) = [key for key in with_spark.keys("comes-late", "out/") if "part-" in key]
    assert with_spark.read("comes-late", part) == b"created while it runs\n"


def test_the_jar_is_built_from_its_sources() -> None:
    """If not: `python -m emr_emulator.filesystem`."""
    with zipfile.ZipFile(filesystem.JAR) as jar:
        assert jar.read(filesystem.DIGEST).decode() == filesystem.sources_digest()
        assert {name for name in jar.namelist() if name.endswith(".class")} == {
            "emr_emulator/S3FileSystem.class",
            "org/apache/hadoop/fs/s3a/UnknownStoreException.class",
        }
