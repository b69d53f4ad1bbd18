"""What a session knows about clusters, one object for each: which it holds, and which it has to bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.bills import NOTHING_OBSERVED, Observed
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.leases import Leases
from emr_pipelines.errors import AwsError, EmrPipelinesError
from emr_pipelines.report import Reporter

HURRY_SECONDS = 5.0  # timeout for AWS calls while an interrupt is handled


@dataclass
class HeldCluster:
    """A cluster that a session acquired by the lease `key`.

    launched: whether this session launched it. observed: the times that only a process that waited for the cluster
    knows; the bill needs them.
    """

    id: str
    key: str
    launched: bool = False
    observed: Observed = NOTHING_OBSERVED

    def is_bootstrapping(self, now: float) -> None:
        """Note that the cluster is bootstrapping; the first time counts."""
        if self.observed.bootstrapping is None:
            self.observed = replace(self.observed, bootstrapping=now)

    def told_to_end(self, now: float) -> None:
        """Note that the cluster was told to end; the first time counts."""
        if self.observed.told_to_end is None:
            self.observed = replace(self.observed, told_to_end=now)


class HeldClusters:
    """The clusters that one session acquires, adopts and ends. Each call may raise the AwsErrors.

    held: the cluster that the session uses, while there is one. owed: the clusters that the caller has to bill, each
    once. Of all processes that used a cluster, the one that frees or replaces its lease bills it.
    """

    def __init__(self, aws: Aws, leases: Leases) -> None:
        self._aws, self._clusters, self._leases = aws, Clusters(aws), leases
        self._known: dict[str, HeldCluster] = {}  # by id
        self._launching = ""  # the name of a cluster that RunJobFlow may have launched, and whose id is not known
        self.held: HeldCluster | None = None
        self.owed: list[HeldCluster] = []

    @property
    def in_use(self) -> bool:
        """Whether there is a cluster, or may be one that was launched without a response."""
        return self.held is not None or bool(self._launching)

    def of(self, key: str, cluster_id: str) -> HeldCluster:
        """What this session knows about a cluster that has the lease `key`."""
        return self._known.setdefault(cluster_id, HeldCluster(cluster_id, key))

    def hold(self, held: HeldCluster) -> None:
        self.held, self._launching = held, ""

    def acquire(self, key: str, request: Mapping[str, Any], still: Callable[[], None]) -> tuple[HeldCluster, bool]:
        """Hold the cluster for a lease key, and return it and whether this call launched it.

        request: for RunJobFlow. still: called each second while another process launches.
        """

        def launch(renew: Callable[[], None]) -> str:
            lost = False

            def looking() -> None:
                nonlocal lost
                lost = True
                renew()

            self._launching = str(request["Name"])
            try:
                # a single attempt: between two, the lease is renewed
                launched = self._clusters.launch(request, patience_seconds=0, looking=looking)
            except EmrPipelinesError:
                if not lost:  # a refused launch leaves no cluster to look for
                    self._launching = ""
                raise
            held = self.of(key, launched)
            held.launched = True
            self.hold(held)  # before anything can raise
            return launched

        leased = self._leases.acquire(key, str(request["Name"]), launch, still, partial(self._owe, key))
        held = self.of(key, leased.cluster_id)
        self.hold(held)
        return held, leased.launched

    def adopt(self, key: str) -> bool:
        """Hold the cluster that another process left under a key. Returns whether it still has to be ended; one that
        has ended by itself is owed, if nobody bills it yet."""
        cluster_id = self._leases.cluster_of(key)
        if cluster_id is None:
            return False
        if self._leases.takes_steps(cluster_id):
            self.hold(self.of(key, cluster_id))
            return True
        if self._leases.release(key, cluster_id):
            self._owe(key, cluster_id)
        return False

    def find_launched(self) -> HeldCluster | None:
        """Hold the cluster of a RunJobFlow whose response did not arrive; None when there is none."""
        name = self._launching
        found = self._clusters.look_for(name, HURRY_SECONDS) if name else None
        self._launching = ""
        if found is None:
            return None
        self.hold(self.of(name.rpartition("/")[2], found))
        return self.held

    def end(self, held: HeldCluster, report: Reporter) -> Cluster:
        """Terminate a cluster, confirm its end, and free its lease. Returns the cluster as it was last seen."""
        held.told_to_end(self._aws.now())
        self._clusters.terminate(held.id)
        cluster = self._clusters.confirm_ended(held.id, report=report)
        mine = True
        with suppress(AwsError):  # a process that finds the lease looks at its cluster; the bill must not get lost
            mine = self._leases.release(held.key, held.id)
        if mine:
            self._owe(held.key, held.id)
        self._drop(held.id)
        return cluster

    def _owe(self, key: str, cluster_id: str) -> None:
        """Note a cluster that this session alone has to bill."""
        self.owed.append(self.of(key, cluster_id))
        self._drop(cluster_id)

    def _drop(self, cluster_id: str) -> None:
        if self.held is not None and self.held.id == cluster_id:
            self.held = None
