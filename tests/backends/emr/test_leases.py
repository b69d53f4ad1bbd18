"""Leases: one of many processes launches the cluster, and the others find it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Content, Objects
from emr_pipelines.backends.emr.leases import (
    LAUNCHED_WITHIN_SECONDS,
    MAX_BILLED,
    RENEWED_AFTER_SECONDS,
    AcquiredCluster,
    Lease,
    Leases,
)
from emr_pipelines.errors import AwsError, PreconditionFailed, RequestRefused, Throttled, Unreachable
from tests.account import Account

NAME = "emr-pipelines/test/run/1"


@pytest.fixture
def leases(account: Account) -> Leases:
    return Leases(account.aws, account.objects, f"{account.base}/clusters")


def launcher(account: Account) -> Callable[[object], str]:
    return lambda _renew: account.launch(NAME)


def test_the_first_launches_and_the_second_finds(account: Account, leases: Leases) -> None:
    first = leases.acquire("1", NAME, launcher(account))
    assert first.launched
    assert leases.acquire("1", NAME, launcher(account)) == AcquiredCluster(first.cluster_id, launched=False)
    assert leases.cluster_of("1") == first.cluster_id


def test_of_many_at_once_one_launches(account: Account, leases: Leases) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: leases.acquire("1", NAME, launcher(account)), range(8)))
    assert len({leased.cluster_id for leased in got}) == 1
    assert sum(leased.launched for leased in got) == 1
    assert len(account.emulator.clusters()) == 1


def test_a_cluster_that_ended_is_replaced(account: Account, leases: Leases) -> None:
    first = leases.acquire("1", NAME, launcher(account))
    account.clusters.terminate(first.cluster_id)
    second = leases.acquire("1", NAME, launcher(account))
    assert second.launched
    assert second.cluster_id != first.cluster_id


def test_a_holder_that_died_before_it_launched_is_waited_for_and_then_replaced(
    account: Account, leases: Leases
) -> None:
    account.objects.create(f"{account.base}/clusters/1.json", json.dumps({"token": "dead", "name": NAME}).encode())
    began = account.clock.now()
    looks: list[None] = []
    assert leases.acquire("1", NAME, launcher(account), lambda: looks.append(None)).launched
    assert account.clock.now() - began >= LAUNCHED_WITHIN_SECONDS
    assert len(looks) == LAUNCHED_WITHIN_SECONDS


def test_the_cluster_of_a_holder_that_died_after_it_launched_is_found_by_its_name(
    account: Account, leases: Leases
) -> None:
    launched = account.launch(NAME)
    account.objects.create(f"{account.base}/clusters/1.json", json.dumps({"token": "dead", "name": NAME}).encode())
    assert leases.acquire("1", NAME, launcher(account)) == AcquiredCluster(launched, launched=False)
    assert len(account.emulator.clusters()) == 1


@pytest.mark.parametrize("error", [RequestRefused, Throttled, Unreachable])
def test_a_failed_launch_frees_the_lease(account: Account, leases: Leases, error: type[AwsError]) -> None:
    def fails(_: object) -> str:
        raise error("no")

    with pytest.raises(error):
        leases.acquire("1", NAME, fails)
    assert leases.cluster_of("1") is None
    began = account.clock.now()
    assert leases.acquire("1", NAME, launcher(account)).launched
    assert account.clock.now() == began


def test_the_lease_is_renewed_while_a_launch_waits(account: Account, leases: Leases) -> None:
    until, seen = account.clock.now() + 600, set()

    def at_last(aws: Aws) -> str:
        while aws.clock.now() < until:
            aws.clock.pause(60)
            lease = leases.look("1")
            assert lease is not None
            seen.add(lease.token)
        return account.launch(NAME)

    leased = leases.acquire("1", NAME, at_last)
    assert leased == AcquiredCluster(account.clusters.active(NAME)[0].id, launched=True)
    assert len(seen) == 10  # for others, a new lease each time
    assert leases.cluster_of("1") == leased.cluster_id


def test_who_was_overtaken_while_it_could_not_launch_waits_for_the_other(account: Account, leases: Leases) -> None:
    other: list[str] = []

    def overtaken(aws: Aws) -> str:
        assert not other
        other.append(account.launch(NAME + "/other"))
        account.objects.write(
            f"{account.base}/clusters/1.json",
            json.dumps({"token": "other", "name": NAME, "cluster_id": other[0]}).encode(),
        )
        aws.clock.pause(RENEWED_AFTER_SECONDS)
        raise AssertionError("the pause finds out")

    assert leases.acquire("1", NAME, overtaken) == AcquiredCluster(other[0], launched=False)


def test_what_is_no_lease_is_replaced(account: Account, leases: Leases) -> None:
    account.objects.write(f"{account.base}/clusters/1.json", b"not json")
    assert leases.acquire("1", NAME, launcher(account)).launched


def test_a_lost_answer_to_the_conditional_write_does_not_make_one_wait_for_oneself(
    account: Account, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Objects.create

    def took_effect_but_seems_lost(self: Objects, uri: str, data: bytes) -> None:
        create(self, uri, data)
        raise PreconditionFailed("the second try finds the first one's object", "PreconditionFailed")

    monkeypatch.setattr(Objects, "create", took_effect_but_seems_lost)
    began = account.clock.now()
    assert leases.acquire("1", NAME, launcher(account)).launched
    assert account.clock.now() == began


def test_a_launch_that_was_overtaken_leaves_one_cluster(account: Account, leases: Leases) -> None:
    """A launch took so long, for example throttled, that another process took the lease over and launched."""

    def slow(_: object) -> str:
        found = account.objects.read_tagged(f"{account.base}/clusters/1.json")
        other = account.launch("emr-pipelines/other")
        account.objects.write(
            f"{account.base}/clusters/1.json",
            json.dumps({"token": "other", "name": NAME, "cluster_id": other}).encode(),
            replacing=found,
        )
        return account.launch(NAME)

    leased = leases.acquire("1", NAME, slow)
    assert leased.cluster_id == leases.cluster_of("1")
    assert not leased.launched
    assert account.clusters.find(NAME) is None


def test_release_forgets_only_its_own_cluster(account: Account, leases: Leases) -> None:
    cluster_id = leases.acquire("1", NAME, launcher(account)).cluster_id
    leases.release("1", "j-OTHER")
    assert leases.cluster_of("1") == cluster_id
    leases.release("1", cluster_id)
    assert leases.cluster_of("1") is None


def test_a_takeover_that_meets_a_release_is_no_error(
    account: Account, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of an ended cluster is deleted after it was read and before it is replaced."""
    first = leases.acquire("1", NAME, launcher(account))
    account.clusters.terminate(first.cluster_id)
    write = Objects.write
    gone: list[str] = []

    def after_it_has_gone(self: Objects, uri: str, data: bytes, *, replacing: Content | None = None) -> None:
        if not gone:
            gone.append(uri)
            self.delete([uri])
        write(self, uri, data, replacing=replacing)

    monkeypatch.setattr(Objects, "write", after_it_has_gone)
    assert leases.acquire("1", NAME, launcher(account)).launched


def refuse(_: object) -> str:
    raise RequestRefused("no", "ValidationException")


def test_a_billed_cluster_is_not_billed_again_after_a_refused_launch(account: Account, leases: Leases) -> None:
    first = leases.acquire("1", NAME, launcher(account)).cluster_id
    account.clusters.terminate(first)
    assert leases.release("1", first)
    with pytest.raises(RequestRefused):
        leases.acquire("1", NAME, refuse)
    assert not leases.release("1", first)


def test_a_replaced_cluster_is_not_billed_again_while_the_next_one_is_launched(
    account: Account, leases: Leases
) -> None:
    first = leases.acquire("1", NAME, launcher(account)).cluster_id
    account.clusters.terminate(first)
    owed: list[str] = []

    def launch(_: object) -> str:
        assert owed == [first]
        assert not leases.release("1", first)
        return account.launch(NAME)

    leases.acquire("1", NAME, launch, owe=owed.append)


def test_each_of_the_clusters_of_a_key_is_billed_once(account: Account, leases: Leases) -> None:
    """A process that used the first one comes late."""
    released = []
    for _ in range(2):
        released.append(leases.acquire("1", NAME, launcher(account)).cluster_id)
        account.clusters.terminate(released[-1])
        assert leases.release("1", released[-1])
    assert [leases.release("1", cluster_id) for cluster_id in released] == [False, False]


def test_a_release_whose_response_was_lost_is_recognized_though_another_has_the_lease(
    account: Account, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = leases.acquire("1", NAME, launcher(account)).cluster_id
    account.clusters.terminate(first)
    write, second = Objects.write, list[str]()

    def lost(self: Objects, uri: str, data: bytes, *, replacing: Content | None = None) -> None:
        write(self, uri, data, replacing=replacing)
        monkeypatch.setattr(Objects, "write", write)
        second.append(leases.acquire("1", NAME, launcher(account)).cluster_id)
        raise PreconditionFailed("the second try of a put that took effect", "PreconditionFailed")

    monkeypatch.setattr(Objects, "write", lost)
    assert leases.release("1", first)
    assert leases.cluster_of("1") == second[0]


def test_a_lease_remembers_only_the_last_clusters_that_were_billed() -> None:
    lease = Lease("", NAME)
    for number in range(MAX_BILLED + 5):
        lease = lease.with_billed(f"j-{number}", "token")
    assert list(lease.billed) == [f"j-{number}" for number in range(5, MAX_BILLED + 5)]


def test_the_leases_of_a_run_are_found_by_the_prefix_of_their_keys(account: Account, leases: Leases) -> None:
    for key in ("run-a", "run-b", "runner-a", "other"):
        account.objects.write(f"{account.base}/clusters/{key}.json", b"{}")
    assert leases.keys("run-") == ["run-a", "run-b"]
