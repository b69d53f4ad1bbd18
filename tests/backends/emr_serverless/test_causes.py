"""Why a job run failed."""

from __future__ import annotations

import pytest

from emr_pipelines.backends.emr_serverless.causes import JobRunEvidence, diagnose, wants_driver_logs
from emr_pipelines.diagnosis.exception_parser import Log, RemoteException
from emr_pipelines.diagnosis.kinds import Kind

ONLY_LOGS = "Job failed, please check complete logs in configured logging destination. ExitCode: 1."
TOO_LARGE = (
    "ApplicationMaxCapacityExceededException: Worker could not be allocated as the application has exceeded "
    "maximumCapacity settings: [cpu: 8 vCPU]"
)
RAISED = RemoteException("ValueError", "ValueError: no such colour\n")
TRACEBACK = ("Traceback (most recent call last):", '  File "a.py", line 1, in f', "ValueError: no such colour")


@pytest.mark.parametrize(
    ("details", "kind", "retryable", "says"),
    [
        (
            TOO_LARGE,
            Kind.VALIDATION, False, "Raise application.maximum",
        ),
        ("Job run exceeded the queue timeout of 15 minutes.", Kind.TIMED_OUT, False, "application.queue.concurrent"),
        ("Job run exceeded its execution timeout of 60 minutes.", Kind.TIMED_OUT, False, "running_minutes"),
        ("Could not assume the execution role arn:aws:iam::1:role/a.", Kind.ROLE, False, "emr-serverless.amazonaws"),
        ("Access denied: not authorized to perform: sts:AssumeRole", Kind.ROLE, False, "iam:PassRole"),
        ("Failed to pull image 1.dkr.ecr.us-east-1.amazonaws.com/a:b", Kind.VALIDATION, False, "application.image"),
        ("The image a:b was not found", Kind.VALIDATION, False, "application.image"),
        ("You have exceeded the vCPU quota of the account.", Kind.QUOTA, True, "request a higher quota"),
        ("Insufficient capacity in subnet subnet-1", Kind.CAPACITY, True, "Try again"),
        ("The subnet subnet-1 does not exist", Kind.VALIDATION, False, "application.subnets"),
        ("Internal server error", Kind.INTERNAL, True, "contact AWS Support"),
    ],
)  # fmt: skip
def test_what_state_details_say(details: str, kind: Kind, retryable: bool, says: str) -> None:
    evidence = JobRunEvidence(state="FAILED", details=details)
    cause = diagnose(evidence)
    assert (cause.kind, cause.retryable) == (kind, retryable)
    assert says in cause.hint
    assert details.rstrip(".") in cause.message
    assert not wants_driver_logs(evidence)


def test_what_the_program_raised_comes_first() -> None:
    evidence = JobRunEvidence(exception=RAISED, state="FAILED", details="Internal server error")
    assert diagnose(evidence).message == "The program raised ValueError: no such colour."
    assert not wants_driver_logs(evidence)


def test_a_sentence_that_only_points_to_the_logs_has_them_read() -> None:
    evidence = JobRunEvidence(state="FAILED", details=ONLY_LOGS)
    assert wants_driver_logs(evidence)
    log = Log("s3://b/SPARK_DRIVER/stdout.gz", TRACEBACK)
    cause = diagnose(JobRunEvidence(state="FAILED", details=ONLY_LOGS, driver=(log,)))
    assert (cause.kind, cause.log_uri) == (Kind.USER_EXCEPTION, log.uri)


def test_an_exit_code_of_a_killed_driver_is_known_without_logs() -> None:
    cause = diagnose(JobRunEvidence(state="FAILED", details=ONLY_LOGS.replace("1.", "137.")))
    assert cause.kind is Kind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("phase", "says", "retryable"),
    [
        ("provisioning", "The job run had no workers after 60 minutes: it was still PENDING.", True),
        ("queueing", "The job run had no turn after 60 minutes.", False),
        ("running", "The program was not done after 60 minutes.", False),
    ],
)
def test_deadlines(phase: str, says: str, retryable: bool) -> None:
    cause = diagnose(JobRunEvidence(state="PENDING", timed_out_phase=phase, timed_out_seconds=3600))
    assert (cause.kind, cause.message, cause.retryable) == (Kind.TIMED_OUT, says, retryable)


def test_what_is_not_known_is_shown_as_it_is() -> None:
    cause = diagnose(JobRunEvidence(state="FAILED", details="The moon was in the way."))
    assert cause.kind is Kind.UNKNOWN
    assert cause.message == "The job run failed. EMR Serverless says: The moon was in the way."
    assert "left no result" in diagnose(JobRunEvidence(state="SUCCESS")).message
