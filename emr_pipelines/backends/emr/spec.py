"""What a cluster is to be: our description of it, checked before anything is launched.

`ClusterSpec` is written in Python or as plain mappings (YAML, Dagster's run config). It knows what EMR would refuse,
or would accept and then end badly; `request.py` says it in AWS's words. Limits are those of the Amazon EMR API
Reference (RunJobFlow and the types it names) and of the Amazon EMR Management Guide.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails

from emr_pipelines.aws.redaction import reject_secrets, without_secrets
from emr_pipelines.backends.emr.forms import AmiId, ReleaseLabel, RoleArn, SubnetId, Text
from emr_pipelines.backends.emr.parts import (
    BootstrapAction,
    CloudWatchLogs,
    Configuration,
    Configurations,
    Fleet,
    Fleets,
    FleetType,
    Group,
    ManagedScaling,
    Part,
    SecurityGroups,
    Volume,
)
from emr_pipelines.backends.emr.presets import PRESETS
from emr_pipelines.backends.emr.releases import has
from emr_pipelines.backends.emr.request import MAX_TAGS, check_extra, check_tags, instance_types, merged, render
from emr_pipelines.errors import InvalidValue, nearest, quoted

__all__ = [  # what a description is written with in Python
    "BootstrapAction",
    "CloudWatchLogs",
    "ClusterSpec",
    "Configuration",
    "Fleet",
    "FleetType",
    "Fleets",
    "Group",
    "ManagedScaling",
    "SecurityGroups",
    "Volume",
]

PYTHON_3_11 = "/usr/bin/python3.11"  # releases from 7.0 on have it; the system's own is too old for Dagster Pipes
MAX_TAGS_OF_OURS = 6
# Graviton has a g after the generation, as in m7g, c7gn, is4gen and g5g, but not in g5 and g4dn
ARM_FAMILY = re.compile(r"a1|[a-z]+\d+[a-z]*g[a-z]*(-.*)?")


def _is_arm(instance_type: str) -> bool:
    return bool(ARM_FAMILY.fullmatch(instance_type.partition(".")[0]))


class ClusterSpec(Part):
    """The description of an EMR cluster, as `cluster` of EmrSparkRunner or in run config.

    By default the cluster has a primary and two core m5.xlarge (4 vCPU, 16 GiB) On-Demand: a small x86 type that most
    regions have, and the fewest core instances that show what a program does across machines. For example:

        ClusterSpec.parse({"preset": "spot", "core": {"type": "m6g.xlarge", "count": 4}})

    `parse` raises InvalidValue for what EMR would refuse, before anything is launched; the constructor raises
    pydantic's ValidationError. Sources: RunJobFlow in the Amazon EMR API Reference, and the EMR Management Guide.
    """

    preset: Literal["standard", "small", "spot", "large"] | None = Field(
        default=None,
        description="A base description: standard, small, spot or large; other fields override it, member by member. "
        + " ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items()),
    )
    release_label: ReleaseLabel = Field(default="emr-7.10.0", description="The EMR release, for instance emr-7.10.0.")
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

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> ClusterSpec:
        """The description that these plain values are. Raises InvalidValue, with the first that is not allowed."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _as_sentence(error.errors()[0]) from None  # pydantic's shows what was told, secrets too

    @classmethod
    def check(cls, data: Mapping[str, Any], is_open: Callable[[object], bool]) -> None:
        """Raise InvalidValue for the first mistake that shows before some of the values are known.

        is_open: whether a value stands for one that is known later. It cannot stand for one of a few choices.
        """
        try:
            cls.model_validate(data)
        except ValidationError as error:
            for found in error.errors():
                kind, told = found["type"], found["input"]
                opened = any(map(is_open, told)) if kind == "too_short" else is_open(told)  # pydantic counts the valid
                if not opened or kind == "literal_error":
                    raise _as_sentence(found) from None

    def request(self, name: str, log_uri: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """What RunJobFlow is asked, new each time and without steps: `boto3.client("emr").run_job_flow(**request)`.

        tags: the launcher's own; of two with one key, the launcher's is taken. Raises InvalidValue.
        """
        return render(self, name, log_uri, tags)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits, the same for descriptions whose clusters can stand in for each other.

        The tags are part of it, as they say who pays; the runtime role is not, as each step brings its own. Neither are
        secrets, which nobody must be able to guess by it.
        """
        launched = without_secrets(self.request("any", "s3://any", {}))
        return hashlib.sha256(json.dumps(launched, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def architecture(self) -> Literal["x86_64", "aarch64"]:
        """What native code has to be built for."""
        return "aarch64" if any(map(_is_arm, instance_types(self))) else "x86_64"

    @model_validator(mode="before")
    @classmethod
    def _begun(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        if preset := PRESETS.get(str(data.get("preset"))):
            # it is spent here, so that what a description is dumped as says all of itself
            told = {name: _plain(member) for name, member in data.items() if name != "preset"}
            data = merged(preset.members, told)
        if data.get("fleets") is not None:
            return {"primary": None, "core": None, **data}  # the defaults are for who asks for nothing
        return data

    @model_validator(mode="after")
    def _instances(self) -> ClusterSpec:
        for role in ("primary", "core", "task"):
            if self.fleets and (group := getattr(self, role)):
                raise InvalidValue(f"{role}.type", group.type, "nothing next to fleets: groups or fleets, not both")
        if not self.fleets and not self.primary:
            raise InvalidValue("primary", None, "a group, or fleets in place of all groups")
        if self.primary and self.primary.count != 1:
            raise InvalidValue("primary.count", self.primary.count, "1, as three cannot be ended like other clusters")
        if self.task and not self.core:
            raise InvalidValue("core", None, "a group, as there is a task group")
        if len(self.subnets) > 1 and not self.fleets:
            raise InvalidValue("subnets", list(self.subnets), "one, or several with fleets")
        if self.managed_scaling:
            units = ("InstanceFleetUnits",) if self.fleets else ("Instances", "VCPU")
            if self.managed_scaling.unit not in (None, *units):
                allowed = f"{' or '.join(units)} with {'fleets' if self.fleets else 'groups'}"
                raise InvalidValue("managed_scaling.unit", self.managed_scaling.unit, allowed)
            if not (self.fleets or self).core:
                raise InvalidValue("core", None, "instances that managed_scaling can make more or fewer")
        return self

    @model_validator(mode="after")
    def _release(self) -> ClusterSpec:
        label = self.release_label
        if not has(label, "auto-termination"):
            needed = "emr-5.30.0, emr-6.1.0 or later: those before cannot end themselves when idle"
        elif self.runtime_role and not has(label, "runtime roles"):
            needed = "emr-6.7.0 or later with runtime_role"
        elif self.python == PYTHON_3_11 and not has(label, "python3.11"):
            needed = f"emr-7.0.0 or later, or another python: those before have no {PYTHON_3_11}"
        elif self.cloudwatch_logs and not has(label, "CloudWatch logs"):
            needed = "emr-7.11.0 or later with cloudwatch_logs"
        else:
            return self
        raise InvalidValue("release_label", self.release_label, needed)

    @model_validator(mode="after")
    def _rest(self) -> ClusterSpec:
        if "spark" not in map(str.lower, self.applications):
            raise InvalidValue("applications", list(self.applications), "a list with Spark in it")
        if self.runtime_role and not self.security_configuration:
            raise InvalidValue("security_configuration", None, "the name of one that allows runtime_role")
        reject_secrets("tags", self.tags)
        check_tags(self.tags, MAX_TAGS - MAX_TAGS_OF_OURS)
        check_extra(self)
        types = instance_types(self)
        if len(set(map(_is_arm, types))) > 1:
            raise InvalidValue("The instance types", types, "all x86_64 or all ARM")
        return self


def _plain(member: Any) -> Any:
    """A mapping, where it is to go over a preset's."""
    return member.model_dump(exclude_unset=True) if isinstance(member, Part) else member


LIMITS = {
    "not_allowed": "{allowed}", "literal_error": "{expected}", "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge} or more", "less_than_equal": "{le} or less", "too_short": "{min_length} or more",
    "too_long": "{max_length} or fewer", "string_too_short": "a text that is not empty",
    "string_too_long": "{max_length} characters or fewer",
}  # fmt: skip
EXPECTED = {
    "int": "a whole number", "float": "a number", "finite": "a number", "string": "a text", "dict": "a mapping",
    "model": "a mapping", "tuple": "a list", "missing": "a value; it has no default",
    "invalid-json-value": "text, numbers, true, false, null, and lists and mappings of them",
}  # fmt: skip


def _as_sentence(error: ErrorDetails) -> InvalidValue:
    """What pydantic found, as this package says it."""
    kind, where, context = error["type"], error["loc"], error.get("ctx", {})
    if where[:1] == ("extra",):
        where = ("extra", *where[1::2])  # between the keys pydantic says whether it is in a list or in a mapping
    about = ""
    if where[-1:] == ("[key]",):
        where, about = where[:-2], "A key of "
    path = about + "cluster" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    if isinstance(mistake := context.get("error"), InvalidValue):
        name = f"{mistake.name} of {path}" if " " in mistake.name else f"{path}.{mistake.name}"
        return InvalidValue(name, mistake.value, mistake.allowed)
    if kind == "unknown_field":
        return InvalidValue.unknown(f"A field of {path}", context["field"], context["fields"])
    value = context.get("value", None if kind == "missing" else error["input"])
    if kind in LIMITS:
        instead = nearest(value, quoted(context["expected"])) if kind == "literal_error" else ""
        return InvalidValue(path, value, LIMITS[kind].format(**context), instead)
    return InvalidValue(path, value, EXPECTED.get(kind) or EXPECTED.get(kind.split("_")[0]) or error["msg"])
