"""A session: one cluster, from the moment somebody needs it until nobody does, and the steps that run on it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Literal

from emr_pipelines.emr import links
from emr_pipelines.emr.client import Aws
from emr_pipelines.emr.cluster import Cluster, Clusters
from emr_pipelines.emr.cost import NOTHING_OBSERVED, Bill, Observed, bill
from emr_pipelines.emr.evidence import ProbableCause
from emr_pipelines.emr.explanation import Explainer
from emr_pipelines.emr.leases import LAUNCHED_WITHIN_SECONDS, Leases
from emr_pipelines.emr.logs import Logs
from emr_pipelines.emr.objects import Objects, join
from emr_pipelines.emr.pool import Pool
from emr_pipelines.emr.raised import RemoteException
from emr_pipelines.emr.report import Reporter, no_report, spell
from emr_pipelines.emr.room import Room
from emr_pipelines.emr.spec import ClusterSpec
from emr_pipelines.emr.states import ENDED, STEP_WORTH_ATTACHING, TAKES_STEPS, UP, ClusterState, StepState
from emr_pipelines.emr.steps import AddedStep, Step, Steps, step_of
from emr_pipelines.emr.watch import Deadlines, End, Hint, Watch, stop
from emr_pipelines.errors import AwsError, ClusterFailed, QuotaFull, RequestRefused

PRODUCT = "emr-pipelines"  # with what the names of all our clusters begin
HURRY_SECONDS = 5.0  # of patience with AWS, for who is about to be killed
INTERRUPT_SECONDS = 20.0  # how long a step that is asked to stop has for it
LAUNCHES_PER_STEP = 3  # a cluster may end between being found and being given a step

ScopeKind = Literal["asset", "run", "pool"]


def name_of(deployment: str, kind: ScopeKind, key: str) -> str:
    """The name of a cluster, by which it is found again: neither RunJobFlow nor ListClusters knows another key."""
    return f"{PRODUCT}/{deployment}/{kind}/{key}"


@dataclass(frozen=True)
class Scope:
    """Who shares a cluster: the steps of one asset, or run, or whoever comes (`pool`, up to `most` clusters)."""

    kind: ScopeKind
    key: str
    most: int = 1

    def keys(self) -> list[str]:
        return [f"{self.key}-{number}" for number in range(self.most)] if self.kind == "pool" else [self.key]


class Session:
    """A cluster for a scope. Nothing is launched before the first step.

    base: the folder on S3 for leases and logs. `say` is told what happens, each thing once, and `report` what is waited
    for.
    """

    def __init__(
        self,
        aws: Aws,
        spec: ClusterSpec,
        scope: Scope,
        base: str,
        deployment: str,
        tags: Mapping[str, str],
        deadlines: Deadlines,
        say: Callable[[str], None] = print,
        report: Reporter = no_report,
    ) -> None:
        self._aws, self._spec, self._scope, self._deployment = aws, spec, scope, deployment
        self._tags, self._deadlines, self.say, self.report = dict(tags), deadlines, say, report
        self._logs_folder = join(base, "logs")
        self._objects = Objects(aws)
        self._leases = Leases(aws, self._objects, join(base, "clusters"))
        self._clusters, self._steps = Clusters(aws), Steps(aws)
        self._pool = Pool(self._leases, self._steps, aws.clock, scope.keys(), spec.step_concurrency)
        self._told: set[str] = set()
        self._places: dict[str, str] = {}  # the clusters of steps
        self.on_cluster_id: Callable[[str], None] = lambda _: None
        self._key = scope.key
        self._launched = False
        self._observed: Observed = NOTHING_OBSERVED
        self._launching = ""  # the name of a cluster whose id is not known yet
        self.cluster_id: str | None = None

    def _cluster_of(self, step_id: str) -> str:
        """The cluster that a step of this session was found on or added to: a later one may go to another."""
        return self._places.get(step_id) or self._known_cluster()

    def find(self, prefix: str, states: frozenset[StepState] = STEP_WORTH_ATTACHING) -> AddedStep | None:
        """A step that was added before, is not in vain, and whose name begins so. Gets a cluster if there is none; one
        of several only when it has the step, for which of them has room is seen when a step is added."""
        if self.cluster_id is None and len(self._scope.keys()) > 1:
            found = self._pool.step(prefix, states)
            if found is None:
                return None
            self._places[found[1].id] = self._acquire(found[0])[0]
            return found[1]
        cluster_id, launched = self._acquire()
        step = None if launched else step_of(self._steps.each(cluster_id, states), prefix)
        if step:
            self._places[step.id] = cluster_id
        return step

    def add(self, step: Step) -> str:
        """Add a step, on another cluster if this one has ended meanwhile, and when there is room for it: EMR takes 256
        that run or wait. Returns its id. Raises TimedOut when there is no room for as long as a step may queue."""
        ended, full = 0, set[str]()
        with closing(Room(self._aws, self._deadlines, self.report, self.say)) as room:
            while ended < LAUNCHES_PER_STEP:
                cluster_id, _launched = self._acquire()
                try:
                    added = self._steps.add(cluster_id, step, self._spec.runtime_role or "")
                except QuotaFull as refused:
                    others = len(self._scope.keys()) > 1  # one of which may have room, or be launched
                    if not others or cluster_id in full:
                        room.wait(cluster_id, refused)
                    full.add(cluster_id)
                    self.cluster_id = None if others else cluster_id
                except RequestRefused:
                    cluster = self._clusters.describe(cluster_id)
                    if cluster.state in TAKES_STEPS:
                        raise
                    self.say(f"C{str(cluster)[1:]}, and takes no more steps; looking for another.")
                    self.cluster_id = None
                    ended += 1
                else:
                    self._places[added] = cluster_id
                    return added
        raise ClusterFailed(
            f"{LAUNCHES_PER_STEP} clusters ended before they took the step {step.name!r}.", retryable=True
        )

    def watch(self, step_id: str, hint: Hint, finished: Callable[[], bool], speaks: bool = False) -> End:
        """Wait for the end of a step. speaks: whether it tells by itself how far it is."""
        watch = Watch(
            self._clusters,
            self._steps,
            self._aws.clock,
            self._deadlines,
            hint,
            finished,
            on_cluster=self._on_cluster,
            on_step=self._on_step,
            report=self.report,
            speaks=speaks,
        )
        return watch.wait(self._cluster_of(step_id), step_id)

    def cancel(self, step_id: str) -> AddedStep:
        """End a step, gently and then not, and wait for that."""
        return stop(self._steps, self._aws.clock, self._cluster_of(step_id), step_id, INTERRUPT_SECONDS, self.report)

    def interrupt(self, step_id: str) -> None:
        """Ask a step to end; for who has no time to wait, because the cluster will end too."""
        self._steps.cancel(self._cluster_of(step_id), step_id, patience_seconds=HURRY_SECONDS)

    def explain(
        self,
        end: End,
        exception: RemoteException | None,
        log_wait_seconds: float,
        package: str = "",
        terminate: bool = False,
    ) -> ProbableCause:
        """Why a step failed. Waits for logs as long as explanation.py has it, and no longer than told.

        package: the program's own. terminate: nobody needs the cluster any more; it pushes its last logs when it ends,
        not every five minutes.
        """
        cluster_id = self._cluster_of(end.step.id)
        cluster = end.cluster if end.cluster and end.cluster.state in ENDED else self._clusters.describe(cluster_id)

        def end_cluster() -> None:
            with suppress(AwsError):  # the runner does so again, and says when it cannot
                self._ends_now()
                self._clusters.terminate(cluster_id)

        explainer = Explainer(
            self._aws, self._deadlines, bool(self._spec.bootstrap_actions), end_cluster if terminate else None
        )
        with self.report(f"Waiting for the logs of step {end.step.id}", at_most_seconds=log_wait_seconds) as work:
            log_uri = cluster.log_uri or self._logs_folder
            logs = Logs(self._objects, self._aws.clock, log_uri, cluster_id, work.still)
            cause = explainer.explain(end, cluster, exception, logs, log_wait_seconds, package)
        pages = {links.cluster_page_has(): links.cluster_page(self._aws.region, cluster_id)}
        folder = posixpath.dirname(cause.log_uri)
        if folder.startswith("s3") and (page := links.objects_page(self._aws.region, folder)) != folder:
            pages["Logs in the S3 console"] = page
        if cause.quota and cause.quota.service:
            pages["Service Quotas"] = links.quota_page(self._aws.region, cause.quota.service, cause.quota.code)
        return replace(cause, pages=pages)

    def end(self) -> Cluster | None:
        """Terminate the cluster, see that it ended, and forget it; None when there is none. Of another session's too,
        under the same key."""
        if self.cluster_id is None and self._launching:  # the answer to RunJobFlow was not waited for
            self.cluster_id = self._clusters.look_for(self._launching, HURRY_SECONDS)
        if self.cluster_id is None:
            return None
        page, cluster_id = self.page, self.cluster_id
        self._ends_now()
        self._clusters.terminate(cluster_id)
        cluster = self._clusters.confirm_ended(cluster_id, report=self.report)
        self.cluster_id = None
        if cluster.state in ENDED:
            self._tell(f"end of {cluster_id}", f"Cluster {cluster_id} is {cluster.state}.")
        else:
            self.say(
                f"Cluster {cluster_id} was told to end and is {cluster.state} still: whether it ends is not sure; "
                f"look at {page}"
            )
        with suppress(AwsError):  # who finds the lease looks at its cluster; and this one's end, and cost, are known
            self._leases.release(self._key, cluster_id)
        return cluster

    def bill(self, cluster_id: str, prices: Mapping[str, float]) -> tuple[Bill, dict[str, list[str]]]:
        """What a cluster cost, and the ids of its steps by the first word of their names, which says whose they are."""
        found = bill(self._aws, cluster_id, prices, look_up=not prices, observed=self._observed)
        by_label: dict[str, list[str]] = {}
        for step_id, name in found.step_names.items():
            by_label.setdefault(name.partition(" ")[0], []).append(step_id)
        return found, by_label

    @property
    def page(self) -> str:
        return links.cluster_page(self._aws.region, self.cluster_id or "")

    def logs_of(self, step_id: str) -> str:
        return join(self._logs_folder, self._cluster_of(step_id), "steps", step_id)

    def _known_cluster(self) -> str:
        if self.cluster_id is None:
            raise ValueError("There is no cluster yet.")
        return self.cluster_id

    @property
    def in_use(self) -> bool:
        """Whether there is a cluster, or may be."""
        return self.cluster_id is not None or bool(self._launching)

    def what_stays(self) -> str:
        """What becomes of the cluster, and of what runs on it, when AWS accepts no more calls."""
        idle = spell(self._spec.idle_timeout_seconds)
        cluster_id = self._known_cluster()
        return f"Cluster {cluster_id} runs on until it has been idle for {idle}; a retry finds its steps. {self.page}"

    def busy(self) -> bool:
        """Whether a step runs, or waits, that nobody has cancelled."""
        steps = self._steps.all(self._known_cluster())
        return any(step.state in (StepState.PENDING, StepState.RUNNING) for step in steps)

    def adopt(self, cluster_id: str | None = None) -> bool:
        """Take over a cluster that another process left, the lease's unless told; whether it still has to be ended."""
        cluster_id = cluster_id or self._leases.cluster_of(self._key)
        if cluster_id is None or not self._leases.takes_steps(cluster_id):
            return False
        self.cluster_id = cluster_id
        return True

    def _acquire(self, key: str = "") -> tuple[str, bool]:
        """The cluster's id, and whether it was launched just now. In a pool, the one behind this key, if it is told."""
        if self.cluster_id is not None:
            return self.cluster_id, False
        self._key = key or self._pool.choose()
        name = name_of(self._deployment, self._scope.kind, self._key)
        request = self._spec.request(name, self._logs_folder + "/", self._tags)

        def launch() -> str:
            self._launching = name
            # one attempt: the lease is renewed between them; and its id is known before anything else can go wrong
            self.cluster_id = self._clusters.launch(request, patience_seconds=0)
            self._launching = ""
            self._launched = True
            return self.cluster_id

        what = "Waiting for the cluster to be launched"
        with self.report(what, at_most_seconds=LAUNCHED_WITHIN_SECONDS) as work:
            leased = self._leases.acquire(self._key, name, launch, work.still)
        self.cluster_id = leased.cluster_id
        self.on_cluster_id(leased.cluster_id)
        verb = "Launched" if leased.launched else "Found"
        logs = links.objects_page(self._aws.region, join(self._logs_folder, leased.cluster_id))
        self._tell(
            f"got {leased.cluster_id}",
            f"{verb} cluster {leased.cluster_id} ({name}).\n"
            f"{links.cluster_page_has()}: {self.page}\nLogs, as EMR pushes them: {logs}",
        )
        return leased.cluster_id, leased.launched

    def _ends_now(self) -> None:
        self._observed = replace(self._observed, told_to_end=self._observed.told_to_end or self._aws.now())

    def _on_cluster(self, cluster: Cluster) -> None:
        if cluster.state is ClusterState.BOOTSTRAPPING:
            self._observed = replace(self._observed, bootstrapping=self._aws.now())
        if cluster.state in UP and cluster.created and self._launched:  # who found it need not say so again
            ready = cluster.ready or datetime.fromtimestamp(self._aws.clock.now(), timezone.utc)
            seconds = (ready - cluster.created).total_seconds()
            self._tell(f"up {cluster.id}", f"Cluster {cluster.id} was provisioned after {seconds:.0f} s.")
        elif cluster.state in ENDED:
            self._tell(f"end of {cluster.id}", f"C{str(cluster)[1:]}.")

    def _on_step(self, step: AddedStep) -> None:
        if step.state is StepState.RUNNING:
            self._tell(
                f"runs {step.id}", f"Step {step.id} ({step.name}) is running; its logs: {self.logs_of(step.id)}/"
            )

    def _tell(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.say(text)
