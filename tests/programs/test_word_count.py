"""Counting words, held against the regex module and against hand counts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emr_pipelines.assets.word_count import SAMPLE_TEXT
from emr_pipelines.errors import InvalidValue, SourceNotFound
from emr_pipelines.programs.word_count import (
    WordCountParams,
    WordCountResult,
    _count_splits,
    _whole_words,
    ascii_words_in,
    count_words,
    words_in,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*")

# characters that this Python and the regex module, whose Unicode tables are newer, must agree on, with those that the
# rule is about made frequent
ASSIGNED = st.characters(exclude_categories=["Cn", "Cs", "Co"])
TELLING = st.sampled_from("aB'’_ .ΣσςİıßéÉ\u0301\u0308\u093fक٣²Ⅷ中\u200d\ufeff-\t")
TEXT = st.text(st.one_of(TELLING, ASSIGNED), max_size=40)


def expected_words(text: str, case_sensitive: bool = False) -> list[str]:
    """The rule, by an independent implementation."""
    text = unicodedata.normalize("NFC", text)
    return [word.replace("’", "'") for word in WORD.findall(text if case_sensitive else text.lower())]


def count(spark: SparkSession, text: Path, output: Path, **options: Any) -> tuple[WordCountResult, dict[str, int]]:
    result = count_words(spark, WordCountParams(str(text), f"file://{output}", **options))
    rows = spark.read.parquet(f"file://{output}").collect()
    assert len({row["word"] for row in rows}) == len(rows)
    return result, {row["word"]: row["count"] for row in rows}


@given(TEXT, st.booleans())
@settings(max_examples=500)
@example("Don't 'quote' rock'n'roll a''b O’Brien", False)
@example("ΟΔΟΣ ΟΔΟΣ. ΣΑΣ'Α", False)
@example("snake_case_word", False)
def test_words_are_those_of_the_rule(text: str, case_sensitive: bool) -> None:
    assert words_in(text, case_sensitive) == expected_words(text, case_sensitive)


@given(st.text(st.characters(max_codepoint=127), max_size=60), st.booleans())
@settings(max_examples=500)
@example("'a' b'' ''c d'e'f g''h i' 'j", False)
def test_the_fast_path_for_ascii_gives_the_same_words(text: str, case_sensitive: bool) -> None:
    assert ascii_words_in(text.encode(), case_sensitive) == words_in(text, case_sensitive)


@given(st.lists(TEXT, max_size=8).map(" ".join), st.integers(1, 7))
def test_blocks_end_where_no_word_is_cut(text: str, size: int) -> None:
    data = text.encode()
    blocks = list(_whole_words(data[start : start + size] for start in range(0, len(data), size)))
    assert b"".join(blocks) == data
    words = [word for block in blocks for word in words_in(block.decode())]
    assert words == expected_words(text)


@given(lines=st.lists(TEXT.map(lambda line: line.replace("\n", " ").replace("\r", " ")), min_size=1, max_size=30))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    # counted on paper, line by line, not by a program
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


def test_a_text_without_words_gives_an_empty_table(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("... --- ...\n\n")
    result, counts = count(spark, tree, tmp_path / "out")
    assert counts == {}
    assert (result.total_words, result.counted_words, result.lines) == (0, 0, 2)


def test_the_digest_is_of_the_rows_and_not_of_their_order(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    (tree / "a.txt").write_text("x y y")
    first, _ = count(spark, tree, tmp_path / "1")
    (tree / "a.txt").write_text("y x y")
    second, _ = count(spark, tree, tmp_path / "2")
    (tree / "a.txt").write_text("x x y")
    third, _ = count(spark, tree, tmp_path / "3")
    assert first.digest == second.digest != third.digest


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
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        WordCountParams("text", "out", **options)


def test_a_task_with_many_distinct_words_hands_them_on_in_parts(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr("emr_pipelines.programs.word_count.MOST_WORDS_HELD", 10)
    text = " ".join(f"w{number % 50}" for number in range(1_000_000))  # of several blocks
    (tree / "a.txt").write_text(text)
    splits = pa.record_batch({"path": [str(tree / "a.txt")], "start": [0], "end": [len(text)]})
    batches = list(_count_splits([splits], case_sensitive=False))
    assert len(batches) > 3
    total: Counter[str | None] = Counter()
    for row in pa.Table.from_batches(batches).to_pylist():
        total[row["word"]] += row["count"]
    assert total.pop(None) == 1_000_000
    assert total == Counter(text.split())
