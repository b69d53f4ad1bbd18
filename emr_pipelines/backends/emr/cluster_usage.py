"""Collect what a bill needs to know about a cluster: its times, instances and steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.steps import AddedStep, Steps
from emr_pipelines.costs.pricing import SPOT

LEAST_SECONDS = 60  # EC2 and EMR bill each instance by the second, and no less than a minute
ON_DEMAND = "on demand"
NEVER_THERE = "AWAITING_FULFILLMENT"


@dataclass(frozen=True)
class ClusterUsage:
    """The times, instances and steps of a cluster. Times are UTC; `end` is now for a cluster that has not ended."""

    cluster_id: str
    name: str
    created: datetime
    ready: datetime | None
    end: datetime
    ended: bool
    zone: str
    normalized_hours: int
    instances: tuple[Mapping[str, Any], ...]
    steps: tuple[AddedStep, ...]  # the oldest first

    def instance_seconds(
        self, start: datetime | None = None, until: datetime | None = None
    ) -> dict[tuple[str, str], list[int]]:
        """Return the billed seconds of each instance, in total or within a period, by type and market.

        An instance is billed from its CreationDateTime to its EndDateTime (without one, to the end of the cluster), per
        second and for at least a minute. EC2 bills from the launch, so ReadyDateTime, when the applications are
        installed, would leave out paid minutes. EMR's fee, about a fifth of the total, may begin some seconds later, so
        the estimate is rather too high than too low. An instance that EC2 never provided costs nothing.
        """
        found: dict[tuple[str, str], list[int]] = {}
        for instance in self.instances:
            if seconds := self._seconds_of(instance, start, until):
                market = SPOT if instance.get("Market") == "SPOT" else ON_DEMAND
                found.setdefault((instance.get("InstanceType", "?"), market), []).append(seconds)
        return found

    def _seconds_of(self, instance: Mapping[str, Any], start: datetime | None, until: datetime | None) -> int:
        status = instance.get("Status", {})
        times = status.get("Timeline", {})
        created: datetime | None = times.get("CreationDateTime")
        if created is None or not instance.get("Ec2InstanceId") or status.get("State") == NEVER_THERE:
            return 0
        ended = times.get("EndDateTime") or self.end
        begin, end = max(created, start or created), min(ended, until or ended)
        begun_then = begin == created and (until is None or created < until)
        return max(LEAST_SECONDS if begun_then else 0, math.ceil((end - begin).total_seconds()))


def usage_of(aws: Aws, cluster_id: str) -> ClusterUsage:
    """Ask EMR for the usage of a cluster. Raises AwsErrors."""
    found = Clusters(aws).describe(cluster_id)
    end = found.ended or datetime.fromtimestamp(aws.clock.now(), timezone.utc)
    pages = aws.pages("emr", "list_instances", ClusterId=cluster_id)
    return ClusterUsage(
        cluster_id=cluster_id,
        name=found.name,
        created=found.created or end,
        ready=found.ready,
        end=end,
        ended=found.ended is not None,
        zone=found.zone,
        normalized_hours=found.normalized_hours,
        instances=tuple(instance for page in pages for instance in page.get("Instances", ())),
        steps=tuple(reversed(Steps(aws).all(cluster_id))),
    )
