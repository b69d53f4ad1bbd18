"""The parts of a cluster's description. Each refuses values that EMR would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from emr_pipelines.aws.redaction import reject_secrets
from emr_pipelines.backends.description import Part
from emr_pipelines.backends.forms import InstanceType, SecurityGroupId, Text, refused
from emr_pipelines.errors import InvalidValue

MAX_TYPES, MAX_TYPES_WITH_STRATEGY = 5, 30


class Volume(Part):
    """An EBS volume of each instance."""

    size_gib: int = Field(ge=1, description="Size in GiB.")
    type: Literal["gp3", "gp2", "io1", "st1", "sc1", "standard"] = Field(
        default="gp3", description="The EBS volume type."
    )
    iops: int | None = Field(default=None, ge=1, description="Operations per second; by default EBS's choice.")
    throughput_mib_s: int | None = Field(default=None, ge=125, le=1000, description="MiB per second; gp3 only.")
    per_instance: int = Field(default=1, ge=1, description="The number of such volumes per instance.")

    @model_validator(mode="after")
    def _throughput(self) -> Volume:
        if self.throughput_mib_s is not None and self.type != "gp3":
            raise InvalidValue("throughput_mib_s", self.throughput_mib_s, "nothing but with type gp3")
        return self


class Group(Part):
    """Instances of one type for one role."""

    type: InstanceType = Field(description="The EC2 instance type, for instance m5.xlarge.")
    count: int = Field(default=1, ge=1, description="The number of instances; 1 or more.")
    market: Literal["on_demand", "spot"] = Field(default="on_demand", description="On-Demand or Spot instances.")
    bid_price_usd: float | None = Field(
        default=None, gt=0, description="The maximum price of a Spot instance per hour; by default the On-Demand price."
    )
    volumes: tuple[Volume, ...] = Field(default=(), description="EBS volumes; by default EMR's choice for the type.")

    @model_validator(mode="after")
    def _bid(self) -> Group:
        if self.bid_price_usd is not None and self.market != "spot":
            raise InvalidValue("bid_price_usd", self.bid_price_usd, "nothing but with market spot")
        return self


class FleetType(Part):
    """One of a fleet's instance types."""

    type: InstanceType = Field(description="The EC2 instance type, for instance m5.xlarge.")
    weight: int = Field(default=1, ge=1, description="The units of capacity that an instance of this type provides.")
    priority: float | None = Field(
        default=None,
        ge=0,
        description="The rank for prioritized strategies; 0 is the highest, and no priority is the lowest.",
    )
    volumes: tuple[Volume, ...] = Field(default=(), description="EBS volumes; by default EMR's choice for the type.")


def _type_by_name(item: Any) -> Any:
    return {"type": item} if isinstance(item, str) else item


class Fleet(Part):
    """Instances for one role, of several types that EC2 chooses from; capacity is the sum of the types' weights."""

    types: tuple[Annotated[FleetType, BeforeValidator(_type_by_name)], ...] = Field(
        min_length=1, description="Instance types, by name or with weight and volumes; up to 5, or 30 with a strategy."
    )
    on_demand: int = Field(default=0, ge=0, description="Units of On-Demand capacity.")
    spot: int = Field(default=0, ge=0, description="Units of Spot capacity.")
    spot_timeout_minutes: int = Field(
        default=10, ge=5, le=1440, description="How long a launch waits for Spot instances; 5 to 1440."
    )
    spot_timeout_action: Literal["SWITCH_TO_ON_DEMAND", "TERMINATE_CLUSTER"] = Field(
        default="SWITCH_TO_ON_DEMAND", description="What a launch does if there are no Spot instances by then."
    )
    allocation_strategy: (
        Literal[
            "price-capacity-optimized",
            "capacity-optimized",
            "capacity-optimized-prioritized",
            "lowest-price",
            "diversified",
        ]
        | None
    ) = Field(default="price-capacity-optimized", description="How Spot instances are chosen; null leaves it to EMR.")
    on_demand_strategy: Literal["lowest-price", "prioritized"] | None = Field(
        default="lowest-price", description="How On-Demand instances are chosen; null leaves it to EMR."
    )

    @model_validator(mode="after")
    def _capacity(self) -> Fleet:
        if self.on_demand + self.spot == 0:
            raise InvalidValue("capacity", 0, "1 or more, of on_demand and spot together")
        left_to_emr = [
            name
            for name, units in (("allocation_strategy", self.spot), ("on_demand_strategy", self.on_demand))
            if units and getattr(self, name) is None
        ]
        most = MAX_TYPES if left_to_emr else MAX_TYPES_WITH_STRATEGY
        if len(self.types) > most:
            with_strategy = f", or {MAX_TYPES_WITH_STRATEGY} with an {left_to_emr[0]}" if left_to_emr else ""
            raise InvalidValue("types", [found.type for found in self.types], f"{most} or fewer{with_strategy}")
        names = [found.type for found in self.types]
        if len(set(names)) < len(names):
            raise InvalidValue("types", names, "each instance type once")
        return self

    @model_validator(mode="after")
    def _priorities(self) -> Fleet:
        spot = self.spot and self.allocation_strategy == "capacity-optimized-prioritized"
        on_demand = self.on_demand and self.on_demand_strategy == "prioritized"
        given = [found.priority for found in self.types if found.priority is not None]
        if given and not spot and not on_demand:
            allowed = "nothing but with capacity-optimized-prioritized for spot, or prioritized for on demand"
            raise InvalidValue("types.priority", given[0], allowed)
        return self


class Fleets(Part):
    """A fleet for each role."""

    primary: Fleet = Field(description="The primary node; one instance.")
    core: Fleet | None = Field(default=None, description="Core nodes, which run tasks and store HDFS.")
    task: Fleet | None = Field(default=None, description="Task nodes, which only run tasks.")

    @model_validator(mode="after")
    def _roles(self) -> Fleets:
        if (units := self.primary.on_demand + self.primary.spot) != 1:
            raise InvalidValue("primary.capacity", units, "1, of on_demand and spot together")
        if weights := [found.weight for found in self.primary.types if found.weight != 1]:
            raise InvalidValue("primary.types.weight", weights[0], "1")
        if self.task and not self.core:
            raise InvalidValue("core", None, "a fleet, as there is a task fleet")
        return self


class ManagedScaling(Part):
    """The bounds within which EMR adds and removes core and task instances."""

    minimum: int = Field(ge=1, description="The minimum number of units.")
    maximum: int = Field(ge=1, description="The maximum number of units.")
    maximum_on_demand: int | None = Field(
        default=None, ge=0, description="The maximum number of On-Demand units; the rest is Spot."
    )
    maximum_core: int | None = Field(
        default=None, ge=1, description="The maximum number of core units; the rest is task."
    )
    unit: Literal["Instances", "VCPU", "InstanceFleetUnits"] | None = Field(
        default=None, description="The unit: by default Instances, or InstanceFleetUnits with fleets."
    )

    @model_validator(mode="after")
    def _bounds(self) -> ManagedScaling:
        for name in ("minimum", "maximum_on_demand", "maximum_core"):
            if (bound := getattr(self, name)) is not None and bound > self.maximum:
                raise InvalidValue(name, bound, f"at most maximum, which is {self.maximum}")
        return self


def _property_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def _configuration_list(value: Any) -> Any:
    """Convert both forms to a list of Configuration's fields; pydantic refuses anything else."""
    if isinstance(value, Mapping):
        return [_short_form(name, content) for name, content in value.items()]
    if not isinstance(value, (list, tuple)):
        return value
    ours = {"Classification": "classification", "Properties": "properties", "Configurations": "configurations"}
    return [{ours.get(k, k): v for k, v in item.items()} if isinstance(item, Mapping) else item for item in value]


def _short_form(name: Any, content: Any) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        return {"classification": name, "properties": content}
    nested = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    properties = {key: value for key, value in content.items() if key not in nested}
    return {"classification": name, "properties": properties, "configurations": nested}


def _each_once(configurations: tuple[Configuration, ...]) -> tuple[Configuration, ...]:
    names = [found.classification for found in configurations]
    if len(set(names)) < len(names):
        raise refused("each classification once", value=names)
    return configurations


class Configuration(Part):
    """Properties of one of the cluster's applications."""

    classification: Text = Field(description="EMR's name for a configuration file, for instance spark-defaults.")
    properties: dict[str, Annotated[str, BeforeValidator(_property_text)]] = Field(
        default={}, description="The properties; numbers and booleans become text."
    )
    configurations: Configurations = Field(
        default=(), description="Nested configurations, such as `export` in spark-env."
    )

    @model_validator(mode="after")
    def _no_secrets(self) -> Configuration:
        reject_secrets("properties", self.properties)
        return self


Configurations = Annotated[
    tuple[Configuration, ...], BeforeValidator(_configuration_list), AfterValidator(_each_once)
]  # EMR refuses a classification that is there twice


class BootstrapAction(Part):
    """A script that each instance runs before the applications start."""

    name: str = Field(min_length=1, max_length=256, description="The name in the console.")
    path: Text = Field(description="The URI of the script, for instance s3://bucket/setup.sh.")
    args: tuple[str, ...] = Field(default=(), description="The script's arguments.")

    @model_validator(mode="after")
    def _no_secrets(self) -> BootstrapAction:
        reject_secrets("args", self.args)
        return self


class SecurityGroups(Part):
    """EC2 security groups; by default EMR creates its own."""

    primary: SecurityGroupId | None = Field(default=None, description="The EMR-managed group of the primary node.")
    core: SecurityGroupId | None = Field(default=None, description="The EMR-managed group of the core and task nodes.")
    service_access: SecurityGroupId | None = Field(
        default=None, description="The group for EMR's access to a private subnet."
    )
    additional_primary: tuple[SecurityGroupId, ...] = Field(
        default=(), description="Additional groups of the primary node."
    )
    additional_core: tuple[SecurityGroupId, ...] = Field(
        default=(), description="Additional groups of core and task nodes."
    )

    @model_validator(mode="after")
    def _both(self) -> SecurityGroups:
        if (self.primary is None) != (self.core is None):
            missing = "primary" if self.primary is None else "core"
            raise InvalidValue(missing, None, "a security group's id: EMR wants primary and core together, or neither")
        return self


class CloudWatchLogs(Part):
    """Live logs in CloudWatch, in addition to those in S3."""

    log_group: Text | None = Field(default=None, description="The log group; by default EMR's choice.")
    stream_prefix: Text | None = Field(default=None, description="The prefix of the log streams' names.")
    encryption_key_arn: Text | None = Field(default=None, description="The KMS key that encrypts the logs.")
    log_types: dict[Literal["STEP_LOGS", "SPARK_DRIVER", "SPARK_EXECUTOR"], tuple[Literal["STDOUT", "STDERR"], ...]] = (
        Field(default={}, description="Which logs, for instance {'SPARK_DRIVER': ['STDERR']}; by default EMR's choice.")
    )
