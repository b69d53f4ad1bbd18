"""Expected outcomes of runs for every fault at every stage, as data.

Read a line of CELLS as: when this fault strikes at this stage, a good program, and one that fails by itself, come to
that. What cannot happen has a reason in its place, so that no pair is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any


class Stage(Enum):
    """The stage of a run at which a fault strikes."""

    LAUNCH = "launch"  # acquiring the lease, and launching
    PROVISION = "provision"  # the cluster is STARTING
    BOOTSTRAP = "bootstrap"  # it is BOOTSTRAPPING
    QUEUE = "queue"  # the step is added and pending
    RUN = "run"  # it runs
    PUBLISH = "publish"  # its result is read, and the version published
    LOGS = "logs"  # the logs of a failed step are searched
    TERMINATE = "terminate"  # the cluster is terminated, and the lease freed


@dataclass(frozen=True)
class Outcome:
    """How a run ends: `kind` is that of the one probable cause, or none where this process itself was refused and says
    so (`reads`); nothing, when it succeeded. How many clusters were launched, and steps added, in all."""

    kind: str = ""
    reads: str = ""
    clusters: int = 1
    steps: int = 1

    @property
    def succeeds(self) -> bool:
        return not (self.kind or self.reads)


@dataclass(frozen=True)
class Cell:
    """A fault at a stage.

    members: of the fault, with how often it strikes. good, bad: what a program that returns a result comes to, and one
    that raises. Only with `idles` may the cluster still be there after the run, until it has been idle for long enough.
    misses: whom the fault does not strike, a `good` or a `bad` program or a scope, and why; all others it does.
    asset: how the run ends in that scope, if otherwise: there each try ends its cluster.
    """

    members: Mapping[str, Any] = field(default_factory=dict)
    good: Outcome = Outcome()
    bad: Outcome = Outcome(kind="USER_EXCEPTION")
    idles: bool = False
    misses: Mapping[str, str] = field(default_factory=dict)
    asset: Mapping[str, Outcome] = field(default_factory=dict)

    def outcome(self, program: str, scope: str) -> Outcome:
        usual = self.good if program == "good" else self.bad
        return self.asset.get(program, usual) if scope == "asset" else usual


def survived(**members: Any) -> Cell:
    """No effect: one cluster, one step, and the program's own outcome."""
    return Cell(members)


def again(**members: Any) -> Cell:
    """An infrastructure failure: the step is retried on another cluster."""
    return Cell(members, Outcome(clusters=2, steps=2), Outcome("USER_EXCEPTION", clusters=2, steps=2))


def ends(kind: str = "", reads: str = "", clusters: int = 1, steps: int = 1, **members: Any) -> Cell:
    """The run fails, whatever the program does."""
    outcome = Outcome(kind, reads, clusters, steps)
    return Cell(members, outcome, outcome)


EMR_IS_ASKED = {  # the call at each stage
    Stage.LAUNCH: "RunJobFlow",
    Stage.PROVISION: "DescribeCluster",
    Stage.BOOTSTRAP: "DescribeCluster",
    Stage.QUEUE: "AddJobFlowSteps",
    Stage.RUN: "DescribeStep",
    Stage.LOGS: "ListInstances",
    Stage.TERMINATE: "TerminateJobFlows",
}
MESSAGES = "*/attempt-1/*"
S3_IS_ASKED = {  # the keys at each stage
    Stage.LAUNCH: "*/clusters/*",
    Stage.PROVISION: MESSAGES,
    Stage.BOOTSTRAP: MESSAGES,
    Stage.QUEUE: "*/task.json",
    Stage.RUN: MESSAGES,
    Stage.PUBLISH: "*/data/*",
    Stage.LOGS: "*/logs/*",
    Stage.TERMINATE: "*/clusters/*",
}
EXPIRED_KEY = "EXPIRED"
ASKED_FROM_THE_START = frozenset({Stage.LAUNCH, Stage.QUEUE})  # no state of EMR shows them
MISSES: dict[Stage, dict[str, str]] = {  # cases without such a call, and why
    Stage.PUBLISH: {"bad": "A program that fails has nothing published."},
    Stage.LOGS: {"good": "Nobody asks for the logs of a program that is good."},
    Stage.TERMINATE: {"pool": "A pool's cluster is told to end by nobody."},
}


def asked_of_emr(stage: Stage) -> dict[str, Any]:
    """Return the members of a fault for EMR's call at a stage."""
    return {"operation": EMR_IS_ASKED[stage]}


def asked_of_s3(stage: Stage) -> dict[str, Any]:
    """Return the members of a fault for this side's S3 call at a stage; programs' own writes are not affected."""
    key = S3_IS_ASKED[stage]
    return {"key": key, **({"operation": "GetObject"} if key == MESSAGES else {})}


# AWS refuses, or responses are lost, three times in a row
NOT_ASKED = "EMR is not asked for anything there."
CALLS: dict[Stage, Cell | str] = {
    stage: survived(**asked_of_emr(stage), times=3) if stage in EMR_IS_ASKED else NOT_ASKED for stage in Stage
}
# the token expires, and the file has new credentials by then
ROTATED: dict[Stage, Cell | str] = {
    stage: survived(
        **(asked_of_emr(stage) if stage in EMR_IS_ASKED else asked_of_s3(stage)), access_key=EXPIRED_KEY, times=None
    )
    for stage in Stage
}
# S3 fails for a while
ILL: dict[Stage, Cell | str] = {stage: survived(**asked_of_s3(stage), times=3) for stage in Stage}


def only(stage: Stage, cell: Cell, why: str) -> dict[Stage, Cell | str]:
    """For a fault that can only strike at one stage."""
    return {**dict.fromkeys(Stage, why), stage: cell}


WHILE_PROVISIONED = "It strikes a cluster that is provisioned."
WHILE_RUNNING = "It strikes a step that runs."
OF_LOGS = "It strikes logs."
VCPUS = "The number of vCPUs for instance type m5.xlarge exceeds the EC2 service quota for that type."
NO_RESULT = {"bad": "A program that fails leaves no result."}

MATRIX: dict[str, dict[Stage, Cell | str]] = {
    "throttle": CALLS,
    "server_error": CALLS,
    "lost_response": CALLS,
    "expired_token": ROTATED,
    "s3_error SlowDown": ILL,
    "s3_error InternalError": ILL,
    "s3_error AccessDenied": {
        Stage.LAUNCH: ends(reads="AccessDenied", clusters=0, steps=0, key="*/clusters/*"),
        Stage.PROVISION: survived(**asked_of_s3(Stage.PROVISION), times=3),  # the live log never fails a run
        Stage.BOOTSTRAP: survived(**asked_of_s3(Stage.BOOTSTRAP), times=3),
        Stage.QUEUE: ends(reads="AccessDenied", steps=0, key="*/task.json"),
        Stage.RUN: survived(**asked_of_s3(Stage.RUN), times=3),
        Stage.PUBLISH: replace(ends(reads="AccessDenied", key="*/data/*"), bad=Outcome("USER_EXCEPTION")),
        Stage.LOGS: Cell({"key": "*/logs/*", "times": None}, bad=Outcome("UNKNOWN")),
        Stage.TERMINATE: survived(key="*/clusters/*", times=3),
    },
    "objects_late": {
        **dict.fromkeys(
            (Stage.LAUNCH, Stage.QUEUE, Stage.TERMINATE), "S3 shows at once what we have written ourselves."
        ),
        **dict.fromkeys((Stage.PROVISION, Stage.BOOTSTRAP), "No program has written anything yet."),
        Stage.RUN: survived(key=MESSAGES, seconds=20, times=None),
        # after EMR has reported the step's end, but within the wait
        Stage.PUBLISH: replace(survived(key="*/result.json", seconds=14, times=None), misses=NO_RESULT),
        Stage.LOGS: survived(key="*/logs/*", seconds=20, times=None),
    },
    "provisioning_hangs": only(Stage.PROVISION, again(), WHILE_PROVISIONED),
    "cluster_fails VALIDATION_ERROR": only(Stage.PROVISION, ends("VALIDATION"), WHILE_PROVISIONED),
    "cluster_fails INSTANCE_FLEET_TIMEOUT": only(Stage.PROVISION, again(), WHILE_PROVISIONED),
    "cluster_fails INTERNAL_ERROR": only(Stage.PROVISION, again(), WHILE_PROVISIONED),
    "cluster_fails INSTANCE_FAILURE": only(Stage.PROVISION, again(), WHILE_PROVISIONED),
    "cluster_fails INTERNAL_ERROR (quota)": only(Stage.PROVISION, again(message=VCPUS), WHILE_PROVISIONED),
    "bootstrap_fails": only(Stage.BOOTSTRAP, ends("BOOTSTRAP"), "It strikes a bootstrap action."),
    "provisioning_hangs (bootstrap)": only(
        Stage.BOOTSTRAP, ends("TIMED_OUT", state="BOOTSTRAPPING"), "It strikes a bootstrap action."
    ),
    "primary_lost": only(Stage.RUN, again(after_seconds=10), WHILE_RUNNING),
    "core_lost": only(Stage.RUN, survived(after_seconds=10), WHILE_RUNNING),
    "step_fails": only(Stage.RUN, ends("UNKNOWN"), WHILE_RUNNING),
    # a program's error before the kill counts more than the kill
    "step_killed": only(
        Stage.RUN, replace(ends("OUT_OF_MEMORY", after_seconds=10), bad=Outcome("USER_EXCEPTION")), WHILE_RUNNING
    ),
    "logs_late": only(Stage.LOGS, survived(seconds=50), OF_LOGS),  # more than a minute after the end counts as never
    "logs_never": only(Stage.LOGS, Cell({}, bad=Outcome("UNKNOWN")), OF_LOGS),
    "log_names": only(Stage.LOGS, survived(), OF_LOGS),
}
DAY = 86_400.0
# so long that the cluster has reached its idle timeout before the retry; a good program's result exists then
WATCHED_IN_VAIN = Cell(asked_of_emr(Stage.RUN), bad=Outcome(reads="describe_step", clusters=2, steps=2))


def not_added(reads: str, **members: Any) -> Cell:
    """The cluster is up, but no step can be added in either attempt."""
    twice = Outcome(reads=reads, clusters=2, steps=0)
    return replace(ends(reads=reads, steps=0, **members), asset={"good": twice, "bad": twice})


EXPIRED = Cell({"access_key": EXPIRED_KEY}, Outcome(reads="aws sso login"), Outcome(reads="aws sso login"), idles=True)


# the same, permanently: a retry does not help
FOR_EVER: dict[str, dict[Stage, Cell | str]] = {
    "provisioning_hangs": only(Stage.PROVISION, ends("TIMED_OUT", clusters=2, steps=2), WHILE_PROVISIONED),
    "cluster_fails INSTANCE_FLEET_TIMEOUT": only(
        Stage.PROVISION, ends("CAPACITY", clusters=2, steps=2), WHILE_PROVISIONED
    ),
    "cluster_fails INTERNAL_ERROR": only(Stage.PROVISION, ends("INTERNAL", clusters=2, steps=2), WHILE_PROVISIONED),
    "cluster_fails INSTANCE_FAILURE": only(
        Stage.PROVISION, ends("INSTANCE_LOST", clusters=2, steps=2), WHILE_PROVISIONED
    ),
    "cluster_fails INTERNAL_ERROR (quota)": only(
        Stage.PROVISION, ends("QUOTA", clusters=2, steps=2, message=VCPUS), WHILE_PROVISIONED
    ),
    # credentials are never renewed: all calls fail, and the cluster ends by its idle timeout
    "expired_token": {
        Stage.LAUNCH: ends(reads="aws sso login", clusters=0, steps=0, access_key=EXPIRED_KEY, operation="RunJobFlow"),
        **dict.fromkeys((Stage.PROVISION, Stage.BOOTSTRAP, Stage.RUN), EXPIRED),
        Stage.QUEUE: not_added("aws sso login", access_key=EXPIRED_KEY, operation="AddJobFlowSteps"),
        Stage.PUBLISH: replace(EXPIRED, bad=Outcome("USER_EXCEPTION"), misses=MISSES[Stage.PUBLISH]),
        Stage.LOGS: replace(EXPIRED, good=Outcome(), misses=MISSES[Stage.LOGS]),
        Stage.TERMINATE: Cell({"access_key": EXPIRED_KEY, "operation": "TerminateJobFlows"}, idles=True),
    },
    "logs_late": only(Stage.LOGS, Cell({"seconds": 600}, bad=Outcome("UNKNOWN")), OF_LOGS),
    "primary_lost": only(Stage.RUN, ends("INSTANCE_LOST", clusters=2, steps=2, after_seconds=10), WHILE_RUNNING),
    # a missing response is awaited for 15 minutes, the end of throttling for four hours
    "throttle": {
        Stage.LAUNCH: ends(reads="ThrottlingException", clusters=0, steps=0, operation="RunJobFlow"),
        Stage.TERMINATE: Cell({"operation": "TerminateJobFlows"}, idles=True),
    },
    "server_error": {
        Stage.LAUNCH: ends(reads="InternalServerException", clusters=0, steps=0, operation="RunJobFlow"),
        # watching fails, and the step is retried: a good program's result exists by then
        Stage.PROVISION: Cell(
            asked_of_emr(Stage.PROVISION),
            bad=Outcome(reads="describe_cluster", steps=2),
            asset={"bad": Outcome(reads="describe_cluster")},  # its end is not confirmed: can it still be used?
        ),
        Stage.QUEUE: not_added("InternalServerException", operation="AddJobFlowSteps"),
        Stage.RUN: WATCHED_IN_VAIN,
        Stage.LOGS: survived(operation="ListInstances"),
        Stage.TERMINATE: Cell({"operation": "TerminateJobFlows"}, idles=True),
    },
    "lost_response": {
        Stage.LAUNCH: survived(operation="RunJobFlow"),
        Stage.QUEUE: survived(operation="AddJobFlowSteps"),
        Stage.RUN: WATCHED_IN_VAIN,
        Stage.TERMINATE: survived(operation="TerminateJobFlows"),
    },
    "s3_error SlowDown": {
        Stage.LAUNCH: ends(reads="SlowDown", clusters=0, steps=0, **asked_of_s3(Stage.LAUNCH)),
    },
    "s3_error InternalError": {
        Stage.LAUNCH: ends(reads="InternalError", clusters=0, steps=0, **asked_of_s3(Stage.LAUNCH)),
        Stage.QUEUE: not_added("InternalError", **asked_of_s3(Stage.QUEUE)),
        Stage.RUN: survived(**asked_of_s3(Stage.RUN)),
        Stage.PUBLISH: Cell(asked_of_s3(Stage.PUBLISH), Outcome(reads="InternalError")),
        Stage.LOGS: Cell(asked_of_s3(Stage.LOGS), bad=Outcome("UNKNOWN")),
        Stage.TERMINATE: survived(**asked_of_s3(Stage.TERMINATE)),
    },
    "s3_error AccessDenied": {
        Stage.RUN: survived(**asked_of_s3(Stage.RUN)),
        Stage.TERMINATE: survived(**asked_of_s3(Stage.TERMINATE)),
    },
    "objects_late": {
        Stage.RUN: survived(key=MESSAGES, seconds=DAY),
        Stage.PUBLISH: Cell(
            {"key": "*/result.json", "seconds": DAY}, Outcome(reads="left no result"), misses=NO_RESULT
        ),
        Stage.LOGS: Cell({"key": "*/logs/*", "seconds": DAY}, bad=Outcome("UNKNOWN")),
    },
}


def cells() -> Iterator[tuple[str, Stage, bool, Cell]]:
    """Return each fault at each stage where it can strike, once and permanently."""
    for for_ever, table in ((False, MATRIX), (True, FOR_EVER)):
        for fault, row in table.items():
            for stage, cell in row.items():
                if isinstance(cell, Cell):
                    asked = {"operation", "key"} & set(cell.members)
                    misses = {**(MISSES[stage] if asked and stage in MISSES else {}), **cell.misses}
                    yield fault, stage, for_ever, replace(cell, misses=misses)


def fault_of(name: str, cell: Cell, for_ever: bool) -> dict[str, Any]:
    """Return a fault in the emulator's form. A second word of its name is the code; parentheses hold a remark."""
    kind, _, code = name.partition(" (")[0].partition(" ")
    times: dict[str, Any] = {"times": None} if for_ever or kind == "core_lost" else {}
    return {"fault": kind, **({"code": code} if code else {}), **times, **cell.members}
