"""Run programs on Amazon EMR: on a cluster that is launched for the first of them and gone when the run ends."""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator, model_validator

from emr_pipelines.emr.place import base_uri, deployment_name
from emr_pipelines.errors import EmrPipelinesError, InvalidValue, RunFailed, StepFailed, TimedOut
from emr_pipelines.programs import wire
from emr_pipelines.runners.base import ParamsT, ResultT, SparkRunner
from emr_pipelines.runners.companions import Companions
from emr_pipelines.runners.lineage import first_attempt, first_attempt_of, lineage

if TYPE_CHECKING:  # boto3 takes half a second to import, and a code location that only looks at the graph needs none
    from pyspark.sql import SparkSession

    from emr_pipelines.emr.artifacts import Artifacts
    from emr_pipelines.emr.client import Aws
    from emr_pipelines.emr.dependencies import Dependencies
    from emr_pipelines.emr.objects import Objects
    from emr_pipelines.emr.raised import RemoteException
    from emr_pipelines.emr.session import ScopeKind, Session
    from emr_pipelines.emr.shipment import Shipment
    from emr_pipelines.emr.spec import ClusterSpec
    from emr_pipelines.emr.steps import AddedStep, DeployMode, Step
    from emr_pipelines.emr.watch import End, Hint

RESULT_SECONDS = 15.0  # how long a result may take to be seen after its step was
NONE = "none"
OP = "op:"
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
    first program, shared by what its `scope` says, and ended by whoever leaves last.

    All attempts at a step count as one: a program that has returned a result for the same parameters is not run again
    by a retry, nor by the same step a second time.
    """

    bucket: str = Field(
        default="",
        description="Where code, logs and results go: my-bucket, or s3://my-bucket/prefix. Empty: what "
        "EMR_PIPELINES_BUCKET says.",
    )
    cluster: dict[str, Any] = Field(
        default={},
        description="The cluster, as a ClusterSpec: release_label, primary, core, task or fleets, and so on; what is "
        "left out has a cheap default; 'none' stands for null, as in core: none.",
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
    running_minutes: float = Field(default=24 * 60, gt=0, description="How long a step may run.")
    log_wait_seconds: float = Field(
        default=330,
        ge=0,
        description="How long to wait for the logs of a failed step when nothing else says why it failed; EMR pushes "
        "them every 300 seconds.",
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
    _sharing: Any = PrivateAttr(default_factory=threading.Lock)

    @model_validator(mode="before")
    @classmethod
    def _known_settings(cls, settings: Any) -> Any:
        unknown = set(settings) - set(cls.model_fields) if isinstance(settings, Mapping) else set()
        if unknown:
            allowed = ", ".join(cls.model_fields)
            raise InvalidValue("A setting of EmrSparkRunner", ", ".join(sorted(unknown)), allowed)
        return settings

    @field_validator("cluster", mode="before")
    @classmethod
    def _as_data(cls, value: Any) -> Any:
        """A ClusterSpec can be given as such. Dagster's config knows no null, so 'none' stands for it."""
        data = value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value
        return {name: NONE if member is None else member for name, member in data.items()}

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        with self._failures(context):
            shipment = self._pack(context, program, params)
            self._forget_what_was_taken(context, shipment)
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
            answer = wire.decode(wire.annotation_of(program, "return"), result["result"], "result")
            self._place().objects.write(shipment.taken, _attempt(context))
            return cast("ResultT", answer)

    def run_step(self, context: dg.AssetExecutionContext, step: Step) -> AddedStep:
        """Run any other step (emr/steps.py makes them: Hive, Pig, a jar, a shell command, ...), to its good end."""
        from emr_pipelines.emr.watch import Hint

        with self._failures(context):
            identity = json.dumps([lineage(context), context.get_step_execution_context().step.key, step.request()])
            digest = sha256(identity.encode()).hexdigest()[:20]
            prefix = f"{_label(context)} {step.name} {digest}."
            with self._session(context, digest) as session:
                found = session.find(prefix)
                step_id = found.id if found else session.add(replace(step, name=prefix + uuid.uuid4().hex[:8]))
                end = self._watched(session, step_id, Hint(), lambda: False)
                self._refuse_failure(session, end, None)
                return end.step

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
        log = context.log or dg.get_dagster_logger()
        try:
            session, companions = self._shared, self._companions
            if session is None:
                session, companions = self._left_behind(context)
            if session is None or not session.in_use:
                return
            session.say = log.info
            if self.scope == "pool":
                log.info(f"Cluster {session.cluster_id} stays in its pool until it has been idle for long enough.")
            elif companions is not None and companions.may_come():
                log.info(f"Cluster {session.cluster_id} stays for other steps of this run.")
            else:
                _end_and_bill(session, self.prices, context.instance, log)
        except Exception as error:  # noqa: BLE001 (what the steps came to stands; the idle timeout is behind this)
            log.warning(f"The run's cluster, if it has one, ends when it is idle: {error}")
        finally:
            self._shared = self._companions = self._built = None

    def _left_behind(self, context: dg.InitResourceContext) -> tuple[Session | None, Companions | None]:
        """The cluster that other processes of the run have left for a step of this one which then did not need it."""
        run = context.instance.get_run_by_id(context.run.run_id) if context.instance and context.run else None
        if context.instance is None or run is None or self.scope != "run":
            return None, None
        chain, cluster_id = first_attempt_of(context.instance, run), run.tags.get(CLUSTER_TAG)
        if cluster_id is None and chain == run.run_id:
            return None, None
        session = self._session_for("run", f"{chain}-{self._spec().digest}", {})
        return (session, Companions.of_run(context.instance, run)) if session.adopt(cluster_id) else (None, None)

    def _pack(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Shipment:
        from emr_pipelines.emr.shipment import Submission, pack

        place, spec = self._place(), self._spec()
        return pack(
            program,
            params,
            asked_by=(lineage(context), context.get_step_execution_context().step.key),
            label=_label(context),
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
                python=spec.python,
                ship_dependencies=self.ship_dependencies,
            ),
        )

    def _forget_what_was_taken(self, context: dg.AssetExecutionContext, shipment: Shipment) -> None:
        """A retry takes up what an attempt left that was killed. When the asset had its result, and asked for a retry
        all the same, it wants another."""
        objects = self._place().objects
        taken = objects.read(shipment.taken) if context.retry_number else None
        if taken is not None and taken != _attempt(context):
            objects.delete([shipment.result, shipment.taken])

    def _work(self, context: dg.AssetExecutionContext, shipment: Shipment) -> None:
        """See to it that the shipment's step completes: the one of an earlier attempt, or a new one."""
        from emr_pipelines.emr.objects import Objects
        from emr_pipelines.emr.shipment import next_attempt
        from emr_pipelines.emr.states import STEP_UNFINISHED
        from emr_pipelines.emr.watch import Hint
        from emr_pipelines.runners.feed import LiveFeed, pipes_session

        place, hint = self._place(), Hint()
        with self._session(context, shipment.digest) as session:
            found = session.find(shipment.prefix, STEP_UNFINISHED)
            if found is None and self._result_of(shipment):
                return  # it was about to end
            attempt = shipment.attempt_of(found.name) if found else next_attempt(place.objects, shipment)
            folder = shipment.attempt_folder(attempt)
            hasty = Objects(place.aws, patience_seconds=0)  # news that cannot be had now are looked for again anyway
            feed = LiveFeed(hasty, folder, place.aws.clock, hint, context.log.info)
            with pipes_session(context, place.objects, folder, feed) as pipes:
                if found is None:
                    step_id = session.add(shipment.step(attempt, pipes.get_bootstrap_cli_arguments()))
                else:
                    step_id = found.id
                    context.log.info(f"Step {step_id}, of an earlier attempt, is {found.state}; watching that one.")
                end = self._watched(session, step_id, hint, lambda: hasty.exists(shipment.result))
            self._refuse_failure(session, end, feed.exception)  # now that the last messages are here
            with suppress(EmrPipelinesError):  # they have been read
                place.objects.delete_below(folder)

    def _watched(self, session: Session, step_id: str, hint: Hint, finished: Callable[[], bool]) -> End:
        """Watch a step to its end, and see that it runs no more."""
        from emr_pipelines.emr.states import STEP_ENDED

        try:
            end = session.watch(step_id, hint, finished)
        except BaseException as error:
            with suppress(EmrPipelinesError):  # what went wrong first is what has to be heard
                # an interrupted process may be killed soon: it had better end the cluster than wait for the step
                self._cancel(session, step_id, wait=isinstance(error, Exception) or self.scope == "pool")
            raise
        if end.step.state not in STEP_ENDED:
            self._cancel(session, step_id, wait=True)
        return end

    def _cancel(self, session: Session, step_id: str, wait: bool) -> None:
        if not wait:
            session.interrupt(step_id)
            return
        session.cancel(step_id)
        if self.deploy_mode == "cluster":
            session.end()  # EMR ends spark-submit, and the driver goes on in its YARN container

    def _refuse_failure(self, session: Session, end: End, exception: RemoteException | None) -> None:
        """Raise for a step that did not complete, and say why."""
        from emr_pipelines.emr.states import StepState
        from emr_pipelines.emr.watch import Phase

        if end.step.state is StepState.COMPLETED:
            return
        companions = self._companions
        alone = self.scope == "asset" or (self.scope == "run" and companions is not None and companions.alone)
        cause = session.explain(end, exception, self.log_wait_seconds, terminate=alone)
        if end.timed_out is Phase.PROVISIONING:
            session.end()  # what did not come up will not, and must not be found again
        kind = TimedOut if end.timed_out else StepFailed
        raise kind(str(cause), cause.retryable, {"kind": str(cause.kind), "hint": cause.hint, "logs": cause.log_uri})

    @contextmanager
    def _session(self, context: dg.AssetExecutionContext, digest: str) -> Iterator[Session]:
        """The cluster for a step, by scope."""
        with self._sharing:  # an asset may run programs in threads
            session = self._shared or self._new_session(context, digest)
            if self.scope != "asset":
                self._shared = session
        session.say = context.log.info
        if self.scope != "asset":
            self._companions = Companions.of(context, EmrSparkRunner)
            if self.scope == "run":
                session.on_cluster_id = lambda cluster_id: context.instance.add_run_tags(
                    context.run.run_id, {CLUSTER_TAG: cluster_id}
                )
        try:
            yield session
        finally:
            if self.scope == "asset":
                _end_and_bill(session, self.prices, context.instance, context.log)

    def _new_session(self, context: dg.AssetExecutionContext, digest: str) -> Session:
        chain, spec = first_attempt(context), self._spec().digest
        keys = {"asset": f"{chain}-{digest}", "run": f"{chain}-{spec}", "pool": spec}
        kind = cast("ScopeKind", _one_of("scope", self.scope, *keys))
        tags = {
            "emr_pipelines:run_id": context.run.run_id,
            "emr_pipelines:job": context.run.job_name,
            "emr_pipelines:asset": _label(context)[:256],
        }
        return self._session_for(kind, keys[kind], tags)

    def _session_for(self, kind: ScopeKind, key: str, tags: Mapping[str, str]) -> Session:
        from emr_pipelines.emr.session import Scope, Session
        from emr_pipelines.emr.watch import Deadlines

        place, spec = self._place(), self._spec()
        return Session(
            place.aws,
            spec,
            Scope(kind, key, self.pool_size),
            place.base,
            deployment_name(),
            {**tags, "emr_pipelines:deployment": deployment_name(), "emr_pipelines:spec": spec.digest},
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

            aws = Aws()
            objects = Objects(aws)
            base = base_uri(self.bucket)
            artifacts = Artifacts(objects, base)
            self._built = Place(aws, objects, base, artifacts, Dependencies(objects, base))
        return self._built

    def _spec(self) -> ClusterSpec:
        from emr_pipelines.emr.spec import ClusterSpec

        roles = {
            "service_role": os.environ.get("EMR_PIPELINES_SERVICE_ROLE", "").strip(),
            "instance_profile": os.environ.get("EMR_PIPELINES_INSTANCE_PROFILE", "").strip(),
        }
        told = {name: None if member == NONE else member for name, member in self.cluster.items()}
        return ClusterSpec.parse({**{name: role for name, role in roles.items() if role}, **told})

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
            # who has a retry policy means what a program raises, if not mistakes in what it was told
            retries = error.retryable or isinstance(error, RunFailed)
            raise dg.Failure(str(error), metadata=facts, allow_retries=retries) from error


def _end_and_bill(
    session: Session, prices: Mapping[str, float], instance: dg.DagsterInstance | None, log: logging.Logger
) -> None:
    """End a cluster, and say what it cost, all in all and for each asset whose steps ran on it. Raises nothing: what
    the steps came to stands, and what went wrong first is what has to be heard."""
    cluster_id = session.cluster_id
    if cluster_id is None:
        return
    page = session.page
    try:
        session.end()
    except EmrPipelinesError as error:
        log.error(f"It is not sure that cluster {cluster_id} has ended ({error}); look at {page}")  # noqa: TRY400
        return
    try:
        bill, steps = session.bill(cluster_id, prices)
    except EmrPipelinesError as error:  # what it cost is worth no failure
        log.warning(f"What cluster {cluster_id} cost could not be found out: {error}")
        return
    log.info(f"Cluster {cluster_id} had {bill.sentence()}")
    if instance is None:
        return
    for label, ids in steps.items():
        assets = [] if label.startswith(OP) else label.split(",")
        for asset in assets:
            share = bill.share_of(ids) / len(assets)
            cost: dict[str, Any] = {"cluster": dg.MetadataValue.json(bill.metadata()), "cost_share": share}
            if bill.usd is not None:
                cost["cost_usd"] = bill.usd * share
            key = dg.AssetKey.from_user_string(asset)
            description = f"On EMR: {bill.sentence()}"
            instance.report_runless_asset_event(dg.AssetObservation(key, description=description, metadata=cost))


def _attempt(context: dg.AssetExecutionContext) -> bytes:
    """Which try of which run this is."""
    return f"{context.run.run_id} {context.retry_number}".encode()


def _label(context: dg.AssetExecutionContext) -> str:
    """Whose step it is: the assets' keys, or the op's name behind OP."""
    if not context.has_assets_def:
        return f"{OP}{context.op_execution_context.op.name}"
    return ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys))


def _one_of(name: str, value: str, *allowed: str) -> str:
    if value not in allowed:
        raise InvalidValue(name, value, ", ".join(allowed))
    return value
