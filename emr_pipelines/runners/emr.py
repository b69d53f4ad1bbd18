"""Run programs on Amazon EMR: on a cluster that is launched for the first of them and gone when the run ends."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator

from emr_pipelines.errors import EmrPipelinesError, InvalidValue, RunFailed, StepFailed, TimedOut
from emr_pipelines.programs import wire
from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.companions import Companions
from emr_pipelines.runners.lineage import first_attempt, lineage

if TYPE_CHECKING:  # boto3 takes half a second to import, and a code location that only looks at the graph needs none
    from pyspark.sql import SparkSession

    from emr_pipelines.emr.artifacts import Artifacts
    from emr_pipelines.emr.client import Aws
    from emr_pipelines.emr.dependencies import Dependencies
    from emr_pipelines.emr.objects import Objects
    from emr_pipelines.emr.session import ScopeKind, Session
    from emr_pipelines.emr.shipment import Shipment
    from emr_pipelines.emr.spec import ClusterSpec
    from emr_pipelines.emr.steps import AddedStep, DeployMode, Step
    from emr_pipelines.emr.watch import End
    from emr_pipelines.runners.feed import LiveFeed

RESULT_SECONDS = 15.0  # how long a result may take to be seen after its step was
DEFAULT_DEPLOYMENT = "default"
CLUSTER_TAG = "emr_pipelines/cluster_id"


@dataclass(frozen=True)
class Place:
    """AWS as this deployment has it: its folder on S3, and what lies there."""

    aws: Aws
    objects: Objects
    base: str
    artifacts: Artifacts
    dependencies: Dependencies

    def of(self, name: str) -> str:
        return f"{self.base}/{name}"


class EmrSparkRunner(SparkRunner):
    """Runs programs as steps on a transient cluster. Entering it does nothing remote; the cluster is launched with the
    first program, shared by what its `scope` says, and ended by whoever leaves last."""

    bucket: str = Field(
        default="",
        description="Where code, logs and results go: my-bucket, or s3://my-bucket/prefix. Empty: what "
        "EMR_PIPELINES_BUCKET says.",
    )
    region: str = Field(default="", description="The AWS region. Empty: what AWS_REGION or the AWS profile says.")
    deployment: str = Field(
        default="",
        description="Keeps deployments in one account apart. Empty: what EMR_PIPELINES_DEPLOYMENT says, or else "
        "'default'.",
    )
    cluster: dict[str, Any] = Field(
        default={},
        description="The cluster, as a ClusterSpec: release_label, primary, core, task or fleets, and so on; what is "
        "left out has a cheap default.",
    )
    scope: str = Field(
        default="run",
        description="Who shares a cluster: 'asset' (nobody), 'run' (the steps of a run), or 'pool' (whoever needs the "
        "same cluster; it ends when idle).",
    )
    pool_size: int = Field(default=1, ge=1, le=100, description="With scope 'pool': at most so many clusters.")
    deploy_mode: str = Field(
        default="client",
        description="Where the driver runs: 'client', on the primary node, or 'cluster', in a YARN container.",
    )
    queue: str = Field(default="", description="The YARN queue of the programs.")
    spark_config: dict[str, str] = Field(
        default={}, description="Spark properties of the programs, for instance {'spark.executor.memory': '4g'}."
    )
    jars: list[str] = Field(default=[], description="Jars for the programs: files of this machine, or s3:// URIs.")
    files: list[str] = Field(
        default=[], description="Files to place where programs run: of this machine, or s3:// URIs."
    )
    ship_dependencies: bool = Field(
        default=True,
        description="Send the packages in the programs' REQUIREMENTS along. False: the cluster has them, by a "
        "bootstrap action or an image.",
    )
    provisioning_minutes: float = Field(default=60, gt=0, description="How long a cluster may take to come up.")
    queueing_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may wait for others.")
    running_minutes: float = Field(default=7 * 24 * 60, gt=0, description="How long a step may run.")
    log_wait_seconds: float = Field(
        default=180,
        ge=0,
        description="How long to wait for the logs of a failed step when nothing else says why it failed.",
    )
    retries: int = Field(
        default=2, ge=0, description="How often a step is tried again that AWS, not the program, made fail."
    )
    retry_delay_seconds: float = Field(default=30, ge=0, description="How long to wait before it is tried again.")
    prices: dict[str, float] = Field(
        default={},
        description="USD per instance and hour, EMR's share included, by instance type, or type and market: "
        "{'m5.xlarge': 0.24, 'm5.xlarge spot': 0.12}. Empty: AWS's price list, where it can be read.",
    )

    _built: Place | None = PrivateAttr(default=None)
    _shared: Session | None = PrivateAttr(default=None)
    _companions: Companions | None = PrivateAttr(default=None)
    _steps_of: dict[str, list[str]] = PrivateAttr(default_factory=dict)

    @field_validator("cluster", mode="before")
    @classmethod
    def _as_data(cls, value: Any) -> Any:
        """A ClusterSpec can be given as such."""
        return value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        with self._failures(context):
            shipment = self._pack(context, program, params)
            result = self._result_of(shipment)
            if result is None:
                self._work(context, shipment)
                result = self._result_of(shipment, within_seconds=RESULT_SECONDS)
            else:
                context.log.info(f"An earlier attempt has done this: {shipment.result}")
            if result is None:
                raise StepFailed(
                    f"The step completed and left no result in {shipment.result}; a program must not end the process "
                    "itself (sys.exit, os._exit)."
                )
            annotation = wire.annotation_of(program, "return")
            return cast("ResultT", wire.decode(annotation, result["result"], "result"))

    def run_step(self, context: dg.AssetExecutionContext, step: Step) -> AddedStep:
        """Run any other step (emr/steps.py makes them: Hive, Pig, a jar, a shell command, ...), to its good end."""
        with self._failures(context):
            identity = json.dumps([lineage(context), context.get_step_execution_context().step.key, step.request()])
            digest = sha256(identity.encode()).hexdigest()[:20]
            named = replace(step, name=f"{step.name} {digest}")
            with self._session(context, digest) as session:
                found = session.find(named.name)
                step_id = found.id if found else session.add(named)
                return self._watched(context, session, step_id, threading.Event(), lambda: False).step

    def bring(
        self,
        context: dg.AssetExecutionContext,
        sources: Sequence[str],
        find: Callable[[Sequence[str]], Sequence[str]],
    ) -> list[str]:
        from emr_pipelines.emr.shipment import inputs_digest

        here = [source for source in sources if not source.startswith(("s3://", "s3a://", "s3n://"))]
        if not here:
            return list(sources)
        with self._failures(context):
            place = self._place()
            paths = [Path(path) for path in find(here)]
            root = Path(os.path.commonpath([path.parent for path in paths]))
            named = [(str(path.relative_to(root)), path) for path in paths]
            folder = f"{place.of('inputs')}/{inputs_digest(named)}"
            there = {entry.uri for entry in place.objects.entries(f"{folder}/")}
            missing = [(name, path) for name, path in named if f"{folder}/{name}" not in there]
            for name, path in missing:
                place.objects.upload(f"{folder}/{name}", path)
            context.log.info(f"Copied {len(missing)} of {len(named)} files of {', '.join(here)} to {folder}.")
            return [folder, *(source for source in sources if source not in here)]

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        session, companions = self._shared, self._companions
        self._shared = self._companions = self._built = None
        if session is None or session.cluster_id is None:
            return
        log = context.log or dg.get_dagster_logger()
        session.say = log.info
        try:
            if self.scope == "pool":
                log.info(f"Cluster {session.cluster_id} stays in its pool until it has been idle for long enough.")
            elif companions is not None and companions.may_come():
                log.info(f"Cluster {session.cluster_id} stays for other steps of this run.")
            else:
                session.end()
        except EmrPipelinesError as error:  # what the run came to stands
            log.error(  # noqa: TRY400 (a sentence, not a trace)
                f"It is not sure that the cluster has ended ({error}); look at {session.page}"
            )

    def _pack(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Shipment:
        from emr_pipelines.emr.shipment import Submission, pack

        place, spec = self._place(), self._spec()
        return pack(
            program,
            params,
            asked_by=(lineage(context), context.get_step_execution_context().step.key),
            label=context.asset_key.to_user_string(),
            steps_folder=place.of("steps"),
            artifacts=place.artifacts,
            dependencies=place.dependencies,
            say=context.log.info,
            how=Submission(
                deploy_mode=cast("DeployMode", _one_of("deploy_mode", self.deploy_mode, "client", "cluster")),
                queue=self.queue,
                conf=self.spark_config,
                jars=tuple(self.jars),
                files=tuple(self.files),
                architecture=spec.architecture,
                ship_dependencies=self.ship_dependencies,
            ),
        )

    def _work(self, context: dg.AssetExecutionContext, shipment: Shipment) -> None:
        """See to it that the shipment's step completes: the one of an earlier attempt, or a new one."""
        from emr_pipelines.emr.shipment import next_attempt
        from emr_pipelines.runners.feed import LiveFeed, pipes_session

        place, hint = self._place(), threading.Event()
        with self._session(context, shipment.digest) as session:
            found = session.find(shipment.prefix)
            attempt = shipment.attempt_of(found.name) if found else next_attempt(place.objects, shipment)
            folder = shipment.attempt_folder(attempt)
            feed = LiveFeed(place.objects, folder, place.aws.clock, hint, context.log.info)
            with pipes_session(context, place.objects, folder, feed) as pipes:
                if found is None:
                    step_id = session.add(shipment.step(attempt, pipes.get_bootstrap_cli_arguments()))
                else:
                    step_id = found.id
                    context.log.info(f"Step {step_id}, of an earlier attempt, is {found.state}; watching that one.")
                self._watched(context, session, step_id, hint, lambda: place.objects.exists(shipment.result), feed)

    def _watched(
        self,
        context: dg.AssetExecutionContext,
        session: Session,
        step_id: str,
        hint: threading.Event,
        finished: Callable[[], bool],
        feed: LiveFeed | None = None,
    ) -> End:
        """Watch a step to its good end; otherwise say why, and see that it runs no more."""
        from emr_pipelines.emr.states import STEP_ENDED, StepState

        key = context.asset_key.to_user_string()
        self._steps_of.setdefault(key, []).append(step_id)
        try:
            end = session.watch(step_id, hint, finished)
        except BaseException:
            session.cancel(step_id)
            raise
        if end.step.state is StepState.COMPLETED:
            return end
        if end.step.state not in STEP_ENDED:
            session.cancel(step_id)
        cause = session.explain(end, feed.exception if feed else None, self.log_wait_seconds)
        kind = TimedOut if end.timed_out else StepFailed
        raise kind(str(cause), cause.retryable, {"kind": str(cause.kind), "hint": cause.hint, "logs": cause.log_uri})

    @contextmanager
    def _session(self, context: dg.AssetExecutionContext, digest: str) -> Iterator[Session]:
        """The cluster for a step, by scope."""
        session = self._shared or self._new_session(context, digest)
        session.say = context.log.info
        if self.scope != "asset":
            self._shared = session
            self._companions = Companions.of(context, EmrSparkRunner)
        try:
            yield session
        finally:
            if self.scope == "asset":
                session.end()
            elif session.cluster_id is not None:
                context.instance.add_run_tags(context.run.run_id, {CLUSTER_TAG: session.cluster_id})

    def _new_session(self, context: dg.AssetExecutionContext, digest: str) -> Session:
        from emr_pipelines.emr.session import Scope, Session
        from emr_pipelines.emr.watch import Deadlines

        place, spec = self._place(), self._spec()
        chain = first_attempt(context)
        keys = {"asset": f"{chain}-{digest}", "run": chain, "pool": spec.digest}
        kind = cast("ScopeKind", _one_of("scope", self.scope, *keys))
        return Session(
            place.aws,
            spec,
            Scope(kind, keys[kind], self.pool_size),
            place.base,
            self._deployment(),
            {
                "emr_pipelines:deployment": self._deployment(),
                "emr_pipelines:run_id": context.run.run_id,
                "emr_pipelines:job": context.run.job_name,
                "emr_pipelines:asset": context.asset_key.to_user_string()[:256],
                "emr_pipelines:spec": spec.digest,
            },
            Deadlines(60 * self.provisioning_minutes, 60 * self.queueing_minutes, 60 * self.running_minutes),
        )

    def _result_of(self, shipment: Shipment, within_seconds: float = 0) -> dict[str, Any] | None:
        place = self._place()
        until = place.aws.clock.now() + within_seconds
        while (data := place.objects.read(shipment.result)) is None:
            if place.aws.clock.now() >= until:
                return None
            place.aws.clock.pause(1)
        return cast("dict[str, Any]", json.loads(data))

    def _place(self) -> Place:
        if self._built is None:
            from emr_pipelines.emr.artifacts import Artifacts
            from emr_pipelines.emr.client import Aws
            from emr_pipelines.emr.dependencies import Dependencies
            from emr_pipelines.emr.objects import Objects

            aws = Aws(self.region)
            objects = Objects(aws)
            base = f"{_bucket_uri(self.bucket)}/{self._deployment()}"
            artifacts = Artifacts(objects, base)
            self._built = Place(aws, objects, base, artifacts, Dependencies(objects, base))
        return self._built

    def _spec(self) -> ClusterSpec:
        from emr_pipelines.emr.spec import ClusterSpec

        roles = {
            "service_role": os.environ.get("EMR_PIPELINES_SERVICE_ROLE", "").strip(),
            "instance_profile": os.environ.get("EMR_PIPELINES_INSTANCE_PROFILE", "").strip(),
        }
        return ClusterSpec.parse({**{name: role for name, role in roles.items() if role}, **self.cluster})

    def _deployment(self) -> str:
        name = self.deployment.strip() or os.environ.get("EMR_PIPELINES_DEPLOYMENT", "").strip() or DEFAULT_DEPLOYMENT
        if "/" in name or len(name) > 64:  # noqa: PLR2004
            raise InvalidValue("The deployment", name, "up to 64 characters without a slash")
        return name

    @contextmanager
    def _failures(self, context: dg.AssetExecutionContext) -> Iterator[None]:
        """A step that failed says why in a sentence or two, and is tried again where that may help."""
        try:
            yield
        except EmrPipelinesError as error:
            if error.retryable and context.retry_number < self.retries:
                context.log.warning(f"{error}\nThe step is tried again, for this was none of its own.")
                raise dg.RetryRequested(self.retries, self.retry_delay_seconds) from error
            facts = error.facts if isinstance(error, RunFailed) else {}
            raise dg.Failure(str(error), metadata=facts, allow_retries=error.retryable) from error


def _one_of(name: str, value: str, *allowed: str) -> str:
    if value not in allowed:
        raise InvalidValue(name, value, ", ".join(allowed))
    return value


def _bucket_uri(configured: str) -> str:
    """s3://bucket or s3://bucket/prefix, without a slash at its end."""
    address = configured.strip() or os.environ.get("EMR_PIPELINES_BUCKET", "").strip()
    if not address:
        raise InvalidValue("EMR_PIPELINES_BUCKET", address, "a bucket, my-bucket or s3://my-bucket/prefix")
    return ("" if address.startswith("s3://") else "s3://") + address.rstrip("/")
