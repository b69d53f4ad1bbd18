"""State machine of clusters and steps: transitions, their times and reasons.

    STARTING -> BOOTSTRAPPING -> RUNNING <-> WAITING -> TERMINATING -> TERMINATED | TERMINATED_WITH_ERRORS
    PENDING -> RUNNING -> COMPLETED | FAILED;  -> CANCEL_PENDING -> CANCELLED;  INTERRUPTED when its cluster is ended

All methods are called with the agenda's lock held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from emr_emulator.clock import Action, Agenda
from emr_emulator.faults import (
    CoreLost,
    Faults,
    PrimaryLost,
    StepFault,
    StepKilled,
)
from emr_emulator.instances import new_instance
from emr_emulator.logs import Logs
from emr_emulator.provisioning import Durations, Provisioning
from emr_emulator.records import (
    ENDED_CLUSTER,
    ENDING_CLUSTER,
    UP_CLUSTER,
    WITHOUT_ERROR,
    Cluster,
    ClusterState,
    Exit,
    Failure,
    Instance,
    InstanceState,
    ReasonCode,
    Role,
    Running,
    Step,
    StepState,
)

TERMINATING_ACTIONS = ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW")


class StepRunner(Protocol):
    """Runs steps."""

    def start(self, cluster: Cluster, step: Step, ended: Callable[[Exit], None]) -> Running:
        """Start a step, and call `ended` once at its end, with the agenda's lock held."""

    def lose_executor(self, step: Step) -> None:
        """Kill one executor of a running step, if executors are separate processes."""


class Lifecycle:
    def __init__(
        self,
        agenda: Agenda,
        durations: Durations,
        faults: Faults,
        runner: StepRunner,
        logs: Logs,
        say: Callable[[Cluster, str], None],
    ) -> None:
        self.clusters: dict[str, Cluster] = {}
        self._stopping = False
        self._agenda = agenda
        self._durations = durations
        self._faults = faults
        self._runner = runner
        self._logs = logs
        self._say = say
        self._provisioning = Provisioning(agenda, durations, faults, logs, self)

    def stop(self) -> None:
        """Start no more steps."""
        self._stopping = True

    def launch(self, cluster: Cluster) -> None:
        self.clusters[cluster.id] = cluster
        self._say(cluster, f"STARTING  {cluster.release}, {len(cluster.instances)} instances")
        if cluster.request.get("BootstrapActions"):
            self._say(cluster, f"its {len(cluster.request['BootstrapActions'])} bootstrap actions are not run here")
        self._logs.open(cluster)
        self._provisioning.begin(cluster)

    # steps

    def add_steps(self, cluster: Cluster, steps: list[Step]) -> None:
        for step in steps:
            cluster.steps[step.id] = step
            cluster.pending.append(step)
            self._say(cluster, f"{step.id} {step.name}  PENDING")
        if cluster.state in UP_CLUSTER:
            self.proceed(cluster)

    def proceed(self, cluster: Cluster) -> None:
        """Start pending steps; if there is nothing to run, wait or terminate."""
        if self._stopping:
            return
        while cluster.pending and len(cluster.active) < cluster.concurrency and cluster.state not in ENDING_CLUSTER:
            self._start(cluster, cluster.pending.popleft())
        if cluster.state in ENDING_CLUSTER:
            return
        if cluster.active:
            if cluster.state is not ClusterState.RUNNING:
                self.set_state(cluster, ClusterState.RUNNING, "Running step")
            cluster.idle_since = None
        elif cluster.keep_alive:
            if cluster.state is not ClusterState.WAITING:
                self.set_state(cluster, ClusterState.WAITING, "Cluster ready to run steps.")
                cluster.idle_since = self._agenda.now()
                self.watch_idleness(cluster)
        else:
            self._terminate_as_done(cluster)

    def _start(self, cluster: Cluster, step: Step) -> None:
        cluster.active[step.id] = step
        self._set_step(cluster, step, StepState.RUNNING)
        step.running = self._runner.start(cluster, step, lambda how: self._ended(cluster, step, how))
        targets = {"cluster": cluster.names, "step": (step.id, step.name)}
        strikes: list[tuple[type[StepFault], Action]] = [
            (StepKilled, lambda: self._kill(step)),
            (PrimaryLost, lambda: self._lose_primary(cluster)),
            (CoreLost, lambda: self._lose_core(cluster, step)),
        ]
        for kind, strike in strikes:
            fault = self._faults.strike(kind, **targets)
            if fault is not None:
                self._agenda.after(fault.after_seconds, partial(self._strike, step, strike))

    def _strike(self, step: Step, strike: Action) -> None:
        if step.state is StepState.RUNNING:
            strike()

    def _kill(self, step: Step) -> None:
        if step.running is not None:
            step.running.kill()

    def _ended(self, cluster: Cluster, step: Step, how: Exit) -> None:
        step.running, step.exit_code = None, how.code
        del cluster.active[step.id]
        if step.state in (StepState.INTERRUPTED, StepState.CANCELLED):  # its cluster is ending
            self._end_if_empty(cluster)
            return
        if how.code == 0:
            self._set_step(cluster, step, StepState.COMPLETED)
        elif step.state is StepState.CANCEL_PENDING:
            self._set_step(cluster, step, StepState.CANCELLED, "Job terminated by user.")
        else:
            if how.details:
                log_file = self._logs.uri_of_step(cluster, step, "stderr")
                step.failure = replace(how.failure or Failure("Unknown Error."), log_file=log_file)
            self._set_step(cluster, step, StepState.FAILED)
            self._act_on_failure(cluster, step)
        self.proceed(cluster)

    def _act_on_failure(self, cluster: Cluster, step: Step) -> None:
        if (
            step.action_on_failure == "CONTINUE" or cluster.concurrency > 1
        ):  # the concurrency was raised while the step ran
            return
        if step.action_on_failure in TERMINATING_ACTIONS and not (cluster.protected and cluster.keep_alive):
            self.terminate(cluster, ReasonCode.STEP_FAILURE, "Shut down as step failed")
            return
        while cluster.pending:  # CANCEL_AND_WAIT, or TERMINATE_CLUSTER with termination protection
            self._set_step(cluster, cluster.pending.popleft(), StepState.CANCELLED, "Cancelled as a step failed.")

    def cancel(self, cluster: Cluster, step: Step, kill: bool) -> str | None:
        """Cancel a step; return why it cannot be cancelled, or None."""
        if step.state is StepState.PENDING:
            cluster.pending.remove(step)
            self._set_step(cluster, step, StepState.CANCELLED, "Job terminated by user.")
        elif step.state in (StepState.RUNNING, StepState.CANCEL_PENDING):
            if step.state is StepState.RUNNING:
                self._set_step(cluster, step, StepState.CANCEL_PENDING)
            if step.running is not None:
                (step.running.kill if kill else step.running.interrupt)()
        else:
            return f"Step is already {step.state}, only PENDING and RUNNING steps can be cancelled."
        return None

    # a cluster ends

    def watch_idleness(self, cluster: Cluster) -> None:
        """Terminate a cluster that has been idle for its policy's time. The emulator's speed does not shorten this
        time, because clients are no faster here."""
        timeout, since = cluster.idle_timeout, cluster.idle_since
        if timeout is None or since is None:
            return

        def look() -> None:
            if (
                cluster.idle_since == since
                and cluster.idle_timeout == timeout
                and cluster.state is ClusterState.WAITING
            ):
                self.terminate(
                    cluster, ReasonCode.USER_REQUEST, f"Auto-terminated by policy after {timeout} seconds of being idle"
                )

        self._agenda.after(max(0.0, since + timeout - self._agenda.now()), look)

    def set_keep_alive(self, cluster: Cluster, keep_alive: bool) -> None:
        cluster.keep_alive = keep_alive
        if not keep_alive and cluster.state is ClusterState.WAITING:
            self._terminate_as_done(cluster)

    def _terminate_as_done(self, cluster: Cluster) -> None:
        failed = any(step.state is StepState.FAILED for step in cluster.steps.values())
        message = "Steps completed with errors" if failed else "Steps completed"
        self.terminate(cluster, ReasonCode.ALL_STEPS_COMPLETED, message)

    def terminate(self, cluster: Cluster, code: ReasonCode, message: str, error_codes: list[str] | None = None) -> None:
        if cluster.state in ENDING_CLUSTER:
            return
        cluster.errors = [
            {"ErrorCode": error, "ErrorMessage": message, "ErrorData": [{"instance-id": cluster.primary.ec2_id}]}
            for error in error_codes or []
        ]
        self.set_state(cluster, ClusterState.TERMINATING, message, code)
        while cluster.pending:
            self._set_step(cluster, cluster.pending.popleft(), StepState.CANCELLED)
        # observed on EMR: running steps are INTERRUPTED if the user terminates the cluster, else CANCELLED
        state = StepState.INTERRUPTED if code is ReasonCode.USER_REQUEST else StepState.CANCELLED
        for step in list(cluster.active.values()):
            self._set_step(cluster, step, state)
            self._kill(step)
        self._agenda.after(self._durations.termination, lambda: self._shut_down(cluster))

    def _shut_down(self, cluster: Cluster) -> None:
        for instance in cluster.instances:
            if instance.state is not InstanceState.TERMINATED:
                instance.state, instance.ended = InstanceState.TERMINATED, self._agenda.now()
                instance.reason = ("CLUSTER_TERMINATED", "Instance was terminated.")
        self._end_if_empty(cluster)

    def _end_if_empty(self, cluster: Cluster) -> None:
        """End a cluster once its instances have, its steps have no process left, and its logs are in S3."""
        gone = all(instance.state is InstanceState.TERMINATED for instance in cluster.instances)
        if gone and not cluster.active:
            self._logs.close(cluster, lambda: self._end(cluster))

    def _end(self, cluster: Cluster) -> None:
        if cluster.state in ENDED_CLUSTER:
            return
        cluster.ended = self._agenda.now()
        fine = cluster.reason in WITHOUT_ERROR
        state = ClusterState.TERMINATED if fine else ClusterState.TERMINATED_WITH_ERRORS
        self.set_state(cluster, state, cluster.message, cluster.reason)

    # instances are lost

    def _lose_primary(self, cluster: Cluster) -> None:
        self._lose(cluster, cluster.primary)
        cluster.primary_lost = True
        alone = len(cluster.instances) == 1
        message = "All instances in the job flow are terminated" if alone else "The master node was terminated"
        self.terminate(cluster, ReasonCode.INSTANCE_FAILURE, message)

    def _lose_core(self, cluster: Cluster, step: Step) -> None:
        lost = next((i for i in cluster.instances if i.role is Role.CORE and i.state is InstanceState.RUNNING), None)
        if lost is None:
            return
        self._lose(cluster, lost)
        self._runner.lose_executor(step)
        group = next(group for group in cluster.groups if group.id == lost.group_id)
        another = new_instance(group, lost.type, lost.market, len(cluster.instances), self._agenda.now())
        cluster.instances.append(another)

        def come() -> None:
            if cluster.state in UP_CLUSTER and another.state is InstanceState.PROVISIONING:
                another.state, another.ready = InstanceState.RUNNING, self._agenda.now()

        self._agenda.after(self._durations.provisioning, come)

    def _lose(self, cluster: Cluster, instance: Instance) -> None:
        instance.state, instance.ended = InstanceState.TERMINATED, self._agenda.now()
        reclaimed = "Spot instance was reclaimed." if instance.market == "SPOT" else "Instance was lost."
        instance.reason = ("INSTANCE_FAILURE", reclaimed)
        self._say(cluster, f"{instance.role} node {instance.ec2_id} is lost")

    def set_state(
        self, cluster: Cluster, state: ClusterState, message: str = "", code: ReasonCode | None = None
    ) -> None:
        cluster.state, cluster.message, cluster.reason = state, message, code
        self._say(cluster, f"{state}  {code or ''} {message}".rstrip())

    def _set_step(self, cluster: Cluster, step: Step, state: StepState, message: str | None = None) -> None:
        step.state, step.message = state, message
        if state is StepState.RUNNING:
            step.started = self._agenda.now()
        elif state is not StepState.CANCEL_PENDING:
            step.ended = self._agenda.now()
        note = f"  exit code {step.exit_code}" if step.exit_code else ""
        self._say(cluster, f"{step.id} {step.name}  {state}{note}")
