"""The resource that assets ask for: begin a version, publish it, delete old ones.

Nothing is locked for longer than a write, and on S3 nothing is locked at all, so this is how two processes stay out of
each other's way, whatever the moment at which one is killed:

- `<version>.begun.json` says which attempt has a version in hand. It changes hands by compare-and-swap.
- Who publishes creates `_published.json`, which succeeds once, and then looks whether the version is still in its
  hands; who takes a version over does so first and then looks for `_published.json`. One of the two sees the other.
  Who finds it either has the result of the work and only publishes, or leaves the version: nobody writes into it then.
- The pointer is moved by compare-and-swap after that, and only then is begun.json deleted. So a version with
  `_published.json` and without begun.json was the published one and never will be again: those can be pruned when the
  pointer, read afterwards, is elsewhere.
- Names of versions are in the order in which they were begun, whatever the clocks say: a new one is later than all that
  lie there. So who publishes can tell whether a run that began later has done so before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from emr_pipelines.errors import InvalidValue, NothingWritten, NotMaterialized, StorageUnusable, Superseded
from emr_pipelines.resource import StrictResource
from emr_pipelines.storage.address import named, partition_folder, refuse_ways_out, refuse_ways_out_by, resolve
from emr_pipelines.storage.attempts import abandoned, begin, discard, in_hand, latest, published_first, resume
from emr_pipelines.storage.folder import PUBLISHED, Folder
from emr_pipelines.storage.local import LocalFolder
from emr_pipelines.storage.versions import (
    ABANDONED_AFTER,
    BEGUN,
    POINTER,
    VERSION_NAME,
    Published,
    Version,
    read_pointer,
    refuse_superseded,
    written,
)

if TYPE_CHECKING:
    from emr_pipelines.emr.objects import Objects


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Storage(StrictResource):
    """The place where all assets live; see the package's docstring for its layout.

    Each partition of an asset has versions and a pointer of its own; `partition` is its key.
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

    @property
    def root(self) -> str:
        """The folder that holds one folder per asset: an absolute path, or s3://bucket/prefix. Raises StorageUnusable
        for an address that is not allowed."""
        return resolve(self.uri)

    def latest(self, asset: dg.AssetKey, partition: str | None = None) -> Published | None:
        """The published version of an asset, or of one of its partitions; None when there is none. Raises
        StorageUnusable for a pointer that cannot be read or does not say what a pointer says."""
        return latest(self._folder(asset, partition))

    def require(self, asset: dg.AssetKey, partition: str | None = None) -> Published:
        """The published version of an asset, or of one of its partitions: its data is at `uri`. Raises NotMaterialized
        when there is none, or its folder has gone."""
        folder = self._folder(asset, partition)
        published, before = latest(folder), None
        while published is not None and published != before:
            if folder.has(f"{published.version}/{PUBLISHED}"):
                return published
            published, before = latest(folder), published  # another was published, and this one pruned
        raise NotMaterialized(
            f"{named(asset, partition)} has no published version in {self.root}; materialize it first."
        )

    @contextmanager
    def new_version(
        self,
        asset: dg.AssetKey,
        run_id: str,
        lineage: str = "",
        now: Callable[[], datetime] = _now,
        done: Callable[[str], bool] = lambda _: False,
        partition: str | None = None,
    ) -> Iterator[Version]:
        """A name and a URI to be written and published within the block; what an exception leaves unpublished is
        deleted. The program creates the folder.

        lineage: the work that this is an attempt at, as any text that its attempts have in common and no other work
        has. Where programs run on when the process that waits for them is killed (on S3), a version that was begun by
        such an attempt is taken up again under its name, with what was published `before` it; it may hold part of what
        that attempt wrote. Everywhere else, and without a lineage, nothing has used the name. An interrupt deletes
        nothing there: the next attempt may find the work done.
        done: whether all that was to be written at this URI is there, so that nothing will write there any more. Then
        a version that an attempt of another run has published, or was about to, is given again too.

        Raises StorageUnusable when the storage cannot be written, before any work is done for it.
        """
        folder = self._folder(asset, partition)
        folder.prepare()
        version = resume(folder, run_id, lineage, now(), done) or begin(folder, run_id, lineage, now())
        try:
            yield version
        except BaseException as error:
            if isinstance(error, Exception) or not (lineage and folder.resumable):
                with suppress(StorageUnusable):  # prune finds it; what went wrong first is what has to be heard
                    discard(folder, version)
            raise

    def read(self, asset: dg.AssetKey, version: str, name: str, partition: str | None = None) -> bytes:
        """A small file of a version. Raises StorageUnusable when it cannot be read, or is not there, and InvalidValue
        for what is no version, or a name that leads out of one."""
        if not VERSION_NAME.fullmatch(version):
            raise InvalidValue("version", version, "the name of a version, as `latest` and `require` give it")
        refuse_ways_out_by(name)
        folder = self._folder(asset, partition)
        found = folder.read(f"{version}/{name}")
        if found is None:
            raise StorageUnusable(f"{folder.shown(f'{version}/{name}')} is not there.")
        return found.data

    def write(self, asset: dg.AssetKey, version: Version, name: str, data: bytes, partition: str | None = None) -> None:
        """Write a small file into a version, over what an earlier attempt may have left. Raises StorageUnusable;
        InvalidValue for a name that leads out of the version; Superseded when it is not in hand any more."""
        refuse_ways_out_by(name)
        folder = self._folder(asset, partition)
        if not in_hand(folder, version) or folder.has(f"{version.name}/{PUBLISHED}"):
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
        """Make a version that is whole the one that readers get, from one moment to the next.

        may_be_empty: whether a version without a file may be published, for work that may find nothing to write.

        Raises Superseded when a run that began later has published while this one was at work, or another attempt has
        taken the version over; NothingWritten when the version has no file that readers see (a name that begins with
        _ or . is hidden from them); StorageUnusable when the pointer cannot be written.
        """
        folder = self._folder(asset, partition)
        name = named(asset, partition)
        mark = f"{version.name}/{PUBLISHED}"
        published = Published(
            version.uri, version.name, data_version, version.run_id, _now().isoformat(), version.lineage
        )
        refuse_superseded(name, version, latest(folder))
        first = published_first(folder, name, version)
        if first is None and not may_be_empty and not folder.has_visible_file(version.name):
            first = published_first(folder, name, version)  # one that was taken over meanwhile may have been deleted
            if first is None:
                raise NothingWritten(
                    f"{name} was not published: there is no file in {folder.shown(version.name)} (names that begin "
                    "with _ or . do not count). The previous version, if any, stays in place."
                )
        if first is None:
            # nothing is written where an attempt has marked it that was killed then, or has lost it since
            folder.write(mark, written(published), replacing=None)
            first = published_first(folder, name, version)
        if first is not None:
            return first
        try:
            pointed = False
            while not pointed:
                found = folder.read(POINTER)
                refuse_superseded(name, version, read_pointer(found, folder.shown(POINTER)) if found else None)
                pointed = folder.write(POINTER, written(published), replacing=found)
        except Superseded:
            if in_hand(folder, version):
                folder.delete(mark)  # the pointer never was at this version
            raise
        with suppress(StorageUnusable):  # it is published, and prune deals with what is left
            folder.delete(version.name + BEGUN)
        return published

    def prune(self, asset: dg.AssetKey, now: Callable[[], datetime] = _now, partition: str | None = None) -> list[str]:
        """Delete published versions beyond `keep_versions` (never the latest), and what runs that never published
        left more than ABANDONED_AFTER ago. Returns the names of the deleted versions. Raises StorageUnusable when one
        cannot be deleted.
        """
        folder = self._folder(asset, partition)
        versions = sorted(
            {name.removesuffix(BEGUN) for name in folder.names() if VERSION_NAME.fullmatch(name.removesuffix(BEGUN))}
        )
        marked = [name for name in versions if folder.has(f"{name}/{PUBLISHED}")]
        been = {name for name in marked if not folder.has(name + BEGUN)}
        pointed = latest(folder)  # not sooner: see the module's docstring
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
        refuse_ways_out(asset)
        parts = [*asset.path, *([] if partition is None else [partition_folder(partition)])]
        if not root.startswith("s3://"):
            return LocalFolder(root, parts)
        from emr_pipelines.emr.client import Aws  # boto3 takes time to import
        from emr_pipelines.emr.objects import Objects
        from emr_pipelines.storage.s3 import S3Folder

        if self._objects is None:
            self._objects = Objects(Aws())
        return S3Folder(self._objects, root, parts)
