"""Begin, resume, give up and abandon versions: which attempt owns a version, in the folder of one asset.

These are the steps of the protocol that the docstring of `storage.py` describes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from emr_pipelines.errors import StorageUnusable, Superseded
from emr_pipelines.storage.folder import PUBLISHED, Folder
from emr_pipelines.storage.versions import (
    ABANDONED_AFTER,
    BEGUN,
    POINTER,
    UNREADABLE,
    VERSION_TIME,
    Begun,
    Published,
    Version,
    later_than_all,
    name_of,
    read_begun,
    read_pointer,
    written,
)


def latest(folder: Folder) -> Published | None:
    """What the pointer says, with the URI where the version is now: the storage may have moved."""
    found = folder.read(POINTER)
    if found is None:
        return None
    published = read_pointer(found, folder.shown(POINTER))
    return replace(published, uri=folder.uri(published.version))


def owns(folder: Folder, version: Version) -> bool:
    """Whether this attempt still owns the version."""
    found = folder.read(version.name + BEGUN)
    begun = read_begun(found) if found else None
    return begun is not None and begun.attempt == version.attempt


def begin(folder: Folder, run_id: str, work: str, now: datetime) -> Version:
    """Begin a version under an unused name."""
    published = latest(folder)
    name = name_of(later_than_all(now, (other.removesuffix(BEGUN) for other in folder.names())), run_id)
    before = published.version if published else None
    version = Version(name, folder.uri(name), run_id, before, uuid.uuid4().hex, work)
    begun = Begun(work, version.attempt, now.strftime(VERSION_TIME), version.before)
    if not folder.write(name + BEGUN, written(begun), replacing=None):
        raise StorageUnusable(f"{folder.shown(name + BEGUN)} is there already; materialize the asset again.")
    return version


def resume(folder: Folder, run_id: str, work: str, now: datetime, done: Callable[[str], bool]) -> Version | None:
    """Find the last version that an attempt at exactly this work began: an unpublished one, which is taken over; or a
    finished one that is, or may be, published. Other work may still be writing into any other version."""
    if not (work and folder.resumable):
        return None
    return (
        _published_by_another(folder, run_id, work, done)
        or _taken_over(folder, run_id, work, now, done)
        # an attempt that publishes moves the pointer first and deletes begun.json then, so one of the two shows it
        or _published_by_another(folder, run_id, work, done)
    )


def published_first(folder: Folder, asset: str, version: Version) -> Published | None:
    """Return what another attempt at the same work has published of this version, with the same result; None when this
    attempt still owns it. Raises Superseded when another attempt owns it; that attempt keeps the mark, if there is one.
    """
    if owns(folder, version):
        return None
    published = latest(folder)  # read after begun.json, which is deleted after the pointer has moved
    if published is not None and published.version == version.name:
        return published
    raise Superseded(
        f"{asset} was not published: another attempt at the same work has taken version {version.name} over."
    )


def discard(folder: Folder, version: Version) -> None:
    """Delete a version that this attempt still owns, unless it is, or may be, published."""
    if folder.has(f"{version.name}/{PUBLISHED}"):
        return
    found = folder.read(version.name + BEGUN)
    begun = read_begun(found) if found else None
    if begun is None or begun.attempt != version.attempt:
        return
    if folder.write(version.name + BEGUN, written(begun.given_up(begun.at)), replacing=found):
        folder.delete_version(version.name)
        folder.delete(version.name + BEGUN)


def abandoned(folder: Folder, name: str, now: datetime) -> bool:
    """Whether no attempt has claimed a version for ABANDONED_AFTER; none can publish or resume it after that."""
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
    # the process that marked it may be about to move the pointer; after another ABANDONED_AFTER it is dead
    return given_up_before or not folder.has(f"{name}/{PUBLISHED}")


def _published_by_another(folder: Folder, run_id: str, work: str, done: Callable[[str], bool]) -> Version | None:
    published = latest(folder)
    # a run that publishes and then retries wants new data
    if published is None or published.work != work or published.run_id == run_id or not done(published.uri):
        return None
    return Version(published.version, published.uri, run_id, None, uuid.uuid4().hex, work)


def _taken_over(folder: Folder, run_id: str, work: str, now: datetime, done: Callable[[str], bool]) -> Version | None:
    for name in sorted((name for name in folder.names() if name.endswith(BEGUN)), reverse=True):
        found = folder.read(name)
        begun = read_begun(found) if found else None
        if begun is None or begun.work != work:
            continue
        mine = replace(begun, attempt=uuid.uuid4().hex, at=now.strftime(VERSION_TIME))
        taken = folder.write(name, written(mine), replacing=found)
        version = name.removesuffix(BEGUN)
        uri = folder.uri(version)
        if taken and (not folder.has(f"{version}/{PUBLISHED}") or done(uri)):
            return Version(version, uri, run_id, begun.before, mine.attempt, work)
    return None
