"""What a cluster cost, said in the run's log and on each asset whose steps ran on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from emr_pipelines import charts
from emr_pipelines.errors import EmrPipelinesError

if TYPE_CHECKING:
    from emr_pipelines.emr.cost import Bill
    from emr_pipelines.emr.session import Session

OP = "op:"  # before the name of a step's op, where that has no asset
LONGEST_LABEL = 150  # of the 256 characters that the name of a step may have


def label_of(context: dg.AssetExecutionContext) -> str:
    """Whose step it is, in one word: the assets' keys, or, of none or very many, the op's name behind OP."""
    if not context.has_assets_def:
        return f"{OP}{context.op_execution_context.op.name}"
    keys = ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    return keys if len(keys) <= LONGEST_LABEL else f"{OP}{context.op_execution_context.op.name}"


def partition_of(context: dg.AssetExecutionContext) -> str | None:
    """The partition that a step makes of its assets; None of assets without any, which a run with a partition may
    have."""
    partitioned = context.has_assets_def and context.assets_def.partitions_def is not None
    return str(context.partition_key) if partitioned and context.has_partition_key else None


def end_and_bill(
    session: Session,
    prices: Mapping[str, float],
    instance: dg.DagsterInstance | None,
    log: logging.Logger,
    partitions: Mapping[str, str | None],
) -> None:
    """End a cluster, and say what it cost, all in all and for each asset. Raises nothing: what the steps came to
    stands, and what went wrong first is what has to be heard.

    partitions: by label, the one that a step of this process made.
    """
    try:
        cluster = session.end()
    except EmrPipelinesError as error:
        log.error(f"It is not sure that the cluster has ended ({error}); look at {session.page}")  # noqa: TRY400
        return
    if cluster is None:
        return
    try:
        bill, steps = session.bill(cluster.id, prices)
    except EmrPipelinesError as error:  # what it cost is worth no failure
        log.warning(f"What cluster {cluster.id} cost could not be found out: {error}")
        return
    log.info(f"Cluster {cluster.id} had {bill.sentence()}")
    try:
        if instance is not None:
            _observe(bill, steps, instance, _timeline(bill, log), partitions)
    except Exception as error:  # noqa: BLE001 (whatever the event log raises)
        log.warning(f"What cluster {cluster.id} cost could not be noted on its assets: {error}")


def _observe(
    bill: Bill,
    steps: Mapping[str, list[str]],
    instance: dg.DagsterInstance,
    picture: Mapping[str, Any],
    partitions: Mapping[str, str | None],
) -> None:
    for label, ids in steps.items():
        assets = [] if label.startswith(OP) else label.split(",")
        for asset in assets:
            share = bill.share_of(ids) / len(assets)
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
            key, description = dg.AssetKey.from_user_string(asset), f"On EMR: {bill.sentence()}"
            instance.report_runless_asset_event(
                dg.AssetObservation(key, description=description, metadata=cost, partition=partitions.get(label))
            )


def _timeline(bill: Bill, log: logging.Logger) -> dict[str, Any]:
    spans = [replace(span, name=span.name.partition(" ")[0].removeprefix(OP)) for span in bill.spans]
    try:
        return {"timeline": dg.MetadataValue.md(charts.timeline(spans, bill.sentence()))}
    except Exception as error:  # noqa: BLE001 (whatever a drawing library raises, a picture is worth no failure)
        log.warning(f"The timeline of cluster {bill.cluster_id} could not be drawn: {error}")
        return {}
