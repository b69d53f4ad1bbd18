"""The seam between runners and the services that run jobs: what a backend does, and the states that a job has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from emr_pipelines.diagnosis.evidence import ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.enums import TextEnum
from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.package import Job


class JobState(TextEnum):
    """The state of a job, whichever service runs it."""

    PROVISIONING = "provisioning"  # its cluster is being started
    QUEUEING = "queueing"  # it waits for other jobs
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"  # it was cancelled, or its cluster was terminated


UNFINISHED = frozenset({JobState.PROVISIONING, JobState.QUEUEING, JobState.RUNNING})


@dataclass(frozen=True)
class Deadlines:
    """How long a job may be in each unfinished state, in seconds. Raises InvalidValue for 0 or less."""

    provisioning: float = 3600
    queueing: float = 24 * 3600
    running: float = 7 * 24 * 3600

    def __post_init__(self) -> None:
        for state in sorted(UNFINISHED):
            if self.of(state) <= 0:
                raise InvalidValue(f"The deadline for {state}", self.of(state), "more than 0 seconds")

    def of(self, state: JobState) -> float:
        return float(getattr(self, state.value))


@dataclass(frozen=True)
class Handle:
    """A job that a service knows: its id there, and the number of the attempt that runs it.

    words: the state in which it was found, in the service's own words. noun: what the service calls it, for messages.
    """

    id: str
    attempt: int = 1
    words: str = ""
    noun: str = "job"

    def __str__(self) -> str:
        return f"{self.noun} {self.id}"


@dataclass(frozen=True)
class JobStatus:
    """What a service says about a job now.

    words: how it is, in the service's own words. waiting_for: what is waited for meanwhile, as a sentence.
    """

    state: JobState
    words: str = ""
    waiting_for: str = ""


@dataclass(frozen=True)
class End:
    """How the wait for a job ended: the last status, and the state whose deadline passed, if one did."""

    status: JobStatus
    timed_out: JobState | None = None


class Backend(Protocol):
    """A service that runs jobs. Each call may raise the AwsErrors, and none is retried by its caller."""

    def check(self, job: Job) -> None:
        """Raise InvalidValue, before anything is paid for, if the service would refuse the job."""

    def find(self, job: Job) -> Handle | None:
        """Find the unfinished job of an earlier attempt; None if there is none."""

    def submit(self, job: Job, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Handle:
        """Run a job, at most once for each attempt, even if responses are lost.

        asked_by: the run and its retry number, for people. arguments: of the entrypoint, after those of the job.
        """

    def poll(self, handle: Handle) -> JobStatus: ...

    def cancel(self, handle: Handle, *, hurry: bool = False) -> None:
        """Ask a job to stop, then kill it, and wait for its end. hurry: only ask, as this process may be killed."""

    def explain(
        self, handle: Handle, end: End, exception: RemoteException | None, package: str, *, alone: bool
    ) -> ProbableCause:
        """Find the probable cause of a failure, waiting for logs where they can exist and could change it.

        end: how the wait for the job ended. exception: what the program itself reported. package: the program's. alone:
        no other step of the run uses what the job ran on.
        """
