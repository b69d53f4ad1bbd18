"""Dispatch EMR's operations."""

from __future__ import annotations

from botocore import xform_name

from emr_emulator import releases, shapes
from emr_emulator.checks import Params, find_cluster, page, release_token
from emr_emulator.clock import Agenda
from emr_emulator.cluster_operations import ClusterOperations, PolicyOperations
from emr_emulator.lifecycle import Lifecycle
from emr_emulator.protocol import ServiceError, invalid_request, service_model
from emr_emulator.records import Cluster, Instance
from emr_emulator.step_operations import StepOperations

NEED_REGION = frozenset({"RunJobFlow", "DescribeCluster", "ListClusters"})  # their responses have an ARN


class Operations:
    """All operations: methods of the classes here, with boto3's names."""

    def __init__(self, lifecycle: Lifecycle, agenda: Agenda, account: str) -> None:
        self._agenda = agenda
        steps = StepOperations(lifecycle, agenda)
        clusters = ClusterOperations(lifecycle, agenda, account, steps)
        groups = (
            clusters,
            steps,
            PolicyOperations(lifecycle),
            InstanceOperations(lifecycle.clusters),
            ReleaseOperations(),
        )
        self._methods = {
            operation: getattr(group, xform_name(operation))
            for operation in service_model().operation_names
            for group in groups
            if hasattr(group, xform_name(operation))
        }

    def call(self, operation: str, params: Params, region: str) -> Params:
        """Answer a checked request. Raises ServiceError."""
        method = self._methods.get(operation)
        if method is None:
            raise ServiceError(
                "UnknownOperationException",
                f"{operation} is not emulated; emulated are {', '.join(self._methods)}.",
                error_code="NotEmulated",
            )
        with self._agenda.lock:
            self._agenda.run_due()
            answer: Params = method(params, region) if operation in NEED_REGION else method(params)
            return answer


class InstanceOperations:
    def __init__(self, clusters: dict[str, Cluster]) -> None:
        self._clusters = clusters

    def list_instances(self, params: Params) -> Params:
        cluster = find_cluster(self._clusters, params)
        group = params.get("InstanceGroupId") or params.get("InstanceFleetId")
        roles = params.get("InstanceGroupTypes") or (
            [params["InstanceFleetType"]] if "InstanceFleetType" in params else []
        )
        states = params.get("InstanceStates")

        def wanted(instance: Instance) -> bool:
            return (
                (not group or instance.group_id == group)
                and (not roles or instance.role in roles)
                and (not states or instance.state in states)
            )

        instances, marker = page(cluster.instances, params, wanted)
        fleet = cluster.groups[0].fleet
        return {"Instances": [shapes.instance_shape(instance, fleet) for instance in instances], "Marker": marker}

    def list_instance_groups(self, params: Params) -> Params:
        cluster = find_cluster(self._clusters, params)
        if cluster.groups[0].fleet:
            raise invalid_request(
                "Instance fleets and instance groups are mutually exclusive; this cluster has fleets."
            )
        groups, marker = page(cluster.groups, params)
        return {"InstanceGroups": [shapes.group_shape(cluster, group) for group in groups], "Marker": marker}

    def list_instance_fleets(self, params: Params) -> Params:
        cluster = find_cluster(self._clusters, params)
        if not cluster.groups[0].fleet:
            raise invalid_request(
                "Instance fleets and instance groups are mutually exclusive; this cluster has groups."
            )
        return {"InstanceFleets": [shapes.fleet_shape(cluster, group) for group in cluster.groups]}


class ReleaseOperations:
    def list_release_labels(self, params: Params) -> Params:
        filters = params.get("Filters", {})
        application = filters.get("Application", "").lower()
        labels = [
            label
            for label in releases.SPARK_AND_HADOOP
            if label.startswith(filters.get("Prefix", ""))
            and (
                not application
                or any(
                    application in (entry["Name"].lower(), f"{entry['Name']}-{entry['Version']}".lower())
                    for entry in releases.applications(label)
                )
            )
        ]
        start = release_token(params.get("NextToken"), labels)
        end = start + params.get("MaxResults", 100)
        return {"ReleaseLabels": labels[start:end], "NextToken": labels[end] if end < len(labels) else None}

    def describe_release_label(self, params: Params) -> Params:
        label = params.get("ReleaseLabel", next(iter(releases.SPARK_AND_HADOOP)))
        if label not in releases.SPARK_AND_HADOOP:
            raise invalid_request(f"Release label {label!r} is not valid.")
        return {
            "ReleaseLabel": label,
            "Applications": releases.applications(label),
            "AvailableOSReleases": [{"Label": releases.OS_RELEASE}],
        }
