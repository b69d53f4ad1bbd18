"""Failures to inject, as data.

A fault has glob patterns for what it hits (an operation, a cluster, a step, an object). `times` limits how often
(default 1; `null` is every time), and `rate` is the fraction of matching events that it hits.

    [{"fault": "throttle", "operation": "DescribeStep", "times": 3},
     {"fault": "cluster_fails", "cluster": "nightly*", "code": "VALIDATION_ERROR"}]
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from threading import Lock
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emr_emulator.records import ReasonCode

Seconds = Annotated[float, Field(ge=0, le=86_400)]


class InvalidFault(ValueError):
    """An unknown fault, or one with invalid members."""


class Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    times: Annotated[int, Field(ge=1)] | None = Field(1, description="how often it strikes; null is every time")
    rate: float = Field(1.0, gt=0, le=1, description="the share of the chances that it takes")


class CallFault(Fault):
    """A fault that strikes a call."""

    operation: str = "*"


class ClusterFault(Fault):
    """A fault that strikes a cluster."""

    cluster: str = "*"


class StepFault(ClusterFault):
    """A fault that strikes a step some seconds after its start."""

    step: str = "*"
    after_seconds: Seconds = 1


class Throttle(CallFault):
    """A call is refused with ThrottlingException."""

    fault: Literal["throttle"] = "throttle"


class ServerError(CallFault):
    """A call is answered with HTTP 500."""

    fault: Literal["server_error"] = "server_error"


class LostResponse(CallFault):
    """A call takes effect, but the connection drops before the response."""

    fault: Literal["lost_response"] = "lost_response"


class ExpiredToken(CallFault):
    """A call to EMR or S3 that is signed with this access key is refused with ExpiredToken. For calls to S3, `key` is
    matched against `bucket/key`."""

    fault: Literal["expired_token"] = "expired_token"
    access_key: str = "*"
    key: str = "*"


class ProvisioningHangs(ClusterFault):
    """A cluster stays in a state until somebody terminates it."""

    fault: Literal["provisioning_hangs"] = "provisioning_hangs"
    state: Literal["STARTING", "BOOTSTRAPPING"] = "STARTING"


CLUSTER_FAILURES = {
    ReasonCode.VALIDATION_ERROR: "The requested instance type is not supported in the requested Availability Zone.",
    ReasonCode.INSTANCE_FLEET_TIMEOUT: "Not enough capacity was found for the fleet before its timeout.",
    ReasonCode.INTERNAL_ERROR: "The cluster could not be started because of an internal error.",
    ReasonCode.INSTANCE_FAILURE: "All instances in the job flow are terminated",
}


class ClusterFails(ClusterFault):
    """A cluster ends TERMINATED_WITH_ERRORS while it is provisioned."""

    fault: Literal["cluster_fails"] = "cluster_fails"
    code: Literal["VALIDATION_ERROR", "INSTANCE_FLEET_TIMEOUT", "INTERNAL_ERROR", "INSTANCE_FAILURE"] = (
        "VALIDATION_ERROR"
    )
    message: str = ""
    error_codes: Annotated[list[str], Field(max_length=10)] = Field([], description="codes for Status.ErrorDetails")


class BootstrapFails(ClusterFault):
    """A bootstrap action of the primary ends with an exit code; its logs are under node/."""

    fault: Literal["bootstrap_fails"] = "bootstrap_fails"
    action: Annotated[int, Field(ge=1, le=16)] = 1
    exit_code: Annotated[int, Field(ge=1, le=255)] = 1
    stderr: str = "bootstrap action failed\n"


class PrimaryLost(StepFault):
    """The primary node is lost this many seconds after a step started."""

    fault: Literal["primary_lost"] = "primary_lost"


class CoreLost(StepFault):
    """A core node with an executor of the step is reclaimed this many seconds after a step started, and is replaced."""

    fault: Literal["core_lost"] = "core_lost"


class StepFails(StepFault):
    """A step's program does not run: the step ends FAILED after this many seconds, with or without FailureDetails."""

    fault: Literal["step_fails"] = "step_fails"
    after_seconds: Seconds = 0
    details: bool = True
    reason: str = "Unknown Error."
    message: str | None = None
    stderr: str = ""


class StepKilled(StepFault):
    """The processes of a step or a job run are killed (SIGKILL, as when memory runs out) this many seconds after its
    start."""

    fault: Literal["step_killed"] = "step_killed"


JobRunStateName = Literal["SCHEDULED", "SUBMITTED", "PENDING", "QUEUED", "RUNNING"]


class JobRunFails(Fault):
    """A job run on EMR Serverless ends FAILED this many seconds after it came into a state, with these stateDetails."""

    fault: Literal["job_run_fails"] = "job_run_fails"
    job_run: str = "*"
    state: JobRunStateName = "SCHEDULED"
    after_seconds: Seconds = 0
    details: str = "Internal service error. Please try again later."


class JobRunHangs(Fault):
    """A job run on EMR Serverless stays in a state until somebody cancels it, or a timeout does."""

    fault: Literal["job_run_hangs"] = "job_run_hangs"
    job_run: str = "*"
    state: Literal["SCHEDULED", "PENDING"] = "SCHEDULED"


class LogsLate(ClusterFault):
    """A cluster's logs arrive this many seconds later than usual."""

    fault: Literal["logs_late"] = "logs_late"
    seconds: Seconds = 60


class LogsNever(ClusterFault):
    """A cluster's logs never arrive."""

    fault: Literal["logs_never"] = "logs_never"


class LogNames(ClusterFault):
    """A cluster's logs have another suffix, such as `stderr.txt.gz` instead of `stderr.gz`."""

    fault: Literal["log_names"] = "log_names"
    suffix: str = ".txt.gz"


class S3Error(CallFault):
    """A call to S3 is refused. `key` is matched against `bucket/key`."""

    fault: Literal["s3_error"] = "s3_error"
    key: str = "*"
    code: Literal["SlowDown", "AccessDenied", "InternalError"] = "SlowDown"


class ObjectsLate(Fault):
    """S3 shows an object only this many seconds after it was written. `key` is matched against `bucket/key`."""

    fault: Literal["objects_late"] = "objects_late"
    key: str = "*"
    seconds: Seconds = 5


ALL: tuple[type[Fault], ...] = (
    Throttle,
    ServerError,
    LostResponse,
    ExpiredToken,
    ProvisioningHangs,
    ClusterFails,
    BootstrapFails,
    PrimaryLost,
    CoreLost,
    StepFails,
    StepKilled,
    JobRunFails,
    JobRunHangs,
    LogsLate,
    LogsNever,
    LogNames,
    S3Error,
    ObjectsLate,
)
KINDS = {str(kind.model_fields["fault"].default): kind for kind in ALL}
F = TypeVar("F", bound=Fault)


def read_faults(data: Any) -> list[Fault]:
    """One fault or a list of them, from JSON or YAML. Raises InvalidFault."""
    return [_read_fault(entry) for entry in (data if isinstance(data, list) else [data])]


def _read_fault(entry: Any) -> Fault:
    if not isinstance(entry, Mapping) or "fault" not in entry:
        raise InvalidFault(f"A fault is a mapping with a member 'fault'; this is {entry!r}.")
    kind = entry["fault"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidFault(f"There is no fault {kind!r}; there are {', '.join(KINDS)}.")
    try:
        return KINDS[kind].model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(member for member in KINDS[kind].model_fields if member != "fault")
            raise InvalidFault(f"The fault {kind!r} has no member {name!r}; it has {allowed}.") from error
        raise InvalidFault(f"The fault {kind!r} has {name} {first['input']!r}: {first['msg']}.") from error


class Faults:
    """The faults that can still strike."""

    def __init__(
        self, faults: Sequence[Fault | Mapping[str, Any]] = (), say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._lock = Lock()
        self._say = say
        self._waiting: list[tuple[Fault, int]] = []  # and how often each has struck
        self._struck: Counter[str] = Counter()  # by kind, including faults that are used up
        self._random = random.Random(0)  # noqa: S311 (chance, not secrets)
        self.add(faults)

    def add(self, faults: Sequence[Fault | Mapping[str, Any]]) -> None:
        """Add faults, as Fault objects or mappings. Raises InvalidFault."""
        read = [fault if isinstance(fault, Fault) else _read_fault(fault) for fault in faults]
        with self._lock:
            self._waiting += [(fault, 0) for fault in read]

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """Return the faults as data, each with how often it has `struck`."""
        with self._lock:
            return [{**fault.model_dump(), "struck": struck} for fault, struck in self._waiting]

    def struck(self, kind: str) -> int:
        """Return how often faults of a kind (such as "throttle") have struck."""
        with self._lock:
            return self._struck[kind]

    def strike(self, kind: type[F], **targets: tuple[str, ...]) -> F | None:
        """Return the first fault of this kind that hits this event, or None.

        `targets` has the names that each of the fault's patterns is matched against.
        """
        with self._lock:
            for place, (fault, struck) in enumerate(self._waiting):
                if (
                    isinstance(fault, kind)
                    and _is_meant(fault, targets)
                    and (fault.rate == 1.0 or self._random.random() < fault.rate)
                ):
                    if fault.times is not None and struck + 1 >= fault.times:
                        del self._waiting[place]
                    else:
                        self._waiting[place] = (fault, struck + 1)
                    name = fault.model_dump()["fault"]
                    self._struck[name] += 1
                    self._say(f"fault {name}  {' '.join(names[-1] for names in targets.values())}")
                    return fault
            return None


def _is_meant(fault: Fault, targets: dict[str, tuple[str, ...]]) -> bool:
    return all(any(fnmatchcase(name, getattr(fault, pattern)) for name in names) for pattern, names in targets.items())
