"""A cluster's instances: the groups or fleets of a request, and the instances in them."""

from __future__ import annotations

import math
import re
import secrets
from typing import Any

from emr_emulator.protocol import validation_error
from emr_emulator.records import Cluster, Instance, InstanceGroup, InstanceState, Role, new_id

MAX_TASK_GROUPS = 48
MAX_INSTANCES = 4_000  # a limit of the emulator; on AWS it is a quota of EC2
TYPES_PER_FLEET = 5
TYPES_PER_FLEET_WITH_STRATEGY = 30
SPOT_TIMEOUT_MINUTES = (5, 1440)
PRIMARY_COUNTS = (1, 3)


def make_groups(request: dict[str, Any]) -> list[InstanceGroup]:
    """Return the groups or fleets of RunJobFlow's Instances. Raises ServiceError."""
    asked = request["Instances"]
    short = {"MasterInstanceType", "SlaveInstanceType", "InstanceCount"} & asked.keys()
    ways = [way for way in ("InstanceGroups", "InstanceFleets") if asked.get(way)] + (
        ["InstanceCount"] if short else []
    )
    if len(ways) != 1:
        raise validation_error(
            "Specify instances in exactly one way: InstanceGroups, InstanceFleets, or MasterInstanceType with "
            f"InstanceCount; given: {', '.join(ways) or 'none'}."
        )
    if ways == ["InstanceFleets"]:
        groups = [_fleet(spec) for spec in asked["InstanceFleets"]]
    else:
        groups = [_group(spec) for spec in asked.get("InstanceGroups") or _short_form(asked)]
    for role in (Role.MASTER, Role.CORE) if ways != ["InstanceFleets"] else Role:
        if sum(group.role is role for group in groups) > 1:
            raise validation_error(f"There can be only one instance {_kind(groups[0])} of type {role}.")
    if not any(group.role is Role.MASTER for group in groups):
        raise validation_error(f"A master instance {_kind(groups[0])} is required.")
    roles = {group.role for group in groups}
    if Role.TASK in roles and Role.CORE not in roles:
        raise validation_error(f"A core instance {_kind(groups[0])} is required where there is a task one.")
    if "ManagedScalingPolicy" in request and Role.CORE not in roles:  # it scales core and task nodes only
        raise validation_error(f"Managed scaling needs a core instance {_kind(groups[0])}.")
    if sum(group.on_demand + group.spot for group in groups) > MAX_INSTANCES:
        raise validation_error(f"There can be at most {MAX_INSTANCES} instances.")
    if sum(group.role is Role.TASK for group in groups) > MAX_TASK_GROUPS:
        raise validation_error(f"There can be at most {MAX_TASK_GROUPS} task instance groups.")
    return groups


def make_instances(groups: list[InstanceGroup], now: float) -> list[Instance]:
    instances: list[Instance] = []
    for group in groups:
        for market, capacity in (("ON_DEMAND", group.on_demand), ("SPOT", group.spot)):
            config = group.spec["InstanceTypeConfigs"][0] if group.fleet else group.spec
            weight = config.get("WeightedCapacity", 1) if group.fleet and group.role is not Role.MASTER else 1
            for _ in range(math.ceil(capacity / max(weight, 1))):
                instances.append(new_instance(group, config["InstanceType"], market, len(instances), now))
    return instances


def new_instance(group: InstanceGroup, type_: str, market: str, number: int, now: float) -> Instance:
    return Instance(
        id=new_id("ci-"),
        ec2_id=f"i-{secrets.token_hex(9)[:17]}",
        type=type_,
        market=market,
        role=group.role,
        group_id=group.id,
        address=f"10.0.{number // 250}.{number % 250 + 4}",
        created=now,
    )


def is_multi_primary(groups: list[InstanceGroup]) -> bool:
    return any(group.role is Role.MASTER and group.on_demand + group.spot > 1 for group in groups)


def normalized_instance_hours(cluster: Cluster, now: float) -> int:
    """Return EMR's approximation: hours of each instance, rounded up, times its size (8 for an m5.xlarge)."""
    return sum(
        math.ceil(((instance.ended or now) - instance.created) / 3600) * normalization_factor(instance.type)
        for instance in cluster.instances
        if instance.state is not InstanceState.AWAITING_FULFILLMENT and instance.ready is not None
    )


def normalization_factor(instance_type: str) -> int:
    """Return the normalized hours per hour of an instance type: large 4, xlarge 8, 2xlarge 16, ..."""
    size = instance_type.partition(".")[2]
    times = re.fullmatch(r"(\d*)xlarge", size)
    if times:
        return 8 * int(times.group(1) or 1)
    if size.startswith("metal"):
        return 192
    return {"large": 4, "medium": 2, "small": 1}.get(size, 8)


def _short_form(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert MasterInstanceType, SlaveInstanceType and InstanceCount to groups."""
    count = asked.get("InstanceCount", 1)
    if "MasterInstanceType" not in asked or count < 1:
        raise validation_error("InstanceCount needs a MasterInstanceType and has to be at least 1.")
    groups = [{"InstanceRole": "MASTER", "InstanceType": asked["MasterInstanceType"], "InstanceCount": 1}]
    if count > 1:
        worker = asked.get("SlaveInstanceType", asked["MasterInstanceType"])
        groups.append({"InstanceRole": "CORE", "InstanceType": worker, "InstanceCount": count - 1})
    return groups


def _group(spec: dict[str, Any]) -> InstanceGroup:
    role, count = Role(spec["InstanceRole"]), spec["InstanceCount"]
    if role is Role.MASTER and count not in PRIMARY_COUNTS:
        raise validation_error(f"The master instance group must have 1 or 3 instances, not {count}.")
    if count < 0:
        raise validation_error(f"InstanceCount must not be negative; it is {count}.")
    if "BidPrice" in spec and spec.get("Market") == "ON_DEMAND":
        raise validation_error(f"BidPrice is for SPOT instances; the {role} group is ON_DEMAND.")
    spot = spec.get("Market", "SPOT" if "BidPrice" in spec else "ON_DEMAND") == "SPOT"
    return InstanceGroup(new_id("ig-"), role, spec, False, 0 if spot else count, count if spot else 0)


def _fleet(spec: dict[str, Any]) -> InstanceGroup:
    role = Role(spec["InstanceFleetType"])
    on_demand, spot = spec.get("TargetOnDemandCapacity", 0), spec.get("TargetSpotCapacity", 0)
    configs = spec.get("InstanceTypeConfigs", [])
    if on_demand + spot == 0 and role is not Role.TASK:
        raise validation_error(f"The {role} fleet needs a TargetOnDemandCapacity or a TargetSpotCapacity above 0.")
    if role is Role.MASTER and on_demand + spot not in PRIMARY_COUNTS:
        raise validation_error(f"The MASTER fleet must have a target capacity of 1 or 3, not {on_demand + spot}.")
    launch = spec.get("LaunchSpecifications", {})
    strategy = any("AllocationStrategy" in specification for specification in launch.values())
    most = TYPES_PER_FLEET_WITH_STRATEGY if strategy else TYPES_PER_FLEET
    if not 1 <= len(configs) <= most:
        raise validation_error(
            f"The {role} fleet has {len(configs)} instance types; allowed are 1 to {TYPES_PER_FLEET}, or up to "
            f"{TYPES_PER_FLEET_WITH_STRATEGY} with an AllocationStrategy."
        )
    types = [config["InstanceType"] for config in configs]
    if len(set(types)) < len(types):
        twice = sorted({name for name in types if types.count(name) > 1})
        raise validation_error(
            f"The instance fleet: {spec.get('Name', role)} contains duplicate instance types {twice}."
        )
    weights = [config.get("WeightedCapacity", 1) for config in configs]
    if min(weights) < 1 or (role is Role.MASTER and max(weights) > 1):
        allowed = "1" if role is Role.MASTER else "1 or more"
        raise validation_error(f"WeightedCapacity of the {role} fleet must be {allowed}; given: {weights}.")
    if "SpotSpecification" in launch:
        minutes, (least, longest) = launch["SpotSpecification"]["TimeoutDurationMinutes"], SPOT_TIMEOUT_MINUTES
        if not least <= minutes <= longest:
            raise validation_error(f"TimeoutDurationMinutes must be {least} to {longest}; it is {minutes}.")
    return InstanceGroup(new_id("if-"), role, spec, True, on_demand, spot)


def _kind(group: InstanceGroup) -> str:
    return "fleet" if group.fleet else "group"
