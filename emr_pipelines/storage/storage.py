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

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from emr_pipelines.errors import InvalidValue, NotMaterialized, StorageUnusable, Superseded
from emr_pipelines.resource import StrictResource
from emr_pipelines.storage.address import refuse_ways_out, refuse_ways_out_by, resolve
from emr_pipelines.storage.folder import PUBLISHED, Folder
from emr_pipelines.storage.local import LocalFolder
from emr_pipelines.storage.versions import (
    ABANDONED_AFTER,
    BEGUN,
    POINTER,
    UNREADABLE,
    VERSION_NAME,
    VERSION_TIME,
    Begun,
    Published,
    Version,
    later_than_all,
    name_of,
    read_begun,
    read_pointer,
    refuse_superseded,
    written,
)

if TYPE_CHECKING:
    from emr_pipelines.emr.objects import Objects


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Storage(StrictResource):
    """The place where all assets live; see the package's docstring for its layout."""

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

    def latest(self, asset: dg.AssetKey) -> Published | None:
        """The published version of an asset, or None when there is none. Raises StorageUnusable for a pointer that
        cannot be read or does not say what a pointer says."""
        return self._latest(self._folder(asset))

    def require(self, asset: dg.AssetKey) -> Published:
        """The published version of an asset. Raises NotMaterialized when there is none, or its folder has gone."""
        folder = self._folder(asset)
        published, before = self._latest(folder), None
        while published is not None and published != before:
            if folder.has(f"{published.version}/{PUBLISHED}"):
                return published
            published, before = self._latest(folder), published  # another was published, and this one pruned
        raise NotMaterialized(
            f"{asset.to_user_string()} has no published version in {resolve(self.uri)}; materialize it first."
        )

    @contextmanager
    def new_version(
        self,
        asset: dg.AssetKey,
        run_id: str,
        lineage: str = "",
        now: Callable[[], datetime] = _now,
        done: Callable[[str], bool] = lambda _: False,
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
        folder = self._folder(asset)
        folder.prepare()
        version = self._resumed(folder, run_id, lineage, now(), done) or self._begun(folder, run_id, lineage, now())
        try:
            yield version
        except BaseException as error:
            if isinstance(error, Exception) or not (lineage and folder.resumable):
                with suppress(StorageUnusable):  # prune finds it; what went wrong first is what has to be heard
                    self._discard(folder, version)
            raise

    def read(self, asset: dg.AssetKey, version: str, name: str) -> bytes:
        """A small file of a version. Raises StorageUnusable when it cannot be read, or is not there, and InvalidValue
        for what is no version, or a name that leads out of one."""
        if not VERSION_NAME.fullmatch(version):
            raise InvalidValue("version", version, "the name of a version, as `latest` and `require` give it")
        refuse_ways_out_by(name)
        folder = self._folder(asset)
        found = folder.read(f"{version}/{name}")
        if found is None:
            raise StorageUnusable(f"{folder.shown(f'{version}/{name}')} is not there.")
        return found.data

    def write(self, asset: dg.AssetKey, version: Version, name: str, data: bytes) -> None:
        """Write a small file into a version, over what an earlier attempt may have left. Raises StorageUnusable;
        InvalidValue for a name that leads out of the version; Superseded when it is not in hand any more."""
        refuse_ways_out_by(name)
        folder = self._folder(asset)
        if not _in_hand(folder, version) or folder.has(f"{version.name}/{PUBLISHED}"):
            raise Superseded(
                f"{name} was not written: version {version.name} of {asset.to_user_string()} is published, or another "
                "attempt at the same work has taken it over."
            )
        path = f"{version.name}/{name}"
        if not folder.write(path, data, replacing=folder.read(path)):
            raise StorageUnusable(f"{folder.shown(path)} was written by another attempt just now; try again.")

    def publish(self, asset: dg.AssetKey, version: Version, data_version: str) -> Published:
        """Make a version that is whole the one that readers get, from one moment to the next.

        Raises Superseded when a run that began later has published while this one was at work, or another attempt has
        taken the version over; StorageUnusable when the pointer cannot be written.
        """
        folder = self._folder(asset)
        mark = f"{version.name}/{PUBLISHED}"
        published = Published(
            version.uri, version.name, data_version, version.run_id, _now().isoformat(), version.lineage
        )
        refuse_superseded(asset, version, self._latest(folder))
        first = self._published_first(folder, asset, version)
        if first is None:
            # nothing is written where an attempt has marked it that was killed then, or has lost it since
            folder.write(mark, written(published), replacing=None)
            first = self._published_first(folder, asset, version)
        if first is not None:
            return first
        try:
            pointed = False
            while not pointed:
                found = folder.read(POINTER)
                refuse_superseded(asset, version, read_pointer(found, folder.shown(POINTER)) if found else None)
                pointed = folder.write(POINTER, written(published), replacing=found)
        except Superseded:
            if _in_hand(folder, version):
                folder.delete(mark)  # the pointer never was at this version
            raise
        with suppress(StorageUnusable):  # it is published, and prune deals with what is left
            folder.delete(version.name + BEGUN)
        return published

    def prune(self, asset: dg.AssetKey, now: Callable[[], datetime] = _now) -> list[str]:
        """Delete published versions beyond `keep_versions` (never the latest), and what runs that never published
        left more than ABANDONED_AFTER ago. Returns the names of the deleted versions. Raises StorageUnusable when one
        cannot be deleted.
        """
        folder = self._folder(asset)
        versions = sorted(
            {name.removesuffix(BEGUN) for name in folder.names() if VERSION_NAME.fullmatch(name.removesuffix(BEGUN))}
        )
        marked = [name for name in versions if folder.has(f"{name}/{PUBLISHED}")]
        been = {name for name in marked if not folder.has(name + BEGUN)}
        latest = self._latest(folder)  # not sooner: see the module's docstring
        current = latest.version if latest else None
        published = [name for name in marked if name in been or name == current]
        others = [name for name in versions if name not in published]
        old = [name for name in published[: -self.keep_versions] if name != current]
        old += [name for name in others if name != current and _abandoned(folder, name, now())]
        for name in old:
            folder.delete_version(name)
            folder.delete(name + BEGUN)
        folder.sweep(now() - ABANDONED_AFTER)
        return old

    def _latest(self, folder: Folder) -> Published | None:
        found = folder.read(POINTER)
        if found is None:
            return None
        published = read_pointer(found, folder.shown(POINTER))
        return replace(published, uri=folder.uri(published.version))  # where it is now: the storage may have moved

    def _published_first(self, folder: Folder, asset: dg.AssetKey, version: Version) -> Published | None:
        """What another attempt at the same work has published of this version, with the same result; None when it is
        in hand. Raises Superseded when another has it in hand, to whom a mark is left."""
        if _in_hand(folder, version):
            return None
        latest = self._latest(folder)  # not sooner: who publishes lets go afterwards
        if latest is not None and latest.version == version.name:
            return latest
        raise _taken_over(asset, version)

    def _begun(self, folder: Folder, run_id: str, lineage: str, now: datetime) -> Version:
        latest = self._latest(folder)
        name = name_of(later_than_all(now, (other.removesuffix(BEGUN) for other in folder.names())), run_id)
        before = latest.version if latest else None
        version = Version(name, folder.uri(name), run_id, before, uuid.uuid4().hex, lineage)
        begun = Begun(lineage, version.attempt, now.strftime(VERSION_TIME), version.before)
        if not folder.write(name + BEGUN, written(begun), replacing=None):
            raise StorageUnusable(f"{folder.shown(name + BEGUN)} is there already; materialize the asset again.")
        return version

    def _resumed(
        self, folder: Folder, run_id: str, lineage: str, now: datetime, done: Callable[[str], bool]
    ) -> Version | None:
        """The last version of the lineage: one that is unpublished, taken in hand; or one that is done, and is, or may
        be, published."""
        if not (lineage and folder.resumable):
            return None
        return (
            self._published_by_another(folder, run_id, lineage, done)
            or self._taken_in_hand(folder, run_id, lineage, now, done)
            # who publishes moves the pointer first and lets go of the version then, so one of the two shows it
            or self._published_by_another(folder, run_id, lineage, done)
        )

    def _published_by_another(
        self, folder: Folder, run_id: str, lineage: str, done: Callable[[str], bool]
    ) -> Version | None:
        latest = self._latest(folder)
        # a run that publishes and then tries again wants another
        if latest is None or latest.lineage != lineage or latest.run_id == run_id or not done(latest.uri):
            return None
        return Version(latest.version, latest.uri, run_id, None, uuid.uuid4().hex, lineage)

    def _taken_in_hand(
        self, folder: Folder, run_id: str, lineage: str, now: datetime, done: Callable[[str], bool]
    ) -> Version | None:
        for name in sorted((name for name in folder.names() if name.endswith(BEGUN)), reverse=True):
            found = folder.read(name)
            begun = read_begun(found) if found else None
            if begun is None or begun.lineage != lineage:
                continue
            mine = replace(begun, attempt=uuid.uuid4().hex, at=now.strftime(VERSION_TIME))
            taken = folder.write(name, written(mine), replacing=found)
            version = name.removesuffix(BEGUN)
            uri = folder.uri(version)
            if taken and (not folder.has(f"{version}/{PUBLISHED}") or done(uri)):
                return Version(version, uri, run_id, begun.before, mine.attempt, lineage)
        return None

    def _discard(self, folder: Folder, version: Version) -> None:
        """Delete a version that is still in hand, unless it is, or may be, published."""
        if folder.has(f"{version.name}/{PUBLISHED}"):
            return
        found = folder.read(version.name + BEGUN)
        begun = read_begun(found) if found else None
        if begun is None or begun.attempt != version.attempt:
            return
        if folder.write(version.name + BEGUN, written(begun.given_up(begun.at)), replacing=found):
            folder.delete_version(version.name)
            folder.delete(version.name + BEGUN)

    def _folder(self, asset: dg.AssetKey) -> Folder:
        root = resolve(self.uri)
        refuse_ways_out(asset)
        if not root.startswith("s3://"):
            return LocalFolder(root, asset.path)
        from emr_pipelines.emr.client import Aws  # boto3 takes time to import
        from emr_pipelines.emr.objects import Objects
        from emr_pipelines.storage.s3 import S3Folder

        if self._objects is None:
            self._objects = Objects(Aws())
        return S3Folder(self._objects, root, asset.path)


def _in_hand(folder: Folder, version: Version) -> bool:
    found = folder.read(version.name + BEGUN)
    begun = read_begun(found) if found else None
    return begun is not None and begun.attempt == version.attempt


def _abandoned(folder: Folder, name: str, now: datetime) -> bool:
    """Whether a version was in nobody's hand for ABANDONED_AFTER, and nobody can publish it or take it up any more."""
    before = (now - ABANDONED_AFTER).strftime(VERSION_TIME)
    if name >= before:
        return False
    found = folder.read(name + BEGUN)
    given_up_before = False
    if found is not None:
        begun = read_begun(found) or UNREADABLE
        if begun.at >= before:
            return False
        given_up_before = not begun.attempt
        if not folder.write(name + BEGUN, written(begun.given_up(now.strftime(VERSION_TIME))), replacing=found):
            return False
    # who has marked it may be about to move the pointer; after as long again it is dead
    return given_up_before or not folder.has(f"{name}/{PUBLISHED}")


def _taken_over(asset: dg.AssetKey, version: Version) -> Superseded:
    return Superseded(
        f"{asset.to_user_string()} was not published: another attempt at the same work has taken version "
        f"{version.name} over."
    )
