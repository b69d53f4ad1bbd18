"""Check a RunJobFlow request, except for its instances and steps.

Each check names its page of AWS's documentation: MG is the Amazon EMR Management Guide, API the Amazon EMR API
Reference. Where AWS does not document the message of an error, the words are ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from emr_emulator import releases
from emr_emulator.protocol import ServiceError, validation_error

Params = dict[str, Any]
MAX_TAGS = 50
MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS = 128, 256
TAG_TEXT = re.compile(r"[\w\s.:/=+@-]*")
MIN_ROOT_VOLUME_GIB = 10
VOLUME_TYPES = ("gp3", "gp2", "io1", "st1", "sc1", "standard")


def check_request(params: Params) -> None:
    """Check the whole request. Raises ServiceError."""
    instances = params["Instances"]
    _check_configurations(params.get("Configurations", []))
    for group in [*instances.get("InstanceGroups", []), *instances.get("InstanceFleets", [])]:
        for part in [group, *group.get("InstanceTypeConfigs", [])]:
            _check_configurations(part.get("Configurations", []))
            _check_volumes(part.get("EbsConfiguration", {}))
    _check_network(instances)
    check_scaling(params.get("ManagedScalingPolicy"), bool(instances.get("InstanceFleets")))
    _check_security(params)
    if params.get("EbsRootVolumeSize", MIN_ROOT_VOLUME_GIB) < MIN_ROOT_VOLUME_GIB:  # MG, "Customizing the root volume"
        raise validation_error(f"EbsRootVolumeSize must be {MIN_ROOT_VOLUME_GIB} GiB or more.")
    logs = params.get("MonitoringConfiguration", {}).get("CloudWatchLogConfiguration", {})
    if logs.get("Enabled") and not releases.at_least(
        params["ReleaseLabel"], (7, 11)
    ):  # MG, "Amazon EMR CloudWatch logs"
        raise validation_error("CloudWatch logs need emr-7.11.0 or later.")


def checked_tags(
    tags: list[Params], error: Callable[[str], ServiceError] = validation_error, others: dict[str, str] | None = None
) -> dict[str, str]:
    """Return the tags of a request merged into the cluster's. Raises ServiceError.

    MG, "Restrictions that apply to tagging resources"; EC2 User Guide, "Tag restrictions".
    """
    for key, times in Counter(tag.get("Key", "") for tag in tags).items():
        if times > 1:
            raise error(f"Duplicate tag keys are not allowed; {key!r} is there {times} times.")
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not 1 <= len(key) <= MAX_KEY_CHARACTERS or len(value) > MAX_VALUE_CHARACTERS:
            raise error(
                f"A tag needs a Key of 1 to {MAX_KEY_CHARACTERS} characters and a Value of up to "
                f"{MAX_VALUE_CHARACTERS}; this is {tag}."
            )
        if key.lower().startswith("aws:") or value.lower().startswith("aws:"):
            raise error(f"Tag keys and values starting with 'aws:' are reserved for system use; this is {tag}.")
        if not (TAG_TEXT.fullmatch(key) and TAG_TEXT.fullmatch(value)):
            raise error(f"Tags may have letters, digits, white space and _ . : / = + - @ only; this is {tag}.")
    whole = {**(others or {}), **{tag["Key"]: tag.get("Value", "") for tag in tags}}
    if len(whole) > MAX_TAGS:
        raise error(f"A cluster can have at most {MAX_TAGS} tags; these are {len(whole)}.")
    return whole


def check_scaling(policy: Params | None, fleets: bool) -> None:
    """Check a managed scaling policy (API, ComputeLimits; MG, "Using managed scaling"). Raises ServiceError."""
    limits = (policy or {}).get("ComputeLimits")
    if not limits:
        return
    least, most = limits["MinimumCapacityUnits"], limits["MaximumCapacityUnits"]
    if least > most:
        raise validation_error(f"MinimumCapacityUnits ({least}) must not be above MaximumCapacityUnits ({most}).")
    for name in ("MaximumOnDemandCapacityUnits", "MaximumCoreCapacityUnits"):
        if limits.get(name, 0) > most:
            raise validation_error(f"{name} ({limits[name]}) must not be above MaximumCapacityUnits ({most}).")
    if (limits["UnitType"] == "InstanceFleetUnits") != fleets:
        units = "InstanceFleetUnits with instance fleets" if fleets else "Instances or VCPU with instance groups"
        raise validation_error(f"UnitType must be {units}; it is {limits['UnitType']}.")


def check_runtime_role(role: str | None, security_configuration: str | None, release: str) -> None:
    """Check a runtime role (MG, "Runtime roles for Amazon EMR steps"). Raises ServiceError."""
    if role is None:
        return
    if not releases.at_least(release, (6, 7)):
        raise validation_error(f"Runtime roles need emr-6.7.0 or later, not {release}.")
    if not security_configuration:
        raise validation_error(
            "A runtime role needs a cluster with a security configuration that enables runtime roles."
        )


def _check_configurations(configurations: list[Params]) -> None:
    """Refuse a repeated classification. AWS documents no such rule; this is an assumption."""
    for name, times in Counter(found.get("Classification", "") for found in configurations).items():
        if times > 1:
            raise validation_error(f"Duplicate classification {name!r}: it is specified {times} times.")
    for found in configurations:
        _check_configurations(found.get("Configurations", []))


def _check_volumes(ebs: Params) -> None:
    """API, VolumeSpecification."""
    for volume in _volumes(ebs):
        if volume["VolumeType"] not in VOLUME_TYPES:
            raise validation_error(
                f"VolumeType must be one of {', '.join(VOLUME_TYPES)}; it is {volume['VolumeType']}."
            )
        if volume["SizeInGB"] < 1:
            raise validation_error(f"SizeInGB must be 1 or more; it is {volume['SizeInGB']}.")
        if "Throughput" in volume and volume["VolumeType"] != "gp3":
            raise validation_error(f"Throughput is valid only for gp3 volumes, not {volume['VolumeType']}.")


def _volumes(ebs: Params) -> Iterator[Params]:
    for device in ebs.get("EbsBlockDeviceConfigs", []):
        yield device["VolumeSpecification"]


def _check_network(instances: Params) -> None:
    """API, JobFlowInstancesConfig."""
    if len(instances.get("Ec2SubnetIds", [])) > 1 and not instances.get("InstanceFleets"):
        raise validation_error("Several Ec2SubnetIds apply to clusters that use the instance fleet configuration only.")
    named = [f"EmrManaged{role}SecurityGroup" for role in ("Master", "Slave")]
    given = [name for name in named if name in instances]
    if len(given) == 1:
        raise validation_error(f"{named[0]} and {named[1]} must be specified together; given: {given[0]}.")


def _check_security(params: Params) -> None:
    """API, RunJobFlow: KerberosAttributes; MG, "Use Kerberos authentication"."""
    configuration = params.get("SecurityConfiguration")
    if "KerberosAttributes" in params and not configuration:
        raise validation_error("KerberosAttributes need a SecurityConfiguration that enables Kerberos.")
    check_runtime_role(params.get("StepExecutionRoleArn"), configuration, params["ReleaseLabel"])
