"""Records of applications and job runs, and their states."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from emr_emulator.records import Running, Word
from emr_emulator.serverless.workers import Workers

LETTERS = "0123456789abcdefghijklmnopqrstuv"


class ApplicationState(Word):
    CREATING = "CREATING"
    CREATED = "CREATED"
    STARTING = "STARTING"
    STARTED = "STARTED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"


AT_REST = frozenset({ApplicationState.CREATED, ApplicationState.STOPPED})  # it can be started, changed, deleted


class JobState(Word):
    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    QUEUED = "QUEUED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


ENDED = frozenset({JobState.SUCCESS, JobState.FAILED, JobState.CANCELLED})
WAITING = frozenset({JobState.SUBMITTED, JobState.PENDING, JobState.QUEUED})
WITH_WORKERS = frozenset({JobState.SCHEDULED, JobState.RUNNING, JobState.CANCELLING})


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt at a job run; a retry policy may allow several."""

    number: int
    created: float
    updated: float
    state: JobState
    details: str = ""


@dataclass(slots=True, eq=False)
class JobRun:
    """A job run. `request` is StartJobRun's; times are seconds since 1970."""

    id: str
    application_id: str
    request: dict[str, Any]
    workers: Workers
    created: float
    updated: float
    timeout_minutes: int
    max_attempts: int
    tags: dict[str, str]
    state: JobState = JobState.SUBMITTED
    details: str = ""
    queued: float | None = None
    queued_seconds: float = 0
    scheduled: float | None = None  # of this attempt: from here on its workers are billed
    started: float | None = None
    ended: float | None = None
    billed_seconds: float = 0  # of the attempts so far
    worked_seconds: float = 0
    attempts: list[Attempt] = field(default_factory=list)
    running: Running | None = None
    cancelled_because: str = ""
    failed_because: str = ""  # a fault's stateDetails
    hangs: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Id and name; a fault's pattern may match either."""
        return self.id, str(self.request.get("name", ""))

    @property
    def attempt(self) -> int:
        return len(self.attempts)


@dataclass(slots=True, eq=False)
class Application:
    """An application. `request` is CreateApplication's, with the changes of UpdateApplication."""

    id: str
    request: dict[str, Any]
    created: float
    updated: float
    tags: dict[str, str]
    state: ApplicationState = ApplicationState.CREATING
    details: str = ""
    idle_since: float | None = None
    runs: dict[str, JobRun] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str]:
        return self.id, str(self.request.get("name", ""))

    @property
    def release(self) -> str:
        return str(self.request["releaseLabel"])

    def in_states(self, states: frozenset[JobState]) -> list[JobRun]:
        return [run for run in self.runs.values() if run.state in states]


def new_id() -> str:
    """Return a random id of the service's form: 00f5abcd1234v8g09."""
    return "00f" + "".join(secrets.choice(LETTERS) for _ in range(13))
