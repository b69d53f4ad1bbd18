"""Find why a job run failed, from what EMR Serverless says about it, deadlines and cancellations. Pure.

EMR Serverless has no codes: it says why in stateDetails, whose sentences are recognized here. What it does not explain
is in the program's exception or the driver's logs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from emr_pipelines.aws.quotas import MORE_QUOTA
from emr_pipelines.backends.emr_serverless.states import JobRunState
from emr_pipelines.diagnosis import cause
from emr_pipelines.diagnosis.evidence import Evidence, ProbableCause, sentence
from emr_pipelines.diagnosis.kinds import MEANINGS, Kind

EXIT_CODE = re.compile(r"ExitCode: (\d+)")
ONLY_POINTS_TO_LOGS = re.compile(r"Job failed, please check complete logs")


class Said(NamedTuple):
    """What a sentence of stateDetails means: its kind, how to begin the message, and what to do."""

    pattern: re.Pattern[str]
    kind: Kind
    begin: str
    hint: str
    retryable: bool = False


WORKERS = "Raise application.maximum, or use smaller or fewer workers (application.driver, executor, executors)."
IMAGE = "Check application.image: name, tag, architecture and release, and that EMR Serverless may pull it."
SENTENCES = (  # the first that matches counts
    Said(
        re.compile(r"(?i)ApplicationMaxCapacityExceeded|exceeded maximumCapacity"),
        Kind.VALIDATION,
        "The workers do not fit into the application:",
        WORKERS,
    ),
    Said(
        re.compile(r"(?i)queue ?timeout"),
        Kind.TIMED_OUT,
        "The job run had no turn in time:",
        "Allow more job runs at once (application.queue.concurrent), or a longer wait (application.queue.minutes).",
    ),
    Said(
        re.compile(r"(?i)execution ?timeout"),
        Kind.TIMED_OUT,
        "The program was not done in time:",
        "Use more or larger workers, or allow more time (running_minutes).",
    ),
    Said(
        re.compile(r"(?i)assume.{0,40}role|role.{0,80}assume|sts:AssumeRole|not authorized to perform: iam:PassRole"),
        Kind.ROLE,
        MEANINGS[Kind.ROLE].sentence,
        MEANINGS[Kind.ROLE].hint,
    ),
    Said(
        re.compile(r"(?i)(pull|find|access|validat).{0,40}image|image.{0,60}(not found|not exist|denied|invalid)|ecr:"),
        Kind.VALIDATION,
        "The image cannot be used:",
        IMAGE,
    ),
    Said(
        re.compile(r"(?i)service quota|vCPU (quota|limit)|quota exceeded|LimitExceeded"),
        Kind.QUOTA,
        "A quota is full, so the job run got no workers:",
        MORE_QUOTA,
        retryable=True,
    ),
    Said(
        re.compile(r"(?i)insufficient capacity|not enough capacity|capacity (is|was) not available"),
        Kind.CAPACITY,
        "AWS did not have enough capacity for the workers:",
        "Try again, or use another size of worker or other subnets.",
        retryable=True,
    ),
    Said(
        re.compile(r"(?i)subnet|security group|network interface"),
        Kind.VALIDATION,
        "The workers could not be connected to the network:",
        "Check application.subnets and application.security_groups.",
    ),
    Said(
        re.compile(r"(?i)internal (server |service )?error|try again later"),
        Kind.INTERNAL,
        "EMR Serverless failed to run the job:",
        "Try again; if it persists, contact AWS Support.",
        retryable=True,
    ),
)


@dataclass(frozen=True)
class JobRunEvidence(Evidence):
    """The evidence of a failed job run: what EMR Serverless says about it."""

    state: str = ""
    details: str = ""  # JobRun.stateDetails

    @property
    def exit_code(self) -> int | None:
        found = EXIT_CODE.search(self.details)
        return int(found[1]) if found else super().exit_code


def diagnose(evidence: JobRunEvidence) -> ProbableCause:
    """Return the probable cause; its kind is UNKNOWN when the evidence shows none."""
    return cause.diagnose(evidence, OF_SERVICE, _unknown)


def wants_driver_logs(evidence: JobRunEvidence) -> bool:
    """Return whether the driver's logs could change the cause."""
    return not cause.is_explained(evidence) and not any(find(evidence) for find in OF_SERVICE)


def _of_details(evidence: JobRunEvidence) -> ProbableCause | None:
    if ONLY_POINTS_TO_LOGS.search(evidence.details):
        return None
    for said in SENTENCES:
        if said.pattern.search(evidence.details):
            message = sentence(said.begin, evidence.details)
            return ProbableCause(said.kind, message, said.hint, retryable=said.retryable)
    return None


def _of_deadline(evidence: JobRunEvidence) -> ProbableCause | None:
    phase, after = evidence.timed_out_phase, evidence.after
    if phase == "provisioning":
        hint = "Try again; if it persists, look whether the account's vCPU quota, or the subnets, have room."
        message = f"The job run had no workers after {after}: it was still {evidence.state}."
        return ProbableCause(Kind.TIMED_OUT, message, hint, retryable=True)
    if phase == "queueing":
        hint = "Allow more job runs at once (application.queue.concurrent), or wait longer (queueing_minutes)."
        return ProbableCause(Kind.TIMED_OUT, f"The job run had no turn after {after}.", hint)
    if phase == "running":
        return cause.not_done(evidence, "Use more or larger workers")
    return None


def _of_cancelled(evidence: JobRunEvidence) -> ProbableCause | None:
    if evidence.state not in (JobRunState.CANCELLED, JobRunState.CANCELLING):
        return None
    return ProbableCause(Kind.CANCELLED, "The job run was cancelled from outside this run.", evidence.details)


def _unknown(evidence: JobRunEvidence) -> ProbableCause:
    if evidence.state == JobRunState.SUCCESS:
        return cause.unknown_cause(evidence, "EMR Serverless reports SUCCESS, but the program left no result.")
    message = sentence("The job run failed. EMR Serverless says:", evidence.details) if evidence.details else ""
    return cause.unknown_cause(evidence, message)


OF_SERVICE = (_of_deadline, _of_details, _of_cancelled)
