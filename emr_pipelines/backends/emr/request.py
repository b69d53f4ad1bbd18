"""A cluster's description in AWS's words: what RunJobFlow is asked. Pure; it changes nothing that it is given.

Source of every name: Amazon EMR API Reference, RunJobFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from emr_pipelines.aws.objects import split_uri
from emr_pipelines.backends.description import merged
from emr_pipelines.backends.emr.fields import ClusterFields
from emr_pipelines.backends.emr.parts import Configuration, Fleet, Group, Volume
from emr_pipelines.backends.tags import MAX_TAGS, check_tags
from emr_pipelines.errors import InvalidValue

ROLES = {"primary": "MASTER", "core": "CORE", "task": "TASK"}
MAX_NAME_CHARACTERS = 256
MAX_NUMBER = 2**63
CLOUDWATCH_AGENT = "AmazonCloudWatchAgent"  # it carries the logs, and EMR installs it only when asked

# the members that `extra` must not set, and why
NOT_IN_EXTRA = {
    "Name": "the launcher finds a cluster again by its name",
    "LogUri": "the launcher says where logs go, and reads them there",
    "Steps": "steps are added when the cluster is launched",
    "StepExecutionRoleArn": "it is for steps within this request only; runtime_role is for those that are added",
    "Tags": "they would replace those that orphans are found by; tags adds to them",
    "AutoTerminationPolicy": "a forgotten cluster would not end; idle_timeout_seconds says when it does",
    "Configurations": "they would replace those that programs run by; configurations adds to them",
    "Instances.KeepJobFlowAliveWhenNoSteps": "a cluster that ends with its last step cannot be shared",
    "Instances.TerminationProtected": "a protected cluster cannot be ended",
    "Instances.MasterInstanceType": "primary says it",
    "Instances.SlaveInstanceType": "core and task say it",
    "Instances.InstanceCount": "core and task say it",
}


def render(spec: ClusterFields, name: str, log_uri: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """As ClusterSpec.request says. Raises InvalidValue."""
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidValue("The cluster's name", name, f"1 to {MAX_NAME_CHARACTERS} characters")
    split_uri(log_uri)
    all_tags = {**spec.tags, **tags}
    check_tags(all_tags, MAX_TAGS)
    applications = list(spec.applications)
    if spec.cloudwatch_logs and CLOUDWATCH_AGENT.lower() not in map(str.lower, applications):
        applications.append(CLOUDWATCH_AGENT)
    request = {
        "Name": name,
        "LogUri": log_uri,
        "ReleaseLabel": spec.release_label,
        "Applications": [{"Name": application} for application in applications],
        "Instances": _instances(spec),
        "Configurations": _configurations(spec),
        "ServiceRole": spec.service_role,
        "JobFlowRole": spec.instance_profile,
        "VisibleToAllUsers": True,
        "AutoTerminationPolicy": {"IdleTimeout": spec.idle_timeout_seconds},
        "StepConcurrencyLevel": spec.step_concurrency,
        "Tags": [{"Key": key, "Value": all_tags[key]} for key in sorted(all_tags)],
        **_given(
            BootstrapActions=[
                {"Name": action.name, "ScriptBootstrapAction": {"Path": action.path, **_given(Args=list(action.args))}}
                for action in spec.bootstrap_actions
            ],
            ManagedScalingPolicy=_scaling(spec),
            SecurityConfiguration=spec.security_configuration,
            EbsRootVolumeSize=spec.root_volume_gib,
            CustomAmiId=spec.custom_ami_id,
            MonitoringConfiguration=_monitoring(spec),
        ),
    }
    return merged(request, spec.extra)


def instance_types(spec: ClusterFields) -> list[str]:
    """Every instance type that the request names, once, in order."""
    return sorted(set(_values("InstanceType", merged(_instances(spec), _extra_instances(spec)))))


def check_extra(spec: ClusterFields) -> None:
    """Raise InvalidValue if `extra` would prevent launching, finding or terminating a cluster."""
    for number in _numbers(spec.extra):
        if not abs(number) < MAX_NUMBER:
            raise InvalidValue("A number in extra", number, "those that fit into 64 bits")
    instances = _extra_instances(spec)
    given = {**spec.extra, **{f"Instances.{name}": value for name, value in instances.items()}}
    other = "InstanceGroups" if spec.fleets else "InstanceFleets"
    refused = {**NOT_IN_EXTRA, f"Instances.{other}": "a cluster has groups or fleets, not both"}
    for name, value in given.items():
        if name in refused:
            raise InvalidValue(f"extra.{name}", value, f"nothing: {refused[name]}")


def _extra_instances(spec: ClusterFields) -> dict[str, Any]:
    instances = spec.extra.get("Instances", {})
    if not isinstance(instances, dict):
        raise InvalidValue("extra.Instances", instances, "a mapping")
    return instances


def _values(key: str, within: object) -> Iterator[str]:
    """What is a text under this key, however deep."""
    if isinstance(within, dict):
        if isinstance(found := within.get(key), str):
            yield found
        within = list(within.values())
    if isinstance(within, list):
        for part in within:
            yield from _values(key, part)


def _numbers(within: object) -> Iterator[float]:
    """All numbers, however deep."""
    if isinstance(within, (dict, list)):
        for part in within.values() if isinstance(within, dict) else within:
            yield from _numbers(part)
    elif isinstance(within, (int, float)):
        yield within


def _given(**members: Any) -> dict[str, Any]:
    """Those that have a value: AWS wants the others left out."""
    return {name: value for name, value in members.items() if value is not None and value not in ([], {}, "")}


def _instances(spec: ClusterFields) -> dict[str, Any]:
    groups = spec.security_groups
    placed: dict[str, Any]
    if spec.fleets:
        fleets = [(role, getattr(spec.fleets, role)) for role in ROLES]
        placed = {"InstanceFleets": [_fleet(role, fleet) for role, fleet in fleets if fleet]}
        placed |= _given(Ec2SubnetIds=list(spec.subnets))
    else:
        placed = {"InstanceGroups": [_group(role, found) for role in ROLES if (found := getattr(spec, role))]}
        placed |= _given(Ec2SubnetId="".join(spec.subnets))
    return {
        **placed,
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
        **_given(
            Ec2KeyName=spec.key_name,
            EmrManagedMasterSecurityGroup=groups.primary,
            EmrManagedSlaveSecurityGroup=groups.core,
            ServiceAccessSecurityGroup=groups.service_access,
            AdditionalMasterSecurityGroups=list(groups.additional_primary),
            AdditionalSlaveSecurityGroups=list(groups.additional_core),
        ),
    }


def _group(role: str, group: Group) -> dict[str, Any]:
    return {
        "Name": role,
        "InstanceRole": ROLES[role],
        "InstanceType": group.type,
        "InstanceCount": group.count,
        "Market": group.market.upper(),
        **_given(BidPrice=_dollars(group.bid_price_usd), EbsConfiguration=_ebs(group.volumes)),
    }


def _fleet(role: str, fleet: Fleet) -> dict[str, Any]:
    launch: dict[str, Any] = {}
    if fleet.spot:
        launch["SpotSpecification"] = {
            "TimeoutDurationMinutes": fleet.spot_timeout_minutes,
            "TimeoutAction": fleet.spot_timeout_action,
            **_given(AllocationStrategy=fleet.allocation_strategy),
        }
    if fleet.on_demand and fleet.on_demand_strategy:
        launch["OnDemandSpecification"] = {"AllocationStrategy": fleet.on_demand_strategy}
    return {
        "Name": role,
        "InstanceFleetType": ROLES[role],
        "TargetOnDemandCapacity": fleet.on_demand,
        "TargetSpotCapacity": fleet.spot,
        "InstanceTypeConfigs": [
            {
                "InstanceType": found.type,
                "WeightedCapacity": found.weight,
                **_given(Priority=found.priority, EbsConfiguration=_ebs(found.volumes)),
            }
            for found in fleet.types
        ],
        **_given(LaunchSpecifications=launch),
    }


def _dollars(amount: float | None) -> str | None:
    return None if amount is None else format(Decimal(str(amount)), "f")  # never 1e-05


def _ebs(volumes: Sequence[Volume]) -> dict[str, Any]:
    devices = [
        {
            "VolumeSpecification": {
                "VolumeType": volume.type,
                "SizeInGB": volume.size_gib,
                **_given(Iops=volume.iops, Throughput=volume.throughput_mib_s),
            },
            "VolumesPerInstance": volume.per_instance,
        }
        for volume in volumes
    ]
    return {"EbsBlockDeviceConfigs": devices} if devices else {}


def _configurations(spec: ClusterFields) -> list[dict[str, Any]]:
    """Return the description's configurations, with the Python of programs. EMR allows a classification only once."""
    runs_on = {
        "spark.pyspark.python": spec.python,
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON": spec.python,  # the driver's, in cluster mode
        "spark.executorEnv.PYSPARK_PYTHON": spec.python,
    }
    defaults: dict[str, Any] = {"Classification": "spark-defaults", "Properties": runs_on}
    named = {found["Classification"]: found for found in map(_configuration, spec.configurations)}
    named["spark-defaults"] = merged(defaults, named.get("spark-defaults", {}))
    return [named[name] for name in sorted(named)]


def _configuration(configuration: Configuration) -> dict[str, Any]:
    nested = [_configuration(found) for found in configuration.configurations]
    return {
        "Classification": configuration.classification,
        "Properties": dict(configuration.properties),
        **_given(Configurations=nested),
    }


def _scaling(spec: ClusterFields) -> dict[str, Any]:
    scaling = spec.managed_scaling
    if scaling is None:
        return {}
    limits = {
        "UnitType": scaling.unit or ("InstanceFleetUnits" if spec.fleets else "Instances"),
        "MinimumCapacityUnits": scaling.minimum,
        "MaximumCapacityUnits": scaling.maximum,
        **_given(MaximumOnDemandCapacityUnits=scaling.maximum_on_demand, MaximumCoreCapacityUnits=scaling.maximum_core),
    }
    return {"ComputeLimits": limits}


def _monitoring(spec: ClusterFields) -> dict[str, Any]:
    logs = spec.cloudwatch_logs
    if logs is None:
        return {}
    to_cloudwatch = {
        "Enabled": True,
        **_given(
            LogGroupName=logs.log_group,
            LogStreamNamePrefix=logs.stream_prefix,
            EncryptionKeyArn=logs.encryption_key_arn,
            LogTypes={kind: list(files) for kind, files in logs.log_types.items()},
        ),
    }
    return {"CloudWatchLogConfiguration": to_cloudwatch}
