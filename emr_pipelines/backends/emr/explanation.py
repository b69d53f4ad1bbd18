"""Collects the evidence about a failed step, and finds the probable cause.

Logs are waited for only where they can exist and could change the cause, for at most `log_wait_seconds`:

    evidence                                             logs                 until
    the program's own exception                          none
    a cluster that ended with one of EMR's codes         none; for a failed bootstrap action see below
    a bootstrap action that ran                          the action's         a minute after the cluster's end
    a deadline: provisioning, in a bootstrap action      the action's         now
    a deadline: running                                  the driver's         now
    any other deadline                                   none
    a step that was cancelled, or never started          none
    a failed step on a cluster that has ended            the driver's         a minute after the cluster's end
    a failed step on a cluster that is told to end       the driver's         a minute after the cluster's end
    a failed step on a cluster that stays                the driver's         EMR's next push after the step's end
    an exception that only shows that Spark was lost     as for a failed step
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.base import Deadlines, JobState
from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose, wants_bootstrap_logs, wants_driver_logs
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.logs import Logs
from emr_pipelines.backends.emr.states import ENDED, TAKES_STEPS, ClusterState
from emr_pipelines.backends.emr.steps import AddedStep
from emr_pipelines.diagnosis.evidence import ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.errors import AwsError

CALL_PATIENCE_SECONDS = 30.0  # how long a call to AWS is retried here; the client alone would retry for up to 4 hours
FLUSHED_SECONDS = 60.0  # after a cluster's end; logs that are missing then will not come
END_SEEN_SECONDS = 15.0  # between two looks at a cluster that is ending


@dataclass(frozen=True)
class EndOfStep:
    """How a step ended: the step and its cluster as they were last seen, and the state whose deadline passed, if one
    did. before: the unfinished steps ahead of a step that queued for too long, if that is known."""

    step: AddedStep
    cluster: Cluster | None = None
    timed_out: JobState | None = None
    before: int | None = None


class Explainer:
    """Explains failures of steps on one cluster.

    end_cluster: terminates the cluster, so that it pushes its last logs, and returns whether it did; None when
    other steps need the cluster.
    """

    def __init__(
        self,
        aws: Aws,
        deadlines: Deadlines,
        has_bootstrap_actions: bool,
        end_cluster: Callable[[], bool] | None = None,
    ) -> None:
        self._aws, self._clusters = aws, Clusters(aws, CALL_PATIENCE_SECONDS)
        self._deadlines, self._has_bootstrap_actions = deadlines, has_bootstrap_actions
        self._end_cluster = end_cluster

    def cluster(self, end: EndOfStep, cluster_id: str, exception: RemoteException | None) -> Cluster:
        """The cluster as it is now, or was last seen if EMR does not say so and the exception explains the failure.

        Raises the AwsErrors when there is no exception.
        """
        if end.cluster and end.cluster.state in ENDED:
            return end.cluster
        if exception is None:
            return Clusters(self._aws).describe(cluster_id)
        with suppress(AwsError):
            return self._clusters.describe(cluster_id)
        return end.cluster or Cluster(cluster_id, "", ClusterState.UNKNOWN)

    def explain(
        self,
        end: EndOfStep,
        cluster: Cluster,
        exception: RemoteException | None,
        logs: Logs,
        log_wait_seconds: float,
        package: str = "",
    ) -> ProbableCause:
        """Return the probable cause. cluster: its current state. package: the program's package. Raises AwsErrors."""
        known = replace(self._known(end, cluster, exception), log_uri=logs.step_folder(end.step.id), package=package)
        step, waits = end.step, 0.0 if end.timed_out else log_wait_seconds
        if step.started and (wants_driver_logs(known) or end.timed_out is JobState.RUNNING):
            if waits and self._end_cluster and cluster.state in TAKES_STEPS and self._end_cluster():
                cluster = replace(cluster, state=ClusterState.TERMINATING)
            ended = step.ended.timestamp() if step.ended else 0.0
            logs.left = self._left(cluster, ended + waits)
            known = replace(known, driver=logs.driver_logs(step.id, waits, ended))
        elif wants_bootstrap_logs(known):
            logs.left = self._left(cluster, math.inf)
            known = replace(known, bootstrap=logs.bootstrap_logs(waits))
        cause = diagnose(known)
        if cause.kind is Kind.INSTANCE_LOST and (lost := self._lost_spot_instances(cluster.id)):
            cause = diagnose(replace(known, lost_spot_instances=lost))
        return cause

    def _known(self, end: EndOfStep, cluster: Cluster, exception: RemoteException | None) -> ClusterEvidence:
        """Collect all evidence except logs."""
        step, ending = end.step, cluster.state not in TAKES_STEPS
        return ClusterEvidence(
            exception=exception,
            step_state=step.state,
            step_change_message=step.reason,
            failure_reason=step.failure_reason,
            failure_message=step.failure_message,
            failure_log=step.failure_log,
            cluster_state=cluster.state,
            cluster_change_code=cluster.reason_code if ending else "",
            cluster_change_message=cluster.reason if ending else "",
            cluster_error_details=cluster.error_details,
            has_bootstrap_actions=self._has_bootstrap_actions,
            timed_out_phase=end.timed_out,
            timed_out_seconds=self._deadlines.of(end.timed_out) if end.timed_out else 0.0,
            steps_before=end.before,
        )

    def _left(self, cluster: Cluster, pushed: float) -> Callable[[], float]:
        """Return a function that says for how many more seconds logs can arrive.

        A cluster that stays delivers them until `pushed` (seconds since 1970), one that is ending until it has flushed
        them.
        """
        looked = self._aws.now()

        def left() -> float:
            nonlocal cluster, looked
            now = self._aws.now()
            if cluster.state is ClusterState.TERMINATING and now - looked >= END_SEEN_SECONDS:
                looked = now
                with suppress(AwsError):  # the next look will tell
                    cluster = self._clusters.describe(cluster.id)
            if cluster.state in ENDED:
                return (cluster.ended.timestamp() if cluster.ended else looked) + FLUSHED_SECONDS - now
            return math.inf if cluster.state is ClusterState.TERMINATING else pushed - now

        return left

    def _lost_spot_instances(self, cluster_id: str) -> tuple[str, ...]:
        with suppress(AwsError):  # without permission to list instances, the other evidence still counts
            return tuple(self._clusters.lost_spot_instances(cluster_id))
        return ()
