"""Who asks for a job: a label for people, and the work that its run is an attempt at."""

from __future__ import annotations

import dagster as dg

# Dagster sets these on a run that goes on where its parent failed; not on one that a person starts anew from all steps
GOES_ON = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
RETRY_NUMBER = "dagster/retry_number"
OP = "op:"  # prefix of an op's name, in the label of a job without an asset
MAX_LABEL = 150  # characters; EMR allows 256 in the name of a step


def label_of(context: dg.AssetExecutionContext) -> str:
    """Return a job's label: its assets' keys, or the op if there are none or very many."""
    op = f"{OP}{context.op_execution_context.op.name}"
    if not context.has_assets_def:
        return op
    keys = ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    return keys if len(keys) <= MAX_LABEL else op


def asked_by(context: dg.AssetExecutionContext) -> tuple[str, str]:
    """Return what all attempts at this step have in common: the first run that attempted it, and the step."""
    return lineage(context), context.get_step_execution_context().step.key


def lineage(context: dg.AssetExecutionContext) -> str:
    """Return a text that identifies the work of a run: the id of the first attempt's run, and the partition."""
    first = first_attempt(context)
    return f"{first} {context.partition_key}" if context.has_partition_key else first


def first_attempt(context: dg.AssetExecutionContext) -> str:
    """Return the id of the run that was the first attempt at this run's work."""
    return first_attempt_of(context.instance, context.run)


def first_attempt_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the id of the run that was the first attempt at this run's work.

    Retries of a step, automatic retries of a run and re-executions from failure are the same work; a re-execution of
    all steps is new work. If the record of a retried run was deleted, the first run of its group is returned.
    """
    while _is_retry(run) and (parent_id := run.parent_run_id or run.tags.get("dagster/parent_run_id")):
        parent = instance.get_run_by_id(parent_id)
        if parent is None:
            return run.root_run_id or parent_id
        run = parent
    return run.run_id


def _is_retry(run: dg.DagsterRun) -> bool:
    return RETRY_NUMBER in run.tags or any(run.tags.get(tag) == "true" for tag in GOES_ON)
