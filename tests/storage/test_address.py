"""How addresses are resolved."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote

import dagster as dg
import pytest

from emr_pipelines.errors import InvalidValue, StorageUnusable
from emr_pipelines.storage import Storage
from emr_pipelines.storage.address import partition_folder, resolve
from tests.storage.conftest import KEY


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/x",
        "s3:/bucket",
        "s3://",
        "s3:///x",
        "s3://bucket//x",
        "s3://bucket/a/../b",
        "s3://Bucket/x",
        "s3://bucket/[x]",
        "s3a://bucket/x",
        "memory:/x",
        "C:\\data",
        "/data/[x]",
        "/data/{a}",
        "da*ta",
        "~nosuchuser/data",
    ],
)
def test_an_address_that_is_not_allowed_is_named_with_what_is(uri: str) -> None:
    with pytest.raises(StorageUnusable, match="is not allowed") as caught:
        Storage(uri=uri).latest(KEY)
    assert repr(uri) in str(caught.value)


def test_the_default_is_the_environments_or_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("") == f"{tmp_path}/data"
    monkeypatch.setenv("EMR_PIPELINES_STORAGE", f" {tmp_path}/elsewhere/ ")
    assert resolve("") == f"{tmp_path}/elsewhere"
    monkeypatch.setenv("EMR_PIPELINES_STORAGE", "s3://bucket/a b/")
    assert resolve("") == "s3://bucket/a b"
    assert resolve("here") == f"{tmp_path}/here"
    for form in ("file:/a b/50%/", "file:///a b/50%", "/a b/50%"):
        assert resolve(form) == "/a b/50%"


@pytest.mark.parametrize(
    ("bucket", "root"),
    [
        ("my-bucket", "s3://my-bucket/default/data"),
        ("my-bucket/prefix", "s3://my-bucket/prefix/default/data"),
        ("s3://my-bucket/prefix/", "s3://my-bucket/prefix/default/data"),
        ("s3://my-bucket", "s3://my-bucket/default/data"),
    ],
)
def test_on_emr_the_default_is_in_the_bucket(monkeypatch: pytest.MonkeyPatch, bucket: str, root: str) -> None:
    monkeypatch.setenv("EMR_PIPELINES_BUCKET", bucket)
    assert not resolve("").startswith("s3://")  # a bucket alone is not enough
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    assert resolve("") == root
    monkeypatch.setenv("EMR_PIPELINES_STORAGE", "s3://other")
    assert resolve("") == "s3://other"


def test_on_emr_a_bucket_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    with pytest.raises(StorageUnusable, match="EMR_PIPELINES_BUCKET is ''; allowed: a bucket"):
        resolve("")
    monkeypatch.setenv("EMR_PIPELINES_BUCKET", "gs://bucket")
    with pytest.raises(StorageUnusable, match="EMR_PIPELINES_BUCKET is 'gs://bucket'; allowed: a bucket"):
        resolve("")


@pytest.mark.parametrize(
    ("partition", "folder"),
    [
        ("2026-01-01", "partition=2026-01-01"),
        ("a/b:c", "partition=a%2Fb%3Ac"),
        ("red|2026-01-02", "partition=red%7C2026-01-02"),
        ("a@b~c", "partition=a%40b~c"),
        ("日本", "partition=%E6%97%A5%E6%9C%AC"),
        ("\ud800", "partition=%ED%A0%80"),
        ("x" * 245, "partition=" + "x" * 245),
        ("日" * 27 + "ab", "partition=" + "%E6%97%A5" * 27 + "ab"),  # 255 bytes, the most
    ],
)
def test_keys_that_fit_in_a_name_are_their_partition_s_folder(partition: str, folder: str) -> None:
    assert partition_folder(partition) == folder


@pytest.mark.parametrize(
    ("partition", "head"),
    [
        ("x" * 246, "partition=" + "x" * 180),
        ("日" * 28, "partition=" + "%E6%97%A5" * 20),
        ("x" + "日" * 28, "partition=x" + "%E6%97%A5" * 19 + "%E6%97"),  # an escape is not cut in two
        ("\ud800" * 40, "partition=" + "%ED%A0%80" * 20),
        ("red|" + "d" * 300, "partition=red%7C" + "d" * 174),
    ],
)
def test_a_longer_key_is_hashed_behind_its_beginning(partition: str, head: str) -> None:
    digest = hashlib.sha256(partition.encode("utf-8", "surrogatepass")).hexdigest()
    assert partition_folder(partition) == f"{head}@{digest}"
    assert len(partition_folder(partition).encode()) <= 255


def test_no_two_keys_have_the_same_folder() -> None:
    long = ["x" * number for number in range(240, 400)] + ["x" * 299 + "y", "日" * 28, "日" * 29]
    # keys that look like the folder of another
    posing = [unquote(partition_folder("x" * 300).removeprefix("partition=")), partition_folder("x" * 300)]
    folders = [partition_folder(key) for key in [*long, *posing]]
    assert len(set(folders)) == len(folders)
    assert max(map(len, folders)) <= 255


@pytest.mark.parametrize("uri", ["{tmp_path}/data", "s3://bucket/data"])
@pytest.mark.parametrize("part", ["x" * 256, "日" * 86])
def test_a_key_that_is_too_long_for_a_folder_is_refused(tmp_path: Path, uri: str, part: str) -> None:
    storage = Storage(uri=uri.format(tmp_path=tmp_path))
    with pytest.raises(InvalidValue, match=r"A part of the key of an asset is .*; allowed: at most 255 bytes in UTF-8"):
        storage.latest(dg.AssetKey(["group", part]))
