"""Find why a step failed from EMR's codes, deadlines and cancellations. Pure.

In order of precedence: what the program raised, unless it only shows that Spark was lost; EMR's codes for the end of
the cluster; a deadline; a step that somebody cancelled; the driver's logs. EMR's own messages are shown but not parsed
(aws/quotas.py and codes.py have the exceptions); the message in FailureDetails is a line of the program's log.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from emr_pipelines.aws.quotas import quota_of
from emr_pipelines.backends.emr.codes import (
    CAPACITY_SAID,
    HINTS_BY_CODE,
    KINDS_BY_CODE,
    NAMES_NO_CODE,
    NOT_PROVISIONED,
    PROVISIONING_SAID,
    SCRIPT_RAN,
)
from emr_pipelines.backends.emr.states import ENDED, ClusterState, StepState
from emr_pipelines.diagnosis import cause
from emr_pipelines.diagnosis.evidence import Evidence, ProbableCause, Reason, caused, output, sentence
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.diagnosis.kinds import MEANINGS, Kind
from emr_pipelines.diagnosis.known_errors import NETWORK_SAID

SAYS_NOTHING = re.compile(r"(?i:unknown error)?\.?")  # FailureDetails.Reason when EMR found no reason


@dataclass(frozen=True)
class ClusterEvidence(Evidence):
    """The evidence of a failed step: what EMR says about the step and its cluster."""

    step_state: str = ""
    failure_reason: str = ""  # Step.Status.FailureDetails
    failure_message: str = ""
    failure_log: str = ""
    step_change_message: str = ""  # Step.Status.StateChangeReason
    cluster_state: str = ""
    cluster_change_code: str = ""  # Cluster.Status.StateChangeReason
    cluster_change_message: str = ""
    cluster_error_details: tuple[Reason, ...] = ()  # Cluster.Status.ErrorDetails
    bootstrap: tuple[Log, ...] = ()
    has_bootstrap_actions: bool = True  # whether the cluster's description has any
    steps_before: int | None = None  # unfinished steps ahead of one that did not start, if known

    @property
    def newest_logs(self) -> tuple[Log, ...]:
        """The driver's logs, newest first, and the line that EMR found."""
        found_by_emr = Log(self.failure_log or "stderr", tuple(self.failure_message.splitlines()))
        return (*reversed(self.driver), found_by_emr)


def diagnose(evidence: ClusterEvidence) -> ProbableCause:
    """Return the probable cause; its kind is UNKNOWN when the evidence shows none."""
    return cause.diagnose(evidence, OF_EMR, _unknown)


def wants_driver_logs(evidence: ClusterEvidence) -> bool:
    """Return whether the driver's logs could change the cause.

    They cannot when the program's exception, EMR's codes, a deadline or a cancelled step already show it.
    """
    return not cause.is_explained(evidence) and not any(find(evidence) for find in OF_EMR)


def wants_bootstrap_logs(evidence: ClusterEvidence) -> bool:
    """Return whether one of the user's bootstrap actions ran, whose logs say why the cluster did not come up."""
    if evidence.exception or not evidence.has_bootstrap_actions:
        return False
    codes = [detail.code for detail in evidence.cluster_error_details] or [evidence.cluster_change_code]
    failed = any(map(SCRIPT_RAN.fullmatch, codes)) and not PROVISIONING_SAID.search(evidence.cluster_change_message)
    return failed or (evidence.timed_out_phase == "provisioning" and evidence.cluster_state == "BOOTSTRAPPING")


def _of_cancelled_step(evidence: ClusterEvidence) -> ProbableCause | None:
    ending = evidence.cluster_state in ENDED | {ClusterState.TERMINATING}
    terminated = ending and evidence.cluster_change_code == "USER_REQUEST"
    unfinished = evidence.step_state not in (StepState.FAILED, StepState.COMPLETED)
    if unfinished and terminated:
        message = "The cluster was terminated from outside this run before the program finished."
    elif unfinished and ending and evidence.cluster_change_code == "STEP_FAILURE":
        message = "The cluster ended before the program finished, because another step failed."
    elif evidence.step_state in (StepState.CANCELLED, StepState.INTERRUPTED, StepState.CANCEL_PENDING):
        message = "The step was cancelled from outside this run."
    else:
        return None
    return ProbableCause(Kind.CANCELLED, message, evidence.step_change_message if not terminated else "")


def cause_of_cluster(evidence: ClusterEvidence) -> ProbableCause | None:
    reason = Reason(evidence.cluster_change_code, evidence.cluster_change_message)
    for detail in (*evidence.cluster_error_details, reason):
        for pattern, kind in KINDS_BY_CODE:
            if pattern.match(detail.code):
                return _of_code(kind, detail, evidence)
    return None


def _of_code(kind: Kind, detail: Reason, evidence: ClusterEvidence) -> ProbableCause:
    said = (detail.message or evidence.cluster_change_message or "no reason given").rstrip(".")
    if kind is Kind.BOOTSTRAP:
        return _of_bootstrap(detail, said, evidence)
    quota = quota_of(detail.code, said) if kind in NAMES_NO_CODE | {Kind.QUOTA} else None
    if quota:
        kind = Kind.QUOTA
    elif kind in NAMES_NO_CODE and CAPACITY_SAID.search(said):
        kind = Kind.CAPACITY
    elif kind is Kind.INSTANCE_LOST and evidence.lost_spot_instances:
        kind, said = Kind.SPOT_LOST, f"{', '.join(evidence.lost_spot_instances)}; {said}"
    found = caused(kind, f"{said} ({detail.code})", log_uri="")
    return replace(found, hint=quota.advice if quota else _hint_of(detail.code) or found.hint, quota=quota)


def _hint_of(code: str) -> str:
    return next((hint for begin, hint in HINTS_BY_CODE.items() if code.startswith(begin)), "")


def _of_bootstrap(detail: Reason, said: str, evidence: ClusterEvidence) -> ProbableCause:
    """Tell a failed bootstrap action of the user from a failed installation by EMR, which has the same code."""
    unscripted = detail.code == "BOOTSTRAP_FAILURE" and not evidence.has_bootstrap_actions
    if unscripted or PROVISIONING_SAID.search(said):
        begin, hint, retryable = NOT_PROVISIONED
        return ProbableCause(Kind.BOOTSTRAP, sentence(begin, f"{said} ({detail.code})"), hint, retryable=retryable)
    said = _bootstrap_action(detail, evidence.bootstrap) or said
    log = output(evidence.bootstrap, "stderr", "stdout")
    found = caused(Kind.BOOTSTRAP, f"{said} ({detail.code})", log_uri=log.uri, last_lines=log.last_lines)
    network = MEANINGS[Kind.NETWORK].hint if any(map(NETWORK_SAID.search, log.last_lines)) else ""
    return replace(found, hint=_hint_of(detail.code) or network or found.hint)


def _bootstrap_action(detail: Reason, logs: Sequence[Log]) -> str:
    """Say which action failed and how, from the error's data or else from the logs; empty when neither shows it."""
    data = {name: value for pairs in detail.data for name, value in pairs.items()}
    number, code = data.get("bootstrap-action", ""), data.get("return-code", "")
    path = data.get("amazon-s3-path", "")
    for log in logs:
        if not code and log.exit_code:
            number, code = posixpath.basename(posixpath.dirname(log.uri)), str(log.exit_code)
    action = " ".join(part for part in ("bootstrap action", number, path) if part)
    return f"{action} ended with exit code {code}" if code else ""


# deadlines


def cause_of_deadline(evidence: ClusterEvidence) -> ProbableCause | None:
    phase, after = evidence.timed_out_phase, evidence.after
    if phase == "provisioning":
        return _of_hanging_cluster(evidence, f"The cluster was not ready after {after}")
    if phase == "queueing":
        before = evidence.steps_before
        message = f"The step had not begun after {after}"
        if before == 0:
            hint = "Try again; if it persists, look on the cluster's page for what delays the step."
            return ProbableCause(Kind.TIMED_OUT, f"{message}, although no step was ahead of it.", hint, retryable=True)
        many = f": {before:,} unfinished {'step was' if before == 1 else 'steps were'} ahead of it" if before else ""
        hint = "Allow more concurrent steps (step_concurrency), use more clusters, or wait longer (queueing_minutes)."
        return ProbableCause(Kind.TIMED_OUT, f"{message}{many}.", hint)
    if phase == "running":
        return cause.not_done(evidence, "Use more or larger instances")
    return None


def _of_hanging_cluster(evidence: ClusterEvidence, message: str) -> ProbableCause:
    """Say what a cluster was waiting for at its deadline, by its state."""
    if evidence.cluster_state != ClusterState.BOOTSTRAPPING:
        hint = (
            "Try again; EC2 may have too few of these instances: allow more instance types or subnets, or wait longer "
            "(provisioning_minutes). A subnet from which EMR and S3 cannot be reached has the same effect."
        )
        still = f": it was still {evidence.cluster_state}, waiting for instances" if evidence.cluster_state else ""
        return ProbableCause(Kind.TIMED_OUT, f"{message}{still}.", hint, retryable=True)
    message = f"{message}: it was still {evidence.cluster_state}"
    if not evidence.has_bootstrap_actions:
        message = f"{message}, and has no bootstrap actions, so EMR was still installing applications."
        return ProbableCause(Kind.TIMED_OUT, message, NOT_PROVISIONED.hint, retryable=True)
    log = output(evidence.bootstrap, "stderr", "stdout")
    hint = "Fix the bootstrap action that hangs, or wait longer for it (provisioning_minutes)."
    if any(map(NETWORK_SAID.search, log.last_lines)):
        hint = f"{hint} {MEANINGS[Kind.NETWORK].hint}"
    message = f"{message}, so a bootstrap action may hang."
    return ProbableCause(Kind.TIMED_OUT, message, hint, log.uri, last_lines=log.last_lines)


def _unknown(evidence: ClusterEvidence) -> ProbableCause:
    said = [part for part in (evidence.failure_reason, evidence.failure_message) if not SAYS_NOTHING.fullmatch(part)]
    said = said or [part for part in (evidence.step_change_message, evidence.cluster_change_message) if part][:1]
    if evidence.step_state == StepState.COMPLETED:
        message = "EMR reports the step as COMPLETED, but the program left no result."
    elif said:
        message = sentence("The step failed. EMR says:", " ".join(said))
    else:
        message = "" if evidence.exit_code else "The step failed, and neither EMR nor the logs say why."
    return cause.unknown_cause(evidence, message, evidence.failure_log)


OF_EMR = (cause_of_cluster, cause_of_deadline, _of_cancelled_step)
