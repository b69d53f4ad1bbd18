"""Run programs elsewhere: package a job, find or submit it, follow its live log, wait, and explain a failure.

All attempts at a step count as one: the next attempt takes up what a killed attempt has begun or finished, and the same
program with the same parameters runs once in a step. Which service runs a job is its backend's business.
"""

from __future__ import annotations

import json
import logging
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import PrivateAttr

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import base_uri
from emr_pipelines.aws.objects import Objects
from emr_pipelines.aws.preflight import Settings, validate_settings
from emr_pipelines.backends.base import Backend, End, Handle, JobState
from emr_pipelines.backends.watch import Watch
from emr_pipelines.clock import Wakeup, poll
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import CredentialsMissing, EmrPipelinesError, StepFailed, TimedOut
from emr_pipelines.job.inputs import Inputs, copy_inputs
from emr_pipelines.job.live_log import LiveFeed, pipes_session
from emr_pipelines.job.package import Job, Package, StagingArea, Submission, digest_of, next_attempt, package
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.remote.files import find_text_files
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.report import Lines, Reporter
from emr_pipelines.runners.base import ParamsT, ResultT
from emr_pipelines.runners.failures import advised, failures
from emr_pipelines.runners.lineage import asked_by, label_of
from emr_pipelines.runners.locations import check_locations
from emr_pipelines.runners.remote_settings import RemoteSettings
from emr_pipelines.spark_lines import notes_on

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession


RESULT_SECONDS = 15.0  # within which a result is seen after its job has succeeded
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*:/")  # such as s3://, hdfs:// or jdbc:postgresql://


class RemoteSparkRunner(RemoteSettings):
    """Runs programs on a service of AWS. A subclass says which: its `backend`, `submission` and `sought_on`."""

    _built: StagingArea | None = PrivateAttr(default=None)
    _inputs: list[Inputs] = PrivateAttr(default_factory=list)
    _told_of_release: bool = PrivateAttr(default=False)

    @abstractmethod
    def backend(self, context: dg.AssetExecutionContext, identity: str) -> AbstractContextManager[Backend]:
        """Provide the backend for a job with this identity; it may be shared with other jobs."""

    @abstractmethod
    def submission(self) -> Submission:
        """Return how programs are to run. Raises InvalidValue."""

    @abstractmethod
    def sought_on(self) -> Sequence[Any]:
        """Return JSON values that identify where jobs are searched, such as the cluster."""

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        self._built, self._inputs, self._told_of_release = None, [], False

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        with failures(context, self.retries, self.retry_delay_seconds):
            check_locations(f"{program.__name__}: params", codec.encode(params), context.log.warning)
            packed = self._package(context, program, params)
            job = packed.job
            result = self._result_of(job)
            if result is None:
                for warning in job.warnings:
                    context.log.warning(warning)
                packed.upload(self._staging(), context.log.info, self._reporter(context.log))
                self._work(context, job)
                result = self._result_of(job, within_seconds=RESULT_SECONDS)
            else:
                context.log.info(f"An earlier attempt has done this: {job.result}")
            if result is None:
                raise StepFailed(
                    f"The job succeeded and left no result in {job.result}; a program must not end the process "
                    "itself (sys.exit, os._exit)."
                )
            return cast("ResultT", codec.decode(annotation_of(program, "return"), result["result"], "result"))

    def work_id(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> str:
        with failures(context, self.retries, self.retry_delay_seconds):
            return digest_of([self._package(context, program, params).job.identity, *self.sought_on()])

    def has_result(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> bool:
        with failures(context, self.retries, self.retry_delay_seconds):
            return self._result_of(self._package(context, program, params).job) is not None

    def stage_inputs(self, context: dg.AssetExecutionContext, sources: Sequence[str]) -> list[str]:
        here = [source for source in sources if source.startswith("file:") or not URI.match(source)]
        if not here:
            return list(sources)
        with failures(context, self.retries, self.retry_delay_seconds):
            paths = [Path(file.path) for file in find_text_files(here)]
            inputs = copy_inputs(self._staging(), here, paths, self._reporter(context.log))
            self._inputs.append(inputs)
            copied = f"{inputs.copied} of {pluralize(len(paths), 'file')}"
            context.log.info(f"Copied {copied} of {', '.join(here)} to {inputs.folder}.")
            return [inputs.folder, *(source for source in sources if source not in here)]

    def named_here(self, text: str) -> str:
        for inputs in self._inputs:
            text = inputs.named_here(text)
        return text

    def _package(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Package:
        return package(
            program,
            params,
            asked_by=asked_by(context),
            label=label_of(context),
            staging=self._staging(),
            how=self.submission(),
        )

    def _work(self, context: dg.AssetExecutionContext, job: Job) -> None:
        """Run a job until it has succeeded: a new job, or the one of an earlier attempt."""

        staging, wakeup = self._staging(), Wakeup()
        with self.backend(context, job.identity) as backend:
            backend.check(job)
            handle = backend.find(job)
            if handle is None and self._result_of(job):
                return  # the job has ended since the result was looked for
            attempt = handle.attempt if handle else next_attempt(staging.objects, job)
            folder = job.attempt_folder(attempt)
            hasty = Objects(staging.aws, patience_seconds=0)  # no retries: it is polled anyway
            feed = LiveFeed(hasty, folder, staging.aws.clock, wakeup, context.log.info)
            with pipes_session(context, staging.objects, folder, feed) as pipes:
                if handle is None:
                    who = f"{context.run.run_id} {context.retry_number}"
                    handle = backend.submit(job, attempt, who, pipes.get_bootstrap_cli_arguments())
                else:
                    context.log.info(f"Watching {handle} of an earlier attempt, which is {handle.words}.")
                end = self._watch(context, backend, handle, wakeup, reports_progress=True)
            if end.status.state is JobState.STOPPED and not end.timed_out and self._result_of(job):
                context.log.warning(
                    f"The program was done when {handle} became {end.status.words}: somebody ended it or its cluster."
                )
            else:  # the last messages of the program have arrived
                self._raise_unless_succeeded(backend, handle, end, feed.exception, job.package)
            with suppress(EmrPipelinesError):  # messages that have been read, or that killed attempts left
                staging.objects.delete([entry.uri for entry in staging.objects.entries(job.attempt_folders)])

    def _watch(
        self,
        context: dg.AssetExecutionContext,
        backend: Backend,
        handle: Handle,
        wakeup: Wakeup,
        *,
        reports_progress: bool = False,
    ) -> End:
        """Wait for the end of a job, and cancel it when the wait fails or a deadline passes."""
        poll, clock, report = partial(backend.poll, handle), self._staging().aws.clock, self._reporter(context.log)
        try:
            self._meanwhile()
            end = Watch(poll, clock, self.deadlines(), wakeup, report, reports_progress).wait()
        except BaseException as error:
            if not isinstance(error, CredentialsMissing):  # nothing can be cancelled then, and a retry finds the job
                with suppress(EmrPipelinesError):  # the first error must be heard
                    context.log.info(f"Cancelling {handle}.")
                    # an interrupted process may be killed soon: ending the cluster comes before waiting for the job
                    backend.cancel(handle, hurry=not isinstance(error, Exception))
            raise
        if end.timed_out:
            context.log.info(f"Cancelling {handle}.")
            try:
                backend.cancel(handle)
            except CredentialsMissing:
                raise  # a retry with other credentials finds the job
            except EmrPipelinesError as error:  # the deadline that passed must be heard
                context.log.error(f"Could not cancel {handle}, which may still be running: {error}")  # noqa: TRY400
        return end

    def _raise_unless_succeeded(
        self,
        backend: Backend,
        handle: Handle,
        end: End,
        exception: RemoteException | None,
        package: str,
    ) -> None:
        """Raise an error that explains why a job did not succeed; return if it did. package: the program's own."""
        if end.status.state is JobState.SUCCEEDED:
            return
        cause = advised(backend.explain(handle, end, exception, package, alone=self._is_alone()))
        kind = TimedOut if end.timed_out else StepFailed
        facts = {"kind": str(cause.kind), "hint": cause.hint, "logs": cause.log_uri, **cause.pages}
        raise kind(self.named_here(str(cause)), cause.retryable, facts)

    def _tell_of_release(self, context: dg.AssetExecutionContext, label: str) -> None:
        """Log once in a run how a release differs from the Spark that is installed here."""
        if self._told_of_release:
            return
        self._told_of_release = True
        warnings, remarks = notes_on(label)
        for text in warnings:
            context.log.warning(text)
        for text in remarks:
            context.log.info(text)

    def _meanwhile(self) -> None:
        """Do slow local work while the job runs."""

    def _is_alone(self) -> bool:
        """Whether no other step of the run uses the cluster of this step's jobs."""
        return False

    def _result_of(self, job: Job, within_seconds: float = 0) -> dict[str, Any] | None:
        staging = self._staging()
        data = poll(staging.aws.clock, lambda: staging.objects.read(job.result), within_seconds)
        return None if data is None else _read_result(data, job.result)

    def _staging(self) -> StagingArea:
        if self._built is None:
            aws = Aws()
            validate_settings(Settings(aws, os.environ, self.bucket))
            self._built = StagingArea.at(aws, base_uri(self.bucket))
        return self._built

    def _reporter(self, log: logging.Logger) -> Reporter:
        return Lines(log.info, self._staging().aws.clock.now)


def _read_result(data: bytes, uri: str) -> dict[str, Any]:
    """Return the content of a result file. Raises StepFailed when no program wrote it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "result" not in found:
        raise StepFailed(f"{uri} is not the result of a program; delete it and materialize the asset again.")
    return found
