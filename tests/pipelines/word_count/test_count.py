"""Counting words, compared with the regex module and with counts by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emr_pipelines.errors import InvalidValue, NotText, SourceChanged, SourceNotFound, StorageUnusable
from emr_pipelines.pipelines.word_count.assets import SAMPLE_TEXT
from emr_pipelines.pipelines.word_count.count import (
    WordCountParams,
    WordCountResult,
    _whole_words,
    count_words,
)
from emr_pipelines.remote.files import TextFile, find_text_files
from tests.pipelines.word_count.words import TEXT, expected_words

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def count(spark: SparkSession, text: Path, output: Path, **options: Any) -> tuple[WordCountResult, dict[str, int]]:
    result = count_words(spark, WordCountParams(str(text), f"file://{output}", **options))
    rows = spark.read.parquet(f"file://{output}").collect()
    assert len({row["word"] for row in rows}) == len(rows)
    return result, {row["word"]: row["count"] for row in rows}


@given(lines=st.lists(TEXT.map(lambda line: line.replace("\n", " ").replace("\r", " ")), min_size=1, max_size=30))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_spark_counts_as_the_regex_module_does(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("words")
    text = folder / "text.txt"
    text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    result, counts = count(spark, text, folder / "out")
    expected = Counter(word for line in lines for word in expected_words(line))
    assert counts == expected
    assert result.total_words == expected.total()
    assert result.lines == len(lines)


def test_the_three_lines_about_james(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "james.txt").write_text("James hit the ball. James makes the ball. James lost the shoes.")
    result, counts = count(spark, tree, tmp_path / "out", top=3)
    assert counts == {"james": 3, "the": 3, "ball": 2, "hit": 1, "lost": 1, "makes": 1, "shoes": 1}
    assert result.top_words == {"james": 3, "the": 3, "ball": 2}
    assert list(result.top_words) == ["james", "the", "ball"]
    assert (result.total_words, result.counted_words, result.distinct_words, result.empty_words) == (12, 12, 7, 0)
    assert result.bytes_read == 63
    assert result.lines == 1


def test_the_table_has_the_promised_columns(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("a b a")
    count(spark, tree, tmp_path / "out")
    assert dict(spark.read.parquet(f"file://{tmp_path}/out").dtypes) == {"word": "string", "count": "bigint"}


def test_what_a_killed_attempt_left_is_replaced(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    for text in ("one two", "three"):
        (tree / "a.txt").write_text(text)
        result, counts = count(spark, tree, tmp_path / "out")
        assert counts == dict.fromkeys(text.split(), 1)
        assert result.rows == len(counts)


@pytest.mark.parametrize("output", ["", "/.."])
def test_the_text_is_not_replaced_by_its_counts(spark: SparkSession, tree: Path, output: str) -> None:
    (tree / "a.txt").write_text("one two")
    with pytest.raises(InvalidValue, match=r"allowed: a folder without sources, such as .*/a\.txt, in it"):
        count_words(spark, WordCountParams(str(tree), f"{tree}{output}"))
    assert (tree / "a.txt").read_text() == "one two"


def test_the_sample_text_by_hand(spark: SparkSession, tmp_path: Path) -> None:
    result, counts = count(spark, SAMPLE_TEXT, tmp_path / "out")
    # counted by hand
    more_than_once = {
        "the": 7,
        "café": 4,
        "james": 3,
        "ο": 3,
        "at": 2,
        "ball": 2,
        "by": 2,
        "o'clock": 2,
        "said": 2,
        "море": 2,
    }
    once = """
        hit makes lost shoes harbour opens 6 7 it's full don't worry zoë naïve ones always sit window
        über den dächern kreisen möwen und die straße ist leer καφες ειναι καλος λέει γιώργος καφές είναι ζεστός
        кофе горячий а холодное спит 海は静かです three spellings one word
        rock n roll 21h30 they til boats lights go out
    """
    assert counts == more_than_once | dict.fromkeys(once.split(), 1)
    assert (result.lines, result.total_words, result.distinct_words) == (9, 85, 66)


def test_options(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("The the THE cat Cat sat don’t DON'T")
    result, counts = count(spark, tree, tmp_path / "1", min_count=2, stop_words=("The", "Don’t"))
    assert counts == {"cat": 2}
    assert (result.total_words, result.counted_words, result.left_out_words) == (8, 2, 6)
    assert (result.distinct_words, result.rows) == (4, 1)
    result, counts = count(spark, tree, tmp_path / "2", case_sensitive=True, stop_words=("The",), top=0)
    assert counts == {"the": 1, "THE": 1, "cat": 1, "Cat": 1, "sat": 1, "don't": 1, "DON'T": 1}
    assert result.top_words == {}


@pytest.mark.extended
def test_stop_words_follow_the_word_rule(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("İçin için soft\u00adhyphen می\u200cخواهم 1️⃣ ǰ stays")
    stop_words = ("i\u0307çin", "softhyphen", "\u200fمی\u200cخواهم", "1", "J\u030c")
    _, counts = count(spark, tree, tmp_path / "1", stop_words=stop_words)
    assert counts == {"stays": 1}
    _, counts = count(spark, tree, tmp_path / "2", case_sensitive=True, stop_words=("I\u0307çin", "1️⃣"))
    assert counts == dict.fromkeys(["için", "softhyphen", "می\u200cخواهم", "ǰ", "stays"], 1)


@pytest.mark.parametrize("joiner", ["\u200c", "\u00ad", "\ufe0f", "\u0301", "\u2060"])
def test_words_with_joiners_are_whole_wherever_a_block_ends(joiner: str) -> None:
    text = f"ab{joiner}cd {joiner}ef{joiner} gh'{joiner}ij " * 20
    data = text.encode()
    for size in range(1, 12):
        blocks = list(_whole_words(data[start : start + size] for start in range(0, len(data), size)))
        assert [word for block in blocks for word in expected_words(block.decode())] == expected_words(text)


def test_a_text_that_changes_while_it_is_counted_is_named(
    spark: SparkSession, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.txt").write_text("one two")
    (tree / "b.txt").touch()

    def find_and_change(sources: list[str]) -> list[TextFile]:
        files = find_text_files(sources)
        (tree / changed).write_text("one two three")
        return files

    monkeypatch.setattr("emr_pipelines.pipelines.word_count.count.find_text_files", find_and_change)
    for changed in ("a.txt", "b.txt"):
        with pytest.raises(SourceChanged, match=rf"{changed} changed while it was read: it had . bytes"):
            count(spark, tree, tmp_path / "out")


def test_a_text_without_words_gives_an_empty_table(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("... --- ...\n\n")
    result, counts = count(spark, tree, tmp_path / "out")
    assert counts == {}
    assert (result.total_words, result.counted_words, result.lines) == (0, 0, 2)


@pytest.mark.extended
def test_the_digest_is_of_the_rows_and_not_of_their_order(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("x y y")
    first, _ = count(spark, tree, tmp_path / "1")
    (tree / "a.txt").write_text("y x y")
    second, _ = count(spark, tree, tmp_path / "2")
    (tree / "a.txt").write_text("x x y")
    third, _ = count(spark, tree, tmp_path / "3")
    assert first.digest == second.digest != third.digest


@pytest.mark.extended
def test_any_character_may_come_first(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("\0one\ufeff two")
    _, counts = count(spark, tree, tmp_path / "out")
    assert counts == {"one": 1, "two": 1}


def test_no_text_is_an_error_that_names_it(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="nowhere"):
        count(spark, tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_count": 0}, "min_count is 0; allowed: 1 to 2"),
        ({"top": -1}, "top is -1; allowed: 0 or more"),
        ({"stop_words": ("the", "two words")}, "stop_words is 'two words'; allowed: one word each"),
        ({"stop_words": ("",)}, "stop_words is ''"),
        ({"stop_words": ("\u2764\ufe0f",)}, "stop_words is .*; allowed: one word each"),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        WordCountParams("text", "out", **options)


@given(st.lists(TEXT, max_size=8).map(" ".join), st.integers(1, 7))
def test_blocks_end_where_no_word_is_cut(text: str, size: int) -> None:
    data = text.encode()
    blocks = list(_whole_words(data[start : start + size] for start in range(0, len(data), size)))
    assert b"".join(blocks) == data
    words = [word for block in blocks for word in expected_words(block.decode())]
    assert words == expected_words(text)


def test_a_script_without_spaces_is_cut_at_its_own_marks() -> None:
    text = "海は静かです。港は、" * 100
    blocks = list(_whole_words(text.encode()[start : start + 7] for start in range(0, 3000, 7)))
    assert b"".join(blocks).decode() == text
    assert max(map(len, blocks)) < 50


def test_what_has_no_space_for_too_long_is_refused(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_bytes(b"a word, then " + b"x" * (17 << 20))
    with pytest.raises(
        NotText, match=r"a\.txt has no space .*, from byte 13 of the file on"
    ):  # not within pages of Java
        count(spark, tree, tmp_path / "out")


@pytest.mark.extended
def test_a_long_line_and_no_line_end_at_the_end(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    text = " ".join(f"w{number % 1000}" for number in range(4_000_000))  # 20 MB, of three splits
    (tree / "a.txt").write_text(text)
    result, counts = count(spark, tree, tmp_path / "out")
    assert counts == {f"w{number}": 4000 for number in range(1000)}
    assert result.lines == 1


def test_a_damaged_file_is_named(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.gz").write_bytes(b"no gzip")
    with pytest.raises(NotText, match=r"a\.gz is called \.gz and is not gzip data"):
        count(spark, tree, tmp_path / "out")


def test_an_output_that_cannot_be_written_is_named(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("one two")
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnusable, match=r"file/out.* cannot be written"):
        count(spark, tree, tmp_path / "file/out")


@pytest.mark.extended
def test_the_table_and_its_digest_do_not_depend_on_the_tasks(
    spark: SparkSession, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tree / f"{number}.txt").write_text(" ".join(f"w{number * other % 97}" for other in range(200)))
    few, counts = count(spark, tree, tmp_path / "1", min_count=3)
    monkeypatch.setattr("emr_pipelines.pipelines.word_count.splits.TASK_BYTES", 1 << 20)
    many, same = count(spark, tree, tmp_path / "2", min_count=3)
    assert len(list((tmp_path / "2").iterdir())) > len(list((tmp_path / "1").iterdir()))
    assert (same, many.digest, many.top_words, many.left_out_words) == (
        counts, few.digest, few.top_words, few.left_out_words,
    )  # fmt: skip
    other, _ = count(spark, tree, tmp_path / "2", min_count=41)
    assert other.digest != many.digest
