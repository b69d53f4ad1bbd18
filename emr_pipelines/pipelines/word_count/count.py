"""Count the words of text into a parquet table. `words.py` defines what a word is."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from emr_pipelines.errors import InvalidValue, SourceError, StorageUnusable
from emr_pipelines.pipelines.word_count.output import collector, delete_from, list_folder, open_output, spark_must_write
from emr_pipelines.pipelines.word_count.reading import read_split, reject_changed_empty
from emr_pipelines.pipelines.word_count.splits import REQUIREMENTS as TEXT_REQUIREMENTS
from emr_pipelines.pipelines.word_count.splits import Split, plan_tasks, reject_sources_in
from emr_pipelines.pipelines.word_count.word_table import rank_counts, read_part
from emr_pipelines.pipelines.word_count.words import add_up, count_pieces, hashes, safe_end, words_in
from emr_pipelines.remote.files import find_text_files
from emr_pipelines.remote.progress import pluralize

if TYPE_CHECKING:  # pyspark takes a second to import, and a code location that only looks at the graph needs none of it
    import pyarrow as pa
    from pyspark import RDD
    from pyspark.sql import SparkSession

REQUIREMENTS = TEXT_REQUIREMENTS

MAX_SHARES = 1000  # files of the table; each is small in memory, and they are read by as many tasks later
ROWS_AT_ONCE = 10_000  # as Python objects
PART = re.compile(r"part-.*\.parquet")


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
    """The counts of a text.

    `total_words` and `distinct_words` are those of the text. `total_words` is counted where the text is cut into words;
    `counted_words` is the sum of the table as it was read back, `left_out_words` what min_count and the stop words took
    away: the three must agree. `rows` are those of the table, `empty_words` the ones without a word. `top_words` are
    by falling count, then by word. `rank_counts` are ranks of words, about evenly apart on a log scale, and how often
    the words of those ranks occur. `bytes_read` are bytes of the files as stored. `digest` is one of the table's rows,
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
    rank_counts: tuple[tuple[int, int], ...]
    digest: str
    seconds: float


def count_words(spark: SparkSession, params: WordCountParams) -> WordCountResult:
    """Count the words of `params.text` into a parquet table at `params.output`: `word: string`, `count: bigint`,
    in the place of what is there: a step that was killed and is submitted again finds part of its own output.

    Tasks read their own bytes, count in Arrow, and hand on a row per distinct word. Others each add up the rows of a
    share of all words, and write them, sorted, as one file. What is in a file depends on the input and the number of
    tasks alone, so that a task that is tried again writes the same bytes to the same place. Where `spark_must_write`
    says so, Spark writes the files.

    Raises SourceNotFound when there is no text, SourceUnreadable or NotText when it cannot be counted, SourceChanged
    when it changed after it was listed, InvalidValue when it lies in the output, and StorageUnusable when that cannot
    be written.
    """
    began = time.monotonic()
    files = find_text_files([params.text])
    output = params.output.rstrip("/")
    reject_sources_in(output, files)
    try:
        delete_from(spark, output, PART)
    except OSError as error:
        raise StorageUnusable(f"{output} cannot be written: {error}") from error

    context = spark.sparkContext
    tasks = plan_tasks(files, context.defaultParallelism)
    print(f"Counting the words of {pluralize(len(files), 'file')} in {pluralize(len(tasks), 'task')}.")
    shares = min(len(tasks), MAX_SHARES) or 1
    count = partial(_count_task, shares=shares, case_sensitive=params.case_sensitive)
    counted = context.parallelize(tasks, len(tasks) or 1).flatMap(count).partitionBy(shares, int)
    if spark_must_write(spark, output):
        written = _written_by_spark(spark, counted, params)
    else:
        written = counted.mapPartitionsWithIndex(partial(_write_share, params=params)).collect()
    for totals in written:
        if totals.problem:
            raise totals.problem
    reject_changed_empty(files)

    parts = list_folder(output, PART)
    read = context.parallelize(parts, len(parts)).map(partial(read_part, top=params.top)).collect()
    rows, words = sum(part.rows for part in read), sum(part.words for part in read)
    top = sorted((entry for part in read for entry in part.top), key=lambda entry: (-entry[1], entry[0]))
    return WordCountResult(
        total_words=sum(totals.words for totals in written),
        counted_words=words,
        left_out_words=sum(totals.left_out for totals in written),
        distinct_words=sum(totals.distinct for totals in written),
        rows=rows,
        empty_words=sum(part.empty for part in read),
        lines=sum(totals.lines for totals in written),
        bytes_read=sum(file.bytes for file in files),
        top_words=dict(top[: params.top]),
        rank_counts=tuple(rank_counts(sum((part.words_by_count for part in read), start=Counter()))),
        digest=f"{rows:x}-{words:x}-{sum(part.digest for part in read) % 2**64:016x}",
        seconds=time.monotonic() - began,
    )


@dataclass
class _Totals:
    """The totals that tasks return beside their rows. `words` and `lines` are those of the text, counted where it is
    read; `distinct` and `left_out` words are known where a share is added up."""

    words: int = 0
    lines: int = 0
    distinct: int = 0
    left_out: int = 0
    problem: Exception | None = None


def _count_task(task: tuple[Split, ...], shares: int, case_sensitive: bool) -> Iterator[tuple[int, pa.Table | _Totals]]:
    """The rows of each share of the words, and totals. Problems are returned, because an exception in a task reaches
    the caller as pages of Java trace."""
    import numpy as np
    import pyarrow.compute as pc

    totals = _Totals()

    def texts() -> Iterator[bytes]:
        for split in task:
            last = b"\n"
            for text in _whole_words(read_split(split)):
                totals.lines += text.count(b"\n")
                last = text[-1:]
                yield text
            totals.lines += last != b"\n"  # a last line without a line end is a line

    try:
        for table in count_pieces(texts(), case_sensitive):
            totals.words += pc.sum(table["count"], min_count=0).as_py()
            share_of = hashes(table["word"]) % shares
            rows = share_of.argsort(kind="stable")
            found, sizes = np.unique(share_of, return_counts=True)
            for share, size, end in zip(found.tolist(), sizes, np.cumsum(sizes), strict=True):
                yield share, table.take(rows[end - size : end])
    except SourceError as error:
        totals.problem = error
    yield 0, totals


def _write_share(
    share: int, counted: Iterable[tuple[int, pa.Table | _Totals]], params: WordCountParams
) -> Iterator[_Totals]:
    """Write the rows of a share as one file, and yield its totals."""
    from pyarrow import parquet

    totals, wanted = _add_up_share(counted, params)
    if not totals.problem:
        path = f"{params.output.rstrip('/')}/part-{share:05d}.parquet"
        try:
            with open_output(path) as stream:
                parquet.write_table(wanted, stream)
        except OSError as error:
            totals.problem = StorageUnusable(f"{path} cannot be written: {error}")
    yield totals


def _written_by_spark(
    spark: SparkSession, counted: RDD[tuple[int, pa.Table | _Totals]], params: WordCountParams
) -> list[_Totals]:
    """The same for all shares, with files that Spark writes."""
    found = collector(spark)

    def rows(counted: Iterable[tuple[int, pa.Table | _Totals]]) -> Iterator[tuple[str, int]]:
        totals, wanted = _add_up_share(counted, params)
        found.add([totals])
        if not totals.problem:
            for batch in wanted.to_batches(ROWS_AT_ONCE):
                yield from zip(batch["word"].to_pylist(), batch["count"].to_pylist(), strict=True)

    table = spark.createDataFrame(counted.mapPartitions(rows), "word string, count bigint", verifySchema=False)
    table.write.mode("append").parquet(params.output)
    return list(found.value)


def _add_up_share(
    counted: Iterable[tuple[int, pa.Table | _Totals]], params: WordCountParams
) -> tuple[_Totals, pa.Table]:
    """Return the totals of a share, and its wanted rows, sorted; all rows after a problem."""
    import pyarrow as pa
    import pyarrow.compute as pc

    totals = _Totals()

    def tables() -> Iterator[pa.Table]:
        for _, found in counted:
            if isinstance(found, _Totals):
                totals.words += found.words
                totals.lines += found.lines
                totals.problem = totals.problem or found.problem
            else:
                yield found

    table = add_up(tables())
    if totals.problem:
        return totals, table
    stop_words = pa.array([words_in(word, params.case_sensitive)[0] for word in params.stop_words], pa.string())
    unwanted = pc.or_(pc.less(table["count"], params.min_count), pc.is_in(table["word"], stop_words))
    totals.distinct = len(table)
    totals.left_out = pc.sum(table["count"].filter(unwanted), min_count=0).as_py()
    return totals, table.filter(pc.invert(unwanted)).sort_by("word")


def _whole_words(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end where neither a word nor a character can be cut. It holds what comes before
    such a place, which `read_split` bounds."""
    begun: list[bytes] = []
    for block in blocks:
        end = safe_end(block)
        if end:
            yield b"".join([*begun, block[:end]])
            begun = []
        begun.append(block[end:])
    if any(begun):
        yield b"".join(begun)
