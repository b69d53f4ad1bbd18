"""Finding, splitting and reading text files."""

from __future__ import annotations

import bz2
import gzip
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_pipelines.errors import InvalidValue, NotText, SourceNotFound, SourceUnreadable
from emr_pipelines.programs.text import (
    STORAGE_MARK,
    Split,
    TextFile,
    find_text_files,
    plan_tasks,
    read_split,
    refuse_sources_in,
)


def paths(*sources: str) -> list[str]:
    return [file.path for file in find_text_files(sources)]


@pytest.fixture
def files(tree: Path) -> Path:
    for name in ("a.txt", "b.log", "sub/c.txt", "sub/deep/d.txt", "_SUCCESS", ".hidden.txt", "_temporary/e.txt"):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tree


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ["a.txt", "b.log", "sub/c.txt", "sub/deep/d.txt"]),
        ("/", ["a.txt", "b.log", "sub/c.txt", "sub/deep/d.txt"]),
        ("/a.txt", ["a.txt"]),
        ("/*.txt", ["a.txt"]),
        ("/?.*", ["a.txt", "b.log"]),
        ("/[ab].log", ["b.log"]),
        ("/*/*.txt", ["sub/c.txt"]),
        ("/**/*.txt", ["a.txt", "sub/c.txt", "sub/deep/d.txt"]),
        ("/**/deep/**", ["sub/deep/d.txt"]),
        ("/sub/", ["sub/c.txt", "sub/deep/d.txt"]),
    ],
)
def test_a_source_is_a_file_a_folder_or_a_glob(files: Path, source: str, expected: list[str]) -> None:
    assert paths(f"{files}{source}") == [f"{files}/{name}" for name in expected]
    assert paths(f"file://{files}{source}") == [f"{files}/{name}" for name in expected]


def test_overlapping_sources_give_each_file_once_and_in_order(files: Path) -> None:
    assert paths(f"{files}/sub", f"{files}/**/*.txt", f"{files}/a.txt") == [
        f"{files}/{name}" for name in ("a.txt", "sub/c.txt", "sub/deep/d.txt")
    ]


def test_a_name_with_glob_characters_is_found_as_it_is(tree: Path) -> None:
    (tree / "notes [1].txt").write_text("x")
    (tree / "100% größe.txt").write_text("x")
    assert paths(f"{tree}/notes [1].txt") == [f"{tree}/notes [1].txt"]
    assert paths(f"{tree}/100% größe.txt") == [f"{tree}/100% größe.txt"]


def test_relative_paths_are_taken_from_the_working_directory(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert paths("sub/*.txt") == [f"{files}/sub/c.txt"]


@pytest.mark.parametrize("source", ["/missing.txt", "/missing/", "/*.csv", "/a.txt/", "/_temporary/nothing"])
def test_a_source_that_matches_nothing_is_named(files: Path, source: str) -> None:
    with pytest.raises(SourceNotFound, match="matches no file") as caught:
        find_text_files([f"{files}/a.txt", f"{files}{source}"])
    assert f"{files}{source}" in str(caught.value)


def test_a_folder_that_links_to_itself_is_taken_once(files: Path) -> None:
    (files / "sub" / "loop").symlink_to(files)
    (files / "again").symlink_to(files / "sub")
    assert len(paths(str(files))) == 4


def test_a_glob_enters_only_folders_that_can_hold_a_match(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    walk = os.walk

    def record(base: str, **options: Any) -> Any:
        for folder, folders, names in walk(base, **options):
            entered.append(folder.removeprefix(str(files)))
            yield folder, folders, names

    monkeypatch.setattr("emr_pipelines.programs.text.os.walk", record)
    assert paths(f"{files}/*.txt") == [f"{files}/a.txt"]
    assert entered == [""]
    entered.clear()
    assert paths(f"{files}/s*/*.txt") == [f"{files}/sub/c.txt"]
    assert entered == ["", "/sub"]


def test_the_home_folder_is_known(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(files))
    assert paths("~/a.txt") == [f"{files}/a.txt"]


def test_what_is_no_regular_file_is_passed_over(files: Path) -> None:
    os.mkfifo(files / "pipe.txt")
    assert len(paths(str(files))) == 4


def test_a_storage_of_assets_is_passed_over(files: Path) -> None:
    (files / "sub" / STORAGE_MARK).touch()
    assert paths(str(files)) == [f"{files}/a.txt", f"{files}/b.log"]
    assert paths(f"{files}/sub/deep") == [f"{files}/sub/deep/d.txt"]  # unless it is meant


def test_a_name_that_is_not_utf8_is_a_sentence(tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9.txt")).write_text("x")
    with pytest.raises(SourceUnreadable, match=r"cannot be listed: the name .* is not UTF-8; rename it") as caught:
        find_text_files([str(tree)])
    assert str(tree) in str(caught.value)


@pytest.mark.parametrize("source", ["", "  ", "gs://bucket/x", "s3://", "http://example.com/a.txt"])
def test_a_source_of_an_unknown_kind_is_refused_with_what_is_allowed(source: str) -> None:
    with pytest.raises(InvalidValue, match="allowed: a file, a folder or a glob") as caught:
        find_text_files([source])
    assert repr(source) in str(caught.value)


def test_s3_prefixes_folders_objects_and_globs(s3: Any) -> None:
    s3.create_bucket(Bucket="texts")
    for key in ("logs/2026-01.txt", "logs/2026-02.txt.gz", "logs/2027-01.txt", "logs/_SUCCESS", "other/a b.txt"):
        s3.put_object(Bucket="texts", Key=key, Body=b"line\n")
    assert paths("s3://texts/logs/2026-") == ["s3://texts/logs/2026-01.txt", "s3://texts/logs/2026-02.txt.gz"]
    assert len(paths("s3://texts/logs/")) == 3
    assert len(paths("s3://texts")) == 4
    assert paths("s3://texts/other/a b.txt") == ["s3://texts/other/a b.txt"]
    assert paths("s3://texts/*/2027-*.txt") == ["s3://texts/logs/2027-01.txt"]
    (file,) = find_text_files(["s3://texts/other"])
    assert file.bytes == 5
    assert file.modified_ns > 0
    assert b"".join(read_split(Split(file.path, 0, 3))) == b"line\n"
    with pytest.raises(SourceNotFound, match="s3://texts/nothing-here"):
        find_text_files(["s3://texts/nothing-here"])
    with pytest.raises(SourceNotFound, match="s3://no-such-bucket/x"):
        find_text_files(["s3://no-such-bucket/x"])


def test_a_storage_of_assets_in_s3_is_passed_over(s3: Any) -> None:
    s3.create_bucket(Bucket="with-storage")
    for key in ("a.txt", "data/.emr_pipelines_storage", "data/words/b.txt", "database/c.txt"):
        s3.put_object(Bucket="with-storage", Key=key, Body=b"")
    assert paths("s3://with-storage") == ["s3://with-storage/a.txt", "s3://with-storage/database/c.txt"]
    assert paths("s3://with-storage/dat") == ["s3://with-storage/database/c.txt"]
    assert paths("s3://with-storage/*/*.txt") == ["s3://with-storage/database/c.txt"]
    assert paths("s3://with-storage/data") == ["s3://with-storage/data/words/b.txt"]  # unless it is meant


@pytest.mark.parametrize(
    ("output", "path", "refused"),
    [
        ("/data/out", "/data/out/a.txt", True),
        ("file:///data/out/", "/data/out/deep/a.txt", True),
        ("/data/out", "/data/output/a.txt", False),
        ("s3://bucket/out", "s3://bucket/out/a.txt", True),
        ("s3a://bucket/out/", "s3://bucket/out/a.txt", True),
        ("s3://bucket/out", "s3://bucket/other/a.txt", False),
        ("s3://bucket/out", "/bucket/out/a.txt", False),
        ("hdfs:///out", "/out/a.txt", False),
    ],
)
def test_an_output_with_sources_in_it_is_refused(output: str, path: str, refused: bool) -> None:
    with pytest.raises(InvalidValue, match="The output is") if refused else nullcontext():
        refuse_sources_in(output, [TextFile(path, 1)])


@given(
    text=st.text(alphabet="ab\n\r ", max_size=60).map(str.encode),
    split_bytes=st.integers(1, 20),
    block_bytes=st.integers(1, 9),
)
def test_splits_neither_lose_nor_double_a_line(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, split_bytes: int, block_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "split.txt"
    path.write_bytes(text)
    tasks = plan_tasks([TextFile(str(path), len(text))], parallelism=3, split_bytes=split_bytes)
    parts = [b"".join(read_split(split, block_bytes)) for task in tasks for split in task]
    assert b"".join(parts) == text
    assert all(part.endswith(b"\n") for part in [part for part in parts if part][:-1])


def test_tasks_are_about_equal_and_follow_the_files() -> None:
    files = [TextFile(f"/{number:02d}.txt", 10_000_000) for number in range(10)] + [TextFile("/empty.txt", 0)]
    tasks = plan_tasks(files, parallelism=4, split_bytes=5_000_000)
    splits = [split for task in tasks for split in task]
    assert [split.path for split in splits] == sorted(split.path for split in splits)
    assert sum(split.end - split.start for split in splits) == 100_000_000
    sizes = [sum(split.end - split.start for split in task) for task in tasks]
    assert len(tasks) <= 5
    assert max(sizes) <= 25_000_000
    assert plan_tasks([TextFile("/empty.txt", 0)], parallelism=4) == []


def test_many_small_files_share_a_task() -> None:
    tasks = plan_tasks([TextFile(f"/{number}.txt", 10) for number in range(10_000)], parallelism=2)
    assert len(tasks) < 60


def test_a_compressed_file_is_one_split() -> None:
    (task,) = plan_tasks([TextFile("/big.gz", 10**9)], parallelism=1)
    assert task == (Split("/big.gz", 0, 10**9),)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".BZ2", bz2.compress)])
def test_compressed_files_of_several_members_are_read_whole(tree: Path, suffix: str, compress: Any) -> None:
    path = tree / f"two{suffix}"
    path.write_bytes(compress(b"\xef\xbb\xbfone\n") + compress(b"two\n"))
    assert b"".join(read_split(Split(str(path), 0, path.stat().st_size))) == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.gz", gzip.compress(os.urandom(5000).hex().encode())[:2000], "damaged compressed file"),
        ("cut.bz2", bz2.compress(os.urandom(5000).hex().encode())[:2000], "damaged compressed file"),
        ("plain.gz", b"not compressed at all", "damaged compressed file"),
        ("plain.bz2", b"not compressed at all", "damaged compressed file"),
    ],
)
def test_damaged_compressed_files_are_refused_by_name(tree: Path, name: str, content: bytes, says: str) -> None:
    path = tree / name
    path.write_bytes(content)
    with pytest.raises(NotText, match=says) as caught:
        list(read_split(Split(str(path), 0, len(content))))
    assert str(path) in str(caught.value)


def test_a_file_that_went_away_is_named(tree: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"gone\.txt cannot be read"):
        list(read_split(Split(str(tree / "gone.txt"), 0, 10)))


def test_memory_does_not_grow_with_the_line(tree: Path) -> None:
    path = tree / "one_line.txt"
    path.write_bytes(b"x" * 10_000)
    sizes = [len(block) for block in read_split(Split(str(path), 0, 10_000), block_bytes=100)]
    assert max(sizes) == 100
    assert sum(sizes) == 10_000
