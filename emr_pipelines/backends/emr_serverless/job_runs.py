"""Job runs: ask for one, look at it, cancel it; and the request for a job."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr_serverless.applications import SERVICE
from emr_pipelines.backends.emr_serverless.states import ACTIVE, JobRunState
from emr_pipelines.errors import InvalidValue, NotFound, RequestRefused

MAX_ENTRY_POINT = 4096  # characters; the limits of StartJobRun in the API Reference
MAX_PARAMETERS = 102_400
MAX_ARGUMENTS = 1024
MAX_NAME = 256
NEEDS_QUOTES = re.compile(r"[\s'\"\\]")
MAX_TIMEOUT_MINUTES = 7 * 24 * 60


@dataclass(frozen=True)
class JobRunId:
    """Where a job run is."""

    application: str
    run: str

    def __str__(self) -> str:
        return self.run


@dataclass(frozen=True)
class JobRun:
    """A job run as EMR Serverless describes it. billed: billedResourceUtilization; empty until it is known."""

    id: JobRunId
    name: str
    state: JobRunState
    details: str = ""
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    billed: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    queued_seconds: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)


class JobRuns:
    """The job runs of the account, in one region. Each call may raise the AwsErrors.

    patience_seconds: how long a call is retried; by default as in `Aws.call`.
    """

    def __init__(self, aws: Aws, patience_seconds: float | None = None) -> None:
        self._aws, self._patience = aws, patience_seconds

    def start(self, request: Mapping[str, Any]) -> JobRunId:
        """Start the job run of a request; the same request with the same clientToken gives the same job run."""
        found = self._aws.call(SERVICE, "start_job_run", **request, read=lambda answer: answer["jobRunId"])
        return JobRunId(str(request["applicationId"]), found)

    def describe(self, run: JobRunId) -> JobRun:
        return self._aws.call(  # type: ignore[no-any-return]
            SERVICE,
            "get_job_run",
            applicationId=run.application,
            jobRunId=run.run,
            read=_job_run,
            patience_seconds=self._patience,
        )

    def find(self, run: JobRunId) -> JobRun | None:
        """Return a job run; None if it, or its application, does not exist any more."""
        try:
            return self.describe(run)
        except NotFound:
            return None

    def cancel(self, run: JobRunId, grace_seconds: int, patience_seconds: float | None = None) -> None:
        """Ask for the end of a job run. One that has ended already is none of the caller's worries.

        grace_seconds: how long the program may go on, to clean up.
        """
        try:
            self._aws.call(
                SERVICE,
                "cancel_job_run",
                applicationId=run.application,
                jobRunId=run.run,
                shutdownGracePeriodInSeconds=grace_seconds,
                patience_seconds=patience_seconds,
            )
        except RequestRefused:
            if self.describe(run).state in ACTIVE - {JobRunState.CANCELLING}:
                raise

    def each(self, application: str, states: Iterable[JobRunState] = ACTIVE, **filters: Any) -> Iterator[JobRun]:
        """Yield the job runs of an application in some states, newest first, without bills and tags."""
        wanted = sorted(map(str, states))
        for page in self._aws.pages(SERVICE, "list_job_runs", applicationId=application, states=wanted, **filters):
            for told in page.get("jobRuns", []):
                yield _summary(told)

    def dashboard(self, run: JobRunId) -> str:
        """Return a link to the Spark UI, which is valid for an hour."""
        found = self._aws.call(SERVICE, "get_dashboard_for_job_run", applicationId=run.application, jobRunId=run.run)
        return str(found["url"])


def start_request(
    *,
    name: str,
    token: str,
    role: str,
    entry_point: str,
    arguments: Sequence[str],
    conf: Mapping[str, str],
    options: Sequence[str] = (),
    log_uri: str,
    log_key: str,
    timeout_minutes: int,
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """Return StartJobRun's request without the application. Raises InvalidValue for one that would be refused."""
    settings = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    parameters = " ".join(map(_word, [*settings, *options]))
    for what, text, most in (
        ("The URI of the entry point", entry_point, MAX_ENTRY_POINT),
        ("The Spark settings", parameters, MAX_PARAMETERS),
        ("The name of the job run", name, MAX_NAME),
    ):
        if len(text) > most:
            raise InvalidValue(what, f"{len(text):,} characters", f"{most:,} characters or fewer")
    if len(arguments) > MAX_ARGUMENTS:
        raise InvalidValue("The number of arguments", len(arguments), f"{MAX_ARGUMENTS:,} or fewer")
    logs: dict[str, str] = {"logUri": log_uri}
    if log_key:
        logs["encryptionKeyArn"] = log_key
    return {
        "name": name,
        "clientToken": token,
        "executionRoleArn": role,
        "jobDriver": {
            "sparkSubmit": {
                "entryPoint": entry_point,
                "entryPointArguments": list(arguments),
                "sparkSubmitParameters": parameters,
            }
        },
        "configurationOverrides": {"monitoringConfiguration": {"s3MonitoringConfiguration": logs}},
        "executionTimeoutMinutes": min(timeout_minutes, MAX_TIMEOUT_MINUTES),
        "tags": dict(tags),
    }


def _word(text: str) -> str:
    """Return a word of a command line, in quotes only if it needs them."""
    return shlex.quote(text) if NEEDS_QUOTES.search(text) else text


def _job_run(answer: Mapping[str, Any]) -> JobRun:
    told = answer["jobRun"]
    return JobRun(
        JobRunId(told["applicationId"], told["jobRunId"]),
        told.get("name", ""),
        JobRunState(told["state"]),
        told.get("stateDetails", ""),
        told.get("createdAt"),
        told.get("startedAt"),
        told.get("endedAt"),
        told.get("billedResourceUtilization", {}),
        told.get("totalExecutionDurationSeconds", 0),
        told.get("queuedDurationMilliseconds", 0) / 1000,
        tags=told.get("tags", {}),
    )


def _summary(told: Mapping[str, Any]) -> JobRun:
    return JobRun(
        JobRunId(told["applicationId"], told["id"]),
        told.get("name", ""),
        JobRunState(told["state"]),
        told.get("stateDetails", ""),
        told.get("createdAt"),
    )
