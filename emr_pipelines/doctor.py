"""Checks what a program needs before it can run on EMR, and says what to do about each problem.

It launches nothing and leaves nothing behind: it deletes the one object that it writes, an empty one in the bucket.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emr_pipelines import environment
from emr_pipelines.aws import preflight
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import base_uri
from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.aws.objects import join, split_uri
from emr_pipelines.aws.partitions import known_regions
from emr_pipelines.aws.redaction import masked
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import ACTIVE
from emr_pipelines.enums import TextEnum
from emr_pipelines.errors import (
    AccessDenied,
    AwsError,
    CredentialsMissing,
    EmrPipelinesError,
    InvalidValue,
    NotFound,
    RequestRefused,
    Throttled,
    Unreachable,
)
from emr_pipelines.report import Reporter, no_report

PATIENCE_SECONDS = 5.0  # `within_seconds` of the Aws to pass: a service that does not answer
LONGEST_SECONDS = 15.0  # for all checks together; a connection may take 10 of them
CLUSTER_PYTHON = "3.11"
NOT_OFFERED = frozenset({"NotEmulated", "UnknownOperationException", "UnknownOperation"})
NO_REGION = "NoRegion"
DEFAULT_ROLES = frozenset({"EMR_DefaultRole", "EMR_EC2_DefaultRole"})


class Verdict(TextEnum):
    OK = "OK"
    MISSING = "MISSING"
    WRONG = "WRONG"
    UNCHECKED = "UNCHECKED"  # the check was not possible, which is no failure


BAD = frozenset({Verdict.MISSING, Verdict.WRONG})


@dataclass(frozen=True)
class Finding:
    """The result of a check, with what to do if it is bad."""

    check: str
    verdict: Verdict
    found: str
    to_do: str = ""

    def __str__(self) -> str:
        sentences = self.found if self.found.endswith(".") else f"{self.found}."
        return f"{self.verdict:<9}  {self.check}: {sentences}" + (f" {self.to_do}" if self.to_do else "")


@dataclass(frozen=True)
class DoctorContext:
    """What the checks look at: AWS and the environment.

    storage: returns the address where assets are stored; raises what `Storage` raises for an invalid one.
    """

    aws: Aws
    environ: Mapping[str, str]
    storage: Callable[[], str]

    @property
    def settings(self) -> preflight.Settings:
        return preflight.Settings(self.aws, self.environ)

    def setting(self, name: str) -> str:
        return environment.setting(name, self.environ)


Check = Callable[[DoctorContext], Finding]


def run_checks(
    patient: DoctorContext, within_seconds: float = LONGEST_SECONDS, report: Reporter = no_report
) -> list[Finding]:
    """Run all checks, and return their findings in a fixed order. Raises nothing.

    The checks run concurrently, so that a service that does not answer delays no other check. One that does not finish
    in time is WRONG.
    """
    found: dict[str, Finding] = {}

    def make(name: str, check: Check) -> None:
        try:
            found[name] = replace(_of_setting(name, patient) or check(patient), check=name)
        except EmrPipelinesError as error:
            found[name] = _of_error(name, error)
        except Exception as error:  # noqa: BLE001 (an unexpected error is a finding too)
            found[name] = Finding(name, Verdict.WRONG, f"the check failed with an unexpected error: {error!r}")

    threads = [threading.Thread(target=make, args=check, name=f"doctor {check[0]}", daemon=True) for check in CHECKS]
    deadline = time.monotonic() + within_seconds
    for thread in threads:
        thread.start()
    with report("Checking the setup", total=len(threads), unit="checks", at_most_seconds=within_seconds) as work:
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            work.advance(1)
    late = f"no answer within {within_seconds:g} s"
    return [
        found.get(name) or Finding(name, Verdict.WRONG, late, "Check the network, and AWS_ENDPOINT_URL if it is set.")
        for name, _ in CHECKS
    ]


def settings(patient: DoctorContext) -> Finding:
    """Check the variables that need no other check; bucket and storage have their own."""
    if unknown := environment.unknown(patient.environ):
        return _wrong(" ".join(unknown).removesuffix("."), "Correct the name, or unset it.")
    told = [name for name in environment.VARIABLES if patient.setting(name)]
    return _ok(", ".join(told) or f"no variable {environment.PREFIX}... is set")


def python(patient: DoctorContext) -> Finding:  # noqa: ARG001 (as all checks are)
    here = platform.python_version()
    return _ok(f"{here} here; programs on a cluster run on {CLUSTER_PYTHON}, so write them for that version")


def uv(patient: DoctorContext) -> Finding:  # noqa: ARG001
    if importlib.util.find_spec("uv") is None:
        return _missing(
            "not installed, and required to send the packages in a program's REQUIREMENTS to a cluster",
            "Install it with pip install uv.",
        )
    return _ok("installed")


def credentials(patient: DoctorContext) -> Finding:
    try:
        identity = patient.aws.call("sts", "get_caller_identity")
    except CredentialsMissing as error:
        if not error.code:
            return _missing(str(error))
        return _wrong(str(error), "Or use another profile: set AWS_PROFILE, and unset AWS_ACCESS_KEY_ID.")
    return _ok(f"account {identity['Account']}, {identity['Arn']}")


def region(patient: DoctorContext) -> Finding:
    name = patient.aws.region
    if name in known_regions():
        return _ok(name)
    return _unchecked(f"the installed botocore does not know the region {name}; it may be a newer one")


def emr(patient: DoctorContext) -> Finding:
    where = patient.setting("AWS_ENDPOINT_URL_EMR") or patient.setting("AWS_ENDPOINT_URL")
    at = f" at {masked(where)} (AWS_ENDPOINT_URL)" if where else ""
    try:
        page = patient.aws.call("emr", "list_clusters", ClusterStates=sorted(map(str, ACTIVE)))
    except AccessDenied as error:
        return _wrong(str(error), "Allow elasticmapreduce:* to these credentials.")
    except Unreachable as error:
        where = f"the endpoint{at}" if at else "the name of the region"
        return _wrong(str(error), f"Check the network, and {where}.")
    count = f"{len(page.get('Clusters', ()))}{' or more' if 'Marker' in page else ''}"
    return _ok(f"it answers{at}; active clusters in this account and region: {count}")


def release(patient: DoctorContext) -> Finding:
    label = ClusterSpec().release_label
    try:
        answer = patient.aws.call("emr", "describe_release_label", ReleaseLabel=label)
    except RequestRefused as error:
        if error.code in NOT_OFFERED | {NO_REGION}:
            raise
        return _wrong(f"EMR does not know {label}: {error}", "Choose another release_label for the cluster.")
    except (AccessDenied, Unreachable) as error:
        return _unchecked(f"could not check whether EMR has {label}: {error}")
    spark = [entry.get("Version", "?") for entry in answer.get("Applications", []) if entry.get("Name") == "Spark"]
    return _ok(f"{label}, with Spark {spark[0]}" if spark else label)


def bucket(patient: DoctorContext) -> Finding:
    """Check that the bucket exists, is in EMR's region, and can be written below the deployment's folder."""
    return _on_s3(patient, base_uri(environ=patient.environ))


def encryption(patient: DoctorContext) -> Finding:
    """Check that the setting is valid; `bucket` and `storage` try it out."""
    found = Encryption.configured(patient.environ)
    if not found.algorithm:
        return _ok("the bucket's default; set EMR_PIPELINES_ENCRYPTION to request another")
    here = _region(patient.aws)
    if found.key_region and here and found.key_region != here:
        return _wrong(f"the key is in {found.key_region}, but EMR runs in {here}", "Use a key in the same region.")
    return _ok(f"{found.algorithm}, with {found.key or 'no key of your own'}")


def service_role(patient: DoctorContext) -> Finding:
    name = patient.setting("EMR_PIPELINES_SERVICE_ROLE") or ClusterSpec().service_role
    return _in_iam(patient, name, "EMR_PIPELINES_SERVICE_ROLE", "get_role", "RoleName")[0]


def instance_profile(patient: DoctorContext) -> Finding:
    name = patient.setting("EMR_PIPELINES_INSTANCE_PROFILE") or ClusterSpec().instance_profile
    finding, answer = _in_iam(
        patient, name, "EMR_PIPELINES_INSTANCE_PROFILE", "get_instance_profile", "InstanceProfileName"
    )
    if answer and not answer["InstanceProfile"].get("Roles"):
        return _wrong(f"{name} exists but contains no role", f"Add one: {_add_role(name)}.")
    return finding


def storage(patient: DoctorContext) -> Finding:
    address = patient.storage()
    if address.startswith("s3://"):
        return _on_s3(patient, address)
    if environment.target(patient.environ) == "emr":
        preflight.check_storage(address)
    there = next(folder for folder in (Path(address), *Path(address).parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return _wrong(f"{address} is not writable", "Set EMR_PIPELINES_STORAGE to a writable folder.")
    return _ok(f"{address}, on this machine; with EMR_PIPELINES_TARGET=emr it must be on S3")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("settings", settings),
    ("Python", python),
    ("uv", uv),
    ("credentials", credentials),
    ("region", region),
    ("EMR", emr),
    ("release", release),
    ("bucket", bucket),
    ("encryption", encryption),
    ("service role", service_role),
    ("instance profile", instance_profile),
    ("storage", storage),
)


def _ok(found: str) -> Finding:
    return Finding("", Verdict.OK, found)


def _missing(found: str, to_do: str = "") -> Finding:
    return Finding("", Verdict.MISSING, found, to_do)


def _wrong(found: str, to_do: str = "") -> Finding:
    return Finding("", Verdict.WRONG, found, to_do)


def _unchecked(found: str) -> Finding:
    return Finding("", Verdict.UNCHECKED, found)


def _of_setting(name: str, patient: DoctorContext) -> Finding | None:
    """Return the mistake in the setting of that name, in the words of a run."""
    if name not in preflight.CHECKS:
        return None
    try:
        preflight.CHECKS[name](patient.settings)
    except InvalidValue as error:
        return Finding("", Verdict.WRONG if error.value else Verdict.MISSING, str(error))
    except RequestRefused as error:
        if error.code not in {NO_REGION, preflight.UNKNOWN_REGION}:
            raise
        return Finding("", Verdict.MISSING if error.code == NO_REGION else Verdict.WRONG, str(error))
    return None


def _of_error(name: str, error: EmrPipelinesError) -> Finding:
    """Return the finding for an error that a check does not handle; what another check reports is UNCHECKED."""
    if isinstance(error, CredentialsMissing):
        return Finding(name, Verdict.UNCHECKED, "not checked: there are no valid credentials")
    if isinstance(error, AwsError) and error.code == NO_REGION:
        return Finding(name, Verdict.UNCHECKED, "not checked: there is no region")
    if isinstance(error, Throttled) or (isinstance(error, AwsError) and error.code in NOT_OFFERED):
        return Finding(name, Verdict.UNCHECKED, f"not checked: {error}")
    if isinstance(error, Unreachable):
        return Finding(name, Verdict.WRONG, str(error), "Check the network, and AWS_ENDPOINT_URL if it is set.")
    return Finding(name, Verdict.WRONG, str(error))


def _on_s3(patient: DoctorContext, folder: str) -> Finding:
    """Check a folder on S3: its bucket exists and is in EMR's region, and objects can be listed, written and deleted.

    It makes no call about the bucket as a whole: permissions on this folder are enough.
    """
    try:
        name, prefix = split_uri(folder)
    except InvalidValue as error:
        return _wrong(str(error))
    aws, key = patient.aws, join(prefix, f"doctor-{uuid.uuid4().hex}").lstrip("/")
    try:
        answer = aws.call("s3", "list_objects_v2", Bucket=name, Prefix=key, MaxKeys=1)
    except NotFound:
        return _missing(f"there is no bucket {name!r}", f"Create it with aws s3 mb s3://{name}, or set another one.")
    except AccessDenied as error:
        return _wrong(
            f"{error}", f"Allow s3:ListBucket on {name} for these credentials, or choose a bucket of this account."
        )
    in_region = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    try:
        asked = Encryption.configured(patient.environ)
    except InvalidValue:  # another check reports it
        asked = Encryption()
    try:
        aws.call("s3", "put_object", Bucket=name, Key=key, Body=b"", **asked.of_put())
        aws.call("s3", "delete_object", Bucket=name, Key=key)
    except AccessDenied as error:
        to_do = f"Allow s3:PutObject, s3:GetObject and s3:DeleteObject on {name}. {asked.when_denied()}"
        return _wrong(f"{error}", to_do)
    if in_region and in_region != _region(aws):
        return _wrong(
            f"{name} is in {in_region}, but EMR runs in {_region(aws) or 'no region'}",
            "Use a bucket in the same region: traffic between regions is slow and is billed.",
        )
    return _ok(f"{folder} is writable{f', in {in_region}' if in_region else ''}")


def _region(aws: Aws) -> str:
    try:
        return aws.region
    except AwsError:
        return ""


def _in_iam(
    patient: DoctorContext, name: str, variable: str, operation: str, parameter: str
) -> tuple[Finding, dict[str, Any] | None]:
    """Look up a role or an instance profile by name or ARN; return the finding and IAM's response.

    It is UNCHECKED for credentials that may not read IAM: they may still be allowed to pass the role.
    """
    asked: dict[str, Any] = {parameter: name.rpartition("/")[2]}
    try:
        answer = patient.aws.call("iam", operation, **asked)
    except NotFound:
        to_do = f"Set {variable} to an existing one, or create it"
        default = " with aws emr create-default-roles" if name in DEFAULT_ROLES else ""
        return _missing(f"there is no {name}", f"{to_do}{default}."), None
    except (AccessDenied, Unreachable) as error:
        return _unchecked(f"{name} was not checked: {error}"), None
    return _ok(name), answer


def _add_role(profile: str) -> str:
    return f"aws iam add-role-to-instance-profile --instance-profile-name {profile} --role-name <role>"
