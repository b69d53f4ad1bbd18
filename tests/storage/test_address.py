"""Which place an address means."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_pipelines.errors import StorageUnusable
from emr_pipelines.storage import Storage
from emr_pipelines.storage.address import resolve
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
    assert not resolve("").startswith("s3://")  # a bucket alone says nothing
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
