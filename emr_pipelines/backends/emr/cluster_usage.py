"""What EMR tells of a cluster's life: its times, its instances, its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from emr_pipelines.aws.client import Aws, emr_pages
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.steps import AddedStep, Steps
from emr_pipelines.costs.pricing import SPOT

LEAST_SECONDS = 60  # EC2 and EMR bill each instance by the second, and no less than a minute
ON_DEMAND = "on demand"
NEVER_THERE = "AWAITING_FULFILLMENT"


@dataclass(frozen=True)
class Life:
    """What EMR tells of a cluster. Times are UTC; `end` is when it was looked at, of one that has not ended."""

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
        """The billed seconds of each instance, in all or within a time, by type and market.

        An instance is counted from its CreationDateTime to its EndDateTime, or where it has none to the end of the
        cluster; every second begun, and a minute at least. EC2 bills from the launch, not from when the applications
        are installed, so ReadyDateTime would leave out minutes that are paid for. EMR's own part, about a fifth of the
        sum, may begin some seconds later than that: this is rather too much than too little. An instance that EC2 never
        gave costs nothing.
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


def life_of(aws: Aws, cluster_id: str) -> Life:
    """Raises the AwsErrors, when EMR cannot say what there was."""
    found = Clusters(aws).describe(cluster_id)
    end = found.ended or datetime.fromtimestamp(aws.clock.now(), timezone.utc)
    pages = emr_pages(aws, "list_instances", ClusterId=cluster_id)
    return Life(
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
