"""Word count against Spark's own example, Polars and DuckDB, on text made from a seed.

The program, Polars and DuckDB follow the same word rule and write a parquet table of the same rows, which is checked.
The two peers leave out what this text does not need: they drop no invisible characters, and they normalise before
lower-casing only, which they apply to whole lines. That is less work for them, so the comparison favours them. The
program also reads its table back, for the asset's checks; that is within its time.
Spark's `wordcount.py` is the file that the pyspark package ships, run as it is: it cuts lines at single spaces and
prints every word, here into memory. "Polars, pieces first" is the algorithm of
`pipelines/word_count/words.py` in Polars' terms; it takes some knowledge of the text, which may have no other white
space.
All times are of the work alone: Spark's session is up, and its workers have been started by a small job.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import shutil
import sys
import tempfile
import time
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import Run, Table, median, spark_session
from benchmarks.text import DISTINCT_WORDS, SEED, write_text

if TYPE_CHECKING:
    pass

MODULE = "benchmarks.word_count"
CORES = os.cpu_count() or 1  # for Spark; Polars and DuckDB use all
RUN = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}\x{200C}\x{200D}]*"
WORD = f"{RUN}(?:['’]{RUN})*"
OURS, EXAMPLE = "count_words", "Spark's wordcount.py"
POLARS, DUCKDB, PIECES = "Polars", "DuckDB", "Polars, pieces first"
MEGABYTES, SMALL, COPIES = 512, 64, 8  # the largest text consists of so many copies of the middle one
QUICK_MEGABYTES, QUICK_SMALL, QUICK_COPIES = 4, 1, 2
EXAMPLE_TIMES, PEER_TIMES = 4, 1 / 1.3


def count_words(text: str) -> tuple[float, Any]:
    from emr_pipelines.pipelines.word_count import count as word_count

    with tempfile.TemporaryDirectory() as folder, spark_session(CORES) as spark:
        params = word_count.WordCountParams(text, f"file://{folder}/counts")
        result = word_count.count_words(spark, params)
        return result.seconds, _table(f"{folder}/counts")


def spark_example(text: str) -> tuple[float, Any]:
    import pyspark

    script = Path(pyspark.__file__).parent / "examples/src/main/python/wordcount.py"
    sys.argv = [str(script), text]
    output = io.StringIO()
    with spark_session(CORES), contextlib.redirect_stdout(output):
        began = time.monotonic()
        runpy.run_path(str(script), run_name="__main__")
        seconds = time.monotonic() - began
    counts = [int(line.rpartition(": ")[2]) for line in output.getvalue().splitlines() if ": " in line]
    return seconds, {"words": sum(counts), "distinct": len(counts)}


def polars(text: str) -> tuple[float, Any]:
    import polars as pl

    words = pl.scan_lines(text, name="text").select(pl.lit(1).alias("times"), _words(pl.col("text")))
    return _sink(words.explode("word").drop_nulls())


def polars_pieces(text: str) -> tuple[float, Any]:
    import polars as pl

    pieces = pl.scan_lines(text, name="text").select(pl.col("text").str.split(" ")).explode("text")
    counted = pieces.group_by("text").agg(pl.len().alias("times"))
    return _sink(counted.select("times", _words(pl.col("text"))).explode("word").drop_nulls())


def _words(text: Any) -> Any:
    return text.str.normalize("NFC").str.to_lowercase().str.extract_all(WORD).alias("word")


def _sink(words: Any) -> tuple[float, Any]:
    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        folded = words.with_columns(pl.col("word").str.replace_all("’", "'", literal=True))
        folded.group_by("word").agg(pl.col("times").sum().alias("count")).sink_parquet(f"{folder}/counts.parquet")
        return time.monotonic() - began, _table(folder)


def duckdb(text: str) -> tuple[float, Any]:
    import duckdb

    pattern = WORD.replace("'", "''")
    options = "columns = {'line': 'VARCHAR'}, delim = chr(1), quote = '', escape = '', header = false"
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        began = time.monotonic()
        connection.execute(f"""
            COPY (
                SELECT replace(word, '’', '''') AS word, count(*) AS count
                FROM (SELECT unnest(regexp_extract_all(lower(nfc_normalize(line)), '{pattern}')) AS word
                      FROM read_csv('{text}', {options}))
                GROUP BY ALL
            ) TO '{folder}/counts.parquet' (FORMAT parquet)
        """)  # noqa: S608 (our own text)
        return time.monotonic() - began, _table(folder)


def plain_split(text: str) -> tuple[float, Any]:
    """Count like Spark's example: lines split at single spaces."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    with open(text, encoding="utf-8", newline="\n") as lines:  # noqa: PTH123
        for line in lines:
            counts.update(line.rstrip("\n").split(" "))
    return time.monotonic() - began, {"words": counts.total(), "distinct": len(counts)}


def _table(folder: str) -> dict[str, Any]:
    """Return a digest of the rows of a parquet table of word and count."""
    import pyarrow.dataset as ds

    rows = ds.dataset(folder, format="parquet").to_table(columns=["word", "count"]).sort_by("word").to_pydict()
    lines = "".join(f"{word}\t{count}\n" for word, count in zip(rows["word"], rows["count"], strict=True))
    digest = blake2b(lines.encode(), digest_size=16).hexdigest()
    return {"words": sum(rows["count"]), "distinct": len(rows["count"]), "digest": digest}


def against_peers(runs: dict[str, list[Run]], megabytes: int) -> Table:
    ours = median(runs[OURS])
    wanted = {EXAMPLE: f"{EXAMPLE_TIMES:g} or more", POLARS: f"{PEER_TIMES:.2f} or more"}
    wanted[DUCKDB] = wanted[POLARS]
    table = Table(
        f"{megabytes} MB, {runs[OURS][0].answer['distinct']:,} distinct words",
        ("", "seconds", "MB a second", "count_words is faster by", "wanted"),
    )
    for name in (OURS, EXAMPLE, POLARS, DUCKDB, PIECES):
        seconds = median(runs[name])
        ratio = "" if name == OURS else f"{seconds / ours:.2f}"
        table.rows.append((name, f"{seconds:.2f}", f"{megabytes / seconds:.0f}", ratio, wanted.get(name, "")))
    return table


def by_size(runs: dict[int, list[Run]]) -> Table:
    table = Table("count_words by size", ("MB", "seconds", "ms a MB", "peak of a worker, MB", "of the JVM, MB"))
    for megabytes, several in runs.items():
        worker, java = (max(run.peak_mb.get(kind, 0) for run in several) for kind in ("spark worker", "java"))
        seconds = median(several)
        table.rows.append(
            (f"{megabytes:,}", f"{seconds:.2f}", f"{1000 * seconds / megabytes:.1f}", f"{worker:.0f}", f"{java:.0f}")
        )
    return table


CONTENDERS = {
    OURS: count_words,
    EXAMPLE: spark_example,
    POLARS: polars,
    DUCKDB: duckdb,
    PIECES: polars_pieces,
    "plain": plain_split,
}


def main() -> None:
    harness.serve(CONTENDERS)
    asked = harness.arguments(__doc__, rounds=5)
    megabytes, small, copies = (
        (QUICK_MEGABYTES, QUICK_SMALL, QUICK_COPIES) if asked.quick else (MEGABYTES, SMALL, COPIES)
    )
    with tempfile.TemporaryDirectory() as folder:
        texts = {size: Path(folder, f"{size}.txt") for size in (small, megabytes, copies * megabytes)}
        print(f"Writing text from seed {SEED}.", file=sys.stderr)
        for size in (small, megabytes):
            write_text(texts[size], size, distinct=min(DISTINCT_WORDS, size * 2_000))
        with texts[copies * megabytes].open("wb") as large:
            for _ in range(copies):
                with texts[megabytes].open("rb") as once:
                    shutil.copyfileobj(once, large, 1 << 20)

        text = str(texts[megabytes])
        expected = harness.run(MODULE, "plain", text=text).answer
        runs = harness.in_turn(MODULE, [OURS, EXAMPLE, POLARS, DUCKDB, PIECES], asked.rounds, text=text)
        for turn in range(asked.rounds):
            harness.agree({name: runs[name][turn].answer for name in (OURS, POLARS, DUCKDB, PIECES)})
            harness.agree({"a split at spaces": expected, EXAMPLE: runs[EXAMPLE][turn].answer})
        sizes = {
            size: harness.in_turn(MODULE, [OURS], asked.rounds, text=str(path))[OURS] for size, path in texts.items()
        }
        once, many = sizes[megabytes][0].answer, sizes[copies * megabytes][0].answer
        harness.agree({"the copies": many["words"], "as often as the text": once["words"] * copies})
        harness.agree({"the words of the copies": many["distinct"], "the words of the text": once["distinct"]})
    tables = [against_peers(runs, megabytes), by_size(sizes)]
    about = harness.machine("pyspark", "pyarrow", "polars", "duckdb")
    harness.report(asked, about, tables, {**runs, **{f"{OURS}, {size} MB": found for size, found in sizes.items()}})


if __name__ == "__main__":
    main()
