"""Watch a step to its end: cancel it when its run is interrupted or late, and explain why it failed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from emr_pipelines.errors import CredentialsMissing, EmrPipelinesError, StepFailed, TimedOut
from emr_pipelines.runners.billing import end_cluster, prepare_bill
from emr_pipelines.runners.emr_settings import EmrSettings
from emr_pipelines.runners.failures import advised

if TYPE_CHECKING:  # they bring boto3, which takes half a second to import
    from emr_pipelines.backends.emr.session import Session
    from emr_pipelines.backends.emr.watch import End
    from emr_pipelines.clock import Wakeup
    from emr_pipelines.diagnosis.exception_parser import RemoteException


def watch_step(
    settings: EmrSettings,
    session: Session,
    log: logging.Logger,
    step_id: str,
    wakeup: Wakeup,
    finished: Callable[[], bool],
    reports_progress: bool = False,
) -> End:
    """Watch a step to its end, and cancel it when the watch fails or a deadline passes.

    hint, finished, speaks: as for `Session.watch`.
    """
    from emr_pipelines.backends.emr.states import STEP_ENDED

    try:
        prepare_bill()
        end = session.watch(step_id, wakeup, finished, reports_progress)
    except BaseException as error:
        if not isinstance(error, CredentialsMissing):  # nothing can be cancelled then, and a retry finds the step
            with suppress(EmrPipelinesError):  # the first error must be heard
                # an interrupted process may be killed soon: ending the cluster comes before waiting for the step
                wait = isinstance(error, Exception) or settings.scope == "pool"
                _cancel(settings, session, log, step_id, wait=wait)
        raise
    if end.step.state not in STEP_ENDED:
        try:
            _cancel(settings, session, log, step_id, wait=True)
        except CredentialsMissing:
            raise  # a retry with other credentials finds the step
        except EmrPipelinesError as error:  # the deadline that passed must be heard
            log.error(f"Step {step_id} could not be cancelled and may still be running: {error}")  # noqa: TRY400
    return end


def _cancel(settings: EmrSettings, session: Session, log: logging.Logger, step_id: str, wait: bool) -> None:
    log.info(f"Cancelling step {step_id}.")
    if not wait:
        session.interrupt(step_id)
        return
    session.cancel(step_id)
    if settings.deploy_mode != "cluster":
        return
    # EMR has ended spark-submit; the driver goes on in its YARN container, and ends with the cluster
    if session.busy(besides=step_id):
        log.warning(
            f"The driver of step {step_id} may go on in YARN: its cluster also runs other steps and is not ended. Stop "
            f"the driver with `yarn application -kill`. {session.page_of(step_id)}"
        )
    else:
        end_cluster(session, log, step_id)


def raise_failure(
    session: Session,
    log: logging.Logger,
    end: End,
    exception: RemoteException | None,
    package: str,
    log_wait_seconds: float,
    alone: bool,
    named_here: Callable[[str], str],
) -> None:
    """Raise an error that explains why a step did not complete; return if it did.

    package: the program's own. alone: no other step of the run uses the cluster. named_here: puts the names that input
    files have on this machine in place of those on S3.
    """
    from emr_pipelines.backends.emr.states import StepState
    from emr_pipelines.backends.emr.watch import Phase

    if end.step.state is StepState.COMPLETED:
        return
    cause = advised(session.explain(end, exception, log_wait_seconds, package, terminate=alone))
    if end.timed_out is Phase.PROVISIONING:
        end_cluster(session, log, end.step.id)  # it will not come up, and a retry must not find it
    kind = TimedOut if end.timed_out else StepFailed
    facts = {"kind": str(cause.kind), "hint": cause.hint, "logs": cause.log_uri, **cause.pages}
    raise kind(named_here(str(cause)), cause.retryable, facts)
