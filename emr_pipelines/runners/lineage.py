"""Which work a run is an attempt at: its own, or that of the run that it retries."""

from __future__ import annotations

import dagster as dg

# Dagster sets these on a run that goes on where its parent failed; not on one that a person starts anew from all steps
GOES_ON = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
RETRY_NUMBER = "dagster/retry_number"


def lineage(context: dg.AssetExecutionContext) -> str:
    """A text that all attempts at the same work share, and no other work has: the id of the run that was the first
    attempt, and the partition."""
    first = first_attempt(context)
    return f"{first} {context.partition_key}" if context.has_partition_key else first


def first_attempt(context: dg.AssetExecutionContext) -> str:
    """The id of the run that was the first attempt at what this run does."""
    return first_attempt_of(context.instance, context.run)


def first_attempt_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The id of the run that was the first attempt at what this run does.

    A step that is tried again within its run is the same work; so are a re-execution from failure and an automatic
    retry; a re-execution of all steps by a person is new work. When the record of a run that was retried is gone, the
    first run of the whole group stands for it.
    """
    while _is_retry(run) and (parent_id := run.parent_run_id or run.tags.get("dagster/parent_run_id")):
        parent = instance.get_run_by_id(parent_id)
        if parent is None:
            return run.root_run_id or parent_id
        run = parent
    return run.run_id


def _is_retry(run: dg.DagsterRun) -> bool:
    return RETRY_NUMBER in run.tags or any(run.tags.get(tag) == "true" for tag in GOES_ON)
