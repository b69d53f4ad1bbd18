"""Resolve the address of a storage: to an absolute folder on this machine, or s3://bucket/prefix."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import dagster as dg

from emr_pipelines.aws.deployment import base_uri, bucket_fault
from emr_pipelines.environment import ON_AWS, setting, target
from emr_pipelines.errors import InvalidValue, StorageUnusable
from emr_pipelines.remote.file_uris import local_path

DEFAULT_STORAGE = "data"
GLOB_CHARACTERS = "*?[]{}\\"  # Spark expands them in the paths it reads
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
CONTROLS = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")  # and surrogates, which UTF-8 cannot encode
ALLOWED = (
    "a folder on this machine, as a path or a file:// URI, or s3://bucket/prefix, with none of "
    f"{' '.join(GLOB_CHARACTERS)} and no control characters in it"
)
MAX_NAME_BYTES = 255  # of a file or folder: Linux's limit, kept on S3 too, so that a storage can be copied
SHOWN_CHARACTERS = 100  # of a partition's key, in a sentence
PARTITION = "partition="
CUT_ESCAPE = re.compile("%[0-9A-F]?$")
ALLOWED_IN_KEYS = (
    f"names other than . and .., with none of / {' '.join(GLOB_CHARACTERS)} and no control characters in them"
)


def resolve(configured: str) -> str:
    """Return the root of the storage, without a slash at its end.

    configured: an address, or empty for the one in the environment: EMR_PIPELINES_STORAGE, or when
    EMR_PIPELINES_TARGET is emr the prefix <deployment>/data in EMR_PIPELINES_BUCKET, or else the folder data.

    Raises StorageUnusable for an address that is not allowed.
    """
    address = configured.strip() or setting("EMR_PIPELINES_STORAGE") or _default()
    if any(character in address for character in GLOB_CHARACTERS) or CONTROLS.search(address):
        raise _not_allowed(address)
    if address.startswith("s3://"):
        return _on_s3(address)
    path = local_path(address) or address
    if SCHEME.match(path):
        raise _not_allowed(address)
    try:
        return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 (resolve() would follow links)
    except RuntimeError as error:  # no such user
        raise StorageUnusable(f"The storage {address!r} is not allowed: {error}.") from error


def validate_ways_out(asset: dg.AssetKey) -> None:
    """Raise InvalidValue for a key whose folder would lie outside the root or be shared, that Spark would read as a
    glob, or that has a part too long for a folder's name."""
    for part in asset.path:
        if _leads_out(part):
            raise InvalidValue(f"A part of the key {asset.path} of an asset", part, ALLOWED_IN_KEYS)
        if len(part.encode()) > MAX_NAME_BYTES:
            raise InvalidValue("A part of the key of an asset", part, f"at most {MAX_NAME_BYTES} bytes in UTF-8")


def partition_folder(partition: str) -> str:
    """Return the name of a partition's folder in the folder of its asset. No folder of another asset has such a name.

    The name is the percent-encoded key. A key that is too long is cut, and @ and a digest of the whole key are added;
    percent-encoding leaves no @ in other names.
    """
    name = PARTITION + quote(partition, safe="", errors="surrogatepass")
    if len(name) <= MAX_NAME_BYTES:
        return name
    digest = sha256(partition.encode(errors="surrogatepass")).hexdigest()
    return f"{CUT_ESCAPE.sub('', name[: MAX_NAME_BYTES - 1 - len(digest)])}@{digest}"


def named(asset: dg.AssetKey, partition: str | None = None) -> str:
    """Name an asset, or one of its partitions, for a message."""
    return asset.to_user_string() if partition is None else f"partition {shown(partition)} of {asset.to_user_string()}"


def shown(partition: str) -> str:
    """Format a partition's key for a message: quoted, so that it has no control characters, and cut if it is long."""
    return repr(partition[:SHOWN_CHARACTERS]) + ("..." if len(partition) > SHOWN_CHARACTERS else "")


def validate_ways_out_by(name: str) -> None:
    """Raise InvalidValue for the name or path of a file that leads out of its folder."""
    if any(map(_leads_out, name.split("/"))):
        raise InvalidValue("The name of a file of a version", name, f"{ALLOWED_IN_KEYS}; a slash between folders")


def _leads_out(part: str) -> bool:
    return part in {"", ".", ".."} or bool(CONTROLS.search(part)) or bool(set(part) & {"/", *GLOB_CHARACTERS})


def _default() -> str:
    try:
        if target() not in ON_AWS:
            return DEFAULT_STORAGE
    except InvalidValue as error:
        raise StorageUnusable(f"Without EMR_PIPELINES_STORAGE the target decides where assets live: {error}") from error
    try:
        return f"{base_uri()}/{DEFAULT_STORAGE}"
    except InvalidValue as error:
        raise StorageUnusable(
            f"With EMR_PIPELINES_TARGET=emr assets live on S3: {error} Or set EMR_PIPELINES_STORAGE to s3://bucket/prefix."
        ) from error


def _on_s3(address: str) -> str:
    bucket, *names = address.removeprefix("s3://").rstrip("/").split("/")
    # Hadoop would read s3://bucket/a//b and s3://bucket/a/../b as other keys than S3 does
    if any(name in {"", ".", ".."} for name in names):
        raise _not_allowed(address)
    if fault := bucket_fault(bucket):
        raise StorageUnusable(f"The storage {address!r} is not allowed: {fault}.")
    return "/".join(["s3:/", bucket, *names])


def _not_allowed(address: str) -> StorageUnusable:
    return StorageUnusable(f"The storage {address!r} is not allowed; allowed: {ALLOWED}.")
