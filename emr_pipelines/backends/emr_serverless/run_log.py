"""Log what happens to job runs in a Dagster run, each event once; and find and read the logs of their drivers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from emr_pipelines.aws import links
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.backends.emr_serverless.job_runs import JobRun, JobRunId, JobRuns
from emr_pipelines.backends.emr_serverless.states import WITHOUT_DASHBOARD
from emr_pipelines.backends.log_files import read_newest
from emr_pipelines.clock import poll
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.errors import AwsError, InvalidValue
from emr_pipelines.report import Reporter, no_report

CALL_PATIENCE_SECONDS = 30.0  # where an answer is only nice to have
LOG_POLL_SECONDS = 5.0


class RunLog:
    """The log of the run that uses a backend.

    folder: where EMR Serverless pushes logs. log: logs what happens. report: shows what is waited for.
    """

    def __init__(self, aws: Aws, folder: str, log: Callable[[str], None], report: Reporter = no_report) -> None:
        self._aws, self.folder = aws, folder
        self.log, self.report = log, report
        self._told: set[str] = set()

    def job_run(self, run: JobRun) -> None:
        """Log a job run's page when it is first seen, and its Spark UI when there is one."""
        if self._is_new(f"{run.id} begun"):
            pages = "\n".join(f"{name}: {page}" for name, page in self.pages(run.id).items())
            self.log(f"Job run {run.id} ({run.name}) is {run.state}.\n{pages}")
        if run.state not in WITHOUT_DASHBOARD and self._is_new(f"{run.id} dashboard"):
            with suppress(AwsError):  # it is only nice to have
                runs = JobRuns(self._aws)
                self.log(f"Spark UI, by a link that is valid for an hour: {runs.dashboard(run.id)}")

    def _is_new(self, event: str) -> bool:
        new = event not in self._told
        self._told.add(event)
        return new

    def pages(self, run_id: JobRunId, logs: str = "Logs, as they are pushed") -> dict[str, str]:
        """Return the pages about a job run, by title. logs: the title of its logs, if they have a page."""
        folder = self.logs_of(run_id)
        pages = {"Job run": links.job_run_page(self._aws.region, run_id.application, run_id.run)}
        of_logs = links.objects_page(self._aws.region, folder)
        return pages if of_logs == folder else {**pages, logs: of_logs}

    def logs_of(self, run_id: JobRunId) -> str:
        """Return the folder for the logs of a job run's driver."""
        return join(self.folder, "applications", run_id.application, "jobs", run_id.run, "SPARK_DRIVER") + "/"

    def driver_logs(self, run_id: JobRunId, within_seconds: float) -> tuple[Log, ...]:
        """Return the driver's logs, waiting for them if there are none yet. Raises nothing.

        When they arrive is not documented, and a job run that never had a driver has none.
        """
        folder, objects = self.logs_of(run_id), Objects(self._aws, CALL_PATIENCE_SECONDS)

        def look() -> tuple[Log, ...]:
            work.heartbeat()
            with suppress(AwsError, InvalidValue):
                return read_newest(objects, objects.entries(folder))
            return ()

        with self.report(f"Waiting for the logs of job run {run_id}", at_most_seconds=within_seconds) as work:
            return poll(self._aws.clock, look, within_seconds, bool, LOG_POLL_SECONDS)
