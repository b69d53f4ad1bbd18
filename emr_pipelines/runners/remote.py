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
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from emr_pipelines.aws.deployment import base_uri, bucket_and_prefix
from emr_pipelines.aws.redaction import reject_secrets
from emr_pipelines.errors import CredentialsMissing, EmrPipelinesError, InvalidValue, StepFailed, TimedOut
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.billing import prepare_bill
from emr_pipelines.runners.failures import advised, failures
from emr_pipelines.runners.lineage import lineage
from emr_pipelines.runners.locations import check_locations

if TYPE_CHECKING:  # boto3 takes half a second to import, and a code location that only looks at the graph needs none
    from pyspark.sql import SparkSession

    from emr_pipelines.backends.base import Backend, Deadlines, End, Handle
    from emr_pipelines.clock import Wakeup
    from emr_pipelines.diagnosis.exception_parser import RemoteException
    from emr_pipelines.job.inputs import Inputs
    from emr_pipelines.job.package import Job, Package, Place, Submission
    from emr_pipelines.report import Reporter
    from emr_pipelines.terminal import Bars

RESULT_SECONDS = 15.0  # within which a result is seen after its job has succeeded
LONGEST_WAIT = 10_000_000  # minutes or seconds: longer than anyone means, but still a valid date
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*:/")  # such as s3://, hdfs:// or jdbc:postgresql://


class RemoteSparkRunner(SparkRunner):
    """Runs programs on a service of AWS. A subclass says which: its `backend`, `submission` and `sought_on`."""

    bucket: str = Field(
        default="",
        description="The bucket for code, logs and results: my-bucket, or s3://my-bucket/prefix. Empty: the value of "
        "EMR_PIPELINES_BUCKET.",
    )
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties for the programs, for instance {'spark.executor.memory': '4g'}."
    )
    jars: list[str] = Field(
        default=[],
        description="Jars for the programs: files on this machine, or s3:// URIs, as in [s3://my-bucket/my.jar].",
    )
    files: list[str] = Field(
        default=[],
        description="Files for the programs: on this machine, or s3:// URIs, as in [my.conf]. Driver and executors "
        "find them with SparkFiles.get('my.conf').",
    )
    ship_dependencies: bool = Field(
        default=True,
        description="Send the packages in the programs' REQUIREMENTS to the cluster. False: the cluster has them, from "
        "a bootstrap action or an image.",
    )
    provisioning_minutes: float = Field(
        default=60, gt=0, description="How long a cluster may take to start; more than 0."
    )
    queueing_minutes: float = Field(
        default=24 * 60, gt=0, description="How long a step may wait for other steps; more than 0."
    )
    running_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may run; more than 0.")
    log_wait_seconds: float = Field(
        default=330,
        ge=0,
        description="How long to wait for the logs of a failed step when nothing else shows why it failed. EMR pushes "
        "logs every 300 seconds, and once more when the cluster ends. 0: do not wait.",
    )
    retries: int = Field(
        default=2,
        ge=0,
        description="How many times to retry a step that fails because of AWS, not the program; 0 or more.",
    )
    retry_delay_seconds: float = Field(default=30, ge=0, description="How long to wait before such a retry; 0 or more.")

    _built: Place | None = PrivateAttr(default=None)
    _bars: Bars | None = PrivateAttr(default=None)
    _inputs: list[Inputs] = PrivateAttr(default_factory=list)

    @field_validator("bucket")
    @classmethod
    def _usable(cls, told: str) -> str:
        if told.strip() and not isinstance(told, dg.EnvVar):
            bucket_and_prefix(told.strip(), "bucket")
        return told

    @field_validator("spark_config")
    @classmethod
    def _no_secrets(cls, told: dict[str, str]) -> dict[str, str]:
        reject_secrets("spark_config", told)
        return told

    @field_validator(
        "provisioning_minutes", "queueing_minutes", "running_minutes", "log_wait_seconds", "retry_delay_seconds"
    )
    @classmethod
    def _with_an_end(cls, told: float, info: ValidationInfo) -> float:
        """Reject a wait without an end: what is waited for costs money meanwhile."""
        if told > LONGEST_WAIT:
            raise InvalidValue(str(info.field_name), told, f"{LONGEST_WAIT:,} or less")
        return told

    @abstractmethod
    def backend(self, context: dg.AssetExecutionContext, identity: str) -> AbstractContextManager[Backend]:
        """Provide the backend for a job with this identity; it may be shared with other jobs."""

    @abstractmethod
    def submission(self) -> Submission:
        """Return how programs are to run. Raises InvalidValue."""

    @abstractmethod
    def sought_on(self) -> Sequence[Any]:
        """Return, as JSON values, what tells one place where jobs are looked for from another, such as the cluster."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        from emr_pipelines.terminal import bars_on_stderr

        self._bars = bars_on_stderr()  # now: Dagster redirects the stderr of a step to a file

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        self._built, self._inputs = None, []
        if self._bars is not None:
            self._bars.close()
            self._bars = None

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
                packed.upload(self._place(), context.log.info, self._reporter(context.log))
                self._work(context, job)
                result = self._result_of(job, within_seconds=RESULT_SECONDS)
            else:
                context.log.info(f"An earlier attempt has done this: {job.result}")
            if result is None:
                raise StepFailed(
                    f"The step completed and left no result in {job.result}; a program must not end the process "
                    "itself (sys.exit, os._exit)."
                )
            return cast("ResultT", codec.decode(annotation_of(program, "return"), result["result"], "result"))

    def check_storage(self, address: str) -> None:
        from emr_pipelines.aws.preflight import check_storage

        check_storage(address)

    def work_id(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> str:
        from emr_pipelines.job.package import digest_of

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
        from emr_pipelines.job.inputs import copy_inputs
        from emr_pipelines.remote.files import find_text_files

        here = [source for source in sources if source.startswith("file:") or not URI.match(source)]
        if not here:
            return list(sources)
        with failures(context, self.retries, self.retry_delay_seconds):
            paths = [Path(file.path) for file in find_text_files(here)]
            inputs = copy_inputs(self._place(), here, paths, self._reporter(context.log))
            self._inputs.append(inputs)
            copied = f"{inputs.copied} of {pluralize(len(paths), 'file')}"
            context.log.info(f"Copied {copied} of {', '.join(here)} to {inputs.folder}.")
            return [inputs.folder, *(source for source in sources if source not in here)]

    def named_here(self, text: str) -> str:
        for inputs in self._inputs:
            text = inputs.named_here(text)
        return text

    def deadlines(self) -> Deadlines:
        from emr_pipelines.backends.base import Deadlines

        return Deadlines(60 * self.provisioning_minutes, 60 * self.queueing_minutes, 60 * self.running_minutes)

    def _package(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Package:
        from emr_pipelines.job.package import package

        return package(
            program,
            params,
            asked_by=asked_by(context),
            label=label_of(context),
            place=self._place(),
            how=self.submission(),
        )

    def _work(self, context: dg.AssetExecutionContext, job: Job) -> None:
        """Run a job until it has succeeded: a new one, or that of an earlier attempt."""
        from emr_pipelines.aws.objects import Objects
        from emr_pipelines.backends.base import JobState
        from emr_pipelines.clock import Wakeup
        from emr_pipelines.job.live_log import LiveFeed, pipes_session
        from emr_pipelines.job.package import next_attempt

        place, wakeup = self._place(), Wakeup()
        with self.backend(context, job.identity) as backend:
            backend.check(job)
            handle = backend.find(job)
            if handle is None and self._result_of(job):
                return  # the job has ended since the result was looked for
            attempt = handle.attempt if handle else next_attempt(place.objects, job)
            folder = job.attempt_folder(attempt)
            hasty = Objects(place.aws, patience_seconds=0)  # no retries: it is polled anyway
            feed = LiveFeed(hasty, folder, place.aws.clock, wakeup, context.log.info)
            with pipes_session(context, place.objects, folder, feed) as pipes:
                if handle is None:
                    who = f"{context.run.run_id} {context.retry_number}"
                    handle = backend.submit(job, attempt, who, pipes.get_bootstrap_cli_arguments())
                else:
                    context.log.info(f"Step {handle.id}, of an earlier attempt, is {handle.words}; watching that one.")
                end = self._watch(context, backend, handle, wakeup, reports_progress=True)
            if end.status.state is JobState.STOPPED and not end.timed_out and self._result_of(job):
                context.log.warning(
                    f"Step {handle.id} is {end.status.words}: somebody ended it, or its cluster; but its program was "
                    "done."
                )
            else:  # the last messages of the program have arrived
                self._raise_unless_succeeded(backend, handle, end, feed.exception, job.package)
            with suppress(EmrPipelinesError):  # messages that have been read, or that killed attempts left
                place.objects.delete([entry.uri for entry in place.objects.entries(job.attempt_folders)])

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
        from emr_pipelines.backends.watch import Watch

        poll, clock, report = partial(backend.poll, handle), self._place().aws.clock, self._reporter(context.log)
        try:
            prepare_bill()
            end = Watch(poll, clock, self.deadlines(), wakeup, report, reports_progress).wait()
        except BaseException as error:
            if not isinstance(error, CredentialsMissing):  # nothing can be cancelled then, and a retry finds the job
                with suppress(EmrPipelinesError):  # the first error must be heard
                    context.log.info(f"Cancelling step {handle.id}.")
                    # an interrupted process may be killed soon: ending the cluster comes before waiting for the job
                    backend.cancel(handle, hurry=not isinstance(error, Exception))
            raise
        if end.timed_out:
            context.log.info(f"Cancelling step {handle.id}.")
            try:
                backend.cancel(handle)
            except CredentialsMissing:
                raise  # a retry with other credentials finds the job
            except EmrPipelinesError as error:  # the deadline that passed must be heard
                context.log.error(f"Step {handle.id} could not be cancelled and may still be running: {error}")  # noqa: TRY400
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
        from emr_pipelines.backends.base import JobState

        if end.status.state is JobState.SUCCEEDED:
            return
        found = backend.explain(handle, end, exception, package, alone=self._is_alone())
        cause = advised(found)
        kind = TimedOut if end.timed_out else StepFailed
        facts = {"kind": str(cause.kind), "hint": cause.hint, "logs": cause.log_uri, **cause.pages}
        raise kind(self.named_here(str(cause)), cause.retryable, facts)

    def _is_alone(self) -> bool:
        """Whether no other step of the run uses what a job of this one runs on."""
        return False

    def _result_of(self, job: Job, within_seconds: float = 0) -> dict[str, Any] | None:
        place = self._place()
        until = place.aws.clock.now() + within_seconds
        while (data := place.objects.read(job.result)) is None:
            if place.aws.clock.now() >= until:
                return None
            place.aws.clock.pause(1)
        return _read_result(data, job.result)

    def _place(self) -> Place:
        if self._built is None:
            from emr_pipelines.aws.client import Aws
            from emr_pipelines.aws.preflight import Settings, validate_settings
            from emr_pipelines.job.package import Place

            aws = Aws()
            validate_settings(Settings(aws, os.environ, self.bucket))
            self._built = Place.at(aws, base_uri(self.bucket))
        return self._built

    def _reporter(self, log: logging.Logger) -> Reporter:
        """Report progress in the run's log, and in the terminal if a person watches it."""
        from emr_pipelines.report import Both, Lines

        lines = Lines(log.info, self._place().aws.clock.now)
        return Both(self._bars, lines) if self._bars else lines


def label_of(context: dg.AssetExecutionContext) -> str:
    """Return who a job belongs to, in one word: its assets' keys, or the op if there are none or very many."""
    from emr_pipelines.backends.emr.names import MAX_LABEL, OP

    op = f"{OP}{context.op_execution_context.op.name}"
    if not context.has_assets_def:
        return op
    keys = ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    return keys if len(keys) <= MAX_LABEL else op


def asked_by(context: dg.AssetExecutionContext) -> tuple[str, str]:
    """Return what all attempts at this step have in common: the first run that attempted it, and the step."""
    return lineage(context), context.get_step_execution_context().step.key


def _read_result(data: bytes, uri: str) -> dict[str, Any]:
    """Return the content of a result file. Raises StepFailed when no program wrote it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "result" not in found:
        raise StepFailed(f"{uri} is not the result of a program; delete it and materialize the asset again.")
    return found
