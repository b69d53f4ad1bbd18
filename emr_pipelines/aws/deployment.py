"""A deployment's name and its folder on S3: EMR_PIPELINES_DEPLOYMENT and EMR_PIPELINES_BUCKET."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from emr_pipelines.environment import setting
from emr_pipelines.errors import InvalidValue

DEFAULT_DEPLOYMENT = "default"
LONGEST_DEPLOYMENT = 64
LONGEST_BUCKET, SHORTEST_BUCKET = 63, 3
HOST_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
# both are parts of URIs, in which commas, spaces and # mean something to Spark
BUCKET = re.compile(r"(?:s3://)?(([a-z0-9._-]+)(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._=@+-]+)*)/*")
DEPLOYMENT = re.compile(rf"(?!\.{{1,2}}$)[A-Za-z0-9._-]{{1,{LONGEST_DEPLOYMENT}}}")
# the folders in a deployment's folder, which its roles may read and write; no other deployment may be below them
FOLDERS = ("clusters", "code", "data", "deps", "files", "inputs", "jars", "logs", "steps")
RESERVED = re.compile(rf"{'|'.join(FOLDERS)}|doctor-.*")
NOT_RESERVED = f"none of a deployment's own folders: {', '.join(FOLDERS)}, doctor-..."


def deployment_name(configured: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """Return the name that separates this deployment from others in the account. Raises InvalidValue."""
    name = configured.strip() or setting("EMR_PIPELINES_DEPLOYMENT", environ) or DEFAULT_DEPLOYMENT
    if not DEPLOYMENT.fullmatch(name):
        allowed = f"1 to {LONGEST_DEPLOYMENT} letters, digits, dots, hyphens and underscores"
        raise InvalidValue("EMR_PIPELINES_DEPLOYMENT", name, allowed)
    if RESERVED.fullmatch(name):
        raise InvalidValue("EMR_PIPELINES_DEPLOYMENT", name, f"a name that is {NOT_RESERVED}")
    return name


def bucket_fault(name: str) -> str | None:
    """Return why Spark cannot use a bucket with this name, as the end of a sentence; None if it can.

    S3 itself would allow some of these. But Hadoop's S3A, through which Spark reads and writes from emr-7.10 on, takes
    a bucket for the host of a URI and fails where java.net.URI finds none (HADOOP-17241). Aliases of access points
    (`...-s3alias`) can stand for buckets, and are allowed.
    """
    if not SHORTEST_BUCKET <= len(name) <= LONGEST_BUCKET:
        return f"a bucket's name has {SHORTEST_BUCKET} to {LONGEST_BUCKET} characters"
    if "_" in name:
        return "Spark cannot read a bucket with an underscore in its name"
    if not re.fullmatch(rf"{HOST_LABEL}(?:\.{HOST_LABEL})*", name):
        return (
            "a bucket's name has small letters, digits, hyphens and dots, and a letter or digit at its ends and beside "
            "each dot"
        )
    if re.fullmatch(r"\d+(?:\.\d+){3}", name) or name.startswith("xn--"):
        return "S3 has no bucket whose name is an IP address or begins with xn--"
    *_, last = name.split(".")
    if last != name and last[0].isdigit():
        return f"Spark cannot read a bucket whose name has a digit after its last dot, as {last!r} has"
    return None


def bucket_and_prefix(address: str, name: str = "EMR_PIPELINES_BUCKET") -> str:
    """Return `bucket/prefix` for an address like my-bucket, my-bucket/prefix or s3://my-bucket/prefix.

    name: the setting that has this address, for the message. Raises InvalidValue for a bucket that Spark cannot use,
    or a prefix that could be taken for a folder of a deployment.
    """
    found = BUCKET.fullmatch(address)
    if not found:
        raise InvalidValue(name, address, "a bucket: my-bucket, or s3://my-bucket/prefix")
    if fault := bucket_fault(found.group(2)):
        raise InvalidValue(name, address, f"a bucket that Spark can use; {fault}")
    # only its first part may have such a name: below another deployment's folder, that deployment's name comes first
    if any(RESERVED.fullmatch(part) for part in found.group(1).split("/")[2:]):
        raise InvalidValue(name, address, f"a prefix whose parts after the first are {NOT_RESERVED}")
    return found.group(1)


def base_uri(bucket: str = "", deployment: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """Return the folder of a deployment, `s3://bucket/prefix/<deployment>`, without a final slash.

    bucket: my-bucket, my-bucket/prefix or s3://my-bucket/prefix; empty for EMR_PIPELINES_BUCKET. Raises InvalidValue.
    """
    if told := bucket.strip():
        place = bucket_and_prefix(told, "bucket")
    else:
        place = bucket_and_prefix(setting("EMR_PIPELINES_BUCKET", environ))
    return f"s3://{place}/{deployment_name(deployment, environ)}"
