"""Convert records to the shapes of EMR's API."""

from __future__ import annotations

from typing import Any

from emr_emulator import releases
from emr_emulator.instances import normalized_instance_hours
from emr_emulator.records import (
    ENDED_CLUSTER,
    Cluster,
    ClusterState,
    Instance,
    InstanceGroup,
    InstanceState,
    Step,
)

# members of the request that DescribeCluster returns unchanged
AS_REQUESTED = (
    "AutoScalingRole", "Configurations", "CustomAmiId", "EbsRootVolumeIops", "EbsRootVolumeSize",
    "EbsRootVolumeThroughput", "ExtendedSupport", "KerberosAttributes", "LogEncryptionKmsKeyId",
    "MonitoringConfiguration", "OSReleaseLabel", "ReleaseLabel", "RepoUpgradeOnBoot", "SecurityConfiguration",
    "ServiceRole", "SessionEnabled",
)  # fmt: skip
GROUP_AS_REQUESTED = ("Name", "BidPrice", "InstanceType", "Configurations", "CustomAmiId")


def cluster_arn(cluster: Cluster, region: str, account: str) -> str:
    return f"arn:aws:elasticmapreduce:{region}:{account}:cluster/{cluster.id}"


def cluster_summary(cluster: Cluster, now: float, region: str, account: str) -> dict[str, Any]:
    return {
        "Id": cluster.id,
        "Name": cluster.name,
        "Status": _cluster_status(cluster),
        "NormalizedInstanceHours": normalized_instance_hours(cluster, now),
        "ClusterArn": cluster_arn(cluster, region, account),
    }


def cluster_details(cluster: Cluster, now: float, region: str, account: str) -> dict[str, Any]:
    request, asked = cluster.request, cluster.request["Instances"]
    subnet = asked.get("Ec2SubnetId") or next(iter(asked.get("Ec2SubnetIds", [])), None)
    up = cluster.ready is not None
    return {
        **cluster_summary(cluster, now, region, account),
        **{name: request[name] for name in AS_REQUESTED if name in request},
        "Ec2InstanceAttributes": {
            "Ec2KeyName": asked.get("Ec2KeyName"),
            "Ec2SubnetId": subnet,
            "RequestedEc2SubnetIds": asked.get("Ec2SubnetIds") or ([subnet] if subnet else []),
            "Ec2AvailabilityZone": asked.get("Placement", {}).get("AvailabilityZone", f"{region}a"),
            "RequestedEc2AvailabilityZones": asked.get("Placement", {}).get("AvailabilityZones", []),
            "IamInstanceProfile": request.get("JobFlowRole"),
            "EmrManagedMasterSecurityGroup": asked.get("EmrManagedMasterSecurityGroup", "sg-00000000000000001"),
            "EmrManagedSlaveSecurityGroup": asked.get("EmrManagedSlaveSecurityGroup", "sg-00000000000000002"),
            "ServiceAccessSecurityGroup": asked.get("ServiceAccessSecurityGroup"),
            "AdditionalMasterSecurityGroups": asked.get("AdditionalMasterSecurityGroups"),
            "AdditionalSlaveSecurityGroups": asked.get("AdditionalSlaveSecurityGroups"),
        },
        "InstanceCollectionType": "INSTANCE_FLEET" if cluster.groups[0].fleet else "INSTANCE_GROUP",
        "LogUri": _log_uri(cluster),
        "AutoTerminate": not cluster.keep_alive,
        "TerminationProtected": cluster.protected,
        "UnhealthyNodeReplacement": asked.get("UnhealthyNodeReplacement", False),
        "VisibleToAllUsers": request.get("VisibleToAllUsers", True),
        "Applications": _applications(cluster),
        "Tags": [{"Key": key, "Value": value} for key, value in cluster.tags.items()],
        "MasterPublicDnsName": _dns_name(cluster.primary) if up else None,
        "ScaleDownBehavior": request.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
        "StepConcurrencyLevel": cluster.concurrency,
        "PlacementGroups": request.get("PlacementGroupConfigs", []),
    }


def _cluster_status(cluster: Cluster) -> dict[str, Any]:
    return {
        "State": cluster.state,
        "StateChangeReason": {"Code": cluster.reason, "Message": cluster.message or None},
        "Timeline": timeline(cluster.created, ready=cluster.ready, ended=cluster.ended),
        "ErrorDetails": cluster.errors or None,
    }


def _log_uri(cluster: Cluster) -> str | None:
    """Return LogUri as EMR does, with the old scheme s3n and a trailing slash."""
    if cluster.log_uri is None:
        return None
    return "s3n://" + cluster.log_uri.partition("://")[2].rstrip("/") + "/"


def _applications(cluster: Cluster) -> list[dict[str, Any]]:
    versions = {entry["Name"]: entry["Version"] for entry in releases.applications(cluster.release)}
    asked = cluster.request.get("Applications") or [{"Name": "Hadoop"}]
    return [{**entry, "Version": versions.get(entry["Name"])} for entry in asked]


def step_summary(step: Step) -> dict[str, Any]:
    status: dict[str, Any] = {
        "State": step.state,
        "StateChangeReason": {"Message": step.message},
        "Timeline": timeline(step.created, started=step.started, ended=step.ended),
    }
    if step.failure is not None:
        failure = step.failure
        status["FailureDetails"] = {"Reason": failure.reason, "Message": failure.message, "LogFile": failure.log_file}
    return {
        "Id": step.id,
        "Name": step.name,
        "Config": {
            "Jar": step.jar,
            "Args": list(step.args),
            "MainClass": step.main_class,
            "Properties": step.properties,
        },
        "ActionOnFailure": step.action_on_failure,
        "Status": status,
        "AdditionalInfo": {"ResourceManager": "YARN", "ResourceManagerApplicationIds": [step.application_id]}
        if step.application_id
        else None,
    }


def step_details(step: Step) -> dict[str, Any]:
    return {**step_summary(step), "ExecutionRoleArn": step.execution_role}


def instance_shape(instance: Instance, fleet: bool) -> dict[str, Any]:
    code, message = instance.reason or (None, None)
    return {
        "Id": instance.id,
        "Ec2InstanceId": instance.ec2_id,
        "PublicDnsName": _dns_name(instance),
        "PrivateDnsName": f"ip-{instance.address.replace('.', '-')}.ec2.internal",
        "PrivateIpAddress": instance.address,
        "Status": {
            "State": instance.state,
            "StateChangeReason": {"Code": code, "Message": message},
            "Timeline": timeline(instance.created, ready=instance.ready, ended=instance.ended),
        },
        "InstanceFleetId" if fleet else "InstanceGroupId": instance.group_id,
        "Market": instance.market,
        "InstanceType": instance.type,
        "EbsVolumes": [],
    }


def group_shape(cluster: Cluster, group: InstanceGroup) -> dict[str, Any]:
    running = sum(
        instance.group_id == group.id and instance.state is InstanceState.RUNNING for instance in cluster.instances
    )
    return {
        **{name: group.spec[name] for name in GROUP_AS_REQUESTED if name in group.spec},
        "Id": group.id,
        "Market": "SPOT" if group.spot else "ON_DEMAND",
        "InstanceGroupType": group.role,
        "RequestedInstanceCount": group.on_demand + group.spot,
        "RunningInstanceCount": running,
        "Status": _group_status(cluster),
        "EbsOptimized": group.spec.get("EbsConfiguration", {}).get("EbsOptimized"),
        "ShrinkPolicy": {},
    }


def fleet_shape(cluster: Cluster, group: InstanceGroup) -> dict[str, Any]:
    up = cluster.ready is not None and cluster.state not in ENDED_CLUSTER
    types = []
    for config in group.spec["InstanceTypeConfigs"]:
        shown = {name: value for name, value in config.items() if name != "EbsConfiguration"}
        types.append({**shown, "WeightedCapacity": config.get("WeightedCapacity", 1)})
    return {
        "Id": group.id,
        "Name": group.spec.get("Name"),
        "InstanceFleetType": group.role,
        "TargetOnDemandCapacity": group.on_demand,
        "TargetSpotCapacity": group.spot,
        "ProvisionedOnDemandCapacity": group.on_demand if up else 0,
        "ProvisionedSpotCapacity": group.spot if up else 0,
        "Status": _group_status(cluster),
        "InstanceTypeSpecifications": types,
        "LaunchSpecifications": group.spec.get("LaunchSpecifications"),
        "ResizeSpecifications": group.spec.get("ResizeSpecifications"),
    }


def _group_status(cluster: Cluster) -> dict[str, Any]:
    states = {ClusterState.STARTING: "PROVISIONING", ClusterState.BOOTSTRAPPING: "BOOTSTRAPPING"}
    state = "TERMINATED" if cluster.state in ENDED_CLUSTER else states.get(cluster.state, "RUNNING")
    if cluster.state is ClusterState.TERMINATING:
        state = "TERMINATING"
    reason = {"Code": "CLUSTER_TERMINATED", "Message": "Job flow terminated"} if state.startswith("TERM") else {}
    return {
        "State": state,
        "StateChangeReason": reason,
        "Timeline": timeline(cluster.created, ready=cluster.ready, ended=cluster.ended),
    }


def timeline(
    created: float, *, started: float | None = None, ready: float | None = None, ended: float | None = None
) -> dict[str, float | None]:
    return {"CreationDateTime": created, "StartDateTime": started, "ReadyDateTime": ready, "EndDateTime": ended}


def _dns_name(instance: Instance) -> str:
    return f"ec2-{instance.address.replace('.', '-')}.compute-1.amazonaws.com"
