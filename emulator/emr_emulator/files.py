"""The files that S3's objects are."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_NAME_BYTES = 255  # of a file
Signature = tuple[
    int, int, int
]  # when it was changed (ns), its bytes, and its number: what shows that a file is another


class FileContent:
    """What moto keeps of an object's bytes: where they are."""

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
        """Nothing is open."""


@contextmanager
def new_file(root: Path, target: Path) -> Iterator[Path]:
    """A file to write, in `root`, that takes the place of `target` at once when the block ends well."""
    path = root / f".{secrets.token_hex(8)}"  # no bucket's name begins with a dot
    try:
        yield path
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def path_below(root: Path, key: str) -> Path | None:
    """The file of an object, or None if its key cannot be a file's name."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return None
    return root.joinpath(*parts)


def signature_of(path: Path) -> Signature | None:
    """None for what is not a file: missing, a folder, a link, a pipe."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def files_below(folder: str) -> Iterator[str]:
    """All files in a folder and its folders whose names are UTF-8, as keys are."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):  # gone in the meantime, as what Spark commits goes
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
    """S3 has no folders: one goes with its last object, and with what folders without files it has."""
    while folder != root and folder.is_dir() and not _has_files(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder = folder.parent


def remove_bare_folders(folder: Path, root: Path) -> None:
    """The same while a step may have made a folder to write to: only those with nothing in them go."""
    with suppress(OSError):  # one that is not empty, or is gone
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _has_files(folder: str | Path) -> bool:
    """Whether a folder or one of its folders has a file; looks no further than the first, for there may be many."""
    with os.scandir(folder) as entries:
        return any(
            _has_files(entry.path) if entry.is_dir(follow_symlinks=False) else entry.is_file() for entry in entries
        )
