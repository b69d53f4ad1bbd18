"""Run programs on Amazon EMR: on a cluster that is launched for the first of them and ended when the run ends.

All attempts at a step count as one: the next attempt takes up what a killed attempt has begun or finished, and the same
program with the same parameters runs once in a step. A retry after the asset had the result runs it again.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import PrivateAttr

from emr_pipelines.aws.deployment import base_uri, deployment_name
from emr_pipelines.aws.redaction import masked, reject_known_secrets
from emr_pipelines.errors import CredentialsMissing, EmrPipelinesError, StepFailed
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.runners.base import ParamsT, ResultT
from emr_pipelines.runners.billing import bill_owed, end_and_bill, end_clusters_of_run, label_of
from emr_pipelines.runners.emr_settings import EmrSettings
from emr_pipelines.runners.failures import failures
from emr_pipelines.runners.lineage import first_attempt, first_attempt_of, lineage
from emr_pipelines.runners.locations import check_locations
from emr_pipelines.runners.run_steps import RunSteps
from emr_pipelines.runners.watching import raise_failure, watch_step

if TYPE_CHECKING:  # boto3 takes half a second to import, and a code location that only looks at the graph needs none
    from pyspark.sql import SparkSession

    from emr_pipelines.backends.emr.scope import ScopeKind
    from emr_pipelines.backends.emr.session import Session
    from emr_pipelines.backends.emr.steps import AddedStep, Step
    from emr_pipelines.backends.emr.watch import End
    from emr_pipelines.costs.ledger import Entry
    from emr_pipelines.diagnosis.exception_parser import RemoteException
    from emr_pipelines.job.inputs import Inputs
    from emr_pipelines.job.package import Place, Shipment
    from emr_pipelines.report import Reporter
    from emr_pipelines.terminal import Bars

RESULT_SECONDS = 15.0  # within which a result is seen after its step has completed
ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*:/")  # a URI, such as s3://, hdfs:// or jdbc:postgresql://
CLUSTER_TAG = "emr_pipelines/cluster_id"  # of a Dagster run: the last cluster that one of its processes acquired
# A service role with AWS's own policy, AmazonEMRServicePolicy_v2, starts no instances for a cluster without this tag.
FOR_SERVICE_ROLE = {"for-use-with-amazon-emr-managed-policies": "true"}


class EmrSparkRunner(EmrSettings):
    """Runs programs on a transient EMR cluster, launched for the first program and ended by the run's last process."""

    _built: Place | None = PrivateAttr(default=None)
    _shared: Session | None = PrivateAttr(default=None)
    _companions: RunSteps | None = PrivateAttr(default=None)
    _bars: Bars | None = PrivateAttr(default=None)
    _inputs: list[Inputs] = PrivateAttr(default_factory=list)
    _sharing: Any = PrivateAttr(default_factory=threading.Lock)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        from emr_pipelines.terminal import bars_on_stderr

        self._bars = bars_on_stderr()  # now: Dagster redirects the stderr of a step to a file

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        with failures(context, self.retries, self.retry_delay_seconds):
            check_locations(f"{program.__name__}: params", codec.encode(params), context.log.warning)
            shipment = self._pack(context, program, params)
            self._forget_what_was_taken(context, shipment)
            result = self._result_of(shipment)
            if result is None:
                for warning in shipment.warnings:
                    context.log.warning(warning)
                self._work(context, shipment)
                result = self._result_of(shipment, within_seconds=RESULT_SECONDS)
            else:
                context.log.info(f"An earlier attempt has done this: {shipment.result}")
            if result is None:
                raise StepFailed(
                    f"The step completed and left no result in {shipment.result}; a program must not end the process "
                    "itself (sys.exit, os._exit)."
                )
            answer = codec.decode(annotation_of(program, "return"), result["result"], "result")
            self._note_taken(context, shipment.taken)
            return cast("ResultT", answer)

    def check_storage(self, address: str) -> None:
        from emr_pipelines.backends.emr.preflight import check_storage

        check_storage(address)

    def work_id(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> str:
        from emr_pipelines.job.package import digest_of

        with failures(context, self.retries, self.retry_delay_seconds):
            # a step is looked for on the clusters of one description only: it may still run on one of another
            clusters = [self.scope, self.pool_size, self.spec().digest, deployment_name()]
            return digest_of([self._pack(context, program, params).digest, *clusters])

    def has_result(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> bool:
        with failures(context, self.retries, self.retry_delay_seconds):
            shipment = self._pack(context, program, params)
            return not self._was_taken(context, shipment.taken) and self._result_of(shipment) is not None

    def run_step(self, context: dg.AssetExecutionContext, step: Step) -> AddedStep:
        """Run any other step to its end: Hive, Pig, a jar, a shell command, ... (backends/emr/steps.py makes them)."""
        from emr_pipelines.aws.objects import join
        from emr_pipelines.backends.emr.states import STEP_UNFINISHED, STEP_WORTH_ATTACHING
        from emr_pipelines.clock import Wakeup
        from emr_pipelines.job.package import digest_of

        with failures(context, self.retries, self.retry_delay_seconds):
            self._companions = RunSteps.of(context, EmrSparkRunner)
            reject_known_secrets(f"The step {step.name!r}", step.request())  # before there is a cluster
            check_locations(f"{step.name}: args", list(step.args))
            digest = digest_of([*_asked_by(context), step.request()])
            prefix = f"{label_of(context)} {step.name} {digest}."
            taken = join(self._place().of("steps"), digest, "taken")
            # here, so that a name that is too long is refused before a launch
            named = replace(step, name=f"{prefix}{uuid.uuid4().hex[:8]} {context.run.run_id}")
            states = STEP_UNFINISHED if self._was_taken(context, taken) else STEP_WORTH_ATTACHING
            with self._session(context, digest) as session:
                found = session.find(prefix, states)
                step_id = found.id if found else session.add(named)
                end = watch_step(self, session, context.log, step_id, Wakeup(), lambda: False)
                self._refuse_failure(session, context.log, end, None, "")
                self._note_taken(context, taken)
                return end.step

    def bring(self, context: dg.AssetExecutionContext, sources: Sequence[str]) -> list[str]:
        from emr_pipelines.job.inputs import copy_inputs
        from emr_pipelines.remote.files import find_text_files

        here = [source for source in sources if source.startswith("file:") or not ELSEWHERE.match(source)]
        if not here:
            return list(sources)
        with failures(context, self.retries, self.retry_delay_seconds):
            paths = [Path(file.path) for file in find_text_files(here)]
            inputs = copy_inputs(self._place(), here, paths, self._reporter(context.log))
            self._inputs.append(inputs)
            context.log.info(
                f"Copied {inputs.copied} of {pluralize(len(paths), 'file')} of {', '.join(here)} to {inputs.folder}."
            )
            return [inputs.folder, *(source for source in sources if source not in here)]

    def named_here(self, text: str) -> str:
        for inputs in self._inputs:
            text = inputs.named_here(text)
        return text

    def ledger(self, known: Sequence[Entry]) -> list[Entry]:
        from emr_pipelines.costs.ledger import ledger

        return ledger(self._place().aws, deployment_name(), known, self.prices)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        log = context.log or dg.get_dagster_logger()
        try:
            session = self._shared
            if session is not None and self.scope == "pool":
                session.say, session.report = _say(log), self._reporter(log)
                if session.held:
                    log.info(f"Cluster {session.held.id} stays in its pool until it has been idle for long enough.")
                bill_owed(session, self.prices, context.instance, log)
            self._end_clusters_of_run(context, log)
        except Exception as error:  # noqa: BLE001 (the steps' result stands; EMR's idle timeout ends the cluster)
            log.warning(f"Clusters that other processes of the run may have left end when they are idle: {error}")
        finally:
            self._shared = self._companions = self._built = None
            self._inputs = []
            if self._bars is not None:
                self._bars.close()
                self._bars = None

    def _end_clusters_of_run(self, context: dg.InitResourceContext, log: logging.Logger) -> None:
        """End the clusters of the run, also those that other processes left, if this is its last process."""
        instance = context.instance
        run = instance.get_run_by_id(context.run.run_id) if instance and context.run else None
        if instance is None or run is None:
            return
        chain, steps = first_attempt_of(instance, run), self._companions or RunSteps.of_run(instance, run)
        session, first = self._shared if self.scope == "run" else None, chain == run.run_id
        if session is None:
            if first and CLUSTER_TAG not in run.tags:
                return  # no process of the run has acquired a cluster for it
            session = self._session_for("run", self._run_key(chain), {})
        session.say, session.report = _say(log), self._reporter(log)
        # Each runner ends its own cluster alone where this process is the run's only one, and where the run was given
        # up: then a retry may have the others.
        keys = self._run_key(chain) if (first and steps.all_here) or steps.given_up() else f"{chain}-"
        end_clusters_of_run(session, steps, keys, self.prices, log)
        bill_owed(session, self.prices, instance, log)

    def _reporter(self, log: logging.Logger) -> Reporter:
        """Reports progress in the run's log, and in the terminal if a person watches it."""
        from emr_pipelines.report import Both, Lines

        lines = Lines(log.info, self._place().aws.clock.now)
        return Both(self._bars, lines) if self._bars else lines

    def _pack(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Shipment:
        from emr_pipelines.job.package import pack

        self._companions = RunSteps.of(context, EmrSparkRunner)
        return pack(
            program,
            params,
            asked_by=_asked_by(context),
            label=label_of(context),
            place=self._place(),
            say=context.log.info,
            report=self._reporter(context.log),
            how=self.submission(),
        )

    def _forget_what_was_taken(self, context: dg.AssetExecutionContext, shipment: Shipment) -> None:
        """Delete a result that the asset had before it asked for this retry: it wants a new one. A result that a killed
        attempt left is kept."""
        if self._was_taken(context, shipment.taken):
            self._place().objects.delete([shipment.result, shipment.taken])

    def _was_taken(self, context: dg.AssetExecutionContext, marker: str) -> bool:
        """Whether an earlier try of this run returned the result to the asset. marker: the URI where that is noted."""
        taken = self._place().objects.read(marker) if context.retry_number else None
        return taken is not None and taken != _attempt(context)

    def _note_taken(self, context: dg.AssetExecutionContext, marker: str) -> None:
        self._place().objects.write(marker, _attempt(context))

    def _work(self, context: dg.AssetExecutionContext, shipment: Shipment) -> None:
        """Run the shipment's step until it has completed: a new one, or that of an earlier attempt."""
        from emr_pipelines.aws.objects import Objects
        from emr_pipelines.backends.emr.states import STEP_STOPPED, STEP_UNFINISHED
        from emr_pipelines.clock import Wakeup
        from emr_pipelines.job.live_log import LiveFeed, pipes_session
        from emr_pipelines.job.package import next_attempt

        place, wakeup = self._place(), Wakeup()
        with self._session(context, shipment.digest) as session:
            found = session.find(shipment.prefix, STEP_UNFINISHED)
            if found is None and self._result_of(shipment):
                return  # the step has ended since the result was looked for
            attempt = shipment.attempt_of(found.name) if found else next_attempt(place.objects, shipment)
            folder = shipment.attempt_folder(attempt)
            hasty = Objects(place.aws, patience_seconds=0)  # no retries: it is polled anyway
            feed = LiveFeed(hasty, folder, place.aws.clock, wakeup, context.log.info)
            with pipes_session(context, place.objects, folder, feed) as pipes:
                if found is None:
                    asked_by = f"{context.run.run_id} {context.retry_number}"
                    step = shipment.step(attempt, asked_by, pipes.get_bootstrap_cli_arguments())
                    step_id = session.add(step)
                else:
                    step_id = found.id
                    context.log.info(f"Step {step_id}, of an earlier attempt, is {found.state}; watching that one.")
                finished = partial(hasty.exists, shipment.result)
                end = watch_step(self, session, context.log, step_id, wakeup, finished, reports_progress=True)
            if end.step.state in STEP_STOPPED and not end.timed_out and self._result_of(shipment):
                context.log.warning(
                    f"Step {step_id} is {end.step.state}: somebody ended it, or its cluster; but its program was done."
                )
            else:  # the last messages of the program have arrived
                self._refuse_failure(session, context.log, end, feed.exception, shipment.package)
            with suppress(EmrPipelinesError):  # messages that have been read, or that killed attempts left
                place.objects.delete([entry.uri for entry in place.objects.entries(shipment.attempt_folders)])

    def _refuse_failure(
        self, session: Session, log: logging.Logger, end: End, exception: RemoteException | None, package: str
    ) -> None:
        """Raise an error that explains why a step did not complete."""
        companions = self._companions
        alone = self.scope == "asset" or (self.scope == "run" and companions is not None and companions.alone)
        raise_failure(session, log, end, exception, package, self.log_wait_seconds, alone, self.named_here)

    @contextmanager
    def _session(self, context: dg.AssetExecutionContext, digest: str) -> Iterator[Session]:
        """The session for a step, by scope."""
        with self._sharing:  # an asset may run programs in several threads
            session = self._shared or self._new_session(context, digest)
            if self.scope != "asset":
                self._shared = session
        session.say, session.report = _say(context.log), self._reporter(context.log)
        if self.scope == "run":
            session.on_cluster_id = lambda cluster_id: context.instance.add_run_tags(
                context.run.run_id, {CLUSTER_TAG: cluster_id}
            )
        try:
            yield session
        except CredentialsMissing as error:
            if session.cluster_id is None:
                raise
            raise CredentialsMissing(f"{error}\n{session.what_stays()}", error.code) from error
        finally:
            if self.scope == "asset":
                end_and_bill(session, self.prices, context.instance, context.log)

    def _new_session(self, context: dg.AssetExecutionContext, digest: str) -> Session:
        from emr_pipelines.backends.emr.request import tag_value

        chain = first_attempt(context)
        keys = {"asset": f"{chain}-{digest}", "run": self._run_key(chain), "pool": self.spec().digest}
        tags = {
            "emr_pipelines:run_id": context.run.run_id,
            "emr_pipelines:job": tag_value(context.run.job_name),
            "emr_pipelines:asset": tag_value(label_of(context)),
        }
        return self._session_for(self.scope, keys[self.scope], tags)

    def _run_key(self, chain: str) -> str:
        """Two runners of one run may describe two clusters, so the key has a digest of the description."""
        return f"{chain}-{self.spec().digest}"

    def _session_for(self, kind: ScopeKind, key: str, tags: Mapping[str, str]) -> Session:
        from emr_pipelines.backends.emr.scope import Scope
        from emr_pipelines.backends.emr.session import Session

        place, spec = self._place(), self.spec()
        return Session(
            place.aws,
            spec,
            Scope(kind, key, self.pool_size),
            place.base,
            deployment_name(),
            {
                **tags,
                "emr_pipelines:deployment": deployment_name(),
                "emr_pipelines:spec": spec.digest,
                **FOR_SERVICE_ROLE,
            },
            self.deadlines(),
        )

    def _result_of(self, shipment: Shipment, within_seconds: float = 0) -> dict[str, Any] | None:
        place = self._place()
        until = place.aws.clock.now() + within_seconds
        while (data := place.objects.read(shipment.result)) is None:
            if place.aws.clock.now() >= until:
                return None
            place.aws.clock.pause(1)
        return _read_result(data, shipment.result)

    def _place(self) -> Place:
        if self._built is None:
            from emr_pipelines.aws.client import Aws
            from emr_pipelines.backends.emr.preflight import Settings, validate_settings
            from emr_pipelines.job.package import Place

            aws = Aws()
            validate_settings(Settings(aws, os.environ, self.bucket))
            self._built = Place.at(aws, base_uri(self.bucket))
        return self._built


def _say(log: logging.Logger) -> Callable[[str], None]:
    return lambda text: log.info(masked(text))


def _read_result(data: bytes, uri: str) -> dict[str, Any]:
    """The content of a result file. Raises StepFailed when no program wrote it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "result" not in found:
        raise StepFailed(f"{uri} is not the result of a program; delete it and materialize the asset again.")
    return found


def _asked_by(context: dg.AssetExecutionContext) -> tuple[str, str]:
    """What all attempts at this step have in common: the first run that attempted it, and the step."""
    return lineage(context), context.get_step_execution_context().step.key


def _attempt(context: dg.AssetExecutionContext) -> bytes:
    """The run and the number of this try."""
    return f"{context.run.run_id} {context.retry_number}".encode()
