"""End clusters, and report what each cost in the run's log and on each asset whose steps ran on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from emr_pipelines import charts

if TYPE_CHECKING:
    from emr_pipelines.backends.emr.session import Session
    from emr_pipelines.costs.bill import Bill
    from emr_pipelines.runners.run_steps import RunSteps

OP = "op:"  # prefix of an op's name, in the label of a step without an asset
LONGEST_LABEL = 150  # of the 256 characters that EMR allows in the name of a step


def label_of(context: dg.AssetExecutionContext) -> str:
    """Who a step belongs to, in one word: its assets' keys; OP and the op's name if there are none, or very many."""
    if not context.has_assets_def:
        return f"{OP}{context.op_execution_context.op.name}"
    keys = ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    return keys if len(keys) <= LONGEST_LABEL else f"{OP}{context.op_execution_context.op.name}"


@cache
def prepare_bill() -> None:
    """Draw a process's first picture, which takes a second or two; called while a cluster or a step is waited for."""
    with suppress(Exception):  # the bill will meet the same error, and report it
        charts.timeline([], "")


def end_cluster(session: Session, log: logging.Logger, step_id: str = "") -> None:
    """End the session's cluster, or that of a step. Logs an error instead of raising one: the result of the steps
    stands, and an earlier error must not be hidden."""
    try:
        session.end(step_id)
    except Exception as error:  # noqa: BLE001 (see above: whatever went wrong here, it must not replace the first error)
        log.error(f"The cluster may still be running: {error}. Check {session.page_of(step_id)}")  # noqa: TRY400


def end_and_bill(
    session: Session, prices: Mapping[str, float], instance: dg.DagsterInstance | None, log: logging.Logger
) -> None:
    """End the session's cluster and bill every cluster that the session owes. Logs errors and raises none."""
    end_cluster(session, log)
    bill_owed(session, prices, instance, log)


def bill_owed(
    session: Session, prices: Mapping[str, float], instance: dg.DagsterInstance | None, log: logging.Logger
) -> None:
    """Report what each owed cluster cost, in total and for each asset. Logs warnings and raises nothing."""
    while session.owed:
        held = session.owed.pop(0)
        try:
            bill = session.bill(held, prices)
            log.info(f"Cluster {held.id} had {bill.sentence()}")
            if instance is not None:
                _observe(bill, instance, _timeline(bill, log))
        except Exception as error:  # noqa: BLE001 (a bill that cannot be had or stored must not fail a good run)
            log.warning(f"The cost of cluster {held.id} is not recorded: {error}")


def end_clusters_of_run(
    session: Session,
    steps: RunSteps,
    lease_prefix: str,
    prices: Mapping[str, float],
    log: logging.Logger,
) -> None:
    """End and bill the clusters of a run that no other process needs: the session's, and those that others left.

    lease_prefix: the beginning of the lease keys of those clusters. Two runners of a run may have two clusters.
    """
    if steps.may_come():
        if session.held:
            log.info(f"Cluster {session.held.id} stays for other steps of this run.")
        return
    given_up, seen = steps.given_up(), set[str | None]()

    def end() -> None:
        seen.add(session.cluster_id)
        if given_up and session.held and session.busy():
            log.info(f"Cluster {session.held.id} stays for the steps that run on it; this run was given up.")
        else:
            end_and_bill(session, prices, steps.instance, log)

    if session.in_use:
        end()
    for key in session.lease_keys(lease_prefix):
        if session.adopt(key) and session.cluster_id not in seen:
            end()


def _observe(bill: Bill, instance: dg.DagsterInstance, picture: Mapping[str, Any]) -> None:
    """Record an observation on each asset, and each of its partitions, whose steps ran on the cluster."""
    for (key, partition), share in _shares(bill, instance).items():
        cost: dict[str, Any] = {
            **picture,
            "cluster": dg.MetadataValue.json(bill.metadata()),
            "cost_share": round(share, 4),
            "billed_instance_seconds": round(share * sum(usage.seconds for usage in bill.usages), 3),
        }
        if bill.usd is not None:
            cost["cost_usd"] = round(bill.usd * share, 4)
        if bill.idle_share is not None:
            cost["idle_share"] = round(bill.idle_share, 4)
        description = f"On EMR: {bill.sentence()}"
        instance.report_runless_asset_event(
            dg.AssetObservation(key, description=description, metadata=cost, partition=partition)
        )


def _shares(bill: Bill, instance: dg.DagsterInstance) -> dict[tuple[dg.AssetKey, str | None], float]:
    """The share of a cluster's cost that each asset, or partition of one, bears. Steps of other processes count too;
    in a pool, so do those of other runs."""
    from emr_pipelines.costs.ledger import assets_of, run_of

    partitions: dict[str, dict[dg.AssetKey, str]] = {}
    shares: dict[tuple[dg.AssetKey, str | None], float] = {}
    for step_id, name in bill.step_names.items():
        assets = [dg.AssetKey.from_user_string(asset) for asset in assets_of(name) if not asset.startswith(OP)]
        run_id = run_of(name)
        if run_id not in partitions:
            partitions[run_id] = _partitions_of(instance, run_id)
        for asset in assets:
            owner = asset, partitions[run_id].get(asset)
            shares[owner] = shares.get(owner, 0.0) + bill.share_of([step_id]) / len(assets)
    return shares


def _partitions_of(instance: dg.DagsterInstance, run_id: str) -> dict[dg.AssetKey, str]:
    """The partition of each asset that a run makes; none of an asset without partitions, or with several in the run."""
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
    spans = [replace(span, name=span.name.partition(" ")[0].removeprefix(OP)) for span in bill.spans]
    try:
        return {"timeline": dg.MetadataValue.md(charts.timeline(spans, bill.sentence()))}
    except Exception as error:  # noqa: BLE001 (whatever a drawing library raises, a picture is worth no failure)
        log.warning(f"The timeline of cluster {bill.cluster_id} could not be drawn: {error}")
        return {}
