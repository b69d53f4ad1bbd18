"""The lives of applications and job runs. Callers hold the agenda's lock.

A job run waits for its application to start (PENDING), for its turn and for capacity (QUEUED), for its workers
(SCHEDULED), and then runs. Sources: EMR Serverless User Guide, "Job run states", "Application states", "Job concurrency
and queuing" and "Job resiliency".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emr_emulator.clock import Agenda
from emr_emulator.faults import Faults, JobRunFails, JobRunHangs, StepKilled
from emr_emulator.provisioning import Durations
from emr_emulator.records import Cluster, ClusterState, Exit
from emr_emulator.serverless.records import (
    AT_REST,
    ENDED,
    WAITING,
    WITH_WORKERS,
    Application,
    ApplicationState,
    Attempt,
    JobRun,
    JobState,
)
from emr_emulator.serverless.submission import JobLogs, as_cluster, as_step
from emr_emulator.serverless.workers import LEAST_SECONDS, exceeded
from emr_emulator.steps import Steps

DEFAULT_IDLE_MINUTES = 15
DEFAULT_QUEUE_MINUTES = 360
DEFAULT_CONCURRENT_RUNS = 15
MAX_DETAILS = 256
TOO_LARGE = (
    "ApplicationMaxCapacityExceededException: Worker could not be allocated as the application has exceeded "
    "maximumCapacity settings: [{0}]"
)
FAILED_SAID = "Job failed, please check complete logs in configured logging destination. ExitCode: {0}."


class ServerlessLifecycle:
    """All applications, and what happens to them."""

    def __init__(
        self,
        agenda: Agenda,
        durations: Durations,
        faults: Faults,
        steps: Steps,
        logs: JobLogs,
        say: Callable[[str], None],
    ) -> None:
        self.applications: dict[str, Application] = {}
        self._agenda = agenda
        self._durations = durations
        self._faults = faults
        self._steps = steps
        self._logs = logs
        self._say = say
        self._stopped = False

    # applications

    def create(self, application: Application) -> None:
        self.applications[application.id] = application
        self._tell(application, "CREATING")
        self._agenda.after(
            self._durations.application_creation, lambda: self._move(application, ApplicationState.CREATED)
        )

    def start(self, application: Application) -> None:
        """Start an application, unless it is started or starting."""
        if application.state in AT_REST:
            self._move(application, ApplicationState.STARTING)
            self._agenda.after(self._durations.application_start, lambda: self._started(application))
        elif application.state in (ApplicationState.CREATING, ApplicationState.STOPPING):
            self._agenda.after(1, lambda: self.start(application))

    def stop(self, application: Application) -> None:
        """Stop a started application without active job runs."""
        self._move(application, ApplicationState.STOPPING)
        self._agenda.after(self._durations.application_stop, lambda: self._move(application, ApplicationState.STOPPED))

    def delete(self, application: Application) -> None:
        self._move(application, ApplicationState.TERMINATED)

    def _started(self, application: Application) -> None:
        if application.state is ApplicationState.STARTING:
            self._move(application, ApplicationState.STARTED)
            self.proceed(application)

    def _move(self, application: Application, state: ApplicationState) -> None:
        if application.state is ApplicationState.TERMINATED:
            return
        application.state, application.updated = state, self._agenda.now()
        self._tell(application, str(state))
        self._watch_idleness(application)

    def _watch_idleness(self, application: Application) -> None:
        """Have a started application without job runs stop itself after its idle timeout."""
        told = application.request.get("autoStopConfiguration", {})
        idle = application.state is ApplicationState.STARTED and not application.in_states(WAITING | WITH_WORKERS)
        if not idle or not told.get("enabled", True):
            application.idle_since = None
            return
        since = application.idle_since = self._agenda.now()
        minutes = told.get("idleTimeoutMinutes", DEFAULT_IDLE_MINUTES)

        def look() -> None:
            if application.idle_since == since and application.state is ApplicationState.STARTED:
                self.stop(application)

        self._agenda.after(60 * minutes, look)

    # job runs

    def submit(self, application: Application, run: JobRun) -> None:
        application.runs[run.id] = run
        application.idle_since = None
        self._new_attempt(run)
        self._say_of(run)
        self._strike(run, run.state)
        self._agenda.after(0, lambda: self._pend(application, run))

    def _new_attempt(self, run: JobRun) -> None:
        now = self._agenda.now()
        run.attempts.append(Attempt(run.attempt + 1, now, now, run.state))

    def _pend(self, application: Application, run: JobRun) -> None:
        if run.state is not JobState.SUBMITTED:
            return
        self._set(run, JobState.PENDING)
        self.start(application)
        self.proceed(application)

    def proceed(self, application: Application) -> None:
        """Schedule the job runs that wait, oldest first, as far as there is room."""
        if application.state is not ApplicationState.STARTED:
            return
        for run in application.in_states(frozenset({JobState.PENDING, JobState.QUEUED})):
            if run.hangs:
                continue
            if too_large := exceeded([run.workers.driver, run.workers.executor], self._maximum(application)):
                self._end(application, run, JobState.FAILED, TOO_LARGE.format(too_large))
            elif self._has_room(application, run):
                self._schedule(application, run)
            elif run.state is JobState.PENDING:
                self._queue(application, run)

    def _maximum(self, application: Application) -> Mapping[str, Any]:
        found: Mapping[str, Any] = application.request.get("maximumCapacity", {})
        return found

    def _has_room(self, application: Application, run: JobRun) -> bool:
        active = application.in_states(WITH_WORKERS)
        scheduler = application.request.get("schedulerConfiguration", {})
        if len(active) >= scheduler.get("maxConcurrentRuns", DEFAULT_CONCURRENT_RUNS):
            return False
        workers = [worker for other in active for worker in other.workers.all]
        return not exceeded([*workers, run.workers.driver, run.workers.executor], self._maximum(application))

    def _queue(self, application: Application, run: JobRun) -> None:
        self._set(run, JobState.QUEUED)
        since = run.queued = self._agenda.now()
        scheduler = application.request.get("schedulerConfiguration", {})
        minutes = scheduler.get("queueTimeoutMinutes", DEFAULT_QUEUE_MINUTES)

        def look() -> None:
            if run.state is JobState.QUEUED and run.queued == since:
                said = f"Job run exceeded the queue timeout of {minutes} minutes and was terminated."
                self._end(application, run, JobState.FAILED, said)

        self._agenda.after(60 * minutes, look)

    def _schedule(self, application: Application, run: JobRun) -> None:
        now = self._agenda.now()
        if run.queued is not None:
            run.queued_seconds += now - run.queued
            run.queued = None
        self._set(run, JobState.SCHEDULED)
        run.scheduled = now
        attempt = run.attempt
        warm = bool(application.request.get("initialCapacity"))
        seconds = 0 if warm else self._durations.worker_start

        def begin() -> None:
            if run.state is JobState.SCHEDULED and run.attempt == attempt and not (run.hangs or self._stopped):
                self._run(application, run)

        self._agenda.after(seconds, begin)

    def _run(self, application: Application, run: JobRun) -> None:
        self._set(run, JobState.RUNNING)
        run.started = run.started or self._agenda.now()
        attempt, cluster, step = run.attempt, as_cluster(application, run), as_step(run)
        self._logs.open(cluster)

        def ended(how: Exit) -> None:
            cluster.state = ClusterState.TERMINATED  # else its logs would be pushed for ever
            self._logs.close(cluster, lambda: None)
            if run.attempt == attempt and not self._stopped:
                self._over(application, run, cluster, how)

        running = run.running = self._steps.start(cluster, step, ended)
        if killed := self._faults.strike(StepKilled, cluster=application.names, step=run.names):
            self._agenda.after(killed.after_seconds, lambda: running.kill() if run.running is running else None)
        if attempt == 1 and run.timeout_minutes:
            self._agenda.after(60 * run.timeout_minutes, lambda: self._time_out(application, run))

    def _time_out(self, application: Application, run: JobRun) -> None:
        if run.state not in ENDED:
            said = f"Job run exceeded its execution timeout of {run.timeout_minutes} minutes and was cancelled."
            self.cancel(application, run, 0, said)

    def _over(self, application: Application, run: JobRun, cluster: Cluster, how: Exit) -> None:
        run.running = None
        if run.state is JobState.CANCELLING:
            self._end(application, run, JobState.CANCELLED, run.cancelled_because)
        elif run.failed_because:
            self._end(application, run, JobState.FAILED, run.failed_because)
        elif how.code == 0:
            self._end(application, run, JobState.SUCCESS, "")
        else:
            said = self._logs.last_exception(cluster) or (how.failure.message if how.failure else "")
            details = FAILED_SAID.format(how.code) + (f" Last few exceptions: {said}" if said else "")
            if run.attempt < run.max_attempts:
                self._bill(run)
                run.attempts[-1].state, run.attempts[-1].details = JobState.FAILED, details[:MAX_DETAILS]
                run.state = JobState.PENDING
                self._new_attempt(run)
                self._set(run, JobState.PENDING)
                self.proceed(application)
            else:
                self._end(application, run, JobState.FAILED, details)

    def cancel(self, application: Application, run: JobRun, grace_seconds: float, because: str) -> None:
        """Cancel a job run that has not ended; its program has so many seconds after SIGTERM."""
        run.cancelled_because = because
        if run.running is None:
            self._end(application, run, JobState.CANCELLED, because)
            return
        self._set(run, JobState.CANCELLING)
        running = run.running
        running.interrupt()
        self._agenda.after(grace_seconds, lambda: running.kill() if run.state is JobState.CANCELLING else None)

    def _end(self, application: Application, run: JobRun, state: JobState, details: str) -> None:
        self._bill(run)
        run.ended = self._agenda.now()
        run.details = details[:MAX_DETAILS]
        self._set(run, state)
        self.proceed(application)
        self._watch_idleness(application)

    def _bill(self, run: JobRun) -> None:
        """Add the time of this attempt's workers."""
        if run.scheduled is not None:
            seconds = self._agenda.now() - run.scheduled
            run.worked_seconds += seconds
            run.billed_seconds += max(seconds, LEAST_SECONDS)
            run.scheduled = None

    def _set(self, run: JobRun, state: JobState) -> None:
        run.state, run.updated = state, self._agenda.now()
        attempt = run.attempts[-1]
        attempt.state, attempt.updated, attempt.details = state, run.updated, run.details
        self._say_of(run)
        self._strike(run, state)

    def _strike(self, run: JobRun, state: JobState) -> None:
        """Let the faults strike that wait for a job run in this state."""
        if self._faults.strike(JobRunHangs, job_run=run.names, state=(str(state),)):
            run.hangs = True
        fails = self._faults.strike(JobRunFails, job_run=run.names, state=(str(state),))
        if fails:
            self._agenda.after(fails.after_seconds, lambda: self._fail(run, state, fails.details))

    def _fail(self, run: JobRun, state: JobState, details: str) -> None:
        if run.state is not state:
            return
        run.failed_because = details
        if run.running is not None:
            run.running.kill()  # its end is the job run's
        else:
            self._end(self.applications[run.application_id], run, JobState.FAILED, details)

    def stop_all(self) -> None:
        """Let nothing begin or end any more; the processes of job runs are ended by `Steps.stop`."""
        self._stopped = True

    def _tell(self, application: Application, what: str) -> None:
        self._say(f"{application.id} {application.names[1]}  {what}")

    def _say_of(self, run: JobRun) -> None:
        self._say(
            f"{run.application_id} {run.id} {run.names[1]}  {run.state}{f': {run.details}' if run.details else ''}"
        )
