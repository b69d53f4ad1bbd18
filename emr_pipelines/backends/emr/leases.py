"""Leases: elect the one process that launches a cluster, tell the others its id, and the one that has to bill it.

A lease is an object on S3, `clusters/<key>.json`, created by a conditional write. Of all processes that want a cluster
for the same key, the one whose write succeeds launches; the others wait for the cluster's id to appear in the object.
"""

from __future__ import annotations

import json
import posixpath
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Content, Objects, join
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.states import TAKES_STEPS
from emr_pipelines.clock import KeepAlive, poll
from emr_pipelines.errors import AccessDenied, AwsError, PreconditionFailed, RequestRefused

# A lease that has no id and was not renewed for this long belongs to a dead process. A live process may be stuck in a
# single call for 70 s: 10 to connect, 60 without a response.
LAUNCHED_WITHIN_SECONDS = 90.0
RENEWED_AFTER_SECONDS = 10.0
LOOK_INTERVAL_SECONDS = 1.0
ENDING = ".json"
MAX_BILLED = 20  # clusters that a lease remembers as billed; a process that still holds an older one is hardly alive


@dataclass(frozen=True)
class Lease:
    """The content of a lease.

    token: a token of the process that launches or launched; empty when the lease is free. name: the cluster's name.
    cluster_id: empty until the cluster is launched. billed: the clusters of this key that a process has to bill
    already, the newest last, each with a token of that process. The token lets a process recognize its own write when
    the response was lost.
    """

    token: str
    name: str
    cluster_id: str = ""
    billed: Mapping[str, str] = field(default_factory=dict)

    def with_billed(self, cluster_id: str, token: str) -> Lease:
        """Record which process bills a cluster, and free the lease if it names that cluster."""
        billed = dict([*self.billed.items(), (cluster_id, token)][-MAX_BILLED:])
        return replace(self.freed() if self.cluster_id == cluster_id else self, billed=billed)

    def freed(self) -> Lease:
        return replace(self, token="", cluster_id="")


@dataclass(frozen=True)
class AcquiredCluster:
    """A cluster acquired by a lease, and whether this process launched it just now."""

    cluster_id: str
    launched: bool


class Leases:
    """The leases in one folder on S3. Each call may raise the AwsErrors."""

    def __init__(self, aws: Aws, objects: Objects, folder: str) -> None:
        self._aws = aws
        self._objects = objects
        self._clusters = Clusters(aws)
        self._clock = aws.clock
        self._folder = folder

    def acquire(
        self,
        key: str,
        name: str,
        launch: Callable[[Aws], str],
        heartbeat: Callable[[], None] = lambda: None,
        owe: Callable[[str], None] = lambda _: None,
    ) -> AcquiredCluster:
        """Return the cluster for a key: the existing one if it takes steps, else the one whose id `launch` returns.

        Of several callers, one launches. A cluster whose launcher died before it wrote the id is found by its name, so
        `launch` must give it the name `name`. `launch` gets a client of AWS that renews the lease whenever it waits,
        between the attempts at a call as well. An error of `launch` is raised and frees the lease.

        heartbeat: called each second while another process launches. owe: called with the id of each cluster that this
        caller alone has to bill: the ended one that it replaces, or one that it launched in vain.
        """
        uri = self._uri(key)
        mine = Lease(uuid.uuid4().hex, name)
        replaced = ""
        waited_for: str | None = None
        waited_since = 0.0
        while True:
            found = self._objects.read_tagged(uri)
            lease = _parse(found)
            if found is None:
                with suppress(PreconditionFailed):
                    self._objects.create(uri, _text(mine))
                continue  # and see whose it is: the response to our own write may have been lost
            if replaced and lease is not None and lease.billed.get(replaced) == mine.token:
                owe(replaced)
                replaced = ""
            if lease is not None and lease.token == mine.token:
                with suppress(PreconditionFailed):  # another process has taken the lease over
                    return self._launch(uri, lease, found, launch, owe)
                continue
            if lease is not None and lease.cluster_id:
                if self.takes_steps(lease.cluster_id):
                    return AcquiredCluster(lease.cluster_id, launched=False)
            elif lease is not None and lease.token:
                if waited_for != lease.token:
                    waited_for, waited_since = lease.token, self._clock.now()
                if self._clock.now() - waited_since < LAUNCHED_WITHIN_SECONDS:
                    heartbeat()
                    self._clock.pause(LOOK_INTERVAL_SECONDS)
                    continue
            lease = lease or Lease("", name)
            replaced = lease.cluster_id if lease.cluster_id not in lease.billed else ""
            if replaced:
                lease = lease.with_billed(replaced, mine.token)
            mine = replace(mine, billed=lease.billed)
            with suppress(PreconditionFailed):
                self._objects.write(uri, _text(mine), replacing=found)

    def look(self, key: str) -> Lease | None:
        """Return the lease of a key, if any."""
        return self._lease(self._uri(key))

    def cluster_of(self, key: str) -> str | None:
        """Return the id of the cluster in a lease, if any; the cluster may have ended."""
        lease = self.look(key)
        return (lease.cluster_id or None) if lease is not None else None

    def keys(self, prefix: str) -> list[str]:
        """List the keys with a prefix, including those of free leases."""
        names = (posixpath.basename(entry.uri) for entry in self._objects.entries(join(self._folder, prefix)))
        return [name.removesuffix(ENDING) for name in names if name.endswith(ENDING)]

    def release(self, key: str, cluster_id: str) -> bool:
        """Free a lease that is about this cluster, and return whether the caller has to bill the cluster.

        The first process that releases or replaces a cluster bills it.
        """
        uri, token = self._uri(key), uuid.uuid4().hex
        while True:
            found = self._objects.read_tagged(uri)
            lease = _parse(found)
            if found is None or lease is None:
                return True
            if cluster_id in lease.billed:
                return lease.billed[cluster_id] == token  # ours, if the response to our write was lost
            if lease.cluster_id != cluster_id:
                return True  # its id was never written: the launch was interrupted, or overtaken by another
            with suppress(PreconditionFailed):
                self._objects.write(uri, _text(lease.with_billed(cluster_id, token)), replacing=found)
                return True

    def takes_steps(self, cluster_id: str) -> bool:
        """Whether a cluster exists and takes steps."""
        try:
            cluster: Cluster = self._clusters.describe(cluster_id)
        except (RequestRefused, AccessDenied):  # EMR forgets clusters after two months, and with them their tags
            return False
        return cluster.state in TAKES_STEPS

    def _launch(
        self,
        uri: str,
        mine: Lease,
        held: Content,
        launch: Callable[[Aws], str],
        owe: Callable[[str], None],
    ) -> AcquiredCluster:
        """Launch while this process has the lease. Raises PreconditionFailed when another process has taken it over."""

        def renew() -> None:
            nonlocal mine, held
            mine, held = self._renewed(uri, mine, held)

        renewing = self._aws.with_clock(KeepAlive(self._clock, renew, RENEWED_AFTER_SECONDS))
        try:
            before = Clusters(renewing).find(mine.name)  # an earlier launcher died after its launch
            leased = AcquiredCluster(before.id if before else launch(renewing), launched=before is None)
        except BaseException:
            with suppress(AwsError):
                self._free(uri, mine, held)  # so that nobody waits for it
            raise
        try:
            self._objects.write(uri, _text(replace(mine, cluster_id=leased.cluster_id)), replacing=held)
        except PreconditionFailed:  # another process has the lease, or the response to our own write was lost
            return self._settled(uri, leased, owe)
        return leased

    def _renewed(self, uri: str, mine: Lease, held: Content) -> tuple[Lease, Content]:
        """Write the lease with a new token, so that others wait anew. Raises PreconditionFailed when another
        process has it."""
        new = replace(mine, token=uuid.uuid4().hex)
        with suppress(PreconditionFailed):  # or the response to our own write was lost
            self._objects.write(uri, _text(new), replacing=held)
        found = self._objects.read_tagged(uri)
        if found is None or _parse(found) != new:
            raise PreconditionFailed(f"Another process has taken over the lease {uri}.", "PreconditionFailed")
        return new, found

    def _settled(self, uri: str, leased: AcquiredCluster, owe: Callable[[str], None]) -> AcquiredCluster:
        """Wait until the lease names a cluster, and return that. Ends another one that this process launched."""
        lease = poll(
            self._clock,
            lambda: self._lease(uri),
            LAUNCHED_WITHIN_SECONDS,
            lambda lease: lease is None or lease.cluster_id,
            LOOK_INTERVAL_SECONDS,
        )
        if lease is None or lease.cluster_id in ("", leased.cluster_id):
            return leased
        if leased.launched:
            self._clusters.terminate(leased.cluster_id)
            owe(leased.cluster_id)
        return AcquiredCluster(lease.cluster_id, launched=False)

    def _free(self, uri: str, lease: Lease, held: Content) -> None:
        with suppress(PreconditionFailed):  # another process has it
            self._objects.write(uri, _text(lease.freed()), replacing=held)

    def _lease(self, uri: str) -> Lease | None:
        return _parse(self._objects.read_tagged(uri))

    def _uri(self, key: str) -> str:
        return join(self._folder, f"{key}{ENDING}")


def _parse(content: Content | None) -> Lease | None:
    """Parse a lease; None without an object or with invalid content, which is then replaced."""
    try:
        told = json.loads(content.data) if content else {}
        if "holder" in told:  # as 0.1.0 called it
            told["token"] = told.pop("holder")
        lease = Lease(**told) if content else None
    except (ValueError, TypeError, RecursionError):
        return None
    if lease is None or not isinstance(lease.billed, dict):
        return None
    words = (lease.token, lease.name, lease.cluster_id, *lease.billed.values())
    return lease if all(isinstance(word, str) for word in words) else None


def _text(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode()
