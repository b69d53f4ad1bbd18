"""ClusterSpec and the emulator agree: both refuse, or both accept, the same cluster."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rehearsal import REQUEST, Rehearsal, step

from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.tags import tag_value
from emr_pipelines.errors import InvalidValue

ROLE = "arn:aws:iam::111122223333:role/steps"
XLARGE = {"type": "m5.xlarge"}
CORE_FLEET = {
    "InstanceFleetType": "CORE",
    "TargetOnDemandCapacity": 2,
    "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
}
PRIMARY_FLEET = {**CORE_FLEET, "InstanceFleetType": "MASTER", "TargetOnDemandCapacity": 1}
TWICE = [{"InstanceType": "m5.xlarge"}, {"InstanceType": "m5.xlarge"}]
NO_STRATEGY = {"allocation_strategy": None, "on_demand_strategy": None}
FLEETS = {"primary": {"types": ["m5.xlarge"], "on_demand": 1}, "core": {"types": ["m5.xlarge"], "on_demand": 2}}


def groups(**core: Any) -> dict[str, Any]:
    primary, workers = copy.deepcopy(REQUEST["Instances"]["InstanceGroups"])
    return {"InstanceGroups": [primary, {**workers, **core}]}


def volume(**specification: Any) -> dict[str, Any]:
    device = {"VolumeSpecification": {"VolumeType": "gp2", "SizeInGB": 10, **specification}}
    return groups(EbsConfiguration={"EbsBlockDeviceConfigs": [device]})


def scaling(unit: str = "Instances", **limits: int) -> dict[str, Any]:
    given = {"UnitType": unit, "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 4, **limits}
    return {"ComputeLimits": given}


def tags(**given: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in given.items()]


def fleets(*given: dict[str, Any]) -> dict[str, Any]:
    return {"InstanceGroups": None, "InstanceFleets": list(given)}


# the cluster's setting | the same in RunJobFlow | ClusterSpec's message | the emulator's message
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "tag begins with aws:": ({"tags": {"aws:x": "1"}}, {"Tags": tags(**{"aws:x": "1"})}, "begin with aws:", "reserved"),
    "tag begins with AWS:": ({"tags": {"AWS:x": "1"}}, {"Tags": tags(**{"AWS:x": "1"})}, "begin with aws:", "reserved"),
    "tag value begins with aws:": ({"tags": {"x": "aws:1"}}, {"Tags": tags(x="aws:1")}, "begin with aws:", "reserved"),
    "tag with a comma": ({"tags": {"x": "a,b"}}, {"Tags": tags(x="a,b")}, "letters, digits", "letters, digits"),
    "tag without a key": ({"tags": {"": "1"}}, {"Tags": tags(**{"": "1"})}, "1 to 128", "1 to 128"),
    "tag key too long": ({"tags": {"k" * 129: "1"}}, {"Tags": tags(**{"k" * 129: "1"})}, "1 to 128", "1 to 128"),
    "tag value too long": ({"tags": {"k": "v" * 257}}, {"Tags": tags(k="v" * 257)}, "256 characters", "up to 256"),
    "51 tags": (
        {"tags": {f"k{number}": "" for number in range(51)}},
        {"Tags": tags(**{f"k{number}": "" for number in range(51)})},
        "number of tags",
        "at most 50 tags; these are 51",
    ),
    "classification twice": (
        {"configurations": [{"classification": "a"}, {"classification": "a"}]},
        {"Configurations": [{"Classification": "a"}, {"Classification": "a"}]},
        "each classification once",
        "Duplicate classification 'a'",
    ),
    "classification twice within another": (
        {"configurations": [{"classification": "a", "configurations": [{"classification": "b"}] * 2}]},
        {"Configurations": [{"Classification": "a", "Configurations": [{"Classification": "b"}] * 2}]},
        "each classification once",
        "Duplicate classification 'b'",
    ),
    "several subnets with groups": (
        {"subnets": ["subnet-1", "subnet-2"]},
        {"Instances": {"Ec2SubnetIds": ["subnet-1", "subnet-2"]}},
        "several with fleets",
        "instance fleet configuration only",
    ),
    "fleet units with groups": (
        {"managed_scaling": {"minimum": 1, "maximum": 4, "unit": "InstanceFleetUnits"}},
        {"ManagedScalingPolicy": scaling("InstanceFleetUnits")},
        "Instances or VCPU with groups",
        "Instances or VCPU with instance groups; it is InstanceFleetUnits",
    ),
    "instances with fleets": (
        {"fleets": FLEETS, "managed_scaling": {"minimum": 1, "maximum": 4, "unit": "Instances"}},
        {"ManagedScalingPolicy": scaling(), "Instances": fleets(PRIMARY_FLEET, CORE_FLEET)},
        "InstanceFleetUnits with fleets",
        "InstanceFleetUnits with instance fleets; it is Instances",
    ),
    "scaling below its minimum": (
        {"managed_scaling": {"minimum": 5, "maximum": 4}},
        {"ManagedScalingPolicy": scaling(MinimumCapacityUnits=5)},
        "at most maximum, which is 4",
        "must not be above MaximumCapacityUnits",
    ),
    "scaling with too much on demand": (
        {"managed_scaling": {"minimum": 1, "maximum": 4, "maximum_on_demand": 5}},
        {"ManagedScalingPolicy": scaling(MaximumOnDemandCapacityUnits=5)},
        "at most maximum, which is 4",
        r"MaximumOnDemandCapacityUnits \(5\) must not be above",
    ),
    "scaling with too much core": (
        {"managed_scaling": {"minimum": 1, "maximum": 4, "maximum_core": 5}},
        {"ManagedScalingPolicy": scaling(MaximumCoreCapacityUnits=5)},
        "at most maximum, which is 4",
        r"MaximumCoreCapacityUnits \(5\) must not be above",
    ),
    "scaling without core": (
        {"core": None, "managed_scaling": {"minimum": 1, "maximum": 4}},
        {
            "ManagedScalingPolicy": scaling(),
            "Instances": {"InstanceGroups": REQUEST["Instances"]["InstanceGroups"][:1]},
        },
        "instances that managed_scaling can make more or fewer",
        "needs a core instance group",
    ),
    "runtime role without a security configuration": (
        {"runtime_role": ROLE},
        {"StepExecutionRoleArn": ROLE, "Steps": [step()]},
        "the name of one that allows runtime_role",
        "needs a cluster with a security configuration",
    ),
    "runtime role of an old release": (
        {
            "runtime_role": ROLE,
            "security_configuration": "s",
            "release_label": "emr-6.6.0",
            "python": "/usr/bin/python3",
        },
        {"StepExecutionRoleArn": ROLE, "SecurityConfiguration": "s", "ReleaseLabel": "emr-6.6.0"},
        "emr-6.7.0 or later with runtime_role",
        "Runtime roles need emr-6.7.0 or later",
    ),
    "one security group of two": (
        {"security_groups": {"primary": "sg-1"}},
        {"Instances": {"EmrManagedMasterSecurityGroup": "sg-1"}},
        "EMR wants primary and core together",
        "must be specified together; given: EmrManagedMasterSecurityGroup",
    ),
    "throughput of gp2": (
        {"core": {**XLARGE, "volumes": [{"size_gib": 10, "type": "gp2", "throughput_mib_s": 125}]}},
        {"Instances": volume(Throughput=125)},
        "nothing but with type gp3",
        "valid only for gp3 volumes, not gp2",
    ),
    "a type of volume that EBS has not": (
        {"core": {**XLARGE, "volumes": [{"size_gib": 10, "type": "ssd"}]}},
        {"Instances": volume(VolumeType="ssd")},
        "'gp3', 'gp2'",
        "must be one of gp3, gp2",
    ),
    "an empty volume": (
        {"core": {**XLARGE, "volumes": [{"size_gib": 0}]}},
        {"Instances": volume(SizeInGB=0)},
        "1 or more",
        "SizeInGB must be 1 or more",
    ),
    "a small root volume": ({"root_volume_gib": 9}, {"EbsRootVolumeSize": 9}, "10 or more", "10 GiB or more"),
    "a bid on demand": (
        {"core": {**XLARGE, "bid_price_usd": 0.1}},
        {"Instances": groups(BidPrice="0.1", Market="ON_DEMAND")},
        "nothing but with market spot",
        "BidPrice is for SPOT instances",
    ),
    "task without core": (
        {"core": None, "task": XLARGE},
        {"Instances": groups(InstanceRole="TASK")},
        "a group, as there is a task group",
        "core instance group is required",
    ),
    "two primaries": (
        {"primary": {**XLARGE, "count": 2}},
        {
            "Instances": {
                "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 2}],
            }
        },
        "allowed: 1",
        "must have 1 or 3 instances, not 2",
    ),
    "an instance type twice in a fleet": (
        {"fleets": {**FLEETS, "core": {"types": ["m5.xlarge", "m5.xlarge"], "on_demand": 2}}},
        {"Instances": fleets(PRIMARY_FLEET, {**CORE_FLEET, "InstanceTypeConfigs": TWICE})},
        "each instance type once",
        "contains duplicate instance types",
    ),
    "six types without a strategy": (
        {
            "fleets": {
                **FLEETS,
                "core": {"types": [f"m{n}.xlarge" for n in range(6)], "on_demand": 2, **NO_STRATEGY},
            }
        },
        {
            "Instances": fleets(
                PRIMARY_FLEET,
                {**CORE_FLEET, "InstanceTypeConfigs": [{"InstanceType": f"m{n}.xlarge"} for n in range(6)]},
            )
        },
        "5 or fewer",
        "has 6 instance types",
    ),
    "an empty core fleet": (
        {"fleets": {**FLEETS, "core": {"types": ["m5.xlarge"]}}},
        {"Instances": fleets(PRIMARY_FLEET, {**CORE_FLEET, "TargetOnDemandCapacity": 0})},
        "1 or more, of on_demand and spot",
        "CORE fleet needs a TargetOnDemandCapacity",
    ),
    "a primary that counts twice": (
        {"fleets": {**FLEETS, "primary": {"types": [{"type": "m5.xlarge", "weight": 2}], "on_demand": 1}}},
        {
            "Instances": fleets(
                {**PRIMARY_FLEET, "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 2}]},
                CORE_FLEET,
            )
        },
        "primary.types.weight",
        "WeightedCapacity of the MASTER fleet must be 1",
    ),
    "a worker that counts nothing": (
        {"fleets": {**FLEETS, "core": {"types": [{"type": "m5.xlarge", "weight": 0}], "on_demand": 1}}},
        {
            "Instances": fleets(
                PRIMARY_FLEET,
                {**CORE_FLEET, "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge", "WeightedCapacity": 0}]},
            )
        },
        "1 or more",
        "WeightedCapacity of the CORE fleet must be 1 or more",
    ),
    "a short wait for spot": (
        {"fleets": {**FLEETS, "core": {"types": ["m5.xlarge"], "spot": 1, "spot_timeout_minutes": 4}}},
        {
            "Instances": fleets(
                PRIMARY_FLEET,
                {
                    **CORE_FLEET,
                    "TargetSpotCapacity": 1,
                    "LaunchSpecifications": {
                        "SpotSpecification": {"TimeoutDurationMinutes": 4, "TimeoutAction": "TERMINATE_CLUSTER"}
                    },
                },
            )
        },
        "5 or more",
        "must be 5 to 1440; it is 4",
    ),
    "17 bootstrap actions": (
        {"bootstrap_actions": [{"name": "b", "path": "s3://b/b.sh"}] * 17},
        {"BootstrapActions": [{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://b/b.sh"}}] * 17},
        "16 or fewer",
        "at most 16 bootstrap actions",
    ),
    "a short idle timeout": (
        {"idle_timeout_seconds": 59},
        {"AutoTerminationPolicy": {"IdleTimeout": 59}},
        "60 or more",
        "must be 60 to 604800 seconds",
    ),
    "an idle timeout of an old release": (
        {"release_label": "emr-5.29.0"},
        {"ReleaseLabel": "emr-5.29.0", "AutoTerminationPolicy": {"IdleTimeout": 900}},
        "cannot end themselves when idle",
        "need emr-5.30.0, emr-6.1.0 or later",
    ),
    "257 steps at once": (
        {"step_concurrency": 257},
        {"StepConcurrencyLevel": 257},
        "256 or less",
        "must be 1 to 256; it is 257",
    ),
    "CloudWatch logs of an old release": (
        {"cloudwatch_logs": {}, "release_label": "emr-7.10.0"},
        {"MonitoringConfiguration": {"CloudWatchLogConfiguration": {"Enabled": True}}},
        "emr-7.11.0 or later with cloudwatch_logs",
        "CloudWatch logs need emr-7.11.0 or later",
    ),
    "a label without a form": (
        {"release_label": "7.10.0"},
        {"ReleaseLabel": "7.10.0"},
        "emr-7.14.0 or emr-spark-8.1.0",
        "release label is invalid: 7.10.0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_emr_refuses_both_refuse(rehearsal: Rehearsal, name: str) -> None:
    told, changes, description_says, emulator_says = REFUSED[name]
    with pytest.raises(InvalidValue, match=description_says):
        ClusterSpec.parse(told)
    request = copy.deepcopy(REQUEST)
    changes = copy.deepcopy(changes)
    request["Instances"] |= changes.pop("Instances", {})
    request["Instances"] = {member: value for member, value in request["Instances"].items() if value is not None}
    with pytest.raises(ClientError, match=emulator_says) as caught:
        rehearsal.emr.run_job_flow(**{**request, **changes})
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert rehearsal.emulator.clusters() == []


# what a ClusterSpec cannot express, or only in `extra`
REFUSED_BY_THE_EMULATOR: dict[str, tuple[dict[str, Any], str]] = {
    "a tag's key twice": ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys"),
    "Kerberos without a security configuration": (
        {"KerberosAttributes": {"Realm": "EC2.INTERNAL", "KdcAdminPassword": "p"}},
        "KerberosAttributes need a SecurityConfiguration",
    ),
    "classification twice in a group": (
        {"Instances": groups(Configurations=[{"Classification": "a"}] * 2)},
        "Duplicate classification 'a'",
    ),
}


@pytest.mark.parametrize("name", REFUSED_BY_THE_EMULATOR)
def test_what_only_a_request_can_say(rehearsal: Rehearsal, name: str) -> None:
    changes, says = copy.deepcopy(REFUSED_BY_THE_EMULATOR[name])
    request = copy.deepcopy(REQUEST)
    request["Instances"] |= changes.pop("Instances", {})
    with pytest.raises(ClientError, match=says) as caught:
        rehearsal.emr.run_job_flow(**{**request, **changes})
    assert caught.value.response["Error"]["Code"] == "ValidationException"


ALLOWED: dict[str, dict[str, Any]] = {
    "the default": {},
    "small": {"preset": "small"},
    "spot": {"preset": "spot"},
    "large": {"preset": "large"},
    "one machine": {"core": None},
    "task instances": {"task": {**XLARGE, "count": 3, "market": "spot", "bid_price_usd": 0.1}},
    "fleets in several subnets": {"fleets": FLEETS, "subnets": ["subnet-1", "subnet-2"]},
    "fleets that scale": {"fleets": FLEETS, "managed_scaling": {"minimum": 1, "maximum": 4, "maximum_core": 2}},
    "30 types": {"fleets": {**FLEETS, "core": {"types": [f"m{n}.xlarge" for n in range(30)], "spot": 2}}},
    "groups that scale by cores": {"managed_scaling": {"minimum": 1, "maximum": 4, "unit": "VCPU"}},
    "a runtime role": {"runtime_role": ROLE, "security_configuration": "s"},
    "volumes": {
        "core": {**XLARGE, "volumes": [{"size_gib": 1, "throughput_mib_s": 125}, {"size_gib": 9, "type": "st1"}]}
    },
    "44 tags": {"tags": {f"k{number}": "v" * 256 for number in range(44)}},
    "odd tags": {"tags": {"Kosten-Stelle_1.a:b/c=d+e@f": "für Übung 7 "}},
    "nested configurations": {
        "configurations": {"spark-env": {"export": {"A": "b"}}, "spark-defaults": {"spark.x": "1"}}
    },
    "security groups": {"security_groups": {"primary": "sg-1", "core": "sg-2", "service_access": "sg-3"}},
    "an old release": {"release_label": "emr-5.36.2", "python": "/usr/bin/python3"},
    "logs to CloudWatch": {"cloudwatch_logs": {}, "release_label": "emr-7.12.0"},
    "a root volume": {"root_volume_gib": 10, "custom_ami_id": "ami-1", "key_name": "k"},
    "16 bootstrap actions": {"bootstrap_actions": [{"name": "b", "path": "s3://b/b.sh", "args": ["1"]}] * 16},
    "256 steps at once": {"step_concurrency": 256, "idle_timeout_seconds": 604_800},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_description_allows_the_emulator_accepts(rehearsal: Rehearsal, name: str) -> None:
    request = ClusterSpec.parse(ALLOWED[name]).request("test", "s3://logs/", {"ours": "1"})
    cluster_id = rehearsal.emr.run_job_flow(**request)["JobFlowId"]
    assert rehearsal.state(cluster_id) == "STARTING"


def test_a_runtime_role_of_steps_that_are_added(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch()
    with pytest.raises(ClientError, match="needs a cluster with a security configuration"):
        rehearsal.emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step()], ExecutionRoleArn=ROLE)
    secured = rehearsal.launch(SecurityConfiguration="s")
    rehearsal.emr.add_job_flow_steps(JobFlowId=secured, Steps=[step()], ExecutionRoleArn=ROLE)
    assert len(rehearsal.steps(secured)) == 1


def test_tags_that_are_added(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(Tags=tags(**{f"k{number}": "" for number in range(49)}))
    rehearsal.emr.add_tags(ResourceId=cluster_id, Tags=tags(k0="again", k49="new"))
    for given, says in ((tags(k50=""), "at most 50 tags; these are 51"), (tags(**{"aws:x": ""}), "reserved")):
        with pytest.raises(ClientError, match=says) as caught:
            rehearsal.emr.add_tags(ResourceId=cluster_id, Tags=given)
        assert caught.value.response["Error"]["Code"] == "InvalidRequestException"
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(1000)
    with pytest.raises(ClientError, match="terminated cluster"):
        rehearsal.emr.add_tags(ResourceId=cluster_id, Tags=tags(k0="late"))
    with pytest.raises(ClientError, match="terminated cluster"):
        rehearsal.emr.remove_tags(ResourceId=cluster_id, TagKeys=["k0"])


def test_managed_scaling_that_is_changed(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch()
    with pytest.raises(ClientError, match="Instances or VCPU with instance groups"):
        rehearsal.emr.put_managed_scaling_policy(
            ClusterId=cluster_id, ManagedScalingPolicy=scaling("InstanceFleetUnits")
        )


@pytest.mark.parametrize(
    ("label", "value"),
    [("a,b/c", "a b/c"), ("day[2026-01-01|x]", "day 2026-01-01 x "), ("é" * 300, "é" * 256), ("", "")],
)
def test_our_own_tags(rehearsal: Rehearsal, label: str, value: str) -> None:
    """The tag with the deployment satisfies EMR's rules."""
    assert tag_value(label) == value
    cluster_id = rehearsal.launch(Tags=tags(asset=tag_value(label)))
    found = rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Tags"]
    assert found == [{"Key": "asset", "Value": value}]
