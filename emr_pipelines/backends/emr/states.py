"""The states of clusters and steps, as EMR names them, and named sets of them.

Source: Amazon EMR API Reference, ClusterStatus and StepStatus.
"""

from __future__ import annotations

from emr_pipelines.enums import State


class ClusterState(State):
    STARTING = "STARTING"
    BOOTSTRAPPING = "BOOTSTRAPPING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    TERMINATED_WITH_ERRORS = "TERMINATED_WITH_ERRORS"
    UNKNOWN = "UNKNOWN"


class StepState(State):
    PENDING = "PENDING"
    CANCEL_PENDING = "CANCEL_PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    UNKNOWN = "UNKNOWN"


STARTING_UP = frozenset({ClusterState.STARTING, ClusterState.BOOTSTRAPPING})
UP = frozenset({ClusterState.RUNNING, ClusterState.WAITING})
TAKES_STEPS = STARTING_UP | UP
ENDED = frozenset({ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS})
ACTIVE = frozenset(ClusterState) - ENDED - {ClusterState.UNKNOWN}  # can still cost money

STEP_UNFINISHED = frozenset({StepState.PENDING, StepState.RUNNING, StepState.CANCEL_PENDING, StepState.UNKNOWN})
STEP_ENDED = frozenset(StepState) - STEP_UNFINISHED
STEP_WORTH_ATTACHING = frozenset({StepState.PENDING, StepState.RUNNING, StepState.COMPLETED})
STEP_STOPPED = frozenset({StepState.CANCELLED, StepState.INTERRUPTED})  # by somebody, or with its cluster
