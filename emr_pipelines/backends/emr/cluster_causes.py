"""Finds why a cluster failed (by EMR's codes), or did not come up in time (by its state at the deadline). Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from emr_pipelines.aws.quotas import quota_of
from emr_pipelines.backends.emr.states import ClusterState
from emr_pipelines.diagnosis.evidence import ErrorDetail, Evidence, ProbableCause, caused, output, sentence
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.diagnosis.kinds import (
    CAPACITY_SAID,
    HINTS_BY_CODE,
    KINDS_BY_CODE,
    MEANINGS,
    NAMES_NO_CODE,
    NETWORK_SAID,
    NOT_PROVISIONED,
    PROVISIONING_SAID,
    Kind,
)


def cause_of_cluster(evidence: Evidence) -> ProbableCause | None:
    reason = ErrorDetail(evidence.cluster_change_code, evidence.cluster_change_message)
    for detail in (*evidence.cluster_error_details, reason):
        for pattern, kind in KINDS_BY_CODE:
            if pattern.match(detail.code):
                return _of_code(kind, detail, evidence)
    return None


def _of_code(kind: Kind, detail: ErrorDetail, evidence: Evidence) -> ProbableCause:
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
    cause = caused(kind, f"{said} ({detail.code})", log_uri="")
    return replace(cause, hint=quota.advice if quota else _hint_of(detail.code) or cause.hint, quota=quota)


def _hint_of(code: str) -> str:
    return next((hint for begin, hint in HINTS_BY_CODE.items() if code.startswith(begin)), "")


def _of_bootstrap(detail: ErrorDetail, said: str, evidence: Evidence) -> ProbableCause:
    """Tell a failed bootstrap action of the user from a failed installation by EMR, which has the same code."""
    unscripted = detail.code == "BOOTSTRAP_FAILURE" and not evidence.has_bootstrap_actions
    if unscripted or PROVISIONING_SAID.search(said):
        begin, hint, retryable = NOT_PROVISIONED
        return ProbableCause(Kind.BOOTSTRAP, sentence(begin, f"{said} ({detail.code})"), hint, retryable=retryable)
    said = _bootstrap_action(detail, evidence.bootstrap) or said
    log = output(evidence.bootstrap, "stderr", "stdout")
    cause = caused(Kind.BOOTSTRAP, f"{said} ({detail.code})", log_uri=log.uri, last_lines=log.last_lines)
    network = MEANINGS[Kind.NETWORK].hint if any(map(NETWORK_SAID.search, log.last_lines)) else ""
    return replace(cause, hint=_hint_of(detail.code) or network or cause.hint)


def _bootstrap_action(detail: ErrorDetail, logs: Sequence[Log]) -> str:
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


def cause_of_deadline(evidence: Evidence) -> ProbableCause | None:
    seconds, phase = evidence.timed_out_seconds, evidence.timed_out_phase
    after = f"{round(seconds / 60):,} minutes" if seconds >= 120 else f"{round(seconds)} seconds"  # noqa: PLR2004
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
        log = output(evidence.driver)
        hint = "Use more or larger instances, or allow more time (running_minutes)."
        message = f"The program was not done after {after}."
        return ProbableCause(Kind.TIMED_OUT, message, hint, log.uri, last_lines=log.last_lines)
    return None


def _of_hanging_cluster(evidence: Evidence, message: str) -> ProbableCause:
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
