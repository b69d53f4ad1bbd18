"""Find, wait for and read the logs of a cluster's steps and bootstrap actions, below its LogUri.

EMR pushes logs every five minutes, and once more when a step or the cluster ends. Their names vary (`stderr.gz`,
`stderr.txt.gz`, rotated ones), so folders are listed and no key is guessed. A log that cannot be read is left out
without an error, so that it never hides the original failure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from emr_pipelines.aws.objects import ObjectEntry, Objects, join, split_uri
from emr_pipelines.backends.log_files import log_name, read_newest
from emr_pipelines.clock import Clock
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.errors import AwsError

POLL_SECONDS = 5.0
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
        logs = read_newest(self._objects, self._wait(folder, lambda found: _shows_the_end(found, ended), until))
        lines = [line for log in logs if log.name == "stderr" for line in log.lines]
        applications = [found.group(1) for line in lines if (found := APPLICATION.search(line))]
        if applications:
            container = join(self.folder, "containers", applications[-1]) + "/"
            until = until if any(map(IN_CLUSTER_MODE.search, lines)) else self._clock.now()
            entries = self._wait(container, lambda found: _shows_the_end(_of_driver(found), ended), until)
            logs += read_newest(self._objects, _of_driver(entries))
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
            controllers = read_newest(self._objects, [entry for entry in action if log_name(entry) == "controller"])
            if any(log.exit_code for log in controllers):
                rest = read_newest(self._objects, [entry for entry in action if log_name(entry) != "controller"])
                failed.append(controllers + rest)
        if failed:
            return tuple(log for logs in failed for log in logs)
        return tuple(log for action in actions[-MAX_ACTIONS:] for log in read_newest(self._objects, action))

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


def _shows_the_end(entries: list[ObjectEntry], ended: float) -> bool:
    """Whether there is output, and a log was pushed after the step's end."""
    fresh = any(entry.modified.timestamp() >= ended for entry in entries)
    return fresh and any(log_name(entry) in ("stdout", "stderr") for entry in entries)


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
