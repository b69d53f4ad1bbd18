"""Who owes a cluster's bill, when several processes used the cluster or it was replaced: one of them, once."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from emr_pipelines.emr.cluster import Clusters
from emr_pipelines.emr.leases import Lease, Leases
from emr_pipelines.emr.objects import Content, Objects
from emr_pipelines.emr.scope import Scope
from emr_pipelines.emr.session import Session
from emr_pipelines.emr.spec import ClusterSpec
from emr_pipelines.emr.steps import Step
from emr_pipelines.emr.watch import Deadlines
from emr_pipelines.errors import AccessDenied, AwsError, Changed
from tests.emr.conftest import Account, ended
from tests.emulator.conftest import DURATIONS


def session(account: Account) -> Session:
    scope = Scope("run", "key")
    return Session(account.aws, ClusterSpec(), scope, account.base, "default", {}, Deadlines(), say=lambda _: None)


def owed(*sessions: Session) -> list[list[str]]:
    return [[held.id for held in found.owed] for found in sessions]


def test_of_two_processes_that_end_the_same_cluster_one_bills_it(account: Account) -> None:
    one, two = session(account), session(account)
    one.add(Step("short", ("bash",)))
    two.add(Step("short", ("bash",)))
    assert (one.end() and two.end()) is not None
    assert owed(one, two) == [[str(account.emulator.clusters()[0].id)], []]


def test_of_two_processes_that_lost_the_same_cluster_one_bills_it(account: Account) -> None:
    one, two = session(account), session(account)
    one.add(Step("short", ("bash",)))
    two.add(Step("short", ("bash",)))
    (first,) = account.emulator.clusters()
    account.clusters.terminate(first.id)
    two.add(Step("short", ("bash",)))
    one.add(Step("short", ("bash",)))
    assert owed(one, two) == [[], [first.id]]
    one.end()
    two.end()
    assert owed(one, two) == [[account.emulator.clusters()[1].id], [first.id]]
    assert ended(account)


def test_a_cluster_that_was_billed_is_not_adopted_for_another_bill(account: Account) -> None:
    one, two, three = session(account), session(account), session(account)
    one.add(Step("short", ("bash",)))
    (first,) = account.emulator.clusters()
    one.end()
    assert not two.adopt(first.id)
    two.add(Step("short", ("bash",)))
    account.clusters.terminate(account.emulator.clusters()[1].id)
    assert not three.adopt(first.id)  # it is not the lease's any more
    assert not three.adopt()
    assert owed(one, two, three) == [[first.id], [], [account.emulator.clusters()[1].id]]


def test_the_bill_stays_where_the_lease_was_freed_though_the_answer_was_lost(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Objects.write

    def seems_to_fail(self: Objects, uri: str, data: bytes, *, replacing: Content | None = None) -> None:
        write(self, uri, data, replacing=replacing)
        raise Changed("the second try of a put that took effect", "PreconditionFailed")

    one = session(account)
    one.add(Step("short", ("bash",)))
    monkeypatch.setattr(Objects, "write", seems_to_fail)
    one.end()
    assert len(one.owed) == 1


def test_a_lease_that_cannot_be_read_loses_no_bill(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise AwsError("S3 is ill")

    one = session(account)
    one.add(Step("short", ("bash",)))
    monkeypatch.setattr(Leases, "release", fail)
    one.end()
    assert len(one.owed) == 1


def test_a_cluster_whose_launch_was_interrupted_is_owed(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wrote its id into the lease, which is free again."""
    launch = Clusters.launch

    def interrupted(self: Clusters, *args: Any, **how: Any) -> str:
        launch(self, *args, **how)
        raise KeyboardInterrupt

    one, two = session(account), session(account)
    monkeypatch.setattr(Clusters, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.add(Step("short", ("bash",)))
    one.end()
    assert owed(one, two) == [[account.emulator.clusters()[0].id], []]
    assert ended(account)


def test_a_cluster_is_owed_though_none_takes_its_place(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launch of the second is refused."""
    one = session(account)
    one.add(Step("short", ("bash",)))
    (first,) = account.emulator.clusters()
    account.clusters.terminate(first.id)

    def refuse(*_: object, **__: object) -> str:
        raise AccessDenied("You may not launch clusters.")

    monkeypatch.setattr(Clusters, "launch", refuse)
    with pytest.raises(AccessDenied):
        one.add(Step("short", ("bash",)))
    assert owed(one) == [[first.id]]
    assert one.end() is None


def test_a_cluster_that_was_launched_in_vain_is_owed(account: Account) -> None:
    leases = Leases(account.aws, account.objects, f"{account.base}/clusters")
    uri, debts = f"{account.base}/clusters/1.json", list[str]()

    def overtaken() -> str:
        """Another process takes the lease, and launches, while this one does."""
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
