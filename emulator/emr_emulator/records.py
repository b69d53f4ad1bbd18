"""Records of clusters, steps and instances, and their states."""

from __future__ import annotations

import secrets
import string
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

LETTERS = string.ascii_uppercase + string.digits


class Word(str, Enum):
    """An enumeration of EMR's API."""

    def __str__(self) -> str:
        return str(self.value)


class ClusterState(Word):
    STARTING = "STARTING"
    BOOTSTRAPPING = "BOOTSTRAPPING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    TERMINATED_WITH_ERRORS = "TERMINATED_WITH_ERRORS"


ENDED_CLUSTER = frozenset({ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS})
ENDING_CLUSTER = ENDED_CLUSTER | {ClusterState.TERMINATING}
UP_CLUSTER = frozenset({ClusterState.RUNNING, ClusterState.WAITING})


class StepState(Word):
    PENDING = "PENDING"
    CANCEL_PENDING = "CANCEL_PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"


class InstanceState(Word):
    AWAITING_FULFILLMENT = "AWAITING_FULFILLMENT"
    PROVISIONING = "PROVISIONING"
    BOOTSTRAPPING = "BOOTSTRAPPING"
    RUNNING = "RUNNING"
    TERMINATED = "TERMINATED"


class ReasonCode(Word):
    """Why a cluster changed its state (ClusterStateChangeReasonCode)."""

    INTERNAL_ERROR = "INTERNAL_ERROR"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    INSTANCE_FAILURE = "INSTANCE_FAILURE"
    INSTANCE_FLEET_TIMEOUT = "INSTANCE_FLEET_TIMEOUT"
    BOOTSTRAP_FAILURE = "BOOTSTRAP_FAILURE"
    USER_REQUEST = "USER_REQUEST"
    STEP_FAILURE = "STEP_FAILURE"
    ALL_STEPS_COMPLETED = "ALL_STEPS_COMPLETED"


WITHOUT_ERROR = frozenset({ReasonCode.USER_REQUEST, ReasonCode.ALL_STEPS_COMPLETED})


class Role(Word):
    MASTER = "MASTER"
    CORE = "CORE"
    TASK = "TASK"


class Running(Protocol):
    """A running step, which can be stopped."""

    def interrupt(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """Kill it and all processes that it started."""


@dataclass(frozen=True)
class Failure:
    """A failed step's FailureDetails."""

    reason: str
    message: str | None = None
    log_file: str | None = None


@dataclass(frozen=True)
class Exit:
    """How a step ended. `failure` overrides EMR's usual FailureDetails, and `details=False` leaves them out."""

    code: int
    failure: Failure | None = None
    details: bool = True


@dataclass(slots=True, eq=False)
class Step:
    id: str
    name: str
    jar: str
    args: tuple[str, ...]
    main_class: str | None
    properties: dict[str, str]
    action_on_failure: str
    created: float
    execution_role: str | None = None
    state: StepState = StepState.PENDING
    message: str | None = None
    failure: Failure | None = None
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    application_id: str | None = None
    running: Running | None = None

    @property
    def command(self) -> str:
        """The readable command: `spark-submit`, `hive-script`, or the jar."""
        runs_command = self.jar.rpartition("/")[2] == "command-runner.jar"
        return self.args[0] if runs_command and self.args else self.jar


@dataclass(slots=True, eq=False)
class Instance:
    id: str
    ec2_id: str
    type: str
    market: str
    role: Role
    group_id: str
    address: str
    created: float
    state: InstanceState = InstanceState.PROVISIONING
    ready: float | None = None
    ended: float | None = None
    reason: tuple[str, str] | None = None


@dataclass(slots=True, eq=False)
class InstanceGroup:
    """An instance group or, if `fleet` is true, an instance fleet. `spec` is its part of the request."""

    id: str
    role: Role
    spec: dict[str, Any]
    fleet: bool
    on_demand: int
    spot: int


@dataclass(slots=True, eq=False)
class Cluster:
    id: str
    name: str
    request: dict[str, Any]
    created: float
    groups: list[InstanceGroup]
    instances: list[Instance]
    tags: dict[str, str]
    keep_alive: bool
    protected: bool
    concurrency: int
    idle_timeout: int | None = None
    scaling: dict[str, Any] | None = None
    state: ClusterState = ClusterState.STARTING
    reason: ReasonCode | None = None
    message: str = ""
    errors: list[dict[str, Any]] = field(default_factory=list)
    ready: float | None = None
    ended: float | None = None
    idle_since: float | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    pending: deque[Step] = field(default_factory=deque)
    active: dict[str, Step] = field(default_factory=dict)  # RUNNING and CANCEL_PENDING
    applications: int = 0  # number of YARN applications so far
    primary_lost: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Id and name; a fault's pattern may match either."""
        return self.id, self.name

    @property
    def log_uri(self) -> str | None:
        return self.request.get("LogUri")

    @property
    def release(self) -> str:
        return str(self.request["ReleaseLabel"])

    @property
    def primary(self) -> Instance:
        return next(instance for instance in self.instances if instance.role is Role.MASTER)

    def next_application_id(self) -> str:
        """Return a YARN application id: the cluster's start in ms, and a number."""
        self.applications += 1
        return f"application_{int(self.created * 1000)}_{self.applications:04d}"


def new_id(prefix: str, length: int = 13) -> str:
    """Return a random id in EMR's form: `j-3KVTXXXXXX7UG`."""
    return prefix + "".join(secrets.choice(LETTERS) for _ in range(length))
