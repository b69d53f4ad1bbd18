"""Logs of clusters: their files on this machine, and their upload to the cluster's LogUri.

The folder of a cluster here has the layout that EMR gives it in S3 (`steps/<step>/stderr`, `containers/<application>/
<container>/stdout`, `node/<instance>/bootstrap-actions/<n>/stderr`); a push copies what has changed, gzipped.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from emr_emulator.clock import Action, Agenda
from emr_emulator.faults import Faults, LogNames, LogsLate, LogsNever
from emr_emulator.records import ENDED_CLUSTER, Cluster, Step

SUFFIX = ".gz"


class Bucket(Protocol):
    """Takes the logs."""

    def add_file(self, bucket: str, key: str, write: Callable[[Path], None]) -> bool:
        """Add an object atomically; `write` fills its file. Return False if the bucket does not exist."""


class Logs:
    def __init__(
        self,
        root: Path,
        buckets: Bucket,
        agenda: Agenda,
        faults: Faults,
        interval_seconds: float,
        say: Callable[[Cluster, str], None],
        report: Callable[[BaseException], None],
    ) -> None:
        self.root = root
        self._report = report
        self._buckets = buckets
        self._agenda = agenda
        self._faults = faults
        self._interval_seconds = interval_seconds
        self._say = say
        self._pushed: dict[Path, tuple[int, int]] = {}  # signature of each file when it was pushed
        self._ways: dict[str, Way] = {}
        self._without_bucket: set[str] = set()  # clusters whose missing bucket has been reported

    def of_cluster(self, cluster: Cluster) -> Path:
        return self.root / cluster.id

    def of_step(self, cluster: Cluster, step: Step) -> Path:
        return self.of_cluster(cluster) / "steps" / step.id

    def of_driver(self, cluster: Cluster, step: Step) -> Path:
        """Return the folder for the output of a scripted step."""
        return self.of_step(cluster, step)

    def of_container(self, cluster: Cluster, application_id: str, number: int) -> Path:
        container = f"{application_id.replace('application', 'container')}_01_{number:06d}"
        return self.of_cluster(cluster) / "containers" / application_id / container

    def write(self, folder: Path, **texts: str) -> None:
        """Write texts as files (`stdout`, `stderr`, `controller`) into a folder of a cluster's logs."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (folder / name).write_text(text)
        except OSError as error:  # a step ends even if its logs cannot be written
            self._report(error)

    def uri_of_step(self, cluster: Cluster, step: Step, name: str) -> str | None:
        """Return the URI that EMR reports for a step's log."""
        if cluster.log_uri is None:
            return None
        return f"{cluster.log_uri.rstrip('/')}/{cluster.id}/steps/{step.id}/{name}{SUFFIX}"

    def open(self, cluster: Cluster) -> None:
        """Begin to push the logs of a new cluster regularly; EMR does so every five minutes."""
        if cluster.log_uri is None:
            return
        names = (cluster.id, cluster.name)
        if self._faults.strike(LogsNever, cluster=names):
            return
        late = self._faults.strike(LogsLate, cluster=names)
        named = self._faults.strike(LogNames, cluster=names)
        self._ways[cluster.id] = Way(late.seconds if late else 0, named.suffix if named else SUFFIX)
        self._agenda.after(self._interval_seconds, lambda: self._push(cluster, lambda: self._again(cluster)))

    def _again(self, cluster: Cluster) -> None:
        if cluster.state not in ENDED_CLUSTER:
            self._agenda.after(self._interval_seconds, lambda: self._push(cluster, lambda: self._again(cluster)))

    def close(self, cluster: Cluster, then: Action) -> None:
        """Push the logs of an ending cluster a last time, unless its primary node is lost; then call `then`."""
        if cluster.primary_lost or cluster.id not in self._ways:
            then()
        elif self._ways[cluster.id].delay_seconds:
            self._push(cluster, lambda: None)
            then()
        else:
            self._push(cluster, then)

    def _push(self, cluster: Cluster, then: Action) -> None:
        way = self._ways[cluster.id]

        def push() -> None:
            self._agenda.aside(lambda: self._copy(cluster, way.suffix), then)

        if way.delay_seconds:
            self._agenda.after(way.delay_seconds, push)
        else:
            push()

    def _copy(self, cluster: Cluster, suffix: str) -> None:
        """Copy the files that have changed since the last push to S3."""
        bucket, _, prefix = (cluster.log_uri or "").partition("://")[2].partition("/")
        folder = self.of_cluster(cluster)
        for path in sorted(folder.rglob("*")):
            state = _state(path)
            if state is None or self._pushed.get(path) == state:
                continue
            key = "/".join(part for part in (prefix.strip("/"), cluster.id, str(path.relative_to(folder))) if part)
            try:
                found = self._buckets.add_file(bucket, key + suffix, partial(_gzip, path))
            except OSError as error:
                self._say(cluster, f"its log {key + suffix} cannot be written: {error}")
                continue
            if not found:
                if cluster.id not in self._without_bucket:
                    self._say(cluster, f"there is no bucket {bucket!r} for its logs")
                self._without_bucket.add(cluster.id)
                return
            self._pushed[path] = state


@dataclass(frozen=True)
class Way:
    """How a cluster's logs are pushed to S3."""

    delay_seconds: float
    suffix: str


def _state(path: Path) -> tuple[int, int] | None:
    """Return a log's signature, or None if it is empty or no regular file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_size, found.st_mtime_ns) if path.is_file() and found.st_size else None


def _gzip(source: Path, target: Path) -> None:
    with source.open("rb") as plain, gzip.open(target, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(plain, packed)
