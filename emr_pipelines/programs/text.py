"""Text files wherever they are: find them, share them out at line ends, read them in blocks.

Local paths and s3:// go through pyarrow's file systems, so the same code runs in a Spark task, in a test and in a
sensor, with no Hadoop jar and no AWS library.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import itertools
import os
import posixpath
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any, BinaryIO

from emr_pipelines.errors import InvalidValue, NotText, SourceNotFound, SourceUnreadable

REQUIREMENTS = ("pyarrow>=17,<27", "numpy>=2,<3")  # what a cluster must have

BLOCK_BYTES = 1 << 20
SPLIT_BYTES = 8 << 20  # fixed, so that the splits, and digests over them, do not depend on the number of cores
TASK_BYTES = 256 << 20  # a few seconds of work, which is what a lost executor loses
OPEN_COST_BYTES = 256 << 10  # what opening one more file costs, in bytes read meanwhile (cf. Spark's openCostInBytes)
UNPACKED_BYTES = 1 << 30  # of a compressed file, whatever its size; more of it must not be too much more than it is
MOST_TIMES_UNPACKED = 200  # text shrinks about four times, logs twenty; bombs of gzip a thousand times, of bzip2 more
COMPRESSED_COST = 4  # text shrinks about four times under gzip and bzip2
SNIFFED_BYTES = 8000  # where Git looks for a NUL byte to call a file binary

S3_SCHEMES = ("s3", "s3a", "s3n")
HIDDEN = (".", "_")  # as Hadoop and Spark have it
STORAGE_MARK = ".emr_pipelines_storage"  # an empty file in the folder, or below the prefix, that holds the assets
GLOB = re.compile(r"[*?\[]")

BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
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
    folders) or an s3:// prefix; a glob there, or a prefix that ends within a name, costs a listing of its folder.
    A folder that links lead to more than once is taken once. A folder where assets live is passed over.

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


def refuse_other_sources(sources: Sequence[str]) -> None:
    """Raise InvalidValue for a source that is of no kind that can be read, without a look at what is there."""
    for source in sources:
        scheme, separator, rest = source.partition("://")
        known = not separator or (scheme == "file" and rest.startswith("/")) or (scheme == "s3" and rest.strip("/"))
        if not source.strip() or not known:
            raise InvalidValue("A source", source, ALLOWED_SOURCES)


def plan_tasks(files: Iterable[TextFile], parallelism: int, split_bytes: int = SPLIT_BYTES) -> list[tuple[Split, ...]]:
    """The splits of the files, in order, dealt into tasks of about equal work: `parallelism` of them, or as many times
    that as each would be over TASK_BYTES. Fewer when there are fewer splits; empty files have none."""
    splits: list[Split] = []
    costs: list[int] = []
    for file in files:
        step = max(file.bytes, 1) if file.compressed else split_bytes
        for start in range(0, file.bytes, step):
            end = min(start + step, file.bytes)
            splits.append(Split(file.path, start, end))
            costs.append((end - start) * (COMPRESSED_COST if file.compressed else 1) + OPEN_COST_BYTES)
    rounds = -(-sum(costs) // (TASK_BYTES * parallelism))
    share = sum(costs) / (rounds * parallelism or 1)
    behind = itertools.accumulate(costs)
    dealt = zip(splits, costs, behind, strict=True)
    middle_in_task = itertools.groupby(dealt, key=lambda entry: int((entry[2] - entry[1] / 2) / share))
    return [tuple(split for split, _, _ in task) for _, task in middle_in_task]


def read_split(split: Split, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The bytes of the lines that begin in the split, in blocks of at most `block_bytes`, decompressed, without a byte
    order mark. A block ends anywhere; memory does not grow with the file or with the length of a line.

    Raises NotText for a compressed file that is damaged, or a bomb: it has more than 1 GiB of text, and more than 200
    times its own bytes. Raises SourceUnreadable for one that cannot be read at all.
    """
    decompress = DECOMPRESSORS.get(_suffix(split.path))
    try:
        with _open(split.path) as raw:
            if decompress is None:
                blocks = _read_lines(raw, split.start, split.end, block_bytes)
            else:
                blocks = _unpacked(decompress(raw), split, block_bytes)
            for number, block in enumerate(blocks):
                yield block.removeprefix(codecs.BOM_UTF8) if number == 0 and split.start == 0 else block
    except (EOFError, zlib.error, OSError) as error:
        # gzip and bz2 report bad data as an OSError without a number; a real failure to read has one, or is AWS's
        real = isinstance(error, OSError) and (error.errno is not None or "AWS Error" in str(error))
        if real or decompress is None:
            raise SourceUnreadable(f"{split.path} cannot be read: {error}") from error
        raise NotText(f"{split.path} is a damaged compressed file ({error}); compress it again.") from error


def refuse_binary(path: str, first_block: bytes) -> None:
    """Raise NotText when a file that begins with these bytes cannot be UTF-8 text."""
    for encoding, marks in BYTE_ORDER_MARKS.items():
        if first_block.startswith(marks):
            raise NotText(f"{path} is {encoding}; allowed: {ALLOWED_CONTENT}. Try iconv -f {encoding} -t UTF-8.")
    nul = first_block.find(b"\0", 0, SNIFFED_BYTES)
    if nul >= 0:
        raise NotText(
            f"{path} is not text: it has a NUL byte at offset {nul}; allowed: {ALLOWED_CONTENT}. Move it away, begin "
            "its name with _, or name the files that are meant, as in folder/*.txt."
        )


def refuse_sources_in(output: str, files: Iterable[TextFile]) -> None:
    """Raise InvalidValue when one of the files lies in the output folder, where it would be deleted or replaced."""
    scheme, separator, rest = output.partition("://")
    if scheme in S3_SCHEMES:
        folder = f"s3://{rest}"
    elif separator and scheme != "file":
        return  # hdfs://, say, where no source can be
    else:
        folder = locate(output)[1]
    for file in files:
        if file.path.startswith(folder.rstrip("/") + "/"):
            raise InvalidValue("The output", output, f"a folder without sources, such as {file.path}, in it")


def list_folder(folder: str, names: re.Pattern[str]) -> list[str]:
    """The files directly in a folder (path or URI) that are called so, each as the folder and its name, sorted; there
    need be no folder. Raises OSError."""
    from pyarrow.fs import FileSelector, FileType

    filesystem, inner = locate(folder)
    infos = filesystem.get_file_info(FileSelector(inner.rstrip("/"), allow_not_found=True))
    found = [info.base_name for info in infos if info.type == FileType.File and names.fullmatch(info.base_name)]
    return [f"{folder.rstrip('/')}/{name}" for name in sorted(found)]


def delete_from(folder: str, names: re.Pattern[str]) -> None:
    """Delete the files directly in a folder (path or URI) that are called so; there need be none. Raises OSError."""
    for path in list_folder(folder, names):
        filesystem, inner = locate(path)
        filesystem.delete_file(inner)


def open_output(path: str) -> AbstractContextManager[Any]:
    """A binary stream that writes a local path, file:// or s3:// URI, with the folders it needs. Raises OSError."""
    filesystem, inner = locate(path)
    if not path.startswith("s3://"):  # S3 has no folders, and a bucket is not a program's to make
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
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 (resolve() would rename linked files)
    if scheme == "file" and rest.startswith("/"):  # file://host/folder would be another machine's
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

    refuse_other_sources([source])
    prefix = "s3://" if source.startswith("s3://") else ""
    try:
        filesystem, path = locate(source)
        path = path.rstrip("/") or "/"
        below = partial(_objects_below, filesystem) if prefix else _files_below
        info = filesystem.get_file_info(path)
        if info.type == FileType.File and not source.endswith("/"):
            yield TextFile(prefix + info.path, info.size, info.mtime_ns or 0)
        elif info.type == FileType.Directory:
            yield from below(path, ["**"])
        elif GLOB.search(path):
            base = "/".join(itertools.takewhile(lambda name: not GLOB.search(name), path.split("/")))
            yield from below(base or "/", path[len(base) :].strip("/").split("/"))
        elif prefix and "/" in path:  # S3 has no folders: any beginning of a key is a prefix
            base, _, beginning = path.rpartition("/")
            for file in below(base, ["**"]):
                if file.path.startswith(f"{prefix}{base}/{beginning}"):
                    yield file
    except (OSError, ValueError) as error:  # ValueError: a name that is not UTF-8, or has a NUL character
        raise SourceUnreadable(f"The source {source!r} cannot be listed: {error}") from error


def _objects_below(filesystem: Any, base: str, pattern: list[str]) -> Iterator[TextFile]:
    """The objects below a bucket or prefix whose key from there matches and has no hidden part; but none in an asset
    storage below it, for what was ingested must not be ingested again."""
    from pyarrow.fs import FileSelector, FileType

    infos = filesystem.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
    storages = tuple(
        info.path.removesuffix(STORAGE_MARK)
        for info in infos
        if info.base_name == STORAGE_MARK and info.path != f"{base}/{STORAGE_MARK}"
    )
    for info in infos:
        names = info.path[len(base) + 1 :].split("/")
        passed_over = any(name.startswith(HIDDEN) for name in names) or info.path.startswith(storages)
        if info.type == FileType.File and not passed_over and _matches(names, pattern):
            yield TextFile(f"s3://{info.path}", info.size, info.mtime_ns or 0)


def _files_below(base: str, pattern: list[str]) -> Iterator[TextFile]:
    """The regular files below a local folder whose path from there matches and has no hidden part.

    Only folders that can hold a match are entered; through links each folder once, for links can lead in circles; and
    no folder that is an asset storage, for what was ingested must not be ingested again.
    """
    entered = set()
    for folder, folders, names in os.walk(base, onerror=_raise_unless_gone, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116 (Path is slow over many files)
        if (status.st_dev, status.st_ino) in entered or (STORAGE_MARK in names and folder != base):
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        inner = [name for name in folder[len(base) :].split("/") if name]
        folders[:] = sorted(
            name for name in folders if not name.startswith(HIDDEN) and _can_hold([*inner, name], pattern)
        )
        for name in names:
            if name.startswith(HIDDEN) or not _matches([*inner, name], pattern):
                continue
            path = posixpath.join(folder, name)
            if not _is_utf8(path):
                raise ValueError(f"the name {os.fsencode(path)!r} is not UTF-8; rename it")
            status = os.stat(path)  # noqa: PTH116
            if stat.S_ISREG(status.st_mode):
                yield TextFile(path, status.st_size, status.st_mtime_ns)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _matches(names: list[str], pattern: list[str]) -> bool:
    """Whether a path matches a glob, both as their parts; a ** at the end stands for files at any depth."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return pattern == ["**"] or _matches(names, pattern[1:]) or (bool(names) and _matches(names[1:], pattern))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _can_hold(folder: list[str], pattern: list[str]) -> bool:
    """Whether something below the folder can match."""
    for name, part in itertools.zip_longest(folder, pattern[: len(folder)]):
        if part == "**":
            return True
        if part is None or not fnmatchcase(name, part):
            return False
    return len(pattern) > len(folder)


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


def _unpacked(stream: BinaryIO, split: Split, block_bytes: int) -> Iterator[bytes]:
    most = max(UNPACKED_BYTES, MOST_TIMES_UNPACKED * (split.end - split.start))
    unpacked = 0
    while block := stream.read(block_bytes):
        unpacked += len(block)
        if unpacked > most:
            raise NotText(
                f"{split.path} unpacks to more than {most:,} bytes, over {MOST_TIMES_UNPACKED} times its own, as text "
                "does not; if it is text, unpack it before."
            )
        yield block


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()
