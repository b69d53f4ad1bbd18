"""Invalid and misleading addresses of sources and of the storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.errors import EmrPipelinesError, InvalidValue, SourceNotFound, SourceUnreadable, StorageUnusable
from emr_pipelines.pipelines.word_count.ingest import IngestParams
from emr_pipelines.remote.files import find_text_files
from emr_pipelines.storage import Storage
from emr_pipelines.storage.address import resolve
from tests.bad_input.conftest import validate_sentence

KEY = dg.AssetKey("words")

# other schemes, empty texts and names that are not UTF-8 are in tests/remote/test_files.py
SOURCES: list[tuple[str, type[EmrPipelinesError], str]] = [
    ("s3a://bucket/x", InvalidValue, "A source is 's3a://bucket/x'; allowed: a file"),
    ("s3n://bucket/x", InvalidValue, "A source is 's3n://bucket/x'; allowed: a file"),
    ("S3://bucket/x", InvalidValue, "A source is 'S3://bucket/x'; allowed: a file"),
    ("s3:///key", SourceUnreadable, "The source 's3:///key' cannot be listed"),
    ("s3://?", SourceNotFound, "The source 's3://?' matches no file"),
    ("s3://texts-of-nobody/../../etc/passwd", SourceNotFound, "matches no file"),
    ("s3://texts-of-nobody//x", SourceUnreadable, "cannot be listed: Empty path component"),
    ("s3://texts-of-nobody/%2e%2e/x", SourceNotFound, "'s3://texts-of-nobody/%2e%2e/x' matches no file"),
    ("s3://texts-of-nobody/x?versionId=1", SourceNotFound, "matches no file"),
    ("s3://me:secret@texts-of-nobody/x", SourceUnreadable, "cannot be listed"),
    ("file://host/folder/a.txt", InvalidValue, "A source is 'file://host/folder/a.txt'; allowed: a file"),
    ("file://~/a.txt", InvalidValue, "A source is 'file://~/a.txt'; allowed: a file"),
    ("~nosuchuser/a.txt", SourceNotFound, "'~nosuchuser/a.txt' matches no file"),
    ("/dev/zero", SourceNotFound, "'/dev/zero' matches no file"),
    ("/no/such\nfolder/*.txt", SourceNotFound, r"'/no/such\nfolder/*.txt' matches no file"),
    ("/a\x00b", SourceUnreadable, r"The source '/a\x00b' cannot be listed"),
    ("/\ud800", SourceUnreadable, r"The source '/\ud800' cannot be listed"),
    ("/[", SourceNotFound, "'/[' matches no file"),
    ("x" * 5000, SourceUnreadable, "File name too long"),
]


@pytest.mark.parametrize(("source", "kind", "says"), SOURCES, ids=[repr(source)[:40] for source, _, _ in SOURCES])
def test_sources(s3: Any, source: str, kind: type[EmrPipelinesError], says: str) -> None:  # noqa: ARG001 (the endpoint)
    with pytest.raises(kind) as caught:
        find_text_files([source])
    validate_sentence(str(caught.value), says)
    if kind is InvalidValue:  # known without reading anything, so before a cluster is launched
        with pytest.raises(InvalidValue, match="A source is"):
            IngestParams((source,), "out")


# the content of a folder: how to create it, and the outcome of a run that ingests it
def _dangling(folder: Path) -> None:
    (folder / "a.txt").symlink_to(folder / "nowhere")


def _device(folder: Path) -> None:
    (folder / "zero.txt").symlink_to("/dev/zero")


def _folder_by_a_file_s_name(folder: Path) -> None:
    (folder / "x.txt").mkdir()


def _linked_in_a_circle(folder: Path) -> None:
    (folder / "a.txt").symlink_to(folder / "a.txt")


FOLDERS: list[tuple[Callable[[Path], None], str, type[EmrPipelinesError], str]] = [
    (_dangling, "", SourceUnreadable, "nowhere', which is not there; mend the link or remove it"),
    (_dangling, "/a.txt", SourceUnreadable, "a.txt is a link to '"),
    (_device, "", SourceNotFound, "matches no file"),
    (_device, "/zero.txt", SourceNotFound, "matches no file"),
    (_folder_by_a_file_s_name, "", SourceNotFound, "matches no file"),
    (_folder_by_a_file_s_name, "/x.txt", SourceNotFound, "matches no file"),
    (_linked_in_a_circle, "", SourceUnreadable, "Too many levels of symbolic links"),
]


@pytest.mark.parametrize(("make", "source", "kind", "says"), FOLDERS)
def test_what_is_no_file(
    tree: Path, make: Callable[[Path], None], source: str, kind: type[EmrPipelinesError], says: str
) -> None:
    make(tree)
    with pytest.raises(kind) as caught:
        find_text_files([f"{tree}{source}"])
    validate_sentence(str(caught.value), says)
    assert str(tree) in str(caught.value)


# other schemes, and globs, are in tests/storage/test_address.py
STORAGES = [
    "file://host/data",
    "file://~/data",
    "file:data",
    "s3n://bucket/x",
    "S3://bucket/x",
    "s3://b",
    "s3://bucket/x?y=1",
    "s3://me:secret@bucket/x",
    "s3://bucket/./x",
    "s3://bucket/a\nb",
    "s3://bucket/\ud800",
    "/data/a\x00b",
    "/data/\x1b[31m",
    "/data/\udce9",
]


@pytest.mark.parametrize("uri", STORAGES)
def test_storages(uri: str) -> None:
    for use in (lambda: Storage(uri=uri), lambda: resolve(uri)):
        with pytest.raises(StorageUnusable) as caught:
            use()
        validate_sentence(str(caught.value), "is not allowed")
        assert any(rule in str(caught.value) for rule in ("; allowed: a folder", ": a bucket's name has "))
        assert repr(uri) in str(caught.value)


def test_what_looks_like_an_escape_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Percent signs, spaces and accents in addresses are literal."""
    monkeypatch.chdir(tmp_path)
    for uri in ("100%", "%2e%2e/x", "a b", "größe", "data ../x", "‥", "x\u200dy"):
        storage = Storage(uri=uri)
        with storage.new_version(KEY, "run") as version:
            storage.write(KEY, version, "x", b"x")
            storage.publish(KEY, version, "data")
        assert storage.require(KEY).uri == f"file://{tmp_path}/{uri}/words/{version.name}"
        assert resolve(uri).startswith(f"{tmp_path}/")
