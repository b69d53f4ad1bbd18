"""EMR Serverless as a backend: each job is a job run on one application.

A job run's client token is the job's identity and the attempt's number. The request is written to S3 before it is sent,
so a retry after a lost response or a killed process sends the same request, and gets the same job run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.backends.base import Deadlines, End, Handle, JobState, JobStatus
from emr_pipelines.backends.emr_serverless.applications import Application, Applications, check_capacity
from emr_pipelines.backends.emr_serverless.bills import bill_of
from emr_pipelines.backends.emr_serverless.causes import JobRunEvidence, diagnose, wants_driver_logs
from emr_pipelines.backends.emr_serverless.job_runs import JobRun, JobRunId, JobRuns, start_request
from emr_pipelines.backends.emr_serverless.run_log import CALL_PATIENCE_SECONDS, RunLog
from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
from emr_pipelines.backends.emr_serverless.states import ENDED, NEUTRAL, JobRunState
from emr_pipelines.backends.emr_serverless.work import Work
from emr_pipelines.backends.emr_serverless.workers import workers_of
from emr_pipelines.backends.names import LONGEST_ASKED_BY, step_name
from emr_pipelines.clock import poll
from emr_pipelines.costs.bill import Bill
from emr_pipelines.costs.pricing import PriceList
from emr_pipelines.diagnosis.evidence import ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AwsError, NotFound, PreconditionFailed, RequestRefused
from emr_pipelines.job.package import Job, attempts_in
from emr_pipelines.report import Reporter, no_report

LONGEST_PIPES = "-" * 1000  # Dagster Pipes' arguments, which hold two URIs
DRIVER_ENV = "spark.emr-serverless.driverEnv."
PYTHONS = (f"{DRIVER_ENV}PYSPARK_PYTHON", f"{DRIVER_ENV}PYSPARK_DRIVER_PYTHON", "spark.executorEnv.PYSPARK_PYTHON")
UNFINISHED = frozenset(JobRunState) - ENDED
SUBMISSION, SUBMITTED = "submission.json", "submitted.json"  # in an attempt's folder: the request, and the job run
STOPS_WITHIN_SECONDS = 120.0  # after its grace period
BILLED_WITHIN_SECONDS = 20.0  # after its end
HURRY_SECONDS = 5.0
TIMEOUT_MARGIN_MINUTES = 15  # the service's own timeout, after ours: for job runs that nobody watches any more


@dataclass(frozen=True)
class Settings:
    """How job runs are to be made.

    role: the ARN of their execution role. base: the folder on S3 for logs. grace_seconds: for a program that is
    cancelled. log_key: the KMS key of logs.
    """

    spec: ApplicationSpec
    role: str
    base: str
    deployment: str
    tags: Mapping[str, str]
    deadlines: Deadlines
    log_wait_seconds: float = 330
    grace_seconds: int = 30
    log_key: str = ""


class EmrServerlessBackend:
    """Runs jobs as job runs. The application is found, or created, for the first of them."""

    def __init__(
        self,
        aws: Aws,
        settings: Settings,
        log: Callable[[str], None] = print,
        report: Reporter = no_report,
    ) -> None:
        self._aws, self._settings = aws, settings
        self._run_log = RunLog(aws, join(settings.base, "logs"), log, report)
        self._applications, self._runs, self._objects = Applications(aws), JobRuns(aws), Objects(aws)
        self._acquired: Application | None = None
        self._ids: dict[str, JobRunId] = {}
        self._seen: dict[str, JobRun] = {}

    # the seam

    def check(self, job: Job) -> None:
        """Raise InvalidValue if EMR Serverless would refuse the job run, or its application could not run it."""
        self.check_work(Work.of_job(job), ("--pipes", LONGEST_PIPES))

    def find(self, job: Job) -> Handle | None:
        """Find the job run of the last attempt, as `find_work` does."""
        return self.find_work(Work.of_job(job))

    def submit(self, job: Job, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Handle:
        words = tuple(word for pair in arguments.items() for word in pair)
        return self.start(Work.of_job(job), attempt, asked_by, words)

    # the same, of any work

    def check_work(self, work: Work, arguments: Sequence[str] = ()) -> None:
        """Raise InvalidValue if EMR Serverless would refuse a job run, or its application could not run it."""
        self._request(work, 1, LONGEST_ASKED_BY, arguments)
        check_capacity(self._application(), workers_of(work.conf).total())

    def find_work(self, work: Work, states: frozenset[JobRunState] = UNFINISHED) -> Handle | None:
        """Find the job run of the last attempt, if it is in one of these states.

        One that is being cancelled is waited for.
        """
        attempt, run_id = 0, None
        for attempt in attempts_in(self._objects, work.folder):
            try:
                run_id = self._begun(work, attempt)
            except (NotFound, RequestRefused) as error:  # its application was deleted, or changed, and it never began
                self._run_log.log(f"Attempt {attempt} did not begin: {error}")
                return None
            if run_id is not None:
                break
        run = self._runs.find(run_id) if run_id else None
        if run is not None and run.state is JobRunState.CANCELLING:
            run = self._wait_for_end(run.id)
        if run is None or run.state not in states:
            return None
        return self._handle(run.id, attempt, str(run.state))

    def start(self, work: Work, attempt: int, asked_by: str, arguments: Sequence[str] = ()) -> Handle:
        """Start the job run of an attempt, once, whoever asks and however often. arguments: after those of the work."""
        wanted = {"applicationId": self._application().id, **self._request(work, attempt, asked_by, arguments)}
        uri = join(f"{work.attempt_folders}{attempt}", SUBMISSION)
        try:
            try:
                self._objects.create(uri, json.dumps(wanted).encode())
            except PreconditionFailed:  # another process makes the same attempt, and both ask for the same
                run_id = self._begun(work, attempt)
            else:
                run_id = self._ask(work, attempt, wanted)
        except AwsError:
            raise  # a retry asks for the same job run again
        except BaseException:  # an interrupt, and the job run may have begun
            with suppress(AwsError):
                self._runs.cancel(self._runs.start(wanted), self._settings.grace_seconds, HURRY_SECONDS)
            raise
        if run_id is None:
            raise RequestRefused(f"{uri} is not there any more: somebody deletes what this deployment writes.")
        return self._handle(run_id, attempt)

    def poll(self, handle: Handle) -> JobStatus:
        run = self._look(handle)
        state = NEUTRAL[run.state]
        waiting = {
            JobState.PROVISIONING: f"Waiting for the workers of job run {run.id}",
            JobState.QUEUEING: f"Waiting for job run {run.id} to begin",
        }.get(state, f"Waiting for job run {run.id} to end")
        return JobStatus(state, str(run.state), waiting)

    def cancel(self, handle: Handle, *, hurry: bool = False) -> None:
        """Ask a job run to end, and wait for its end. hurry: only ask."""
        run_id = self._ids[handle.id]
        if hurry:
            self._runs.cancel(run_id, self._settings.grace_seconds, HURRY_SECONDS)
            return
        self._runs.cancel(run_id, self._settings.grace_seconds)
        run = self._wait_for_end(run_id)
        if run.state not in ENDED:
            raise RequestRefused(f"Job run {run_id} was told to end, and is still {run.state}.")

    def explain(
        self,
        handle: Handle,
        end: End,
        exception: RemoteException | None,
        package: str,
        *,
        alone: bool,  # noqa: ARG002 (a job run shares nothing)
    ) -> ProbableCause:
        """Find the probable cause. Waits for the driver's logs only if nothing else explains the failure."""
        run = self.job_run(handle)
        timed_out = end.timed_out
        evidence = JobRunEvidence(
            exception=exception,
            log_uri=self._run_log.logs_of(run.id),
            package=package,
            state=str(run.state),
            details=run.details,
            timed_out_phase=str(timed_out) if timed_out else None,
            timed_out_seconds=self._settings.deadlines.of(timed_out) if timed_out else 0.0,
        )
        if wants_driver_logs(evidence) or timed_out is JobState.RUNNING:
            within = 0.0 if timed_out else self._settings.log_wait_seconds
            evidence = replace(evidence, driver=self._run_log.driver_logs(run.id, within))
        return replace(diagnose(evidence), pages=self._run_log.pages(run.id, "Logs in the S3 console"))

    # for the runner

    def bill(self, handle: Handle, prices: Mapping[str, float], listed: PriceList | None = None) -> Bill:
        """Return what a job run cost, waiting a little for what the service bills. Raises the AwsErrors."""
        runs = JobRuns(self._aws, CALL_PATIENCE_SECONDS)
        run = poll(
            self._aws.clock,
            lambda: runs.describe(self._ids[handle.id]),
            BILLED_WITHIN_SECONDS,
            lambda found: found.billed and found.state in ENDED,
        )
        return bill_of(run, self._application().architecture, prices, listed)

    def job_run(self, handle: Handle) -> JobRun:
        """Return a job run as it was last seen."""
        return self._seen.get(handle.id) or self._look(handle)

    @property
    def job_runs(self) -> list[Handle]:
        """The job runs that this backend has submitted or found."""
        return [Handle(job_run_id, noun="job run") for job_run_id in self._ids]

    # inside

    def _application(self) -> Application:
        """Return the application, which is found or created at the first call."""
        if self._acquired is None:
            self._acquired, created = self._applications.acquire(self._settings.spec, self._settings.deployment)
            self._run_log.log(f"{'Created' if created else 'Using'} {self._acquired}, {self._acquired.release}.")
        return self._acquired

    def _request(self, work: Work, attempt: int, asked_by: str, arguments: Sequence[str]) -> dict[str, Any]:
        settings = self._settings
        minutes = -(-settings.deadlines.running // 60)
        return start_request(
            name=step_name(work.label, work.identity, attempt, asked_by),
            token=f"{work.identity}-{attempt}",
            role=settings.role,
            entry_point=work.entry_point,
            arguments=[*work.arguments, *arguments],
            conf={**dict.fromkeys(PYTHONS, settings.spec.python), **work.conf},
            options=work.options,
            log_uri=f"{self._run_log.folder}/",
            log_key=settings.log_key,
            timeout_minutes=int(minutes) + TIMEOUT_MARGIN_MINUTES,
            tags={**settings.spec.tags, **settings.tags},
        )

    def _begun(self, work: Work, attempt: int) -> JobRunId | None:
        """Return the job run of an attempt, which is asked for again if nobody wrote down that it began.

        The token makes that safe. None if nothing was written down.
        """
        folder = f"{work.attempt_folders}{attempt}"
        if told := self._objects.read(join(folder, SUBMITTED)):
            known = json.loads(told)
            return JobRunId(known["application"], known["run"])
        told = self._objects.read(join(folder, SUBMISSION))
        return None if told is None else self._ask(work, attempt, json.loads(told))

    def _ask(self, work: Work, attempt: int, request: Mapping[str, Any]) -> JobRunId:
        """Start the job run of a request, and write down that it began."""
        run_id = self._runs.start(request)
        known = json.dumps({"application": run_id.application, "run": run_id.run})
        self._objects.write(join(f"{work.attempt_folders}{attempt}", SUBMITTED), known.encode())
        return run_id

    def _handle(self, run_id: JobRunId, attempt: int, words: str = "") -> Handle:
        self._ids[run_id.run] = run_id
        return Handle(run_id.run, attempt, words, "job run")

    def _look(self, handle: Handle) -> JobRun:
        run = self._runs.describe(self._ids[handle.id])
        self._seen[handle.id] = run
        self._run_log.job_run(run)
        return run

    def _wait_for_end(self, run_id: JobRunId) -> JobRun:
        within = self._settings.grace_seconds + STOPS_WITHIN_SECONDS
        with self._run_log.report(f"Waiting for job run {run_id} to stop", at_most_seconds=within) as work:

            def look() -> JobRun:
                run = self._runs.describe(run_id)
                work.heartbeat(str(run.state))
                return run

            return poll(self._aws.clock, look, within, lambda run: run.state in ENDED, 1.0, 1.4, 5.0)
