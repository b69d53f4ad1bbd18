"""Find files, locally and on S3, as Spark would see them.

Local paths and s3:// go through pyarrow's file systems, so the same code runs in a Spark task, in a test and in a
sensor, with no Hadoop jar and no AWS library.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any

from emr_pipelines.errors import InvalidValue, SourceNotFound, SourceUnreadable
from emr_pipelines.remote.file_uris import local_path

S3_SCHEMES = ("s3", "s3a", "s3n")
HIDDEN = (".", "_")  # Hadoop's and Spark's rule
STORAGE_MARK = ".emr_pipelines_storage"  # an empty file in the folder, or below the prefix, that holds the assets
GLOB = re.compile(r"[*?\[]")

ALLOWED_SOURCES = "a file, a folder or a glob on this machine, or s3://bucket/prefix"
COMPRESSED = (".gz", ".bz2")


@dataclass(frozen=True)
class TextFile:
    """A listed file: its path (or s3:// URI), size in bytes, and modification time in nanoseconds, 0 if unknown."""

    path: str
    bytes: int
    modified_ns: int = 0

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.path)[1].lower()

    @property
    def compressed(self) -> bool:
        return self.suffix in COMPRESSED


def find_text_files(sources: Sequence[str]) -> list[TextFile]:
    """Find all files that the sources name, sorted by path, each once. Hidden names are left out, see `is_visible`.

    A source is a file, a folder (taken whole, with its folders), a glob (`*`, `?`, `[...]` within a name, `**` for any
    folders) or an s3:// prefix; a glob there, or a prefix that ends within a name, costs a listing of its folder.
    A folder that links lead to more than once is taken once. An asset storage in a folder is skipped.

    Raises SourceNotFound for a source that matches no file, SourceUnreadable for one that cannot be listed or that
    holds a link to nothing, and InvalidValue for a source of another kind.
    """
    found: dict[str, TextFile] = {}
    for source in sources:
        files = list(_find(source))
        if not files:
            raise SourceNotFound(f"The source {source!r} matches no file; a source is {ALLOWED_SOURCES}.")
        found.update((file.path, file) for file in files)
    return [found[path] for path in sorted(found)]


def is_visible(name: str) -> bool:
    """Whether Spark reads a file, or enters a folder, of this name. It skips names that begin with . or _, except a
    partition folder of a column whose own name begins with _, such as `_year=2026`."""
    return not name.startswith(HIDDEN) or (name.startswith("_") and "=" in name)


def validate_sources(sources: Sequence[str]) -> None:
    """Raise InvalidValue for a source of a kind that cannot be read, without looking whether it exists."""
    for source in sources:
        scheme, separator, rest = source.partition("://")
        known = not separator or local_path(source) or (scheme == "s3" and rest.strip("/"))
        if not source.strip() or not known:
            raise InvalidValue("A source", source, ALLOWED_SOURCES)


def locate(path: str) -> tuple[Any, str]:
    """Return the pyarrow file system for a path, a file: URI or an s3:// URI, and the path within it. URIs are not
    percent-decoded. Raises InvalidValue for another scheme, SourceUnreadable for a bucket that cannot be reached."""
    from pyarrow import fs

    if (inner := local_path(path)) is not None:
        return fs.LocalFileSystem(), inner
    scheme, separator, rest = path.partition("://")
    if not separator:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 (resolve() would rename linked files)
    if scheme == "s3" and rest.strip("/"):
        return _bucket(rest.partition("/")[0]), rest
    raise InvalidValue("The location", path, ALLOWED_SOURCES)


@cache
def _bucket(name: str) -> Any:
    """Return the file system for a bucket, with the region, credentials and endpoint that the AWS SDKs would use."""
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(f"s3://{name}")[0]
    except OSError as error:
        raise SourceUnreadable(f"The bucket {name!r} cannot be reached: {error}") from error


def _find(source: str) -> Iterator[TextFile]:
    from pyarrow.fs import FileType

    validate_sources([source])
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
        elif not prefix and os.path.islink(path):  # noqa: PTH114
            _refuse_dangling_link(path)
        elif GLOB.search(path):
            base = "/".join(itertools.takewhile(lambda name: not GLOB.search(name), path.split("/")))
            yield from below(base or "/", path[len(base) :].strip("/").split("/"))
        elif prefix and "/" in path:  # S3 has no folders: any beginning of a key is a prefix
            base, _, beginning = path.rpartition("/")
            for file in below(base, ["**"]):
                if file.path.startswith(f"{prefix}{base}/{beginning}"):
                    yield file
    except (OSError, ValueError) as error:  # ValueError: a link to nothing, or a name not in UTF-8 or with a NUL
        raise SourceUnreadable(f"The source {source!r} cannot be listed: {error}") from error


def _objects_below(filesystem: Any, base: str, pattern: list[str]) -> Iterator[TextFile]:
    """Yield the objects below a bucket or prefix whose relative key matches and has no hidden part. Asset storages are
    skipped, so that ingested text is not ingested again."""
    from pyarrow.fs import FileSelector, FileType

    infos = filesystem.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
    storages = tuple(
        info.path.removesuffix(STORAGE_MARK)
        for info in infos
        if info.base_name == STORAGE_MARK and info.path != f"{base}/{STORAGE_MARK}"
    )
    for info in infos:
        names = info.path[len(base) + 1 :].split("/")
        visible = all(map(is_visible, names)) and not info.path.startswith(storages)
        if info.type == FileType.File and visible and _matches(names, pattern):
            yield TextFile(f"s3://{info.path}", info.size, info.mtime_ns or 0)


def _files_below(base: str, pattern: list[str]) -> Iterator[TextFile]:
    """Yield the regular files below a local folder whose relative path matches and has no hidden part.

    Only folders that can hold a match are entered, each once, because links can lead in circles. Asset storages are
    skipped, so that ingested text is not ingested again.
    """
    entered = set()
    for folder, folders, names in os.walk(base, onerror=_raise_unless_gone, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116 (Path is slow over many files)
        if (status.st_dev, status.st_ino) in entered or (STORAGE_MARK in names and folder != base):
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        inner = [name for name in folder[len(base) :].split("/") if name]
        folders[:] = sorted(name for name in folders if is_visible(name) and _can_hold([*inner, name], pattern))
        for name in names:
            if not is_visible(name) or not _matches([*inner, name], pattern):
                continue
            path = posixpath.join(folder, name)
            if not _is_utf8(path):
                raise ValueError(f"the name {os.fsencode(path)!r} is not UTF-8; rename it")
            if file := _regular_file(path):
                yield file


def _regular_file(path: str) -> TextFile | None:
    """Return a file below a folder; None for a device, or a file that is gone. Raises ValueError for a dangling
    link."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        _refuse_dangling_link(path)
        return None
    return TextFile(path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _refuse_dangling_link(path: str) -> None:
    """Raise ValueError if a local path is a dangling link."""
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
        target = os.readlink(path)  # noqa: PTH115
        raise ValueError(f"{path} is a link to {target!r}, which is not there; mend the link or remove it")


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
    """Whether a path matches a glob, both as lists of parts; a final ** matches files at any depth."""
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
