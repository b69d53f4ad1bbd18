"""EMR on EC2 as a backend: jobs are steps on the cluster of a scope, which is launched for the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from emr_pipelines.aws import links
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.backends.base import Deadlines, End, Handle, JobState, JobStatus
from emr_pipelines.backends.emr.bills import bill
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.explanation import CALL_PATIENCE_SECONDS, EndOfStep, Explainer
from emr_pipelines.backends.emr.held import HURRY_SECONDS, HeldCluster, HeldClusters
from emr_pipelines.backends.emr.leases import LAUNCHED_WITHIN_SECONDS, Leases
from emr_pipelines.backends.emr.logs import Logs
from emr_pipelines.backends.emr.names import LONGEST_ASKED_BY, ClusterName, Scope, StepName, step_name, step_prefix
from emr_pipelines.backends.emr.poller import StepPoller, stop
from emr_pipelines.backends.emr.pool import Pool
from emr_pipelines.backends.emr.room import Room
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import (
    ENDED,
    STEP_UNFINISHED,
    STEP_WORTH_ATTACHING,
    TAKES_STEPS,
    UP,
    ClusterState,
    StepState,
)
from emr_pipelines.backends.emr.steps import AddedStep, DeployMode, Step, Steps, spark_submit, step_of
from emr_pipelines.costs.bill import Bill
from emr_pipelines.diagnosis.evidence import ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AwsError, ClusterFailed, QuotaFull, RequestRefused
from emr_pipelines.job.package import Job
from emr_pipelines.report import Reporter, no_report, spell

LONGEST_PIPES = "-" * 1000  # Dagster Pipes' arguments, which hold two URIs
ONE_ATTEMPT = {"spark.yarn.maxAppAttempts": "1"}  # else YARN runs a driver that failed a second time
INTERRUPT_SECONDS = 20.0  # how long a step may take to stop before it is killed
NOT_CANCELLED = frozenset({StepState.PENDING, StepState.RUNNING})
LAUNCHES_PER_STEP = 3  # a cluster may end between being found and being given a step


class EmrBackend:
    """Runs jobs as steps on the cluster of a scope. Nothing is launched before the first step.

    base: the folder on S3 for leases and logs. log_wait_seconds: how long to wait for the logs of a failed step.
    deploy_mode, queue: where drivers run, see `spark_submit`. `say` logs what happens, each event once; `warn` logs
    what a person should look at; `report` shows what is waited for. held, owed: see HeldClusters.
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
        log_wait_seconds: float = 600,
        deploy_mode: DeployMode = "client",
        queue: str = "",
        say: Callable[[str], None] = print,
        report: Reporter = no_report,
    ) -> None:
        self._aws, self._spec, self._scope, self._deployment = aws, spec, scope, deployment
        self._tags, self._deadlines, self._log_wait_seconds = dict(tags), deadlines, log_wait_seconds
        self._deploy_mode, self._queue = deploy_mode, queue
        self.say, self.warn, self.report = say, say, report
        self._logs_folder = join(base, "logs")
        self._leases = Leases(aws, Objects(aws), join(base, "clusters"))
        self._clusters, self._steps = Clusters(aws), Steps(aws)
        self._pool = Pool(self._leases, self._steps, aws.clock, scope.keys(), spec.step_concurrency)
        self._told: set[str] = set()
        self._clusters_of_steps: dict[str, HeldCluster] = {}  # by step id; in a pool they may differ from `held`
        self._pollers: dict[str, StepPoller] = {}  # by step id
        self.on_cluster_id: Callable[[str], None] = lambda _: None
        self._held = HeldClusters(aws, self._leases)

    def check(self, job: Job) -> None:
        """Raise InvalidValue if EMR would refuse the job's step."""
        self._step_of(job, 1, LONGEST_ASKED_BY, {"--pipes": LONGEST_PIPES})

    def find(self, job: Job) -> Handle | None:
        """Find the unfinished step of an earlier attempt. Acquires a cluster as `find_step` does."""
        step = self.find_step(step_prefix(job.label, job.identity), STEP_UNFINISHED)
        return Handle(step.id, StepName.parse(step.name).attempt, str(step.state)) if step else None

    def submit(self, job: Job, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Handle:
        """Add the job's step, as `add_step` does."""
        return Handle(self.add_step(self._step_of(job, attempt, asked_by, arguments)), attempt)

    def _step_of(self, job: Job, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Step:
        in_cluster = self._deploy_mode == "cluster"
        return spark_submit(
            step_name(job.label, job.identity, attempt, asked_by),
            job.entrypoint,
            *job.arguments,
            *(word for pair in arguments.items() for word in pair),
            deploy_mode=self._deploy_mode,
            queue=self._queue,
            conf={**ONE_ATTEMPT, **job.conf} if in_cluster else job.conf,
            jars=job.jars,
            files=job.files,
            archives=job.archives,
        )

    def find_step(self, prefix: str, states: frozenset[StepState] = STEP_WORTH_ATTACHING) -> AddedStep | None:
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

    def add_step(self, step: Step) -> str:
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

    def poll(self, handle: Handle) -> JobStatus:
        return self._poller(handle.id).poll()

    def _poller(self, step_id: str) -> StepPoller:
        if step_id not in self._pollers:
            held = self._cluster_of(step_id)
            self._pollers[step_id] = StepPoller(
                self._clusters,
                self._steps,
                self._aws.clock,
                held.id,
                step_id,
                on_cluster=partial(self._on_cluster, held),
                on_step=self._on_step,
            )
        return self._pollers[step_id]

    def step(self, handle: Handle) -> AddedStep:
        """Return a step as it was last seen."""
        return self._poller(handle.id).step or self._steps.describe(self._cluster_of(handle.id).id, handle.id)

    def cancel(self, handle: Handle, *, hurry: bool = False) -> None:
        """Interrupt a step, kill it if it does not stop, and wait for its end.

        hurry: interrupt it without waiting, for the cluster will end too; but wait in a pool, whose clusters stay.
        A driver in a YARN container goes on when EMR has ended spark-submit; it ends with its cluster, which is
        terminated unless other steps run on it.
        """
        step_id, cluster_id = handle.id, self._cluster_of(handle.id).id
        if hurry and self._scope.kind != "pool":
            self._steps.cancel(cluster_id, step_id, patience_seconds=HURRY_SECONDS)
            return
        stop(self._steps, self._aws.clock, cluster_id, step_id, INTERRUPT_SECONDS, self.report)
        if self._deploy_mode != "cluster":
            return
        if self.busy(besides=step_id):
            self.warn(
                f"The driver of step {step_id} may go on in YARN: its cluster also runs other steps and is not ended. "
                f"Stop the driver with `yarn application -kill`. {self.page_of(step_id)}"
            )
        else:
            self.end_or_warn(step_id)

    def explain(
        self, handle: Handle, end: End, exception: RemoteException | None, package: str, *, alone: bool
    ) -> ProbableCause:
        """Find the probable cause of a step's failure. Waits for logs as explanation.py describes.

        package: the program's own. alone: no other step will need the cluster. Then it is told to end, if nothing else
        runs on it, because it pushes its last logs when it ends and not only every five minutes. A cluster that did not
        come up in time is ended in any case: a retry must not find it.
        """
        poller = self._poller(handle.id)
        known = EndOfStep(self.step(handle), poller.cluster, end.timed_out, poller.ahead)
        cause = self._explain(known, exception, package, terminate=alone)
        if end.timed_out is JobState.PROVISIONING:
            self.end_or_warn(handle.id)
        return cause

    def _explain(
        self, end: EndOfStep, exception: RemoteException | None, package: str, *, terminate: bool
    ) -> ProbableCause:
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
        with self.report(f"Waiting for the logs of step {step_id}", at_most_seconds=self._log_wait_seconds) as work:
            objects = Objects(self._aws, CALL_PATIENCE_SECONDS)
            logs = Logs(objects, self._aws.clock, cluster.log_uri or self._logs_folder, held.id, work.still)
            cause = explainer.explain(end, cluster, exception, logs, self._log_wait_seconds, package)
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

    def end_or_warn(self, step_id: str = "") -> None:
        """As `end`, but errors are logged: the result of the steps stands, and an earlier error must not be hidden."""
        try:
            self.end(step_id)
        except Exception as error:  # noqa: BLE001 (see above)
            self.warn(f"The cluster may still be running: {error}. Check {self.page_of(step_id)}")

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
        return str(ClusterName(self._deployment, self._scope.kind, key))

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
