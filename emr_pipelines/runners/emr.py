"""Run programs on Amazon EMR: on a cluster that is launched for the first of them and gone when the run ends.

All attempts at a step count as one: what an attempt that was killed has begun, or finished, is taken up by the next,
and the same program with the same parameters runs once in a step. A retry after the asset had the result runs it again.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import PrivateAttr

from emr_pipelines.emr.disclosure import masked, refuse_known
from emr_pipelines.emr.place import base_uri, deployment_name
from emr_pipelines.errors import CredentialsMissing, EmrPipelinesError, StepFailed, TimedOut
from emr_pipelines.programs import wire
from emr_pipelines.programs.annotations import annotation_of
from emr_pipelines.programs.progress import many
from emr_pipelines.runners.base import ParamsT, ResultT
from emr_pipelines.runners.billing import bill_owed, end_and_bill, label_of, prepare_bill
from emr_pipelines.runners.companions import Companions
from emr_pipelines.runners.emr_settings import EmrSettings
from emr_pipelines.runners.failures import advised, failures
from emr_pipelines.runners.lineage import first_attempt, first_attempt_of, lineage
from emr_pipelines.runners.locations import check_locations

if TYPE_CHECKING:  # boto3 takes half a second to import, and a code location that only looks at the graph needs none
    from pyspark.sql import SparkSession

    from emr_pipelines.emr.inputs import Inputs
    from emr_pipelines.emr.ledger import Entry
    from emr_pipelines.emr.raised import RemoteException
    from emr_pipelines.emr.report import Reporter
    from emr_pipelines.emr.scope import ScopeKind
    from emr_pipelines.emr.session import Session
    from emr_pipelines.emr.shipment import Place, Shipment
    from emr_pipelines.emr.steps import AddedStep, Step
    from emr_pipelines.emr.watch import End, Hint
    from emr_pipelines.terminal import Bars

RESULT_SECONDS = 15.0  # how long a result may take to be seen after its step was
ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*:/")  # a URI, such as s3://, hdfs:// or jdbc:postgresql://
CLUSTER_TAG = "emr_pipelines/cluster_id"
# without it a service role with AWS's own policy, AmazonEMRServicePolicy_v2, starts no instances
FOR_SERVICE_ROLE = {"for-use-with-amazon-emr-managed-policies": "true"}


class EmrSparkRunner(EmrSettings):
    """Runs programs on a transient EMR cluster, launched with the first program and ended by whoever leaves last."""

    _built: Place | None = PrivateAttr(default=None)
    _shared: Session | None = PrivateAttr(default=None)
    _companions: Companions | None = PrivateAttr(default=None)
    _bars: Bars | None = PrivateAttr(default=None)
    _inputs: list[Inputs] = PrivateAttr(default_factory=list)
    _sharing: Any = PrivateAttr(default_factory=threading.Lock)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster's signature)
        from emr_pipelines.terminal import bars_on_stderr

        self._bars = bars_on_stderr()  # now, for Dagster leads the stderr of a step to a file

    def run(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> ResultT:
        with failures(context, self.retries, self.retry_delay_seconds):
            check_locations(f"{program.__name__}: params", wire.encode(params), context.log.warning)
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
            answer = wire.decode(annotation_of(program, "return"), result["result"], "result")
            self._place().objects.write(shipment.taken, _attempt(context))
            return cast("ResultT", answer)

    def check_storage(self, address: str) -> None:
        from emr_pipelines.emr.preflight import check_storage

        check_storage(address)

    def work_id(
        self,
        context: dg.AssetExecutionContext,
        program: Callable[[SparkSession, ParamsT], ResultT],
        params: ParamsT,
    ) -> str:
        from emr_pipelines.emr.shipment import digest_of

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
            return not self._was_taken(context, shipment) and self._result_of(shipment) is not None

    def run_step(self, context: dg.AssetExecutionContext, step: Step) -> AddedStep:
        """Run any other step (emr/steps.py makes them: Hive, Pig, a jar, a shell command, ...), to its good end."""
        from emr_pipelines.emr.shipment import digest_of
        from emr_pipelines.emr.watch import Hint

        with failures(context, self.retries, self.retry_delay_seconds):
            refuse_known(f"The step {step.name!r}", step.request())  # before there is a cluster
            check_locations(f"{step.name}: args", list(step.args))
            digest = digest_of([*_asked_by(context), step.request()])
            prefix = f"{label_of(context)} {step.name} {digest}."
            named = replace(
                step, name=f"{prefix}{uuid.uuid4().hex[:8]} {context.run.run_id}"
            )  # or refused, for nothing
            with self._session(context, digest) as session:
                found = session.find(prefix)
                step_id = found.id if found else session.add(named)
                end = self._watched(session, step_id, Hint(), lambda: False)
                self._refuse_failure(session, end, None, "")
                return end.step

    def bring(self, context: dg.AssetExecutionContext, sources: Sequence[str]) -> list[str]:
        from emr_pipelines.emr.inputs import copy_inputs
        from emr_pipelines.programs.text import find_text_files

        here = [source for source in sources if source.startswith("file:") or not ELSEWHERE.match(source)]
        if not here:
            return list(sources)
        with failures(context, self.retries, self.retry_delay_seconds):
            paths = [Path(file.path) for file in find_text_files(here)]
            inputs = copy_inputs(self._place(), here, paths, self._reporter(context.log))
            self._inputs.append(inputs)
            context.log.info(
                f"Copied {inputs.copied} of {many(len(paths), 'file')} of {', '.join(here)} to {inputs.folder}."
            )
            return [inputs.folder, *(source for source in sources if source not in here)]

    def named_here(self, text: str) -> str:
        for inputs in self._inputs:
            text = inputs.named_here(text)
        return text

    def ledger(self, known: Sequence[Entry]) -> list[Entry]:
        from emr_pipelines.emr.ledger import ledger

        return ledger(self._place().aws, deployment_name(), known, self.prices)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        log = context.log or dg.get_dagster_logger()
        try:
            session, companions = self._shared, self._companions
            if session is None:
                session, companions = self._left_behind(context)
            if session is None:
                return
            session.say, session.report = _say(log), self._reporter(log)
            if not session.in_use:
                pass
            elif self.scope == "pool":
                log.info(f"Cluster {session.cluster_id} stays in its pool until it has been idle for long enough.")
            elif companions is not None and companions.may_come():
                log.info(f"Cluster {session.cluster_id} stays for other steps of this run.")
            elif companions is not None and companions.given_up() and session.cluster_id and session.busy():
                log.info(f"Cluster {session.cluster_id} stays for the steps that run on it; this run was given up.")
            else:
                end_and_bill(session, self.prices, context.instance, log)
                # another process may have put one in the place of this one and left
                if self.scope == "run" and not session.in_use and session.adopt():
                    end_and_bill(session, self.prices, context.instance, log)
            bill_owed(session, self.prices, context.instance, log)
        except Exception as error:  # noqa: BLE001 (what the steps came to stands; the idle timeout is behind this)
            log.warning(f"The run's cluster, if it has one, ends when it is idle: {error}")
        finally:
            self._shared = self._companions = self._built = None
            self._inputs = []
            if self._bars is not None:
                self._bars.close()
                self._bars = None

    def _reporter(self, log: logging.Logger) -> Reporter:
        """What takes long is told in the run's log, and in the terminal if a person sits there."""
        from emr_pipelines.emr.report import Both, Lines

        lines = Lines(log.info, self._place().aws.clock.now)
        return Both(self._bars, lines) if self._bars else lines

    def _left_behind(self, context: dg.InitResourceContext) -> tuple[Session | None, Companions | None]:
        """The cluster that other processes of the run have left for a step of this one which then did not need it."""
        run = context.instance.get_run_by_id(context.run.run_id) if context.instance and context.run else None
        if context.instance is None or run is None or self.scope != "run":
            return None, None
        chain, cluster_id = first_attempt_of(context.instance, run), run.tags.get(CLUSTER_TAG)
        if cluster_id is None and chain == run.run_id:
            return None, None
        session = self._session_for("run", self._run_key(chain), {})
        left = session.adopt(cluster_id) or session.owed
        return (session, Companions.of_run(context.instance, run)) if left else (None, None)

    def _pack(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: object) -> Shipment:
        from emr_pipelines.emr.shipment import pack

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
        """A retry takes up what an attempt left that was killed. When the asset had its result, and asked for a retry
        all the same, it wants another."""
        if self._was_taken(context, shipment):
            self._place().objects.delete([shipment.result, shipment.taken])

    def _was_taken(self, context: dg.AssetExecutionContext, shipment: Shipment) -> bool:
        taken = self._place().objects.read(shipment.taken) if context.retry_number else None
        return taken is not None and taken != _attempt(context)

    def _work(self, context: dg.AssetExecutionContext, shipment: Shipment) -> None:
        """See to it that the shipment's step completes: the one of an earlier attempt, or a new one."""
        from emr_pipelines.emr.objects import Objects
        from emr_pipelines.emr.shipment import next_attempt
        from emr_pipelines.emr.states import STEP_STOPPED, STEP_UNFINISHED
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
                    step = shipment.step(attempt, context.run.run_id, pipes.get_bootstrap_cli_arguments())
                    step_id = session.add(step)
                else:
                    step_id = found.id
                    context.log.info(f"Step {step_id}, of an earlier attempt, is {found.state}; watching that one.")
                end = self._watched(session, step_id, hint, lambda: hasty.exists(shipment.result), speaks=True)
            if end.step.state in STEP_STOPPED and not end.timed_out and self._result_of(shipment):
                context.log.warning(
                    f"Step {step_id} is {end.step.state}: somebody ended it, or its cluster; but its program was done."
                )
            else:  # now that the last messages are here
                self._refuse_failure(session, end, feed.exception, shipment.package)
            with suppress(EmrPipelinesError):  # they have been read, and those of killed attempts nobody reads
                place.objects.delete([entry.uri for entry in place.objects.entries(shipment.attempt_folders)])

    def _watched(
        self, session: Session, step_id: str, hint: Hint, finished: Callable[[], bool], speaks: bool = False
    ) -> End:
        """Watch a step to its end, and see that it runs no more."""
        from emr_pipelines.emr.states import STEP_ENDED

        try:
            prepare_bill()
            end = session.watch(step_id, hint, finished, speaks)
        except BaseException as error:
            if not isinstance(error, CredentialsMissing):  # then it cannot, and the retry finds the step
                with suppress(EmrPipelinesError):  # what went wrong first is what has to be heard
                    # an interrupted process may be killed soon: it had better end the cluster than wait for the step
                    self._cancel(session, step_id, wait=isinstance(error, Exception) or self.scope == "pool")
            raise
        if end.step.state not in STEP_ENDED:
            self._cancel(session, step_id, wait=True)
        return end

    def _cancel(self, session: Session, step_id: str, wait: bool) -> None:
        session.say(f"Cancelling step {step_id}.")
        if not wait:
            session.interrupt(step_id)
            return
        session.cancel(step_id)
        if self.deploy_mode == "cluster":
            session.end()  # EMR ends spark-submit, and the driver goes on in its YARN container

    def _refuse_failure(self, session: Session, end: End, exception: RemoteException | None, package: str) -> None:
        """Raise for a step that did not complete, and say why."""
        from emr_pipelines.emr.states import StepState
        from emr_pipelines.emr.watch import Phase

        if end.step.state is StepState.COMPLETED:
            return
        companions = self._companions
        alone = self.scope == "asset" or (self.scope == "run" and companions is not None and companions.alone)
        cause = advised(session.explain(end, exception, self.log_wait_seconds, package, terminate=alone))
        if end.timed_out is Phase.PROVISIONING:
            session.end()  # what did not come up will not, and must not be found again
        kind = TimedOut if end.timed_out else StepFailed
        facts = {"kind": str(cause.kind), "hint": cause.hint, "logs": cause.log_uri, **cause.pages}
        raise kind(self.named_here(str(cause)), cause.retryable, facts)

    @contextmanager
    def _session(self, context: dg.AssetExecutionContext, digest: str) -> Iterator[Session]:
        """The cluster for a step, by scope."""
        with self._sharing:  # an asset may run programs in threads
            session = self._shared or self._new_session(context, digest)
            if self.scope != "asset":
                self._shared = session
        session.say, session.report = _say(context.log), self._reporter(context.log)
        if self.scope != "asset":
            self._companions = Companions.of(context, EmrSparkRunner)
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
        from emr_pipelines.emr.request import tag_value

        chain = first_attempt(context)
        keys = {"asset": f"{chain}-{digest}", "run": self._run_key(chain), "pool": self.spec().digest}
        tags = {
            "emr_pipelines:run_id": context.run.run_id,
            "emr_pipelines:job": tag_value(context.run.job_name),
            "emr_pipelines:asset": tag_value(label_of(context)),
        }
        return self._session_for(self.scope, keys[self.scope], tags)

    def _run_key(self, chain: str) -> str:
        """Two runners of one run may describe two clusters."""
        return f"{chain}-{self.spec().digest}"

    def _session_for(self, kind: ScopeKind, key: str, tags: Mapping[str, str]) -> Session:
        from emr_pipelines.emr.scope import Scope
        from emr_pipelines.emr.session import Session

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
            from emr_pipelines.emr.client import Aws
            from emr_pipelines.emr.preflight import Settings, refuse_mistakes
            from emr_pipelines.emr.shipment import Place

            aws = Aws()
            refuse_mistakes(Settings(aws, os.environ, self.bucket))
            self._built = Place.at(aws, base_uri(self.bucket))
        return self._built


def _say(log: logging.Logger) -> Callable[[str], None]:
    return lambda text: log.info(masked(text))


def _read_result(data: bytes, uri: str) -> dict[str, Any]:
    """Raises StepFailed for what no program has left."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "result" not in found:
        raise StepFailed(f"{uri} is not the result of a program; delete it and materialize the asset again.")
    return found


def _asked_by(context: dg.AssetExecutionContext) -> tuple[str, str]:
    """The work that all attempts at this step have in common: whose it is, and the step."""
    return lineage(context), context.get_step_execution_context().step.key


def _attempt(context: dg.AssetExecutionContext) -> bytes:
    """Which try of which run this is."""
    return f"{context.run.run_id} {context.retry_number}".encode()
