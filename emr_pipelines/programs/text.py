"""Text files wherever they are: find them, share them out at line ends, read them in blocks.

Local paths and s3:// go through pyarrow's file systems, so the same code runs in a Spark task, in a test and in a
sensor, with no Hadoop jar and no AWS library.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import os
import posixpath
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any, BinaryIO

from emr_pipelines.errors import InvalidValue, NotText, SourceNotFound, SourceUnreadable

BLOCK_BYTES = 1 << 20
SPLIT_BYTES = 8 << 20  # fixed, so that the splits, and digests over them, do not depend on the number of cores
TASK_BYTES = 64 << 20
OPEN_COST_BYTES = 256 << 10  # what opening one more file costs, in bytes read meanwhile (cf. Spark's openCostInBytes)
COMPRESSED_COST = 4  # text shrinks about four times under gzip and bzip2
SNIFFED_BYTES = 8000  # where Git looks for a NUL byte to call a file binary

HIDDEN = (".", "_")  # as Hadoop and Spark have it

ALLOWED_SOURCES = "a file, a folder or a glob on this machine, or s3://bucket/prefix"
ALLOWED_CONTENT = "UTF-8 text, plain or in .gz or .bz2"
DECOMPRESSORS: dict[str, Callable[[BinaryIO], Any]] = {".gz": gzip.open, ".bz2": bz2.open}


@dataclass(frozen=True)
class TextFile:
    """A file that was found: its path (or s3:// URI), size in bytes, and time of last change in nanoseconds."""

    path: str
    bytes: int
    modified_ns: int = 0

    @property
    def compressed(self) -> bool:
        return _suffix(self.path) in DECOMPRESSORS


@dataclass(frozen=True)
class Split:
    """The lines of one file that begin in the bytes [start, end); a compressed file is always one split."""

    path: str
    start: int
    end: int


def find_text_files(sources: Sequence[str]) -> list[TextFile]:
    """All files the sources name, by path and without repeats; names that begin with . or _ are left out.

    A source is a file, a folder (taken whole, with its folders), a glob (`*`, `?`, `[...]` within a name, `**` for any
    folders) or an s3:// prefix; a prefix that ends within a name, and a glob, cost a listing of the folder before. A
    folder that links lead to more than once is taken once.

    Raises SourceNotFound for a source that matches no file, SourceUnreadable for one that cannot be listed, and
    InvalidValue for one that is none of these.
    """
    found: dict[str, TextFile] = {}
    for source in sources:
        files = list(_find(source))
        if not files:
            raise SourceNotFound(f"The source {source!r} matches no file; a source is {ALLOWED_SOURCES}.")
        found.update((file.path, file) for file in files)
    return [found[path] for path in sorted(found)]


def plan_tasks(files: Iterable[TextFile], parallelism: int, split_bytes: int = SPLIT_BYTES) -> list[tuple[Split, ...]]:
    """The splits of the files, in order, dealt into tasks of about equal work: about `parallelism` of them, more when
    each would be over TASK_BYTES. Empty files have no split."""
    splits: list[tuple[Split, int]] = []
    for file in files:
        step = max(file.bytes, 1) if file.compressed else split_bytes
        for start in range(0, file.bytes, step):
            end = min(start + step, file.bytes)
            cost = (end - start) * (COMPRESSED_COST if file.compressed else 1) + OPEN_COST_BYTES
            splits.append((Split(file.path, start, end), cost))
    share = min(TASK_BYTES, sum(cost for _, cost in splits) // max(parallelism, 1))
    tasks: list[tuple[Split, ...]] = []
    task: list[Split] = []
    task_cost = 0
    for split, cost in splits:
        if task and task_cost + cost > share:
            tasks.append(tuple(task))
            task, task_cost = [], 0
        task.append(split)
        task_cost += cost
    return [*tasks, tuple(task)] if task else tasks


def read_split(split: Split, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The bytes of the lines that begin in the split, in blocks of at most `block_bytes`, decompressed, without a byte
    order mark. A block ends anywhere; memory does not grow with the file or with the length of a line.

    Raises NotText for a damaged compressed file, SourceUnreadable for one that cannot be read at all.
    """
    try:
        with _open(split.path) as raw:
            decompress = DECOMPRESSORS.get(_suffix(split.path))
            if decompress is None:
                blocks = _read_lines(raw, split.start, split.end, block_bytes)
            else:
                blocks = iter(partial(decompress(raw).read, block_bytes), b"")
            for number, block in enumerate(blocks):
                yield block.removeprefix(codecs.BOM_UTF8) if number == 0 and split.start == 0 else block
    except (EOFError, zlib.error) as error:
        raise NotText(f"{split.path} is a damaged compressed file ({error}); compress it again.") from error
    except OSError as error:
        # gzip and bz2 report bad data as an OSError without a number; a real failure to read has one
        if error.errno is None and _suffix(split.path) in DECOMPRESSORS and "AWS Error" not in str(error):
            raise NotText(f"{split.path} is a damaged compressed file ({error}); compress it again.") from error
        raise SourceUnreadable(f"{split.path} cannot be read: {error}") from error


def refuse_binary(path: str, first_block: bytes) -> None:
    """Raise NotText when a file that begins with these bytes cannot be UTF-8 text."""
    if first_block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NotText(f"{path} is UTF-16; allowed: {ALLOWED_CONTENT}. Convert it with iconv -f UTF-16 -t UTF-8.")
    nul = first_block.find(b"\0", 0, SNIFFED_BYTES)
    if nul >= 0:
        raise NotText(f"{path} is not text: it has a NUL byte at offset {nul}; allowed: {ALLOWED_CONTENT}.")


def open_output(path: str) -> AbstractContextManager[Any]:
    """A binary stream that writes a local path, file:// or s3:// URI, with the folders it needs. Raises OSError."""
    filesystem, inner = locate(path)
    filesystem.create_dir(posixpath.dirname(inner), recursive=True)
    stream: AbstractContextManager[Any] = filesystem.open_output_stream(inner)
    return stream


def locate(path: str) -> tuple[Any, str]:
    """The pyarrow file system of a path or URI and the path within it. URIs are read as Hadoop reads them: a
    percent sign is a percent sign. Raises InvalidValue for another scheme, SourceUnreadable for a bucket that cannot be
    reached."""
    from pyarrow import fs

    scheme, separator, rest = path.partition("://")
    if not separator:
        return fs.LocalFileSystem(), os.path.abspath(path)  # noqa: PTH100 (resolve() would rename linked files)
    if scheme == "file":
        return fs.LocalFileSystem(), "/" + rest.lstrip("/")
    if scheme == "s3" and rest.strip("/"):
        return _bucket(rest.partition("/")[0]), rest
    raise InvalidValue("The location", path, ALLOWED_SOURCES)


@cache
def _bucket(name: str) -> Any:
    """The file system for a bucket: region, credentials and endpoint are found the way the AWS SDKs find them."""
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(f"s3://{name}")[0]
    except OSError as error:
        raise SourceUnreadable(f"The bucket {name!r} cannot be reached: {error}") from error


def _find(source: str) -> Iterator[TextFile]:
    from pyarrow.fs import FileType

    if not source.strip():
        raise InvalidValue("A source", source, ALLOWED_SOURCES)
    filesystem, path = locate(source)
    prefix = "s3://" if source.startswith("s3://") else ""
    path = path.rstrip("/") or "/"
    try:
        info = filesystem.get_file_info(path)
        if info.type == FileType.File and not source.endswith("/"):
            yield TextFile(prefix + info.path, info.size, info.mtime_ns or 0)
        elif info.type == FileType.Directory:
            yield from _list(filesystem, path, prefix, lambda _: True)
        elif any(character in path for character in "*?["):
            base = _folder_before_glob(path)
            pattern = path[len(base) :].strip("/").split("/")
            yield from _list(filesystem, base, prefix, lambda inner: _matches(inner.split("/"), pattern))
        elif prefix and "/" in path:  # S3 has no folders: any beginning of a key is a prefix
            base, _, beginning = path.rpartition("/")
            yield from _list(filesystem, base, prefix, lambda inner: inner.startswith(beginning))
    except UnicodeError as error:
        raise SourceUnreadable(
            f"The source {source!r} cannot be listed: the name of a file there is not UTF-8 ({error}); rename it."
        ) from error
    except OSError as error:
        raise SourceUnreadable(f"The source {source!r} cannot be listed: {error}") from error


def _list(filesystem: Any, base: str, prefix: str, wanted: Callable[[str], bool]) -> Iterator[TextFile]:
    """The files below `base` whose path from there is wanted and not hidden."""
    start = len(f"{prefix}{base}".rstrip("/")) + 1
    for file in _objects_below(filesystem, base, prefix) if prefix else _files_below(base):
        inner = file.path[start:]
        if wanted(inner) and not any(name.startswith(HIDDEN) for name in inner.split("/")):
            yield file


def _objects_below(filesystem: Any, base: str, prefix: str) -> Iterator[TextFile]:
    from pyarrow.fs import FileSelector, FileType

    for info in filesystem.get_file_info(FileSelector(base, allow_not_found=True, recursive=True)):
        if info.type == FileType.File:
            yield TextFile(prefix + info.path, info.size, info.mtime_ns or 0)


def _files_below(base: str) -> Iterator[TextFile]:
    """Regular files below a local folder. Links are followed, but into each folder once: they can lead in circles."""
    entered = set()
    for folder, folders, names in os.walk(base, onerror=_raise, followlinks=True):
        identity = os.stat(folder).st_dev, os.stat(folder).st_ino  # noqa: PTH116 (Path is slow over many folders)
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in names:
            path = posixpath.join(folder, name)
            path.encode()  # raises UnicodeError for a name that is not UTF-8, which nobody further on can open
            status = os.stat(path)  # noqa: PTH116
            if stat.S_ISREG(status.st_mode):
                yield TextFile(path, status.st_size, status.st_mtime_ns)


def _raise(error: OSError) -> None:
    raise error


def _folder_before_glob(path: str) -> str:
    names = path.split("/")
    first = next(number for number, name in enumerate(names) if any(character in name for character in "*?["))
    return "/".join(names[:first]) or "/"


def _matches(names: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return _matches(names, pattern[1:]) or (bool(names) and _matches(names[1:], pattern))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _open(path: str) -> AbstractContextManager[Any]:
    filesystem, inner = locate(path)
    stream: AbstractContextManager[Any] = filesystem.open_input_file(inner)
    return stream


def _read_lines(raw: Any, start: int, end: int, block_bytes: int) -> Iterator[bytes]:
    """The lines that begin in [start, end): from behind the first line end at or after start - 1, to the first line
    end at or after end - 1. Two neighbours thus never share a line and never lose one."""
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
            yield block[: last + 1]
            return
        position += len(block)
        if block:
            yield block


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()
