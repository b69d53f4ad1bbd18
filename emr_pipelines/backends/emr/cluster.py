"""Clusters: launch one once, find it by its name, describe it, and confirm its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any

from emr_pipelines.aws.client import Aws, call_once
from emr_pipelines.aws.redaction import reject_known_secrets, without_secrets
from emr_pipelines.backends.emr.states import ACTIVE, ENDED, TAKES_STEPS, ClusterState
from emr_pipelines.backends.names import begins_with
from emr_pipelines.clock import poll
from emr_pipelines.diagnosis.evidence import Reason
from emr_pipelines.errors import RequestRefused, ResponseLost
from emr_pipelines.report import Reporter, no_report

LOG = logging.getLogger(__name__)
LOOKED_BACK = timedelta(days=30)  # older clusters are not listed
SEEN_WITHIN_SECONDS = 30.0  # within which ListClusters shows a new cluster
CONFIRMED_WITHIN_SECONDS = 900.0  # EMR takes 1 to 5 minutes to end a cluster
LONGEST_INTERVAL_SECONDS = 15.0
GROWTH = 1.2  # of the polling interval: an end is noticed at most a fifth too late


@dataclass(frozen=True)
class Cluster:
    """A cluster as EMR describes it. Times are UTC; `normalized_hours` is EMR's approximation, not a bill."""

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

    patience_seconds: how long each call except RunJobFlow is retried; as for `Aws.call`.
    """

    def __init__(self, aws: Aws, patience_seconds: float | None = None) -> None:
        self._aws = aws
        self._clock = aws.clock
        self._patience = patience_seconds

    def launch(self, request: Mapping[str, Any], on_lost: Callable[[], None] = lambda: None) -> str:
        """Launch a cluster and return its id.

        RunJobFlow has no client token. When its response is lost, the cluster is looked for by its name, which must be
        unique, and launched again only if it is not found, for a quarter of an hour; then ResponseLost is raised.
        on_lost: called when a response is lost. Raises PackagingError for a request with a secret in it.
        """
        name = str(request["Name"])
        reject_known_secrets(
            f"The cluster {name!r}", without_secrets(request)
        )  # AWS needs some, such as a Kerberos password

        def call() -> str:
            launched: str = self._aws.call("emr", "run_job_flow", once=True, read=itemgetter("JobFlowId"), **request)
            return launched

        def look(lost: ResponseLost) -> str | None:
            on_lost()
            LOG.warning("%s Looking for the cluster %r.", lost, name)
            return self.look_for(name)

        return call_once(self._clock, call, look)

    def find(self, name: str) -> Cluster | None:
        """Find the oldest cluster with this name that takes steps."""
        found = [cluster for cluster in self.active(name) if cluster.state in TAKES_STEPS]
        return found[-1] if found else None

    def active(self, prefix: str = "") -> list[Cluster]:
        """List the clusters that can still cost money, newest first. prefix: see `begins_with`."""
        return self._listed(prefix, ClusterStates=sorted(map(str, ACTIVE)))

    def recent(self, prefix: str) -> list[Cluster]:
        """List the active clusters and those that ended in the last 30 days, newest first."""
        return self._listed(prefix)

    def _listed(self, prefix: str, **filters: Any) -> list[Cluster]:
        since = datetime.fromtimestamp(self._clock.now(), timezone.utc) - LOOKED_BACK
        pages = self._aws.pages("emr", "list_clusters", patience_seconds=self._patience, CreatedAfter=since, **filters)
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
        """List the EC2 ids of failed Spot instances; an instance that EC2 reclaims fails."""
        pages = self._aws.pages(
            "emr",
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
        """Terminate a cluster. Switches its termination protection off if necessary."""
        about: dict[str, Any] = {"patience_seconds": self._patience, "JobFlowIds": [cluster_id]}
        try:
            self._aws.call("emr", "terminate_job_flows", **about)
        except RequestRefused:
            self._aws.call("emr", "set_termination_protection", TerminationProtected=False, **about)
            self._aws.call("emr", "terminate_job_flows", **about)

    def confirm_ended(
        self, cluster_id: str, within_seconds: float = CONFIRMED_WITHIN_SECONDS, report: Reporter = no_report
    ) -> Cluster:
        """Wait until a cluster has ended or the time is up, and return it as it was last seen."""

        def look() -> Cluster:
            cluster = self.describe(cluster_id)
            work.heartbeat(str(cluster.state))
            return cluster

        with report(f"Waiting for cluster {cluster_id} to end", at_most_seconds=within_seconds) as work:
            has_ended: Callable[[Cluster], bool] = lambda cluster: cluster.state in ENDED  # noqa: E731
            return poll(self._clock, look, within_seconds, has_ended, growth=GROWTH, longest=LONGEST_INTERVAL_SECONDS)

    def look_for(self, name: str, within_seconds: float = SEEN_WITHIN_SECONDS) -> str | None:
        """Find the id of a cluster that was perhaps launched just now; ListClusters may show it some seconds late."""
        found = poll(self._clock, lambda: self.find(name), within_seconds, interval=within_seconds / 6)
        return found.id if found else None


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
