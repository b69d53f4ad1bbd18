"""Which logs are awaited after a failure, and for how long, depending on the evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, cast

import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.base import Deadlines, JobState
from emr_pipelines.backends.emr.cluster import Cluster
from emr_pipelines.backends.emr.explanation import EndOfStep, Explainer
from emr_pipelines.backends.emr.logs import Logs
from emr_pipelines.backends.emr.states import ClusterState, StepState
from emr_pipelines.backends.emr.steps import AddedStep
from emr_pipelines.diagnosis.evidence import ProbableCause, Reason
from emr_pipelines.diagnosis.exception_parser import RemoteException
from tests.backends.emr.test_logs import Hour, Shelf

NOW = Hour().time
WAIT_SECONDS = 330.0
TERMINATION_SECONDS = 90.0
NEVER = None
NON_ZERO = Reason("BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE", "It failed.")
LOST = RemoteException("Py4JNetworkError", "py4j.protocol.Py4JNetworkError: Answer from Java side is empty\n")
PY4J = "py4j.protocol.Py4JJavaError: An error occurred while calling o1.sql.\n"
RAISED = RemoteException("ValueError", "ValueError: no\n")


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, timezone.utc)


class Described:
    """A stub of EMR: its cluster ends 90 seconds after its termination, and has lost `instances`."""

    def __init__(self, clock: Hour, cluster: Cluster) -> None:
        self.clock, self.cluster = clock, cluster
        self.described = self.asked_for_instances = 0
        self.instances: list[dict[str, Any]] = []

    def now(self) -> float:
        return self.clock.now()

    pages = Aws.pages

    def call(self, service: str, operation: str, **request: Any) -> Any:
        assert service == "emr"
        if operation in ("list_instances", "list_steps"):
            self.asked_for_instances += operation == "list_instances"
            return {"Instances": self.instances, "Steps": []}
        assert operation == "describe_cluster"
        self.described += 1
        ended = self.clock.now() >= NOW + TERMINATION_SECONDS
        status = {"State": "TERMINATED" if ended else "TERMINATING"}
        times = {"Timeline": {"EndDateTime": at(TERMINATION_SECONDS)} if ended else {}}
        return request["read"]({"Cluster": {"Id": "j-1", "Name": "n", "Status": {**status, **times}}})


@dataclass
class Case:
    """A failed step, and how long logs that never come are awaited; `NEVER`: not at all."""

    waits: float | None
    cluster: ClusterState = ClusterState.RUNNING
    code: str = ""
    details: tuple[Reason, ...] = ()
    ended: float | None = None  # the cluster, in seconds from now
    step: StepState = StepState.FAILED
    step_ended: float | None = -10.0
    started: bool = True
    exception: RemoteException | None = None
    timed_out: JobState | None = None
    alone: bool = False  # nobody else needs the cluster
    actions: bool = False  # it has bootstrap actions
    folders: set[str] = field(default_factory=lambda: {"steps"})


GONE = ClusterState.TERMINATED_WITH_ERRORS
CASES = {
    "the program raised": Case(NEVER, exception=RAISED),
    "only that Spark was lost is known": Case(320, exception=LOST),
    "a step failed, the cluster stays": Case(320),
    "a step failed long ago, the cluster stays": Case(0, step_ended=-400),
    "a step failed, the cluster is told to end": Case(150, alone=True),
    "a step failed, its cluster has ended": Case(40, cluster=ClusterState.TERMINATED, ended=-20),
    "a step failed, its cluster ended long ago": Case(0, cluster=ClusterState.TERMINATED, ended=-600),
    "a step failed, its cluster is ending": Case(150, cluster=ClusterState.TERMINATING, code="ALL_STEPS_COMPLETED"),
    "the primary was lost": Case(NEVER, cluster=GONE, code="INSTANCE_FAILURE", ended=-5),
    "the primary was lost, and it is ending": Case(NEVER, cluster=ClusterState.TERMINATING, code="INSTANCE_FAILURE"),
    "EMR failed": Case(NEVER, cluster=GONE, code="INTERNAL_ERROR", ended=-5),
    "a description that is not accepted": Case(NEVER, cluster=GONE, code="VALIDATION_ERROR", started=False),
    "no capacity": Case(NEVER, cluster=GONE, code="INSTANCE_FLEET_TIMEOUT", started=False),
    "a step of a cluster that somebody ended": Case(
        NEVER, cluster=ClusterState.TERMINATED, code="USER_REQUEST", step=StepState.INTERRUPTED, ended=-5
    ),
    "a step that somebody cancelled": Case(NEVER, step=StepState.CANCELLED),
    "a step that another one took with it": Case(
        NEVER, cluster=GONE, code="STEP_FAILURE", step=StepState.CANCELLED, started=False
    ),
    "a step that never began": Case(NEVER, started=False),
    "a bootstrap action failed": Case(
        40, GONE, "BOOTSTRAP_FAILURE", (NON_ZERO,), -20, StepState.CANCELLED, None, False,
        actions=True, folders={"node"},
    ),
    "a bootstrap action failed, it is ending": Case(
        150, ClusterState.TERMINATING, "BOOTSTRAP_FAILURE", (), None, StepState.CANCELLED, None, False,
        actions=True, folders={"node"},
    ),
    "a script that was not found": Case(
        NEVER, GONE, "BOOTSTRAP_FAILURE", (Reason("BOOTSTRAP_FAILURE_FILE_NOT_FOUND_PRIMARY", ""),), -20,
        StepState.CANCELLED, None, False, actions=True,
    ),
    "applications were not installed": Case(
        NEVER, GONE, "BOOTSTRAP_FAILURE", (), -20, StepState.CANCELLED, None, False
    ),
    "late: no instances": Case(
        NEVER, ClusterState.STARTING, step=StepState.PENDING, started=False,
        timed_out=JobState.PROVISIONING, actions=True,
    ),
    "late: a bootstrap action": Case(
        0, ClusterState.BOOTSTRAPPING, step=StepState.PENDING, started=False, timed_out=JobState.PROVISIONING,
        actions=True, folders={"node"},
    ),
    "late: queueing": Case(NEVER, step=StepState.PENDING, started=False, timed_out=JobState.QUEUEING),
    "late: running": Case(0, step=StepState.RUNNING, step_ended=None, timed_out=JobState.RUNNING),
}  # fmt: skip


def explained(
    case: Case, clock: Hour, shelf: Shelf, *instances: dict[str, Any]
) -> tuple[ProbableCause, Described, list[str]]:
    reason = "It failed."
    ended = None if case.ended is None else at(case.ended)
    cluster = Cluster("j-1", "n", case.cluster, case.code, reason, case.details, ended=ended)
    step = AddedStep(
        "s-1", "n", case.step,
        started=at(-100) if case.started else None,
        ended=None if case.step_ended is None else at(case.step_ended),
    )  # fmt: skip
    emr, told = Described(clock, cluster), list[str]()
    emr.instances = list(instances)
    logs = Logs(shelf, clock, "s3://b/logs/", "j-1")
    aws = cast("Aws", emr)

    def end_cluster() -> bool:
        told.append("end")
        return True

    explainer = Explainer(aws, Deadlines(), case.actions, end_cluster if case.alone else None)
    cause = explainer.explain(EndOfStep(step, cluster, case.timed_out), cluster, case.exception, logs, WAIT_SECONDS)
    return cause, emr, told


@pytest.mark.parametrize("name", CASES)
def test_logs_that_never_come_are_waited_for_so_long(name: str) -> None:
    case, clock = CASES[name], Hour()
    shelf = Shelf(clock)
    listed: set[str] = set()
    entries = shelf.entries

    def noted(uri: str) -> Any:
        listed.add(uri.removeprefix("s3://b/logs/j-1/").split("/")[0])
        return entries(uri)

    shelf.entries = noted  # type: ignore[method-assign]
    _, emr, told = explained(case, clock, shelf)
    assert listed == (set() if case.waits is NEVER else case.folders)
    assert clock.now() - NOW == pytest.approx(case.waits or 0.0, abs=15)  # an end is noticed some seconds late
    assert told == (["end"] if case.alone else [])
    assert emr.described <= 7


def test_logs_that_come_when_the_cluster_has_ended_are_read() -> None:
    clock = Hour()
    shelf = Shelf(clock)
    shelf.put("steps/s-1/stdout.gz", "Traceback (most recent call last):\n  x\nValueError: late\n", after=120)
    shelf.put("steps/s-1/stderr.gz", "", after=120)
    cause, _, _ = explained(CASES["a step failed, the cluster is told to end"], clock, shelf)
    assert "ValueError: late" in str(cause)
    assert clock.now() - NOW < 140


def test_a_lost_jvm_is_explained_by_its_own_log() -> None:
    clock = Hour()
    shelf = Shelf(clock)
    shelf.put("steps/s-1/stderr.gz", "java.lang.OutOfMemoryError: Java heap space\n")
    cause, _, _ = explained(CASES["only that Spark was lost is known"], clock, shelf)
    assert cause.kind == "OUT_OF_MEMORY"


NODE_LOST = RemoteException("Py4JJavaError", f"{PY4J}: java.net.UnknownHostException: ip-10-0-0-8.ec2.internal\n")
RECLAIMED = {
    "Ec2InstanceId": "i-1", "Market": "SPOT", "Status": {"StateChangeReason": {"Code": "INSTANCE_FAILURE"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "instances", "kind", "asked"),
    [
        (Case(NEVER, exception=NODE_LOST), (RECLAIMED,), "SPOT_LOST", 1),
        (Case(NEVER, exception=NODE_LOST), (), "INSTANCE_LOST", 1),
        (CASES["the primary was lost"], (RECLAIMED,), "SPOT_LOST", 1),
        (CASES["the program raised"], (RECLAIMED,), "USER_EXCEPTION", 0),
        (CASES["no capacity"], (RECLAIMED,), "CAPACITY", 0),
    ],
)
def test_only_a_lost_instance_is_looked_up_among_the_spot_instances(
    case: Case, instances: tuple[dict[str, Any], ...], kind: str, asked: int
) -> None:
    clock = Hour()
    cause, emr, _ = explained(case, clock, Shelf(clock), *instances)
    assert (cause.kind, emr.asked_for_instances) == (kind, asked)
