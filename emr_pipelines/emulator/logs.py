"""Logs: where steps write them on this machine, and how they come to a cluster's LogUri.

The folder of a cluster here has the layout that EMR gives it in S3 (`steps/<step>/stderr`, `containers/<application>/
<container>/stdout`, `node/<instance>/bootstrap-actions/<n>/stderr`); a push copies what has changed, gzipped.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from emr_pipelines.emulator.clock import Agenda
from emr_pipelines.emulator.faults import Faults, LogNames, LogsLate, LogsNever
from emr_pipelines.emulator.records import ENDED_CLUSTER, Cluster, Step

SUFFIX = ".gz"


class Bucket(Protocol):
    """A place for the logs."""

    def add_file(self, bucket: str, key: str, write: Callable[[Path], None]) -> bool:
        """Have `write` fill a file and put it there at once; false when there is no such bucket."""


class Logs:
    def __init__(
        self,
        root: Path,
        buckets: Bucket,
        agenda: Agenda,
        faults: Faults,
        interval_seconds: float,
        say: Callable[[Cluster, str], None],
    ) -> None:
        self.root = root
        self._buckets = buckets
        self._agenda = agenda
        self._faults = faults
        self._interval_seconds = interval_seconds
        self._say = say
        self._pushed: dict[Path, tuple[int, int]] = {}  # what each file was like when it was pushed
        self._last_push: dict[str, Callable[[], None]] = {}  # of each cluster that is up

    def of_cluster(self, cluster: Cluster) -> Path:
        return self.root / cluster.id

    def of_step(self, cluster: Cluster, step: Step) -> Path:
        return self.of_cluster(cluster) / "steps" / step.id

    def of_container(self, cluster: Cluster, application_id: str, number: int) -> Path:
        container = f"{application_id.replace('application', 'container')}_01_{number:06d}"
        return self.of_cluster(cluster) / "containers" / application_id / container

    def write(self, folder: Path, **texts: str) -> None:
        """Write files (`stdout`, `stderr`, `controller`) of these texts to a folder of a cluster's logs."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)

    def uri_of_step(self, cluster: Cluster, step: Step, name: str) -> str | None:
        """Where EMR says that a step's log is."""
        if cluster.log_uri is None:
            return None
        return f"{cluster.log_uri.rstrip('/')}/{cluster.id}/steps/{step.id}/{name}{SUFFIX}"

    def open(self, cluster: Cluster) -> None:
        """Push the logs of a new cluster from now on, as EMR does every five minutes."""
        if cluster.log_uri is None:
            return
        names = (cluster.id, cluster.name)
        if self._faults.strike(LogsNever, cluster=names):
            return
        late = self._faults.strike(LogsLate, cluster=names)
        named = self._faults.strike(LogNames, cluster=names)
        delay, suffix = late.seconds if late else 0.0, named.suffix if named else SUFFIX

        def push() -> None:
            self._push(cluster, suffix)

        def tick() -> None:
            if cluster.state in ENDED_CLUSTER:
                self._last_push.pop(cluster.id, None)
                return
            self._agenda.after(delay, push)
            self._agenda.after(self._interval_seconds, tick)

        self._last_push[cluster.id] = lambda: self._agenda.after(delay, push) if delay else push()
        self._agenda.after(self._interval_seconds, tick)

    def close(self, cluster: Cluster) -> None:
        """The last push of a cluster that ends; none if its primary node is gone with them."""
        push = self._last_push.pop(cluster.id, None)
        if push is not None and not cluster.primary_lost:
            push()

    def _push(self, cluster: Cluster, suffix: str) -> None:
        bucket, _, prefix = (cluster.log_uri or "").partition("://")[2].partition("/")
        folder = self.of_cluster(cluster)
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            now = path.stat()
            state = (now.st_size, now.st_mtime_ns)
            if now.st_size == 0 or self._pushed.get(path) == state:
                continue
            key = "/".join(part for part in (prefix.strip("/"), cluster.id, str(path.relative_to(folder))) if part)
            if not self._buckets.add_file(bucket, key + suffix, partial(_gzip, path)):
                self._say(cluster, f"there is no bucket {bucket!r} for its logs")
                return
            self._pushed[path] = state


def _gzip(source: Path, target: Path) -> None:
    with source.open("rb") as plain, gzip.open(target, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(plain, packed)
