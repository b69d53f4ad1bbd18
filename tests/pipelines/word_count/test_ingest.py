"""Ingesting text: the output is clean, and every input is accounted for."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_pipelines.errors import InvalidValue, NotText, SourceChanged, SourceNotFound, StorageUnusable
from emr_pipelines.pipelines.word_count.ingest import IngestParams, IngestResult, _Cleaner, ingest_text
from emr_pipelines.pipelines.word_count.splits import plan_tasks
from emr_pipelines.remote.files import find_text_files

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def ingest(spark: SparkSession, *sources: Path | str, output: Path) -> IngestResult:
    return ingest_text(spark, IngestParams(tuple(str(source) for source in sources), str(output)))


def snapshot(output: Path) -> bytes:
    return b"".join(Path(file.path).read_bytes() for file in find_text_files([str(output)]))


def test_every_kind_of_file_becomes_one_clean_snapshot(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a_bom_and_crlf.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (tree / "b_no_final_line_end.txt").write_bytes("drei\nvier é".encode())
    (tree / "c_empty.txt").write_bytes(b"")
    (tree / "d.txt.gz").write_bytes(gzip.compress(b"five\r\n\r\n"))
    (tree / "e.txt.bz2").write_bytes(bz2.compress(b"six"))
    (tree / "f_latin1.txt").write_bytes("caf\u00e9 na\u00efve\n".encode("latin-1"))
    (tree / "g_carriage_return.txt").write_bytes(b"a\rb\n")
    result = ingest(spark, tree, output=tmp_path / "out")

    assert snapshot(tmp_path / "out").decode() == ("one\ntwo\ndrei\nvier é\nfive\n\nsix\ncaf\ufffd na\ufffdve\na\rb\n")
    assert (result.files, result.empty_files, result.lines, result.replaced_bytes) == (7, 1, 9, 2)
    assert result.bytes == sum(path.stat().st_size for path in tree.iterdir())
    assert result.replaced_by_file == {f"{tree}/f_latin1.txt": 2}
    manifest = json.loads(Path(result.manifest).read_text())
    assert manifest["lines"] == 9
    by_file = {Path(row["path"]).name: row for row in manifest["by_file"]}
    assert by_file["a_bom_and_crlf.txt"] == {
        "path": f"{tree}/a_bom_and_crlf.txt",
        "bytes": 13,
        "lines": 2,
        "replaced_bytes": 0,
    }
    assert by_file["c_empty.txt"]["lines"] == 0
    assert by_file["f_latin1.txt"]["replaced_bytes"] == 2


def test_a_binary_file_is_known_however_small_its_members_are(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.gz").write_bytes(b"".join(gzip.compress(bytes([byte])) for byte in b"\x7fELF\x02"))
    with pytest.raises(NotText, match=r"a\.gz unpacks to a program"):
        ingest(spark, tree, output=tmp_path / "out")


def test_what_spark_reads_from_the_snapshot_is_the_lines(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_bytes(b"one\r\ntwo\nthree")
    ingest(spark, tree, output=tmp_path / "out")
    lines = spark.read.text(f"file://{tmp_path}/out", lineSep="\n").collect()
    assert [row[0] for row in lines] == ["one", "two", "three"]


def test_a_source_in_s3_is_read_by_the_tasks(spark: SparkSession, s3: Any, tmp_path: Path) -> None:
    s3.create_bucket(Bucket="ingest")
    s3.put_object(Bucket="ingest", Key="in/a.txt", Body=b"one\n")
    s3.put_object(Bucket="ingest", Key="in/b.txt.gz", Body=gzip.compress(b"two"))
    result = ingest(spark, "s3://ingest/in", output=tmp_path / "out")
    assert snapshot(tmp_path / "out") == b"one\ntwo\n"
    assert (result.files, result.lines) == (2, 2)


def test_what_a_killed_attempt_left_is_replaced_and_nothing_else_goes(
    spark: SparkSession, tree: Path, tmp_path: Path
) -> None:
    (tree / "a.txt").write_text("one\n")
    out = tmp_path / "out"
    (out / "part-00009.txt").parent.mkdir()
    for name in ("part-00000.txt", "part-00009.txt", "part-123456.txt", "_manifest.json"):
        (out / name).write_text("left by an attempt that saw more cores")
    for name in ("notes.txt", "part-9.txt", "part-00009.txt.gz", "sub/part-00009.txt"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine\n")
    first = ingest(spark, tree, output=out)
    again = ingest(spark, tree, output=out)
    assert first.digest == again.digest
    assert json.loads((out / "_manifest.json").read_text())["lines"] == 1
    files = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.txt*")}
    assert files.pop("part-00000.txt") == "one\n"
    assert files == dict.fromkeys(["notes.txt", "part-9.txt", "part-00009.txt.gz", "sub/part-00009.txt"], "mine\n")


def test_a_snapshot_is_not_ingested_into_itself(spark: SparkSession, tree: Path) -> None:
    (tree / "part-00000.txt").write_text("one\n")
    with pytest.raises(InvalidValue, match=r"allowed: a folder without sources, such as .*/part-00000\.txt, in it"):
        ingest(spark, tree, output=tree)
    assert (tree / "part-00000.txt").read_text() == "one\n"


def test_s3_is_written_without_making_folders_or_buckets(spark: SparkSession, s3: Any, tree: Path) -> None:
    (tree / "a.txt").write_text("one\n")
    s3.create_bucket(Bucket="ingested")
    for _ in range(2):
        result = ingest_text(spark, IngestParams((str(tree),), "s3://ingested/deep/out"))
        assert result.manifest == "s3://ingested/deep/out/_manifest.json"
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="ingested")["Contents"]]
        assert [key for key in keys if not key.endswith("/")] == [
            "deep/out/_manifest.json",
            "deep/out/part-00000.txt",
        ]
    with pytest.raises(StorageUnusable, match=r"s3://never-made/out.* cannot be written"):
        ingest_text(spark, IngestParams((str(tree),), "s3://never-made/out"))
    assert "never-made" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def test_the_digest_says_whether_the_text_is_the_same(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    text = tree / "a.txt"
    text.write_text("one\ntwo\n")
    first = ingest(spark, tree, output=tmp_path / "1")
    text.touch()
    again = ingest(spark, tree, output=tmp_path / "2")
    text.write_text("one\ntwO\n")
    changed = ingest(spark, tree, output=tmp_path / "3")
    assert first.digest == again.digest
    assert first.digest != changed.digest


def test_a_large_file_is_cut_into_splits_and_nothing_is_lost(
    spark: SparkSession, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emr_pipelines.pipelines.word_count.ingest.plan_tasks", _plan_in_small_splits)
    text = "".join(f"line {number} ünïcödé\n" for number in range(5000))
    (tree / "big.txt").write_text(text, encoding="utf-8")
    result = ingest(spark, tree, output=tmp_path / "out")
    assert snapshot(tmp_path / "out").decode() == text
    assert len(find_text_files([str(tmp_path / "out")])) > 3
    assert result.lines == 5000


def _plan_in_small_splits(files: Any, parallelism: int) -> Any:
    return [(split,) for task in plan_tasks(files, parallelism, split_bytes=30_000) for split in task]


def test_only_empty_files_give_an_empty_snapshot(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").touch()
    result = ingest(spark, tree, output=tmp_path / "out")
    assert (result.files, result.empty_files, result.lines, result.bytes) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a PNG picture; allowed: UTF-8"),
        ("b.dat", b"abc\0", "is not text: it has a NUL byte at offset 3; allowed: UTF-8"),
        ("b.xz", b"\xfd7zXZ\0", "b.xz is xz data; allowed: UTF-8"),
        ("b.txt", "text".encode("utf-16"), "is UTF-16; allowed: UTF-8 text"),
        ("b.txt", "text".encode("utf-32"), "is UTF-32; allowed: UTF-8 text"),
        ("b.gz", gzip.compress(b"\0\0"), "is not text: it has a NUL byte at offset 0"),
        ("b.gz", b"not compressed at all", "b.gz is called .gz and is not gzip data: it seems to be plain text"),
        ("b.gz", gzip.compress(gzip.compress(b"text")), "b.gz unpacks to gzip data"),
    ],
)
def test_a_file_that_is_not_text_is_named(
    spark: SparkSession, tree: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tree / "a.txt").write_text("fine\n")
    (tree / name).write_bytes(content)
    with pytest.raises(NotText, match=says) as caught:
        ingest(spark, tree, output=tmp_path / "out")
    assert f"{tree}/{name}" in str(caught.value)


def test_a_file_that_changes_while_it_is_ingested_is_named_and_the_manifest_is_not_written(
    spark: SparkSession, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.txt").write_text("one\ntwo\n")
    (tree / "b.txt").touch()
    for changed, size in (("a.txt", 8), ("b.txt", 0)):

        def plan_and_change(files: Any, parallelism: int, changed: str = changed) -> Any:
            (tree / changed).write_text("one\n")
            return plan_tasks(files, parallelism)

        monkeypatch.setattr("emr_pipelines.pipelines.word_count.ingest.plan_tasks", plan_and_change)
        says = rf"{tree}/{changed} changed while it was read: it had {size} bytes when it was listed and has 4 now"
        with pytest.raises(SourceChanged, match=says):
            ingest(spark, tree, output=tmp_path / "out")
        assert not (tmp_path / "out" / "_manifest.json").exists()


def test_a_piece_without_a_break_names_the_file_of_the_user(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_bytes(b"fine\n")
    (tree / "b.txt").write_bytes(b"fine\n" + b"x" * (17 << 20) + b"\n")
    with pytest.raises(NotText, match=rf"{tree}/b\.txt has no space .* 16,777,216 bytes, from byte 5 of the file on"):
        ingest(spark, tree, output=tmp_path / "out")


def test_a_nul_far_into_a_text_is_kept(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_bytes(b"word " * 2000 + b"\0end\n")
    ingest(spark, tree, output=tmp_path / "out")
    assert snapshot(tmp_path / "out").endswith(b" \0end\n")


def test_a_missing_source_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="nowhere"):
        ingest(spark, tmp_path / "nowhere", output=tmp_path / "out")


def test_no_source_is_refused() -> None:
    with pytest.raises(InvalidValue, match="sources is"):
        IngestParams((), "out")


PIECES = st.sampled_from([b"a", b"\r", b"\n", b"\xff", b"\xc3", b"\xa9", b"\xe2\x82"])


@given(data=st.lists(PIECES), cut=st.integers(1, 4))
def test_cleaning_does_not_depend_on_where_blocks_end(data: list[bytes], cut: int) -> None:
    content = b"".join(data)
    cleaner = _Cleaner()
    cleaned = b"".join(cleaner.clean(content[start : start + cut] for start in range(0, len(content), cut)))
    expected = content.decode("utf-8", errors="replace").replace("\r\n", "\n")
    if expected and not expected.endswith("\n"):
        expected += "\n"
    assert cleaned.decode() == expected
    assert cleaner.lines == expected.count("\n")
    assert cleaner.replaced_bytes == len(content) - len(content.decode("utf-8", errors="ignore").encode())
