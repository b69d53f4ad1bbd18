"""Orphaned clusters are found by age and run, and terminated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rehearsal import DURATIONS, EmulatedClock, Rehearsal, rehearsing

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.orphans import Orphan, choose, end, end_orphans, find_orphans, rows
from emr_pipelines.backends.emr.states import ClusterState
from emr_pipelines.backends.names import ClusterName, ScopeKind
from emr_pipelines.backends.orphans import GRACE_SECONDS, RunIs
from emr_pipelines.errors import AccessDenied

NOW = 1_800_000_000.0
RUN = "6e5f3f3c-0000-4000-8000-0123456789ab"
OLD = GRACE_SECONDS + 1
MAX_AGE_SECONDS = 24 * 3600.0


def cluster(name: str, age_seconds: float = OLD, state: ClusterState = ClusterState.WAITING) -> Cluster:
    return Cluster("j-1", name, state, created=datetime.fromtimestamp(NOW - age_seconds, timezone.utc))


def of_run(age_seconds: float = OLD, kind: ScopeKind = "run", **changes: ClusterState) -> Cluster:
    key = {"run": RUN, "asset": f"{RUN}-0a1b2c", "pool": "0a1b2c-0"}[kind]
    return cluster(str(ClusterName("prod", kind, key)), age_seconds, **changes)


def reasons(found: Cluster, run_is: RunIs) -> list[str]:
    asked: list[str] = []

    def answer(run_id: str) -> RunIs:
        asked.append(run_id)
        return run_is

    orphans = find_orphans([found], answer, NOW, MAX_AGE_SECONDS)
    assert set(asked) <= {RUN}
    assert all(orphan.cluster is found for orphan in orphans)
    return [orphan.reason for orphan in orphans]


@pytest.mark.parametrize("kind", ["run", "asset"])
@pytest.mark.parametrize(
    ("run_is", "age_seconds", "expected"),
    [
        (RunIs.FINISHED, OLD, [f"its run {RUN} has finished"]),
        (RunIs.UNKNOWN, OLD, [f"Dagster knows no run {RUN}, 10 min after its launch"]),
        (RunIs.UNFINISHED, OLD, []),
        (RunIs.UNFINISHED, MAX_AGE_SECONDS - 1, []),
        (RunIs.FINISHED, GRACE_SECONDS - 1, []),
        (RunIs.UNKNOWN, GRACE_SECONDS - 1, []),
        (RunIs.UNFINISHED, MAX_AGE_SECONDS, ["it is 24.0 h old, older than the 24 h that a cluster may be"]),
    ],
)
def test_a_cluster_of_a_run(kind: ScopeKind, run_is: RunIs, age_seconds: float, expected: list[str]) -> None:
    assert reasons(of_run(age_seconds, kind), run_is) == expected


def test_a_pool_belongs_to_no_run_and_may_not_grow_old() -> None:
    assert reasons(of_run(MAX_AGE_SECONDS - 1, "pool"), RunIs.FINISHED) == []
    assert len(reasons(of_run(MAX_AGE_SECONDS, "pool"), RunIs.UNFINISHED)) == 1


@pytest.mark.parametrize(
    "state", [ClusterState.TERMINATING, ClusterState.TERMINATED, ClusterState.TERMINATED_WITH_ERRORS]
)
def test_what_is_ending_is_no_orphan(state: ClusterState) -> None:
    assert reasons(of_run(MAX_AGE_SECONDS + 1, state=state), RunIs.FINISHED) == []


@pytest.mark.parametrize("state", [ClusterState.STARTING, ClusterState.BOOTSTRAPPING, ClusterState.RUNNING])
def test_what_comes_up_or_runs_may_be_one(state: ClusterState) -> None:
    assert len(reasons(of_run(state=state), RunIs.FINISHED)) == 1


@pytest.mark.parametrize("name", ["nightly", "emr-pipelines", "emr-pipelinesque/prod/run/x", f"other/prod/run/{RUN}"])
def test_what_is_not_ours_is_left_alone(name: str) -> None:
    assert reasons(cluster(name, MAX_AGE_SECONDS + 1), RunIs.FINISHED) == []


@pytest.mark.parametrize("name", ["emr-pipelines/prod", "emr-pipelines/prod/other/x"])
def test_what_is_ours_and_of_no_kind_may_not_grow_old(name: str) -> None:
    assert reasons(cluster(name, MAX_AGE_SECONDS - 1), RunIs.FINISHED) == []
    assert len(reasons(cluster(name, MAX_AGE_SECONDS + 1), RunIs.FINISHED)) == 1


def test_a_cluster_without_a_time_counts_as_new() -> None:
    assert reasons(Cluster("j-1", str(ClusterName("prod", "run", RUN)), ClusterState.WAITING), RunIs.FINISHED) == []


def test_a_run_is_asked_for_once() -> None:
    asked: list[str] = []
    clusters = [of_run(), of_run(kind="asset"), of_run(kind="asset")]

    def run_is(run_id: str) -> RunIs:
        asked.append(run_id)
        return RunIs.UNFINISHED

    find_orphans(clusters, run_is, NOW, MAX_AGE_SECONDS)
    assert asked == [RUN]


def test_ages_can_be_chosen() -> None:
    young = of_run(61)
    assert find_orphans([young], lambda _: RunIs.FINISHED, NOW, 3600, grace_seconds=60) == [
        Orphan(young, f"its run {RUN} has finished")
    ]
    (orphan,) = find_orphans([young], lambda _: RunIs.UNFINISHED, NOW, max_age_seconds=60)
    assert orphan.reason.startswith("it is 0.0 h old, older than the 0.0166667 h")


def test_whose_a_cluster_is() -> None:
    assert ClusterName.parse(of_run().name) == ClusterName("prod", "run", RUN)
    assert ClusterName.parse(of_run(kind="asset").name).run_id == RUN
    assert ClusterName.parse(of_run(kind="pool").name) == ClusterName("prod", "pool", "0a1b2c-0")
    assert ClusterName.parse(of_run(kind="pool").name).run_id == ""
    assert ClusterName.parse(cluster("nightly/a/run/b").name) == ClusterName()


# the end of them


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    with rehearsing(tmp_path / "emulator", monkeypatch) as rehearsal:
        yield rehearsal


@pytest.fixture
def clusters(rehearsal: Rehearsal) -> Clusters:
    return Clusters(Aws(clock=EmulatedClock(rehearsal.emulator)))


def launch(rehearsal: Rehearsal, *names: str) -> list[str]:
    return [rehearsal.up(Name=name) for name in names]


def orphans_among(clusters: Clusters, ids: list[str]) -> list[Orphan]:
    return [Orphan(clusters.describe(cluster_id), "nobody needs it") for cluster_id in ids]


def test_orphans_are_ended_and_others_are_not(rehearsal: Rehearsal, clusters: Clusters) -> None:
    mine, other, elsewhere = launch(rehearsal, *(f"emr-pipelines/{d}" for d in ("d/run/a", "d/run/b", "dd/run/a")))
    now = rehearsal.emulator._agenda.now() + GRACE_SECONDS
    active = clusters.active("emr-pipelines/d")
    found = find_orphans(active, lambda run: RunIs.FINISHED if run == "a" else RunIs.UNFINISHED, now, MAX_AGE_SECONDS)
    assert end_orphans(clusters, found) == [f"Ended cluster {mine} (emr-pipelines/d/run/a): its run a has finished."]
    assert [rehearsal.state(found) for found in (mine, other, elsewhere)] == ["TERMINATING", "WAITING", "WAITING"]


def test_a_dry_run_ends_nothing(rehearsal: Rehearsal, clusters: Clusters) -> None:
    (one,) = launch(rehearsal, "emr-pipelines/d/run/a")
    said = end_orphans(clusters, orphans_among(clusters, [one]), dry_run=True)
    assert said == [f"Would end cluster {one} (emr-pipelines/d/run/a): nobody needs it."]
    assert rehearsal.state(one) == "WAITING"


def test_a_protected_orphan_ends_too(rehearsal: Rehearsal, clusters: Clusters) -> None:
    one = rehearsal.up(Name="emr-pipelines/d/run/a", TerminationProtected=True)
    end_orphans(clusters, orphans_among(clusters, [one]))
    assert rehearsal.state(one) == "TERMINATING"


def test_one_that_cannot_be_ended_stops_no_other(
    rehearsal: Rehearsal, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = launch(rehearsal, "emr-pipelines/d/run/a", "emr-pipelines/d/run/b")
    terminate = clusters.terminate

    def reject_first(cluster_id: str) -> None:
        if cluster_id == first:
            raise AccessDenied("not you.")
        terminate(cluster_id)

    monkeypatch.setattr(clusters, "terminate", reject_first)
    said = end_orphans(clusters, orphans_among(clusters, [first, second]))
    assert said == [
        f"Cluster {first} (emr-pipelines/d/run/a) should end, for nobody needs it, but cannot be ended: not you.",
        f"Ended cluster {second} (emr-pipelines/d/run/b): nobody needs it.",
    ]
    assert rehearsal.state(second) == "TERMINATING"


def test_clusters_are_ended_by_id_and_waited_for(rehearsal: Rehearsal, clusters: Clusters) -> None:
    ours, theirs, gone = launch(rehearsal, "emr-pipelines/d/run/a", "theirs", "emr-pipelines/d/run/b")
    clusters.terminate(gone)
    clusters.confirm_ended(gone)
    chosen, others = choose(clusters, [ours, theirs, gone, "j-NONE"])
    assert list(chosen) == [ours]
    assert [outcome.good for outcome in others] == [False, True, False]
    assert "is called 'theirs', and names of ours begin with emr-pipelines/; --force ends it" in others[0].sentence
    assert others[1].sentence == f"Cluster {gone} is TERMINATED already."
    assert others[2].sentence.startswith("Cluster j-NONE cannot be ended: ")
    chosen, _ = choose(clusters, [ours, theirs], force=True)
    outcomes = list(end(clusters, chosen))
    assert [outcome.sentence for outcome in outcomes] == [f"Cluster {id_} is TERMINATED." for id_ in (ours, theirs)]
    assert all(outcome.good for outcome in outcomes)
    assert [rehearsal.state(found) for found in (ours, theirs)] == ["TERMINATED", "TERMINATED"]


def test_that_a_cluster_does_not_end_is_told(
    rehearsal: Rehearsal, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = launch(rehearsal, "emr-pipelines/d/run/a")
    as_when_it_takes_too_long = lambda cluster_id, report: clusters.describe(cluster_id)  # noqa: E731, ARG005
    monkeypatch.setattr(clusters, "confirm_ended", as_when_it_takes_too_long)
    (outcome,) = end(clusters, [one])
    assert not outcome.good
    assert outcome.sentence == f"Cluster {one} is TERMINATING."


def test_what_a_list_shows(rehearsal: Rehearsal, clusters: Clusters) -> None:
    (one,) = launch(rehearsal, "emr-pipelines/d/run/a")
    rehearsal.advance(3600 - DURATIONS.provisioning - DURATIONS.bootstrapping + 1)
    (row,) = rows(clusters.active("emr-pipelines"), rehearsal.emulator._agenda.now())
    created = row.pop("created")
    assert datetime.fromisoformat(created).tzinfo is not None
    assert row == {
        "id": one, "name": "emr-pipelines/d/run/a", "state": "WAITING", "age_seconds": 3601, "deployment": "d",
        "scope": "run", "key": "a", "normalized_hours": 48,
    }  # fmt: skip
