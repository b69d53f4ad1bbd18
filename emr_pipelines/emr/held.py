"""What a session knows of one cluster, in one object that is dropped with the cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emr_pipelines.emr.cost import NOTHING_OBSERVED, Observed


@dataclass
class HeldCluster:
    """A cluster that a session got by the lease `key`.

    launched: whether this session launched it. observed: what only the process that waited for the cluster knows about
    its times; the bill needs it.
    """

    id: str
    key: str
    launched: bool = False
    observed: Observed = NOTHING_OBSERVED

    def is_bootstrapping(self, now: float) -> None:
        self.observed = replace(self.observed, bootstrapping=now)

    def told_to_end(self, now: float) -> None:
        """The first time counts."""
        if self.observed.told_to_end is None:
            self.observed = replace(self.observed, told_to_end=now)
