"""The records about a version, its name, and which of two versions is newer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone

from pydantic import TypeAdapter, ValidationError

from emr_pipelines.errors import StorageUnusable, Superseded
from emr_pipelines.remote.file_uris import local_path
from emr_pipelines.storage.folder import Found

POINTER = "latest.json"
BEGUN = ".begun.json"  # behind the name of a version
VERSION_TIME = "%Y%m%dT%H%M%S%fZ"
VERSION_NAME = re.compile(r"\d{8}T\d{12}Z-[\w-]{1,8}", re.ASCII)  # anything with another name is not ours to delete
UNFIT = re.compile(r"[^\w-]", re.ASCII)
BEGUN_AT = re.compile(r"\d{8}T\d{12}Z", re.ASCII)
ABANDONED_AFTER = timedelta(days=7)  # longer than any run, so that no running one loses its data


@dataclass(frozen=True)
class Version:
    """A version that is being written.

    uri: as Hadoop and Spark read it, that is, not percent-encoded.
    before: the name of the version that was published when this one was begun.
    attempt: a random token. An attempt that takes the version over replaces it, and only the current one may publish.
    work: identifies the work that writes the version, see `Storage.new_version`.
    """

    name: str
    uri: str
    run_id: str
    before: str | None
    attempt: str
    work: str = ""


@dataclass(frozen=True)
class Published:
    """The content of latest.json. `data_version` is equal for equal data; `published_at` is ISO 8601, UTC; `work`
    identifies the work that wrote the version (empty: not known)."""

    uri: str
    version: str
    data_version: str
    run_id: str
    published_at: str
    work: str = ""

    @property
    def path(self) -> str:
        """The URI as pyarrow, pandas and a shell read it: a path on this machine, or s3://."""
        return local_path(self.uri) or self.uri


@dataclass(frozen=True)
class Begun:
    """The content of <version>.begun.json: the `work` that writes the version (empty: none, it was given up), the
    `attempt` that owns it and since when (`at`, in the format of version names), and what was published `before`."""

    work: str
    attempt: str
    at: str
    before: str | None

    def given_up(self, at: str) -> Begun:
        return Begun(work="", attempt="", at=at, before=self.before)


UNREADABLE = Begun(work="", attempt="unreadable", at="", before=None)


def later_than_all(now: datetime, names: Iterable[str]) -> datetime:
    """Return when a new version begins beside versions of these names: now, or a microsecond after the latest of them
    if this host's clock is behind. Hosts' clocks differ by minutes, and the order of runs must not depend on that."""
    moments = [now]
    for name in filter(VERSION_NAME.fullmatch, names):
        with suppress(ValueError, OverflowError):  # a 13th month; the last moment there is
            begun = datetime.strptime(name.partition("-")[0], VERSION_TIME).replace(tzinfo=timezone.utc)
            moments.append(begun + timedelta(microseconds=1))
    return max(moments)


def name_of(begun_at: datetime, run_id: str) -> str:
    return f"{begun_at.strftime(VERSION_TIME)}-{UNFIT.sub('_', run_id[:8])}"


def written(record: Published | Begun) -> bytes:
    return f"{json.dumps(asdict(record), indent=1)}\n".encode()


def read_pointer(found: Found, where: str) -> Published:
    """Parse a pointer. Raises StorageUnusable, with `where` it is, for invalid content."""
    try:
        published = TypeAdapter(Published).validate_json(found.data)
    except ValidationError as error:
        raise _no_pointer(where, error.errors()[0]["msg"]) from error
    if not VERSION_NAME.fullmatch(published.version):  # it may lead anywhere
        raise _no_pointer(where, f"{published.version!r} is not the name of a version")
    return published


def read_begun(found: Found) -> Begun | None:
    """Parse a begun.json. Returns None for invalid content: no attempt owns the version then."""
    try:
        begun = TypeAdapter(Begun).validate_json(found.data)
    except ValidationError:
        return None
    return begun if BEGUN_AT.fullmatch(begun.at) else None  # times are compared as texts, and any other may be later


def reject_superseded(asset: str, version: Version, latest: Published | None) -> None:
    """Raise Superseded when a run that began later than this version has published while this one was at work."""
    # names are compared between runs that overlapped only, so a clock that is behind cannot block later runs
    if latest is not None and latest.version != version.before and latest.version > version.name:
        raise Superseded(
            f"{asset} was not published: run {latest.run_id} began later than this one and "
            f"has already published version {latest.version}."
        )


def _no_pointer(where: str, why: str) -> StorageUnusable:
    return StorageUnusable(f"{where} is not a pointer to a version ({why}); delete it and materialize the asset again.")
