"""Presets: their request, what overrides them, and that EMR would accept them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

from emr_emulator import Emulator, ManualClock
from emr_pipelines.backends.emr.presets import PRESETS
from emr_pipelines.backends.emr.spec import ClusterSpec, Group
from emr_pipelines.errors import InvalidValue

every_preset = pytest.mark.parametrize("preset", PRESETS)


@pytest.fixture(scope="module")
def emr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lines: list[str] = []
    with Emulator(tmp_path_factory.mktemp("emulator"), clock=ManualClock(), say=lines.append) as emulator:
        session = boto3.session.Session("any", "any", region_name="us-east-1")
        yield session.client("emr", endpoint_url=emulator.url)


def asked(**description: Any) -> dict[str, Any]:
    return ClusterSpec.parse(description).request("nightly", "s3://bucket/logs", {})


def test_there_are_as_many_as_may_be_named() -> None:
    assert set(PRESETS) == set(get_args(get_args(ClusterSpec.model_fields["preset"].annotation)[0]))
    description = ClusterSpec.model_fields["preset"].description or ""
    assert all(f"{name}: {preset.about}" in description for name, preset in PRESETS.items())


@every_preset
def test_emr_takes_it(emr: Any, preset: str) -> None:
    request = asked(preset=preset)
    shape = botocore.session.get_session().get_service_model("emr").operation_model("RunJobFlow").input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    cluster_id = emr.run_job_flow(**request)["JobFlowId"]
    cluster = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
    assert (cluster["Status"]["State"], cluster["AutoTerminate"]) == ("STARTING", False)
    kind = "INSTANCE_FLEET" if preset == "spot" else "INSTANCE_GROUP"
    assert cluster["InstanceCollectionType"] == kind
    emr.terminate_job_flows(JobFlowIds=[cluster_id])


def test_small_is_one_machine_on_demand_that_ends_soon() -> None:
    request = asked(preset="small")
    (group,) = request["Instances"]["InstanceGroups"]
    assert (group["InstanceRole"], group["InstanceType"], group["InstanceCount"]) == ("MASTER", "m5.xlarge", 1)
    assert group["Market"] == "ON_DEMAND"
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 300}


def test_spot_risks_task_instances_alone() -> None:
    fleets = {fleet["InstanceFleetType"]: fleet for fleet in asked(preset="spot")["Instances"]["InstanceFleets"]}
    units = {role: (fleet["TargetOnDemandCapacity"], fleet["TargetSpotCapacity"]) for role, fleet in fleets.items()}
    assert units == {"MASTER": (1, 0), "CORE": (2, 0), "TASK": (0, 8)}
    assert fleets["TASK"]["LaunchSpecifications"]["SpotSpecification"] == {
        "TimeoutDurationMinutes": 10,
        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
        "AllocationStrategy": "price-capacity-optimized",
    }
    weights = {found["InstanceType"]: found["WeightedCapacity"] for found in fleets["TASK"]["InstanceTypeConfigs"]}
    assert len(weights) == 10
    assert {(name.partition(".")[2], weight) for name, weight in weights.items()} == {("xlarge", 1), ("2xlarge", 2)}
    assert {found["WeightedCapacity"] for found in fleets["MASTER"]["InstanceTypeConfigs"]} == {1}


def test_large_begins_with_64_vcpu_and_scales_to_four_times_that() -> None:
    request = asked(preset="large")
    primary, core = request["Instances"]["InstanceGroups"]
    assert (primary["InstanceType"], core["InstanceType"], core["InstanceCount"]) == ("m5.2xlarge", "m5.4xlarge", 4)
    (disks,) = core["EbsConfiguration"]["EbsBlockDeviceConfigs"]
    assert disks["VolumesPerInstance"] * disks["VolumeSpecification"]["SizeInGB"] == 500
    limits = request["ManagedScalingPolicy"]["ComputeLimits"]
    assert limits == {"UnitType": "Instances", "MinimumCapacityUnits": 4, "MaximumCapacityUnits": 16}


@every_preset
def test_a_preset_is_what_it_stands_for(preset: Any) -> None:
    spec = ClusterSpec(preset=preset)
    assert spec == ClusterSpec.parse(PRESETS[preset].members)
    assert spec == ClusterSpec.parse(spec.model_dump(mode="json"))
    assert spec == ClusterSpec.parse(spec.model_dump(mode="json", exclude_unset=True))
    assert (spec == ClusterSpec()) == (preset == "standard")
    assert spec.architecture == "x86_64"


def test_what_is_told_besides_goes_over_it_member_by_member() -> None:
    spec = ClusterSpec.parse({"preset": "large", "core": {"count": 8}, "idle_timeout_seconds": 900, "tags": {"a": "b"}})
    assert spec.core
    assert (spec.core.type, spec.core.count, spec.core.volumes[0].size_gib) == ("m5.4xlarge", 8, 250)
    assert (spec.idle_timeout_seconds, spec.tags) == (900, {"a": "b"})
    narrow = ClusterSpec.parse({"preset": "spot", "fleets": {"task": {"spot": 20, "types": ["r5.xlarge"]}}})
    assert narrow.fleets
    assert narrow.fleets.task
    assert (narrow.fleets.task.spot, [found.type for found in narrow.fleets.task.types]) == (20, ["r5.xlarge"])
    assert narrow.fleets.core == ClusterSpec(preset="spot").fleets.core  # type: ignore[union-attr]
    assert ClusterSpec.parse({"preset": "large", "managed_scaling": None}).managed_scaling is None


def test_in_python_parts_go_over_it_too() -> None:
    grown = ClusterSpec(preset="small", core=Group(type="m5.xlarge", count=3))
    assert (grown.core, grown.idle_timeout_seconds) == (Group(type="m5.xlarge", count=3), 300)
    kept = ClusterSpec(preset="large", core=Group(type="r5.4xlarge")).core
    assert kept
    assert (kept.type, kept.count, len(kept.volumes)) == ("r5.4xlarge", 4, 1)
    assert PRESETS["small"].members["core"] is None


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ({"preset": "big"}, "cluster.preset is 'big'; allowed: 'standard', 'small', 'spot' or 'large'."),
        ({"preset": ["small"]}, "cluster.preset is ['small']; allowed: 'standard', 'small', 'spot' or 'large'."),
        ({"preset": "small", "core": {"count": 2}}, "cluster.core.type is None; allowed: a value; it has no default."),
        (
            {"preset": "spot", "core": {"type": "m5.xlarge"}},
            "cluster.core.type is 'm5.xlarge'; allowed: nothing next to fleets: groups or fleets, not both.",
        ),
    ],
)
def test_what_is_not_allowed_is_said_in_a_sentence(description: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        ClusterSpec.parse(description)
    assert str(caught.value) == sentence
