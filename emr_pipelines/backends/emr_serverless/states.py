"""The states of applications and job runs, as EMR Serverless names them, and named sets of them.

Source: Amazon EMR Serverless API Reference, ApplicationState and JobRunState.
"""

from __future__ import annotations

from emr_pipelines.backends.base import JobState
from emr_pipelines.enums import State


class ApplicationState(State):
    CREATING = "CREATING"
    CREATED = "CREATED"
    STARTING = "STARTING"
    STARTED = "STARTED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"
    UNKNOWN = "UNKNOWN"


AT_REST = frozenset({ApplicationState.CREATED, ApplicationState.STOPPED})  # only then it can be changed or deleted
USABLE = frozenset(ApplicationState) - {ApplicationState.TERMINATED, ApplicationState.UNKNOWN}


class JobRunState(State):
    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    QUEUED = "QUEUED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


ENDED = frozenset({JobRunState.SUCCESS, JobRunState.FAILED, JobRunState.CANCELLED})
ACTIVE = frozenset(JobRunState) - ENDED - {JobRunState.UNKNOWN}  # can still cost money
WITHOUT_DASHBOARD = frozenset({JobRunState.SUBMITTED, JobRunState.PENDING, JobRunState.QUEUED})

NEUTRAL = {
    JobRunState.SUBMITTED: JobState.PROVISIONING,
    JobRunState.PENDING: JobState.PROVISIONING,
    JobRunState.QUEUED: JobState.QUEUEING,
    JobRunState.SCHEDULED: JobState.PROVISIONING,
    JobRunState.RUNNING: JobState.RUNNING,
    JobRunState.CANCELLING: JobState.RUNNING,
    JobRunState.SUCCESS: JobState.SUCCEEDED,
    JobRunState.FAILED: JobState.FAILED,
    JobRunState.CANCELLED: JobState.STOPPED,
    JobRunState.UNKNOWN: JobState.RUNNING,  # the deadline ends the wait
}
