"""Objects are files: Spark reads what clients write, and clients read what Spark writes."""

from __future__ import annotations

import http.client
import io
import os
import shutil
import socket
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pyarrow.fs
import pytest
from botocore.exceptions import ClientError
from rehearsal import Rehearsal, client, until
from werkzeug.wrappers import Response

from emr_emulator import Emulator, InvalidBucket
from emr_emulator.faults import read_faults
from emr_emulator.processes import Supervised, written_files
from emr_emulator.s3 import BLOCK_BYTES, with_content

BUCKET = "objects"


@pytest.fixture
def folder(rehearsal: Rehearsal) -> Path:
    return rehearsal.emulator.create_bucket(BUCKET)


def test_objects_are_files(rehearsal: Rehearsal, folder: Path) -> None:
    s3 = rehearsal.s3
    s3.put_object(Bucket=BUCKET, Key="a/b c/ü+%20.txt", Body=b"one", ContentType="text/plain", Metadata={"k": "v"})
    assert (folder / "a" / "b c" / "ü+%20.txt").read_bytes() == b"one"
    found = s3.get_object(Bucket=BUCKET, Key="a/b c/ü+%20.txt")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"one", "text/plain", {"k": "v"})
    assert found["ETag"] == '"f97c5d29941bfb1b2fdab0874906ab82"'  # the MD5 of "one"
    s3.delete_object(Bucket=BUCKET, Key="a/b c/ü+%20.txt")
    assert list(folder.iterdir()) == []  # S3 has no folders


def test_files_are_objects(rehearsal: Rehearsal, folder: Path) -> None:
    (folder / "out").mkdir()
    path = folder / "out" / "part-0"
    path.write_bytes(b"first")
    assert rehearsal.keys(BUCKET) == ["out/part-0"]
    before = rehearsal.s3.head_object(Bucket=BUCKET, Key="out/part-0")
    assert before["ContentLength"] == 5
    path.write_bytes(b"second")  # overwritten in place
    assert rehearsal.read(BUCKET, "out/part-0") == b"second"
    assert rehearsal.s3.head_object(Bucket=BUCKET, Key="out/part-0")["ETag"] != before["ETag"]
    path.unlink()
    with pytest.raises(ClientError, match="NoSuchKey"):
        rehearsal.read(BUCKET, "out/part-0")
    assert rehearsal.keys(BUCKET) == []


def test_keys_that_cannot_be_files_are_objects_all_the_same(rehearsal: Rehearsal, folder: Path) -> None:
    keys = ["../../up", "/begins", "a", "a/b", "a//c", "dir/", "x" * 300, "./dot"]
    for key in keys:
        rehearsal.s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    assert sorted(rehearsal.keys(BUCKET)) == sorted(keys)
    assert {key: rehearsal.read(BUCKET, key) for key in keys} == {key: key.encode() for key in keys}
    assert [path.name for path in folder.rglob("*")] == ["a"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [BUCKET]


def test_listings(rehearsal: Rehearsal, folder: Path) -> None:
    for name in ("a/1", "a/2", "ab/3", "b/c/4", "5"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    answer = rehearsal.s3.list_objects_v2(Bucket=BUCKET, Delimiter="/")
    assert [entry["Prefix"] for entry in answer["CommonPrefixes"]] == ["a/", "ab/", "b/"]
    assert [entry["Key"] for entry in answer["Contents"]] == ["5"]
    assert rehearsal.keys(BUCKET, "a") == ["a/1", "a/2", "ab/3"]
    assert rehearsal.keys(BUCKET, "a/") == ["a/1", "a/2"]
    assert rehearsal.keys(BUCKET, "none/") == []
    pages = list(
        rehearsal.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
    )
    assert [len(page["Contents"]) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize(
    ("asked", "answer", "said"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-99", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
    ],
)
def test_ranges(rehearsal: Rehearsal, folder: Path, asked: str, answer: bytes, said: str) -> None:
    (folder / "digits").write_bytes(b"0123456789")
    found = rehearsal.s3.get_object(Bucket=BUCKET, Key="digits", Range=asked)
    assert (found["Body"].read(), found["ContentRange"], found["ContentLength"]) == (answer, said, len(answer))


def test_a_range_beyond_the_end(rehearsal: Rehearsal, folder: Path) -> None:
    (folder / "digits").write_bytes(b"0123456789")
    with pytest.raises(ClientError) as caught:
        rehearsal.s3.get_object(Bucket=BUCKET, Key="digits", Range="bytes=10-")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416
    (folder / "empty").touch()
    assert rehearsal.read(BUCKET, "empty") == b""


def test_conditional_calls(rehearsal: Rehearsal, folder: Path) -> None:
    s3 = rehearsal.s3
    (folder / "by-spark").write_bytes(b"1")
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=BUCKET, Key="by-spark", Body=b"2", IfNoneMatch="*")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert (folder / "by-spark").read_bytes() == b"1"
    tag = s3.head_object(Bucket=BUCKET, Key="by-spark")["ETag"]
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=BUCKET, Key="by-spark", IfNoneMatch=tag)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304


def test_one_of_many_wins_a_conditional_put(rehearsal: Rehearsal, folder: Path) -> None:
    together = threading.Barrier(16)

    def put(number: int) -> bool:
        together.wait()
        try:
            rehearsal.s3.put_object(Bucket=BUCKET, Key="lease", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = [number for number, wins in enumerate(pool.map(put, range(16))) if wins]
    assert len(won) == 1
    assert (folder / "lease").read_bytes() == b"%d" % won[0]


def test_copy_delete_many_and_parts(rehearsal: Rehearsal, folder: Path) -> None:
    s3 = rehearsal.s3
    (folder / "source").write_bytes(b"data")
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "source"})
    assert (folder / "copy").read_bytes() == b"data"
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "source"}, {"Key": "copy"}, {"Key": "none"}]})
    assert rehearsal.keys(BUCKET) == []
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="large")["UploadId"]
    parts = [os.urandom(5 << 20), b"end"]
    tags = [
        s3.upload_part(Bucket=BUCKET, Key="large", UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, 1)
    ]
    done = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="large", UploadId=upload, MultipartUpload={"Parts": done})
    assert (folder / "large").read_bytes() == b"".join(parts)
    assert rehearsal.read(BUCKET, "large") == b"".join(parts)
    assert s3.head_object(Bucket=BUCKET, Key="large")["ETag"].endswith('-2"')


def test_what_was_uploaded_in_parts_passes_the_clients_checks(rehearsal: Rehearsal, folder: Path) -> None:
    data = os.urandom(9 << 20)
    rehearsal.s3.upload_fileobj(io.BytesIO(data), BUCKET, "large")
    found = rehearsal.s3.get_object(Bucket=BUCKET, Key="large", ChecksumMode="ENABLED")
    assert found["Body"].read() == data == (folder / "large").read_bytes()


def test_versions(rehearsal: Rehearsal, folder: Path) -> None:
    s3 = rehearsal.s3
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first, second = (s3.put_object(Bucket=BUCKET, Key="k", Body=body)["VersionId"] for body in (b"1", b"22"))
    (folder / "k").write_bytes(b"333")
    assert rehearsal.read(BUCKET, "k") == b"333"

    def version(version_id: str) -> bytes:
        body: bytes = s3.get_object(Bucket=BUCKET, Key="k", VersionId=version_id)["Body"].read()
        return body

    assert (version(first), version(second)) == (b"1", b"22")
    assert len(s3.list_object_versions(Bucket=BUCKET)["Versions"]) == 3
    marker = s3.delete_object(Bucket=BUCKET, Key="k")["VersionId"]
    assert not (folder / "k").exists()
    assert version(second) == b"22"
    s3.delete_object(Bucket=BUCKET, Key="k", VersionId=marker)
    assert (folder / "k").read_bytes() == rehearsal.read(BUCKET, "k") == b"333"
    s3.delete_object(Bucket=BUCKET, Key="k")  # a delete marker is left when the emulator stops


def test_an_upload_in_parts_that_has_only_begun_changes_nothing(rehearsal: Rehearsal, folder: Path) -> None:
    rehearsal.emulator.faults.add(read_faults({"fault": "objects_late", "seconds": 10}))
    rehearsal.s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    upload = rehearsal.s3.create_multipart_upload(Bucket=BUCKET, Key="k")["UploadId"]
    rehearsal.s3.upload_part(Bucket=BUCKET, Key="k", UploadId=upload, PartNumber=1, Body=b"2")
    rehearsal.s3.abort_multipart_upload(Bucket=BUCKET, Key="k", UploadId=upload)
    assert (folder / "k").read_bytes() == b"1"
    rehearsal.advance(10)
    assert rehearsal.read(BUCKET, "k") == b"1"


def test_an_object_that_is_deleted_before_it_is_seen(rehearsal: Rehearsal, folder: Path) -> None:
    rehearsal.emulator.faults.add(read_faults({"fault": "objects_late", "seconds": 10}))
    rehearsal.s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    rehearsal.s3.delete_object(Bucket=BUCKET, Key="k")
    rehearsal.advance(10)
    assert rehearsal.keys(BUCKET) == []
    assert list(folder.iterdir()) == []


def test_a_file_becomes_a_folder(rehearsal: Rehearsal, folder: Path) -> None:
    (folder / "f").write_bytes(b"1")
    assert rehearsal.keys(BUCKET) == ["f"]
    (folder / "f").unlink()
    (folder / "f").mkdir()
    (folder / "f" / "c").write_bytes(b"2")
    assert rehearsal.keys(BUCKET) == ["f/c"]


def test_what_is_no_file_is_no_object(rehearsal: Rehearsal, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"not utf-8 \xff")).touch()
    assert rehearsal.keys(BUCKET) == []
    for key in ("link", "pipe"):
        with pytest.raises(ClientError, match="NoSuchKey"):
            rehearsal.read(BUCKET, key)


def test_a_folder_goes_with_its_last_object(rehearsal: Rehearsal, folder: Path) -> None:
    """Otherwise Spark would take the folder that a killed step left for an existing table."""
    (folder / "out" / "_temporary" / "0").mkdir(parents=True)
    (folder / "out" / "part").touch()
    rehearsal.s3.delete_object(Bucket=BUCKET, Key="out/part")
    assert list(folder.iterdir()) == []


def test_odd_requests_are_answered_as_s3_would(rehearsal: Rehearsal, folder: Path) -> None:
    url = rehearsal.s3.generate_presigned_url("list_objects_v2", Params={"Bucket": BUCKET})
    for body in (b"", b"no xml", b"<Delete>"):
        status, answer = rehearsal.fetch(f"/{BUCKET}?delete&{url.partition('?')[2]}", body, "POST")
        assert (status, b"<Code>MalformedXML</Code>" in answer) == (400, True)
    assert rehearsal.fetch("/moto-api/reset")[0] == 404
    (folder / "q?u").write_bytes(b"1")
    rehearsal.s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "q?u"})
    assert rehearsal.read(BUCKET, "copy") == b"1"


def test_buckets_come_and_go(rehearsal: Rehearsal) -> None:
    s3, root = rehearsal.s3, rehearsal.emulator.root / "buckets"
    s3.create_bucket(Bucket="comes")
    (root / "comes" / "by-spark").touch()
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        s3.delete_bucket(Bucket="comes")
    s3.delete_object(Bucket="comes", Key="by-spark")
    s3.delete_bucket(Bucket="comes")
    assert not (root / "comes").exists()
    s3.create_bucket(Bucket="comes")
    assert rehearsal.keys("comes") == []


def test_objects_outlive_the_emulator_with_a_root(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        emulator.create_bucket("kept")
        client(emulator, "s3").put_object(Bucket="kept", Key="a/b", Body=b"1")
    with Emulator(tmp_path) as emulator:
        assert client(emulator, "s3").get_object(Bucket="kept", Key="a/b")["Body"].read() == b"1"


def test_emulators_of_one_process_do_not_see_each_others_buckets(rehearsal: Rehearsal, folder: Path) -> None:
    assert folder.is_dir()
    with Emulator() as other:
        assert client(other, "s3").list_buckets()["Buckets"] == []
        assert (
            client(other, "sts").get_caller_identity()["Account"]
            != client(rehearsal.emulator, "sts").get_caller_identity()["Account"]
        )


def test_a_bucket_of_another_emulator(folder: Path) -> None:
    assert folder.is_dir()
    with Emulator() as other, pytest.raises(InvalidBucket, match="Another emulator of this process has a bucket"):
        other.create_bucket(BUCKET)


def test_other_services_are_refused_in_their_own_form(rehearsal: Rehearsal) -> None:
    calls = (
        client(rehearsal.emulator, "iam").list_roles,
        client(rehearsal.emulator, "sqs").list_queues,
        client(rehearsal.emulator, "glue").get_databases,
    )
    for call in calls:
        with pytest.raises(ClientError, match="The emulator answers for EMR, EMR Serverless, S3 and STS, not for"):
            call()


@pytest.mark.extended
def test_reading_and_listing_what_comes_and_goes(rehearsal: Rehearsal, folder: Path, tmp_path: Path) -> None:
    """Spark's committers move and delete files while others list them."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            inner = folder / "out" / "_temporary"
            inner.mkdir(parents=True)
            (tmp_path / "part").write_bytes(b"1")  # in another folder, because this test's open files are not tracked
            (tmp_path / "part").replace(inner / "part")
            (inner / "part").replace(folder / "part")
            shutil.rmtree(folder / "out")

    with ThreadPoolExecutor(1) as pool:
        churning = pool.submit(churn)
        seen = set[str]()
        try:
            for _ in range(100):
                seen.update(rehearsal.keys(BUCKET))
                with suppress(rehearsal.s3.exceptions.NoSuchKey):
                    assert rehearsal.read(BUCKET, "out/_temporary/part") == b"1"
        finally:
            stop.set()
        churning.result()
    assert seen <= {"out/_temporary/part", "part"}


def test_its_port_is_free_when_it_has_stopped() -> None:
    with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
    with socket.socket() as connection, pytest.raises(ConnectionRefusedError):
        connection.connect(("127.0.0.1", port))
    with Emulator(port=port) as again:
        assert again.url == emulator.url


def test_a_temporary_root_goes_with_the_emulator() -> None:
    with Emulator() as emulator:
        root = emulator.root
        assert root.is_dir()
    assert not root.exists()


def test_a_file_that_a_step_still_writes_is_not_there_yet(
    rehearsal: Rehearsal, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"exec 3>{folder}/half; printf part >&3; read line <{go}; printf whole >&3; exec 3>&-; read line <{go}"
    process = Supervised(["bash", "-c", script], dict(os.environ), tmp_path, tmp_path)
    monkeypatch.setattr(
        rehearsal.emulator._steps, "written_files", lambda below: set(written_files({process.pid}, f"{below}/"))
    )
    until(lambda: (folder / "half").exists() and (folder / "half").stat().st_size == 4)
    assert set(written_files({process.pid}, f"{folder}/")) == {str(folder / "half")}
    assert rehearsal.keys(BUCKET) == []
    go.write_text("go\n")
    assert until(lambda: rehearsal.keys(BUCKET)) == ["half"]
    assert rehearsal.read(BUCKET, "half") == b"partwhole"
    process.tell("kill")
    process.wait()


def test_pyarrow_reads_and_writes(rehearsal: Rehearsal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rehearsal.emulator.environment.items():
        monkeypatch.setenv(name, value)
    (folder / "in").write_bytes(b"0123456789")
    filesystem, path = pyarrow.fs.FileSystem.from_uri(f"s3://{BUCKET}/in")
    with filesystem.open_input_file(path) as file:
        file.seek(4)
        assert file.read(3) == b"456"
    with filesystem.open_output_stream(f"{BUCKET}/out/x") as out:
        out.write(b"written")
    assert (folder / "out" / "x").read_bytes() == b"written"
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(BUCKET, recursive=True))
    assert {entry.path for entry in found if entry.is_file} == {f"{BUCKET}/in", f"{BUCKET}/out/x"}


def test_presigned(rehearsal: Rehearsal, folder: Path) -> None:
    (folder / "a b").write_bytes(b"signed")
    url = rehearsal.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a b"})
    with urllib.request.urlopen(url) as answer:  # noqa: S310 (the emulator's address)
        assert answer.read() == b"signed"


def test_a_bucket_as_a_host(rehearsal: Rehearsal, folder: Path) -> None:
    (folder / "a").write_bytes(b"1")
    url = rehearsal.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a"})
    connection = http.client.HTTPConnection(rehearsal.emulator.url.removeprefix("http://"))
    path = url.removeprefix(f"{rehearsal.emulator.url}/{BUCKET}")
    connection.request("GET", path, headers={"Host": f"{BUCKET}.localhost:5566"})
    assert connection.getresponse().read() == b"1"
    connection.close()


def test_environment(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rehearsal.emulator.environment.items():
        monkeypatch.setenv(name, value)
    clusters: list[Any] = boto3.session.Session().client("emr").list_clusters()["Clusters"]
    assert clusters == []


def test_the_file_of_an_object_is_closed_whoever_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(bytes(3 * BLOCK_BYTES))
    read_to_its_end, broken_off = path.open("rb"), path.open("rb")
    assert sum(map(len, with_content(Response(), read_to_its_end).response)) == 3 * BLOCK_BYTES
    blocks = iter(with_content(Response(), broken_off).response)
    next(blocks)
    del blocks
    assert (read_to_its_end.closed, broken_off.closed) == (True, True)


@pytest.mark.parametrize(
    "name",
    [
        "my_bucket", "a..b", "192.168.1.1", "xn--bucket", "sthree-bucket", "amzn-s3-demo-bucket", "bucket-s3alias",
        "bucket--ol-s3", "bucket.mrap", "bucket--x-s3", "bucket--table-s3", "ab", "-ab", "ab-", "Upper", "b" * 64,
    ],
)  # fmt: skip
def test_bucket_names_that_s3_refuses(rehearsal: Rehearsal, name: str) -> None:
    """S3 User Guide, "General purpose bucket naming rules"."""
    status, body = rehearsal.fetch(f"/{name}", method="PUT")
    assert (status, b"<Code>InvalidBucketName</Code>" in body) == (400, True)
    with pytest.raises(InvalidBucket, match="cannot be called"):
        rehearsal.emulator.create_bucket(name)
    assert rehearsal.s3.list_buckets()["Buckets"] == []


@pytest.mark.parametrize("name", ["okokes-test-v1.1", "1bucket", "a.-b", "192.168.1", "abc", "b" * 63, "a.b.c"])
def test_bucket_names_that_s3_allows(rehearsal: Rehearsal, name: str) -> None:
    rehearsal.s3.create_bucket(Bucket=name)
    rehearsal.s3.put_object(Bucket=name, Key="k", Body=b"1")
    assert rehearsal.read(name, "k") == b"1"
    assert (rehearsal.emulator.root / "buckets" / name / "k").read_bytes() == b"1"


@pytest.mark.usefixtures("folder")
def test_a_bucket_of_another_account(rehearsal: Rehearsal) -> None:
    """Each emulator of a process is its own account, and no policy gives it access to another's buckets."""
    rehearsal.s3.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    with Emulator() as other:
        other.create_bucket("own")
        s3 = client(other, "s3")
        calls: list[Callable[[], Any]] = [
            lambda: s3.get_object(Bucket=BUCKET, Key="k"),
            lambda: s3.put_object(Bucket=BUCKET, Key="z", Body=b"1"),
            lambda: s3.list_objects_v2(Bucket=BUCKET),
            lambda: s3.copy_object(Bucket="own", Key="k", CopySource={"Bucket": BUCKET, "Key": "k"}),
        ]
        for call in calls:
            with pytest.raises(ClientError, match="AccessDenied"):
                call()
        with pytest.raises(ClientError, match="403"):
            s3.head_bucket(Bucket=BUCKET)
        with pytest.raises(ClientError, match="BucketAlreadyExists"):
            s3.create_bucket(Bucket=BUCKET)
    assert rehearsal.keys(BUCKET) == ["k"]
