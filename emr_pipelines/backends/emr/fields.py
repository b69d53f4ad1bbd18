"""The fields of a cluster's description, with their defaults and limits. `spec.py` checks them together."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from emr_pipelines.backends.description import Description
from emr_pipelines.backends.emr.parts import (
    BootstrapAction,
    CloudWatchLogs,
    Configurations,
    Fleets,
    Group,
    ManagedScaling,
    SecurityGroups,
)
from emr_pipelines.backends.emr.presets import PRESETS
from emr_pipelines.backends.forms import AmiId, ReleaseLabel, RoleArn, SubnetId, Text
from emr_pipelines.spark_lines import LINES, PYTHON_3_11, default_label


class ClusterFields(Description):
    """What a cluster's description says. Sources: RunJobFlow in the Amazon EMR API Reference."""

    called: ClassVar[str] = "cluster"

    preset: Literal["standard", "small", "spot", "large"] | None = Field(
        default=None,
        description="A base description: standard, small, spot or large; other fields override it, member by member. "
        + " ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items()),
    )
    release_label: ReleaseLabel = Field(
        default_factory=default_label,
        description="The EMR release; by default the newest known one that runs the installed line of Spark: "
        + ", ".join(f"{line.newest} for pyspark {line.spark}" for line in LINES)
        + ".",
    )
    applications: tuple[Text, ...] = Field(
        default=("Spark",), description="The applications to install, including Spark."
    )
    primary: Group | None = Field(default=Group(type="m5.xlarge"), description="The primary node; one instance.")
    core: Group | None = Field(
        default=Group(type="m5.xlarge", count=2),
        description="Core nodes, which run tasks and store HDFS; null for a cluster with only a primary node.",
    )
    task: Group | None = Field(default=None, description="Task nodes, which only run tasks.")
    fleets: Fleets | None = Field(default=None, description="Instance fleets, instead of primary, core and task.")
    managed_scaling: ManagedScaling | None = Field(
        default=None, description="Bounds for EMR's scaling; by default the cluster keeps its size."
    )
    configurations: Configurations = Field(
        default=(),
        description="Properties of applications: {'spark-defaults': {'spark.executor.memory': '4g'}}, where an inner "
        "mapping is a nested classification; or EMR's own list of Classification, Properties and Configurations.",
    )
    bootstrap_actions: tuple[BootstrapAction, ...] = Field(
        default=(), max_length=16, description="Scripts that run on each instance at its start; at most 16."
    )
    subnets: tuple[SubnetId, ...] = Field(
        default=(),
        description="The subnet, or with fleets several, of which EMR chooses the best. By default EMR's choice.",
    )
    security_groups: SecurityGroups = Field(
        default=SecurityGroups(), description="EC2 security groups; by default EMR creates its own."
    )
    service_role: Text = Field(default="EMR_DefaultRole", description="The name or ARN of EMR's service role.")
    instance_profile: Text = Field(default="EMR_EC2_DefaultRole", description="The instance profile of the instances.")
    runtime_role: RoleArn | None = Field(
        default=None, description="The ARN of the steps' role; requires a security_configuration that allows it."
    )
    security_configuration: Text | None = Field(default=None, description="The name of an EMR security configuration.")
    root_volume_gib: int | None = Field(
        default=None, ge=10, description="The size of each root volume in GiB, 10 or more."
    )
    custom_ami_id: AmiId | None = Field(default=None, description="A custom image (AMI) for all instances.")
    key_name: Text | None = Field(default=None, description="The EC2 key pair for SSH.")
    tags: dict[str, str] = Field(default={}, description="Additional tags of the cluster and its instances.")
    idle_timeout_seconds: int = Field(
        default=900,
        ge=60,
        le=604_800,
        description="How long the cluster may be idle before it terminates itself; 60 to 604800.",
    )
    step_concurrency: int = Field(default=1, ge=1, le=256, description="The number of concurrent steps; 1 to 256.")
    cloudwatch_logs: CloudWatchLogs | None = Field(
        default=None, description="Logs to CloudWatch too, from release emr-7.11.0 on; {} means EMR's defaults."
    )
    python: Text = Field(default=PYTHON_3_11, description="The Python on the cluster that runs programs.")
    extra: dict[str, JsonValue] = Field(
        default={},
        description="Additional members of RunJobFlow's request: mappings are merged, other values replace. Pass a "
        "secret by reference: {KerberosAttributes: {KdcAdminPassword: {env: KDC_PASSWORD}}}.",
    )
