"""From the evidence of a failure to its one probable cause: what happened, what to do, where to look. Pure.

What decides, in this order: what the program raised, unless it only shows that Spark was
lost under it; the codes that EMR gives for the end of the cluster; a deadline; a step that others cancelled; what the
driver's logs say. EMR's own messages are shown and never read; FailureDetails' is a line of the program's log.
"""

from __future__ import annotations

import re
from dataclasses import replace

from emr_pipelines.emr.cluster_causes import cause_of_cluster, cause_of_deadline
from emr_pipelines.emr.evidence import Evidence, ProbableCause, caused, output, sentence
from emr_pipelines.emr.frames import own_frames
from emr_pipelines.emr.kinds import PROVISIONING_SAID, SCRIPT_RAN, Kind
from emr_pipelines.emr.raised import Log, Raised, last_fatal, last_raised, raised_remotely, unusable
from emr_pipelines.emr.states import ENDED, ClusterState, StepState

KILLED = 137  # 128 + SIGKILL
SAYS_NOTHING = re.compile(r"(?i:unknown error)?\.?")  # Reason of FailureDetails, when EMR has found none


def diagnose(evidence: Evidence) -> ProbableCause:
    """The one probable cause. It always finds one; when nothing is known it is UNKNOWN, and says so."""
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
    """Whether the driver's logs could change the cause: not when the program, EMR's codes, a deadline or a cancelled
    step has told it."""
    raised = raised_remotely(evidence.exception) if evidence.exception else None
    if raised and not raised.symptom:
        return False
    return not (cause_of_cluster(evidence) or cause_of_deadline(evidence) or _of_cancelled_step(evidence))


def wants_bootstrap_logs(evidence: Evidence) -> bool:
    """Whether a bootstrap action of the user's ran, whose logs say why the cluster did not come up."""
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
        message = "Somebody else terminated the cluster before the program was done."
    elif unfinished and ending and evidence.cluster_change_code == "STEP_FAILURE":
        message = "The cluster ended because another step failed, before the program was done."
    elif evidence.step_state in (StepState.CANCELLED, StepState.INTERRUPTED, StepState.CANCEL_PENDING):
        message = "Somebody else cancelled the step."
    else:
        return None
    return ProbableCause(Kind.CANCELLED, message, evidence.step_change_message if not terminated else "")


# the driver's logs


def _of_driver(evidence: Evidence) -> ProbableCause | None:
    """A Python driver's traceback is in stdout, for spark-submit merges its stderr into it; stderr is the JVM's.

    What the JVM logs on the way (tasks tried again, executors that end last) is no cause while there is a traceback.
    """
    found_by_emr = Log(evidence.failure_log or "stderr", tuple(evidence.failure_message.splitlines()))
    logs = (*reversed(evidence.driver), found_by_emr)  # the newest first
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
    what = f"the driver was killed (exit code {KILLED}), which is what Linux and YARN do to who takes too much"
    return caused(Kind.OUT_OF_MEMORY, what, log_uri=log.uri, last_lines=log.last_lines)


def _unknown(evidence: Evidence) -> ProbableCause:
    log, code = output(evidence.driver), _exit_code(evidence)
    said = [part for part in (evidence.failure_reason, evidence.failure_message) if not SAYS_NOTHING.fullmatch(part)]
    said = said or [part for part in (evidence.step_change_message, evidence.cluster_change_message) if part][:1]
    if evidence.step_state == StepState.COMPLETED:
        message = "EMR calls the step COMPLETED, but the program left no result."
    elif said:
        message = sentence("The step failed, and EMR says:", " ".join(said))
    elif code:
        message = f"The program ended with exit code {code}, and its logs show no exception."
    else:
        message = "The step failed, and nothing that could be read says why."
    hint = "These are the last lines of its output." if log.lines else "There was no log of its driver to read."
    return ProbableCause(Kind.UNKNOWN, message, hint, log.uri or evidence.failure_log, last_lines=log.last_lines)
