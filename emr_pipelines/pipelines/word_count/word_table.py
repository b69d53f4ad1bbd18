"""Read the table of `count_words` back: its totals, its most frequent words, and how ranks and counts relate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from emr_pipelines.pipelines.word_count.words import hashes
from emr_pipelines.remote.files import locate

RANKS = 100  # in a result


@dataclass(frozen=True)
class PartFile:
    """The content of one file of the table."""

    rows: int
    words: int
    empty: int
    digest: int
    top: list[tuple[str, int]]
    words_by_count: Counter[int]  # how many words occur so often


def read_part(path: str, top: int) -> PartFile:
    """Read one file of the table, with its `top` most frequent words."""
    import numpy as np
    import pyarrow.compute as pc
    from pyarrow import parquet

    filesystem, inner = locate(path)
    table = parquet.read_table(inner, filesystem=filesystem)
    counts = table["count"].to_numpy()
    first = table.sort_by([("count", "descending"), ("word", "ascending")]).slice(0, top)
    return PartFile(
        rows=len(table),
        words=int(counts.sum()),
        empty=pc.sum(pc.equal(pc.fill_null(pc.binary_length(table["word"]), 0), 0), min_count=0).as_py(),
        digest=int(np.sum(hashes(table["word"]) * (2 * counts.astype(np.uint64) + 1))),
        words_by_count=Counter(
            dict(zip(*(found.tolist() for found in np.unique(counts, return_counts=True)), strict=True))
        ),
        top=list(zip(first["word"].to_pylist(), first["count"].to_pylist(), strict=True)),
    )


def rank_counts(words_by_count: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """The last rank of each count, with that count; of ranks that are close together, only the first."""
    rank, shown = 0, 0.0
    step = (sum(words_by_count.values()) or 1) ** (1 / RANKS)
    for count in sorted(words_by_count, reverse=True):
        rank += words_by_count[count]
        if rank >= shown:
            yield rank, count
            shown = rank * step
