"""Where a deployment has its place on S3, and what it is called: EMR_PIPELINES_BUCKET and EMR_PIPELINES_DEPLOYMENT."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from emr_pipelines.environment import setting
from emr_pipelines.errors import InvalidValue

DEFAULT_DEPLOYMENT = "default"
LONGEST_DEPLOYMENT = 64
BUCKET_NAME = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
# both are parts of URIs that Spark reads, which has its own ideas of commas, spaces and #
BUCKET = re.compile(rf"(?:s3://)?({BUCKET_NAME}(?:/(?!\.{{1,2}}(?:/|$))[A-Za-z0-9._=@+-]+)*)/*")
DEPLOYMENT = re.compile(rf"(?!\.{{1,2}}$)[A-Za-z0-9._-]{{1,{LONGEST_DEPLOYMENT}}}")
# what is in a deployment's folder, and so what its roles may read and write there: another deployment must not be below
FOLDERS = ("clusters", "code", "data", "deps", "files", "inputs", "jars", "logs", "steps")
RESERVED = re.compile(rf"{'|'.join(FOLDERS)}|doctor-.*")
NOT_RESERVED = f"none of a deployment's own folders: {', '.join(FOLDERS)}, doctor-..."


def deployment_name(configured: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """What keeps one deployment's clusters and data apart from another's in the same account. Raises InvalidValue."""
    name = configured.strip() or setting("EMR_PIPELINES_DEPLOYMENT", environ) or DEFAULT_DEPLOYMENT
    if not DEPLOYMENT.fullmatch(name):
        allowed = f"1 to {LONGEST_DEPLOYMENT} letters, digits, dots, hyphens and underscores"
        raise InvalidValue("EMR_PIPELINES_DEPLOYMENT", name, allowed)
    if RESERVED.fullmatch(name):
        raise InvalidValue("EMR_PIPELINES_DEPLOYMENT", name, f"a name that is {NOT_RESERVED}")
    return name


def base_uri(bucket: str = "", deployment: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """The folder of a deployment, `s3://bucket/prefix/<deployment>`, without a slash at its end.

    bucket: my-bucket, my-bucket/prefix or s3://my-bucket/prefix. Raises InvalidValue.
    """
    address = bucket.strip() or setting("EMR_PIPELINES_BUCKET", environ)
    found = BUCKET.fullmatch(address)
    if not found:
        raise InvalidValue("EMR_PIPELINES_BUCKET", address, "a bucket: my-bucket, or s3://my-bucket/prefix")
    # its first part can be called so, since in another deployment's folder that deployment's name would stand before it
    if any(RESERVED.fullmatch(part) for part in found.group(1).split("/")[2:]):
        raise InvalidValue("EMR_PIPELINES_BUCKET", address, f"a prefix whose parts after the first are {NOT_RESERVED}")
    return f"s3://{found.group(1)}/{deployment_name(deployment, environ)}"
