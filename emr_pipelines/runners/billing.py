"""What a cluster cost, said in the run's log and on each asset whose steps ran on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from emr_pipelines.errors import EmrPipelinesError

if TYPE_CHECKING:
    from emr_pipelines.emr.session import Session

OP = "op:"  # before the name of a step's op, where that has no asset


def label_of(context: dg.AssetExecutionContext) -> str:
    """Whose step it is, in one word: the assets' keys, or the op's name behind OP."""
    if not context.has_assets_def:
        return f"{OP}{context.op_execution_context.op.name}"
    return ",".join(sorted(key.to_user_string() for key in context.selected_asset_keys))


def end_and_bill(
    session: Session, prices: Mapping[str, float], instance: dg.DagsterInstance | None, log: logging.Logger
) -> None:
    """End a cluster, and say what it cost, all in all and for each asset. Raises nothing: what the steps came to
    stands, and what went wrong first is what has to be heard."""
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
    if instance is None:
        return
    for label, ids in steps.items():
        assets = [] if label.startswith(OP) else label.split(",")
        for asset in assets:
            share = bill.share_of(ids) / len(assets)
            cost: dict[str, Any] = {"cluster": dg.MetadataValue.json(bill.metadata()), "cost_share": share}
            if bill.usd is not None:
                cost["cost_usd"] = bill.usd * share
            key, description = dg.AssetKey.from_user_string(asset), f"On EMR: {bill.sentence()}"
            instance.report_runless_asset_event(dg.AssetObservation(key, description=description, metadata=cost))
