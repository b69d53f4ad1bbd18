"""Check what EMR Serverless needs before a job run can start: the service, the application, the role and the quota."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emr_pipelines.aws.findings import Check, DoctorContext, Finding, missing, ok, unchecked, wrong
from emr_pipelines.aws.redaction import masked
from emr_pipelines.backends.emr_serverless.applications import SERVICE, Applications
from emr_pipelines.backends.emr_serverless.states import USABLE
from emr_pipelines.backends.forms import ROLE_ARN, ROLE_ARN_ALLOWED
from emr_pipelines.errors import AccessDenied, AwsError, NotFound, RequestRefused, Unreachable

PRINCIPAL = "emr-serverless.amazonaws.com"
ROLE, APPLICATION = "EMR_PIPELINES_EXECUTION_ROLE", "EMR_PIPELINES_APPLICATION"
QUOTA_NAME = "vCPU"  # in "Max concurrent vCPUs per account"


def serverless(setup: DoctorContext) -> Finding:
    where = setup.setting("AWS_ENDPOINT_URL_EMR_SERVERLESS") or setup.setting("AWS_ENDPOINT_URL")
    at = f" at {masked(where)} (AWS_ENDPOINT_URL)" if where else ""
    try:
        count = sum(1 for _ in Applications(setup.aws).each())
    except AccessDenied as error:
        return wrong(str(error), "Allow emr-serverless:* to these credentials.")
    return ok(f"it answers{at}; applications in this account and region: {count}")


def application(setup: DoctorContext) -> Finding:
    """Check the application that the environment names; a run checks one that its config describes."""
    application_id = setup.setting(APPLICATION)
    if not application_id:
        return ok(f"one is made for the first program; set {APPLICATION} to use one that exists")
    try:
        found = Applications(setup.aws).describe(application_id)
    except (NotFound, RequestRefused) as error:
        return missing(str(error), f"Set {APPLICATION} to an application of this account and region, or unset it.")
    if found.state not in USABLE:
        return missing(f"{found} was deleted", f"Set {APPLICATION} to another one, or unset it.")
    architecture = "" if found.architecture == "X86_64" else "; set application.architecture to arm64 for it"
    return ok(f"{found}, {found.release}, {found.architecture}, {found.state}{architecture}")


def execution_role(setup: DoctorContext) -> Finding:
    """Check that the role exists, and that EMR Serverless may assume it."""
    arn = setup.setting(ROLE)
    if not arn:
        return missing(f"{ROLE} is not set", f"Set it to the ARN of the job runs' role, {ROLE_ARN_ALLOWED}.")
    if not ROLE_ARN.fullmatch(arn):
        return wrong(f"{ROLE} is {arn!r}", f"Set it to the ARN of the job runs' role, {ROLE_ARN_ALLOWED}.")
    try:
        role = setup.aws.call("iam", "get_role", RoleName=arn.rpartition("/")[2])["Role"]
    except NotFound:
        return missing(f"there is no role {arn}", "Create it, or set another one; docs/security.md has its policies.")
    except (AccessDenied, Unreachable) as error:  # these credentials may still be allowed to pass the role
        return unchecked(f"{arn} was not checked: {error}")
    if not _may_assume(role.get("AssumeRolePolicyDocument", {})):
        return wrong(
            f"the trust policy of {arn} does not name {PRINCIPAL}",
            f"Allow sts:AssumeRole to the service {PRINCIPAL} there.",
        )
    return ok(arn)


def _may_assume(policy: Mapping[str, Any] | str) -> bool:
    told = json.loads(policy) if isinstance(policy, str) else policy
    statements = told.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        services = statement.get("Principal", {})
        services = services.get("Service", []) if isinstance(services, Mapping) else services
        names = [services] if isinstance(services, str) else services
        if statement.get("Effect") == "Allow" and {PRINCIPAL, "*"}.intersection(names):
            return True
    return False


def quota(setup: DoctorContext) -> Finding:
    """Say how many vCPU all job runs of the account may have at once."""
    try:
        quotas = setup.aws.call("service-quotas", "list_service_quotas", ServiceCode=SERVICE).get("Quotas", [])
    except AwsError as error:
        return unchecked(f"the quota of concurrent vCPU was not checked: {error}")
    found = [quota for quota in quotas if QUOTA_NAME in quota.get("QuotaName", "")]
    if not found:
        return unchecked("Service Quotas has no quota of concurrent vCPU for EMR Serverless")
    return ok(f"{found[0]['Value']:,.0f} vCPU at once in this account and region ({found[0].get('QuotaCode', '')})")


CHECKS: dict[str, Check] = {
    "EMR Serverless": serverless,
    "application": application,
    "execution role": execution_role,
    "quota": quota,
}
