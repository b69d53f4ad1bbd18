"""Find, wait for and read the logs of a cluster's steps and bootstrap actions, below its LogUri.

EMR pushes logs every five minutes, and once more when a step or the cluster ends. Their names vary (`stderr.gz`,
`stderr.txt.gz`, rotated ones), so folders are listed and no key is guessed. A log that cannot be read is left out
without an error, so that it never hides the original failure.
"""

from __future__ import annotations

import math
import posixpath
import re
import zlib
from collections.abc import Callable

from emr_pipelines.aws.objects import ObjectEntry, Objects, join, split_uri
from emr_pipelines.clock import Clock
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.errors import AwsError

POLL_SECONDS = 5.0
KEPT_BYTES = 1024 * 1024  # of a log's end
KEPT_LINES = 5000
CHUNK_BYTES = 64 * 1024
MAX_COMPRESSED_BYTES = 32 * 1024 * 1024  # gzip can only be read from its beginning
MAX_OF_A_NAME = 2  # rotated logs: the newest ones
MAX_ACTIONS = 20  # bootstrap actions whose logs are read, where nothing tells which of them failed

APPLICATION = re.compile(r"(?:Submitted application|Application report for|Application) (application_\d+_\d+)\b")
# in client mode the reports end with RUNNING, for then the driver is here
IN_CLUSTER_MODE = re.compile(
    r"Application report for application_\d+_\d+ \(state: (FINISHED|FAILED|KILLED)\)"
    r"|Application application_\d+_\d+ finished with failed status"
)
DRIVERS_CONTAINER = re.compile(r"/(container_\w+_000001)/")
BOOTSTRAP_ACTION = re.compile(r"/node/[^/]+/bootstrap-actions/\d+(?=/)")


class Logs:
    """The logs of one cluster. log_uri: its LogUri; empty if it has no logs. Raises InvalidValue for another location
    than S3.
    """

    def __init__(
        self,
        objects: Objects,
        clock: Clock,
        log_uri: str,
        cluster_id: str,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        """heartbeat: called at each look, while waiting."""
        self.left: Callable[[], float] = lambda: math.inf  # how many seconds longer logs can come
        self._objects = objects
        self._clock = clock
        self._heartbeat = heartbeat
        self.folder = ""  # s3://bucket/prefix/j-...; empty when there are no logs
        if log_uri:
            bucket, prefix = split_uri(log_uri)
            self.folder = join(f"s3://{bucket}", prefix.strip("/"), cluster_id)

    def step_folder(self, step_id: str) -> str:
        """Return the folder with the logs of a step; empty if the cluster has no logs."""
        return join(self.folder, "steps", step_id) + "/" if self.folder else ""

    def driver_logs(self, step_id: str, wait_seconds: float, ended: float = 0.0) -> tuple[Log, ...]:
        """Return a step's controller, stdout and stderr, and its driver's if that ran in a container; oldest first.

        Waits until two listings in a row are equal, or the time is up. ended: when the step ended, in seconds since
        1970; logs that were pushed before lack their end, so a later push is waited for. Raises nothing.
        """
        until = self._clock.now() + wait_seconds
        folder = self.step_folder(step_id)
        if not folder:
            return ()
        logs = self._read_all(self._wait(folder, lambda found: _shows_the_end(found, ended), until))
        lines = [line for log in logs if log.name == "stderr" for line in log.lines]
        applications = [found.group(1) for line in lines if (found := APPLICATION.search(line))]
        if applications:
            container = join(self.folder, "containers", applications[-1]) + "/"
            until = until if any(map(IN_CLUSTER_MODE.search, lines)) else self._clock.now()
            entries = self._wait(container, lambda found: _shows_the_end(_of_driver(found), ended), until)
            logs += self._read_all(_of_driver(entries))
        return logs

    def bootstrap_logs(self, wait_seconds: float) -> tuple[Log, ...]:
        """Return the logs of the failed bootstrap actions, or of the last ones if no controller says which failed.
        Raises nothing."""
        if not self.folder:
            return ()
        until = self._clock.now() + wait_seconds
        entries = self._wait(join(self.folder, "node") + "/", lambda found: bool(_by_action(found)), until)
        actions = list(_by_action(entries).values())
        failed: list[tuple[Log, ...]] = []
        for action in actions[-MAX_ACTIONS:]:
            controllers = self._read_all([entry for entry in action if _name(entry) == "controller"])
            if any(log.exit_code for log in controllers):
                rest = self._read_all([entry for entry in action if _name(entry) != "controller"])
                failed.append(controllers + rest)
        if failed:
            return tuple(log for logs in failed for log in logs)
        return tuple(log for action in actions[-MAX_ACTIONS:] for log in self._read_all(action))

    def _wait(self, folder: str, there: Callable[[list[ObjectEntry]], bool], until: float) -> list[ObjectEntry]:
        """List a folder until `there` is true and two listings in a row are equal, or the time is up."""
        before: list[ObjectEntry] | None = None
        while True:
            found = self._list(folder)
            left = min(until - self._clock.now(), self.left())
            if left <= 0 or (there(found) and found == before):
                return found
            before = found
            self._heartbeat()
            self._clock.pause(min(POLL_SECONDS, left))

    def _list(self, folder: str) -> list[ObjectEntry]:
        try:
            return list(self._objects.entries(folder))
        except AwsError:
            return []

    def _read_all(self, entries: list[ObjectEntry]) -> tuple[Log, ...]:
        """Read the newest log of each name."""
        newest: list[ObjectEntry] = []
        for entry in sorted(entries, key=lambda entry: (entry.modified, entry.uri), reverse=True):
            same = [one for one in newest if _name(one) == _name(entry)]
            if _name(entry) in ("controller", "stdout", "stderr") and len(same) < MAX_OF_A_NAME:
                newest.insert(0, entry)
        return tuple(log for entry in newest if (log := self._read(entry)))

    def _read(self, entry: ObjectEntry) -> Log | None:
        packed = entry.uri.endswith(".gz")
        if packed and entry.bytes > MAX_COMPRESSED_BYTES:
            return Log(entry.uri, (f"(This log is not shown: it has {entry.bytes:,} bytes, compressed.)",))
        try:
            data = self._objects.read(entry.uri, None if packed else KEPT_BYTES) if entry.bytes else b""
        except AwsError:
            return None
        return None if data is None else Log(entry.uri, last_lines(data))


def last_lines(data: bytes) -> tuple[str, ...]:
    """Return the last lines of a log, compressed or not; of a damaged one, the last before the damage."""
    end = _unpacked_end(data) if data.startswith(b"\x1f\x8b") else data[-KEPT_BYTES:]
    lines = end.decode("utf-8", errors="replace").removesuffix("\n").split("\n") if end else []
    # what a terminal would show of a line that was written over: the last
    return tuple(line.rstrip("\r").rpartition("\r")[2] for line in lines[-KEPT_LINES:])


def _unpacked_end(data: bytes) -> bytes:
    """Return the end of gzip data, member by member, without holding all of it in memory."""
    end = bytearray()
    while data.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip's header
        rest = data
        try:
            while not member.eof and (chunk := member.decompress(rest, CHUNK_BYTES)):
                end += chunk
                del end[: max(len(end) - KEPT_BYTES, 0)]
                rest = member.unconsumed_tail
        except zlib.error:
            break
        data = member.unused_data
    return bytes(end)


def _name(entry: ObjectEntry) -> str:
    return re.split(r"\W", posixpath.basename(entry.uri))[0]


def _shows_the_end(entries: list[ObjectEntry], ended: float) -> bool:
    """Whether there is output, and a log was pushed after the step's end."""
    fresh = any(entry.modified.timestamp() >= ended for entry in entries)
    return fresh and any(_name(entry) in ("stdout", "stderr") for entry in entries)


def _of_driver(entries: list[ObjectEntry]) -> list[ObjectEntry]:
    """Return the logs of the driver's container: the first container of the last attempt."""
    attempts = {found.group(1) for entry in entries if (found := DRIVERS_CONTAINER.search(entry.uri))}
    return [entry for entry in entries if attempts and f"/{max(attempts)}/" in entry.uri]


def _by_action(entries: list[ObjectEntry]) -> dict[str, list[ObjectEntry]]:
    """The logs of bootstrap actions, by the folder of each."""
    actions: dict[str, list[ObjectEntry]] = {}
    for entry in entries:
        if found := BOOTSTRAP_ACTION.search(entry.uri):
            actions.setdefault(found.group(0), []).append(entry)
    return actions
