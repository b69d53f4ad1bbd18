"""From the evidence of a failure to its one probable cause: what happened, what to do, where to look. Pure.

What decides, in this order: what the program raised, unless it only shows that Spark was
lost under it; the codes that EMR gives for the end of the cluster; a deadline; a step that others cancelled; what the
driver's logs say. EMR's own messages are shown and never read; FailureDetails' is a line of the program's log.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from emr_pipelines.emr.cluster import ErrorDetail
from emr_pipelines.emr.frames import own_frames
from emr_pipelines.emr.kinds import HINTS_BY_CODE, KINDS_BY_CODE, MEANINGS, Kind
from emr_pipelines.emr.raised import Log, Raised, RemoteException, last_fatal, last_raised, raised_remotely, unusable
from emr_pipelines.emr.states import ENDED, ClusterState, StepState

LONGEST_MESSAGE = 500
KILLED = 137  # 128 + SIGKILL
SAYS_NOTHING = re.compile(r"(?i:unknown error)?\.?")  # Reason of FailureDetails, when EMR has found none

LONGEST_LINE = 500  # characters
MOST_LINES = 100


@dataclass(frozen=True)
class Evidence:
    """What is known of a failure; all of it may be missing."""

    exception: RemoteException | None = None
    step_state: str = ""
    failure_reason: str = ""  # Step.Status.FailureDetails
    failure_message: str = ""
    failure_log: str = ""
    step_change_message: str = ""  # Step.Status.StateChangeReason
    cluster_state: str = ""
    cluster_change_code: str = ""  # Cluster.Status.StateChangeReason
    cluster_change_message: str = ""
    cluster_error_details: tuple[ErrorDetail, ...] = ()  # Cluster.Status.ErrorDetails
    lost_spot_instances: tuple[str, ...] = ()  # Spot instances that ended with INSTANCE_FAILURE (ListInstances)
    driver: tuple[Log, ...] = ()  # the driver's, of spark-submit and of the step's controller, oldest first
    bootstrap: tuple[Log, ...] = ()
    timed_out_phase: str | None = None  # provisioning, queueing or running
    timed_out_seconds: float = 0
    log_uri: str = ""  # where a person should look
    package: str = ""  # the program's own, whose frames a person should see


@dataclass(frozen=True)
class ProbableCause:
    """Why it failed, for a person and for the decision whether to try again. `pages` are links to look further, by
    what they show."""

    kind: Kind
    message: str
    hint: str = ""
    log_uri: str = ""
    retryable: bool = False
    traceback: str = ""
    last_lines: tuple[str, ...] = ()
    pages: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        links = {**({"Logs": self.log_uri} if self.log_uri else {}), **self.pages}
        parts = [
            "\n".join(line for line in (self.message, self.hint) if line),
            _ending(self.traceback or "\n".join(self.last_lines)),
            "\n".join(f"{name}: {link}" for name, link in links.items()),
        ]
        return "\n\n".join(part for part in parts if part)


def _ending(text: str) -> str:
    """Its last lines, each cut, for it is kept with the run and shown on a page."""
    lines = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..." for line in text.splitlines()]
    kept = lines[-MOST_LINES:]
    return "\n".join(kept if len(kept) == len(lines) else [f"... ({len(lines) - len(kept):,} lines)", *kept])


def diagnose(evidence: Evidence) -> ProbableCause:
    """The one probable cause. It always finds one; when nothing is known it is UNKNOWN, and says so."""
    cause = _cause(evidence)
    return replace(cause, log_uri=cause.log_uri or evidence.log_uri)


def _cause(evidence: Evidence) -> ProbableCause:
    raised = raised_remotely(evidence.exception) if evidence.exception else None
    if raised and not raised.symptom:
        return _of_raised(raised, evidence)
    found = _of_cluster(evidence) or _of_deadline(evidence) or _of_cancelled_step(evidence) or _of_driver(evidence)
    return found or (_of_raised(raised, evidence) if raised else _unknown(evidence))


def _caused(
    kind: Kind, what: str, log_uri: str, traceback: str = "", last_lines: tuple[str, ...] = ()
) -> ProbableCause:
    begin, hint, retryable = MEANINGS[kind]
    return ProbableCause(kind, _sentence(begin, what), hint, log_uri, retryable, traceback, last_lines)


def _sentence(begin: str, end: str) -> str:
    end = " ".join(end.split()).rstrip(";:")
    end = end if len(end) <= LONGEST_MESSAGE else end[:LONGEST_MESSAGE] + "…"
    return f"{begin} {end}" + ("" if end.endswith((".", "!", "?", "…")) else ".")


# the cluster


def _of_cluster(evidence: Evidence) -> ProbableCause | None:
    reason = ErrorDetail(evidence.cluster_change_code, evidence.cluster_change_message)
    for detail in (*evidence.cluster_error_details, reason):
        for pattern, kind in KINDS_BY_CODE:
            if pattern.match(detail.code):
                return _of_code(kind, detail, evidence)
    return None


def _of_code(kind: Kind, detail: ErrorDetail, evidence: Evidence) -> ProbableCause:
    said = (detail.message or evidence.cluster_change_message or "it gives no reason").rstrip(".")
    log = Log("", ())
    if kind is Kind.BOOTSTRAP:
        said = _bootstrap_action(detail, evidence.bootstrap) or said
        log = _output(evidence.bootstrap, "stderr", "stdout")
    elif kind is Kind.INSTANCE_LOST and evidence.lost_spot_instances:
        kind, said = Kind.SPOT_LOST, f"{', '.join(evidence.lost_spot_instances)}; {said}"
    hints = [hint for code, hint in HINTS_BY_CODE.items() if detail.code.startswith(code)]
    cause = _caused(kind, f"{said} ({detail.code})", log_uri=log.uri, last_lines=log.last_lines)
    return replace(cause, hint=hints[0]) if hints else cause


def _bootstrap_action(detail: ErrorDetail, logs: Sequence[Log]) -> str:
    """Which of them ended how, from the error's data or else from the logs; empty when neither says."""
    data = {name: value for pairs in detail.data for name, value in pairs.items()}
    number, code = data.get("bootstrap-action", ""), data.get("return-code", "")
    path = data.get("amazon-s3-path", "")
    for log in logs:
        if not code and log.exit_code:
            number, code = posixpath.basename(posixpath.dirname(log.uri)), str(log.exit_code)
    action = " ".join(part for part in ("bootstrap action", number, path) if part)
    return f"{action} ended with exit code {code}" if code else ""


# deadlines and cancelling


def _of_deadline(evidence: Evidence) -> ProbableCause | None:
    seconds, phase = evidence.timed_out_seconds, evidence.timed_out_phase
    after = f"{round(seconds / 60):,} minutes" if seconds >= 120 else f"{round(seconds)} seconds"  # noqa: PLR2004
    if phase == "provisioning":
        message = f"The cluster was not ready after {after}."
        hint = "EC2 may be short of its instances: allow more instance types or subnets, or wait longer."
    elif phase == "queueing":
        message = f"The step had not begun after {after}."
        hint = "Other steps kept the cluster busy: let more of them run at once, or wait longer."
    elif phase == "running":
        message = f"The program was not done after {after}."
        hint = "Give it more or larger instances, or more time."
    else:
        return None
    log = _output(evidence.driver)
    return ProbableCause(Kind.TIMED_OUT, message, hint, log.uri, phase != "running", last_lines=log.last_lines)


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
    return _caused(kind, str(error), log_uri=raised.uri, traceback=own_frames(raised.text, evidence.package))


def _exit_code(evidence: Evidence) -> int | None:
    codes = (log.exit_code for log in reversed(evidence.driver) if log.name != "stdout")
    return next((code for code in codes if code is not None), None)


def _killed(evidence: Evidence) -> ProbableCause | None:
    if _exit_code(evidence) != KILLED:
        return None
    output = _output(evidence.driver)
    what = f"the driver was killed (exit code {KILLED}), which is what Linux and YARN do to who takes too much"
    return _caused(Kind.OUT_OF_MEMORY, what, log_uri=output.uri, last_lines=output.last_lines)


def _output(logs: Sequence[Log], *names: str) -> Log:
    """The log whose end tells a person most; of a driver its own output, else the JVM's."""
    filled = [
        log for name in names or ("stdout", "stderr") for log in reversed(logs) if log.name == name and log.last_lines
    ]
    return filled[0] if filled else Log("", ())


def _unknown(evidence: Evidence) -> ProbableCause:
    output, code = _output(evidence.driver), _exit_code(evidence)
    said = [part for part in (evidence.failure_reason, evidence.failure_message) if not SAYS_NOTHING.fullmatch(part)]
    said = said or [part for part in (evidence.step_change_message, evidence.cluster_change_message) if part][:1]
    if evidence.step_state == StepState.COMPLETED:
        message = "EMR calls the step COMPLETED, but the program left no result."
    elif said:
        message = _sentence("The step failed, and EMR says:", " ".join(said))
    elif code:
        message = f"The program ended with exit code {code}, and its logs show no exception."
    else:
        message = "The step failed, and nothing that could be read says why."
    hint = "These are the last lines of its output." if output.lines else "There was no log of its driver to read."
    return ProbableCause(Kind.UNKNOWN, message, hint, output.uri or evidence.failure_log, last_lines=output.last_lines)
