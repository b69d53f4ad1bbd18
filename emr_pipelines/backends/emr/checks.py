"""Check what EMR needs before a cluster can be launched: the service, the release, and two roles."""

from __future__ import annotations

from typing import Any

from emr_pipelines.aws.findings import (
    NO_REGION,
    NOT_OFFERED,
    Check,
    DoctorContext,
    Finding,
    missing,
    ok,
    unchecked,
    wrong,
)
from emr_pipelines.aws.redaction import masked
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import ACTIVE
from emr_pipelines.errors import AccessDenied, NotFound, RequestRefused, Unreachable

DEFAULT_ROLES = frozenset({"EMR_DefaultRole", "EMR_EC2_DefaultRole"})


def emr(setup: DoctorContext) -> Finding:
    where = setup.setting("AWS_ENDPOINT_URL_EMR") or setup.setting("AWS_ENDPOINT_URL")
    at = f" at {masked(where)} (AWS_ENDPOINT_URL)" if where else ""
    try:
        page = setup.aws.call("emr", "list_clusters", ClusterStates=sorted(map(str, ACTIVE)))
    except AccessDenied as error:
        return wrong(str(error), "Allow elasticmapreduce:* to these credentials.")
    except Unreachable as error:
        where = f"the endpoint{at}" if at else "the name of the region"
        return wrong(str(error), f"Check the network, and {where}.")
    count = f"{len(page.get('Clusters', ()))}{' or more' if 'Marker' in page else ''}"
    return ok(f"it answers{at}; active clusters in this account and region: {count}")


def release(setup: DoctorContext) -> Finding:
    label = ClusterSpec().label
    try:
        answer = setup.aws.call("emr", "describe_release_label", ReleaseLabel=label)
    except RequestRefused as error:
        if error.code in NOT_OFFERED | {NO_REGION}:
            raise
        return wrong(f"EMR does not know {label}: {error}", "Choose another release_label for the cluster.")
    except (AccessDenied, Unreachable) as error:
        return unchecked(f"could not check whether EMR has {label}: {error}")
    spark = [entry.get("Version", "?") for entry in answer.get("Applications", []) if entry.get("Name") == "Spark"]
    return ok(f"{label}, with Spark {spark[0]}" if spark else label)


def service_role(setup: DoctorContext) -> Finding:
    name = setup.setting("EMR_PIPELINES_SERVICE_ROLE") or ClusterSpec().service_role
    return _in_iam(setup, name, "EMR_PIPELINES_SERVICE_ROLE", "get_role", "RoleName")[0]


def instance_profile(setup: DoctorContext) -> Finding:
    name = setup.setting("EMR_PIPELINES_INSTANCE_PROFILE") or ClusterSpec().instance_profile
    finding, answer = _in_iam(
        setup, name, "EMR_PIPELINES_INSTANCE_PROFILE", "get_instance_profile", "InstanceProfileName"
    )
    if answer and not answer["InstanceProfile"].get("Roles"):
        return wrong(f"{name} exists but contains no role", f"Add one: {_add_role(name)}.")
    return finding


def _in_iam(
    setup: DoctorContext, name: str, variable: str, operation: str, parameter: str
) -> tuple[Finding, dict[str, Any] | None]:
    """Look up a role or an instance profile by name or ARN; return the finding and IAM's response.

    It is UNCHECKED for credentials that may not read IAM: they may still be allowed to pass the role.
    """
    asked: dict[str, Any] = {parameter: name.rpartition("/")[2]}
    try:
        answer = setup.aws.call("iam", operation, **asked)
    except NotFound:
        to_do = f"Set {variable} to an existing one, or create it"
        default = " with aws emr create-default-roles" if name in DEFAULT_ROLES else ""
        return missing(f"there is no {name}", f"{to_do}{default}."), None
    except (AccessDenied, Unreachable) as error:
        return unchecked(f"{name} was not checked: {error}"), None
    return ok(name), answer


def _add_role(profile: str) -> str:
    return f"aws iam add-role-to-instance-profile --instance-profile-name {profile} --role-name <role>"


CHECKS: dict[str, Check] = {
    "EMR": emr,
    "release": release,
    "service role": service_role,
    "instance profile": instance_profile,
}
