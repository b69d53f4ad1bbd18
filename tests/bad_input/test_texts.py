"""Unusual and invalid texts: counts agree with an independent rule, or the text is refused."""

from __future__ import annotations

import bz2
import gzip
import os
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emr_pipelines.errors import NotText, SourceError, SourceUnreadable
from emr_pipelines.pipelines.word_count import ingest, reading, splits
from emr_pipelines.pipelines.word_count.count import WordCountParams, count_words
from emr_pipelines.pipelines.word_count.ingest import IngestParams, ingest_text
from emr_pipelines.pipelines.word_count.splits import Split
from emr_pipelines.remote.files import find_text_files
from tests.bad_input.conftest import validate_sentence
from tests.pipelines.word_count.words import expected_words

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MAX_MEMORY_BYTES = 8 << 20
BOM = "\ufeff"

# valid but unusual; the file's name is part of the case
UNUSUAL: dict[str, bytes] = {
    "right_to_left.txt": "שלום עולם! \u202eשלום\u202c — مرحبا بالعالم، مَرْحَبًا".encode(),
    "emoji.txt": "👩‍👩‍👧‍👦 family 👍🏽ok 🇪🇺 1️⃣ e👍e ☕️".encode(),
    "combining.txt": "e\u0301te\u0301 été E\u0301TE\u0301 a\u0300\u0323 a\u0323\u0300 हिन्दी ไทย u\u0308".encode(),
    "joiners.txt": "می\u200cخواهم x\u200dy soft\u00adhyphen zero\u200bwidth no\u00a0break".encode(),
    "marks_first.txt": "\u0301\u0301 \u0301a <\u0338 'a' ’b’ don’t rock ’n’ roll l’eau a'b''c".encode(),
    "cases.txt": "ΣΊΣΥΦΟΣ ΑΣ. ΑΣ: İstanbul ISPARTA ıI ﬁn Straße ǅ ⅷ Ⅷ ² ٣".encode(),
    "several_boms.txt": f"{BOM}{BOM}one{BOM}two {BOM}three".encode(),
    "carriage_returns.txt": b"one\rtwo\rthree\r\rfour",
    "mixed_line_ends.txt": "one\r\ntwo\n\rthree\r\r\nfour\u2028five\u0085six\x0bseven\x0ceight".encode(),
    "only_whitespace.txt": " \t\u3000\u00a0\r\n\x0b\x0c\n ".encode(),
    "only_line_ends.txt": b"\n\n\r\n\r\n\n",
    "no_line_end.txt": b"last",
    "empty.txt": b"",
    "empty.gz": gzip.compress(b""),
    "empty.bz2": bz2.compress(b""),
    "only_a_bom.txt": BOM.encode(),
    "control characters.txt": b"one\x01two\x1b[31mthree\x7ffour",
    "not_utf8.txt": b"caf\xe9 \xff\xfe one\xc3 \xed\xa0\x80 \xf5two \xc0\xaf",
    "cut_character.txt": "one café".encode()[:-1],
    "beyond_the_first_plane.txt": "𝒜𝓁𝒾𝒸ℯ 𠜎𠜱 𐐷𐐏 1𝟚3 \U000e0061tag".encode(),
    "private.txt": "a\ue000b c\uffffd e\U0010fffff".encode(),
    "nul_far_away.txt": b"word " * 2000 + b"one\0two",
    "odd\nname, “quoted” $(touch x) `y` *.txt": b"named oddly",
    "-r --delete.txt": b"named like an option",
    "a name of \u202etxt.gpj": b"named from right to left",
    "upper.TXT.GZ": gzip.compress("größe\r\n".encode()),
    "wrong_extension.log": b"plain",
    "trailing_bytes.gz": gzip.compress(b"text before zeros\n") + b"\0" * 512,  # padding, as on tapes
}


def test_unusual_texts_are_counted_as_the_rule_says(spark: SparkSession, tree: Path, tmp_path: Path) -> None:
    for name, content in UNUSUAL.items():
        (tree / name).write_bytes(content)
    result = ingest_text(spark, IngestParams((str(tree),), f"file://{tmp_path}/out"))
    clean: dict[str, str] = {}
    for name in sorted(UNUSUAL):  # parts are in the order of names
        packed = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(Path(name).suffix.lower(), bytes)
        plain = packed(UNUSUAL[name]).removeprefix(BOM.encode()).decode(errors="replace").replace("\r\n", "\n")
        clean[name] = plain + "\n" * bool(plain and not plain.endswith("\n"))
    parts = find_text_files([f"{tmp_path}/out"])
    assert "".join(Path(part.path).read_bytes().decode() for part in parts) == "".join(clean.values())
    assert result.files == len(UNUSUAL)
    assert {Path(path).name for path in result.replaced_by_file} == {"not_utf8.txt", "cut_character.txt"}

    counted = count_words(spark, WordCountParams(f"{tmp_path}/out", f"file://{tmp_path}/counts", top=100_000))
    expected = Counter(word for text in clean.values() for word in expected_words(text))
    assert counted.top_words == dict(expected)
    assert counted.total_words == expected.total()
    assert expected["été"] == 3  # however it is composed
    assert not (tree / "x").exists()


def _noise(size: int) -> bytes:
    return os.urandom(size).hex().encode()


# NUL bytes, UTF-16 with its mark, and what is no compressed file are in tests/pipelines/word_count/test_ingest.py
BAD: list[tuple[str, bytes, type[SourceError], str]] = [
    ("twice.gz", gzip.compress(gzip.compress(b"text\n")), NotText, "unpacks to gzip data; allowed: UTF-8 text"),
    ("tar.gz", gzip.compress(b"a.txt" + b"\0" * 1019), NotText, "is not text: it has a NUL byte at offset 5"),
    ("utf16_without_a_mark.txt", "text".encode("utf-16-le"), NotText, "is UTF-16LE; allowed: UTF-8 text"),
    ("utf32.gz", gzip.compress("text".encode("utf-32")), NotText, "unpacks to UTF-32; allowed: UTF-8 text"),
    ("zip.gz", b"PK\x03\x04\x14\0\0\0", NotText, "it is a zip archive"),
    ("bzip2.gz", bz2.compress(b"text"), NotText, "it is bzip2 data. Rename it to"),
    ("gzip.bz2", gzip.compress(b"text"), NotText, "it is gzip data. Rename it to"),
    ("half_a_member.gz", gzip.compress(b"one\n") + gzip.compress(_noise(500))[:200], NotText, "is a damaged"),
    ("no_check.gz", gzip.compress(_noise(500))[:-4], NotText, "is a damaged compressed file"),
    ("wrong_check.gz", gzip.compress(_noise(500))[:-8] + b"\0" * 8, NotText, "is a damaged compressed file"),
    ("followed_by_more.gz", gzip.compress(b"one\n") + b"two\n", NotText, "4 bytes after the end of its gzip data"),
    ("a_bit_off.bz2", bz2.compress(_noise(500))[:60] + b"\xff" + bz2.compress(_noise(500))[61:], NotText, "damaged"),
    ("one_byte.gz", b"\x1f", NotText, "is a damaged compressed file"),
]  # fmt: skip


def refusal_of(path: Path, tmp_path: Path, size: int | None = None) -> SourceError:
    """Return a task's message about a file that it copies."""
    (file,) = find_text_files([str(path)])
    split = Split(file, 0, file.bytes if size is None else size)
    (copied,) = ingest._copy_task((split,), str(tmp_path / "out" / "part-00000.txt"))
    assert isinstance(copied.problem, SourceError)
    return copied.problem


@pytest.mark.parametrize(("name", "content", "kind", "says"), BAD, ids=[name for name, _, _, _ in BAD])
def test_bad_texts_are_refused_by_name(
    tree: Path, tmp_path: Path, name: str, content: bytes, kind: type[SourceError], says: str
) -> None:
    (tree / name).write_bytes(content)
    problem = refusal_of(tree / name, tmp_path)
    assert type(problem) is kind
    validate_sentence(str(problem), says)
    assert f"{tree}/{name}" in str(problem)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    problem = refusal_of(Path("/proc/self/mem"), tmp_path, size=10)  # its first page must not be read
    assert type(problem) is SourceUnreadable
    validate_sentence(str(problem), "/proc/self/mem cannot be read")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), pytest.param(".bz2", bz2.compress, marks=pytest.mark.extended)],
)
def test_a_bomb_is_unpacked_in_little_memory_and_refused_at_its_limit(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, compress: object
) -> None:
    assert callable(compress)
    bomb = tree / f"bomb{suffix}"
    bomb.write_bytes(compress(b"boom\n" * 3_000_000))
    assert bomb.stat().st_size * reading.MAX_TIMES_UNPACKED < 12 << 20
    monkeypatch.setattr(reading, "UNPACKED_BYTES", 12 << 20)
    tracemalloc.start()
    try:
        problem = refusal_of(bomb, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert type(problem) is NotText
    validate_sentence(str(problem), "unpacks to more than 12,582,912 bytes, over 200 times its own size")


def test_what_shrinks_much_and_is_small_is_text(tree: Path, tmp_path: Path) -> None:
    log = tree / "log.gz"
    log.write_bytes(gzip.compress(b"nothing happened\n" * 100_000))
    assert log.stat().st_size * reading.MAX_TIMES_UNPACKED < 1_700_000
    (copied,) = ingest._copy_task(
        (Split(find_text_files([str(log)])[0], 0, log.stat().st_size),), str(tmp_path / "out" / "part-00000.txt")
    )
    assert (copied.problem, copied.lines) == (None, 100_000)


def test_a_very_long_line_takes_no_memory(tree: Path, tmp_path: Path) -> None:
    line = tree / "line.txt"
    line.write_bytes(b"word " * (32 << 20 >> 2))
    part = tmp_path / "out" / "part-00000.txt"
    tracemalloc.start()
    try:
        (copied,) = ingest._copy_task((Split(find_text_files([str(line)])[0], 0, splits.SPLIT_BYTES),), str(part))
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert (copied.problem, copied.lines) == (None, 1)
    assert part.stat().st_size == line.stat().st_size + 1
