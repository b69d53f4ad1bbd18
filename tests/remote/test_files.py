"""Finding, splitting and reading text files."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from emr_pipelines.errors import InvalidValue, SourceNotFound, SourceUnreadable
from emr_pipelines.pipelines.word_count.splits import Split, plan_tasks, reject_sources_in
from emr_pipelines.remote.files import STORAGE_MARK, TextFile, find_text_files


def paths(*sources: str) -> list[str]:
    return [file.path for file in find_text_files(sources)]


@pytest.fixture
def files(tree: Path) -> Path:
    for name in ("a.txt", "b.log", "sub/c.txt", "sub/deep/d.txt", "_SUCCESS", ".hidden.txt", "_temporary/e.txt"):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tree


def test_hidden_files_are_those_that_spark_skips(tmp_path: Path) -> None:
    for name in ("_year=2026/a.txt", ".year=2026/b.txt", "_logs/c.txt", "_d.txt", "year=2026/_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert paths(str(tmp_path)) == [f"{tmp_path}/_year=2026/a.txt"]


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
    for form in ("file:", "file://", "file:///"):
        assert paths(f"{form}{files}{source}") == [f"{files}/{name}" for name in expected]


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

    monkeypatch.setattr("emr_pipelines.remote.files.os.walk", record)
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


@pytest.mark.parametrize("source", ["", "/a.txt", "/*.txt", "/sub"])
def test_a_link_to_nothing_is_named_as_one(tree: Path, source: str) -> None:
    (tree / "sub").mkdir()
    (tree / "sub" / "b.txt").symlink_to("../nowhere")
    (tree / "a.txt").symlink_to("nowhere")
    name = "sub/b.txt" if source == "/sub" else "a.txt"
    with pytest.raises(SourceUnreadable, match=rf"{tree}/{name} is a link to '.*nowhere', which is not there; mend"):
        find_text_files([f"{tree}{source}"])


def test_a_file_that_goes_while_its_folder_is_listed_is_not_there(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = os.walk

    def walk_and_delete(base: str, **options: Any) -> Any:
        for folder in walk(base, **options):
            (files / "b.log").unlink(missing_ok=True)
            yield folder

    monkeypatch.setattr("emr_pipelines.remote.files.os.walk", walk_and_delete)
    assert paths(f"{files}/*") == [f"{files}/a.txt"]


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
        ("file:/data/out", "/data/out/deep/a.txt", True),
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
        reject_sources_in(output, [TextFile(path, 1)])


def test_tasks_are_about_equal_and_follow_the_files() -> None:
    files = [TextFile(f"/{number:02d}.txt", 10_000_000) for number in range(10)] + [TextFile("/empty.txt", 0)]
    tasks = plan_tasks(files, parallelism=4, split_bytes=5_000_000)
    splits = [split for task in tasks for split in task]
    assert [split.file.path for split in splits] == sorted(split.file.path for split in splits)
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
    assert task == (Split(TextFile("/big.gz", 10**9), 0, 10**9),)
