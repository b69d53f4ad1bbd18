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
from dataclasses import replace
from pathlib import Path

from emr_pipelines import environment
from emr_pipelines.aws import preflight
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import base_uri
from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.aws.findings import (
    NO_REGION,
    NOT_OFFERED,
    Check,
    DoctorContext,
    Finding,
    Verdict,
    missing,
    ok,
    unchecked,
    wrong,
)
from emr_pipelines.aws.objects import join, split_uri
from emr_pipelines.aws.partitions import known_regions
from emr_pipelines.backends.emr import checks as emr_checks
from emr_pipelines.backends.emr_serverless import checks as serverless_checks
from emr_pipelines.errors import (
    AccessDenied,
    AwsError,
    CredentialsMissing,
    EmrPipelinesError,
    InvalidValue,
    JavaNotUsable,
    NotFound,
    RequestRefused,
    Throttled,
    Unreachable,
)
from emr_pipelines.report import Reporter, no_report
from emr_pipelines.runners import vector_module
from emr_pipelines.runners.java import find_java, java_version
from emr_pipelines.spark_lines import installed_spark, line_of

PATIENCE_SECONDS = 5.0  # `within_seconds` of the Aws to pass: a service that does not answer
LONGEST_SECONDS = 15.0  # for all checks together; a connection may take 10 of them
CLUSTER_PYTHON = "3.11"
BAD = frozenset({Verdict.MISSING, Verdict.WRONG})


def run_checks(
    setup: DoctorContext, within_seconds: float = LONGEST_SECONDS, report: Reporter = no_report
) -> list[Finding]:
    """Run all checks, and return their findings in a fixed order. Raises nothing.

    The checks run concurrently, so that a service that does not answer delays no other check. One that does not finish
    in time is WRONG.
    """
    found: dict[str, Finding] = {}
    checks = checks_for(setup)

    def make(name: str, check: Check) -> None:
        try:
            found[name] = replace(_of_setting(name, setup) or check(setup), check=name)
        except EmrPipelinesError as error:
            found[name] = _of_error(name, error)
        except Exception as error:  # noqa: BLE001 (an unexpected error is a finding too)
            found[name] = Finding(name, Verdict.WRONG, f"the check failed with an unexpected error: {error!r}")

    threads = [
        threading.Thread(target=make, args=check, name=f"doctor {check[0]}", daemon=True) for check in checks.items()
    ]
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
        for name in checks
    ]


def settings(setup: DoctorContext) -> Finding:
    """Check the variables that need no other check; bucket and storage have their own."""
    if unknown := environment.unknown(setup.environ):
        return wrong(" ".join(unknown).removesuffix("."), "Correct the name, or unset it.")
    told = [name for name in environment.VARIABLES if setup.setting(name)]
    return ok(", ".join(told) or f"no variable {environment.PREFIX}... is set")


def python(setup: DoctorContext) -> Finding:  # noqa: ARG001 (as all checks are)
    here = platform.python_version()
    return ok(f"{here} here; programs on a cluster run on {CLUSTER_PYTHON}, so write them for that version")


def spark(setup: DoctorContext) -> Finding:  # noqa: ARG001
    """Say which Spark and Java run programs here, and what a cluster runs by default."""
    version, notes = installed_spark(), list[str]()
    line = line_of(version)
    try:
        home = find_java(notes.append, line)
    except JavaNotUsable as error:
        return wrong(str(error))
    java = f"Java {java_version(Path(home) / 'bin' / 'java')} in {home}"
    if line.needs_vector_module and not vector_module.has_module(home):
        java += f", without its missing module {vector_module.MODULE}"
    if not version.startswith(f"{line.spark}."):
        return wrong(
            f"pyspark {version} is of no line that EMR runs", f"Install one with pip install '{line.pyspark}'."
        )
    return ok(" ".join([f"pyspark {version} on {java}; clusters run {line.newest} by default.", *notes]).rstrip("."))


def uv(setup: DoctorContext) -> Finding:  # noqa: ARG001
    if importlib.util.find_spec("uv") is None:
        return missing(
            "not installed, and required to send the packages in a program's REQUIREMENTS to a cluster",
            "Install it with pip install uv.",
        )
    return ok("installed")


def credentials(setup: DoctorContext) -> Finding:
    try:
        identity = setup.aws.call("sts", "get_caller_identity")
    except CredentialsMissing as error:
        if not error.code:
            return missing(str(error))
        return wrong(str(error), "Or use another profile: set AWS_PROFILE, and unset AWS_ACCESS_KEY_ID.")
    return ok(f"account {identity['Account']}, {identity['Arn']}")


def region(setup: DoctorContext) -> Finding:
    name = setup.aws.region
    if name in known_regions():
        return ok(name)
    return unchecked(f"the installed botocore does not know the region {name}; it may be a newer one")


def bucket(setup: DoctorContext) -> Finding:
    """Check that the bucket exists, is in EMR's region, and can be written below the deployment's folder."""
    return _on_s3(setup, base_uri(environ=setup.environ))


def encryption(setup: DoctorContext) -> Finding:
    """Check that the setting is valid; `bucket` and `storage` try it out."""
    found = Encryption.configured(setup.environ)
    if not found.algorithm:
        return ok("the bucket's default; set EMR_PIPELINES_ENCRYPTION to request another")
    here = _region(setup.aws)
    if found.key_region and here and found.key_region != here:
        return wrong(f"the key is in {found.key_region}, but EMR runs in {here}", "Use a key in the same region.")
    return ok(f"{found.algorithm}, with {found.key or 'no key of your own'}")


def storage(setup: DoctorContext) -> Finding:
    address = setup.storage()
    if address.startswith("s3://"):
        return _on_s3(setup, address)
    if environment.target(setup.environ) in environment.ON_AWS:
        preflight.check_storage(address)
    there = next(folder for folder in (Path(address), *Path(address).parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return wrong(f"{address} is not writable", "Set EMR_PIPELINES_STORAGE to a writable folder.")
    return ok(f"{address}, on this machine; with EMR_PIPELINES_TARGET=emr or emr-serverless it must be on S3")


def checks_for(setup: DoctorContext) -> dict[str, Check]:
    """Return the checks, in their order; which service is checked depends on the target, by default EMR on EC2."""
    try:
        serverless = environment.target(setup.environ) == "emr-serverless"
    except InvalidValue:  # `settings` reports it
        serverless = False
    of_service = dict(serverless_checks.CHECKS if serverless else emr_checks.CHECKS)
    names: list[str] = [name for name in ("EMR", "release", "EMR Serverless") if name in of_service]
    first: dict[str, Check] = {name: of_service.pop(name) for name in names}
    return {
        "settings": settings,
        "Python": python,
        "Spark": spark,
        "uv": uv,
        "credentials": credentials,
        "region": region,
        **first,
        "bucket": bucket,
        "encryption": encryption,
        **of_service,
        "storage": storage,
    }


def _of_setting(name: str, setup: DoctorContext) -> Finding | None:
    """Return the mistake in the setting of that name, in the words of a run."""
    if name not in preflight.CHECKS:
        return None
    try:
        preflight.CHECKS[name](setup.settings)
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


def _on_s3(setup: DoctorContext, folder: str) -> Finding:
    """Check a folder on S3: its bucket exists and is in EMR's region, and objects can be listed, written and deleted.

    It makes no call about the bucket as a whole: permissions on this folder are enough.
    """
    try:
        name, prefix = split_uri(folder)
    except InvalidValue as error:
        return wrong(str(error))
    aws, key = setup.aws, join(prefix, f"doctor-{uuid.uuid4().hex}").lstrip("/")
    try:
        answer = aws.call("s3", "list_objects_v2", Bucket=name, Prefix=key, MaxKeys=1)
    except NotFound:
        return missing(f"there is no bucket {name!r}", f"Create it with aws s3 mb s3://{name}, or set another one.")
    except AccessDenied as error:
        return wrong(
            f"{error}", f"Allow s3:ListBucket on {name} for these credentials, or choose a bucket of this account."
        )
    in_region = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    try:
        asked = Encryption.configured(setup.environ)
    except InvalidValue:  # another check reports it
        asked = Encryption()
    try:
        aws.call("s3", "put_object", Bucket=name, Key=key, Body=b"", **asked.of_put())
        aws.call("s3", "delete_object", Bucket=name, Key=key)
    except AccessDenied as error:
        to_do = f"Allow s3:PutObject, s3:GetObject and s3:DeleteObject on {name}. {asked.when_denied()}"
        return wrong(f"{error}", to_do)
    if in_region and in_region != _region(aws):
        return wrong(
            f"{name} is in {in_region}, but EMR runs in {_region(aws) or 'no region'}",
            "Use a bucket in the same region: traffic between regions is slow and is billed.",
        )
    return ok(f"{folder} is writable{f', in {in_region}' if in_region else ''}")


def _region(aws: Aws) -> str:
    try:
        return aws.region
    except AwsError:
        return ""
