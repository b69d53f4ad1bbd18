"""Word count: text -> a parquet table of words and how often each occurs.

A word is a maximal run of Unicode letters, combining marks and digits, in which single apostrophes (' or U+2019, which
is folded to ') may stand between two such runs:

    [\\p{L}\\p{M}\\p{N}]+(?:['’][\\p{L}\\p{M}\\p{N}]+)*

after NFC normalisation and Unicode lower-casing of the text. The Unicode tables are those of the Python that runs.
"""

from __future__ import annotations

import re
import string
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from emr_pipelines.errors import InvalidValue
from emr_pipelines.programs.text import REQUIREMENTS as TEXT_REQUIREMENTS
from emr_pipelines.programs.text import Split, find_text_files, plan_tasks, read_split, refuse_sources_in

if TYPE_CHECKING:  # pyspark takes a second to import, and a code location that only looks at the graph needs none of it
    from pyspark.sql import SparkSession

REQUIREMENTS = TEXT_REQUIREMENTS

MOST_WORDS_HELD = 1_000_000  # a task hands its counts on at this many distinct words, which bounds its memory


@dataclass(frozen=True)
class WordCountParams:
    """`text`: a folder, file, glob or s3:// prefix. `output`: the folder (path or URI) to write; what is in it
    is replaced.

    Words counted fewer than `min_count` times and the `stop_words` are left out of the table. `top` is how many of
    the most frequent words the result carries.
    """

    text: str
    output: str
    min_count: int = 1
    stop_words: tuple[str, ...] = ()
    case_sensitive: bool = False
    top: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.min_count < 2**63:
            raise InvalidValue("min_count", self.min_count, "1 to 2^63 - 1")
        if self.top < 0:
            raise InvalidValue("top", self.top, "0 or more")
        for word in self.stop_words:
            if len(words_in(word)) != 1:
                raise InvalidValue("stop_words", word, "one word each, such as 'the' or 'don't'")


@dataclass(frozen=True)
class WordCountResult:
    """What was counted.

    `total_words` and `distinct_words` are those of the text. `total_words` is counted where the text is cut into words;
    `counted_words` is the sum of the table as it was read back, `left_out_words` what min_count and the stop words took
    away: the three must agree. `rows` are those of the table, `empty_words` the ones without a word. `top_words` are
    by falling count, then by word. `bytes_read` are bytes of the files as stored. `digest` is one of the table's rows,
    whatever their order.
    """

    total_words: int
    counted_words: int
    left_out_words: int
    distinct_words: int
    rows: int
    empty_words: int
    lines: int
    bytes_read: int
    top_words: dict[str, int]
    digest: str
    seconds: float


def count_words(spark: SparkSession, params: WordCountParams) -> WordCountResult:
    """Count the words of `params.text` into a parquet table at `params.output`: `word: string`, `count: bigint`,
    in the place of what is there: a step that was killed and is submitted again finds part of its own output.

    Tasks read their own bytes, count in Python, and hand on one row per distinct word; Spark adds those up. Raises
    SourceNotFound when there is no text, InvalidValue when it lies in the output; a file that cannot be read is a
    NotText or SourceUnreadable inside Spark's PythonException.
    """
    from pyspark.sql import functions as F  # noqa: N812 (the name everybody uses)

    began = time.monotonic()
    files = find_text_files([params.text])
    refuse_sources_in(params.output, files)
    context = spark.sparkContext
    tasks = plan_tasks(files, context.defaultParallelism)
    print(f"Counting the words of {len(files):,} files in {len(tasks)} tasks.")

    case_sensitive = params.case_sensitive
    splits = context.parallelize(tasks, max(len(tasks), 1)).flatMap(
        lambda task: [(split.path, split.start, split.end) for split in task]
    )
    counts = (
        spark.createDataFrame(splits, "path string, start bigint, end bigint")
        .mapInArrow(lambda rows: _count_splits(rows, case_sensitive), "word string, count bigint, lines bigint")
        .groupBy("word")
        .agg(F.sum("count").alias("count"), F.sum("lines").alias("lines"))
        .coalesce(max(len(tasks), 1))  # else 200 small files: a persisted table is not coalesced by itself
        .persist()
    )
    try:
        # the row without a word holds the totals; kept in the data, because counters beside it are wrong after a retry
        is_word = F.col("word").isNotNull()
        stop_words = [words_in(word, case_sensitive)[0] for word in params.stop_words]
        wanted = is_word & (F.col("count") >= params.min_count) & ~F.col("word").isin(stop_words)
        text = counts.agg(
            F.coalesce(F.sum(F.when(~is_word, F.col("count"))), F.lit(0)).alias("words"),
            F.coalesce(F.sum("lines"), F.lit(0)).alias("lines"),
            F.coalesce(F.sum(F.when(is_word & ~wanted, F.col("count"))), F.lit(0)).alias("left_out"),
            F.count("word").alias("distinct"),
        ).collect()[0]
        counts.where(wanted).select("word", "count").write.mode("overwrite").parquet(params.output)
    finally:
        counts.unpersist()

    written = spark.read.parquet(params.output)
    facts = written.agg(
        F.count("*").alias("rows"),
        F.coalesce(F.sum("count"), F.lit(0)).alias("words"),
        F.count(F.when(F.coalesce(F.length("word"), F.lit(0)) == 0, True)).alias("empty"),
        F.coalesce(F.bit_xor(F.xxhash64("word", "count")), F.lit(0)).alias("digest"),
    ).collect()[0]
    top = written.orderBy(F.desc("count"), "word").limit(params.top).collect()
    return WordCountResult(
        total_words=text["words"],
        counted_words=facts["words"],
        left_out_words=text["left_out"],
        distinct_words=text["distinct"],
        rows=facts["rows"],
        empty_words=facts["empty"],
        lines=text["lines"],
        bytes_read=sum(file.bytes for file in files),
        top_words={row["word"]: row["count"] for row in top},
        digest=f"{facts['rows']:x}-{facts['words']:x}-{facts['digest'] % 2**64:016x}",
        seconds=time.monotonic() - began,
    )


def words_in(text: str, case_sensitive: bool = False) -> list[str]:
    """The words of a text, in order. The text must not begin or end within a word."""
    text = unicodedata.normalize("NFC", text).replace("_", " ")
    found = _word_pattern().findall(text if case_sensitive else text.lower())
    return [word.replace("\u2019", "'") for word in found]


def ascii_words_in(text: bytes, case_sensitive: bool = False) -> list[str]:
    """The same as `words_in` for a text of ASCII bytes alone, by a shorter way."""
    text = text.translate(KEEP_CASE if case_sensitive else LOWER)
    if b"'" in text:
        text = LONE_APOSTROPHE.sub(b" ", text)
    return text.decode("ascii").split()


def _ascii_table(lower: bool) -> bytes:
    """A table for bytes.translate: letters (lowered), digits and the apostrophe stay, all else becomes a space."""
    kept = string.ascii_letters + string.digits + "'"
    table = {ord(character): ord(character.lower() if lower else character) for character in kept}
    return bytes(table.get(byte, ord(" ")) for byte in range(256))


LOWER = _ascii_table(lower=True)
KEEP_CASE = _ascii_table(lower=False)
LONE_APOSTROPHE = re.compile(rb"(?<![0-9A-Za-z])'|'(?![0-9A-Za-z])")


@cache
def _word_pattern() -> re.Pattern[str]:
    # Python's re has no \p{L}: its \w is exactly the letters, the numbers and the underscore; marks must be listed
    marks = [point for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)).startswith("M")]
    run = f"[\\w{_ranges(marks)}]+"
    return re.compile(f"{run}(?:['\u2019]{run})*")


def _ranges(points: Iterable[int]) -> str:
    """Sorted code points as the inside of a regular expression's character class."""
    ranges: list[list[int]] = []
    for point in points:
        if ranges and point == ranges[-1][1] + 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges)


def _count_splits(batches: Iterable[Any], case_sensitive: bool) -> Iterator[Any]:
    """Arrow batches of splits -> Arrow batches of (word, count, lines); a row without a word holds the totals."""
    counts: Counter[str] = Counter()
    words = lines = 0
    for batch in batches:
        for row in batch.to_pylist():
            last = b"\n"
            for text in _whole_words(read_split(Split(row["path"], row["start"], row["end"]))):
                found = (
                    ascii_words_in(text, case_sensitive)
                    if text.isascii()
                    else words_in(text.decode("utf-8", errors="replace"), case_sensitive)
                )
                words += len(found)
                lines += text.count(b"\n")
                last = text[-1:]
                counts.update(found)
                if len(counts) > MOST_WORDS_HELD:
                    yield _batch(list(counts), list(counts.values()), [0] * len(counts))
                    counts.clear()
            lines += last != b"\n"  # a last line without a line end is a line
    yield _batch([*counts, None], [*counts.values(), words], [0] * len(counts) + [lines])


def _batch(words: list[str | None] | list[str], counts: list[int], lines: list[int]) -> Any:
    import pyarrow as pa

    return pa.record_batch(
        {
            "word": pa.array(words, pa.string()),
            "count": pa.array(counts, pa.int64()),
            "lines": pa.array(lines, pa.int64()),
        }
    )


def _whole_words(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end behind a space or a line end, where neither a word, nor a character, nor the
    context that NFC and lower-casing look at can be cut."""
    carried = b""
    for block in blocks:
        cut = max(block.rfind(b"\n"), block.rfind(b" ")) + 1
        if cut:
            yield carried + block[:cut]
            carried = block[cut:]
        else:
            carried += block
    if carried:
        yield carried
