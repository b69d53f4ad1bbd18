"""Run programs on Amazon EMR: on a cluster that is launched for the first of them and ended when the run ends."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from emr_pipelines.aws.deployment import deployment_name
from emr_pipelines.aws.redaction import masked, reject_known_secrets
from emr_pipelines.backends.base import Handle
from emr_pipelines.backends.emr.backend import EmrBackend
from emr_pipelines.backends.emr.steps import AddedStep, Step
from emr_pipelines.backends.names import Scope, ScopeKind, step_name, step_prefix
from emr_pipelines.backends.tags import tag_value
from emr_pipelines.clock import Wakeup
from emr_pipelines.errors import CredentialsMissing
from emr_pipelines.job.package import Package, digest_of
from emr_pipelines.runners.billing import bill_owed, end_and_bill, end_clusters_of_run, prepare_bill
from emr_pipelines.runners.emr_settings import EmrSettings
from emr_pipelines.runners.failures import failures
from emr_pipelines.runners.lineage import asked_by, first_attempt, first_attempt_of, label_of
from emr_pipelines.runners.locations import check_locations
from emr_pipelines.runners.run_steps import RunSteps
from emr_pipelines.spark_lines import release

CLUSTER_TAG = "emr_pipelines/cluster_id"  # of a Dagster run: the last cluster that one of its processes acquired
# A service role with AWS's own policy, AmazonEMRServicePolicy_v2, starts no instances for a cluster without this tag.
FOR_SERVICE_ROLE = {"for-use-with-amazon-emr-managed-policies": "true"}


class EmrSparkRunner(EmrSettings):
    """Runs programs on a transient EMR cluster, which the first program launches and the run's last process ends.

        EmrSparkRunner(bucket="my-bucket", cluster={"preset": "spot"}, spark_config={"spark.executor.memory": "4g"})

    Every setting can also come from run config; docs/configuration.md lists them with units and defaults. Raises
    InvalidValue for an invalid setting when definitions load. A program that fails raises dagster's Failure, whose
    first line is the probable cause; infrastructure failures are retried (`retries`).
    """

    _shared: EmrBackend | None = PrivateAttr(default=None)
    _run_steps: RunSteps | None = PrivateAttr(default=None)
    _sharing: Any = PrivateAttr(default_factory=threading.Lock)

    def run_step(self, context: dg.AssetExecutionContext, step: Step) -> AddedStep:
        """Run any other step to its end, and return it as EMR described it last. For example:

            spark.run_step(context, hive_script("totals", "s3://my-bucket/totals.q"))

        `emr_pipelines.backends.emr.steps` makes steps for Spark jars, Hive, Pig, Hadoop streaming, shell commands and
        S3DistCp. All attempts at a step of a run count as one. Raises InvalidValue, before a launch, for a step that
        EMR would refuse, and Failure as `run` does.
        """

        with failures(context, self.retries, self.retry_delay_seconds):
            reject_known_secrets(f"The step {step.name!r}", step.request())  # before there is a cluster
            check_locations(f"{step.name}: args", list(step.args))
            label = f"{label_of(context)} {step.name}"
            identity = digest_of([*asked_by(context), step.request(), release(self.spec().label).spark])
            # here, so that a name that is too long is refused before a launch
            named = replace(step, name=step_name(label, identity, uuid.uuid4().hex[:8], context.run.run_id))
            with self.backend(context, identity) as backend:
                found = backend.find_step(step_prefix(label, identity))
                handle = Handle(found.id if found else backend.add_step(named), noun="step")
                end = self._watch(context, backend, handle, Wakeup())
                self._raise_unless_succeeded(backend, handle, end, None, "")
                return backend.step(handle)

    def sought_on(self) -> Sequence[Any]:
        """Jobs are looked for on the clusters of one description only: one may still run on one of another."""
        return self.scope, self.pool_size, self.spec().digest, deployment_name()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        log = context.log or dg.get_dagster_logger()
        try:
            backend = self._shared
            if backend is not None and self.scope == "pool":
                self._follow(backend, log)
                if held := backend.clusters.held:
                    log.info(f"Cluster {held.id} stays in its pool until it has been idle for long enough.")
                bill_owed(backend.clusters, self.prices, context.instance, log)
            self._end_clusters_of_run(context, log)
        except Exception as error:  # noqa: BLE001 (the steps' result stands; EMR's idle timeout ends the cluster)
            log.warning(f"Clusters that other processes of the run may have left end when they are idle: {error}")
        finally:
            self._shared = self._run_steps = None
            super().teardown_after_execution(context)

    def _end_clusters_of_run(self, context: dg.InitResourceContext, log: logging.Logger) -> None:
        """End the clusters of the run, also those that other processes left, if this is its last process."""
        instance = context.instance
        run = instance.get_run_by_id(context.run.run_id) if instance and context.run else None
        if instance is None or run is None:
            return
        chain, steps = first_attempt_of(instance, run), self._run_steps or RunSteps.of_run(instance, run)
        backend, first = self._shared if self.scope == "run" else None, chain == run.run_id
        if backend is None:
            if first and CLUSTER_TAG not in run.tags:
                return  # no process of the run has acquired a cluster for it
            backend = self._backend_for("run", self._run_key(chain), {})
        self._follow(backend, log)
        # Each runner ends its own cluster alone where this process is the run's only one, and where the run was given
        # up: then a retry may have the others.
        keys = self._run_key(chain) if (first and steps.all_here) or steps.given_up() else f"{chain}-"
        end_clusters_of_run(backend.clusters, steps, keys, self.prices, log)
        bill_owed(backend.clusters, self.prices, instance, log)

    def _package(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Package:
        self._run_steps = RunSteps.of(context, EmrSparkRunner)
        return super()._package(context, program, params)

    @contextmanager
    def backend(self, context: dg.AssetExecutionContext, identity: str) -> Iterator[EmrBackend]:
        """Provide the cluster for a step, by scope."""
        self._run_steps = RunSteps.of(context, EmrSparkRunner)
        with self._sharing:  # an asset may run programs in several threads
            backend = self._shared or self._new_backend(context, identity)
            if self.scope != "asset":
                self._shared = backend
        self._follow(backend, context.log)
        if self.scope == "run":
            backend.run_log.on_cluster_id = lambda cluster_id: context.instance.add_run_tags(
                context.run.run_id, {CLUSTER_TAG: cluster_id}
            )
        try:
            yield backend
        except CredentialsMissing as error:
            raise CredentialsMissing(f"{error}\n{backend.clusters.what_stays()}".rstrip(), error.code) from error
        finally:
            if self.scope == "asset":
                end_and_bill(backend.clusters, self.prices, context.instance, context.log)

    def _follow(self, backend: EmrBackend, log: logging.Logger) -> None:
        """Have a backend log to the log of the step that uses it now."""
        told = backend.run_log
        told.log, told.warn = (lambda text: log.info(masked(text))), (lambda text: log.warning(masked(text)))
        told.report = self._reporter(log)

    def _new_backend(self, context: dg.AssetExecutionContext, identity: str) -> EmrBackend:
        self._tell_of_release(context, self.spec().label)
        chain = first_attempt(context)
        keys = {"asset": f"{chain}-{identity}", "run": self._run_key(chain), "pool": self.spec().digest}
        tags = {
            "emr_pipelines:run_id": context.run.run_id,
            "emr_pipelines:job": tag_value(context.run.job_name),
            "emr_pipelines:asset": tag_value(label_of(context)),
        }
        return self._backend_for(self.scope, keys[self.scope], tags)

    def _run_key(self, chain: str) -> str:
        """Two runners of one run may describe two clusters, so the key has a digest of the description."""
        return f"{chain}-{self.spec().digest}"

    def _backend_for(self, kind: ScopeKind, key: str, tags: Mapping[str, str]) -> EmrBackend:
        staging, spec, deployment = self._staging(), self.spec(), deployment_name()
        of_spec = {"emr_pipelines:deployment": deployment, "emr_pipelines:spec": spec.digest}
        return EmrBackend(
            staging.aws,
            spec,
            Scope(kind, key, self.pool_size),
            staging.base,
            deployment,
            {**tags, **of_spec, **FOR_SERVICE_ROLE},
            self.deadlines(),
            self.log_wait_seconds,
            self.deploy_mode,
            self.queue,
        )

    def _meanwhile(self) -> None:
        prepare_bill()

    def _is_alone(self) -> bool:
        alone = self._run_steps is not None and self._run_steps.alone
        return self.scope == "asset" or (self.scope == "run" and alone)
