"""What a session knows about one cluster, in one object that is dropped with the cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emr_pipelines.emr.cost import NOTHING_OBSERVED, Observed


@dataclass
class HeldCluster:
    """A cluster that a session acquired by the lease `key`.

    launched: whether this session launched it. observed: the times that only a process that waited for the cluster
    knows; the bill needs them.
    """

    id: str
    key: str
    launched: bool = False
    observed: Observed = NOTHING_OBSERVED

    def is_bootstrapping(self, now: float) -> None:
        """Note that the cluster is bootstrapping; the first time counts."""
        if self.observed.bootstrapping is None:
            self.observed = replace(self.observed, bootstrapping=now)

    def told_to_end(self, now: float) -> None:
        """Note that the cluster was told to end; the first time counts."""
        if self.observed.told_to_end is None:
            self.observed = replace(self.observed, told_to_end=now)
