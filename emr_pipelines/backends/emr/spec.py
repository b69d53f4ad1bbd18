"""The description of a cluster, checked before anything is launched.

A `ClusterSpec` comes from Python or from plain mappings (YAML, Dagster's run config). It refuses what EMR would refuse,
or would accept and then fail; `request.py` translates it. The limits are those of the Amazon EMR API Reference
(RunJobFlow and its types) and the Amazon EMR Management Guide.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from emr_pipelines.aws.redaction import reject_secrets, without_secrets
from emr_pipelines.backends.description import with_preset
from emr_pipelines.backends.emr.fields import ClusterFields
from emr_pipelines.backends.emr.parts import (
    BootstrapAction,
    CloudWatchLogs,
    Configuration,
    Fleet,
    Fleets,
    FleetType,
    Group,
    ManagedScaling,
    SecurityGroups,
    Volume,
)
from emr_pipelines.backends.emr.presets import PRESETS
from emr_pipelines.backends.emr.request import check_extra, instance_types, render
from emr_pipelines.backends.tags import MAX_TAGS, check_tags
from emr_pipelines.errors import InvalidValue
from emr_pipelines.spark_lines import ALLOWED_LABELS, LABEL, has, without_python

__all__ = [  # for descriptions in Python
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

MAX_TAGS_OF_OURS = 6
# Graviton has a g after the generation, as in m7g, c7gn, is4gen and g5g, but not in g5 and g4dn
ARM_FAMILY = re.compile(r"a1|[a-z]+\d+[a-z]*g[a-z]*(-.*)?")


def _is_arm(instance_type: str) -> bool:
    return bool(ARM_FAMILY.fullmatch(instance_type.partition(".")[0]))


class ClusterSpec(ClusterFields):
    """The description of an EMR cluster, as `cluster` of EmrSparkRunner or in run config.

    By default the cluster has a primary and two core m5.xlarge (4 vCPU, 16 GiB) On-Demand: a small x86 type that most
    regions have, and the fewest core instances that show what a program does across machines. For example:

        ClusterSpec.parse({"preset": "spot", "core": {"type": "m6g.xlarge", "count": 4}})

    `parse` raises InvalidValue for what EMR would refuse, before anything is launched; the constructor raises
    pydantic's ValidationError. Sources: RunJobFlow in the Amazon EMR API Reference, and the EMR Management Guide.
    """

    def request(self, name: str, log_uri: str, tags: Mapping[str, str]) -> dict[str, Any]:
        """Return a new request for RunJobFlow, without steps: `boto3.client("emr").run_job_flow(**request)`.

        tags: the launcher's own, which override the description's. Raises InvalidValue.
        """
        return render(self, name, log_uri, tags)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits, equal for descriptions with interchangeable clusters.

        Tags count, because they say who pays. The runtime role does not, because each step brings its own; nor do
        secrets, which nobody must be able to guess from the digest.
        """
        launched = without_secrets(self.request("any", "s3://any", {}))
        return hashlib.sha256(json.dumps(launched, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """The release that the request asks for: `extra` can replace release_label."""
        return str(self.extra.get("ReleaseLabel", self.release_label))

    @property
    def architecture(self) -> Literal["x86_64", "aarch64"]:
        """The architecture to build native code for."""
        return "aarch64" if any(map(_is_arm, instance_types(self))) else "x86_64"

    @model_validator(mode="before")
    @classmethod
    def _begun(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = with_preset(PRESETS, data)
        if data.get("fleets") is not None:
            return {
                "primary": None,
                "core": None,
                **data,
            }  # no default groups then
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
        told = "extra.ReleaseLabel" if "ReleaseLabel" in self.extra else "release_label"
        label = self.extra.get("ReleaseLabel", self.release_label)
        if isinstance(label, dict):  # a reference, which is looked up later
            return self
        if not (isinstance(label, str) and LABEL.fullmatch(label)):
            raise InvalidValue(told, label, ALLOWED_LABELS)
        if not has(label, "auto-termination"):
            needed = "emr-5.30.0, emr-6.1.0 or later: those before cannot end themselves when idle"
        elif self.runtime_role and not has(label, "runtime roles"):
            needed = "emr-6.7.0 or later with runtime_role"
        elif self.cloudwatch_logs and not has(label, "CloudWatch logs"):
            needed = "emr-7.11.0 or later with cloudwatch_logs"
        elif (without := without_python(label, self.python)) and not self._brings_python():
            needed = without
        else:
            return self
        raise InvalidValue(told, label, needed)

    def _brings_python(self) -> bool:
        """Whether the instances may have a Python that their release has not."""
        return "python" in self.model_fields_set and bool(self.bootstrap_actions or self.custom_ami_id)

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
