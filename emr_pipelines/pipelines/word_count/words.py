"""The word rule, and counting words in bulk.

docs/word_count.md states the rule; in short:

1. Drop what is never seen: default-ignorable characters (soft hyphen, variation selectors, direction marks, word
   joiner, byte order mark) and enclosing marks. The zero width space stays and separates words. The zero width joiners
   stay between letters, marks and numbers, where Persian and Indic scripts spell with them.
2. Normalise to NFC. A word starts with a letter or a number and goes on with letters, marks, numbers and joiners;
   single apostrophes (' or U+2019, which is folded to ') may stand between two such runs:

       [\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N}\\u200C\\u200D]*(?:['’][\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N}\\u200C\\u200D]*)*

3. Lower-case each word by itself, drop the dot above an i (İ lower-cases to i with that dot), and normalise again.

This follows UAX #29 (Unicode text segmentation) in what extends a word. The Unicode tables are those of the Python that
runs. The rule applied to a word gives that word, and canonically equal texts have the same words.

Text repeats itself, so `count_pieces` does not apply the rule to the whole text. It cuts the text at characters that
always separate words, lets Arrow count the distinct pieces, and applies the rule once to each of those.
"""

from __future__ import annotations

import itertools
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# bounds of memory: text that is counted at once, and bytes of rows that are added up at once
TOGETHER_BYTES = 32 << 20
ROWS_BYTES = 128 << 20
ALPHANUMERIC = (string.ascii_letters + string.digits).encode()
SAFE = bytes(byte for byte in range(128) if byte not in ALPHANUMERIC + b"'")
WIDE_SAFE = tuple(mark.encode() for mark in "\u3000。、，\ufffd")  # for scripts without spaces, and replaced bytes

WITH_MARKS = (range(0x20000), range(0xE0000, 0xE1000))  # all marks are here; looking at every character takes a while
BELOW_OTHERS = range(1, 230)  # combining classes that canonical order puts before a dot above, which is of class 230
JOINERS = "\u200c\u200d"
# Unicode's Default_Ignorable_Code_Point, which Python has no table of, without U+200B and the joiners
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
DOT_ABOVE = "\u0307"

SPACE = ord(" ")
APOSTROPHE = ord("'")
TO_SPACE = bytes(SPACE if byte in SAFE else byte for byte in range(256))
KEEP_CASE = bytes(byte if byte in ALPHANUMERIC + b"'" else SPACE for byte in range(256))
LOWER = KEEP_CASE.lower()


def words_in(text: str, case_sensitive: bool = False) -> list[str]:
    """Return the words of a text, in order. The text must not begin or end within a word."""
    found = _patterns().word.findall(_prepared(text))
    return _spelled(" ".join(found), case_sensitive).split(" ") if found else []


def safe_end(text: bytes) -> int:
    """Return where to cut a text of which more may follow: behind the last character that always separates words, or 0
    when there is none."""
    return (
        max(text.rfind(b" "), text.rfind(b"\n")) + 1  # nearly always, and quick
        or text.translate(TO_SPACE).rfind(b" ") + 1
        or max(text.rfind(mark) + len(mark) if mark in text else 0 for mark in WIDE_SAFE)
    )


def count_pieces(texts: Iterable[bytes], case_sensitive: bool = False) -> Iterator[pa.Table]:
    """The words of UTF-8 texts, each of which begins and ends between words, and how often they occur.

    Yields tables of `word: string, count: int64`; a word can be in several of them, once in each. Bytes that are not
    UTF-8 separate words.
    """
    import pyarrow as pa

    tables: list[pa.Table] = []
    rows_bytes = 0
    for unit in _units(texts):
        pieces = pa.chunked_array(map(_pieces, unit))
        tables.append(_apply_rule(pieces.value_counts(), case_sensitive))
        rows_bytes += tables[-1].nbytes
        if rows_bytes >= ROWS_BYTES:
            yield add_up(tables)
            tables, rows_bytes = [], 0
    if tables:
        yield add_up(tables)


def _units(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    unit: list[bytes] = []
    unit_bytes = 0
    for text in texts:
        unit.append(text.translate(TO_SPACE))
        unit_bytes += len(text)
        if unit_bytes >= TOGETHER_BYTES:
            yield unit
            unit, unit_bytes = [], 0
    if unit:
        yield unit


def add_up(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of tables of `word, count`, a row for each word. It holds few times what it returns."""
    import pyarrow as pa

    held = [pa.table({"word": pa.array([], pa.string()), "count": pa.array([], pa.int64())})]
    held_bytes, most_bytes = 0, ROWS_BYTES
    for table in tables:
        held.append(table)
        held_bytes += table.nbytes
        if held_bytes > most_bytes:
            held = [_grouped(held)]
            held_bytes = held[0].nbytes
            most_bytes = max(ROWS_BYTES, 2 * held_bytes)
    return _grouped(held)


def _grouped(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    found = pa.concat_tables(tables).group_by("word", use_threads=False).aggregate([("count", "sum")])
    return pa.table({"word": found["word"], "count": found["count_sum"]})


def hashes(words: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A hash of each string that is the same on every machine: a polynomial of its bytes, mixed as SplitMix64 does
    (Steele, Lea and Flood 2014)."""
    import numpy as np
    import pyarrow as pa

    offsets, data = _parts(pa.concat_arrays([pa.array([], pa.string()), *words.chunks]))
    lengths = np.diff(offsets)
    powers = np.cumprod(np.full(lengths.max(initial=0), 0x9E3779B97F4A7C15, np.uint64))
    terms = (data + np.uint64(1)) * powers[np.arange(len(data)) - np.repeat(offsets[:-1], lengths)]
    ends = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    found: NDArray[np.uint64] = ends[offsets[1:]] - ends[offsets[:-1]]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found


def _pieces(text: bytes | NDArray[np.uint8]) -> pa.BinaryArray:
    """What ends at each space of the text, with the space; Arrow refers to the text and copies nothing."""
    import numpy as np
    import pyarrow as pa

    if isinstance(text, bytes) and not text.endswith(b" "):
        text += b" "
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == SPACE)
    offsets = np.zeros(len(ends) + 1, np.int32)
    np.add(ends, 1, out=offsets[1:], casting="unsafe")
    return pa.BinaryArray.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def _apply_rule(counted: pa.StructArray, case_sensitive: bool) -> pa.Table:
    """Distinct pieces and their counts -> their words and the counts of the pieces, a row for each time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    pieces, counts = counted.field("values"), counted.field("counts").to_numpy()
    offsets, data = _parts(pieces)
    is_ascii = np.ones(len(pieces), bool)
    is_ascii[_piece_at(offsets, np.flatnonzero(data > 127))] = False  # noqa: PLR2004 (the last of ASCII)

    words, weights = _words_of_ascii(pieces.filter(pa.array(is_ascii)), counts[is_ascii], case_sensitive)
    more_words, more_weights = _words_of_unicode(pieces.filter(pa.array(~is_ascii)), counts[~is_ascii], case_sensitive)
    trimmed = pc.ascii_rtrim_whitespace(pa.chunked_array([words, more_words]).cast(pa.string()))
    return pa.table({"word": trimmed, "count": np.concatenate([weights, more_weights])})


def _words_of_ascii(
    pieces: pa.BinaryArray, counts: NDArray[np.int64], case_sensitive: bool
) -> tuple[pa.BinaryArray, NDArray[np.int64]]:
    """The words, each with a space behind it, and the counts of the pieces they are from; all pieces at once."""
    import numpy as np
    import pyarrow as pa

    offsets, data = _parts(pieces)
    text = np.frombuffer(KEEP_CASE if case_sensitive else LOWER, np.uint8)[data]
    apostrophes = np.flatnonzero(text == APOSTROPHE)  # none is the last byte, which is a space
    lone = (text[apostrophes - 1] < ord("0")) | (text[apostrophes + 1] < ord("0"))
    lone |= apostrophes == 0
    text[apostrophes[lone]] = SPACE
    words = _pieces(text)
    word_ends, _ = _parts(words)
    there = np.diff(word_ends) > 1
    return words.filter(pa.array(there)), counts[_piece_at(offsets, word_ends[1:][there] - 1)]


def _words_of_unicode(
    pieces: pa.BinaryArray, counts: NDArray[np.int64], case_sensitive: bool
) -> tuple[pa.BinaryArray, NDArray[np.int64]]:
    """The same by the rule's own regular expression."""
    import numpy as np

    text = b"\n".join(pieces.to_pylist()).decode("utf-8", errors="replace")  # no piece has a line end
    lines = _prepared(text).split("\n") if len(pieces) else []
    found = list(map(_patterns().word.findall, lines))
    words = _spelled("".join(f"{word} " for word in itertools.chain(*found)), case_sensitive)
    return _pieces(np.frombuffer(words.encode(), np.uint8)), np.repeat(counts, list(map(len, found)))


def _parts(pieces: pa.BinaryArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The offsets and the bytes of an array that begins at its buffers' beginnings."""
    import numpy as np

    _, offsets, data = pieces.buffers()
    if not len(pieces):
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[: len(pieces) + 1]
    return ends, np.frombuffer(data, np.uint8)[: ends[-1]]


def _piece_at(offsets: NDArray[np.int32], positions: NDArray[Any]) -> NDArray[np.intp]:
    """Which piece each position is in."""
    found: NDArray[np.intp] = offsets.searchsorted(positions, side="right") - 1
    return found


def _prepared(text: str) -> str:
    """The text in which the word pattern finds words: steps 1 and 2 of the rule."""
    text = unicodedata.normalize("NFC", _patterns().unseen.sub("", text)).replace("_", " ")  # \w has the underscore
    if any(joiner in text for joiner in JOINERS):
        text = _patterns().stray_joiners.sub("", text)
    return text


def _spelled(words: str, case_sensitive: bool) -> str:
    """Words with spaces between them, each as the table has it: step 3 of the rule."""
    words = words.replace("\u2019", "'")
    if case_sensitive:
        return words
    words = words.lower()  # a space ends the context in which Python looks for the end of a Greek word
    if DOT_ABOVE in words:
        words = _patterns().dotted_i.sub(r"\1", unicodedata.normalize("NFD", words))
    return unicodedata.normalize("NFC", words)


class _Patterns(NamedTuple):
    word: re.Pattern[str]
    unseen: re.Pattern[str]
    stray_joiners: re.Pattern[str]
    dotted_i: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    # Python's re has no \p{L}: its \w is exactly the letters, the numbers and the underscore; marks must be listed
    points = list(itertools.chain(*WITH_MARKS))
    marks = _ranges(point for point in points if unicodedata.category(chr(point)).startswith("M"))
    enclosing = _ranges(point for point in points if unicodedata.category(chr(point)) == "Me")
    below = _ranges(point for point in points if unicodedata.combining(chr(point)) in BELOW_OTHERS)
    inner = rf"\w{marks}{JOINERS}"
    run = rf"\w[{inner}]*"
    return _Patterns(
        word=re.compile(f"{run}(?:['\u2019]{run})*"),
        unseen=re.compile(f"[{INVISIBLE}{enclosing}]+"),
        # a joiner first, so that the search skips other text; each run is matched from its first joiner only
        stray_joiners=re.compile(
            rf"[{JOINERS}](?:(?<![{inner}].)[{JOINERS}]*|(?<![{JOINERS}].)[{JOINERS}]*(?![{inner}]))", re.DOTALL
        ),
        dotted_i=re.compile(f"(i[{below}]*){DOT_ABOVE}+"),
    )


def _ranges(points: Iterable[int]) -> str:
    """Sorted code points as the inside of a regular expression's character class."""
    ranges: list[list[int]] = []
    for point in points:
        if ranges and point == ranges[-1][1] + 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges)
