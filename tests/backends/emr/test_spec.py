"""A cluster's description: its request to EMR, and what is refused beforehand."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import boto3
import botocore.session
import dagster as dg
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from emr_emulator import Emulator, ManualClock
from emr_pipelines.backends.description import merged
from emr_pipelines.backends.emr import parts as parts_room
from emr_pipelines.backends.emr import spec as spec_room
from emr_pipelines.backends.emr.request import NOT_IN_EXTRA
from emr_pipelines.backends.emr.spec import (
    BootstrapAction,
    CloudWatchLogs,
    ClusterSpec,
    Fleet,
    Fleets,
    FleetType,
    Group,
    ManagedScaling,
    SecurityGroups,
    Volume,
)
from emr_pipelines.errors import InvalidValue
from emr_pipelines.spark_lines import default_label

PYTHON_PROPERTIES = {
    "spark.pyspark.python": "/usr/bin/python3.11",
    "spark.yarn.appMasterEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
    "spark.executorEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
}
DEFAULT_REQUEST: dict[str, Any] = {
    "Name": "nightly",
    "LogUri": "s3://bucket/logs",
    "ReleaseLabel": default_label(),
    "Applications": [{"Name": "Spark"}],
    "Instances": {
        "InstanceGroups": [
            {
                "Name": "primary",
                "InstanceRole": "MASTER",
                "InstanceType": "m5.xlarge",
                "InstanceCount": 1,
                "Market": "ON_DEMAND",
            },
            {
                "Name": "core",
                "InstanceRole": "CORE",
                "InstanceType": "m5.xlarge",
                "InstanceCount": 2,
                "Market": "ON_DEMAND",
            },
        ],
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    },
    "Configurations": [{"Classification": "spark-defaults", "Properties": PYTHON_PROPERTIES}],
    "ServiceRole": "EMR_DefaultRole",
    "JobFlowRole": "EMR_EC2_DefaultRole",
    "VisibleToAllUsers": True,
    "AutoTerminationPolicy": {"IdleTimeout": 900},
    "StepConcurrencyLevel": 1,
    "Tags": [{"Key": "run", "Value": "42"}],
}
WITH_GROUPS = ClusterSpec(
    release_label="emr-7.11.0",
    applications=("Spark", "Hive"),
    primary=Group(type="m7g.xlarge"),
    core=Group(
        type="r7g.2xlarge",
        count=3,
        volumes=(
            Volume(size_gib=200, iops=4000, throughput_mib_s=250, per_instance=2),
            Volume(size_gib=50, type="gp2"),
        ),
    ),
    task=Group(type="c7gn.4xlarge", count=8, market="spot", bid_price_usd=0.00005),
    managed_scaling=ManagedScaling(minimum=3, maximum=20, maximum_on_demand=0, maximum_core=5),
    configurations={
        "yarn-site": {"yarn.nodemanager.vmem-check-enabled": False, "yarn.log-aggregation.retain-seconds": 3600},
        "spark-defaults": {"spark.executor.memoryOverheadFactor": 0.2, "spark.pyspark.python": "/opt/python"},
        "hadoop-env": {"export": {"HADOOP_HEAPSIZE": 2048}},
    },
    bootstrap_actions=(
        BootstrapAction(name="packages", path="s3://bucket/setup.sh", args=("--quiet", "numpy")),
        BootstrapAction(name="bare", path="s3://bucket/bare.sh"),
    ),
    subnets=("subnet-1a",),
    security_groups=SecurityGroups(
        primary="sg-1", core="sg-2", service_access="sg-3", additional_primary=("sg-4",), additional_core=("sg-5",)
    ),
    service_role="arn:aws:iam::123456789012:role/emr",
    instance_profile="nodes",
    runtime_role="arn:aws:iam::123456789012:role/steps",
    security_configuration="locked",
    root_volume_gib=40,
    custom_ami_id="ami-0abc",
    key_name="pair",
    tags={"team": "data", "run": "theirs"},
    idle_timeout_seconds=60,
    step_concurrency=4,
    cloudwatch_logs=CloudWatchLogs(
        log_group="group",
        stream_prefix="emr",
        encryption_key_arn="arn:aws:kms:x",
        log_types={"SPARK_DRIVER": ("STDERR",)},
    ),
    extra={"AdditionalInfo": "{}", "AutoScalingRole": "scale", "Instances": {"UnhealthyNodeReplacement": True}},
)
GROUPS_REQUEST: dict[str, Any] = {
    "Name": "nightly",
    "LogUri": "s3://bucket/logs",
    "ReleaseLabel": "emr-7.11.0",
    "Applications": [{"Name": "Spark"}, {"Name": "Hive"}, {"Name": "AmazonCloudWatchAgent"}],
    "Instances": {
        "InstanceGroups": [
            {
                "Name": "primary",
                "InstanceRole": "MASTER",
                "InstanceType": "m7g.xlarge",
                "InstanceCount": 1,
                "Market": "ON_DEMAND",
            },
            {
                "Name": "core",
                "InstanceRole": "CORE",
                "InstanceType": "r7g.2xlarge",
                "InstanceCount": 3,
                "Market": "ON_DEMAND",
                "EbsConfiguration": {
                    "EbsBlockDeviceConfigs": [
                        {
                            "VolumeSpecification": {
                                "VolumeType": "gp3",
                                "SizeInGB": 200,
                                "Iops": 4000,
                                "Throughput": 250,
                            },
                            "VolumesPerInstance": 2,
                        },
                        {"VolumeSpecification": {"VolumeType": "gp2", "SizeInGB": 50}, "VolumesPerInstance": 1},
                    ]
                },
            },
            {
                "Name": "task",
                "InstanceRole": "TASK",
                "InstanceType": "c7gn.4xlarge",
                "InstanceCount": 8,
                "Market": "SPOT",
                "BidPrice": "0.00005",
            },
        ],
        "Ec2SubnetId": "subnet-1a",
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
        "Ec2KeyName": "pair",
        "EmrManagedMasterSecurityGroup": "sg-1",
        "EmrManagedSlaveSecurityGroup": "sg-2",
        "ServiceAccessSecurityGroup": "sg-3",
        "AdditionalMasterSecurityGroups": ["sg-4"],
        "AdditionalSlaveSecurityGroups": ["sg-5"],
        "UnhealthyNodeReplacement": True,
    },
    "Configurations": [
        {
            "Classification": "hadoop-env",
            "Properties": {},
            "Configurations": [{"Classification": "export", "Properties": {"HADOOP_HEAPSIZE": "2048"}}],
        },
        {
            "Classification": "spark-defaults",
            "Properties": {
                "spark.pyspark.python": "/opt/python",
                "spark.yarn.appMasterEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
                "spark.executorEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
                "spark.executor.memoryOverheadFactor": "0.2",
            },
        },
        {
            "Classification": "yarn-site",
            "Properties": {
                "yarn.nodemanager.vmem-check-enabled": "false",
                "yarn.log-aggregation.retain-seconds": "3600",
            },
        },
    ],
    "ServiceRole": "arn:aws:iam::123456789012:role/emr",
    "JobFlowRole": "nodes",
    "VisibleToAllUsers": True,
    "AutoTerminationPolicy": {"IdleTimeout": 60},
    "StepConcurrencyLevel": 4,
    "Tags": [{"Key": "run", "Value": "42"}, {"Key": "team", "Value": "data"}],
    "BootstrapActions": [
        {
            "Name": "packages",
            "ScriptBootstrapAction": {"Path": "s3://bucket/setup.sh", "Args": ["--quiet", "numpy"]},
        },
        {"Name": "bare", "ScriptBootstrapAction": {"Path": "s3://bucket/bare.sh"}},
    ],
    "ManagedScalingPolicy": {
        "ComputeLimits": {
            "UnitType": "Instances",
            "MinimumCapacityUnits": 3,
            "MaximumCapacityUnits": 20,
            "MaximumOnDemandCapacityUnits": 0,
            "MaximumCoreCapacityUnits": 5,
        }
    },
    "SecurityConfiguration": "locked",
    "EbsRootVolumeSize": 40,
    "CustomAmiId": "ami-0abc",
    "MonitoringConfiguration": {
        "CloudWatchLogConfiguration": {
            "Enabled": True,
            "LogGroupName": "group",
            "LogStreamNamePrefix": "emr",
            "EncryptionKeyArn": "arn:aws:kms:x",
            "LogTypes": {"SPARK_DRIVER": ["STDERR"]},
        }
    },
    "AdditionalInfo": "{}",
    "AutoScalingRole": "scale",
}
WITH_FLEETS = ClusterSpec(
    fleets=Fleets(
        primary=Fleet(types=("m5.xlarge", "m5a.xlarge"), on_demand=1),
        core=Fleet(
            types=(
                FleetType(type="r5.xlarge", weight=4),
                FleetType(type="r5.2xlarge", weight=8, volumes=(Volume(size_gib=64),)),
            ),
            on_demand=8,
            spot=16,
        ),
        task=Fleet(
            types=("c5.xlarge",),
            spot=4,
            spot_timeout_minutes=30,
            spot_timeout_action="TERMINATE_CLUSTER",
            allocation_strategy=None,
        ),
    ),
    managed_scaling=ManagedScaling(minimum=8, maximum=64),
    subnets=("subnet-1", "subnet-2"),
)
FLEETS_REQUEST: dict[str, Any] = {
    **DEFAULT_REQUEST,
    "Instances": {
        "InstanceFleets": [
            {
                "Name": "primary",
                "InstanceFleetType": "MASTER",
                "TargetOnDemandCapacity": 1,
                "TargetSpotCapacity": 0,
                "InstanceTypeConfigs": [
                    {"InstanceType": "m5.xlarge", "WeightedCapacity": 1},
                    {"InstanceType": "m5a.xlarge", "WeightedCapacity": 1},
                ],
                "LaunchSpecifications": {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}},
            },
            {
                "Name": "core",
                "InstanceFleetType": "CORE",
                "TargetOnDemandCapacity": 8,
                "TargetSpotCapacity": 16,
                "InstanceTypeConfigs": [
                    {"InstanceType": "r5.xlarge", "WeightedCapacity": 4},
                    {
                        "InstanceType": "r5.2xlarge",
                        "WeightedCapacity": 8,
                        "EbsConfiguration": {
                            "EbsBlockDeviceConfigs": [
                                {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 64}, "VolumesPerInstance": 1}
                            ]
                        },
                    },
                ],
                "LaunchSpecifications": {
                    "SpotSpecification": {
                        "TimeoutDurationMinutes": 10,
                        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                        "AllocationStrategy": "price-capacity-optimized",
                    },
                    "OnDemandSpecification": {"AllocationStrategy": "lowest-price"},
                },
            },
            {
                "Name": "task",
                "InstanceFleetType": "TASK",
                "TargetOnDemandCapacity": 0,
                "TargetSpotCapacity": 4,
                "InstanceTypeConfigs": [{"InstanceType": "c5.xlarge", "WeightedCapacity": 1}],
                "LaunchSpecifications": {
                    "SpotSpecification": {"TimeoutDurationMinutes": 30, "TimeoutAction": "TERMINATE_CLUSTER"}
                },
            },
        ],
        "Ec2SubnetIds": ["subnet-1", "subnet-2"],
        "KeepJobFlowAliveWhenNoSteps": True,
        "TerminationProtected": False,
    },
    "ManagedScalingPolicy": {
        "ComputeLimits": {
            "UnitType": "InstanceFleetUnits",
            "MinimumCapacityUnits": 8,
            "MaximumCapacityUnits": 64,
        }
    },
}
EVERY_KIND = [
    pytest.param(ClusterSpec(), DEFAULT_REQUEST, id="default"),
    pytest.param(WITH_GROUPS, GROUPS_REQUEST, id="groups"),
    pytest.param(WITH_FLEETS, FLEETS_REQUEST, id="fleets"),
]
every_kind = pytest.mark.parametrize(("spec", "expected"), EVERY_KIND)


def rendered(spec: ClusterSpec) -> dict[str, Any]:
    return spec.request("nightly", "s3://bucket/logs", {"run": "42"})


def spoil(value: Any) -> None:
    """Empty a value and everything in it."""
    if isinstance(value, (dict, list)):
        for part in list(value.values()) if isinstance(value, dict) else value:
            spoil(part)
        value.clear()


@pytest.fixture(scope="module")
def emr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lines: list[str] = []
    with Emulator(tmp_path_factory.mktemp("emulator"), clock=ManualClock(), say=lines.append) as emulator:
        yield boto3.session.Session().client(
            "emr",
            endpoint_url=emulator.url,
            region_name="us-east-1",
            aws_access_key_id="emulator",
            aws_secret_access_key="emulator",  # noqa: S106 (any will do)
        )


@every_kind
def test_what_emr_is_asked(spec: ClusterSpec, expected: dict[str, Any]) -> None:
    assert rendered(spec) == expected


@every_kind
def test_the_request_fits_the_model_of_aws(spec: ClusterSpec, expected: dict[str, Any]) -> None:  # noqa: ARG001
    shape = botocore.session.get_session().get_service_model("emr").operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(rendered(spec), shape)
    assert not report.has_errors(), report.generate_report()


@every_kind
def test_the_emulator_launches_it(emr: Any, spec: ClusterSpec, expected: dict[str, Any]) -> None:
    cluster_id = emr.run_job_flow(**rendered(spec))["JobFlowId"]
    cluster = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
    assert (cluster["Name"], cluster["AutoTerminate"], cluster["TerminationProtected"]) == ("nightly", False, False)
    assert cluster["Tags"] == expected["Tags"]
    policy = emr.get_auto_termination_policy(ClusterId=cluster_id)["AutoTerminationPolicy"]
    assert policy == expected["AutoTerminationPolicy"]
    emr.terminate_job_flows(JobFlowIds=[cluster_id])


@pytest.mark.parametrize("exclude_defaults", [False, True])
@pytest.mark.parametrize("spec", [ClusterSpec(), ClusterSpec(core=None), WITH_GROUPS, WITH_FLEETS])
def test_it_survives_being_json(spec: ClusterSpec, exclude_defaults: bool) -> None:
    carried = json.loads(json.dumps(spec.model_dump(mode="json", exclude_defaults=exclude_defaults)))
    again = ClusterSpec.model_validate(carried)
    assert again == spec
    assert again == ClusterSpec.parse(carried)
    assert rendered(again) == rendered(spec)
    assert again.digest == spec.digest


@every_kind
def test_a_request_is_new_each_time(spec: ClusterSpec, expected: dict[str, Any]) -> None:
    tags = {"run": "42"}
    first = spec.request("nightly", "s3://bucket/logs", tags)
    spoil(first)
    assert spec.request("nightly", "s3://bucket/logs", tags) == expected
    assert tags == {"run": "42"}


def test_what_the_caller_wrote_is_neither_changed_nor_kept() -> None:
    written: dict[str, Any] = {
        "core": {"type": "m5.xlarge", "count": 4},
        "configurations": [{"Classification": "spark-defaults", "Properties": {"spark.ui.enabled": False}}],
        "tags": {"team": "data"},
        "extra": {"Instances": {"Placement": {"AvailabilityZone": "us-east-1a"}}, "PlacementGroupConfigs": [{}]},
    }
    before = copy.deepcopy(written)
    spec = ClusterSpec.parse(written)
    request = rendered(spec)
    assert written == before
    written["extra"]["Instances"]["Placement"]["AvailabilityZone"] = "elsewhere"
    written["extra"]["PlacementGroupConfigs"][0]["InstanceRole"] = "MASTER"
    written["configurations"][0]["Properties"]["spark.ui.enabled"] = True
    written["tags"]["team"] = "other"
    assert rendered(spec) == request


def test_plain_mappings_of_any_kind_say_the_same_as_python() -> None:
    written = MappingProxyType(
        {
            "core": MappingProxyType({"type": "m5.xlarge", "count": "3", "market": "spot"}),
            "bootstrap_actions": [MappingProxyType({"name": "a", "path": "s3://b/a.sh"})],
        }
    )
    assert ClusterSpec.parse(written) == ClusterSpec(
        core=Group(type="m5.xlarge", count=3, market="spot"),
        bootstrap_actions=[BootstrapAction(name="a", path="s3://b/a.sh")],
    )


def test_configurations_short_and_as_emr_writes_them_are_one() -> None:
    short = {"spark-env": {"export": {"A": "1"}}, "spark": {"maximizeResourceAllocation": True}}
    long = [
        {"Classification": "spark", "Properties": {"maximizeResourceAllocation": "true"}},
        {
            "Classification": "spark-env",
            "Properties": {},
            "Configurations": [{"Classification": "export", "Properties": {"A": "1"}, "Configurations": []}],
        },
    ]
    one, other = ClusterSpec(configurations=short), ClusterSpec(configurations=long)
    assert rendered(one)["Configurations"] == rendered(other)["Configurations"]
    assert one.digest == other.digest
    assert rendered(one)["Configurations"] == [
        {"Classification": "spark", "Properties": {"maximizeResourceAllocation": "true"}},
        {"Classification": "spark-defaults", "Properties": PYTHON_PROPERTIES},
        {
            "Classification": "spark-env",
            "Properties": {},
            "Configurations": [{"Classification": "export", "Properties": {"A": "1"}}],
        },
    ]


def test_one_machine_is_a_cluster() -> None:
    instances = rendered(ClusterSpec(core=None))["Instances"]
    assert [group["InstanceRole"] for group in instances["InstanceGroups"]] == ["MASTER"]


def test_an_older_release_with_a_python_of_its_own() -> None:
    spec = ClusterSpec(release_label="emr-6.15.0", python="/opt/python3.12")
    properties = rendered(spec)["Configurations"][0]["Properties"]
    assert set(properties.values()) == {"/opt/python3.12"}


def test_thirty_types_with_a_strategy() -> None:
    types = tuple(f"m5.{size}xlarge" for size in range(2, 32))
    spec = ClusterSpec(fleets=Fleets(primary=Fleet(types=types, spot=1)))
    assert len(rendered(spec)["Instances"]["InstanceFleets"][0]["InstanceTypeConfigs"]) == 30


def test_extra_may_replace_what_is_nobodys_business() -> None:
    three = [{"InstanceRole": "MASTER", "InstanceType": "m6g.xlarge", "InstanceCount": 3}]
    spec = ClusterSpec(extra={"Instances": {"InstanceGroups": three}, "OSReleaseLabel": "2023.1"})
    request = rendered(spec)
    assert request["Instances"]["InstanceGroups"] == three
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True
    assert request["OSReleaseLabel"] == "2023.1"
    assert spec.architecture == "aarch64"


@pytest.mark.parametrize("name", NOT_IN_EXTRA)
def test_extra_leaves_alone_what_belongs_to_the_launcher(name: str) -> None:
    outer, _, inner = name.partition(".")
    with pytest.raises(InvalidValue) as caught:
        ClusterSpec.parse({"extra": {outer: {inner: 1} if inner else 1}})
    assert str(caught.value) == f"cluster.extra.{name} is 1; allowed: nothing: {NOT_IN_EXTRA[name]}."


def test_clusters_that_can_stand_in_for_each_other_have_one_digest() -> None:
    plain = ClusterSpec()
    assert (
        ClusterSpec.parse({"core": {"type": "m5.xlarge", "count": 2}, "idle_timeout_seconds": 900}).digest
        == plain.digest
    )
    secured = ClusterSpec(security_configuration="locked")
    with_role = ClusterSpec(security_configuration="locked", runtime_role="arn:aws:iam::123456789012:role/steps")
    assert with_role.digest == secured.digest
    others = [
        secured,
        WITH_GROUPS,
        WITH_FLEETS,
        ClusterSpec(tags={"team": "data"}),
        ClusterSpec(python="/opt/python"),
        ClusterSpec(idle_timeout_seconds=901),
        ClusterSpec(extra={"OSReleaseLabel": "2023.1"}),
    ]
    digests = [spec.digest for spec in (plain, *others)]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in digests)


def test_the_digest_is_the_same_in_another_process() -> None:
    code = "from emr_pipelines.backends.emr.spec import ClusterSpec; print(ClusterSpec(tags={'b': '', 'a': ''}).digest)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ClusterSpec(tags={"a": "", "b": ""}).digest


@pytest.mark.parametrize(
    ("architecture", "types"),
    [
        (
            "aarch64",
            (
                "a1.xlarge c6g.xlarge c7gn.4xlarge g5g.xlarge hpc7g.4xlarge i4g.large i8ge.large im4gn.large "
                "is4gen.large m6g.xlarge m7gd.metal r8g.48xlarge t4g.medium x2gd.large"
            ),
        ),
        (
            "x86_64",
            (
                "c5n.xlarge d3en.xlarge g4dn.xlarge g5.xlarge g6.xlarge g6e.xlarge gr6.4xlarge i3en.large m5.xlarge "
                "m6a.xlarge m7i-flex.large p4d.24xlarge r5dn.xlarge t3.medium u-6tb1.56xlarge x2iedn.xlarge z1d.large"
            ),
        ),
    ],
)
def test_architecture(architecture: str, types: str) -> None:
    for found in types.split():
        assert (found, ClusterSpec(primary=Group(type=found), core=None).architecture) == (found, architecture)


def test_architecture_of_fleets() -> None:
    fleet = Fleet(types=("m7g.xlarge", "m6g.xlarge"), on_demand=1)
    assert ClusterSpec(fleets=Fleets(primary=fleet, core=fleet)).architecture == "aarch64"


ONE = {"types": ["m5.xlarge"], "on_demand": 1}
SIX_TYPES = ["m5.xlarge", "m5.2xlarge", "m5.4xlarge", "r5.xlarge", "r5.2xlarge", "r5.4xlarge"]
REFUSED: list[tuple[Any, str]] = [
    # one value
    (3, "cluster is 3; allowed: a mapping."),
    ({"core": 3}, "cluster.core is 3; allowed: a mapping."),
    ({"core": {}}, "cluster.core.type is None; allowed: a value; it has no default."),
    ({"core": {"type": "m5.xlarge", "count": 0}}, "cluster.core.count is 0; allowed: 1 or more."),
    ({"core": {"type": "m5.xlarge", "count": "two"}}, "cluster.core.count is 'two'; allowed: a whole number."),
    ({"core": {"type": "m5.xlarge", "count": 1.5}}, "cluster.core.count is 1.5; allowed: a whole number."),
    ({"core": {"type": "m5"}}, "cluster.core.type is 'm5'; allowed: family.size, for instance m5.xlarge."),
    ({"core": {"type": "M5.big"}}, "cluster.core.type is 'M5.big'; allowed: family.size, for instance m5.xlarge."),
    (
        {"core": {"type": "m5.xlarge", "cuont": 2}},
        (
            "A field of cluster.core is 'cuont'; did you mean 'count'? "
            "Allowed: type, count, market, bid_price_usd, volumes."
        ),
    ),
    (
        {"core": {"type": "m5.xlarge", "market": "SPOT"}},
        "cluster.core.market is 'SPOT'; did you mean 'spot'? Allowed: 'on_demand' or 'spot'.",
    ),
    (
        {"core": {"type": "m5.xlarge", "market": "spot", "bid_price_usd": 0}},
        "cluster.core.bid_price_usd is 0; allowed: more than 0.",
    ),
    (
        {"core": {"type": "m5.xlarge", "bid_price_usd": 0.1}},
        "cluster.core.bid_price_usd is 0.1; allowed: nothing but with market spot.",
    ),
    (
        {"core": {"type": "m5.xlarge", "volumes": [{"size_gib": 9}, {"size_gib": 0}]}},
        "cluster.core.volumes[1].size_gib is 0; allowed: 1 or more.",
    ),
    (
        {"core": {"type": "m5.xlarge", "volumes": [{"size_gib": 9, "type": "gp2", "throughput_mib_s": 125}]}},
        "cluster.core.volumes[0].throughput_mib_s is 125; allowed: nothing but with type gp3.",
    ),
    (
        {"release_label": "7.10.0"},
        (
            "cluster.release_label is '7.10.0'; allowed: emr-x.y.z or emr-spark-x.y.z, for instance emr-7.14.0 or "
            "emr-spark-8.1.0."
        ),
    ),
    ({"idle_timeout_seconds": 59}, "cluster.idle_timeout_seconds is 59; allowed: 60 or more."),
    ({"idle_timeout_seconds": 604801}, "cluster.idle_timeout_seconds is 604801; allowed: 604800 or less."),
    ({"step_concurrency": 0}, "cluster.step_concurrency is 0; allowed: 1 or more."),
    ({"step_concurrency": 257}, "cluster.step_concurrency is 257; allowed: 256 or less."),
    ({"root_volume_gib": 9}, "cluster.root_volume_gib is 9; allowed: 10 or more."),
    ({"service_role": ""}, "cluster.service_role is ''; allowed: a text that is not empty."),
    ({"subnets": "subnet-1"}, "cluster.subnets is 'subnet-1'; allowed: a list."),
    ({"subnets": ["vpc-1"]}, "cluster.subnets[0] is 'vpc-1'; allowed: a subnet's id, subnet-...."),
    ({"custom_ami_id": "x"}, "cluster.custom_ami_id is 'x'; allowed: an image's id, ami-...."),
    (
        {"security_groups": {"primary": "default"}},
        "cluster.security_groups.primary is 'default'; allowed: a security group's id, sg-....",
    ),
    (
        {"runtime_role": "steps", "security_configuration": "locked"},
        "cluster.runtime_role is 'steps'; allowed: arn:aws:iam::<account>:role/<name>.",
    ),
    (
        {"bootstrap_actions": [{"name": "x" * 257, "path": "s3://b/x"}]},
        f"cluster.bootstrap_actions[0].name is '{'x' * 257}'; allowed: 256 characters or fewer.",
    ),
    (
        {"cloudwatch_logs": {"log_types": {"YARN": ["STDOUT"]}}},
        (
            "A key of cluster.cloudwatch_logs.log_types is 'YARN'; allowed: 'STEP_LOGS', 'SPARK_DRIVER' or "
            "'SPARK_EXECUTOR'."
        ),
    ),
    # instances
    ({"primary": None}, "cluster.primary is None; allowed: a group, or fleets in place of all groups."),
    (
        {"primary": {"type": "m5.xlarge", "count": 3}},
        "cluster.primary.count is 3; allowed: 1, as three cannot be ended like other clusters.",
    ),
    (
        {"core": None, "task": {"type": "m5.xlarge"}},
        "cluster.core is None; allowed: a group, as there is a task group.",
    ),
    (
        {"fleets": {"primary": ONE}, "core": {"type": "m5.xlarge"}},
        "cluster.core.type is 'm5.xlarge'; allowed: nothing next to fleets: groups or fleets, not both.",
    ),
    ({"fleets": {"primary": {"types": []}}}, "cluster.fleets.primary.types is []; allowed: 1 or more."),
    (
        {"fleets": {"primary": ONE, "core": {"types": ["m5.xlarge"]}}},
        "cluster.fleets.core.capacity is 0; allowed: 1 or more, of on_demand and spot together.",
    ),
    (
        {"fleets": {"primary": {**ONE, "spot": 1}}},
        "cluster.fleets.primary.capacity is 2; allowed: 1, of on_demand and spot together.",
    ),
    (
        {"fleets": {"primary": {"types": [{"type": "m5.xlarge", "weight": 2}], "on_demand": 1}}},
        "cluster.fleets.primary.types.weight is 2; allowed: 1.",
    ),
    (
        {"fleets": {"primary": ONE, "task": ONE}},
        "cluster.fleets.core is None; allowed: a fleet, as there is a task fleet.",
    ),
    (
        {"fleets": {"primary": {"types": SIX_TYPES, "spot": 1, "allocation_strategy": None}}},
        f"cluster.fleets.primary.types is {SIX_TYPES}; allowed: 5 or fewer, or 30 with an allocation_strategy.",
    ),
    (
        {"fleets": {"primary": {"types": SIX_TYPES * 6, "spot": 1}}},
        f"cluster.fleets.primary.types is {SIX_TYPES * 6}; allowed: 30 or fewer.",
    ),
    (
        {"fleets": {"primary": {**ONE, "spot_timeout_minutes": 4}}},
        "cluster.fleets.primary.spot_timeout_minutes is 4; allowed: 5 or more.",
    ),
    (
        {"fleets": {"primary": {**ONE, "spot_timeout_minutes": 1441}}},
        "cluster.fleets.primary.spot_timeout_minutes is 1441; allowed: 1440 or less.",
    ),
    (
        {"subnets": ["subnet-1", "subnet-2"]},
        "cluster.subnets is ['subnet-1', 'subnet-2']; allowed: one, or several with fleets.",
    ),
    (
        {"core": {"type": "m6g.xlarge"}},
        "The instance types of cluster is ['m5.xlarge', 'm6g.xlarge']; allowed: all x86_64 or all ARM.",
    ),
    (
        {"security_groups": {"core": "sg-1"}},
        (
            "cluster.security_groups.primary is None; allowed: a security group's id: EMR wants primary and core "
            "together, or neither."
        ),
    ),
    # scaling
    (
        {"managed_scaling": {"minimum": 3, "maximum": 2}},
        "cluster.managed_scaling.minimum is 3; allowed: at most maximum, which is 2.",
    ),
    (
        {"managed_scaling": {"minimum": 1, "maximum": 2, "maximum_core": 3}},
        "cluster.managed_scaling.maximum_core is 3; allowed: at most maximum, which is 2.",
    ),
    (
        {"managed_scaling": {"minimum": 1, "maximum": 2, "maximum_on_demand": 3}},
        "cluster.managed_scaling.maximum_on_demand is 3; allowed: at most maximum, which is 2.",
    ),
    (
        {"managed_scaling": {"minimum": 1, "maximum": 2, "unit": "InstanceFleetUnits"}},
        "cluster.managed_scaling.unit is 'InstanceFleetUnits'; allowed: Instances or VCPU with groups.",
    ),
    (
        {"managed_scaling": {"minimum": 1, "maximum": 2, "unit": "VCPU"}, "fleets": {"primary": ONE, "core": ONE}},
        "cluster.managed_scaling.unit is 'VCPU'; allowed: InstanceFleetUnits with fleets.",
    ),
    (
        {"managed_scaling": {"minimum": 1, "maximum": 2}, "core": None},
        "cluster.core is None; allowed: instances that managed_scaling can make more or fewer.",
    ),
    # releases
    *(
        (
            {"release_label": label, "python": "/opt/python"},
            (
                f"cluster.release_label is '{label}'; allowed: emr-5.30.0, emr-6.1.0 or later: those before cannot end "
                "themselves when idle."
            ),
        )
        for label in ("emr-5.29.0", "emr-6.0.1")
    ),
    (
        {"release_label": "emr-6.15.0"},
        (
            "cluster.release_label is 'emr-6.15.0'; allowed: emr-7.0.0 or later, or another python: "
            "emr-6.15.0 has /usr/bin/python3.7."
        ),
    ),
    (
        {"cloudwatch_logs": {}, "release_label": "emr-7.10.0"},
        "cluster.release_label is 'emr-7.10.0'; allowed: emr-7.11.0 or later with cloudwatch_logs.",
    ),
    (
        {
            "release_label": "emr-6.6.0",
            "python": "/opt/python",
            "security_configuration": "locked",
            "runtime_role": "arn:aws-cn:iam::123456789012:role/steps",
        },
        "cluster.release_label is 'emr-6.6.0'; allowed: emr-6.7.0 or later with runtime_role.",
    ),
    # the rest
    ({"applications": ["Hive"]}, "cluster.applications is ['Hive']; allowed: a list with Spark in it."),
    (
        {"runtime_role": "arn:aws:iam::123456789012:role/steps"},
        "cluster.security_configuration is None; allowed: the name of one that allows runtime_role.",
    ),
    ({"tags": {str(number): "" for number in range(45)}}, "The number of tags of cluster is 45; allowed: 44 or fewer."),
    ({"tags": {"": "x"}}, "A tag's key of cluster is ''; allowed: 1 to 128 characters."),
    ({"tags": {"x" * 129: ""}}, f"A tag's key of cluster is '{'x' * 129}'; allowed: 1 to 128 characters."),
    (
        {"tags": {"AWS:x": ""}},
        "A tag's key of cluster is 'AWS:x'; allowed: those that do not begin with aws:, which is AWS's own.",
    ),
    (
        {"tags": {"x": "y" * 257}},
        f"The value of tag x of cluster is '{'y' * 257}'; allowed: 256 characters or fewer.",
    ),
    ({"tags": {"x": 1}}, "cluster.tags.x is 1; allowed: a text."),
    ({"tags": {1: "x"}}, "A key of cluster.tags is 1; allowed: a text."),
    # configurations
    ({"configurations": 7}, "cluster.configurations is 7; allowed: a list."),
    ({"configurations": [7]}, "cluster.configurations[0] is 7; allowed: a mapping."),
    (
        {"configurations": {"spark-defaults": "k=v"}},
        "cluster.configurations[0].properties is 'k=v'; allowed: a mapping.",
    ),
    (
        {"configurations": {"spark-defaults": {"k": ["v"]}}},
        "cluster.configurations[0].properties.k is ['v']; allowed: a text.",
    ),
    (
        {"configurations": [{"Classification": "a", "Property": {}}]},
        (
            "A field of cluster.configurations[0] is 'Property'; did you mean 'properties'? Allowed: classification, "
            "properties, configurations."
        ),
    ),
    (
        {"configurations": [{"Properties": {}}]},
        "cluster.configurations[0].classification is None; allowed: a value; it has no default.",
    ),
    (
        {"configurations": [{"Classification": "a"}, {"Classification": "a"}]},
        "cluster.configurations is ['a', 'a']; allowed: each classification once.",
    ),
    (
        {"configurations": [{"Classification": "a", "Configurations": [{"Classification": "b"}, 7]}]},
        "cluster.configurations[0].configurations[1] is 7; allowed: a mapping.",
    ),
    # extra
    ({"extra": {"Instances": []}}, "cluster.extra.Instances is []; allowed: a mapping."),
    (
        {"extra": {"Instances": {"InstanceFleets": []}}},
        "cluster.extra.Instances.InstanceFleets is []; allowed: nothing: a cluster has groups or fleets, not both.",
    ),
    (
        {"extra": {"Instances": {"InstanceGroups": []}}, "fleets": {"primary": ONE}},
        "cluster.extra.Instances.InstanceGroups is []; allowed: nothing: a cluster has groups or fleets, not both.",
    ),
    (
        {"extra": {"Instances": {"KeepJobFlowAliveWhenNoSteps": False}}},
        (
            "cluster.extra.Instances.KeepJobFlowAliveWhenNoSteps is False; allowed: nothing: a cluster that ends "
            "with its last step cannot be shared."
        ),
    ),
    (
        {"extra": {"a": {"b": [1, {2}]}}},
        "cluster.extra.a.b[1] is {2}; allowed: text, numbers, true, false, null, and lists and mappings of them.",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED, ids=[sentence[:70] for _, sentence in REFUSED])
def test_what_is_not_allowed_is_said_in_a_sentence(data: Any, sentence: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        ClusterSpec.parse(data)
    assert str(caught.value) == sentence


def test_made_in_python_it_is_pydantic_that_says_so() -> None:
    with pytest.raises(ValidationError, match=r"subnets is .*; allowed: one, or several with fleets"):
        ClusterSpec(subnets=("subnet-1", "subnet-2"))


def test_it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ClusterSpec().python = "/opt/python"  # type: ignore[misc]


def test_what_a_launcher_may_not_ask() -> None:
    spec = ClusterSpec(tags={str(number): "" for number in range(44)})
    for name, log_uri, tags, sentence in (
        ("", "s3://b/l", {}, "The cluster's name is ''; allowed: 1 to 256 characters."),
        ("x" * 257, "s3://b/l", {}, f"The cluster's name is '{'x' * 257}'; allowed: 1 to 256 characters."),
        ("x", "/logs", {}, "The S3 location is '/logs'; allowed: s3://bucket/key."),
        ("x", "s3://b/l", {f"a{number}": "" for number in range(7)}, "The number of tags is 51; allowed: 50 or fewer."),
        ("x", "s3://b/l", {"x" * 129: ""}, f"A tag's key is '{'x' * 129}'; allowed: 1 to 128 characters."),
    ):
        with pytest.raises(InvalidValue) as caught:
            spec.request(name, log_uri, tags)
        assert str(caught.value) == sentence
    assert len(spec.request("x" * 256, "s3://b/l", {f"a{number}": "" for number in range(6)})["Tags"]) == 50


def test_every_field_says_what_it_is() -> None:
    named = {**vars(parts_room), **vars(spec_room)}
    parts = [found for found in named.values() if isinstance(found, type) and issubclass(found, BaseModel)]
    assert ClusterSpec in parts
    silent = [
        f"{part.__name__}.{name}"
        for part in parts
        for name, field in part.model_fields.items()
        if not (field.description or "").endswith(".")
    ]
    assert silent == []


def test_neither_boto3_nor_dagster_is_needed_to_describe_a_cluster() -> None:
    code = "import sys, emr_pipelines.backends.emr.spec; print({'boto3', 'botocore', 'dagster'} & sys.modules.keys())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


texts = st.text("abc", max_size=1)
plain_values = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(texts, plain_values, max_size=3)


@given(mappings, mappings)
def test_merging(base: dict[str, Any], more: dict[str, Any]) -> None:
    before = copy.deepcopy((base, more))
    both = merged(base, more)
    assert (base, more) == before
    assert merged(both, more) == both
    assert merged(base, {}) == base
    assert merged({}, more) == more
    assert both.keys() == base.keys() | more.keys()
    for key, value in both.items():
        if isinstance(base.get(key), dict) and isinstance(more.get(key), dict):
            assert value == merged(base[key], more[key])
        else:
            assert value == (more if key in more else base)[key]
    spoil(both)
    assert (base, more) == before


def strategies(shape: str) -> list[str]:
    """Return the values of an enumeration in botocore's model of EMR."""
    return list(botocore.session.get_session().get_service_model("emr").shape_for(shape).enum)


@pytest.mark.parametrize("strategy", strategies("SpotProvisioningAllocationStrategy"))
def test_every_strategy_for_spot_can_be_told(strategy: str) -> None:
    fleet = {"types": ["m5.xlarge"], "spot": 1, "allocation_strategy": strategy}
    launched = asked({"fleets": {"primary": fleet}})["Instances"]["InstanceFleets"][0]["LaunchSpecifications"]
    assert launched["SpotSpecification"]["AllocationStrategy"] == strategy
    assert "OnDemandSpecification" not in launched


@pytest.mark.parametrize("strategy", strategies("OnDemandProvisioningAllocationStrategy"))
def test_every_strategy_for_on_demand_can_be_told(strategy: str) -> None:
    fleet = {"types": ["m5.xlarge"], "on_demand": 2, "spot": 3, "on_demand_strategy": strategy}
    fleets = {"primary": {"types": ["m5.xlarge"], "on_demand": 1}, "core": fleet}
    launched = asked({"fleets": fleets})["Instances"]["InstanceFleets"][1]["LaunchSpecifications"]
    assert launched["OnDemandSpecification"] == {"AllocationStrategy": strategy}
    assert launched["SpotSpecification"]["AllocationStrategy"] == "price-capacity-optimized"


def test_priorities_are_taken_by_boto3_and_refused_where_nothing_reads_them() -> None:
    types = [{"type": "m5.xlarge", "priority": 0}, {"type": "m5a.xlarge", "priority": 1}]
    fleet = {"types": types, "on_demand": 1}
    made = asked({"fleets": {"primary": {**fleet, "on_demand_strategy": "prioritized"}}})
    shape = botocore.session.get_session().get_service_model("emr").operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(made, shape)
    assert not report.has_errors(), report.generate_report()
    with pytest.raises(InvalidValue) as caught:
        asked({"fleets": {"primary": {**fleet, "allocation_strategy": "capacity-optimized-prioritized"}}})
    assert str(caught.value) == (
        "cluster.fleets.primary.types.priority is 0.0; allowed: nothing but with capacity-optimized-prioritized for "
        "spot, or prioritized for on demand."
    )


def asked(description: dict[str, Any]) -> dict[str, Any]:
    return ClusterSpec.parse(description).request("nightly", "s3://bucket/logs", {})


@pytest.mark.parametrize(
    "told",
    [
        {"key_name": dg.EnvVar("MEM")},
        {"tags": {"a": dg.EnvVar("MEM")}},
        {"subnets": (dg.EnvVar("MEM"),)},
        {"step_concurrency": dg.EnvVar.int("MEM")},
        {"extra": {"A": [{"B": dg.EnvVar("MEM")}]}},
    ],
)
def test_a_variable_is_not_taken_for_its_name(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a variable is looked up in a mapping only"):
        ClusterSpec(**told)
    with pytest.raises(InvalidValue, match=r"is \{'env': 'MEM'\}; allowed: a value; a variable is looked up"):
        ClusterSpec.parse(told)
