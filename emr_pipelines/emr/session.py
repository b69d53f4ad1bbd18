"""A session: one cluster, from the moment somebody needs it until nobody does, and the steps that run on it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timezone

from emr_pipelines.emr import links
from emr_pipelines.emr.client import Aws
from emr_pipelines.emr.cluster import Cluster, Clusters
from emr_pipelines.emr.cost import Bill, bill
from emr_pipelines.emr.evidence import ProbableCause
from emr_pipelines.emr.explanation import Explainer
from emr_pipelines.emr.held import HeldCluster
from emr_pipelines.emr.leases import LAUNCHED_WITHIN_SECONDS, Leases
from emr_pipelines.emr.logs import Logs
from emr_pipelines.emr.objects import Objects, join
from emr_pipelines.emr.pool import Pool
from emr_pipelines.emr.raised import RemoteException
from emr_pipelines.emr.report import Reporter, no_report, spell
from emr_pipelines.emr.room import Room
from emr_pipelines.emr.scope import Scope, name_of
from emr_pipelines.emr.spec import ClusterSpec
from emr_pipelines.emr.states import ENDED, STEP_WORTH_ATTACHING, TAKES_STEPS, UP, ClusterState, StepState
from emr_pipelines.emr.steps import AddedStep, Step, Steps, step_of
from emr_pipelines.emr.watch import Deadlines, End, Hint, Watch, stop
from emr_pipelines.errors import AwsError, ClusterFailed, QuotaFull, RequestRefused

HURRY_SECONDS = 5.0  # of patience with AWS, for who is about to be killed
INTERRUPT_SECONDS = 20.0  # how long a step that is asked to stop has for it
LAUNCHES_PER_STEP = 3  # a cluster may end between being found and being given a step


class Session:
    """A cluster for a scope. Nothing is launched before the first step.

    base: the folder on S3 for leases and logs. `say` is told what happens, each thing once, and `report` what is waited
    for. held: the cluster, while there is one. owed: the clusters that the caller has to bill, each once; of all the
    processes that used a cluster, the one that takes its lease away from it owes the bill.
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
        self._launching = ""  # the name of a cluster whose id is not known yet
        self.held: HeldCluster | None = None
        self.owed: list[HeldCluster] = []

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
        ended, full, elsewhere = 0, set[str](), False
        with closing(Room(self._aws, self._deadlines, self.report, self.say)) as room:
            while ended < LAUNCHES_PER_STEP:
                cluster_id, _launched = self._acquire(replace_it=elsewhere)
                try:
                    added = self._steps.add(cluster_id, step, self._spec.runtime_role or "")
                except QuotaFull as refused:
                    elsewhere = len(self._scope.keys()) > 1  # one of which may have room, or be launched
                    if not elsewhere or cluster_id in full:
                        room.wait(cluster_id, refused)
                    full.add(cluster_id)
                except RequestRefused:
                    cluster = self._clusters.describe(cluster_id)
                    if cluster.state in TAKES_STEPS:
                        raise
                    self.say(f"C{str(cluster)[1:]}, and takes no more steps; looking for another.")
                    elsewhere = True
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
            if self.held and self.held.id == cluster_id:
                self.held.told_to_end(self._aws.now())
            with suppress(AwsError):  # the runner does so again, and says when it cannot
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
        quota = cause.quota
        if quota and quota.service and (page := links.quota_page(self._aws.region, quota.service, quota.code)):
            pages["Service Quotas"] = page
        return replace(cause, pages=pages)

    def end(self) -> Cluster | None:
        """Terminate the cluster, see that it ended, and forget it; None when there is none. Of another session's too,
        under the same key."""
        lost = self._launching if self.held is None else ""  # the answer to RunJobFlow was not waited for
        if lost and (found := self._clusters.look_for(lost, HURRY_SECONDS)):
            self._hold(found, launched=True)
        if self.held is None:
            return None
        page, held = self.page, self.held
        held.told_to_end(self._aws.now())
        self._clusters.terminate(held.id)
        cluster = self._clusters.confirm_ended(held.id, report=self.report)
        self.held = None
        if cluster.state in ENDED:
            self._tell(f"end of {held.id}", f"Cluster {held.id} is {cluster.state}.")
        else:
            self.say(
                f"Cluster {held.id} was told to end and is {cluster.state} still: whether it ends is not sure; "
                f"look at {page}"
            )
        mine = True
        with suppress(AwsError):  # who finds the lease looks at its cluster; and this one's end, and cost, are known
            mine = self._leases.release(held.key, held.id)
        if mine:
            self.owed.append(held)
        return cluster

    def bill(self, held: HeldCluster, prices: Mapping[str, float]) -> Bill:
        """What a cluster cost that this session owes the bill of. One that ended by itself may be ending still."""
        self._clusters.confirm_ended(held.id, report=self.report)
        return bill(self._aws, held.id, prices, look_up=not prices, observed=held.observed)

    @property
    def cluster_id(self) -> str | None:
        return self.held.id if self.held else None

    @property
    def page(self) -> str:
        return links.cluster_page(self._aws.region, self.cluster_id or "")

    def logs_of(self, step_id: str) -> str:
        return join(self._logs_folder, self._cluster_of(step_id), "steps", step_id)

    def _known(self) -> HeldCluster:
        if self.held is None:
            raise ValueError("There is no cluster yet.")
        return self.held

    def _known_cluster(self) -> str:
        return self._known().id

    @property
    def in_use(self) -> bool:
        """Whether there is a cluster, or may be."""
        return self.held is not None or bool(self._launching)

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
        """Take over a cluster that another process left, the lease's unless told; whether it still has to be ended. One
        that has ended by itself is owed, if the lease is still about it."""
        leased = self._leases.cluster_of(self._key)
        cluster_id = cluster_id or leased
        if cluster_id is None:
            return False
        if self._leases.takes_steps(cluster_id):
            self._hold(cluster_id, launched=False)
            return True
        if cluster_id == leased and self._leases.release(self._key, cluster_id):
            self._owe(cluster_id)
        return False

    def _hold(self, cluster_id: str, launched: bool) -> None:
        self.held = HeldCluster(cluster_id, self._key, launched)
        self._launching = ""

    def _owe(self, cluster_id: str) -> None:
        """Note a cluster that this session alone has to bill."""
        if self.held is not None and self.held.id == cluster_id:
            self.owed.append(self.held)
            self.held = None
        else:
            self.owed.append(HeldCluster(cluster_id, self._key))

    def _acquire(self, key: str = "", replace_it: bool = False) -> tuple[str, bool]:
        """The cluster's id, and whether it was launched just now. In a pool, the one behind this key, if it is told.

        replace_it: the held cluster takes no more steps, so another is needed.
        """
        if self.held is not None and not replace_it:
            return self.held.id, False
        self._key = key or self._pool.choose()
        name = name_of(self._deployment, self._scope.kind, self._key)
        request = self._spec.request(name, self._logs_folder + "/", self._tags)

        def launch() -> str:
            self._launching = name
            # one attempt: the lease is renewed between them; and its id is known before anything else can go wrong
            launched = self._clusters.launch(request, patience_seconds=0)
            self._hold(launched, launched=True)
            return launched

        what = "Waiting for the cluster to be launched"
        with self.report(what, at_most_seconds=LAUNCHED_WITHIN_SECONDS) as work:
            leased = self._leases.acquire(self._key, name, launch, work.still, self._owe)
        if self.cluster_id != leased.cluster_id:
            self._hold(leased.cluster_id, launched=False)
        self.on_cluster_id(leased.cluster_id)
        verb = "Launched" if leased.launched else "Found"
        logs = links.objects_page(self._aws.region, join(self._logs_folder, leased.cluster_id))
        self._tell(
            f"got {leased.cluster_id}",
            f"{verb} cluster {leased.cluster_id} ({name}).\n"
            f"{links.cluster_page_has()}: {self.page}\nLogs, as EMR pushes them: {logs}",
        )
        return leased.cluster_id, leased.launched

    def _on_cluster(self, cluster: Cluster) -> None:
        held = self.held if self.cluster_id == cluster.id else None
        if held and cluster.state is ClusterState.BOOTSTRAPPING:
            held.is_bootstrapping(self._aws.now())
        if held and cluster.state in UP and cluster.created and held.launched:  # who found it need not say so again
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
