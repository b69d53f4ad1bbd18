"""Finds the probable cause of a failure in its evidence: what happened, what to do, where to look. Pure.

In order of precedence: what the program raised, unless it only shows that Spark was lost; EMR's codes for the end of
the cluster; a deadline; a step that somebody cancelled; the driver's logs. EMR's own messages are shown but not parsed
(quotas.py and kinds.py have the exceptions); the message in FailureDetails is a line of the program's log.
"""

from __future__ import annotations

import re
from dataclasses import replace

from emr_pipelines.backends.emr.cluster_causes import cause_of_cluster, cause_of_deadline
from emr_pipelines.backends.emr.states import ENDED, ClusterState, StepState
from emr_pipelines.diagnosis.evidence import Evidence, ProbableCause, caused, output, sentence
from emr_pipelines.diagnosis.exception_parser import Log, Raised, last_fatal, last_raised, raised_remotely, unusable
from emr_pipelines.diagnosis.kinds import PROVISIONING_SAID, SCRIPT_RAN, Kind
from emr_pipelines.diagnosis.traceback_filter import own_frames

KILLED = 137  # 128 + SIGKILL
SAYS_NOTHING = re.compile(r"(?i:unknown error)?\.?")  # FailureDetails.Reason when EMR found no reason


def diagnose(evidence: Evidence) -> ProbableCause:
    """Return the probable cause; its kind is UNKNOWN when the evidence shows none."""
    cause = _cause(evidence)
    return replace(cause, log_uri=cause.log_uri or evidence.log_uri)


def _cause(evidence: Evidence) -> ProbableCause:
    raised = raised_remotely(evidence.exception) if evidence.exception else None
    if raised and not raised.symptom:
        return _of_raised(raised, evidence)
    found = (
        cause_of_cluster(evidence)
        or cause_of_deadline(evidence)
        or _of_cancelled_step(evidence)
        or _of_driver(evidence)
    )
    return found or (_of_raised(raised, evidence) if raised else _unknown(evidence))


def wants_driver_logs(evidence: Evidence) -> bool:
    """Return whether the driver's logs could change the cause.

    They cannot when the program's exception, EMR's codes, a deadline or a cancelled step already show it.
    """
    raised = raised_remotely(evidence.exception) if evidence.exception else None
    if raised and not raised.symptom:
        return False
    return not (cause_of_cluster(evidence) or cause_of_deadline(evidence) or _of_cancelled_step(evidence))


def wants_bootstrap_logs(evidence: Evidence) -> bool:
    """Return whether one of the user's bootstrap actions ran, whose logs say why the cluster did not come up."""
    if evidence.exception or not evidence.has_bootstrap_actions:
        return False
    codes = [detail.code for detail in evidence.cluster_error_details] or [evidence.cluster_change_code]
    failed = any(map(SCRIPT_RAN.fullmatch, codes)) and not PROVISIONING_SAID.search(evidence.cluster_change_message)
    return failed or (evidence.timed_out_phase == "provisioning" and evidence.cluster_state == "BOOTSTRAPPING")


def _of_cancelled_step(evidence: Evidence) -> ProbableCause | None:
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


# the driver's logs


def _of_driver(evidence: Evidence) -> ProbableCause | None:
    """Find the cause in the driver's logs.

    A Python driver's traceback is in stdout, because spark-submit merges the driver's stderr into it; stderr is the
    JVM's. Where there is a traceback, what the JVM logs besides (retried tasks, executors that end last) is no cause.
    """
    found_by_emr = Log(evidence.failure_log or "stderr", tuple(evidence.failure_message.splitlines()))
    logs = (*reversed(evidence.driver), found_by_emr)  # newest first
    raised = next((found for log in logs if log.name == "stdout" and (found := last_raised(log))), None)
    if raised and raised.last_word and not raised.symptom:
        return _of_raised(raised, evidence)
    fatal = next((found for log in logs if (found := unusable(log))), None)
    fatal = fatal or next((found for log in logs if log.name == "stderr" and (found := last_fatal(log))), None)
    if fatal:
        return _of_raised(fatal, evidence)
    return _killed(evidence) or (_of_raised(raised, evidence) if raised else None)


def _of_raised(raised: Raised, evidence: Evidence) -> ProbableCause:
    kind, error = raised.verdict
    if kind is Kind.INSTANCE_LOST and evidence.lost_spot_instances:
        kind = Kind.SPOT_LOST
    return caused(kind, str(error), log_uri=raised.uri, traceback=own_frames(raised.text, evidence.package))


def _exit_code(evidence: Evidence) -> int | None:
    codes = (log.exit_code for log in reversed(evidence.driver) if log.name != "stdout")
    return next((code for code in codes if code is not None), None)


def _killed(evidence: Evidence) -> ProbableCause | None:
    if _exit_code(evidence) != KILLED:
        return None
    log = output(evidence.driver)
    what = f"the driver was killed (exit code {KILLED}), as Linux and YARN do when a process uses too much memory"
    return caused(Kind.OUT_OF_MEMORY, what, log_uri=log.uri, last_lines=log.last_lines)


def _unknown(evidence: Evidence) -> ProbableCause:
    log, code = output(evidence.driver), _exit_code(evidence)
    said = [part for part in (evidence.failure_reason, evidence.failure_message) if not SAYS_NOTHING.fullmatch(part)]
    said = said or [part for part in (evidence.step_change_message, evidence.cluster_change_message) if part][:1]
    if evidence.step_state == StepState.COMPLETED:
        message = "EMR reports the step as COMPLETED, but the program left no result."
    elif said:
        message = sentence("The step failed. EMR says:", " ".join(said))
    elif code:
        message = f"The program ended with exit code {code}, and its logs show no exception."
    else:
        message = "The step failed, and neither EMR nor the logs say why."
    hint = (
        "The last lines of its output follow."
        if log.lines
        else "No driver log was available; EMR may still deliver one."
    )
    return ProbableCause(Kind.UNKNOWN, message, hint, log.uri or evidence.failure_log, last_lines=log.last_lines)
