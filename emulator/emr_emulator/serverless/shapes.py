"""Records in the shapes of EMR Serverless's answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from emr_emulator.serverless.records import Application, Attempt, JobRun
from emr_emulator.serverless.workers import hours

Shape = dict[str, Any]


class Arns(NamedTuple):
    """Makes ARNs for a region and an account."""

    region: str
    account: str

    def of(self, application: str, run: str = "") -> str:
        tail = f"/jobruns/{run}" if run else ""
        return f"arn:aws:emr-serverless:{self.region}:{self.account}:/applications/{application}{tail}"

    @property
    def user(self) -> str:
        return f"arn:aws:iam::{self.account}:user/emulator"


def created(application: Application, arns: Arns) -> Shape:
    return {
        "applicationId": application.id,
        "name": application.request.get("name"),
        "arn": arns.of(application.id),
    }


def application(application: Application, arns: Arns) -> Shape:
    request = application.request
    return {
        "autoStartConfiguration": {"enabled": True},
        "architecture": "X86_64",
        **request,
        "type": request["type"].capitalize(),
        "autoStopConfiguration": {
            "enabled": True,
            "idleTimeoutMinutes": 15,
            **request.get("autoStopConfiguration", {}),
        },
        "applicationId": application.id,
        "arn": arns.of(application.id),
        "state": str(application.state),
        "stateDetails": application.details,
        "createdAt": application.created,
        "updatedAt": application.updated,
        "tags": application.tags,
    }


def application_summary(application: Application, arns: Arns) -> Shape:
    return {
        "id": application.id,
        "name": application.request.get("name"),
        "arn": arns.of(application.id),
        "releaseLabel": application.release,
        "type": application.request["type"].capitalize(),
        "state": str(application.state),
        "stateDetails": application.details,
        "createdAt": application.created,
        "updatedAt": application.updated,
        "architecture": application.request.get("architecture", "X86_64"),
    }


def started(run: JobRun, arns: Arns) -> Shape:
    return {"applicationId": run.application_id, "jobRunId": run.id, "arn": arns.of(run.application_id, run.id)}


def _common(application: Application, run: JobRun, arns: Arns) -> Shape:
    return {
        "applicationId": application.id,
        "name": run.request.get("name"),
        "arn": arns.of(application.id, run.id),
        "createdBy": arns.user,
        "createdAt": run.created,
        "updatedAt": run.updated,
        "executionRole": run.request["executionRoleArn"],
        "state": str(run.state),
        "stateDetails": run.details,
        "releaseLabel": application.release,
        "mode": run.request.get("mode", "BATCH"),
        "attempt": run.attempt,
        "attemptCreatedAt": run.attempts[-1].created,
        "attemptUpdatedAt": run.attempts[-1].updated,
    }


def job_run_summary(application: Application, run: JobRun, arns: Arns) -> Shape:
    return {**_common(application, run, arns), "id": run.id, "type": application.request["type"].capitalize()}


def job_run(application: Application, run: JobRun, arns: Arns) -> Shape:
    request = run.request
    done = run.ended is not None
    return {
        **_common(application, run, arns),
        "jobRunId": run.id,
        "jobDriver": request["jobDriver"],
        "configurationOverrides": request.get("configurationOverrides"),
        "executionIamPolicy": request.get("executionIamPolicy"),
        "tags": run.tags,
        "networkConfiguration": application.request.get("networkConfiguration"),
        "executionTimeoutMinutes": run.timeout_minutes,
        "retryPolicy": request.get("retryPolicy"),
        "startedAt": run.started,
        "endedAt": run.ended,
        "queuedDurationMilliseconds": round(1000 * run.queued_seconds),
        "totalExecutionDurationSeconds": round(run.worked_seconds) if done else None,
        "totalResourceUtilization": hours(run.workers, run.worked_seconds, billed=False) if done else None,
        "billedResourceUtilization": hours(run.workers, run.billed_seconds, billed=True) if done else None,
    }


def attempt(application: Application, run: JobRun, found: Attempt, arns: Arns) -> Shape:
    return {
        **{name: value for name, value in _common(application, run, arns).items() if not name.startswith("attempt")},
        "id": run.id,
        "type": application.request["type"].capitalize(),
        "jobCreatedAt": run.created,
        "createdAt": found.created,
        "updatedAt": found.updated,
        "state": str(found.state),
        "stateDetails": found.details,
        "attempt": found.number,
    }
