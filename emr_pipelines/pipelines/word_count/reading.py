"""Read text files: the lines of a split in blocks, decompressed. A file that changes meanwhile is refused."""

from __future__ import annotations

import bz2
import codecs
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

from emr_pipelines.errors import NotText, SourceChanged, SourceUnreadable
from emr_pipelines.pipelines.word_count.content import reject_unless_compressed
from emr_pipelines.pipelines.word_count.splits import Split
from emr_pipelines.pipelines.word_count.words import safe_end
from emr_pipelines.remote.files import TextFile, locate

BLOCK_BYTES = 1 << 20
PACKED_BLOCK_BYTES = 128 << 10  # of a compressed file
UNPACKED_BYTES = 1 << 30  # any compressed file may unpack to this much; more only within MAX_TIMES_UNPACKED
MAX_TIMES_UNPACKED = 200  # text shrinks about four times, logs twenty; bombs of gzip a thousand times, of bzip2 more
LONGEST_PIECE_BYTES = 16 << 20  # text has spaces; a piece without any would have to be held in memory as a whole
SECOND_NS = 10**9
LOOKS_AT_ONCE = 16  # a look at an object in S3 takes some 30 ms, and thousands of them may be empty


class _Compression(NamedTuple):
    name: str
    magic: bytes  # how each member begins; a file may have several
    decompressor: Callable[[], Any]


COMPRESSIONS = {
    ".gz": _Compression("gzip", b"\x1f\x8b", partial(zlib.decompressobj, 16 + zlib.MAX_WBITS)),  # 16: a gzip header
    ".bz2": _Compression("bzip2", b"BZh", bz2.BZ2Decompressor),
}


def read_split(split: Split, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the bytes of the lines that begin in the split, in blocks of at most `block_bytes`, decompressed, without a
    byte order mark. A block ends anywhere; memory does not grow with the file or with the length of a line.

    Raises NotText for a compressed file that is damaged or is not what its suffix says, for a bomb (more than 1 GiB of
    text, and more than 200 times its own bytes), and for text without a space or punctuation mark for 16 MiB. Raises
    SourceChanged when the file is not, or is no longer, as it was listed, and SourceUnreadable when it cannot be read.
    """
    file = split.file
    try:
        with _open(file.path) as raw:
            if file.compressed:
                blocks = _unpacked(raw, file, block_bytes)
            else:
                blocks = _read_lines(raw, split.start, split.end, block_bytes)
            yield from _without_mark(_refuse_unbroken(file, blocks))
    except NotText:
        reject_changed(file)  # a change is the likelier cause, and then a retry helps
        raise
    except OSError as error:
        reject_changed(file)
        raise SourceUnreadable(f"{file.path} cannot be read: {error}") from error
    reject_changed(file)


def reject_changed(file: TextFile) -> None:
    """Raise SourceChanged unless the file is as it was listed: there, of the same size, and not written since."""
    from pyarrow.fs import FileType

    try:
        filesystem, inner = locate(file.path)
        info = filesystem.get_file_info(inner)
    except OSError as error:
        raise SourceUnreadable(f"{file.path} cannot be read: {error}") from error
    # S3 tells the time of a single object in whole seconds
    precision_ns = SECOND_NS if file.path.startswith("s3://") else 1
    written_ns = (info.mtime_ns or 0) // precision_ns
    if info.type != FileType.File:
        change = f"it was removed; it had {file.bytes:,} bytes when it was listed"
    elif info.size != file.bytes:
        change = f"it had {file.bytes:,} bytes when it was listed and has {info.size:,} now"
    elif file.modified_ns and written_ns != file.modified_ns // precision_ns:
        change = f"it was written again, with the same {file.bytes:,} bytes"
    else:
        return
    raise SourceChanged(f"{file.path} changed while it was read: {change}. Retry when nothing writes to it.")


def reject_changed_empty(files: Iterable[TextFile]) -> None:
    """Raise SourceChanged when a file is no longer empty, as it was listed: such files are never read."""
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        list(pool.map(reject_changed, [file for file in files if not file.bytes]))  # raises the error of a check


def _open(path: str) -> AbstractContextManager[Any]:
    filesystem, inner = locate(path)
    stream: AbstractContextManager[Any] = filesystem.open_input_file(inner)
    return stream


def _without_mark(blocks: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """The same blocks without the byte order mark that the file may begin with; it may be in several blocks."""
    begun, found = b"", False
    for offset, block in blocks:
        if found or offset != len(begun):
            yield block
            continue
        begun += block
        found = begun == codecs.BOM_UTF8 or not codecs.BOM_UTF8.startswith(begun)
        if found:
            yield begun.removeprefix(codecs.BOM_UTF8)
    if begun and not found:
        yield begun


def _refuse_unbroken(file: TextFile, blocks: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The same blocks. Raises NotText when they have no place to cut for too long."""
    broken_at: int | None = None
    for offset, block in blocks:
        end = safe_end(block)
        if end or broken_at is None:
            broken_at = offset + end
        if offset + len(block) - broken_at > LONGEST_PIECE_BYTES:
            text = "its unpacked text" if file.compressed else "the file"
            raise NotText(
                f"{file.path} has no space or punctuation mark for more than {LONGEST_PIECE_BYTES:,} bytes, from byte "
                f"{broken_at:,} of {text} on; text that is longer than that without a break is not counted."
            )
        yield offset, block


def _read_lines(raw: Any, start: int, end: int, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in [start, end), as blocks and where each begins in the file.

    They are the bytes from behind the first line end at or after start - 1, to the first line end at or after end - 1.
    Two neighbouring splits thus never share a line and never lose one.
    """
    position = max(start - 1, 0)
    raw.seek(position)
    begun = start == 0
    while block := raw.read(block_bytes):
        if not begun:
            line_end = block.find(b"\n")
            if line_end < 0 or position + line_end + 1 >= end:
                position += len(block)
                if line_end >= 0 or position >= end:
                    return
                continue
            begun = True
            block = block[line_end + 1 :]
            position += line_end + 1
        last = block.find(b"\n", max(0, end - 1 - position)) if position + len(block) >= end else -1
        if last >= 0:
            yield position, block[: last + 1]
            return
        if block:
            yield position, block
        position += len(block)


def _unpacked(raw: Any, file: TextFile, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The text of a compressed file, as blocks and where each begins in the text."""
    most = max(UNPACKED_BYTES, MAX_TIMES_UNPACKED * file.bytes)
    unpacked = 0
    for block in _members(raw, file, block_bytes):
        yield unpacked, block
        unpacked += len(block)
        if unpacked > most:
            raise NotText(
                f"{file.path} unpacks to more than {most:,} bytes, over {MAX_TIMES_UNPACKED} times its own size, as "
                "text does not; if it is text, unpack it first."
            )


def _members(raw: Any, file: TextFile, block_bytes: int) -> Iterator[bytes]:
    """The text of all members of a compressed file. Unlike Python's gzip and bz2 modules, it tells bytes after the last
    member from a damaged one, and passes over neither; zeros there, as tapes pad, are allowed."""
    compression = COMPRESSIONS[file.suffix]
    data = raw.read(PACKED_BLOCK_BYTES)
    reject_unless_compressed(file.path, compression.name, compression.magic, data)
    while data:
        member = compression.decompressor()
        while not member.eof:
            try:
                block = member.decompress(data, block_bytes)
            except (zlib.error, OSError, ValueError) as error:
                raise _damaged(file, str(error)) from error
            data = getattr(member, "unconsumed_tail", b"")  # zlib returns unused input; bz2 keeps it
            if block:
                yield block
            elif not member.eof and not data:
                data = raw.read(PACKED_BLOCK_BYTES)
                if not data:
                    raise _damaged(file, f"it ends within its {compression.name} data")
        data = member.unused_data.lstrip(b"\0")
        while len(data) < len(compression.magic) and (more := raw.read(PACKED_BLOCK_BYTES)):
            data = (data + more).lstrip(b"\0")
        if not data.startswith(compression.magic[: len(data)]):
            offset = raw.tell() - len(data)
            raise NotText(
                f"{file.path} has {file.bytes - offset:,} bytes after the end of its {compression.name} data, from "
                f"byte {offset:,} on. Cut them off, as with head -c {offset}, or compress them too."
            )


def _damaged(file: TextFile, why: str) -> NotText:
    return NotText(f"{file.path} is a damaged compressed file ({why}); copy or compress it again.")
