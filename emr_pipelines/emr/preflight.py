"""Settings that programs on EMR need, judged without a call to AWS.

The doctor shows what each check says; a run raises the first mistake before anything is uploaded or launched. Where
assets live is judged apart, since a run knows its storage by what its programs are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emr_pipelines.emr.place import base_uri, target
from emr_pipelines.errors import StorageUnusable

if TYPE_CHECKING:
    from emr_pipelines.emr.client import Aws


@dataclass(frozen=True)
class Settings:
    """What is judged. `bucket` is the runner's own; empty for what the environment says."""

    aws: Aws
    environ: Mapping[str, str]
    bucket: str = ""


# by the names that the doctor gives them
CHECKS: dict[str, Callable[[Settings], object]] = {
    "target": lambda settings: target(settings.environ),
    "bucket": lambda settings: base_uri(settings.bucket, environ=settings.environ),
    "region": lambda settings: settings.aws.region,
}


def refuse_mistakes(settings: Settings) -> None:
    """Raise the first mistake: InvalidValue, or RequestRefused where nothing says which region."""
    for check in CHECKS.values():
        check(settings)


def check_storage(address: str) -> None:
    """Raise StorageUnusable for a place that no cluster can reach."""
    if not address.startswith("s3://"):
        raise StorageUnusable(
            f"The storage {address} is a folder of this machine, which a cluster cannot reach: set "
            "EMR_PIPELINES_STORAGE, or the uri of the Storage resource, to s3://bucket/prefix. With neither set, and "
            "with EMR_PIPELINES_TARGET=emr, assets live in EMR_PIPELINES_BUCKET."
        )
