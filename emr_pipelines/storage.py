"""Where an asset's data lives: a folder per asset, a folder per version in it, and a pointer to the published one.

    <storage>/<asset>/<version>/...                 what a materialization wrote
    <storage>/<asset>/<version>/_published.json     written when it was whole
    <storage>/<asset>/latest.json                   the same text, written last: readers begin here

A run that fails or is killed leaves the pointer where it was, so the previous version stays readable.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone

import dagster as dg
from pydantic import Field
from upath import UPath

from emr_pipelines.errors import NotMaterialized, StorageUnusable

POINTER = "latest.json"
PUBLISHED = "_published.json"  # a leading underscore: Spark passes over it
VERSION_TIME = "%Y%m%dT%H%M%S%fZ"
ABANDONED_AFTER = timedelta(days=7)  # longer than any run, so that no running one loses what it writes


@dataclass(frozen=True)
class Version:
    """A version that is being written. `uri` is as Hadoop and Spark read it: not percent-encoded."""

    asset: str
    name: str
    uri: str
    run_id: str


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

    uri: str = Field(description="The folder that holds one folder per asset: a path or file:// URI on this machine.")
    keep_versions: int = Field(
        default=5, ge=1, description="How many published versions of an asset to keep, the latest included; 1 or more."
    )

    def latest(self, asset: dg.AssetKey) -> Published | None:
        """The published version of an asset, or None when there is none."""
        pointer = self._folder(asset) / POINTER
        try:
            return Published(**json.loads(pointer.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StorageUnusable(
                f"{pointer} is not a pointer to a version ({error}); delete it and materialize the asset again."
            ) from error
        except OSError as error:
            raise StorageUnusable(f"{pointer} cannot be read: {error.strerror or error}.") from error

    def require(self, asset: dg.AssetKey) -> Published:
        """The published version of an asset. Raises NotMaterialized when there is none."""
        published = self.latest(asset)
        if published is None:
            raise NotMaterialized(
                f"{asset.to_user_string()} has no published version in {self.uri}; materialize it first."
            )
        return published

    def new_version(self, asset: dg.AssetKey, run_id: str, now: Callable[[], datetime] = _now) -> Version:
        """A name and a URI that nothing has used; the program creates the folder. Raises StorageUnusable when the
        storage cannot be written, before any work is done for it."""
        folder = self._folder(asset)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_text("", encoding="utf-8")
            probe.unlink()
        except OSError as error:
            raise StorageUnusable(
                f"The storage {self.uri!r} cannot be written ({error.strerror or error}); "
                "set EMR_PIPELINES_STORAGE to a folder that can."
            ) from error
        name = f"{now().strftime(VERSION_TIME)}-{run_id[:8]}"
        return Version(asset.to_user_string(), name, f"file://{folder / name}", run_id)

    def publish(
        self, asset: dg.AssetKey, version: Version, data_version: str, now: Callable[[], datetime] = _now
    ) -> Published:
        """Make a version that is whole the one that readers get, from one moment to the next."""
        published = Published(version.uri, version.name, data_version, version.run_id, now().isoformat())
        folder = self._folder(asset)
        text = json.dumps(asdict(published), indent=1)
        _replace(folder / version.name / PUBLISHED, text)
        _replace(folder / POINTER, text)
        return published

    def prune(self, asset: dg.AssetKey, now: Callable[[], datetime] = _now) -> list[str]:
        """Delete published versions beyond `keep_versions` (never the latest), and what runs that never published
        left more than ABANDONED_AFTER ago. Returns the names of the deleted versions."""
        folder = self._folder(asset)
        latest = self.latest(asset)
        versions = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name)
        published = [path for path in versions if (path / PUBLISHED).exists()]
        abandoned_before = (now() - ABANDONED_AFTER).strftime(VERSION_TIME)
        doomed = published[: -self.keep_versions]
        doomed += [path for path in versions if path not in published and path.name < abandoned_before]
        doomed = [path for path in doomed if latest is None or path.name != latest.version]
        for path in doomed:
            # first the mark, so that a prune that is killed leaves an abandoned version, not a broken published one
            (path / PUBLISHED).unlink(missing_ok=True)
            path.fs.rm(str(path), recursive=True)
        return [path.name for path in doomed]

    def _folder(self, asset: dg.AssetKey) -> UPath:
        scheme, separator, rest = self.uri.partition("://")
        if separator and scheme != "file":
            raise StorageUnusable(
                f"The storage {self.uri!r} has the scheme {scheme!r}; allowed: a folder on this machine, "
                "as a path or a file:// URI."
            )
        root = UPath("/" + rest.lstrip("/") if separator else self.uri).expanduser().absolute()
        return root.joinpath(*asset.path)


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
