"""The entrypoint's files keep their names and permissions."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emr_pipelines.job.artifacts import zip_entry
from emr_pipelines.remote import driver
from emr_pipelines.remote.entrypoint import Files, unpack

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAMES = ["a=b.json", "a+b.json", "a@b.json", "a b.json", "50%.json", "a%20b.json", "a_b-c.json", "ü.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_keeps_its_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    files = Files(spark)
    (tmp_path / "to").mkdir()
    uri = f"file://{tmp_path}/{name}"
    files.write(uri, b"first")
    files.write(uri, name.encode())
    assert files.read(uri) == (tmp_path / name).read_bytes() == name.encode()
    files.fetch(uri, tmp_path / "to" / name)
    assert [path.name for path in (tmp_path / "to").iterdir()] == [name]
    assert (tmp_path / "to" / name).read_bytes() == name.encode()
    files.delete(uri)
    files.delete(uri)
    assert not (tmp_path / name).exists()


def test_files_of_a_task_are_where_spark_files_finds_them(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark import SparkFiles

    root = tmp_path / "spark files"
    root.mkdir()
    monkeypatch.setattr(SparkFiles, "getRootDirectory", lambda: str(root))
    for name in NAMES:
        (tmp_path / name).write_text(name)
    driver.place_files(Files(spark), [f"file://{tmp_path}/{name}" for name in NAMES])
    driver.place_files(Files(spark), [f"file://{tmp_path}/{NAMES[0]}#called.json", "local:/on/each/node.json"])
    assert {path.name: path.read_text() for path in root.iterdir()} == {
        **{name: name for name in NAMES},
        "called.json": NAMES[0],
    }


def test_unpacked_files_have_the_permissions_that_they_were_packed_with(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zip_entry("package/bin/tool", stat.S_IFREG | 0o755), b"#!/bin/sh\n")
        archive.writestr(zip_entry("package/data.txt", stat.S_IFREG | 0o644), b"")
        archive.writestr(zip_entry("package/empty/", stat.S_IFDIR | 0o755), b"")
        plain = zipfile.ZipInfo("package/plain.txt")
        plain.external_attr = 0
        archive.writestr(plain, b"as it comes")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    unpack(tmp_path / "a.zip", tmp_path / "out")
    found = tmp_path / "out" / "package"
    assert stat.S_IMODE((found / "bin" / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((found / "data.txt").stat().st_mode) == 0o644
    assert (found / "empty").is_dir()
    assert (found / "plain.txt").read_bytes() == b"as it comes"
