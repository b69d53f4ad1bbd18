"""The storage resource of assets: begin a version, publish it, delete old ones.

A local folder is locked only during a write, and S3 has no locks. These rules keep concurrent processes correct even
if one of them is killed at any moment:

- `<version>.begun.json` names the attempt that owns a version, and the work it does. Ownership changes by
  compare-and-swap, and only between attempts at the same work: the same program, parameters, code and settings.
- A process that publishes creates `_published.json`, which succeeds once, and then checks that it still owns the
  version. A process that takes a version over first claims it and then looks for `_published.json`. So at least one of
  the two sees the other. A process that takes over a marked version publishes it if the work is done, and otherwise
  begins a new version; it never writes into a marked one.
- The pointer moves by compare-and-swap after that, and begun.json is deleted last. So a version with `_published.json`
  and without begun.json has been the published one and cannot become so again: it can be pruned if the pointer, read
  afterwards, is at another.
- Names of versions sort in the order in which the versions were begun, whatever the clocks say: a new name is later
  than every name in the folder. So a process that publishes can tell whether a run that began later published first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.errors import AwsError, InvalidValue, NothingWritten, NotMaterialized, StorageUnusable, Superseded
from emr_pipelines.resource import StrictResource
from emr_pipelines.storage.address import named, partition_folder, resolve, validate_ways_out, validate_ways_out_by
from emr_pipelines.storage.attempts import abandoned, begin, discard, latest, owns, published_first, resume
from emr_pipelines.storage.folder import PUBLISHED, Folder
from emr_pipelines.storage.local import LocalFolder
from emr_pipelines.storage.s3 import S3Folder
from emr_pipelines.storage.versions import (
    ABANDONED_AFTER,
    BEGUN,
    POINTER,
    VERSION_NAME,
    Published,
    Version,
    read_pointer,
    reject_superseded,
    written,
)


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Storage(StrictResource):
    """Keeps versions of the data of assets, in a folder of this machine or on S3. For example:

        storage = Storage(uri="s3://my-bucket/data", keep_versions=3)
        storage.require(dg.AssetKey("word_counts")).path  # the latest published version, for pandas or Polars

    Each partition of an asset has versions and a pointer of its own; `partition` is its key. The docstring of
    `emr_pipelines.storage` has the layout. Raises StorageUnusable for an address that is not allowed.
    """

    uri: str = Field(
        default="",
        description="The folder that holds one folder per asset: a path or file:// URI on this machine, or "
        "s3://bucket/prefix. Empty: what EMR_PIPELINES_STORAGE says; or else, when EMR_PIPELINES_TARGET is emr, the "
        "prefix <deployment>/data in EMR_PIPELINES_BUCKET; or else the folder data.",
    )
    keep_versions: int = Field(
        default=5, ge=1, description="How many published versions of an asset to keep, the latest included; 1 or more."
    )

    _objects: Objects | None = PrivateAttr(default=None)

    @field_validator("uri")
    @classmethod
    def _usable(cls, told: str) -> str:
        if told.strip() and not isinstance(told, dg.EnvVar):
            resolve(told)
        return told

    @property
    def root(self) -> str:
        """The folder that holds one folder per asset: an absolute path, or s3://bucket/prefix. Raises StorageUnusable
        for an address that is not allowed."""
        return resolve(self.uri)

    def latest(self, asset: dg.AssetKey, partition: str | None = None) -> Published | None:
        """Return the published version of an asset, or of one of its partitions; None when there is none. Raises
        StorageUnusable for a pointer that cannot be read or is invalid."""
        return latest(self._folder(asset, partition))

    def require(self, asset: dg.AssetKey, partition: str | None = None) -> Published:
        """Return the published version of an asset, or of one of its partitions; its data is at `uri`. Raises
        NotMaterialized when there is none, or its folder is gone."""
        folder = self._folder(asset, partition)
        published, before = latest(folder), None
        while published is not None and published != before:
            if folder.has(f"{published.version}/{PUBLISHED}"):
                return published
            published, before = latest(folder), published  # another version was published, and this one pruned
        raise NotMaterialized(
            f"{named(asset, partition)} has no published version in {self.root}; materialize it first."
        )

    @contextmanager
    def new_version(
        self,
        asset: dg.AssetKey,
        run_id: str,
        work: str = "",
        now: Callable[[], datetime] = _now,
        done: Callable[[str], bool] = lambda _: False,
        partition: str | None = None,
    ) -> Iterator[Version]:
        """Begin a version, to be written and published within the block. The program creates the folder at its URI.
        An exception deletes the version unless it is published.

        work: identifies the work that this is an attempt at. All attempts at it give the same text; other work, such
        as the same program with other parameters or code, gives another. On S3, where a program runs on when the
        process that waits for it is killed, the version of an earlier attempt at the same work is resumed: it keeps
        its name and its `before`, and may hold part of what that attempt wrote. So an interrupt, or an AwsError by
        which the program was lost sight of, deletes nothing there. In a local folder, and if `work` is empty, the
        name is always a new one.
        done: whether everything that was to be written at this URI is there, so that no program will write there any
        more. If so, a version that an attempt of another run has published, or was about to, is returned too.

        Raises StorageUnusable when the storage cannot be written, before any work is done for it.
        """
        folder = self._folder(asset, partition)
        folder.prepare()
        version = resume(folder, run_id, work, now(), done) or begin(folder, run_id, work, now())
        try:
            yield version
        except BaseException as error:
            if not (work and folder.resumable and _may_run_on(error)):
                with suppress(StorageUnusable):  # prune deletes it later; the first error is the one to report
                    discard(folder, version)
            raise

    def read(self, asset: dg.AssetKey, version: str, name: str, partition: str | None = None) -> bytes:
        """Read a small file of a version. Raises StorageUnusable when it cannot be read or does not exist, and
        InvalidValue for an invalid version or a name that leads out of it."""
        if not VERSION_NAME.fullmatch(version):
            raise InvalidValue("version", version, "the name of a version, as `latest` and `require` give it")
        validate_ways_out_by(name)
        folder = self._folder(asset, partition)
        found = folder.read(f"{version}/{name}")
        if found is None:
            raise StorageUnusable(f"{folder.shown(f'{version}/{name}')} is not there.")
        return found.data

    def write(self, asset: dg.AssetKey, version: Version, name: str, data: bytes, partition: str | None = None) -> None:
        """Write a small file into a version and replace the one of an earlier attempt, if any. Raises StorageUnusable;
        InvalidValue for a name that leads out of the version; Superseded when this attempt no longer owns it."""
        validate_ways_out_by(name)
        folder = self._folder(asset, partition)
        if not owns(folder, version) or folder.has(f"{version.name}/{PUBLISHED}"):
            raise Superseded(
                f"{name} was not written: version {version.name} of {named(asset, partition)} is published, or another "
                "attempt at the same work has taken it over."
            )
        path = f"{version.name}/{name}"
        if not folder.write(path, data, replacing=folder.read(path)):
            raise StorageUnusable(f"{folder.shown(path)} was written by another attempt just now; try again.")

    def publish(
        self,
        asset: dg.AssetKey,
        version: Version,
        data_version: str,
        partition: str | None = None,
        may_be_empty: bool = False,
    ) -> Published:
        """Publish a complete version: readers get it from the moment the pointer moves.

        may_be_empty: whether a version without a file may be published, for work that may find nothing to write.

        Raises Superseded when a run that began later has already published, or another attempt has taken the version
        over; NothingWritten when the version has no file that readers see (they skip names that begin with _ or .);
        StorageUnusable when the pointer cannot be written.
        """
        folder = self._folder(asset, partition)
        name = named(asset, partition)
        mark = f"{version.name}/{PUBLISHED}"
        published = Published(version.uri, version.name, data_version, version.run_id, _now().isoformat(), version.work)
        reject_superseded(name, version, latest(folder))
        first = published_first(folder, name, version)
        if first is None and not may_be_empty and not folder.has_visible_file(version.name):
            first = published_first(folder, name, version)  # the version may have been taken over and deleted meanwhile
            if first is None:
                raise NothingWritten(
                    f"{name} was not published: there is no file in {folder.shown(version.name)} (names that begin "
                    "with _ or . do not count). The previous version, if any, stays in place."
                )
        if first is None:
            # writes nothing if the mark is there: of an attempt that was killed, or has lost the version since
            folder.write(mark, written(published), replacing=None)
            first = published_first(folder, name, version)
        if first is not None:
            return first
        try:
            pointed = False
            while not pointed:
                found = folder.read(POINTER)
                reject_superseded(name, version, read_pointer(found, folder.shown(POINTER)) if found else None)
                pointed = folder.write(POINTER, written(published), replacing=found)
        except Superseded:
            if owns(folder, version):
                folder.delete(mark)  # the pointer was never at this version
            raise
        with suppress(StorageUnusable):  # it is published; prune deletes what is left
            folder.delete(version.name + BEGUN)
        return published

    def prune(self, asset: dg.AssetKey, now: Callable[[], datetime] = _now, partition: str | None = None) -> list[str]:
        """Delete published versions beyond `keep_versions`, never the latest, and unpublished versions that no attempt
        has claimed for ABANDONED_AFTER. Returns the names of the deleted versions. Raises StorageUnusable when one
        cannot be deleted.
        """
        folder = self._folder(asset, partition)
        versions = sorted(
            {name.removesuffix(BEGUN) for name in folder.names() if VERSION_NAME.fullmatch(name.removesuffix(BEGUN))}
        )
        marked = [name for name in versions if folder.has(f"{name}/{PUBLISHED}")]
        been = {name for name in marked if not folder.has(name + BEGUN)}
        pointed = latest(folder)  # read after the marks: see the module's docstring
        current = pointed.version if pointed else None
        published = [name for name in marked if name in been or name == current]
        others = [name for name in versions if name not in published]
        old = [name for name in published[: -self.keep_versions] if name != current]
        old += [name for name in others if name != current and abandoned(folder, name, now())]
        for name in old:
            folder.delete_version(name)
            folder.delete(name + BEGUN)
        folder.sweep(now() - ABANDONED_AFTER)
        return old

    def _folder(self, asset: dg.AssetKey, partition: str | None) -> Folder:
        root = self.root
        validate_ways_out(asset)
        parts = [*asset.path, *([] if partition is None else [partition_folder(partition)])]
        if not root.startswith("s3://"):
            return LocalFolder(root, parts)

        if self._objects is None:
            self._objects = Objects(Aws())
        return S3Folder(self._objects, root, parts)


def _may_run_on(error: BaseException) -> bool:
    """Whether a program on a cluster may still run after this error: after an interrupt, which waits for nothing, and
    after an AwsError, which says that AWS could not be asked about the program and not how it ended."""
    told_to_dagster = isinstance(error, dg.Failure | dg.RetryRequested)  # of the error that was handled then
    cause = error.__context__ if told_to_dagster else error
    return isinstance(cause, AwsError) or not isinstance(error, Exception)
