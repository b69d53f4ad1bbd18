"""The folder of an asset on this machine."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from emr_pipelines.errors import StorageUnusable
from emr_pipelines.remote.file_uris import file_uri
from emr_pipelines.remote.files import STORAGE_MARK, is_visible
from emr_pipelines.storage.folder import PUBLISHED, Found

LOCK = ".lock"
DRAFT = re.compile(r"\.(probe|latest\.json|.*\.begun\.json)-[0-9a-f]{32}")  # see `prepare` and `_put_in_place`


class LocalFolder:
    """A folder of files. Conditional writes hold a lock; a file is written under another name and renamed."""

    resumable = False  # Spark runs in the process, and ends with it

    def __init__(self, root: str, parts: Sequence[str]) -> None:
        self._root = Path(root)
        self._path = self._root.joinpath(*parts)

    def uri(self, name: str) -> str:
        return file_uri(self._path / name)

    def shown(self, name: str) -> str:
        return str(self._path / name)

    def prepare(self) -> None:
        probe = self._path / f".probe-{uuid.uuid4().hex}"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            (self._root / STORAGE_MARK).touch()
            probe.write_text("", encoding="utf-8")
            probe.unlink()
        except (OSError, ValueError) as error:  # ValueError: a NUL character
            raise StorageUnusable(
                f"The storage {str(self._root)!r} cannot be written ({error}); "
                "set EMR_PIPELINES_STORAGE to a folder that can."
            ) from error

    def read(self, name: str) -> Found | None:
        try:
            return Found((self._path / name).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnusable(f"{self.shown(name)} cannot be read: {error}.") from error

    def has(self, name: str) -> bool:
        try:
            return (self._path / name).exists()
        except OSError as error:
            raise StorageUnusable(f"{self.shown(name)} cannot be read: {error}.") from error

    def names(self) -> list[str]:
        try:
            return os.listdir(self._path)  # noqa: PTH208 (names are what is wanted)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageUnusable(f"{self._path} cannot be listed: {error}.") from error

    def has_visible_file(self, name: str) -> bool:
        try:
            for folder, folders, names in os.walk(self._path / name, onerror=_raise_unless_gone):
                if any(is_visible(found) and (Path(folder) / found).is_file() for found in names):
                    return True
                folders[:] = filter(is_visible, folders)
        except OSError as error:
            raise StorageUnusable(f"{self.shown(name)} cannot be read: {error}.") from error
        return False

    def write(self, name: str, data: bytes, replacing: Found | None) -> bool:
        try:
            with self._locked():
                if self.read(name) != replacing:
                    return False
                path = self._path / name
                path.parent.mkdir(parents=True, exist_ok=True)  # a version has no folder until it is written
                _put_in_place(path, data)
                return True
        except OSError as error:
            raise StorageUnusable(f"{self.shown(name)} cannot be written: {error}.") from error

    def delete(self, name: str) -> None:
        try:
            (self._path / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnusable(f"{self.shown(name)} cannot be deleted: {error}.") from error

    def sweep(self, before: datetime) -> None:
        try:
            for name in filter(DRAFT.fullmatch, self.names()):
                with suppress(FileNotFoundError):  # another process sweeps as well
                    if (self._path / name).stat().st_mtime < before.timestamp():
                        (self._path / name).unlink()
        except OSError as error:
            raise StorageUnusable(f"{self._path} cannot be cleaned up: {error}.") from error

    def delete_version(self, name: str) -> None:
        self.delete(f"{name}/{PUBLISHED}")
        try:
            while (self._path / name).exists():
                with suppress(FileNotFoundError):  # another process deletes it as well
                    shutil.rmtree(self._path / name)
        except OSError as error:
            raise StorageUnusable(f"{self.shown(name)} cannot be deleted: {error}.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._path / LOCK).open("w") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)  # released when the file is closed, also by a kill
            yield


def _raise_unless_gone(error: OSError) -> None:
    """Ignore a folder that does not exist, or is a file: it has no files in it."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _put_in_place(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader sees the old file or the new one, never a part of it."""
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
