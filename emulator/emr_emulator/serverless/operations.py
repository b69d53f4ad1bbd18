"""EMR Serverless's operations on applications, job runs and tags. Sessions are not emulated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from botocore import xform_name

from emr_emulator import releases
from emr_emulator.checks import seconds
from emr_emulator.clock import Agenda
from emr_emulator.protocol import ServiceError
from emr_emulator.serverless import shapes
from emr_emulator.serverless.lifecycle import ServerlessLifecycle
from emr_emulator.serverless.records import (
    AT_REST,
    ENDED,
    WAITING,
    WITH_WORKERS,
    Application,
    ApplicationState,
    JobRun,
    JobState,
    new_id,
)
from emr_emulator.serverless.rest import conflict, not_found, service_model, validation
from emr_emulator.serverless.submission import InvalidParameters, settings_of
from emr_emulator.serverless.workers import InvalidWorker, capacity, workers_of

Params = dict[str, Any]
PAGE = 50
MAX_TAGS = 200
DEFAULT_TIMEOUT_MINUTES = 720
MAX_TIMEOUT_MINUTES = 7 * 24 * 60  # from release 7.11 on
QUEUE_MINUTES = (15, 720)
CONCURRENT_RUNS = (1, 1000)
IN_ARN = re.compile(r"arn:aws[\w-]*:emr-serverless:[\w-]+:\d{12}:/applications/(\w+)(?:/jobruns/(\w+))?")
STARTED_ONLY = "has no automatic start and is"
CHANGED_AT_REST = (
    "architecture", "autoStartConfiguration", "autoStopConfiguration", "imageConfiguration", "initialCapacity",
    "maximumCapacity", "monitoringConfiguration", "networkConfiguration", "releaseLabel", "runtimeConfiguration",
    "schedulerConfiguration", "workerTypeSpecifications", "interactiveConfiguration", "diskEncryptionConfiguration",
    "identityCenterConfiguration", "jobLevelCostAllocationConfiguration",
)  # fmt: skip

T = TypeVar("T")


class ServerlessOperations:
    """The operations, as methods with boto3's names."""

    def __init__(self, lifecycle: ServerlessLifecycle, agenda: Agenda, account: str, url: Callable[[], str]) -> None:
        self._lifecycle = lifecycle
        self._agenda = agenda
        self._account = account
        self._url = url
        self._tokens: dict[tuple[str, str], tuple[Params, str]] = {}  # of an application's token: request, and id
        self._methods = {
            name: getattr(self, xform_name(name))
            for name in service_model().operation_names
            if hasattr(self, xform_name(name))
        }

    def call(self, operation: str, params: Params, region: str) -> Params:
        """Answer a checked request. Raises ServiceError."""
        method = self._methods.get(operation)
        if method is None:
            known = ", ".join(self._methods)
            raise ServiceError("UnknownOperationException", f"{operation} is not emulated; emulated are {known}.")
        with self._agenda.lock:
            self._agenda.run_due()
            self._arns = shapes.Arns(region, self._account)
            answer: Params = method(params)
            return answer

    # applications

    def create_application(self, params: Params) -> Params:
        made = self._made_before("", params)
        if made:
            return shapes.created(self._lifecycle.applications[made], self._arns)
        _check_application(params)
        now = self._agenda.now()
        told = {name: value for name, value in params.items() if name not in ("clientToken", "tags")}
        application = Application(new_id(), told, now, now, dict(params.get("tags", {})))
        self._tokens["", params["clientToken"]] = (params, application.id)
        self._lifecycle.create(application)
        return shapes.created(application, self._arns)

    def get_application(self, params: Params) -> Params:
        return {"application": shapes.application(self._application(params), self._arns)}

    def list_applications(self, params: Params) -> Params:
        states = params.get("states")
        wanted = [found for found in self._lifecycle.applications.values() if not states or found.state in states]
        applications, token = _page(reversed(wanted), params)
        shown = [shapes.application_summary(application, self._arns) for application in applications]
        return {"applications": shown, "nextToken": token}

    def update_application(self, params: Params) -> Params:
        application = self._application(params)
        if application.state not in AT_REST:
            raise validation(
                f"Application {application.id} is {application.state}; only CREATED and STOPPED ones change."
            )
        changed = {**application.request, **{name: params[name] for name in CHANGED_AT_REST if name in params}}
        _check_application(changed)
        application.request, application.updated = changed, self._agenda.now()
        return self.get_application(params)

    def start_application(self, params: Params) -> Params:
        self._lifecycle.start(self._application(params))
        return {}

    def stop_application(self, params: Params) -> Params:
        application = self._application(params)
        if application.in_states(WAITING | WITH_WORKERS):
            raise validation(f"Application {application.id} has active job runs; cancel them before stopping it.")
        if application.state is ApplicationState.STARTED:
            self._lifecycle.stop(application)
        return {}

    def delete_application(self, params: Params) -> Params:
        application = self._application(params)
        if application.state not in AT_REST:
            raise validation(
                f"Application {application.id} is {application.state}; it has to be CREATED or STOPPED to be deleted."
            )
        self._lifecycle.delete(application)
        return {}

    # job runs

    def start_job_run(self, params: Params) -> Params:
        application = self._application(params)
        made = self._made_before(application.id, params)
        if made:
            return shapes.started(application.runs[made], self._arns)
        run = self._new_run(application, params)
        self._tokens[application.id, params["clientToken"]] = (params, run.id)
        self._lifecycle.submit(application, run)
        return shapes.started(run, self._arns)

    def _new_run(self, application: Application, params: Params) -> JobRun:
        if application.state is ApplicationState.TERMINATED:
            raise validation(f"Application {application.id} is TERMINATED.")
        starts = application.request.get("autoStartConfiguration", {}).get("enabled", True)
        if not starts and application.state is not ApplicationState.STARTED:
            raise validation(f"Application {application.id} {STARTED_ONLY} {application.state}; start it first.")
        driver = params.get("jobDriver", {})
        if "sparkSubmit" not in driver:
            raise validation("The emulator runs jobDriver.sparkSubmit; Hive is not emulated.")
        if application.request["type"].upper() != "SPARK":
            raise validation(f"Application {application.id} is of type {application.request['type']}, not SPARK.")
        try:
            workers = workers_of(settings_of(application, params))
        except (InvalidParameters, InvalidWorker) as error:
            raise validation(str(error)) from error
        now = self._agenda.now()
        return JobRun(
            new_id(),
            application.id,
            params,
            workers,
            now,
            now,
            _timeout(application, params),
            params.get("retryPolicy", {}).get("maxAttempts", 1),
            _checked_tags(params.get("tags", {})),
        )

    def get_job_run(self, params: Params) -> Params:
        application, run = self._run(params)
        if not 1 <= params.get("attempt", 1) <= run.attempt:
            raise validation(f"Job run {run.id} has {run.attempt} attempts, not {params['attempt']}.")
        return {"jobRun": shapes.job_run(application, run, self._arns)}

    def list_job_runs(self, params: Params) -> Params:
        application = self._application(params)
        after, before = seconds(params.get("createdAtAfter"), 0), seconds(params.get("createdAtBefore"), float("inf"))
        states, mode = params.get("states"), params.get("mode")
        wanted = [
            run
            for run in application.runs.values()
            if (not states or run.state in states)
            and after <= run.created <= before
            and mode in (None, run.request.get("mode", "BATCH"))
        ]
        runs, token = _page(reversed(wanted), params)
        return {"jobRuns": [shapes.job_run_summary(application, run, self._arns) for run in runs], "nextToken": token}

    def list_job_run_attempts(self, params: Params) -> Params:
        application, run = self._run(params)
        attempts, token = _page(run.attempts, params)
        shown = [shapes.attempt(application, run, found, self._arns) for found in attempts]
        return {"jobRunAttempts": shown, "nextToken": token}

    def cancel_job_run(self, params: Params) -> Params:
        application, run = self._run(params)
        if run.state in ENDED:
            raise validation(f"Job run {run.id} is {run.state} and cannot be cancelled.")
        if run.state is not JobState.CANCELLING:
            grace = params.get("shutdownGracePeriodInSeconds", 0)
            self._lifecycle.cancel(application, run, grace, "Job run was cancelled by a call of CancelJobRun.")
        return {"applicationId": application.id, "jobRunId": run.id}

    def get_dashboard_for_job_run(self, params: Params) -> Params:
        _, run = self._run(params)
        if run.state in WAITING:
            raise validation(f"Job run {run.id} is {run.state}; a dashboard is there once it is SCHEDULED.")
        return {"url": f"{self._url()}/_emulator/jobruns/{run.id}"}

    # tags

    def tag_resource(self, params: Params) -> Params:
        tags = self._tags(params)
        tags |= _checked_tags({**tags, **params["tags"]})
        return {}

    def untag_resource(self, params: Params) -> Params:
        tags = self._tags(params)
        for name in params["tagKeys"]:
            tags.pop(name, None)
        return {}

    def list_tags_for_resource(self, params: Params) -> Params:
        return {"tags": self._tags(params)}

    def _tags(self, params: Params) -> dict[str, str]:
        found = IN_ARN.fullmatch(params["resourceArn"])
        if not found:
            raise validation(f"{params['resourceArn']!r} is no ARN of an application or a job run.")
        if found[2]:
            return self._run({"applicationId": found[1], "jobRunId": found[2]})[1].tags
        return self._application({"applicationId": found[1]}).tags

    # what a request names

    def _application(self, params: Params) -> Application:
        found = self._lifecycle.applications.get(params["applicationId"])
        if found is None:
            raise not_found(f"Application {params['applicationId']} does not exist")
        return found

    def _run(self, params: Params) -> tuple[Application, JobRun]:
        application = self._application(params)
        run = application.runs.get(params["jobRunId"])
        if run is None:
            raise not_found(f"Job run {params['jobRunId']} of application {application.id} does not exist")
        return application, run

    def _made_before(self, application_id: str, params: Params) -> str:
        """Return the id of what an equal request with this token made, if any. Raises ServiceError for another one."""
        before, made = self._tokens.get((application_id, params["clientToken"]), (params, ""))
        if before != params:
            raise conflict(f"The clientToken {params['clientToken']} was used with other parameters: {made}.")
        return made


def _page(items: Iterable[T], params: Params) -> tuple[list[T], str | None]:
    all_items = list(items)
    token, size = params.get("nextToken", "0"), params.get("maxResults", PAGE)
    if not (token.isdecimal() and int(token) <= len(all_items)):
        raise validation(f"nextToken {token!r} is not valid.")
    end = int(token) + size
    return all_items[int(token) : end], str(end) if end < len(all_items) else None


def _check_application(told: Params) -> None:
    label = told["releaseLabel"]
    if not releases.is_release(label) or not releases.at_least(label, (6, 6)):
        raise validation(f"Release label {label} is not supported.")
    if told["type"].upper() not in ("SPARK", "HIVE"):
        raise validation(f"Type {told['type']} is not supported; there are SPARK and HIVE.")
    scheduler = told.get("schedulerConfiguration", {})
    if scheduler and not releases.at_least(label, (7, 0)):
        raise validation(f"schedulerConfiguration needs emr-7.0.0 or later, not {label}.")
    for name, (least, most) in (("queueTimeoutMinutes", QUEUE_MINUTES), ("maxConcurrentRuns", CONCURRENT_RUNS)):
        if name in scheduler and not least <= scheduler[name] <= most:
            raise validation(f"schedulerConfiguration.{name} is {scheduler[name]}; allowed are {least} to {most}.")
    try:
        for value in told.get("maximumCapacity", {}).values():
            capacity(value)
    except InvalidWorker as error:
        raise validation(f"maximumCapacity: {error}") from error


def _timeout(application: Application, params: Params) -> int:
    streaming = params.get("mode") == "STREAMING"
    minutes: int = params.get("executionTimeoutMinutes", 0 if streaming else DEFAULT_TIMEOUT_MINUTES)
    bounded = releases.at_least(application.release, (7, 11)) and not streaming
    if bounded and not 1 <= minutes <= MAX_TIMEOUT_MINUTES:
        raise validation(f"executionTimeoutMinutes is {minutes}; allowed are 1 to {MAX_TIMEOUT_MINUTES}.")
    return minutes


def _checked_tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise validation(f"At most {MAX_TAGS} tags are allowed; these are {len(tags)}.")
    if reserved := [name for name in tags if name.lower().startswith("aws:")]:
        raise validation(f"Tags that begin with aws: are reserved: {reserved[0]}.")
    return dict(tags)
