"""Files that hold S3's objects."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_NAME_BYTES = 255  # of a file
Signature = tuple[int, int, int]  # time of the change (ns), bytes, inode: another one means that the file has changed


class FileContent:
    """A stand-in for moto's buffer of an object's bytes: the path of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self._position = position if whence == os.SEEK_SET else self.path.stat().st_size + position
        return self._position

    def read(self, size: int = -1) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Do nothing: no file is open."""


@contextmanager
def new_file(root: Path, target: Path) -> Iterator[Path]:
    """Yield a temporary file in `root`, which replaces `target` atomically if the block succeeds."""
    path = root / f".{secrets.token_hex(8)}"  # no bucket name begins with a dot
    try:
        yield path
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def path_below(root: Path, key: str) -> Path | None:
    """Return the file of an object, or None if its key cannot be a path."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return None
    return root.joinpath(*parts)


def signature_of(path: Path) -> Signature | None:
    """Return the signature of a file, or None if the path is no regular file."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def files_below(folder: str) -> Iterator[str]:
    """Yield all files below a folder whose names are UTF-8, as keys are."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):  # deleted in the meantime, for example by Spark's committer
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path)
        elif entry.is_file(follow_symlinks=False) and _is_utf8(entry.name):
            yield entry.path


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_empty_folders(folder: Path, root: Path) -> None:
    """Remove a folder that has no files left, with its subfolders, because S3 has no folders."""
    while folder != root and folder.is_dir() and not _has_files(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder = folder.parent


def remove_bare_folders(folder: Path, root: Path) -> None:
    """Remove a folder only if it is empty: a running step may have created its subfolders to write to."""
    with suppress(OSError):  # not empty, or already removed
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _has_files(folder: str | Path) -> bool:
    """Tell whether there is a file below a folder; stop at the first, because there may be many."""
    with os.scandir(folder) as entries:
        return any(
            _has_files(entry.path) if entry.is_dir(follow_symlinks=False) else entry.is_file() for entry in entries
        )
