"""Every documented form of every cluster field reaches RunJobFlow, however it is set.

Each row has the expected part of the request, written by hand from the EMR API Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from pydantic import BaseModel

from docs.settings import parts_of
from emr_pipelines.backends.emr.spec import (
    BootstrapAction,
    CloudWatchLogs,
    ClusterSpec,
    Configuration,
    Fleet,
    Fleets,
    FleetType,
    Group,
    ManagedScaling,
    SecurityGroups,
    Volume,
)
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.target import configured_runner

MEMORY = {"spark.executor.memory": "9g"}
TYPE = {"type": "m5.xlarge"}
ARN = "arn:aws:iam::111122223333:role/steps"
PYTHON = {
    "spark.pyspark.python": "/usr/bin/python3.11",
    "spark.yarn.appMasterEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
    "spark.executorEnv.PYSPARK_PYTHON": "/usr/bin/python3.11",
}
DEFAULTS = {"Classification": "spark-defaults", "Properties": PYTHON}
WITH_MEMORY = {"Classification": "spark-defaults", "Properties": {**PYTHON, **MEMORY}}
SPARK_ENV = {
    "Classification": "spark-env",
    "Properties": {},
    "Configurations": [{"Classification": "export", "Properties": {"A": "1"}}],
}
PRIMARY, CORE, TASK = (f"Instances.InstanceGroups.{index}" for index in range(3))
FLEET = "Instances.InstanceFleets.0"
LOGS = "MonitoringConfiguration.CloudWatchLogConfiguration"
IN_7_11 = {"release_label": "emr-7.11.0"}


def fleet(**members: Any) -> dict[str, Any]:
    return {"fleets": {"primary": {"types": ["m5.xlarge"], "on_demand": 1, **members}}}


def properties(**told: Any) -> dict[str, Any]:
    return {"configurations": {"yarn-site": {name.replace("_", "-"): value for name, value in told.items()}}}


# the setting, its path in the request, and the expected value there
FORMS: list[tuple[dict[str, Any], str, Any]] = [
    ({"configurations": [{"Classification": "spark-defaults", "Properties": MEMORY}]}, "Configurations", [WITH_MEMORY]),
    ({"configurations": [{"classification": "spark-defaults", "properties": MEMORY}]}, "Configurations", [WITH_MEMORY]),
    ({"configurations": {"spark-defaults": MEMORY}}, "Configurations", [WITH_MEMORY]),
    ({"configurations": []}, "Configurations", [DEFAULTS]),
    ({"configurations": {}}, "Configurations", [DEFAULTS]),
    ({"configurations": [{"Classification": "spark", "Properties": {}}]}, "Configurations.0.Properties", {}),
    ({"configurations": {"spark-env": {"export": {"A": 1}}}}, "Configurations", [DEFAULTS, SPARK_ENV]),
    ({"configurations": [{"Classification": "spark-env", "Configurations": [
        {"Classification": "export", "Properties": {"A": "1"}}]}]}, "Configurations", [DEFAULTS, SPARK_ENV]),
    ({"configurations": [{"Classification": "spark-env", "Properties": {}, "Configurations": {"export": {"A": "1"}}}]},
     "Configurations", [DEFAULTS, SPARK_ENV]),
    ({"configurations": [{"Classification": "yarn-site", "Properties": {"a.b-c": "d"}},
                         {"Classification": "spark-defaults", "Properties": MEMORY}]},
     "Configurations", [WITH_MEMORY, {"Classification": "yarn-site", "Properties": {"a.b-c": "d"}}]),
    (properties(a=8, b=True, c=0.5, d=False, e=""), "Configurations.1.Properties",
     {"a": "8", "b": "true", "c": "0.5", "d": "false", "e": ""}),
    ({"configurations": [{"Classification": "yarn-site", "Properties": {"a": 8, "b": True}}]},
     "Configurations.1.Properties", {"a": "8", "b": "true"}),
    ({"preset": "small"}, "AutoTerminationPolicy", {"IdleTimeout": 300}),
    ({"preset": "standard"}, f"{CORE}.InstanceCount", 2),
    ({"preset": None}, f"{CORE}.InstanceCount", 2),
    ({"preset": "large", "core": {"count": 8}}, f"{CORE}.InstanceCount", 8),
    ({"preset": "large", "core": {"count": 8}}, f"{CORE}.InstanceType", "m5.4xlarge"),
    ({"preset": "small", "core": TYPE}, f"{CORE}.InstanceType", "m5.xlarge"),
    ({"preset": "spot", "fleets": {"task": {"spot": 20}}}, "Instances.InstanceFleets.2.TargetSpotCapacity", 20),
    ({"preset": "spot", "fleets": {"task": {"types": ["r5.xlarge"]}}}, "Instances.InstanceFleets.2.InstanceTypeConfigs",
     [{"InstanceType": "r5.xlarge", "WeightedCapacity": 1}]),
    ({"preset": "large", "managed_scaling": None}, "ManagedScalingPolicy", None),
    ({"release_label": "emr-spark-8.1.0"}, "ReleaseLabel", "emr-spark-8.1.0"),
    ({"applications": ["Hive", "Spark"]}, "Applications", [{"Name": "Hive"}, {"Name": "Spark"}]),
    ({"primary": {"type": "m5.2xlarge"}}, f"{PRIMARY}.InstanceType", "m5.2xlarge"),
    ({"core": None}, "Instances.InstanceGroups", [
        {"Name": "primary", "InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1,
         "Market": "ON_DEMAND"}]),
    ({"core": {**TYPE, "count": 4}}, f"{CORE}.InstanceCount", 4),
    ({"core": {**TYPE, "count": "4"}}, f"{CORE}.InstanceCount", 4),
    ({"core": {**TYPE, "market": "spot"}}, f"{CORE}.Market", "SPOT"),
    ({"core": {**TYPE, "market": "spot", "bid_price_usd": 0.1}}, f"{CORE}.BidPrice", "0.1"),
    ({"core": {**TYPE, "market": "spot", "bid_price_usd": 1}}, f"{CORE}.BidPrice", "1.0"),
    ({"core": {**TYPE, "volumes": []}}, f"{CORE}.EbsConfiguration", None),
    ({"core": {**TYPE, "volumes": [{"size_gib": 100}]}}, f"{CORE}.EbsConfiguration.EbsBlockDeviceConfigs",
     [{"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 100}, "VolumesPerInstance": 1}]),
    ({"core": {**TYPE, "volumes": [
        {"size_gib": 100, "type": "gp3", "iops": 4000, "throughput_mib_s": 200, "per_instance": 2}]}},
     f"{CORE}.EbsConfiguration.EbsBlockDeviceConfigs",
     [{"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 100, "Iops": 4000, "Throughput": 200},
       "VolumesPerInstance": 2}]),
    ({"task": {**TYPE, "count": 3, "market": "spot"}}, f"{TASK}.InstanceCount", 3),
    ({"task": None}, f"{TASK}", None),
    (fleet(), f"{FLEET}.InstanceTypeConfigs", [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1}]),
    (fleet(types=["m5.xlarge", {"type": "m5a.xlarge"}]), f"{FLEET}.InstanceTypeConfigs.1.InstanceType", "m5a.xlarge"),
    ({"fleets": {"primary": {"types": ["m5.xlarge"], "on_demand": 1},
                 "core": {"types": [{"type": "m5.2xlarge", "weight": 2, "volumes": [{"size_gib": 9}]}], "spot": 4}}},
     "Instances.InstanceFleets.1.InstanceTypeConfigs", [
         {"InstanceType": "m5.2xlarge", "WeightedCapacity": 2, "EbsConfiguration": {"EbsBlockDeviceConfigs": [
             {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": 9}, "VolumesPerInstance": 1}]}}]),
    (fleet(on_demand=0, spot=1, spot_timeout_minutes=7, spot_timeout_action="TERMINATE_CLUSTER"),
     f"{FLEET}.LaunchSpecifications.SpotSpecification",
     {"TimeoutDurationMinutes": 7, "TimeoutAction": "TERMINATE_CLUSTER",
      "AllocationStrategy": "price-capacity-optimized"}),
    (fleet(on_demand=0, spot=1, allocation_strategy="capacity-optimized-prioritized",
           types=[{"type": "m5.xlarge", "priority": 0}, {"type": "m5a.xlarge", "priority": 1.5}]),
     f"{FLEET}.InstanceTypeConfigs",
     [{"InstanceType": "m5.xlarge", "WeightedCapacity": 1, "Priority": 0.0},
      {"InstanceType": "m5a.xlarge", "WeightedCapacity": 1, "Priority": 1.5}]),
    (fleet(on_demand_strategy="prioritized"), f"{FLEET}.LaunchSpecifications",
     {"OnDemandSpecification": {"AllocationStrategy": "prioritized"}}),
    (fleet(on_demand_strategy=None), f"{FLEET}.LaunchSpecifications", None),
    (fleet(on_demand=0, spot=1, allocation_strategy=None), f"{FLEET}.LaunchSpecifications.SpotSpecification",
     {"TimeoutDurationMinutes": 10, "TimeoutAction": "SWITCH_TO_ON_DEMAND"}),
    ({"managed_scaling": {"minimum": 2, "maximum": 9, "maximum_on_demand": 3, "maximum_core": 4, "unit": "VCPU"}},
     "ManagedScalingPolicy.ComputeLimits",
     {"UnitType": "VCPU", "MinimumCapacityUnits": 2, "MaximumCapacityUnits": 9, "MaximumOnDemandCapacityUnits": 3,
      "MaximumCoreCapacityUnits": 4}),
    ({"bootstrap_actions": [{"name": "a", "path": "s3://b/a.sh", "args": ["1", "2"]}]}, "BootstrapActions",
     [{"Name": "a", "ScriptBootstrapAction": {"Path": "s3://b/a.sh", "Args": ["1", "2"]}}]),
    ({"bootstrap_actions": [{"name": "a", "path": "s3://b/a.sh", "args": []}]}, "BootstrapActions",
     [{"Name": "a", "ScriptBootstrapAction": {"Path": "s3://b/a.sh"}}]),
    ({"bootstrap_actions": []}, "BootstrapActions", None),
    ({"subnets": ["subnet-1"]}, "Instances.Ec2SubnetId", "subnet-1"),
    ({"preset": "spot", "subnets": ["subnet-1", "subnet-2"]}, "Instances.Ec2SubnetIds", ["subnet-1", "subnet-2"]),
    ({"security_groups": {}}, "Instances.EmrManagedMasterSecurityGroup", None),
    ({"security_groups": {"primary": "sg-1", "core": "sg-2", "service_access": "sg-3"}},
     "Instances.ServiceAccessSecurityGroup", "sg-3"),
    ({"security_groups": {"additional_primary": ["sg-4"], "additional_core": ["sg-5"]}},
     "Instances.AdditionalSlaveSecurityGroups", ["sg-5"]),
    ({"service_role": "mine"}, "ServiceRole", "mine"),
    ({"instance_profile": "mine"}, "JobFlowRole", "mine"),
    ({"runtime_role": ARN, "security_configuration": "mine"}, "SecurityConfiguration", "mine"),
    ({"root_volume_gib": 50}, "EbsRootVolumeSize", 50),
    ({"custom_ami_id": "ami-1"}, "CustomAmiId", "ami-1"),
    ({"key_name": "pair"}, "Instances.Ec2KeyName", "pair"),
    ({"tags": {"env": "prod"}}, "Tags", [{"Key": "env", "Value": "prod"}]),
    ({"tags": {"a.b/c-d": "", "e": "f"}}, "Tags", [{"Key": "a.b/c-d", "Value": ""}, {"Key": "e", "Value": "f"}]),
    ({"tags": {}}, "Tags", []),
    ({"idle_timeout_seconds": 60}, "AutoTerminationPolicy", {"IdleTimeout": 60}),
    ({"step_concurrency": 4}, "StepConcurrencyLevel", 4),
    ({"cloudwatch_logs": {}, **IN_7_11}, LOGS, {"Enabled": True}),
    ({"cloudwatch_logs": None}, "MonitoringConfiguration", None),
    ({"cloudwatch_logs": {"log_group": "g", "stream_prefix": "p", "encryption_key_arn": "k"}, **IN_7_11}, LOGS,
     {"Enabled": True, "LogGroupName": "g", "LogStreamNamePrefix": "p", "EncryptionKeyArn": "k"}),
    ({"cloudwatch_logs": {"log_types": {"SPARK_DRIVER": ["STDERR"], "STEP_LOGS": ["STDOUT", "STDERR"]}}, **IN_7_11},
     f"{LOGS}.LogTypes", {"SPARK_DRIVER": ["STDERR"], "STEP_LOGS": ["STDOUT", "STDERR"]}),
    ({"python": "/opt/python"}, "Configurations.0.Properties.spark!pyspark!python", "/opt/python"),
    ({"extra": {"Instances": {"Placement": {"AvailabilityZone": "us-east-1a"}}, "EbsRootVolumeIops": 4000}},
     "Instances.Placement", {"AvailabilityZone": "us-east-1a"}),
    ({"extra": {"EbsRootVolumeIops": 4000, "SessionEnabled": False, "Some": [], "More": {}}}, "SessionEnabled", False),
    ({"extra": {"Some": []}}, "Some", []),
    ({"extra": {"More": {}}}, "More", {}),
    ({"extra": {"OSReleaseLabel": None}}, "OSReleaseLabel", None),
]  # fmt: skip

Way = Callable[[dict[str, Any]], ClusterSpec]


def in_python(told: dict[str, Any]) -> ClusterSpec:
    return EmrSparkRunner(bucket="my-bucket", cluster=told).spec()


def in_python_within_a_run(told: dict[str, Any]) -> ClusterSpec:
    return within_a_run(EmrSparkRunner(bucket="my-bucket", cluster=told), {})


def in_python_beside_run_config(told: dict[str, Any]) -> ClusterSpec:
    return within_a_run(EmrSparkRunner(bucket="my-bucket", cluster=told), {"retries": 1})


def in_run_config(told: dict[str, Any]) -> ClusterSpec:
    return within_a_run(EmrSparkRunner(bucket="my-bucket", cluster={"tags": {"lost": "yes"}}), {"cluster": told})


def in_yaml_for_the_configured_runner(told: dict[str, Any]) -> ClusterSpec:
    text = yaml.safe_dump({"cluster": told})
    return within_a_run(configured_runner(), yaml.safe_load(text))


def within_a_run(runner: Any, config: dict[str, Any]) -> ClusterSpec:
    with dg.build_resources({"spark": runner}, resource_config={"spark": {"config": config}}) as resources:
        spark: EmrSparkRunner = resources.spark
        return spark.spec()


WAYS: list[Way] = [
    in_python,
    in_python_within_a_run,
    in_python_beside_run_config,
    in_run_config,
    in_yaml_for_the_configured_runner,
]


@pytest.fixture(autouse=True)
def on_emr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    monkeypatch.setenv("EMR_PIPELINES_BUCKET", "my-bucket")


def request_of(spec: ClusterSpec) -> dict[str, Any]:
    return spec.request("nightly", "s3://my-bucket/logs", {})


def at(request: Any, path: str) -> Any:
    """Return the value at a path of keys and indices, or None."""
    for key in path.split("."):
        if isinstance(request, list):
            request = request[int(key)] if int(key) < len(request) else None
        elif request is not None:
            request = request.get(key.replace("!", "."))
    return request


def rows(forms: list[Any]) -> list[Any]:
    """Mark all rows but the first as extended."""
    return [
        pytest.param(*form, id=repr(form[0])[:90], marks=pytest.mark.extended if index else ())
        for index, form in enumerate(forms)
    ]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(("told", "path", "expected"), rows(FORMS))
def test_what_is_told_is_asked_for(way: Way, told: dict[str, Any], path: str, expected: Any) -> None:
    request = request_of(way(told))
    assert at(request, path) == expected
    assert request == request_of(ClusterSpec.parse(told))


PARTS: list[tuple[dict[str, Any] | ClusterSpec, str, Any]] = [
    (ClusterSpec(preset="small"), "AutoTerminationPolicy", {"IdleTimeout": 300}),
    (ClusterSpec(core=None), CORE, None),
    (ClusterSpec(configurations=(Configuration(classification="spark-defaults", properties=MEMORY),)),
     "Configurations", [WITH_MEMORY]),
    ({"configurations": (Configuration(classification="spark-defaults", properties=MEMORY),)},
     "Configurations", [WITH_MEMORY]),
    ({"configurations": [Configuration(classification="spark-env", configurations={"export": {"A": "1"}})]},
     "Configurations", [DEFAULTS, SPARK_ENV]),
    ({"core": Group(type="m5.xlarge", count=4, volumes=(Volume(size_gib=7),))}, f"{CORE}.InstanceCount", 4),
    ({"preset": "large", "core": Group(type="r5.4xlarge")}, f"{CORE}.InstanceCount", 4),
    ({"core": {**TYPE, "volumes": (Volume(size_gib=7),)}},
     f"{CORE}.EbsConfiguration.EbsBlockDeviceConfigs.0.VolumeSpecification.SizeInGB", 7),
    ({"fleets": Fleets(primary=Fleet(types=(FleetType(type="m5.xlarge"),), on_demand=1))},
     f"{FLEET}.TargetOnDemandCapacity", 1),
    ({"fleets": {"primary": Fleet(types=("m5.xlarge",), on_demand=1)}}, f"{FLEET}.TargetOnDemandCapacity", 1),
    ({"managed_scaling": ManagedScaling(minimum=1, maximum=3)}, "ManagedScalingPolicy.ComputeLimits.UnitType",
     "Instances"),
    ({"bootstrap_actions": (BootstrapAction(name="a", path="s3://b/a.sh", args=("x",)),)},
     "BootstrapActions.0.ScriptBootstrapAction.Args", ["x"]),
    ({"security_groups": SecurityGroups(additional_core=("sg-5",))}, "Instances.AdditionalSlaveSecurityGroups",
     ["sg-5"]),
    ({"cloudwatch_logs": CloudWatchLogs(), **IN_7_11}, LOGS, {"Enabled": True}),
    ({"subnets": ("subnet-1",), "applications": ("Spark",)}, "Instances.Ec2SubnetId", "subnet-1"),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS[:3], ids=lambda way: way.__name__)
@pytest.mark.parametrize(("told", "path", "expected"), rows(PARTS))
def test_python_may_tell_it_in_objects(way: Way, told: Any, path: str, expected: Any) -> None:
    request = request_of(way(told))
    assert at(request, path) == expected
    whole = told if isinstance(told, ClusterSpec) else ClusterSpec.parse(told)
    assert request == request_of(whole)


def test_no_field_is_forgotten() -> None:
    told = {name for data, _, _ in FORMS for name in keys(data)} | {"classification", "properties", "Classification"}
    models: list[type[BaseModel]] = [ClusterSpec, *parts_of(ClusterSpec)]
    for model in models:
        assert set(model.model_fields) <= told, model.__name__


def keys(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        yield from data
        data = list(data.values())
    for member in data if isinstance(data, list) else ():
        yield from keys(member)
