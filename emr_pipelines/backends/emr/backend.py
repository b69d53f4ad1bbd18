"""EMR on EC2 as a backend: jobs are steps on the cluster of a scope, which is launched for the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial

from emr_pipelines.aws import links
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.backends.base import Deadlines, End, Handle, JobState, JobStatus
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.explanation import CALL_PATIENCE_SECONDS, EndOfStep, Explainer
from emr_pipelines.backends.emr.held import HURRY_SECONDS, HeldCluster, HeldClusters
from emr_pipelines.backends.emr.logs import Logs
from emr_pipelines.backends.emr.poller import StepPoller, stop
from emr_pipelines.backends.emr.room import Room
from emr_pipelines.backends.emr.run_log import RunLog
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import (
    STEP_UNFINISHED,
    STEP_WORTH_ATTACHING,
    TAKES_STEPS,
    ClusterState,
    StepState,
)
from emr_pipelines.backends.emr.steps import AddedStep, DeployMode, Step, Steps, spark_submit, step_of
from emr_pipelines.backends.names import LONGEST_ASKED_BY, Scope, StepName, step_name, step_prefix
from emr_pipelines.diagnosis.evidence import ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AwsError, ClusterFailed, QuotaFull, RequestRefused
from emr_pipelines.job.package import Job
from emr_pipelines.report import Reporter, no_report

LONGEST_PIPES = "-" * 1000  # Dagster Pipes' arguments, which hold two URIs
ONE_ATTEMPT = {"spark.yarn.maxAppAttempts": "1"}  # else YARN runs a driver that failed a second time
INTERRUPT_SECONDS = 20.0  # how long a step may take to stop before it is killed
NOT_CANCELLED = frozenset({StepState.PENDING, StepState.RUNNING})
LAUNCHES_PER_STEP = 3  # a cluster may end between being found and being given a step


class EmrBackend:
    """Runs jobs as steps on the cluster of a scope. Nothing is launched before the first step.

    base: the folder on S3 for leases and logs. log_wait_seconds: how long to wait for the logs of a failed step.
    deploy_mode, queue: where drivers run, see `spark_submit`. log, report: see RunLog. clusters: the clusters that this
    backend holds, and has to end and bill.
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
        log: Callable[[str], None] = print,
        report: Reporter = no_report,
    ) -> None:
        self._aws, self._spec, self._scope = aws, spec, scope
        self._deadlines, self._log_wait_seconds = deadlines, log_wait_seconds
        self._deploy_mode, self._queue = deploy_mode, queue
        self.run_log = RunLog(aws, join(base, "logs"), log, report)
        self.clusters = HeldClusters(aws, spec, scope, base, deployment, tags, self.run_log)
        self._steps = Steps(aws)
        self._clusters_of_steps: dict[str, HeldCluster] = {}  # by step id; in a pool they may differ from the held one
        self._pollers: dict[str, StepPoller] = {}  # by step id

    def check(self, job: Job) -> None:
        """Raise InvalidValue if EMR would refuse the job's step."""
        self._step_of(job, 1, LONGEST_ASKED_BY, {"--pipes": LONGEST_PIPES})

    def find(self, job: Job) -> Handle | None:
        """Find the unfinished step of an earlier attempt. Acquires a cluster as `find_step` does."""
        step = self.find_step(step_prefix(job.label, job.identity), STEP_UNFINISHED)
        return Handle(step.id, StepName.parse(step.name).attempt, str(step.state), "step") if step else None

    def submit(self, job: Job, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Handle:
        """Add the job's step, as `add_step` does."""
        return Handle(self.add_step(self._step_of(job, attempt, asked_by, arguments)), attempt, noun="step")

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

        Acquires a cluster if the backend has none. In a pool, looks on every cluster, and acquires none without the
        step: which cluster has room is decided when a step is added.
        """
        if len(self._scope.keys()) > 1:
            held = self.clusters.held
            found = self.clusters.pool.step(prefix, states, (held.key, held.id) if held else None)
            if found is None:
                return None
            (key, cluster_id), step = found
            self._clusters_of_steps[step.id] = self.clusters.find(key, cluster_id)
            return step
        acquired, launched = self.clusters.acquire()
        match = None if launched else step_of(self._steps.each(acquired.id, states), prefix)
        if match is not None:
            self._clusters_of_steps[match.id] = acquired
        return match

    def add_step(self, step: Step) -> str:
        """Add a step and return its id.

        Replaces a cluster that has ended meanwhile, and waits for room on a full one: EMR allows 256 running or pending
        steps. Raises TimedOut when there is no room within the queueing deadline.
        """
        ended, full, elsewhere = 0, set[str](), False
        with closing(Room(self._aws, self._deadlines, self.run_log.report, self.run_log.log)) as room:
            while ended < LAUNCHES_PER_STEP:
                held, _launched = self.clusters.acquire(replace_it=elsewhere)
                try:
                    added = self._steps.add(held.id, step, self._spec.runtime_role or "")
                except QuotaFull as refused:
                    elsewhere = len(self._scope.keys()) > 1  # another cluster may have room, or be launched
                    if not elsewhere or held.id in full:
                        room.wait(held.id, refused)
                    full.add(held.id)
                except RequestRefused:
                    cluster = Clusters(self._aws).describe(held.id)
                    if cluster.state in TAKES_STEPS:
                        raise
                    self.run_log.log(f"C{str(cluster)[1:]}, and takes no more steps; looking for another.")
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

            def on_cluster(cluster: Cluster) -> None:
                if cluster.state is ClusterState.BOOTSTRAPPING:
                    held.is_bootstrapping(self._aws.now())
                self.run_log.cluster(cluster, launched=held.launched)

            self._pollers[step_id] = StepPoller(
                Clusters(self._aws),
                self._steps,
                self._aws.clock,
                held.id,
                step_id,
                on_cluster=on_cluster,
                on_step=partial(self.run_log.step, held.id),
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
        step_id, held = handle.id, self._cluster_of(handle.id)
        if hurry and self._scope.kind != "pool":
            self._steps.cancel(held.id, step_id, patience_seconds=HURRY_SECONDS)
            return
        stop(self._steps, self._aws.clock, held.id, step_id, INTERRUPT_SECONDS, self.run_log.report)
        if self._deploy_mode != "cluster":
            return
        if self.clusters.is_busy(held.id, besides=step_id):
            self.run_log.warn(
                f"The driver of step {step_id} may go on in YARN: its cluster also runs other steps and is not ended. "
                f"Stop the driver with `yarn application -kill`. {self.run_log.page_of(held.id)}"
            )
        else:
            self.clusters.end_or_warn(held)

    def explain(
        self, handle: Handle, end: End, exception: RemoteException | None, package: str, *, alone: bool
    ) -> ProbableCause:
        """Find the probable cause of a step's failure. Waits for logs as explanation.py describes.

        package: the program's own. alone: no other step will need the cluster. If so, and if nothing else runs on it,
        it is terminated first, because a cluster pushes its last logs when it ends, and otherwise every five minutes. A
        cluster that did not come up in time is ended in any case: a retry must not find it.
        """
        poller = self._poller(handle.id)
        known = EndOfStep(self.step(handle), poller.cluster, end.timed_out, poller.ahead)
        cause = self._explain(known, exception, package, terminate=alone)
        if end.timed_out is JobState.PROVISIONING:
            self.clusters.end_or_warn(self._cluster_of(handle.id))
        return cause

    def _explain(
        self, end: EndOfStep, exception: RemoteException | None, package: str, *, terminate: bool
    ) -> ProbableCause:
        step_id, held = end.step.id, self._cluster_of(end.step.id)

        def end_cluster() -> bool:
            if self.clusters.is_busy(held.id, besides=step_id):
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
        with self.run_log.report(
            f"Waiting for the logs of step {step_id}", at_most_seconds=self._log_wait_seconds
        ) as work:
            objects = Objects(self._aws, CALL_PATIENCE_SECONDS)
            logs = Logs(objects, self._aws.clock, cluster.log_uri or self.run_log.folder, held.id, work.heartbeat)
            cause = explainer.explain(end, cluster, exception, logs, self._log_wait_seconds, package)
        quota = (cause.quota.service, cause.quota.code) if cause.quota else ("", "")
        return replace(cause, pages=links.pages_of_failure(self._aws.region, held.id, cause.log_uri, *quota))

    def logs_of(self, step_id: str) -> str:
        """The folder for a step's logs."""
        return self.run_log.logs_of(self._cluster_of(step_id).id, step_id)

    def _cluster_of(self, step_id: str) -> HeldCluster:
        """The cluster that a step was found on or added to; the held one for a step that is not known."""
        held = self._clusters_of_steps.get(step_id) or self.clusters.held
        if held is None:
            raise ValueError("There is no cluster yet.")
        return held
