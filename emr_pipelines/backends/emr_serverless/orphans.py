"""Find and cancel orphans, the job runs whose Dagster run is over; list job runs for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from emr_pipelines.backends.emr_serverless.applications import DEPLOYMENT_TAG
from emr_pipelines.backends.emr_serverless.job_runs import JobRun, JobRuns
from emr_pipelines.backends.emr_serverless.states import ACTIVE, JobRunState
from emr_pipelines.backends.names import StepName
from emr_pipelines.backends.orphans import GRACE_SECONDS, RunIs, age_seconds, orphaned
from emr_pipelines.errors import AwsError

CANCEL_GRACE_SECONDS = 30


@dataclass(frozen=True)
class Orphan:
    """A job run that nobody needs, and the reason."""

    run: JobRun
    reason: str


def find_orphans(
    runs: Iterable[JobRun],
    run_is: Callable[[str], RunIs],
    now: float,
    max_age_seconds: float,
    grace_seconds: float = GRACE_SECONDS,
) -> list[Orphan]:
    """Return the job runs that nobody needs, as `why_orphaned` says. run_is: asked once per run."""
    active = (
        (run, run.created, StepName.parse(run.name).run_id)
        for run in runs
        if run.state in ACTIVE - {JobRunState.CANCELLING}
    )
    return [Orphan(*found) for found in orphaned("job run", active, run_is, now, max_age_seconds, grace_seconds)]


def cancel_orphans(runs: JobRuns, orphans: Iterable[Orphan], dry_run: bool = False) -> list[str]:
    """Ask for the end of orphans, and return a sentence for each. A failure does not stop the others."""
    return [_cancel(runs, orphan, dry_run) for orphan in orphans]


def _cancel(runs: JobRuns, orphan: Orphan, dry_run: bool) -> str:
    what = f"job run {orphan.run.id} ({orphan.run.name})"
    if dry_run:
        return f"Would cancel {what}: {orphan.reason}."
    try:
        runs.cancel(orphan.run.id, CANCEL_GRACE_SECONDS)
    except AwsError as error:
        return f"J{what[1:]} should end, for {orphan.reason}, but cannot be cancelled: {error}"
    return f"Cancelled {what}: {orphan.reason}."


def rows(runs: Iterable[JobRun], now: float) -> list[dict[str, Any]]:
    """Return the rows of a list of job runs, as JSON values. now: seconds since 1970."""
    return [
        {
            "id": run.id.run,
            "application": run.id.application,
            "state": str(run.state),
            "age_seconds": round(age_seconds(run.created, now)),
            "deployment": run.tags.get(DEPLOYMENT_TAG, ""),
            "name": run.name,
        }
        for run in runs
    ]
