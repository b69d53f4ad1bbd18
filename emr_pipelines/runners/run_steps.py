"""The steps of a run: whether another one may still need the run's clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import dagster as dg

LEAVING = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE})


@dataclass(frozen=True)
class RunSteps:
    """The steps of a run.

    upstream: the steps that the run executes, each with those that it waits for. here: the steps that this process
    executes (all of them, under the in-process executor). users: the steps that use a runner. mapped: steps over
    dynamic outputs, each of which counts as one.
    """

    instance: dg.DagsterInstance
    run_id: str
    upstream: Mapping[str, frozenset[str]]
    mapped: frozenset[str]
    here: frozenset[str]
    users: frozenset[str]

    @classmethod
    def of_run(cls, instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunSteps:
        """Return the steps of a run, for a process that executes none of them or does not know which."""
        if not run.execution_plan_snapshot_id:
            return cls(instance, run.run_id, {}, frozenset(), frozenset(), frozenset())
        plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
        executed = frozenset(map(_plain, plan.step_keys_to_execute))
        upstream = {
            _plain(step.key): frozenset(_plain(key) for value in step.inputs for key in value.upstream_step_keys)
            & executed
            for step in plan.steps
            if _plain(step.key) in executed
        }
        mapped = frozenset(_plain(key) for key in plan.step_keys_to_execute if "[" in key)
        return cls(instance, run.run_id, upstream, mapped, frozenset(), executed)

    @classmethod
    def of(cls, context: dg.AssetExecutionContext, runner: type[object]) -> RunSteps:
        """Return the steps of the run that this context belongs to; its own step uses a runner."""
        step = context.get_step_execution_context()
        plan, job = step.execution_plan, step.job_def
        whole = cls.of_run(context.instance, context.run)
        runners = {
            key
            for key, definition in job.resource_defs.items()
            if issubclass(getattr(definition, "configurable_resource_cls", object), runner)
        }
        users = {
            _plain(found.key)
            for found in plan.steps
            if runners & set(job.get_op(found.node_handle).definition.required_resource_keys)
        }
        if _plain(step.step.key) not in users:  # it uses the runner through another resource, and so may others
            users = set(whole.upstream)
        return replace(
            whole,
            here=frozenset(map(_plain, plan.step_keys_to_execute)),
            users=frozenset(users & whole.upstream.keys()),
        )

    @property
    def alone(self) -> bool:
        """Whether no other step of the run uses a runner."""
        return len(self.users - self.mapped) <= 1 and not self.users & self.mapped

    @property
    def all_here(self) -> bool:
        """Whether this process executes every step."""
        return self.upstream.keys() <= self.here

    def given_up(self) -> bool:
        """Whether the run has already failed, as when its worker was killed. Processes of its other steps, and of a
        retry, may still be at work."""
        run = self.instance.get_run_by_id(self.run_id)
        return run is not None and run.status is dg.DagsterRunStatus.FAILURE

    def may_come(self) -> bool:
        """Whether a step that another process executes may still need a cluster of the run."""
        if self.all_here:
            return False
        run = self.instance.get_run_by_id(self.run_id)
        if run is None or run.is_finished or run.status in LEAVING:
            return False
        ended = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SKIPPED}
        done, failed = set(), set()
        for entry in self.instance.all_logs(self.run_id, of_type=ended):
            event = entry.dagster_event
            if event is not None and event.step_key is not None and _plain(event.step_key) not in self.mapped:
                done.add(event.step_key)
                if event.event_type is not dg.DagsterEventType.STEP_SUCCESS:
                    failed.add(event.step_key)
        done |= {key for later in done for key in self.upstream.get(later, ()) if key in self.mapped}
        while hopeless := {key for key, before in self.upstream.items() if before & failed} - failed:
            failed |= hopeless
        return bool(self.users - done - failed)


def _plain(step_key: str) -> str:
    """Return a step's key without the index of a mapped step."""
    return step_key.partition("[")[0]
