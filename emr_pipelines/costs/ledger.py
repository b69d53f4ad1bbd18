"""An entry of the ledger: what a cluster cost, by day, run and asset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class LedgerEntry:
    """What one asset of one run cost on a cluster on one day (UTC).

    run_id, asset: empty if no step ran, or unknown. instance_seconds: billed, including idle time. idle_share: of what
    was billed that day; None if the cluster was not up. usd: None if a price is unknown. final: the cluster had ended
    when this was written, so it will not change.
    """

    day: date
    cluster_id: str
    run_id: str
    asset: str
    instance_seconds: float
    usd: float | None
    idle_share: float | None
    final: bool
