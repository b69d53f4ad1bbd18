"""Clusters: launch one once, find it by its name, describe it, and confirm its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any

from emr_pipelines.aws.client import Aws, call_once, emr_pages, look_for
from emr_pipelines.aws.redaction import reject_known_secrets, without_secrets
from emr_pipelines.backends.emr.names import begins_with
from emr_pipelines.backends.emr.states import ACTIVE, ENDED, TAKES_STEPS, ClusterState
from emr_pipelines.diagnosis.evidence import Reason
from emr_pipelines.errors import RequestRefused, ResponseLost
from emr_pipelines.report import Reporter, no_report

LOG = logging.getLogger(__name__)
LOOKED_BACK = timedelta(days=30)  # older clusters are not listed
SEEN_WITHIN_SECONDS = 30.0  # within which ListClusters shows a new cluster
CONFIRMED_WITHIN_SECONDS = 900.0  # EMR takes 1 to 5 minutes to end a cluster
LONGEST_INTERVAL_SECONDS = 15.0
GROWTH = 1.2  # of the interval between two looks: an end is noticed at most a fifth too late


@dataclass(frozen=True)
class Cluster:
    """What EMR says of a cluster. Times are UTC; `normalized_hours` is EMR's approximation, not a bill."""

    id: str
    name: str
    state: ClusterState
    reason_code: str = ""
    reason: str = ""
    error_details: tuple[Reason, ...] = ()
    created: datetime | None = None
    ready: datetime | None = None
    ended: datetime | None = None
    log_uri: str = ""
    normalized_hours: int = 0
    zone: str = ""  # the availability zone; a listing does not have it
    tags: Mapping[str, str] | None = None  # a listing does not have them

    def __str__(self) -> str:
        reason = ": ".join(part for part in (self.reason_code, self.reason) if part)
        return f"cluster {self.id} is {self.state}" + (f" ({reason})" if reason else "")


class Clusters:
    """EMR's clusters. Each call may raise the AwsErrors.

    patience_seconds: how long each call, but RunJobFlow, is retried; as for `Aws.call`.
    """

    def __init__(self, aws: Aws, patience_seconds: float | None = None) -> None:
        self._aws = aws
        self._clock = aws.clock
        self._patience = patience_seconds

    def launch(
        self,
        request: Mapping[str, Any],
        patience_seconds: float | None = None,
        looking: Callable[[], None] = lambda: None,
    ) -> str:
        """Launch a cluster and return its id. patience_seconds: as for `Aws.call`.

        RunJobFlow has no client token. When its response is lost, the cluster is looked for by its name, which must be
        unique, and launched again only if it is not found, for a quarter of an hour; then ResponseLost is raised.
        looking: called before each look. Raises PackagingError for a request with a secret in it.
        """
        reject_known_secrets(
            f"The cluster {request['Name']!r}", without_secrets(request)
        )  # those that it must have are AWS's
        name = str(request["Name"])

        def call() -> str:
            launched: str = self._aws.call(
                "emr", "run_job_flow",
                once=True, patience_seconds=patience_seconds, read=itemgetter("JobFlowId"), **request,
            )  # fmt: skip
            return launched

        def look(lost: ResponseLost) -> str | None:
            LOG.warning("%s Looking for the cluster %r.", lost, name)
            return self.look_for(name, looking=looking)

        return call_once(self._clock, call, look)

    def find(self, name: str) -> Cluster | None:
        """The oldest cluster of this name that takes steps."""
        found = [cluster for cluster in self.active(name) if cluster.state in TAKES_STEPS]
        return found[-1] if found else None

    def active(self, prefix: str = "") -> list[Cluster]:
        """The clusters that can still cost money, newest first. prefix: see `begins_with`."""
        return self._listed(prefix, ClusterStates=sorted(map(str, ACTIVE)))

    def recent(self, prefix: str) -> list[Cluster]:
        """As `active`, and those that have ended in the last 30 days."""
        return self._listed(prefix)

    def _listed(self, prefix: str, **filters: Any) -> list[Cluster]:
        since = datetime.fromtimestamp(self._clock.now(), timezone.utc) - LOOKED_BACK
        pages = emr_pages(self._aws, "list_clusters", patience_seconds=self._patience, CreatedAfter=since, **filters)
        return [
            _cluster(entry)
            for page in pages
            for entry in page.get("Clusters", ())
            if not prefix or begins_with(entry.get("Name", ""), prefix)
        ]

    def describe(self, cluster_id: str) -> Cluster:
        def read(answer: Any) -> Cluster:
            found = _cluster(answer["Cluster"])
            if found.id != cluster_id:
                raise ValueError(f"it is about cluster {found.id}")
            return found

        described: Cluster = self._aws.call(
            "emr", "describe_cluster", patience_seconds=self._patience, read=read, ClusterId=cluster_id
        )
        return described

    def lost_spot_instances(self, cluster_id: str) -> list[str]:
        """The EC2 ids of the Spot instances that failed, as those do that EC2 reclaims."""
        pages = emr_pages(
            self._aws,
            "list_instances",
            patience_seconds=self._patience,
            ClusterId=cluster_id,
            InstanceStates=["TERMINATED"],
        )
        return [
            instance.get("Ec2InstanceId", "")
            for page in pages
            for instance in page.get("Instances", ())
            if instance.get("Market") == "SPOT"
            and instance.get("Status", {}).get("StateChangeReason", {}).get("Code") == "INSTANCE_FAILURE"
        ]

    def terminate(self, cluster_id: str) -> None:
        """Tell a cluster to end; one that is ending, or has ended, stays as it is. Protection is switched off first."""
        about: dict[str, Any] = {"patience_seconds": self._patience, "JobFlowIds": [cluster_id]}
        try:
            self._aws.call("emr", "terminate_job_flows", **about)
        except RequestRefused:
            self._aws.call("emr", "set_termination_protection", TerminationProtected=False, **about)
            self._aws.call("emr", "terminate_job_flows", **about)

    def confirm_ended(
        self, cluster_id: str, within_seconds: float = CONFIRMED_WITHIN_SECONDS, report: Reporter = no_report
    ) -> Cluster:
        """Wait until a cluster has ended, or the time is over, and return it as it was last seen."""
        deadline = self._clock.now() + within_seconds
        interval = 1.0
        with report(f"Waiting for cluster {cluster_id} to end", at_most_seconds=within_seconds) as work:
            while True:
                cluster = self.describe(cluster_id)
                if cluster.state in ENDED or self._clock.now() >= deadline:
                    return cluster
                work.still(str(cluster.state))
                self._clock.pause(interval)
                interval = min(interval * GROWTH, LONGEST_INTERVAL_SECONDS)

    def look_for(
        self,
        name: str,
        within_seconds: float = SEEN_WITHIN_SECONDS,
        looking: Callable[[], None] = lambda: None,
    ) -> str | None:
        """The id of a cluster that RunJobFlow may have launched just now; ListClusters may show it some seconds late.
        looking: called before each look."""

        def find() -> str | None:
            looking()
            return found.id if (found := self.find(name)) else None

        return look_for(self._clock, find, within_seconds)


def _cluster(entry: Mapping[str, Any]) -> Cluster:
    status = entry.get("Status", {})
    reason, times = status.get("StateChangeReason", {}), status.get("Timeline", {})
    return Cluster(
        id=entry["Id"],
        name=entry.get("Name", ""),
        state=ClusterState(status.get("State", "")),
        reason_code=reason.get("Code", ""),
        reason=reason.get("Message", ""),
        error_details=tuple(
            Reason(detail.get("ErrorCode", ""), detail.get("ErrorMessage", ""), tuple(detail.get("ErrorData", ())))
            for detail in status.get("ErrorDetails", ())
        ),
        created=times.get("CreationDateTime"),
        ready=times.get("ReadyDateTime"),
        ended=times.get("EndDateTime"),
        log_uri=entry.get("LogUri", ""),
        normalized_hours=entry.get("NormalizedInstanceHours", 0),
        zone=entry.get("Ec2InstanceAttributes", {}).get("Ec2AvailabilityZone", ""),
        tags={tag.get("Key", ""): tag.get("Value", "") for tag in entry["Tags"]} if "Tags" in entry else None,
    )
