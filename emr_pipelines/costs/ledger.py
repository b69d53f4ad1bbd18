"""Entries of the ledger: what each day's clusters cost, and for whose steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Entry:
    """A day (UTC) of a cluster, as far as it was one run's and one asset's.

    run_id, asset: empty where no step ran, or it is not known. instance_seconds: billed, idle time included.
        idle_share: of what was billed that day; None when the cluster was not up. usd: None where a price is not known.
        final: the cluster had ended when this was written, so it will not change.
    """

    day: date
    cluster_id: str
    run_id: str
    asset: str
    instance_seconds: float
    usd: float | None
    idle_share: float | None
    final: bool
