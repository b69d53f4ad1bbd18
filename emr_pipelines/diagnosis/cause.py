"""Find the probable cause of a failure in its evidence: what happened, what to do, where to look. Pure.

In order of precedence: what the program raised, unless it only shows that Spark was lost; the causes that the service
knows, in the order in which its backend gives them; the driver's logs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from emr_pipelines.diagnosis.evidence import Evidence, ProbableCause, caused, output
from emr_pipelines.diagnosis.exception_parser import Raised, last_fatal, last_raised, raised_remotely, unusable
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.diagnosis.traceback_filter import own_frames

KILLED = 137  # 128 + SIGKILL

EvidenceT = TypeVar("EvidenceT", bound=Evidence)


def diagnose(
    evidence: EvidenceT,
    of_service: Sequence[Callable[[EvidenceT], ProbableCause | None]] = (),
    unknown: Callable[[EvidenceT], ProbableCause] | None = None,
) -> ProbableCause:
    """Return the probable cause; its kind is UNKNOWN when the evidence shows none.

    of_service: functions that look for a cause in what only the service knows; the first cause found counts. unknown:
    describes a failure without a known cause.
    """
    cause = _cause(evidence, of_service) or (unknown or unknown_cause)(evidence)
    return replace(cause, log_uri=cause.log_uri or evidence.log_uri)


def _cause(
    evidence: EvidenceT, of_service: Sequence[Callable[[EvidenceT], ProbableCause | None]]
) -> ProbableCause | None:
    raised = _remotely(evidence)
    if raised and not raised.symptom:
        return _of_raised(raised, evidence)
    own = next((found for find in of_service if (found := find(evidence))), None)
    return own or _of_driver(evidence) or (_of_raised(raised, evidence) if raised else None)


def is_explained(evidence: Evidence) -> bool:
    """Return whether the program's own exception explains the failure."""
    raised = _remotely(evidence)
    return raised is not None and not raised.symptom


def _remotely(evidence: Evidence) -> Raised | None:
    return raised_remotely(evidence.exception) if evidence.exception else None


def _of_driver(evidence: Evidence) -> ProbableCause | None:
    """Find the cause in the driver's logs.

    A Python driver's traceback is in stdout, because spark-submit merges the driver's stderr into it; stderr is the
    JVM's. Where there is a traceback, what the JVM logs besides
    (retried tasks, executors that end last) does not count.
    """
    logs = evidence.newest_logs
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


def _killed(evidence: Evidence) -> ProbableCause | None:
    if evidence.exit_code != KILLED:
        return None
    log = output(evidence.driver)
    what = f"the driver was killed (exit code {KILLED}), as Linux and YARN do when a process uses too much memory"
    return caused(Kind.OUT_OF_MEMORY, what, log_uri=log.uri, last_lines=log.last_lines)


def not_done(evidence: Evidence, use: str) -> ProbableCause:
    """Say that a running program's deadline passed, and show the end of its output. use: what makes it faster."""
    log = output(evidence.driver)
    hint = f"{use}, or allow more time (running_minutes)."
    message = f"The program was not done after {evidence.after}."
    return ProbableCause(Kind.TIMED_OUT, message, hint, log.uri, last_lines=log.last_lines)


def unknown_cause(evidence: Evidence, message: str = "", log_uri: str = "") -> ProbableCause:
    """Say that there is no known cause, and show the end of the program's output.

    message: what is known nevertheless; otherwise the exit code is. log_uri: where a person should look if there is no
    log.
    """
    log, code = output(evidence.driver), evidence.exit_code
    ended = f"The program ended with exit code {code}, and its logs show no exception."
    message = message or (ended if code else "The program failed, and its logs do not say why.")
    hint = "The last lines of its output follow." if log.lines else "No driver log was available; one may still come."
    return ProbableCause(Kind.UNKNOWN, message, hint, log.uri or log_uri, last_lines=log.last_lines)
