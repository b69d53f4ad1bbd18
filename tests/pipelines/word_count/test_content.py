"""File formats by their first bytes, as each format's own tool writes them if it is installed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from emr_pipelines.errors import NotText
from emr_pipelines.pipelines.word_count.content import kind_of, reject_binary, reject_unless_compressed

TEXT = b"some text\n"


def _written(suffix: str) -> bytes:
    """Return a small file of a format, written by its library."""
    stream = io.BytesIO()
    if suffix == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a.txt", TEXT)
    elif suffix == "tar":
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"))
    else:
        stream.write(pa.compress(TEXT * 10, codec=suffix, asbytes=True))
    return stream.getvalue()


def _table(name: str, tmp_path: Path) -> bytes:
    """Return a small table in a format."""
    table = pa.table({"word": ["a", "b"], "count": [1, 2]})
    path = tmp_path / name
    if name == "parquet":
        from pyarrow import parquet

        parquet.write_table(table, path)
    elif name == "orc":
        from pyarrow import orc

        orc.write_table(table, str(path))
    elif name == "arrow":
        from pyarrow import feather

        feather.write_feather(table, str(path))
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE words (word TEXT)")
        database.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            gzip.compress(TEXT, mtime=0),
            "/x/notes.txt is gzip data; allowed: UTF-8 text, .* Rename it to /x/notes.txt.gz.",
        ),
        (bz2.compress(TEXT), "is bzip2 data; allowed: .* Rename it to /x/notes.txt.bz2."),
        (bz2.compress(b""), "is bzip2 data; "),
        (lzma.compress(TEXT), "is xz data; allowed: .* Unpack it first, as with xz -d."),
        (_written("zstd"), "is Zstandard data; allowed: .* Unpack it first, as with zstd -d."),
        (_written("lz4"), "is LZ4 data; allowed: .* Unpack it first, as with lz4 -d."),
        (_written("zip"), r"is a zip archive \(as .docx, .xlsx and .jar files are\); .* Unpack it first, as with unz"),
        (_written("tar"), "is a tar archive; allowed: .* Unpack it first, as with tar -xf."),
        (b"\x1f\x9d\x90s\xde", "is data of the old program compress"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "is a 7-Zip archive"),
        (b"Rar!\x1a\x07\x01\0", "is a RAR archive"),
        (b"\xff\x06\0\0sNaPpY\x01", "is Snappy data"),
        (b"LZIP\x01\x0c", "is lzip data"),
        (b"Obj\x01\x04\x14avro", "is an Avro file"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF document; allowed: .* Save its text first, as with pdftotext."),
        (b"%PDF-1.4\r\n1 0 obj\r\n<< /Type /Catalog >>", "is a PDF document"),  # without the usual binary comment
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office document"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a PNG picture; allowed: .* Move it away"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG picture"),
        (b"GIF89a\x01\0", "is a GIF picture"),
        (b"GIF87aAAAA  \0,", "is a GIF picture"),  # 16,705 points wide and high
        (b"L\0\0\0\x01\x14\x02\0", "is a Windows shortcut; allowed: .* Name the file that it leads to."),
        (b"\x7fELF\x02", "is a program"),
        ("text".encode("utf-16"), "is UTF-16; allowed: .* Convert it: iconv -f UTF-16 -t UTF-8."),
        ("text".encode("utf-32"), "is UTF-32; allowed: .* Convert it: iconv -f UTF-32 -t UTF-8."),
        ("naïve text €".encode("utf-16-le"), "is UTF-16LE; allowed: .* Convert it: iconv -f UTF-16LE -t UTF-8."),
        ("naïve text €".encode("utf-16-be"), "is UTF-16BE; "),
        (b"a\0b", "is not text: it has a NUL byte at offset 1; allowed: "),
        (b"abc\0", "is not text: it has a NUL byte at offset 3; allowed: "),
        (b"a.txt\0\0", "is not text: it has a NUL byte at offset 5; allowed: "),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_with_what_to_do(content: bytes, says: str) -> None:
    with pytest.raises(NotText, match=says):
        reject_binary("/x/notes.txt", content)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("parquet", "a Parquet file"),
        ("orc", "not text: it has a NUL byte at offset 10"),  # a text may begin like this
        ("arrow", "an Arrow file"),
        ("sqlite", "an SQLite database"),
    ],
)
def test_tables_are_named(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(NotText, match=rf"/x/notes\.txt is {says}; allowed: UTF-8 text"):
        reject_binary("/x/notes.txt", _table(name, tmp_path))


@pytest.mark.parametrize(
    "text",
    [b"", b"BZh", b"BZh5 is a name", b"PK", b"PAR1\n", b"ORC\tare", b"Obj 1", b"GIF89 is a format", b"%PDF", b"LZIP 1",
     b"Rar! it said", b"7z x", b"\xff\xff", "日本語".encode(), b"a" * 257 + b"ustar was the archiver's name",
     b"GIF89a is a format", b"GIF89a", "GIF89a naïve".encode(), b"%PDF-1.7 is a version",
     b"%PDF-1.7\nis a version of it", b"BZh91AY&SY is how bzip2 data begin"],
)  # fmt: skip
def test_text_that_begins_like_another_format_is_text(text: bytes) -> None:
    assert kind_of(text) is None
    reject_binary("/x/notes.txt", text)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.gz", TEXT, "is called .gz and is not gzip data: it seems to be plain text. If so, rename it to /x/a."),
        ("a.txt.GZ", TEXT, "is called .GZ and is not gzip data: it seems to be plain text. .* rename it to /x/a.txt."),
        ("a.bz2", TEXT, "/x/a.bz2 is called .bz2 and is not bzip2 data: it seems to be plain text"),
        ("a.gz", bz2.compress(TEXT), "and is not gzip data: it is bzip2 data. Rename it to /x/a.bz2."),
        ("a.bz2", gzip.compress(TEXT, mtime=0), "and is not bzip2 data: it is gzip data. Rename it to /x/a.gz."),
        ("a.gz", _written("zip"), "and is not gzip data: it is a zip archive .* Unpack it first, as with unzip"),
        ("a.gz", lzma.compress(TEXT), "and is not gzip data: it is xz data. Unpack it first, as with xz -d."),
        ("a.gz", b"\x01\x02\0", "and is not gzip data, nor text. Move it away"),
    ],
)  # fmt: skip
def test_what_is_not_compressed_as_its_suffix_says_is_named(name: str, content: bytes, says: str) -> None:
    suffixes = {".gz": ("gzip", b"\x1f\x8b"), ".bz2": ("bzip2", b"BZh")}
    with pytest.raises(NotText, match=says):
        reject_unless_compressed(f"/x/{name}", *suffixes[os.path.splitext(name)[1].lower()], content)  # noqa: PTH122


def test_what_a_compressed_file_unpacks_to_is_named() -> None:
    with pytest.raises(NotText, match=r"a\.tar\.gz unpacks to a tar archive; allowed: .* Unpack it first, as with tar"):
        reject_binary("/x/a.tar.gz", _written("tar"), unpacked=True)
    with pytest.raises(NotText, match=r"a\.gz unpacks to gzip data; allowed: .* Unpack it first, as with gzip -d"):
        reject_binary("/x/a.gz", gzip.compress(TEXT), unpacked=True)
