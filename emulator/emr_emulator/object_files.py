"""Keep moto's objects and the files in the buckets' folders in sync."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import md5
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote

from moto.s3.models import FakeBucket, FakeKey, S3Backend
from werkzeug.wrappers import Request

from emr_emulator.faults import Faults, ObjectsLate
from emr_emulator.files import (
    FileContent,
    Signature,
    files_below,
    new_file,
    path_below,
    remove_bare_folders,
    remove_empty_folders,
    signature_of,
)
from emr_emulator.s3 import BLOCK_BYTES

# S3 User Guide, "General purpose bucket naming rules"
BUCKET_NAME = re.compile(
    r"(?!.*\.\.)(?!\d+(\.\d+){3}$)(?!xn--|sthree-|amzn-s3-demo-)(?!.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$)"
    r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)


class Activity(Protocol):
    """What running steps do to the folders."""

    def busy(self) -> bool:
        """Tell whether a running step may be about to write."""

    def written_files(self, below: Path) -> set[str]:
        """Return the files below a folder that are open for writing."""


class ObjectFiles:
    """Syncs folders to moto before a request, and moto to folders after it. Callers hold the lock of Buckets."""

    def __init__(
        self, root: Path, backend: S3Backend, faults: Faults, now: Callable[[], float], activity: Activity
    ) -> None:
        self._root = root
        self._backend = backend
        self._faults = faults
        self._now = now
        self._activity = activity
        self._known: dict[str, dict[str, Signature]] = {}
        self._hidden: dict[tuple[str, str], tuple[float, list[FakeKey]]] = {}

    # folders to moto

    def take_in(self, request: Request, bucket: str, key: str, touched: list[str]) -> None:
        """Update moto from the folders, as far as the request concerns them."""
        self._show_what_was_hidden()
        source = request.headers.get("x-amz-copy-source")
        if source:
            other, _, name = unquote(source.partition("?versionId=")[0]).lstrip("/").partition("/")
            self.refresh(other, name)
        for name in touched:
            self.refresh(bucket, name)
        later_page = {"continuation-token", "marker", "key-marker"} & request.args.keys()
        if not key and request.method in ("GET", "DELETE") and not later_page:
            self._refresh_all(bucket, request.args.get("prefix", ""))

    def refresh(self, bucket: str, key: str, writing: Callable[[], set[str]] | None = None) -> None:
        folder = self._folder(bucket)
        path = self.path(bucket, key)
        if folder is None or path is None:
            return
        known = self._known.setdefault(bucket, {})
        signature = signature_of(path)
        if signature == known.get(key) or (bucket, key) in self._hidden:
            return
        if signature is not None and str(path) in (writing or self._writing())():
            signature = None  # S3 shows only complete objects; the previous one is already overwritten
        if signature is None:
            known.pop(key, None)
            if isinstance(content_of(folder.keys.get(key)), FileContent):
                folder.keys.pop(key)
        else:
            known[key] = signature
            self._attach(folder, key, path, signature)
            self._maybe_hide(bucket, key)

    def _refresh_all(self, bucket: str, prefix: str) -> None:
        if self._folder(bucket) is None:
            return
        root = self._root / bucket
        writing = self._writing()
        start = root / prefix.rpartition("/")[0]
        present = set()
        if start.is_dir() and start.resolve().is_relative_to(root.resolve()):
            for path in files_below(str(start)):
                key = os.path.relpath(path, root)
                if key.startswith(prefix):
                    present.add(key)
                    self.refresh(bucket, key, writing)
        for key in [key for key in self._known.get(bucket, {}) if key.startswith(prefix) and key not in present]:
            self.refresh(bucket, key, writing)

    def _writing(self) -> Callable[[], set[str]]:
        """Return a function for the files being written, which looks them up at most once."""
        found: list[set[str]] = []

        def look() -> set[str]:
            if not found:
                found.append(self._activity.written_files(self._root))
            return found[0]

        return look

    def _attach(self, folder: FakeBucket, key: str, path: Path, signature: Signature) -> None:
        """Create moto's object for a file that Spark or a person wrote."""
        modified_ns, size, _ = signature
        # no digest of the content, like the ETag of a multipart upload
        etag = md5(f"{path}{signature}".encode(), usedforsecurity=False).hexdigest() + "-1"
        found = FakeKey(
            name=key,
            value=b"",
            account_id=self._backend.account_id,
            region_name=folder.region_name,
            bucket_name=folder.name,
            etag=etag,
            is_versioned=folder.is_versioned,
            version_id=secrets.token_hex(16) if folder.is_versioned else "null",
        )
        found.last_modified = datetime.fromtimestamp(modified_ns / 1e9, timezone.utc).replace(tzinfo=None)
        if folder.is_versioned:
            content_of(found).write(path.read_bytes())  # the next version will overwrite the file
            found.contentsize = size
        else:
            _back_with_file(found, path, size)
        versions = folder.keys.getlist(key, []) if folder.is_versioned else []
        folder.keys.setlist(key, [*versions, found])

    # moto to folders

    def write_out(self, bucket: str, key: str, touched: list[str], deletes: bool) -> None:
        """Write the objects that moto received to files, and delete the files of those that it deleted."""
        folder = self._folder(bucket)
        root = self._root / bucket
        if folder is None:
            if self._known.pop(bucket, None) is not None and root.is_dir():
                shutil.rmtree(root)  # moto deletes only empty buckets
            return
        if not key and BUCKET_NAME.fullmatch(bucket):
            root.mkdir(exist_ok=True)
            self._known.setdefault(bucket, {})
        for name in touched:
            found = folder.keys.get(name)
            path = self.path(bucket, name)
            if path is None:
                continue
            if isinstance(found, FakeKey):
                self._write(folder, name, found, path)
            elif deletes:
                self._hidden.pop((bucket, name), None)
                self._known.get(bucket, {}).pop(name, None)
                if signature_of(path) is not None:
                    path.unlink()
                    remove = remove_bare_folders if self._activity.busy() else remove_empty_folders
                    remove(path.parent, root)

    def _write(self, folder: FakeBucket, key: str, found: FakeKey, path: Path) -> None:
        content = content_of(found)
        if isinstance(content, FileContent):
            return
        try:
            with new_file(self._root, path) as temporary:
                content.seek(0)
                with temporary.open("wb") as file:
                    shutil.copyfileobj(content, file, BLOCK_BYTES)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return  # `a` and `a/b` can both be objects, but not both be files
        signature = signature_of(path)
        if signature is None:
            return
        if not folder.is_versioned:  # else moto keeps the bytes, because the next version will overwrite the file
            _ = found.etag  # moto computes it from the bytes, which go next
            _back_with_file(found, path, found.size)
        self._known.setdefault(folder.name, {})[key] = signature
        self._maybe_hide(folder.name, key)

    # late objects

    def _maybe_hide(self, bucket: str, key: str) -> None:
        fault = self._faults.strike(ObjectsLate, key=(f"{bucket}/{key}",))
        if fault is not None:
            keys = self._backend.buckets[bucket].keys
            self._hidden[bucket, key] = (self._now() + fault.seconds, keys.getlist(key, []))
            dict.pop(keys, key, None)  # `keys.pop` would discard the bytes

    def _show_what_was_hidden(self) -> None:
        for (bucket, key), (until, versions) in list(self._hidden.items()):
            if until <= self._now():
                del self._hidden[bucket, key]
                if bucket in self._backend.buckets and key not in self._backend.buckets[bucket].keys:
                    self._backend.buckets[bucket].keys.setlist(key, versions)

    # lookups

    def _folder(self, bucket: str) -> FakeBucket | None:
        found: FakeBucket | None = self._backend.buckets.get(bucket)
        return found

    def path(self, bucket: str, key: str) -> Path | None:
        """Return the file of an object, or None if the object cannot be a file."""
        return path_below(self._root / bucket, key) if BUCKET_NAME.fullmatch(bucket) else None


def content_of(key: FakeKey | None) -> Any:
    """Return moto's buffer of an object's bytes."""
    return getattr(key, "_value_buffer", None)


def _back_with_file(key: FakeKey, path: Path, size: int) -> None:
    key._value_buffer.close()  # noqa: SLF001 (moto's)
    key._value_buffer = cast("Any", FileContent(path))  # noqa: SLF001
    key.contentsize = size
