"""The environment variables of this package: names, descriptions, and how each is read."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Literal

from emr_pipelines.errors import InvalidValue, nearest

Target = Literal["local", "emr", "emr-serverless"]

PREFIX = "EMR_PIPELINES_"
TARGETS: tuple[Target, ...] = ("local", "emr", "emr-serverless")
ON_AWS = frozenset(TARGETS) - {"local"}
DEFAULT_MAX_AGE_HOURS = 48.0
DEFAULT_IDLE_SHARE = 0.5

# name: description, in Markdown; docs/settings.py adds the defaults
VARIABLES = {
    "EMR_PIPELINES_TARGET": "Where programs run: `local`, `emr` or `emr-serverless`.",
    "EMR_PIPELINES_SOURCE": "The text that `input_text` ingests and `new_text_sensor` watches; by default the sample "
    "text.",
    "EMR_PIPELINES_STORAGE": "Where the assets' data is stored: a folder, or `s3://bucket/prefix`. On EMR the "
    "default is `<bucket>/<deployment>/data`.",
    "EMR_PIPELINES_BUCKET": "`my-bucket` or `s3://my-bucket/prefix`, for code, results and logs of programs on EMR. "
    "Required there.",
    "EMR_PIPELINES_DEPLOYMENT": "Separates deployments in one account; use one per Dagster instance.",
    "EMR_PIPELINES_ENCRYPTION": "The encryption to request with each write to S3, if the bucket's policy requires it: "
    "`AES256`, `aws:kms` or `aws:kms:dsse`. By default the bucket's setting decides.",
    "EMR_PIPELINES_KMS_KEY": "The ARN of the KMS key for this encryption; alone, it means `aws:kms`.",
    "EMR_PIPELINES_SERVICE_ROLE": "The name or ARN of EMR's service role.",
    "EMR_PIPELINES_INSTANCE_PROFILE": "The instance profile of the cluster's instances.",
    "EMR_PIPELINES_EXECUTION_ROLE": "The ARN of the role of job runs on EMR Serverless. Required there.",
    "EMR_PIPELINES_APPLICATION": "The id of an application on EMR Serverless that exists; by default one is made.",
    "EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS": "The age at which `orphaned_clusters_sensor` ends a cluster or a job run, "
    "whatever its Dagster run does.",
    "EMR_PIPELINES_ORPHAN_DRY_RUN": "`orphaned_clusters_sensor` only reports what it would end.",
    "EMR_PIPELINES_DAILY_BUDGET_USD": "The check `daily_budget` of `spark_costs` fails above this many USD per day; "
    "by default there is no budget.",
    "EMR_PIPELINES_MOST_IDLE_SHARE": "The check `idle_share` of `spark_costs` fails above this share of a day, 0 to 1.",
}


def setting(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a variable without surrounding spaces; empty if it is not set."""
    return environ.get(name, "").strip()


def target(environ: Mapping[str, str] = os.environ) -> Target:
    """Return where programs run; case does not matter. Raises InvalidValue."""
    told = setting("EMR_PIPELINES_TARGET", environ)
    for known in TARGETS:
        if (told or "local").lower() == known:
            return known
    raise InvalidValue(
        "EMR_PIPELINES_TARGET", told, f"{', '.join(TARGETS[:-1])} or {TARGETS[-1]}", nearest(told, TARGETS)
    )


def daily_budget_usd(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the budget in USD per day, if any. Raises InvalidValue."""
    return _number("EMR_PIPELINES_DAILY_BUDGET_USD", environ, "a number, 0 or more")


def most_idle_share(environ: Mapping[str, str] = os.environ) -> float:
    """Return the allowed idle share of a day's instance time, 0 to 1. Raises InvalidValue."""
    share = _number("EMR_PIPELINES_MOST_IDLE_SHARE", environ, "a number, 0 to 1", most=1)
    return DEFAULT_IDLE_SHARE if share is None else share


def orphan_max_age_hours(environ: Mapping[str, str] = os.environ) -> float:
    """Return the age in hours at which a cluster or a job run is an orphan in any case. Raises InvalidValue."""
    allowed = "a number of hours above 0, such as 24"
    hours = _number("EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS", environ, allowed, least=math.ulp(0.0))
    return DEFAULT_MAX_AGE_HOURS if hours is None else hours


def orphan_dry_run(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the orphan sensor only reports what it would end. Raises InvalidValue."""
    told = setting("EMR_PIPELINES_ORPHAN_DRY_RUN", environ).lower()
    if told not in ("", "0", "1", "true", "false"):
        allowed = "1, true, 0, false, or nothing, which is false"
        raise InvalidValue("EMR_PIPELINES_ORPHAN_DRY_RUN", told, allowed)
    return told in ("1", "true")


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raise InvalidValue for the first invalid variable that can be checked by itself."""
    for read in (target, daily_budget_usd, most_idle_share, orphan_max_age_hours, orphan_dry_run):
        read(environ)


def unknown(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each variable with our prefix that nothing reads."""
    sentences = []
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name not in VARIABLES:
            meant = nearest(name, VARIABLES)
            ending = f"; the nearest known is {meant}." if meant else f". Known are {', '.join(VARIABLES)}."
            sentences.append(f"The environment variable {name} is unknown and has no effect{ending}")
    return sentences


def _number(
    name: str, environ: Mapping[str, str], allowed: str, least: float = 0, most: float = sys.float_info.max
) -> float | None:
    told = setting(name, environ)
    if not told:
        return None
    try:
        found = float(told)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise InvalidValue(name, told, allowed)
    return found
