"""Find and terminate orphans, the clusters that nobody needs any more; list and choose clusters for the command
line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.states import ENDED, TAKES_STEPS
from emr_pipelines.backends.names import PRODUCT, ClusterName, is_ours
from emr_pipelines.backends.orphans import GRACE_SECONDS, RunIs, age_seconds, orphaned
from emr_pipelines.errors import AwsError
from emr_pipelines.report import Reporter, no_report

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orphan:
    """A cluster that nobody needs, and the reason."""

    cluster: Cluster
    reason: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of terminating a cluster, as a sentence; not `good` if the cluster may still run."""

    good: bool
    sentence: str


def find_orphans(
    clusters: Iterable[Cluster],
    run_is: Callable[[str], RunIs],
    now: float,
    max_age_seconds: float,
    grace_seconds: float = GRACE_SECONDS,
) -> list[Orphan]:
    """Return the clusters that nobody needs.

    See `why_orphaned`; a pool's cluster belongs to no run. Clusters that are ending or have ended, and those with
    foreign names, are not orphans.

    run_is: asked once per run. now: seconds since 1970.
    """
    ours = (
        (cluster, cluster.created, ClusterName.parse(cluster.name).run_id)
        for cluster in clusters
        if cluster.state in TAKES_STEPS and is_ours(cluster.name)
    )
    return [Orphan(*found) for found in orphaned("cluster", ours, run_is, now, max_age_seconds, grace_seconds)]


def end_orphans(clusters: Clusters, orphans: Iterable[Orphan], dry_run: bool = False) -> list[str]:
    """Terminate orphans, and yield a sentence for each. A failure does not stop the others. Does not wait for their
    end: the next look shows those that still run."""
    return [_end(clusters, orphan, dry_run) for orphan in orphans]


def _end(clusters: Clusters, orphan: Orphan, dry_run: bool) -> str:
    cluster = f"{orphan.cluster.id} ({orphan.cluster.name})"
    if dry_run:
        return f"Would end cluster {cluster}: {orphan.reason}."
    try:
        clusters.terminate(orphan.cluster.id)
    except AwsError as error:
        LOG.warning("Cluster %s cannot be ended: %s", cluster, error)
        return f"Cluster {cluster} should end, for {orphan.reason}, but cannot be ended: {error}"
    LOG.info("Ended cluster %s: %s.", cluster, orphan.reason)
    return f"Ended cluster {cluster}: {orphan.reason}."


def rows(clusters: Iterable[Cluster], now: float) -> list[dict[str, Any]]:
    """Return the rows of a list of clusters, as JSON values. now: seconds since 1970."""
    return [
        {
            "id": cluster.id,
            "name": cluster.name,
            "state": str(cluster.state),
            "created": cluster.created.isoformat() if cluster.created else None,
            "age_seconds": round(age_seconds(cluster.created, now)),
            "deployment": ClusterName.parse(cluster.name).deployment,
            "scope": ClusterName.parse(cluster.name).kind,
            "key": ClusterName.parse(cluster.name).key,
            "normalized_hours": cluster.normalized_hours,
        }
        for cluster in clusters
    ]


def choose(clusters: Clusters, ids: Iterable[str], force: bool = False) -> tuple[dict[str, Cluster], list[Outcome]]:
    """Return the clusters with these ids that may be terminated, by id, and an outcome for each other one.

    force: include clusters whose names are not ours.
    """
    chosen: dict[str, Cluster] = {}
    others: list[Outcome] = []
    for cluster_id in ids:
        try:
            cluster = clusters.describe(cluster_id)
        except AwsError as error:
            others.append(Outcome(False, f"Cluster {cluster_id} cannot be ended: {error}"))
            continue
        if cluster.state in ENDED:
            others.append(Outcome(True, f"Cluster {cluster_id} is {cluster.state} already."))
        elif not force and not is_ours(cluster.name):
            reason = f"it is called {cluster.name!r}, and names of ours begin with {PRODUCT}/; --force ends it"
            others.append(Outcome(False, f"Cluster {cluster_id} was left alone: {reason}."))
        else:
            chosen[cluster_id] = cluster
    return chosen, others


def end(clusters: Clusters, ids: Iterable[str], wait: bool = True, report: Reporter = no_report) -> Iterator[Outcome]:
    """Terminate all clusters, and then wait for each to end."""
    told = []
    for cluster_id in ids:
        try:
            clusters.terminate(cluster_id)
        except AwsError as error:  # noqa: PERF203 (a call each)
            yield Outcome(False, f"Cluster {cluster_id} cannot be ended: {error}")
        else:
            told.append(cluster_id)
    for cluster_id in told:
        if not wait:
            yield Outcome(True, f"Cluster {cluster_id} was told to end.")
            continue
        try:
            cluster = clusters.confirm_ended(cluster_id, report=report)
        except AwsError as error:
            yield Outcome(False, f"Cluster {cluster_id} was told to end; whether it did is not sure: {error}")
        else:
            yield Outcome(cluster.state in ENDED, f"Cluster {cluster_id} is {cluster.state}.")
