"""Recognise files that are not UTF-8 text by their first bytes, and say what to do with them."""

from __future__ import annotations

import codecs
import posixpath
import re
from typing import NamedTuple

from emr_pipelines.errors import NotText

SNIFFED_BYTES = 8000  # Git looks for a NUL byte in as many to call a file binary
ALLOWED_CONTENT = "UTF-8 text, plain or in .gz or .bz2"
LEAVE_OUT = "Move it away, begin its name with _, or name the files that are meant, as in folder/*.txt."

BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
PLAIN_NUL_SHARE = 0.7  # of mostly ASCII characters in UTF-16, nearly each has a NUL byte


class _Kind(NamedTuple):
    """A kind of content and what to do with such a file. suffix: the one under which files of this kind are read."""

    name: str
    remedy: str = LEAVE_OUT
    suffix: str = ""


CONTROL = rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]"  # characters that text has none of
BZIP2 = rb"BZh[1-9](1AY&SY.{,64}" + CONTROL + rb"|\x17rE8P\x90)"
PDF = rb"%PDF-\d\.\d\s{1,4}(%.?[\x80-\xff]|.{,1024}\d \d+ obj\b)"
# How files of each kind begin, from the formats' specifications. Where that is plain ASCII, as a text may
# begin, more of the format must follow.
KINDS = tuple(
    (re.compile(beginning, re.DOTALL), kind)
    for beginning, kind in (
        (rb"\x1f\x8b\x08", _Kind("gzip data", "Unpack it first, as with gzip -d.", ".gz")),
        (BZIP2, _Kind("bzip2 data", "Unpack it first, as with bzip2 -d.", ".bz2")),
        (rb"\xfd7zXZ\0", _Kind("xz data", "Unpack it first, as with xz -d.")),
        (rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", _Kind("Zstandard data", "Unpack it first, as with zstd -d.")),
        (rb"\x04\x22\x4d\x18", _Kind("LZ4 data", "Unpack it first, as with lz4 -d.")),
        (rb"\xff\x06\0\0sNaPpY", _Kind("Snappy data", "Unpack it first, as with snzip -d.")),
        (rb"\x1f\x9d", _Kind("data of the old program compress", "Unpack it first, as with gzip -d.")),
        (rb"LZIP\x01", _Kind("lzip data", "Unpack it first, as with lzip -d.")),
        (rb"PK(\x03\x04|\x05\x06|\x07\x08)", _Kind("a zip archive (as .docx, .xlsx and .jar files are)",
                                                 "Unpack it first, as with unzip, or save its text.")),
        (rb"7z\xbc\xaf\x27\x1c", _Kind("a 7-Zip archive", "Unpack it first, as with 7z x.")),
        (rb"Rar!\x1a\x07", _Kind("a RAR archive", "Unpack it first, as with unrar x.")),
        (rb".{257}ustar(\0|  \0)", _Kind("a tar archive", "Unpack it first, as with tar -xf.")),
        (rb"PAR1\x15", _Kind("a Parquet file")),
        (rb"Obj\x01", _Kind("an Avro file")),
        (rb"ARROW1\0\0", _Kind("an Arrow file")),
        (rb"SQLite format 3\0", _Kind("an SQLite database")),
        (PDF, _Kind("a PDF document", "Save its text first, as with pdftotext.")),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _Kind("an old Office document", "Save its text first.")),
        (rb"\x89PNG\r\n", _Kind("a PNG picture")),
        (rb"\xff\xd8\xff", _Kind("a JPEG picture")),
        (rb"GIF8[79]a.{,6}" + CONTROL, _Kind("a GIF picture")),
        (rb"L\0\0\0\x01\x14\x02\0", _Kind("a Windows shortcut", "Name the file that it leads to.")),
        (rb"\x7fELF", _Kind("a program")),
    )
)  # fmt: skip


def reject_binary(path: str, first_block: bytes, unpacked: bool = False) -> None:
    """Raise NotText when the first bytes of a file, or of what it unpacks to, show that it is not UTF-8 text."""
    begins = f"{path} unpacks to" if unpacked else f"{path} is"
    if kind := kind_of(first_block):
        remedy = kind.remedy if unpacked else _remedy(path, kind)
        raise NotText(f"{begins} {kind.name}; allowed: {ALLOWED_CONTENT}. {remedy}")
    if encoding := _encoding_of(first_block):
        raise NotText(f"{begins} {encoding}; allowed: {ALLOWED_CONTENT}. Convert it: iconv -f {encoding} -t UTF-8.")
    nul = first_block.find(b"\0", 0, SNIFFED_BYTES)
    if nul >= 0:
        raise NotText(f"{path} is not text: it has a NUL byte at offset {nul}; allowed: {ALLOWED_CONTENT}. {LEAVE_OUT}")


def reject_unless_compressed(path: str, compression: str, magic: bytes, first_block: bytes) -> None:
    """Raise NotText when a file is not compressed as its suffix says."""
    if first_block.startswith(magic[: len(first_block)]):
        return
    suffix = posixpath.splitext(path)[1]
    begins = f"{path} is called {suffix} and is not {compression} data"
    if kind := kind_of(first_block):
        raise NotText(f"{begins}: it is {kind.name}. {_remedy(path, kind)}")
    if b"\0" in first_block[:SNIFFED_BYTES]:
        raise NotText(f"{begins}, nor text. {LEAVE_OUT}")
    raise NotText(f"{begins}: it seems to be plain text. If so, rename it to {_stem(path)}.")


def kind_of(first_block: bytes) -> _Kind | None:
    """The kind of a file that begins with these bytes; None for text and unknown kinds."""
    return next((kind for beginning, kind in KINDS if beginning.match(first_block)), None)


def _encoding_of(first_block: bytes) -> str | None:
    """UTF-16 or UTF-32, by a byte order mark; without one, UTF-16 of mostly ASCII characters."""
    for encoding, marks in BYTE_ORDER_MARKS.items():
        if first_block.startswith(marks):
            return encoding
    sniffed = first_block[:SNIFFED_BYTES]
    if len(sniffed) % 2:
        return None
    for encoding, high, low in (("UTF-16LE", sniffed[1::2], sniffed[::2]), ("UTF-16BE", sniffed[::2], sniffed[1::2])):
        if high.count(0) > PLAIN_NUL_SHARE * len(high) and not low.count(0):
            return encoding
    return None


def _remedy(path: str, kind: _Kind) -> str:
    return f"Rename it to {_stem(path)}{kind.suffix}." if kind.suffix else kind.remedy


def _stem(path: str) -> str:
    """A path without a suffix of compression."""
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.lower() in (".gz", ".bz2") else path
