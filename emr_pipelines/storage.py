"""Where an asset's data lives: a folder per asset, a folder per version in it, and a pointer to the published one.

    <storage>/<asset>/<version>/...                 what a materialization wrote
    <storage>/<asset>/<version>/_published.json     written when it was whole
    <storage>/<asset>/latest.json                   the same text, written last: readers begin here

A run that fails or is killed leaves the pointer where it was, so the previous version stays readable.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone

import dagster as dg
from pydantic import Field, TypeAdapter, ValidationError
from upath import UPath

from emr_pipelines.errors import NotMaterialized, StorageUnusable, Superseded

DEFAULT_STORAGE = "data"
POINTER = "latest.json"
LOCK = ".lock"
STORAGE_MARK = ".emr_pipelines_storage"  # tells those who look for text that this is not theirs
PUBLISHED = "_published.json"  # a leading underscore: Spark passes over it
VERSION_TIME = "%Y%m%dT%H%M%S%fZ"
VERSION_NAME = re.compile(r"\d{8}T\d{12}Z-.{1,8}")  # what is called otherwise is not ours to delete
ABANDONED_AFTER = timedelta(days=7)  # longer than any run, so that no running one loses what it writes
GLOB_CHARACTERS = "*?[]{}\\"  # Spark expands them in the paths it reads


@dataclass(frozen=True)
class Version:
    """A version that is being written. `uri` is as Hadoop and Spark read it: not percent-encoded. `before` is the name
    of the version that was the published one when this one was begun."""

    name: str
    uri: str
    run_id: str
    before: str | None


@dataclass(frozen=True)
class Published:
    """What latest.json says. `data_version` is equal for equal data; `published_at` is ISO 8601, UTC."""

    uri: str
    version: str
    data_version: str
    run_id: str
    published_at: str


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Storage(dg.ConfigurableResource[None]):
    """The place where all assets live; see the module's docstring for its layout."""

    uri: str = Field(
        default="",
        description="The folder that holds one folder per asset: a path or file:// URI on this machine. Empty: what "
        "EMR_PIPELINES_STORAGE says, or else the folder data.",
    )
    keep_versions: int = Field(
        default=5, ge=1, description="How many published versions of an asset to keep, the latest included; 1 or more."
    )

    def latest(self, asset: dg.AssetKey) -> Published | None:
        """The published version of an asset, or None when there is none. Raises StorageUnusable for a pointer that
        cannot be read or does not say what a pointer says."""
        pointer = self._folder(asset) / POINTER
        try:
            published = TypeAdapter(Published).validate_json(pointer.read_bytes())
            # where the version is now: the storage may have been moved since
            return replace(published, uri=f"file://{self._folder(asset) / published.version}")
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StorageUnusable(
                f"{pointer} is not a pointer to a version ({error.errors()[0]['msg']}); "
                "delete it and materialize the asset again."
            ) from error
        except OSError as error:
            raise StorageUnusable(f"{pointer} cannot be read: {error}.") from error

    def require(self, asset: dg.AssetKey) -> Published:
        """The published version of an asset. Raises NotMaterialized when there is none, or its folder has gone."""
        published = self.latest(asset)
        if published is None or not (self._folder(asset) / published.version).exists():
            raise NotMaterialized(
                f"{asset.to_user_string()} has no published version in {self._root()}; materialize it first."
            )
        return published

    @contextmanager
    def new_version(self, asset: dg.AssetKey, run_id: str, now: Callable[[], datetime] = _now) -> Iterator[Version]:
        """A name and a URI that nothing has used, to be written and published within the block; what an exception
        leaves unpublished is deleted. The program creates the folder.

        Raises StorageUnusable when the storage cannot be written, before any work is done for it.
        """
        folder = self._folder(asset)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (self._root() / STORAGE_MARK).touch()
            probe.write_text("", encoding="utf-8")
            probe.unlink()
        except (OSError, ValueError) as error:  # ValueError: a NUL character
            raise StorageUnusable(
                f"The storage {str(self._root())!r} cannot be written ({error}); "
                "set EMR_PIPELINES_STORAGE to a folder that can."
            ) from error
        latest = self.latest(asset)
        name = f"{now().strftime(VERSION_TIME)}-{run_id[:8]}"
        try:
            yield Version(name, f"file://{folder / name}", run_id, before=latest.version if latest else None)
        except BaseException:
            if not (folder / name / PUBLISHED).exists():
                _delete(folder / name)
            raise

    def publish(self, asset: dg.AssetKey, version: Version, data_version: str) -> Published:
        """Make a version that is whole the one that readers get, from one moment to the next.

        Raises Superseded when a run that began later has published while this one was at work, StorageUnusable when
        the pointer cannot be written.
        """
        with self._locked(asset):
            latest = self.latest(asset)
            # names are compared between runs that overlapped only, so a clock that is behind cannot block later runs
            if latest is not None and latest.version != version.before and latest.version > version.name:
                raise Superseded(
                    f"{asset.to_user_string()} was not published: run {latest.run_id} began later than this one and "
                    f"has already published version {latest.version}."
                )
            published = Published(version.uri, version.name, data_version, version.run_id, _now().isoformat())
            folder = self._folder(asset)
            text = json.dumps(asdict(published), indent=1)
            try:
                _replace(folder / version.name / PUBLISHED, text)
                _replace(folder / POINTER, text)
            except OSError as error:
                raise StorageUnusable(f"{folder / POINTER} cannot be written: {error}.") from error
            return published

    def prune(self, asset: dg.AssetKey, now: Callable[[], datetime] = _now) -> list[str]:
        """Delete published versions beyond `keep_versions` (never the latest), and what runs that never published
        left more than ABANDONED_AFTER ago. Returns the names of the deleted versions. Raises OSError when one cannot
        be deleted.
        """
        with self._locked(asset):
            folder = self._folder(asset)
            latest = self.latest(asset)
            versions = sorted(
                (path for path in folder.iterdir() if VERSION_NAME.fullmatch(path.name)), key=lambda path: path.name
            )
            published = [path for path in versions if (path / PUBLISHED).exists()]
            abandoned_before = (now() - ABANDONED_AFTER).strftime(VERSION_TIME)
            old = published[: -self.keep_versions]
            old += [path for path in versions if path not in published and path.name < abandoned_before]
            old = [path for path in old if latest is None or path.name != latest.version]
            for path in old:
                _delete(path)
            return [path.name for path in old]

    @contextmanager
    def _locked(self, asset: dg.AssetKey) -> Iterator[None]:
        """One publication or prune of an asset at a time, so that none deletes what another is about to point to."""
        with (self._folder(asset) / LOCK).open("w") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)  # released when the file is closed, by a kill as well
            yield

    def _folder(self, asset: dg.AssetKey) -> UPath:
        return self._root().joinpath(*asset.path)

    def _root(self) -> UPath:
        address = self.uri.strip() or os.environ.get("EMR_PIPELINES_STORAGE", "").strip() or DEFAULT_STORAGE
        path = f"/{address.removeprefix('file://').lstrip('/')}" if address.startswith("file://") else address
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path) or any(character in path for character in GLOB_CHARACTERS):
            raise StorageUnusable(
                f"The storage {address!r} is not allowed; allowed: a folder on this machine, as a path or a file:// "
                f"URI, with none of {' '.join(GLOB_CHARACTERS)} in it."
            )
        try:
            return UPath(path).expanduser().absolute()
        except RuntimeError as error:  # no such user
            raise StorageUnusable(f"The storage {address!r} is not allowed: {error}.") from error


def _delete(version: UPath) -> None:
    # first the mark, so that a deletion that is killed leaves an abandoned version, not a broken published one
    (version / PUBLISHED).unlink(missing_ok=True)
    if version.exists():
        version.fs.rm(str(version), recursive=True)


def _replace(path: UPath, text: str) -> None:
    """Write a file so that a reader, at any moment, sees the old text or the new one, and never half of it."""
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
