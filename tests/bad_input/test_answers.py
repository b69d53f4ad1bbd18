"""Malformed responses of AWS: missing members, unknown values, pagination loops; and altered objects on S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rehearsal import UP

from emr_pipelines.aws.client import UNREACHABLE_FOR_SECONDS, Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.emr.cluster import Cluster
from emr_pipelines.backends.emr.cluster_usage import usage_of
from emr_pipelines.backends.emr.leases import Leases
from emr_pipelines.backends.emr.states import ClusterState, StepState
from emr_pipelines.backends.emr.steps import AddedStep, Step
from emr_pipelines.errors import StepFailed, StorageUnusable, Unreachable
from emr_pipelines.runners.remote import _read_result
from emr_pipelines.storage import ABANDONED_AFTER
from tests.account import Account
from tests.bad_input.conftest import validate_sentence
from tests.emr_env import EmrEnv, Failed
from tests.runners.programs import Total
from tests.storage.conftest import KEY, NOON, Place, noon

Change = Callable[[dict[str, Any]], Any]


def alter(monkeypatch: pytest.MonkeyPatch, operation: str, change: Change, times: int = 10**6) -> list[str]:
    """Alter boto3's parsed responses to an operation, so many times; return a list of the calls."""
    changed: list[str] = []
    client_of = Aws._client

    def spoil(parsed: dict[str, Any], **_: Any) -> None:
        if len(changed) < times:
            changed.append(operation)
            change(parsed)

    def client(self: Aws, service: str, transfer: bool = False) -> Any:
        found = client_of(self, service, transfer)
        name = f"after-call.{'s3' if service == 's3' else 'emr'}.{operation}"
        found.meta.events.register(name, spoil, unique_id=f"spoil-{operation}-{id(changed)}")
        return found

    monkeypatch.setattr(Aws, "_client", client)
    return changed


def set_in(*path: str, to: Any) -> Change:
    def change(parsed: dict[str, Any]) -> None:
        for name in path[:-1]:
            parsed = parsed[name]
        parsed[path[-1]] = to

    return change


def without(*path: str) -> Change:
    def change(parsed: dict[str, Any]) -> None:
        for name in path[:-1]:
            parsed = parsed[name]
        parsed.pop(path[-1], None)

    return change


def empty(parsed: dict[str, Any]) -> None:
    for name in parsed.keys() - {"ResponseMetadata"}:
        del parsed[name]


# a missing member is unknown, and nothing is concluded from it
TOLERATED: list[tuple[str, Change, str, Any]] = [
    ("DescribeCluster", set_in("Cluster", "Status", "State", to="HIBERNATING"), "state", ClusterState.UNKNOWN),
    ("DescribeCluster", without("Cluster", "Status", "State"), "state", ClusterState.UNKNOWN),
    ("DescribeCluster", without("Cluster", "Status"), "state", ClusterState.UNKNOWN),
    ("DescribeCluster", without("Cluster", "Status", "Timeline"), "created", None),
    ("DescribeCluster", without("Cluster", "Status", "StateChangeReason"), "reason_code", ""),
    ("DescribeCluster", set_in("Cluster", "Status", "StateChangeReason", to={"Code": "NEW"}), "reason_code", "NEW"),
    ("DescribeCluster", without("Cluster", "Name"), "name", ""),
    ("DescribeCluster", without("Cluster", "LogUri"), "log_uri", ""),
    ("DescribeCluster", without("Cluster", "Tags"), "tags", None),
    ("DescribeCluster", set_in("Cluster", "Tags", to=[{"Value": "x"}, {"Key": "y"}]), "tags", {"": "x", "y": ""}),
    ("DescribeStep", set_in("Step", "Status", "State", to="PAUSED"), "state", StepState.UNKNOWN),
    ("DescribeStep", without("Step", "Status"), "state", StepState.UNKNOWN),
    ("DescribeStep", without("Step", "Status", "Timeline"), "started", None),
    ("DescribeStep", without("Step", "Name"), "name", ""),
]


def looked_at(account: Account, operation: str) -> tuple[str, Callable[[], Cluster | AddedStep]]:
    cluster_id = account.launch()
    step_id = account.steps.add(cluster_id, Step("hour", ("hour",)))
    account.emulator.advance(UP + 10)
    if operation == "DescribeCluster":
        return cluster_id, lambda: account.clusters.describe(cluster_id)
    return step_id, lambda: account.steps.describe(cluster_id, step_id)


@pytest.mark.parametrize(("operation", "change", "member", "value"), TOLERATED)
def test_what_is_not_told_is_not_known(
    account: Account, monkeypatch: pytest.MonkeyPatch, operation: str, change: Change, member: str, value: object
) -> None:
    id_, look = looked_at(account, operation)
    before = len(account.clock.pauses)
    alter(monkeypatch, operation, change)
    found = look()
    assert (found.id, getattr(found, member)) == (id_, value)
    assert len(account.clock.pauses) == before


# a response about something else counts as none: the call is repeated and finally given up
REFUSED: list[tuple[str, Change, str]] = [
    ("DescribeCluster", empty, "returned a malformed response: KeyError"),
    ("DescribeCluster", without("Cluster", "Id"), "returned a malformed response"),
    ("DescribeCluster", set_in("Cluster", "Id", to="j-ANOTHER"), "it is about cluster j-ANOTHER"),
    ("DescribeCluster", set_in("Cluster", to=[]), "returned a malformed response"),
    ("DescribeStep", empty, "returned a malformed response"),
    ("DescribeStep", set_in("Step", "Id", to="s-ANOTHER"), "it is about step s-ANOTHER"),
]


@pytest.mark.parametrize(("operation", "change", "says"), REFUSED)
def test_an_answer_that_is_none_is_asked_for_again(
    account: Account, monkeypatch: pytest.MonkeyPatch, operation: str, change: Change, says: str
) -> None:
    id_, look = looked_at(account, operation)
    with monkeypatch.context() as patched:
        asked = alter(patched, operation, change, times=3)
        assert look().id == id_
        assert len(asked) == 3
    began = account.clock.now()
    alter(monkeypatch, operation, change)
    with pytest.raises(Unreachable, match=f"{operation[:8].lower()}_.*{id_}.*{says}") as caught:
        look()
    assert caught.value.retryable
    assert account.clock.now() - began >= UNREACHABLE_FOR_SECONDS


def test_what_began_and_is_not_named_is_found_and_not_begun_again(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = alter(monkeypatch, "RunJobFlow", without("JobFlowId"), times=1)
    altered_too = alter(monkeypatch, "AddJobFlowSteps", set_in("StepIds", to=[]), times=1)
    assert emr_env.run() == Total(6)
    assert len(altered) == len(altered_too) == 1
    (cluster,) = emr_env.account.emulator.clusters()
    assert len(cluster.steps) == 1


LISTS: list[tuple[str, Change]] = [
    ("ListClusters", empty),
    ("ListSteps", empty),
    ("ListInstances", empty),
    ("ListSteps", set_in("Marker", to="")),
]


@pytest.mark.parametrize(("operation", "change"), LISTS)
def test_an_empty_page_is_empty(
    account: Account, monkeypatch: pytest.MonkeyPatch, operation: str, change: Change
) -> None:
    cluster_id, _ = looked_at(account, "DescribeCluster")
    alter(monkeypatch, operation, change, times=1)
    asks: dict[str, Callable[[], Any]] = {
        "ListClusters": lambda: account.clusters.active("emr-pipelines"),
        "ListSteps": lambda: [step for step in account.steps.all(cluster_id) if change is empty],
        "ListInstances": lambda: usage_of(account.aws, cluster_id).instances,
    }
    assert list(asks[operation]()) == []


def test_strangers_in_a_list_may_be_as_they_like(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = account.launch("emr-pipelines/default/run/x")

    def with_strangers(parsed: dict[str, Any]) -> None:
        parsed["Clusters"] += [
            {},
            {"Id": "j-1"},
            {"Name": "x", "Status": None},
            {"Id": "j-2", "Name": "emr-pipelinesX"},
        ]

    alter(monkeypatch, "ListClusters", with_strangers)
    assert [cluster.id for cluster in account.clusters.recent("emr-pipelines/default")] == [mine]


@pytest.mark.parametrize("operation", ["ListSteps", "ListClusters", "ListInstances"])
def test_a_list_that_goes_in_circles_ends(account: Account, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    cluster_id, _ = looked_at(account, "DescribeCluster")
    asked = alter(monkeypatch, operation, set_in("Marker", to="again"))
    asks: dict[str, Callable[[], Any]] = {
        "ListClusters": lambda: account.clusters.active("x"),
        "ListSteps": lambda: account.steps.all(cluster_id),
        "ListInstances": lambda: account.clusters.lost_spot_instances(cluster_id),
    }
    monkeypatch.setattr(account.aws, "_attempt", _ignoring_markers(account.aws._attempt))
    with pytest.raises(Unreachable) as caught:
        asks[operation]()
    validate_sentence(str(caught.value), "has a pagination loop: the marker 'again' repeats.")
    assert len(asked) == 2


def _ignoring_markers(attempt: Callable[..., Any]) -> Callable[..., Any]:
    """Drop markers, because the emulator refuses unknown ones."""

    def without_marker(service: str, operation: str, positional: Any, once: bool, request: dict[str, Any]) -> Any:
        asked = {name: value for name, value in request.items() if name not in ("Marker", "ContinuationToken")}
        return attempt(service, operation, positional, once, asked)

    return without_marker


@pytest.mark.parametrize("token", [None, "", "again"])
def test_a_list_of_objects_that_goes_in_circles_ends(
    account: Account, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    account.objects.write(f"{account.base}/a", b"")

    def goes_on(parsed: dict[str, Any]) -> None:
        parsed["IsTruncated"] = True
        if token is not None:
            parsed["NextContinuationToken"] = token

    alter(monkeypatch, "ListObjectsV2", goes_on)
    monkeypatch.setattr(account.aws, "_attempt", _ignoring_markers(account.aws._attempt))
    with pytest.raises(Unreachable) as caught:
        account.objects.names(account.base)
    says = (
        "the marker 'again' repeats."
        if token
        else "returned part of a list, and no NextContinuationToken for the rest."
    )
    validate_sentence(str(caught.value), says)


# a whole run, with responses that a future EMR may send


@pytest.mark.parametrize(
    "changes",
    [
        {
            "DescribeCluster": set_in("Cluster", "Status", "State", to="HIBERNATING"),
            "DescribeStep": set_in("Step", "Status", "State", to="PAUSED"),
        },
        {"DescribeCluster": empty, "DescribeStep": without("Step", "Status"), "ListSteps": empty},
    ],
)
def test_a_good_step_stays_good(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Change]) -> None:
    altered = {operation: alter(monkeypatch, operation, change, times=3) for operation, change in changes.items()}
    assert emr_env.run() == Total(6)
    assert emr_env.account.states() == ["TERMINATED"]
    assert [len(told) for operation, told in altered.items() if operation != "ListSteps"] == [3, 3]


def test_a_state_that_stays_unknown_ends_with_the_deadline(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    alter(monkeypatch, "DescribeStep", set_in("Step", "Status", "State", to="PAUSED"))
    with pytest.raises(Failed, match="not done after 12 minutes"):
        emr_env.run(running_minutes=12)
    assert emr_env.account.states() == ["TERMINATED"]


# altered objects

JUNK = {
    "nothing": b"",
    "cut": b'{"holder": "x", "name": "emr-pip',
    "text": b"\xff\xfeh\0e\0l\0l\0o\0",
    "binary": b"\x00\x80\xff",
    "list": b"[]",
    "number": b"1e999",
    "null": b"null",
    "text in JSON": b'"result"',
    "deep": b"[" * 100_000,
    "other types": b'{"holder": ["x"], "name": 7, "cluster_id": {"a": 1}}',
    "other members": b'{"who": "me"}',
    "page of a proxy": b"<html><body>502 Bad Gateway</body></html>",
}
each_junk = pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())


@each_junk
def test_a_lease_that_is_none_is_replaced(account: Account, junk: bytes) -> None:
    leases = Leases(account.aws, account.objects, f"{account.base}/clusters")
    account.objects.write(f"{account.base}/clusters/1.json", junk)
    assert leases.cluster_of("1") is None
    leases.release("1", "j-1")
    began = account.clock.now()
    leased = leases.acquire("1", "emr-pipelines/test/run/1", lambda _renew: account.launch("emr-pipelines/test/run/1"))
    assert leased.launched
    assert leases.cluster_of("1") == leased.cluster_id
    assert account.clock.now() == began
    account.clusters.terminate(leased.cluster_id)


@each_junk
def test_a_result_that_is_none_is_named_with_the_remedy(junk: bytes) -> None:
    with pytest.raises(StepFailed) as failed:
        _read_result(junk, "s3://bucket/result.json")
    validate_sentence(str(failed.value), "s3://bucket/result.json is not the result of a program; delete it and mat")


def test_a_run_whose_result_is_none_leaves_no_cluster(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Objects.read

    def cut(self: Objects, uri: str, last_bytes: int | None = None) -> bytes | None:
        found = read(self, uri, last_bytes)
        return found[:9] if found and uri.endswith("/result.json") else found

    monkeypatch.setattr(Objects, "read", cut)
    with pytest.raises(Failed) as failed:
        emr_env.run()
    validate_sentence(str(failed.value), "/result.json is not the result of a program; delete it and materialize")
    assert emr_env.account.states() == ["TERMINATED"]


@each_junk
def test_a_pointer_that_is_none_stays_and_is_named(place: Place, junk: bytes) -> None:
    """The pointer stays, because only a person can decide which version counts."""
    version = place.publish(1)
    place.put("words/latest.json", junk)
    for use in (place.storage.latest, place.storage.require, place.storage.prune):
        with pytest.raises(StorageUnusable) as caught:
            use(KEY)
        validate_sentence(str(caught.value), "words/latest.json is not a pointer to a version (")
    with pytest.raises(StorageUnusable, match="delete it and materialize the asset again"):
        place.write(2)
    assert place.filled(version.name)
    assert place.versions() == [version.name]


@pytest.mark.parametrize("version", ["../../elsewhere", "/etc", "", ".", "x/../../y", "20260101T120100000000Z-../../x"])
def test_a_pointer_leads_to_nothing_but_a_version(place: Place, version: str) -> None:
    place.publish(1)
    pointer = json.loads(place.look.get("words/latest.json"))
    place.look.put("words/latest.json", json.dumps({**pointer, "version": version}))
    with pytest.raises(StorageUnusable) as caught:
        place.storage.require(KEY)
    validate_sentence(str(caught.value), f"({version!r} is not the name of a version)")


@pytest.mark.parametrize(
    "junk",
    [*JUNK.values(), json.dumps({"work": "work", "attempt": "x", "at": "whenever", "before": None}).encode()],
    ids=[*JUNK, "no time"],
)
def test_a_begun_file_that_is_none_is_nobody_s_and_goes(place: Place, junk: bytes) -> None:
    abandoned = place.write(0)
    place.put(f"words/{abandoned.name}.begun.json", junk)
    with place.storage.new_version(KEY, "run-1", "work", now=noon(1)) as version:
        assert version.name != abandoned.name
        place.fill(version)
        place.storage.publish(KEY, version, "data")
    assert place.storage.prune(KEY, now=lambda: NOON + timedelta(minutes=5)) == []
    later = NOON + ABANDONED_AFTER + timedelta(minutes=1)
    assert place.storage.prune(KEY, now=lambda: later) == [abandoned.name]
    assert place.begun() == []
