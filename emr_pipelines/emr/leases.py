"""Leases: who launches the cluster that several want, and how the others, and those who come back, find it.

A lease is an object on S3, `clusters/<key>.json`, made with a conditional write: of all that want a cluster for the
same key, whoever writes it launches, and the others wait for the id to appear in it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from emr_pipelines.emr.client import THROTTLED_FOR_SECONDS, UNREACHABLE_FOR_SECONDS, Aws
from emr_pipelines.emr.cluster import Cluster, Clusters
from emr_pipelines.emr.objects import Content, Objects, join
from emr_pipelines.emr.states import TAKES_STEPS
from emr_pipelines.errors import AccessDenied, AwsError, Changed, RequestRefused, Throttled, Unreachable

LAUNCHED_WITHIN_SECONDS = 60.0  # a lease that has had no id, nor was renewed, for so long is that of a dead process
LONGEST_PAUSE_SECONDS = 40.0  # of who cannot launch yet; with RENEWED_AFTER_SECONDS less than LAUNCHED_WITHIN_SECONDS
RENEWED_AFTER_SECONDS = 10.0
LOOK_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True)
class Lease:
    """What the object says: who holds it (nobody: empty), the name of the cluster, and its id once there is one.
    `freed_by` is whoever freed it because the cluster had ended: a process that lost the answer to its write knows its
    own."""

    holder: str
    name: str
    cluster_id: str = ""
    freed_by: str = ""


@dataclass(frozen=True)
class Leased:
    """A cluster that was got by a lease, and whether it was launched just now."""

    cluster_id: str
    launched: bool


class Leases:
    """The leases in one folder on S3. Each call may raise the AwsErrors."""

    def __init__(self, aws: Aws, objects: Objects, folder: str) -> None:
        self._objects = objects
        self._clusters = Clusters(aws)
        self._clock = aws.clock
        self._folder = folder

    def acquire(
        self,
        key: str,
        name: str,
        launch: Callable[[], str],
        still: Callable[[], None] = lambda: None,
        owe: Callable[[str], None] = lambda _: None,
    ) -> Leased:
        """The cluster for a key: the one there is if it takes steps, else the one whose id `launch` returns. It must be
        called `name`.

        Of several callers one launches. A cluster that was launched by a process that died before it could say so is
        found by its name. What `launch` raises is raised, and frees the lease; but one that is Throttled, or finds EMR
        Unreachable, should say so at once, and is tried again for as long as other calls are. `still` is called each
        second while another launches. `owe` is told the id of each cluster that this caller alone has to bill: the one
        whose lease it took because it had ended, and one that it launched in vain.
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
                with suppress(Changed):
                    self._objects.create(uri, _text(mine))
                continue  # and see who it was: the answer to a write that took effect may have been lost
            if lease is not None and lease.holder == mine.holder:
                if replaced:
                    owe(replaced)
                    replaced = ""
                with suppress(Changed):  # it was held up for so long that another has the lease
                    return self._launch(uri, mine, found, launch, owe)
                continue
            if lease is not None and lease.cluster_id:
                if self.takes_steps(lease.cluster_id):
                    return Leased(lease.cluster_id, launched=False)
            elif lease is not None and lease.holder:
                if waited_for != lease.holder:
                    waited_for, waited_since = lease.holder, self._clock.now()
                if self._clock.now() - waited_since < LAUNCHED_WITHIN_SECONDS:
                    still()
                    self._clock.pause(LOOK_INTERVAL_SECONDS)
                    continue
            replaced = lease.cluster_id if lease is not None else ""
            with suppress(Changed):
                self._objects.write(uri, _text(mine), replacing=found)

    def look(self, key: str) -> Lease | None:
        """What is written down for a key; None when there is nothing."""
        return self._lease(self._uri(key))

    def cluster_of(self, key: str) -> str | None:
        """The id in a lease, of a cluster that may have ended; None when there is none."""
        lease = self.look(key)
        return (lease.cluster_id or None) if lease is not None else None

    def release(self, key: str, cluster_id: str) -> bool:
        """Forget a lease, if it is still about this cluster. Returns False when another process has freed or taken it,
        and so owes the cluster's bill."""
        uri = self._uri(key)
        found = self._objects.read_tagged(uri)
        lease = _parse(found)
        if found is None or lease is None:
            return True
        if lease.cluster_id != cluster_id:
            return not lease.cluster_id and not lease.freed_by  # a launch that was interrupted wrote down no id
        freed = Lease("", lease.name, freed_by=uuid.uuid4().hex)
        try:
            self._objects.write(uri, _text(freed), replacing=found)
        except Changed:  # another was first, or the answer to the first write was lost
            return self._lease(uri) == freed
        return True

    def takes_steps(self, cluster_id: str) -> bool:
        """Whether a cluster that a lease names is there and takes steps."""
        try:
            cluster: Cluster = self._clusters.describe(cluster_id)
        except (RequestRefused, AccessDenied):  # EMR forgets clusters after two months, and with them their tags
            return False
        return cluster.state in TAKES_STEPS

    def _launch(
        self, uri: str, mine: Lease, held: Content, launch: Callable[[], str], owe: Callable[[str], None]
    ) -> Leased:
        """Raises Changed, before anything is launched, when another has the lease."""
        began = renewed = self._clock.now()

        def attempt() -> str:
            nonlocal mine, held, renewed
            if self._clock.now() - renewed > RENEWED_AFTER_SECONDS:
                mine, held = self._renewed(uri, mine, held)
                renewed = self._clock.now()
            return launch()

        def patience_ends(state: RetryCallState) -> bool:
            throttled = isinstance(state.outcome and state.outcome.exception(), Throttled)
            patience = THROTTLED_FOR_SECONDS if throttled else UNREACHABLE_FOR_SECONDS
            return self._clock.now() - began > patience

        attempts = Retrying(
            wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_SECONDS),
            stop=patience_ends,
            retry=retry_if_exception_type((Throttled, Unreachable)),
            sleep=self._clock.pause,
            reraise=True,
        )
        try:
            before = self._clusters.find(mine.name)  # of a holder that died after it had launched
            leased = Leased(before.id if before else attempts(attempt), launched=before is None)
        except BaseException:
            with suppress(AwsError):
                self._free(uri, mine, held)  # nobody has to wait for what will not come
            raise
        try:
            self._objects.write(uri, _text(Lease(mine.holder, mine.name, leased.cluster_id)), replacing=held)
        except Changed:  # this took so long that somebody else took over, or the answer to a first write was lost
            return self._settled(uri, leased, owe)
        return leased

    def _renewed(self, uri: str, mine: Lease, held: Content) -> tuple[Lease, Content]:
        """The lease under another holder's name, for which others wait anew. Raises Changed when it is another's."""
        new = Lease(uuid.uuid4().hex, mine.name)
        with suppress(Changed):  # or it took effect, and its answer was lost
            self._objects.write(uri, _text(new), replacing=held)
        found = self._objects.read_tagged(uri)
        if found is None or _parse(found) != new:
            raise Changed(f"The lease {uri} is another's.", "PreconditionFailed")
        return new, found

    def _settled(self, uri: str, leased: Leased, owe: Callable[[str], None]) -> Leased:
        """The cluster that the lease is about in the end; one that was launched beside it is ended."""
        until = self._clock.now() + LAUNCHED_WITHIN_SECONDS
        while (lease := self._lease(uri)) is not None and lease.cluster_id != leased.cluster_id:
            if lease.cluster_id:
                if leased.launched:
                    self._clusters.terminate(leased.cluster_id)
                    owe(leased.cluster_id)
                return Leased(lease.cluster_id, launched=False)
            if self._clock.now() >= until:
                break
            self._clock.pause(LOOK_INTERVAL_SECONDS)
        return leased

    def _free(self, uri: str, lease: Lease, held: Content) -> None:
        with suppress(Changed):  # then it is somebody else's
            self._objects.write(uri, _text(Lease("", lease.name)), replacing=held)

    def _lease(self, uri: str) -> Lease | None:
        return _parse(self._objects.read_tagged(uri))

    def _uri(self, key: str) -> str:
        return join(self._folder, f"{key}.json")


def _parse(content: Content | None) -> Lease | None:
    """None for none, and for what is no lease, which is then replaced."""
    try:
        lease = Lease(**json.loads(content.data)) if content else None
    except (ValueError, TypeError, RecursionError):
        return None
    return lease if lease and all(isinstance(member, str) for member in astuple(lease)) else None


def _text(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode()
