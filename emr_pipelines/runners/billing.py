"""End clusters, and report what each of them, or each job run, cost: in the run's log and on the assets that it ran
for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import dagster as dg

from emr_pipelines import charts
from emr_pipelines.backends.emr.held import HeldClusters
from emr_pipelines.backends.names import StepName
from emr_pipelines.costs.bill import INSTANCE_HOURS, Bill
from emr_pipelines.runners.lineage import OP
from emr_pipelines.runners.run_steps import RunSteps


@cache
def prepare_bill() -> None:
    """Draw a process's first picture, which takes a second or two; called while a cluster or a step is waited for."""
    with suppress(Exception):  # the bill will meet the same error, and report it
        charts.timeline([], "")


def end_and_bill(
    clusters: HeldClusters, prices: Mapping[str, float], instance: dg.DagsterInstance | None, log: logging.Logger
) -> None:
    """End the held cluster and bill every owed one. Logs errors and raises none."""
    clusters.end_or_warn()
    bill_owed(clusters, prices, instance, log)


def bill_owed(
    clusters: HeldClusters, prices: Mapping[str, float], instance: dg.DagsterInstance | None, log: logging.Logger
) -> None:
    """Report what each owed cluster cost, in total and for each asset. Logs warnings and raises nothing."""
    while clusters.owed:
        held = clusters.owed.pop(0)
        try:
            bill = clusters.bill(held, prices)
            log.info(f"Cluster {held.id} had {bill.sentence()}")
            if instance is not None:
                _observe(
                    bill, instance, "EMR", {"cluster": dg.MetadataValue.json(bill.metadata()), **_timeline(bill, log)}
                )
        except Exception as error:  # noqa: BLE001 (a bill that cannot be had or stored must not fail a good run)
            log.warning(f"The cost of cluster {held.id} is not recorded: {error}")


def bill_job_run(
    get_bill: Callable[[], Bill], job_run_id: str, instance: dg.DagsterInstance, log: logging.Logger
) -> None:
    """Report what a job run on EMR Serverless cost. Logs warnings and raises nothing."""
    try:
        bill = get_bill()
        log.info(f"Job run {job_run_id} was billed for {bill.sentence()}")
        _observe(bill, instance, "EMR Serverless", {"job_run": dg.MetadataValue.json(bill.metadata())})
    except Exception as error:  # noqa: BLE001 (as for a cluster)
        log.warning(f"The cost of job run {job_run_id} is not recorded: {error}")


def end_clusters_of_run(
    clusters: HeldClusters,
    steps: RunSteps,
    lease_prefix: str,
    prices: Mapping[str, float],
    log: logging.Logger,
) -> None:
    """End and bill the clusters of a run that no other process needs: the held one, and those that others left.

    lease_prefix: the beginning of the lease keys of those clusters. Two runners of a run may have two clusters.
    """
    if steps.may_come():
        if clusters.held:
            log.info(f"Cluster {clusters.held.id} stays for other steps of this run.")
        return
    given_up, seen = steps.given_up(), set[str]()

    def end() -> None:
        held = clusters.held
        seen.update([held.id] if held else [])
        if given_up and held and clusters.is_busy(held.id):
            log.info(f"Cluster {held.id} stays for the steps that run on it; this run was given up.")
        else:
            end_and_bill(clusters, prices, steps.instance, log)

    if clusters.in_use:
        end()
    for key in clusters.keys(lease_prefix):
        if clusters.adopt(key) and clusters.held and clusters.held.id not in seen:
            end()


def _observe(bill: Bill, instance: dg.DagsterInstance, service: str, facts: Mapping[str, Any]) -> None:
    """Record an observation on each asset, and each of its partitions, whose steps or job runs were billed."""
    hours = bill.amount(INSTANCE_HOURS)
    for (key, partition), share in _shares(bill, instance).items():
        cost: dict[str, Any] = {**facts, "cost_share": round(share, 4)}
        if hours:
            cost["billed_instance_seconds"] = round(share * 3600 * hours, 3)
        if bill.usd is not None:
            cost["cost_usd"] = round(bill.usd * share, 4)
        if bill.idle_share is not None:
            cost["idle_share"] = round(bill.idle_share, 4)
        description = f"On {service}: {bill.sentence()}"
        instance.report_runless_asset_event(
            dg.AssetObservation(key, description=description, metadata=cost, partition=partition)
        )


def _shares(bill: Bill, instance: dg.DagsterInstance) -> dict[tuple[dg.AssetKey, str | None], float]:
    """Return the share of a cluster's cost of each asset or partition. Steps of other processes count too, and in a
    pool those of other runs."""
    partitions: dict[str, dict[dg.AssetKey, str]] = {}
    shares: dict[tuple[dg.AssetKey, str | None], float] = {}
    for step_id, name in bill.step_names.items():
        assets = [
            dg.AssetKey.from_user_string(asset) for asset in StepName.parse(name).assets if not asset.startswith(OP)
        ]
        run_id = StepName.parse(name).run_id
        if run_id not in partitions:
            partitions[run_id] = _partitions_of(instance, run_id)
        for asset in assets:
            owner = asset, partitions[run_id].get(asset)
            shares[owner] = shares.get(owner, 0.0) + bill.share_of([step_id]) / len(assets)
    return shares


def _partitions_of(instance: dg.DagsterInstance, run_id: str) -> dict[dg.AssetKey, str]:
    """Return the partition of each asset of a run; assets without partitions, or with several, are left out."""
    if not run_id:
        return {}
    found: dict[dg.AssetKey, list[str]] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
        planned = entry.dagster_event.asset_materialization_planned_data if entry.dagster_event else None
        if planned is not None:
            several = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else []
            found.setdefault(planned.asset_key, []).extend([planned.partition] if planned.partition else several)
    return {asset: keys[0] for asset, keys in found.items() if len(set(keys)) == 1}


def _timeline(bill: Bill, log: logging.Logger) -> dict[str, Any]:
    spans = [replace(span, name=StepName.parse(span.name).label.removeprefix(OP)) for span in bill.spans]
    try:
        return {"timeline": dg.MetadataValue.md(charts.timeline(spans, bill.sentence()))}
    except Exception as error:  # noqa: BLE001 (whatever a drawing library raises, a picture is worth no failure)
        log.warning(f"The timeline of cluster {bill.id} could not be drawn: {error}")
        return {}
