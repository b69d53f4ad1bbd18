"""The clusters of a backend, one object for each: acquire, adopt, end and bill them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.backends.emr.bills import NOTHING_OBSERVED, Observed, bill
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.explanation import CALL_PATIENCE_SECONDS
from emr_pipelines.backends.emr.leases import LAUNCHED_WITHIN_SECONDS, Leases
from emr_pipelines.backends.emr.pool import Pool
from emr_pipelines.backends.emr.run_log import RunLog
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import StepState
from emr_pipelines.backends.emr.steps import Steps
from emr_pipelines.backends.names import ClusterName, Scope
from emr_pipelines.costs.bill import Bill
from emr_pipelines.errors import AwsError, EmrPipelinesError
from emr_pipelines.report import spell

NOT_CANCELLED = frozenset({StepState.PENDING, StepState.RUNNING})
HURRY_SECONDS = 5.0  # timeout for AWS calls while an interrupt is handled


@dataclass
class HeldCluster:
    """A cluster that a backend acquired by the lease `key`.

    launched: whether this backend launched it. observed: the times that only a process that waited for the cluster
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
    """The clusters that one backend acquires, adopts, ends and bills. Each call may raise the AwsErrors.

    held: the cluster that the backend uses, while there is one. owed: the clusters that the caller has to bill, each
    once. Of all processes that used a cluster, the one that frees or replaces its lease bills it.
    """

    def __init__(
        self,
        aws: Aws,
        spec: ClusterSpec,
        scope: Scope,
        base: str,
        deployment: str,
        tags: Mapping[str, str],
        run_log: RunLog,
    ) -> None:
        self._aws, self._clusters, self._steps = aws, Clusters(aws), Steps(aws)
        self._spec, self._scope, self._deployment, self._tags = spec, scope, deployment, dict(tags)
        self._run_log = run_log
        self._leases = Leases(aws, Objects(aws), join(base, "clusters"))
        self.pool = Pool(self._leases, self._steps, aws.clock, scope.keys(), spec.step_concurrency)
        self._known: dict[str, HeldCluster] = {}  # by id
        self._launching = ""  # the name of a cluster that RunJobFlow may have launched, and whose id is not known
        self.held: HeldCluster | None = None
        self.owed: list[HeldCluster] = []

    @property
    def in_use(self) -> bool:
        """Whether there is a cluster, or may be one that was launched without a response."""
        return self.held is not None or bool(self._launching)

    def of(self, key: str, cluster_id: str) -> HeldCluster:
        """Return the object for the cluster with the lease `key`."""
        return self._known.setdefault(cluster_id, HeldCluster(cluster_id, key))

    def find(self, key: str, cluster_id: str) -> HeldCluster:
        """Return the object for a cluster on which a step was found, and hold it if none is held."""
        found = self.of(key, cluster_id)
        if self.held is None:
            self._hold(found)
            self._run_log.acquired(found.id, self._name_of(key), launched=False)
        return found

    def acquire(self, *, replace_it: bool = False) -> tuple[HeldCluster, bool]:
        """Hold a cluster, and return it and whether this call launched it.

        replace_it: the held one takes no more steps.
        """
        if self.held is not None and not replace_it:
            return self.held, False
        key = self.pool.choose()
        name = self._name_of(key)
        request = self._spec.request(name, f"{self._run_log.folder}/", self._tags)

        def launch(aws: Aws) -> str:
            lost: list[None] = []
            self._launching = name
            try:
                launched = Clusters(aws).launch(request, on_lost=lambda: lost.append(None))
            except EmrPipelinesError:
                if not lost:  # a refused launch leaves no cluster to look for
                    self._launching = ""
                raise
            held = self.of(key, launched)
            held.launched = True
            self._hold(held)  # before anything can raise
            return launched

        what = "Waiting for the cluster to be launched"
        with self._run_log.report(what, at_most_seconds=LAUNCHED_WITHIN_SECONDS) as work:
            leased = self._leases.acquire(key, name, launch, work.heartbeat, partial(self._owe, key))
        held = self.of(key, leased.cluster_id)
        self._hold(held)
        self._run_log.acquired(held.id, name, launched=leased.launched)
        return held, leased.launched

    def keys(self, prefix: str) -> list[str]:
        """List the lease keys with a prefix, such as those of a run's clusters."""
        return self._leases.keys(prefix)

    def adopt(self, key: str) -> bool:
        """Hold the cluster that another process left under a key, and return whether it must still be ended.

        A cluster that has ended by itself is owed, unless another process bills it.
        """
        cluster_id = self._leases.cluster_of(key)
        if cluster_id is None:
            return False
        if self._leases.takes_steps(cluster_id):
            self._hold(self.of(key, cluster_id))
            return True
        if self._leases.release(key, cluster_id):
            self._owe(key, cluster_id)
        return False

    def end(self, held: HeldCluster | None = None) -> Cluster | None:
        """Terminate a cluster, by default the held one, confirm its end, and free its lease; None without a cluster.

        It also ends a cluster that another process uses under the same key. One that this backend may have launched,
        although it got no response, is looked for.
        """
        held = held or self.held or self._find_launched()
        if held is None:
            return None
        held.told_to_end(self._aws.now())
        self._clusters.terminate(held.id)
        cluster = self._clusters.confirm_ended(held.id, report=self._run_log.report)
        mine = True
        with suppress(AwsError):  # a process that finds the lease looks at its cluster; the bill must not get lost
            mine = self._leases.release(held.key, held.id)
        if mine:
            self._owe(held.key, held.id)
        self._drop(held.id)
        self._run_log.ended(cluster)
        return cluster

    def end_or_warn(self, held: HeldCluster | None = None) -> None:
        """As `end`, but log errors: the result of the steps stands, and an earlier error must not be hidden."""
        try:
            self.end(held)
        except Exception as error:  # noqa: BLE001 (see above)
            cluster = held or self.held
            page = self._run_log.page_of(cluster.id if cluster else "")
            self._run_log.warn(f"The cluster may still be running: {error}. Check {page}")

    def is_busy(self, cluster_id: str, besides: str = "") -> bool:
        """Whether a step other than this one is pending or running on a cluster.

        Also True if EMR does not answer, because the cluster might then be in use.
        """
        try:
            unfinished = self._steps.each(cluster_id, NOT_CANCELLED, CALL_PATIENCE_SECONDS)
            return any(step.id != besides for step in unfinished)
        except AwsError:
            return True

    def bill(self, held: HeldCluster, prices: Mapping[str, float]) -> Bill:
        """Return what an owed cluster cost. Waits for its end, if it is still ending."""
        self._clusters.confirm_ended(held.id, report=self._run_log.report)
        return bill(self._aws, held.id, prices, look_up=not prices, observed=held.observed)

    def what_stays(self) -> str:
        """Say what happens to the held cluster when AWS refuses all calls; empty without a cluster."""
        if self.held is None:
            return ""
        idle, page = spell(self._spec.idle_timeout_seconds), self._run_log.page_of(self.held.id)
        return f"Cluster {self.held.id} runs on until it has been idle for {idle}; a retry finds its steps. {page}"

    def _hold(self, held: HeldCluster) -> None:
        self.held, self._launching = held, ""

    def _find_launched(self) -> HeldCluster | None:
        """Hold the cluster of a RunJobFlow whose response did not arrive; None when there is none."""
        name = self._launching
        found = self._clusters.look_for(name, HURRY_SECONDS) if name else None
        self._launching = ""
        if found is None:
            return None
        self._hold(self.of(name.rpartition("/")[2], found))
        return self.held

    def _name_of(self, key: str) -> str:
        return str(ClusterName(self._deployment, self._scope.kind, key))

    def _owe(self, key: str, cluster_id: str) -> None:
        """Note a cluster that this backend alone has to bill."""
        self.owed.append(self.of(key, cluster_id))
        self._drop(cluster_id)

    def _drop(self, cluster_id: str) -> None:
        if self.held is not None and self.held.id == cluster_id:
            self.held = None
