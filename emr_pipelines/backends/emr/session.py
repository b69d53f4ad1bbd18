"""A session: the steps that run on the cluster of a scope, why they failed, and the end of that cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from emr_pipelines.aws import links
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.explanation import CALL_PATIENCE_SECONDS, Explainer
from emr_pipelines.backends.emr.held import HURRY_SECONDS, HeldCluster, HeldClusters
from emr_pipelines.backends.emr.leases import LAUNCHED_WITHIN_SECONDS, Leases
from emr_pipelines.backends.emr.logs import Logs
from emr_pipelines.backends.emr.pool import Pool
from emr_pipelines.backends.emr.room import Room
from emr_pipelines.backends.emr.scope import Scope, name_of
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import ENDED, STEP_WORTH_ATTACHING, TAKES_STEPS, UP, ClusterState, StepState
from emr_pipelines.backends.emr.steps import AddedStep, Step, Steps, step_of
from emr_pipelines.backends.emr.watch import Deadlines, End, Watch, stop
from emr_pipelines.clock import Wakeup
from emr_pipelines.costs.bill import Bill, bill
from emr_pipelines.diagnosis.evidence import ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AwsError, ClusterFailed, QuotaFull, RequestRefused
from emr_pipelines.report import Reporter, no_report, spell

INTERRUPT_SECONDS = 20.0  # how long a step may take to stop before it is killed
NOT_CANCELLED = frozenset({StepState.PENDING, StepState.RUNNING})
LAUNCHES_PER_STEP = 3  # a cluster may end between being found and being given a step


class Session:
    """A cluster for a scope. Nothing is launched before the first step.

    base: the folder on S3 for leases and logs. `say` logs what happens, each event once; `report` shows what the
    session waits for. held, owed: as HeldClusters has them.
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
        self._leases = Leases(aws, Objects(aws), join(base, "clusters"))
        self._clusters, self._steps = Clusters(aws), Steps(aws)
        self._pool = Pool(self._leases, self._steps, aws.clock, scope.keys(), spec.step_concurrency)
        self._told: set[str] = set()
        self._clusters_of_steps: dict[str, HeldCluster] = {}  # by step id; in a pool they may differ from `held`
        self.on_cluster_id: Callable[[str], None] = lambda _: None
        self._held = HeldClusters(aws, self._leases)

    def find(self, prefix: str, states: frozenset[StepState] = STEP_WORTH_ATTACHING) -> AddedStep | None:
        """Find the step of an earlier attempt by the prefix of its name; None when none is in one of these states.

        Acquires a cluster if the session has none. In a pool, looks on every cluster, and acquires none without the
        step: which cluster has room is decided when a step is added.
        """
        if len(self._scope.keys()) > 1:
            found = self._pool.step(prefix, states, (self.held.key, self.held.id) if self.held else None)
            if found is None:
                return None
            held, step = self._held.of(*found[0]), found[1]
            if self.held is None:
                self._held.hold(held)
                self._tell_of(held, "Found")
        else:
            held, launched = self._acquire()
            match = None if launched else step_of(self._steps.each(held.id, states), prefix)
            if match is None:
                return None
            step = match
        self._clusters_of_steps[step.id] = held
        return step

    def add(self, step: Step) -> str:
        """Add a step and return its id.

        Replaces a cluster that has ended meanwhile, and waits for room on a full one: EMR allows 256 running or pending
        steps. Raises TimedOut when there is no room within the queueing deadline.
        """
        ended, full, elsewhere = 0, set[str](), False
        with closing(Room(self._aws, self._deadlines, self.report, self.say)) as room:
            while ended < LAUNCHES_PER_STEP:
                held, _launched = self._acquire(replace_it=elsewhere)
                try:
                    added = self._steps.add(held.id, step, self._spec.runtime_role or "")
                except QuotaFull as refused:
                    elsewhere = len(self._scope.keys()) > 1  # another cluster may have room, or be launched
                    if not elsewhere or held.id in full:
                        room.wait(held.id, refused)
                    full.add(held.id)
                except RequestRefused:
                    cluster = self._clusters.describe(held.id)
                    if cluster.state in TAKES_STEPS:
                        raise
                    self.say(f"C{str(cluster)[1:]}, and takes no more steps; looking for another.")
                    elsewhere = True
                    ended += 1
                else:
                    self._clusters_of_steps[added] = held
                    return added
        raise ClusterFailed(
            f"{LAUNCHES_PER_STEP} clusters ended before they took the step {step.name!r}.", retryable=True
        )

    def watch(self, step_id: str, wakeup: Wakeup, finished: Callable[[], bool], reports_progress: bool = False) -> End:
        """Wait for the end of a step. speaks: whether the step reports its own progress."""
        held = self._cluster_of(step_id)
        watch = Watch(
            self._clusters,
            self._steps,
            self._aws.clock,
            self._deadlines,
            wakeup,
            finished,
            on_cluster=partial(self._on_cluster, held),
            on_step=self._on_step,
            report=self.report,
            reports_progress=reports_progress,
        )
        return watch.wait(held.id, step_id)

    def cancel(self, step_id: str) -> AddedStep:
        """Interrupt a step, kill it if it does not stop, and wait for its end."""
        cluster_id = self._cluster_of(step_id).id
        return stop(self._steps, self._aws.clock, cluster_id, step_id, INTERRUPT_SECONDS, self.report)

    def interrupt(self, step_id: str) -> None:
        """Interrupt a step without waiting: this process may be killed soon, and the cluster will end too."""
        self._steps.cancel(self._cluster_of(step_id).id, step_id, patience_seconds=HURRY_SECONDS)

    def explain(
        self,
        end: End,
        exception: RemoteException | None,
        log_wait_seconds: float,
        package: str = "",
        terminate: bool = False,
    ) -> ProbableCause:
        """Find the probable cause of a step's failure. Waits for logs as explanation.py describes.

        package: the program's own. terminate: no other step will need the cluster. Then it is told to end, if nothing
        else runs on it, because it pushes its last logs when it ends and not only every five minutes.
        """
        step_id, held = end.step.id, self._cluster_of(end.step.id)

        def end_cluster() -> bool:
            if self.busy(besides=step_id):
                return False
            try:
                Clusters(self._aws, CALL_PATIENCE_SECONDS).terminate(held.id)
            except AwsError:  # the runner tries again, and logs an error
                return False
            held.told_to_end(self._aws.now())
            return True

        explainer = Explainer(
            self._aws, self._deadlines, bool(self._spec.bootstrap_actions), end_cluster if terminate else None
        )
        cluster = explainer.cluster(end, held.id, exception)
        with self.report(f"Waiting for the logs of step {step_id}", at_most_seconds=log_wait_seconds) as work:
            objects = Objects(self._aws, CALL_PATIENCE_SECONDS)
            logs = Logs(objects, self._aws.clock, cluster.log_uri or self._logs_folder, held.id, work.still)
            cause = explainer.explain(end, cluster, exception, logs, log_wait_seconds, package)
        quota = (cause.quota.service, cause.quota.code) if cause.quota else ("", "")
        return replace(cause, pages=links.pages_of_failure(self._aws.region, held.id, cause.log_uri, *quota))

    def end(self, step_id: str = "") -> Cluster | None:
        """Terminate the held cluster, or that of a step, confirm its end, and forget it; None when there is none.

        It also ends a cluster that another process uses under the same key. One that this session may have launched,
        although it got no response, is looked for.
        """
        held = self._clusters_of_steps.get(step_id) or self.held or self._held.find_launched()
        if held is None:
            return None
        cluster = self._held.end(held, self.report)
        if cluster.state in ENDED:
            self._tell(f"end of {held.id}", f"Cluster {held.id} is {cluster.state}.")
        else:
            self.say(
                f"Cluster {held.id} was told to end and is still {cluster.state}. Check that it ends: "
                f"{links.cluster_page(self._aws.region, held.id)}"
            )
        return cluster

    def bill(self, held: HeldCluster, prices: Mapping[str, float]) -> Bill:
        """What an owed cluster cost. Waits for its end, if it is still ending."""
        self._clusters.confirm_ended(held.id, report=self.report)
        return bill(self._aws, held.id, prices, look_up=not prices, observed=held.observed)

    @property
    def held(self) -> HeldCluster | None:
        return self._held.held

    @property
    def owed(self) -> list[HeldCluster]:
        return self._held.owed

    @property
    def in_use(self) -> bool:
        return self._held.in_use

    @property
    def cluster_id(self) -> str | None:
        return self.held.id if self.held else None

    def page_of(self, step_id: str = "") -> str:
        """Where a person looks at the held cluster, or at that of a step."""
        held = self._clusters_of_steps.get(step_id) or self.held
        return links.cluster_page(self._aws.region, held.id if held else "")

    def logs_of(self, step_id: str) -> str:
        return join(self._logs_folder, self._cluster_of(step_id).id, "steps", step_id)

    def _cluster_of(self, step_id: str = "") -> HeldCluster:
        """The cluster that a step was found on or added to; the held one for a step that is not known."""
        held = self._clusters_of_steps.get(step_id) or self.held
        if held is None:
            raise ValueError("There is no cluster yet.")
        return held

    def what_stays(self) -> str:
        """What happens to the cluster and its steps when AWS accepts no more calls."""
        idle = spell(self._spec.idle_timeout_seconds)
        cluster_id = self._cluster_of().id
        return (
            f"Cluster {cluster_id} runs on until it has been idle for {idle}; a retry finds its steps. {self.page_of()}"
        )

    def busy(self, besides: str = "") -> bool:
        """Whether another step than this one runs, or waits, on the same cluster and nobody has cancelled it.

        True also when EMR cannot be asked: then nobody knows that the cluster may be ended.
        """
        cluster_id = self._cluster_of(besides).id
        try:
            unfinished = self._steps.each(cluster_id, NOT_CANCELLED, CALL_PATIENCE_SECONDS)
            return any(step.id != besides for step in unfinished)
        except AwsError:
            return True

    def lease_keys(self, prefix: str) -> list[str]:
        """The keys of all leases that begin with a prefix, such as those of a run's clusters."""
        return self._leases.keys(prefix)

    def adopt(self, key: str) -> bool:
        """Take over the cluster that another process left under a key; see HeldClusters."""
        return self._held.adopt(key)

    def _acquire(self, replace_it: bool = False) -> tuple[HeldCluster, bool]:
        """The cluster, and whether this call launched it. replace_it: the held one takes no more steps."""
        if self.held is not None and not replace_it:
            return self.held, False
        key = self._pool.choose()
        request = self._spec.request(self._name_of(key), self._logs_folder + "/", self._tags)
        what = "Waiting for the cluster to be launched"
        with self.report(what, at_most_seconds=LAUNCHED_WITHIN_SECONDS) as work:
            held, launched = self._held.acquire(key, request, work.still)
        self._tell_of(held, "Launched" if launched else "Found")
        return held, launched

    def _name_of(self, key: str) -> str:
        return name_of(self._deployment, self._scope.kind, key)

    def _tell_of(self, held: HeldCluster, verb: str) -> None:
        """Log a cluster's name and where to look at it."""
        self.on_cluster_id(held.id)
        page = links.cluster_page(self._aws.region, held.id)
        logs = links.objects_page(self._aws.region, join(self._logs_folder, held.id))
        self._tell(
            f"got {held.id}",
            f"{verb} cluster {held.id} ({self._name_of(held.key)}).\n"
            f"{links.cluster_page_has()}: {page}\nLogs, as EMR pushes them: {logs}",
        )

    def _on_cluster(self, held: HeldCluster, cluster: Cluster) -> None:
        if cluster.state is ClusterState.BOOTSTRAPPING:
            held.is_bootstrapping(self._aws.now())
        if cluster.state in UP and cluster.created and held.launched:  # its launcher alone logs this
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
