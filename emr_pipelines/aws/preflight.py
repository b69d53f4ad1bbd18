"""Checks the settings that programs on EMR need, without calling AWS.

`emr-pipelines doctor` shows the result of each check. A run raises the first mistake before it uploads or launches
anything. The storage has a check of its own, because a run learns it only from its programs' parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from emr_pipelines import environment
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import base_uri
from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.aws.partitions import REGION_FORM, known_regions, partition_of
from emr_pipelines.errors import RequestRefused, StorageUnusable

UNKNOWN_REGION = "UnknownRegion"


@dataclass(frozen=True)
class Settings:
    """The settings to check. bucket: the runner's own; empty for EMR_PIPELINES_BUCKET."""

    aws: Aws
    environ: Mapping[str, str]
    bucket: str = ""


def check_region(name: str) -> None:
    """Raise RequestRefused for a region that botocore does not know and that does not look like a newer one."""
    known = known_regions()
    if name in known or (REGION_FORM.fullmatch(name) and partition_of(name).id):
        return
    nearest = " or ".join(get_close_matches(name, known, 2))
    meant = f" Did you mean {nearest}?" if nearest else ""
    to_do = "Set AWS_REGION (us-east-1, for example), or a region in the AWS profile."
    raise RequestRefused(f"There is no region {name!r}.{meant} {to_do}", UNKNOWN_REGION)


def check_storage(address: str) -> None:
    """Raise StorageUnusable for an address that a cluster cannot reach."""
    if not address.startswith("s3://"):
        raise StorageUnusable(
            f"The storage {address} is a folder of this machine, which a cluster cannot reach. Set "
            "EMR_PIPELINES_STORAGE, or the uri of the Storage resource, to s3://bucket/prefix. If neither is set and "
            "EMR_PIPELINES_TARGET is emr, assets are stored in EMR_PIPELINES_BUCKET."
        )


# the names are those that the doctor shows
CHECKS: dict[str, Callable[[Settings], object]] = {
    "settings": lambda settings: environment.check(settings.environ),
    "bucket": lambda settings: base_uri(settings.bucket, environ=settings.environ),
    "encryption": lambda settings: Encryption.configured(settings.environ),
    "region": lambda settings: check_region(settings.aws.region),
}


def validate_settings(settings: Settings) -> None:
    """Raise the first mistake: InvalidValue, or RequestRefused for a region that is not set or does not exist."""
    for check in CHECKS.values():
        check(settings)
