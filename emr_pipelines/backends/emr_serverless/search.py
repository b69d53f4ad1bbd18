"""Search the account for what this package has on EMR Serverless: applications and job runs.

The service's lists cannot be filtered by tag, so each entry is looked at. What the credentials may not look at belongs
to another deployment, whose tag the policies check (docs/security.md), and is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr_serverless.applications import (
    DEPLOYMENT_TAG,
    LONGEST_DEPLOYMENT,
    Application,
    Applications,
)
from emr_pipelines.backends.emr_serverless.job_runs import JobRun, JobRunId, JobRuns
from emr_pipelines.backends.emr_serverless.states import ACTIVE, USABLE, ApplicationState, JobRunState
from emr_pipelines.backends.names import StepName, begins_with, prefix_of
from emr_pipelines.errors import AccessDenied, NotFound

# an application that is stopped has no active job runs; one that was created may be about to start for the first
WITH_ACTIVE_JOB_RUNS = USABLE - {ApplicationState.STOPPED, ApplicationState.CREATING}


def applications_of(aws: Aws, deployment: str) -> Iterator[Application]:
    """Yield the applications that were made for a deployment. Raises AwsErrors."""
    applications = Applications(aws)
    for summary in applications.each():
        with _denied_to_others(summary, deployment):
            found = applications.describe(summary.id)
            if found.tags.get(DEPLOYMENT_TAG) == deployment:
                yield found


def active_job_runs(aws: Aws, deployment: str = "") -> Iterator[JobRun]:
    """Yield the job runs of a deployment that can still cost money, on any application; without one, of all.

    Raises AwsErrors.
    """
    for application in Applications(aws).each(WITH_ACTIVE_JOB_RUNS):
        yield from job_runs_on(aws, application, deployment, ACTIVE)


def job_runs_on(
    aws: Aws,
    application: Application,
    deployment: str,
    states: Iterable[JobRunState],
    besides: Collection[str] = (),
    **filters: Any,
) -> Iterator[JobRun]:
    """Yield the job runs of a deployment on an application; with an empty one, of all deployments.

    besides: ids that are not looked at. filters: more of ListJobRuns'. Raises AwsErrors.
    """
    runs = JobRuns(aws)
    with _denied_to_others(application, deployment):
        for summary in runs.each(application.id, states, **filters):
            if not StepName.parse(summary.name).attempt or summary.id.run in besides:
                continue  # a name that this package does not give, or one that is known
            with suppress(AccessDenied):
                run = runs.find(summary.id)
                whose = run.tags.get(DEPLOYMENT_TAG) if run else None
                if run and whose and deployment in ("", whose):
                    yield run


def locate(aws: Aws, job_run_id: str) -> JobRun:
    """Return the job run with this id, on whichever application. Raises NotFound, and the other AwsErrors."""
    runs = JobRuns(aws)
    for application in Applications(aws).each():
        with suppress(AccessDenied):
            if found := runs.find(JobRunId(application.id, job_run_id)):
                return found
    raise NotFound(f"No application in this account and region has a job run {job_run_id!r}.")


class _denied_to_others:  # noqa: N801 (a context manager, read as a word)
    """Suppresses AccessDenied, unless the application's name says that it is the deployment's own."""

    def __init__(self, application: Application, deployment: str) -> None:
        self._own = bool(deployment) and begins_with(application.name, prefix_of(deployment[:LONGEST_DEPLOYMENT]))

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, AccessDenied) and not self._own
