"""Run programs on Amazon EMR Serverless: a job run for each program, on an application that starts and stops itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, field_validator

from emr_pipelines.aws.deployment import deployment_name
from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.aws.objects import join
from emr_pipelines.aws.redaction import masked, reject_known_secrets
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.backends.emr_serverless.backend import UNFINISHED, EmrServerlessBackend, Settings
from emr_pipelines.backends.emr_serverless.bills import RESOURCES
from emr_pipelines.backends.emr_serverless.job_runs import JobRun
from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
from emr_pipelines.backends.emr_serverless.states import JobRunState
from emr_pipelines.backends.emr_serverless.work import Work
from emr_pipelines.backends.emr_serverless.workers import workers_of
from emr_pipelines.backends.encryption import encryption_settings
from emr_pipelines.backends.forms import ROLE_ARN, ROLE_ARN_ALLOWED
from emr_pipelines.backends.tags import ascii_tag_value
from emr_pipelines.clock import Wakeup
from emr_pipelines.costs.pricing import listed_prices
from emr_pipelines.environment import setting
from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.package import Submission, attempts_in, digest_of
from emr_pipelines.runners.billing import bill_job_run
from emr_pipelines.runners.descriptions import checked, config_of, parsed
from emr_pipelines.runners.emr_settings import validate_prices
from emr_pipelines.runners.failures import failures
from emr_pipelines.runners.lineage import asked_by, label_of
from emr_pipelines.runners.locations import check_locations
from emr_pipelines.runners.remote import RemoteSparkRunner
from emr_pipelines.spark_lines import release

if TYPE_CHECKING:
    ApplicationConfig = Mapping[str, Any] | ApplicationSpec
else:
    ApplicationConfig = config_of(ApplicationSpec)  # its schema for run config and the Launchpad


WORTH_ATTACHING = UNFINISHED | {JobRunState.SUCCESS}


class EmrServerlessSparkRunner(RemoteSparkRunner):
    """Runs each program as a job run on EMR Serverless.

        EmrServerlessSparkRunner(
            bucket="my-bucket", execution_role="arn:aws:iam::123456789012:role/jobs", application={"preset": "small"}
        )

    The application is found, or created once, and stops itself when it is idle. Every setting can also come from run
    config; docs/configuration.md lists them with units and defaults. Raises InvalidValue for an invalid setting when
    definitions load. A program that fails raises dagster's Failure, whose first line is the probable cause;
    infrastructure failures are retried (`retries`).
    """

    application: ApplicationConfig = Field(
        default={},
        description="The application, for instance {preset: small}, or {id: 00f1abcdefgh1234}. Omitted members have "
        "inexpensive defaults: workers of 4 vCPU and 16 GB, and an idle timeout of 15 minutes.",
    )
    execution_role: str = Field(
        default="",
        description="The ARN of the job runs' role. Empty: the value of EMR_PIPELINES_EXECUTION_ROLE.",
    )
    cancel_grace_seconds: int = Field(
        default=30, ge=0, le=600, description="How long a cancelled program may go on, to clean up; 0 to 600."
    )
    prices: dict[str, float] = Field(
        default={},
        description="USD per vcpu_hour, memory_gb_hour and storage_gb_hour. Empty: AWS's price list, if the "
        "credentials may read it.",
    )

    @field_validator("application", mode="plain")
    @classmethod
    def _described(cls, told: Any) -> Any:
        return checked(ApplicationSpec, told)

    @field_validator("prices")
    @classmethod
    def _priced(cls, told: dict[str, float]) -> dict[str, float]:
        for name in told:
            if name not in RESOURCES:
                raise InvalidValue.unknown("A name in prices", name, RESOURCES)
        return validate_prices(told)

    def spec(self) -> ApplicationSpec:
        """Return the application with the current values of its variables. Raises InvalidValue."""
        return parsed(ApplicationSpec, self.application, {"id": setting("EMR_PIPELINES_APPLICATION")})

    def role(self) -> str:
        """Return the ARN of the execution role. Raises InvalidValue."""
        name = "execution_role" if self.execution_role.strip() else "EMR_PIPELINES_EXECUTION_ROLE"
        arn = self.execution_role.strip() or setting("EMR_PIPELINES_EXECUTION_ROLE")
        if not ROLE_ARN.fullmatch(arn):
            raise InvalidValue(name, arn, f"the ARN of the job runs' role, {ROLE_ARN_ALLOWED}")
        return arn

    def submission(self) -> Submission:
        """Return how programs are to run. Raises InvalidValue."""
        spec, role = self.spec(), self.role()
        conf = {
            **spec.conf(),
            **encryption_settings(Encryption.configured(), spec.release_label),
            **self.spark_config,
        }
        workers_of(conf)
        return Submission(
            conf=conf,
            jars=tuple(self.jars),
            files=tuple(self.files),
            architecture=spec.architecture,
            python=spec.python,
            ship_dependencies=self.ship_dependencies,
            details=("emr-serverless", role, spec.digest, release(spec.release_label).spark, spec.python),
        )

    def run_step(self, context: dg.AssetExecutionContext, step: Step) -> JobRun:
        """Run spark-submit to its end, and return the job run as EMR Serverless described it last. For example:

            spark.run_step(context, spark_jar("totals", "s3://my-bucket/totals.jar", "org.example.Totals"))

        `spark_submit` and `spark_jar` of `emr_pipelines.backends.emr.steps` make such steps; others are for clusters
        only. All attempts at a step of a run count as one. Raises InvalidValue, before anything starts, for a step that
        cannot run there, and Failure as `run` does.
        """
        with failures(context, self.retries, self.retry_delay_seconds):
            reject_known_secrets(f"The step {step.name!r}", step.request())
            check_locations(f"{step.name}: args", list(step.args))
            how = self.submission()
            identity = digest_of([*asked_by(context), step.request(), *how.details, dict(how.conf)])
            folder = join(self._staging().of("steps"), identity)
            work = Work.of_spark_submit(label_of(context), identity, folder, step.args, how.conf)
            with self.backend(context, identity) as backend:
                backend.check_work(work)
                handle = backend.find_work(work, WORTH_ATTACHING)
                if handle is None:
                    who = f"{context.run.run_id} {context.retry_number} {step.name}"
                    attempt = max(attempts_in(self._staging().objects, folder), default=0) + 1
                    handle = backend.start(work, attempt, who)
                end = self._watch(context, backend, handle, Wakeup())
                self._raise_unless_succeeded(backend, handle, end, None, "")
                return backend.job_run(handle)

    def sought_on(self) -> Sequence[Any]:
        return ("emr-serverless", self.spec().digest, deployment_name())

    @contextmanager
    def backend(self, context: dg.AssetExecutionContext, identity: str) -> Iterator[EmrServerlessBackend]:
        staging, spec, deployment = self._staging(), self.spec(), deployment_name()
        if not spec.id:  # the release of the user's own application is known to the service only
            self._tell_of_release(context, spec.release_label)
        encryption = Encryption.configured()
        settings = Settings(
            spec=spec,
            role=self.role(),
            base=staging.base,
            deployment=deployment,
            tags={
                "emr_pipelines:deployment": deployment,
                "emr_pipelines:run_id": context.run.run_id,
                "emr_pipelines:job": ascii_tag_value(context.run.job_name),
                "emr_pipelines:asset": ascii_tag_value(label_of(context)),
                "emr_pipelines:identity": identity,
            },
            deadlines=self.deadlines(),
            log_wait_seconds=self.log_wait_seconds,
            grace_seconds=self.cancel_grace_seconds,
            log_key=encryption.key,
        )
        log = context.log
        backend = EmrServerlessBackend(
            staging.aws, settings, lambda text: log.info(masked(text)), self._reporter(context.log)
        )
        try:
            yield backend
        except Exception:
            self._bill(context, backend)
            raise
        self._bill(context, backend)  # not when this process is interrupted, and may be killed soon

    def _bill(self, context: dg.AssetExecutionContext, backend: EmrServerlessBackend) -> None:
        listed = None if self.prices else listed_prices(self._staging().aws)
        for handle in backend.job_runs:
            bill_job_run(partial(backend.bill, handle, self.prices, listed), handle.id, context.instance, context.log)
