"""A session's clusters: which ones it bills and ends, and which cluster of a pool runs a step."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
from rehearsal import DURATIONS

from emr_pipelines.aws.objects import Content, Objects
from emr_pipelines.backends import watch
from emr_pipelines.backends.base import Deadlines, End, Handle
from emr_pipelines.backends.emr.backend import EmrBackend
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.held import HeldCluster
from emr_pipelines.backends.emr.leases import LAUNCHED_WITHIN_SECONDS, Lease, Leases
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import TAKES_STEPS, StepState
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.backends.names import Scope
from emr_pipelines.backends.watch import Watch
from emr_pipelines.clock import Wakeup
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AccessDenied, AwsError, PreconditionFailed, ResponseLost
from tests.account import Account, deny, ended

RAISED = RemoteException("ValueError", "ValueError: no\n")


def session(account: Account, scope: Scope = Scope("run", "key")) -> EmrBackend:  # noqa: B008 (frozen)
    return EmrBackend(
        account.aws, ClusterSpec(), scope, account.base, "default", {}, Deadlines(), 600, log=lambda _: None
    )


def held(one: EmrBackend) -> HeldCluster:
    found = one.clusters.held
    assert found is not None
    return found


def owed(*sessions: EmrBackend) -> list[list[str]]:
    return [[cluster.id for cluster in found.clusters.owed] for found in sessions]


def test_of_two_processes_that_end_the_same_cluster_one_bills_it(account: Account) -> None:
    one, two = session(account), session(account)
    one.add_step(Step("short", ("bash",)))
    two.add_step(Step("short", ("bash",)))
    assert (one.clusters.end() and two.clusters.end()) is not None
    assert owed(one, two) == [[str(account.emulator.clusters()[0].id)], []]


def test_of_two_processes_that_lost_the_same_cluster_one_bills_it(account: Account) -> None:
    one, two = session(account), session(account)
    one.add_step(Step("short", ("bash",)))
    two.add_step(Step("short", ("bash",)))
    (first,) = account.emulator.clusters()
    account.clusters.terminate(first.id)
    two.add_step(Step("short", ("bash",)))
    one.add_step(Step("short", ("bash",)))
    assert owed(one, two) == [[], [first.id]]
    one.clusters.end()
    two.clusters.end()
    assert owed(one, two) == [[account.emulator.clusters()[1].id], [first.id]]
    assert ended(account)


def test_a_cluster_that_was_billed_is_not_adopted_for_another_bill(account: Account) -> None:
    one, two, three = session(account), session(account), session(account)
    one.add_step(Step("short", ("bash",)))
    (first,) = account.emulator.clusters()
    one.clusters.end()
    assert not two.clusters.adopt("key")
    two.add_step(Step("short", ("bash",)))
    account.clusters.terminate(account.emulator.clusters()[1].id)
    assert not three.clusters.adopt("key")
    assert owed(one, two, three) == [[first.id], [], [account.emulator.clusters()[1].id]]


def test_the_bill_stays_where_the_lease_was_freed_though_the_answer_was_lost(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Objects.write

    def seems_to_fail(self: Objects, uri: str, data: bytes, *, replacing: Content | None = None) -> None:
        write(self, uri, data, replacing=replacing)
        raise PreconditionFailed("the second try of a put that took effect", "PreconditionFailed")

    one = session(account)
    one.add_step(Step("short", ("bash",)))
    monkeypatch.setattr(Objects, "write", seems_to_fail)
    one.clusters.end()
    assert len(one.clusters.owed) == 1


def test_a_lease_that_cannot_be_read_loses_no_bill(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise AwsError("S3 is ill")

    one = session(account)
    one.add_step(Step("short", ("bash",)))
    monkeypatch.setattr(Leases, "release", fail)
    one.clusters.end()
    assert len(one.clusters.owed) == 1


def test_a_cluster_whose_launch_was_interrupted_is_owed(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id was not written into the lease, which is free again."""
    launch = Clusters.launch

    def interrupted(self: Clusters, *args: Any, **how: Any) -> str:
        launch(self, *args, **how)
        raise KeyboardInterrupt

    one, two = session(account), session(account)
    monkeypatch.setattr(Clusters, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.add_step(Step("short", ("bash",)))
    one.clusters.end()
    assert owed(one, two) == [[account.emulator.clusters()[0].id], []]
    assert ended(account)


def test_a_cluster_is_owed_though_none_takes_its_place(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second launch is refused."""
    one = session(account)
    one.add_step(Step("short", ("bash",)))
    (first,) = account.emulator.clusters()
    account.clusters.terminate(first.id)

    def refuse(*_: object, **__: object) -> str:
        raise AccessDenied("You may not launch clusters.")

    monkeypatch.setattr(Clusters, "launch", refuse)
    with pytest.raises(AccessDenied):
        one.add_step(Step("short", ("bash",)))
    assert owed(one) == [[first.id]]
    assert one.clusters.end() is None


def test_a_cluster_that_was_launched_in_vain_is_owed(account: Account) -> None:
    leases = Leases(account.aws, account.objects, f"{account.base}/clusters")
    uri, debts = f"{account.base}/clusters/1.json", list[str]()

    def overtaken(_renew: object) -> str:
        """Another process takes over the lease and launches while this one is launching."""
        launched = account.launch("emr-pipelines/test/run/1")
        lease = Lease("another", "emr-pipelines/test/run/1", account.launch("emr-pipelines/test/run/1"))
        account.objects.write(uri, json.dumps(asdict(lease)).encode())
        return launched

    leased = leases.acquire("1", "emr-pipelines/test/run/1", overtaken, owe=debts.append)
    in_vain, kept = (cluster.id for cluster in account.emulator.clusters())
    assert leased.cluster_id == kept
    assert debts == [in_vain]
    account.clusters.terminate(kept)
    account.emulator.advance(DURATIONS.termination)


def test_a_cluster_that_was_launched_in_vain_and_could_not_be_ended_at_once_is_owed(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, launch, terminate = session(account), Clusters.launch, Clusters.terminate
    uri, name = f"{account.base}/clusters/key.json", "emr-pipelines/default/run/key"

    def overtaken(self: Clusters, *args: Any, **how: Any) -> str:
        launched, other = (launch(self, *args, **how) for _ in range(2))
        account.objects.write(uri, json.dumps(asdict(Lease("another", name, other))).encode())
        return launched

    def refuse(*_: object) -> None:
        monkeypatch.setattr(Clusters, "terminate", terminate)
        raise AwsError("EMR is ill")

    monkeypatch.setattr(Clusters, "launch", overtaken)
    monkeypatch.setattr(Clusters, "terminate", refuse)
    with pytest.raises(AwsError):
        one.add_step(Step("short", ("bash",)))
    in_vain, kept = (cluster.id for cluster in account.emulator.clusters())
    assert one.clusters.end() is not None
    assert owed(one) == [[in_vain]]
    assert account.states()[1] == "STARTING"
    account.clusters.terminate(kept)


# launches that were refused, or whose response was lost


def test_a_refused_launch_leaves_nothing_to_end(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has launched a cluster with that name in the meantime."""
    one = session(account)

    launch = Clusters.launch

    def refuse(self: Clusters, request: Any, **__: object) -> str:
        launch(self, request)
        raise AccessDenied("You may not launch clusters.")

    monkeypatch.setattr(Clusters, "launch", refuse)
    with pytest.raises(AccessDenied):
        one.add_step(Step("short", ("bash",)))
    assert not one.clusters.in_use
    assert one.clusters.end() is None
    assert account.states() == ["STARTING"]


def test_a_launch_without_a_response_is_looked_for_once(account: Account) -> None:
    account.fault("server_error", operation="RunJobFlow", times=None)
    one = session(account)
    with pytest.raises(ResponseLost):
        one.add_step(Step("short", ("bash",)))
    assert one.clusters.in_use
    assert one.clusters.end() is None
    assert not one.clusters.in_use


@pytest.mark.parametrize(
    "faults",
    [
        {"RunJobFlow": {"fault": "server_error", "times": 6}},
        {"RunJobFlow": {"fault": "throttle", "times": 12}},
        {"RunJobFlow": {"fault": "lost_response"}, "ListClusters": {"fault": "throttle", "times": 12}},
    ],
)
def test_a_lease_is_renewed_while_a_launch_is_retried_or_looked_for(
    account: Account, monkeypatch: pytest.MonkeyPatch, faults: dict[str, dict[str, Any]]
) -> None:
    for operation, fault in faults.items():
        account.fault(**fault, operation=operation)
    leases = Leases(account.aws, account.objects, f"{account.base}/clusters")
    began, pause, since, ages = account.clock.now(), account.clock.pause, dict[str, float](), list[float]()

    def noted(*seconds: Any) -> None:
        pause(*seconds)
        if (lease := leases.look("key")) and not lease.cluster_id:
            ages.append(account.clock.now() - since.setdefault(lease.token, account.clock.now()))

    monkeypatch.setattr(account.clock, "pause", noted)
    session(account).add_step(Step("short", ("bash",)))
    assert account.clock.now() - began > LAUNCHED_WITHIN_SECONDS
    assert max(ages) < LAUNCHED_WITHIN_SECONDS / 2
    assert len(account.emulator.clusters()) == 1


# a pool of two


def pool_of_two(account: Account) -> list[str]:
    """Create two clusters of a pool, each with an unfinished step: `first.` and `second.`."""
    for name in ("first.1", "second.1"):
        session(account, Scope("pool", "key", 2)).add_step(Step(name, ("hour",)))
    first, second = account.emulator.clusters()
    return [first.id, second.id]


def test_a_step_is_found_on_another_cluster_of_the_pool_than_the_held_one(account: Account) -> None:
    first, second = pool_of_two(account)
    one = session(account, Scope("pool", "key", 2))
    found = [one.find_step("first."), one.find_step("second."), one.find_step("third.")]
    assert [step and step.name for step in found] == ["first.1", "second.1", None]
    assert [one.logs_of(step.id).split("/")[-3] for step in found if step] == [first, second]
    assert held(one).id == first


def test_the_end_of_a_step_s_cluster_leaves_the_held_one(account: Account) -> None:
    first, second = pool_of_two(account)
    one = session(account, Scope("pool", "key", 2))
    one.find_step("first.")
    step = one.find_step("second.")
    assert step is not None
    one.clusters.end(one._cluster_of(step.id))
    assert held(one).id == first
    assert owed(one) == [[second]]
    assert account.states()[1] == "TERMINATED"
    assert account.clusters.describe(first).state in TAKES_STEPS


# failures


def wait(account: Account, one: EmrBackend, step_id: str) -> tuple[Handle, End]:
    handle = Handle(step_id)
    return handle, Watch(partial(one.poll, handle), account.clock, Deadlines(), Wakeup()).wait()


def failed_step(account: Account, one: EmrBackend) -> tuple[Handle, End]:
    """Return a failed step on a running cluster."""
    return wait(account, one, one.add_step(Step("fails", ("fails",))))


def test_a_failure_ends_a_cluster_that_runs_nothing_else_for_the_sake_of_its_logs(account: Account) -> None:
    one = session(account)
    handle, end = failed_step(account, one)
    one.explain(handle, end, None, "", alone=True)
    assert account.states() == ["TERMINATED"]


def test_a_failure_does_not_end_a_cluster_that_runs_another_program(account: Account) -> None:
    """Two programs of one asset run in two threads."""
    one = session(account)
    handle, end = failed_step(account, one)
    other = one.add_step(Step("other", ("hour",)))
    cause = one.explain(handle, end, None, "", alone=True)
    assert "ValueError: no" in str(cause)  # of the logs that EMR pushes every five minutes
    assert account.steps.describe(held(one).id, other).state is StepState.RUNNING


@pytest.mark.parametrize("denied", [True, False], ids=["denied", "throttled"])
def test_the_program_s_exception_is_told_though_the_cluster_cannot_be_described(
    account: Account, monkeypatch: pytest.MonkeyPatch, denied: bool
) -> None:
    one = session(account)
    handle, end = failed_step(account, one)
    began = account.clock.now()
    if denied:
        deny(monkeypatch, held(one).id)
    else:
        account.fault("throttle", times=None)
    cause = one.explain(handle, end, RAISED, "", alone=True)
    assert "ValueError: no" in str(cause)
    assert account.clock.now() - began < 300


def test_logs_that_cannot_be_listed_are_waited_for_as_long_as_others(account: Account) -> None:
    one = session(account)
    handle, end = failed_step(account, one)
    account.fault("s3_error", key="*/logs/*", code="SlowDown", times=None)
    began = account.clock.now()
    one.explain(handle, end, None, "", alone=False)
    assert account.clock.now() - began < 900


def test_a_cluster_is_bootstrapping_since_it_was_first_seen_to_be(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "JITTER", 0.0)  # else a look may come just before bootstrapping, and the next after it
    one = session(account)
    first, second = (one.add_step(Step(name, ("bash",))) for name in "ab")
    wait(account, one, first)
    seen = held(one).observed.bootstrapping
    assert seen is not None
    account.clock.pause(100)
    held(one).is_bootstrapping(account.aws.now())
    assert held(one).observed.bootstrapping == seen
    wait(account, one, second)
    one.clusters.end()


def test_a_cluster_that_emr_says_nothing_about_counts_as_busy(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = session(account)
    failed_step(account, one)
    assert not one.clusters.is_busy(held(one).id)
    began = account.clock.now()
    account.fault("throttle", operation="ListSteps", times=None)
    assert one.clusters.is_busy(held(one).id)
    assert account.clock.now() - began < 120
    account.emulator.faults.clear()
    deny(monkeypatch, held(one).id)
    assert one.clusters.is_busy(held(one).id)
