"""An entry of the ledger: what a cluster or a job run cost, by day, run and asset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

EMR, EMR_SERVERLESS = "EMR", "EMR Serverless"


@dataclass(frozen=True)
class LedgerEntry:
    """What one asset of one run cost on a cluster, or in a job run on EMR Serverless, on one day (UTC).

    billed_id: the id of the cluster or job run. run_id, asset: empty if no step ran, or unknown. instance_seconds:
    billed, including idle time; 0 for a job run. idle_share: of what was billed that day; None if the cluster was not
    up, and for a job run. usd: None if a price is unknown. final: it had ended when this was written, so it will not
    change. vcpu_hours: what EMR Serverless billed; 0 for a cluster.
    """

    day: date
    billed_id: str
    run_id: str
    asset: str
    instance_seconds: float
    usd: float | None
    idle_share: float | None
    final: bool
    service: str = EMR
    vcpu_hours: float = 0.0
