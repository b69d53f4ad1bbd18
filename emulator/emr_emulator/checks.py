"""Check values of a request, find the cluster or step that it names, and page through lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from botocore.utils import parse_timestamp

from emr_emulator import releases
from emr_emulator.protocol import ServiceError, invalid_request, validation_error
from emr_emulator.records import ENDING_CLUSTER, Cluster, Step

Params = dict[str, Any]
PAGE = 50
MAX_CONCURRENCY = 256
IDLE_TIMEOUT_SECONDS = (60, 604_800)
DEFAULT_IDLE_TIMEOUT_SECONDS = 3600


class HasId(Protocol):
    id: str


T = TypeVar("T", bound=HasId)


def page(
    items: Iterable[T], params: Params, wanted: Callable[[T], bool] = lambda _: True
) -> tuple[list[T], str | None]:
    """Return the matching items after the marker, at most a page, and the marker of the next page."""
    marker = params.get("Marker") or None
    page: list[T] = []
    skipping = marker is not None
    for item in items:
        if skipping:
            skipping = item.id != marker
        elif wanted(item):
            if len(page) == PAGE:
                return page, page[-1].id
            page.append(item)
    if skipping:
        raise invalid_request(f"Marker '{marker}' is not valid.")
    return page, None


def check_release(params: Params) -> None:
    label = params.get("ReleaseLabel")
    if label is None:
        raise validation_error("Must specify a release label.")
    if not releases.is_release(label):
        raise validation_error(f"The supplied release label is invalid: {label}.")


def checked_concurrency(level: int, error: Callable[[str], ServiceError] = validation_error) -> int:
    if not 1 <= level <= MAX_CONCURRENCY:
        raise error(f"StepConcurrencyLevel must be 1 to {MAX_CONCURRENCY}; it is {level}.")
    return level


def checked_idle_timeout(cluster: Cluster, policy: Params) -> int:
    timeout: int = policy.get("IdleTimeout", DEFAULT_IDLE_TIMEOUT_SECONDS)
    least, most = IDLE_TIMEOUT_SECONDS
    if not least <= timeout <= most:
        raise validation_error(f"IdleTimeout must be {least} to {most} seconds; it is {timeout}.")
    if not releases.supports_auto_termination(cluster.release):
        raise validation_error(f"Auto-termination policies need emr-5.30.0, emr-6.1.0 or later, not {cluster.release}.")
    return timeout


def release_token(token: str | None, labels: list[str]) -> int:
    if token is None:
        return 0
    if token not in labels:
        raise invalid_request(f"NextToken '{token}' is not valid.")
    return labels.index(token)


def seconds(timestamp: Any, default: float) -> float:
    """Convert a timestamp of a request, a number or a string, to seconds since 1970."""
    if timestamp is None:
        return default
    try:
        return float(parse_timestamp(timestamp).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise ServiceError("SerializationException", f"{timestamp!r} is not a timestamp: {error}.") from error


def find_cluster(clusters: Mapping[str, Cluster], params: Params) -> Cluster:
    """Return the cluster of ClusterId. Raises ServiceError if there is none."""
    cluster = clusters.get(params["ClusterId"])
    if cluster is None:
        raise invalid_request(f"Cluster id '{params['ClusterId']}' is not valid.")
    return cluster


def find_living(clusters: Mapping[str, Cluster], params: Params) -> Cluster:
    """Return the cluster of ClusterId. Raises ServiceError if there is none or it is ending."""
    cluster = find_cluster(clusters, params)
    if cluster.state in ENDING_CLUSTER:
        raise validation_error(f"Cluster {cluster.id} is {cluster.state}; its policies cannot be changed.")
    return cluster


def find_step(cluster: Cluster, step_id: str) -> Step:
    """Return the step of StepId. Raises ServiceError if there is none."""
    step = cluster.steps.get(step_id)
    if step is None:
        raise invalid_request(f"Step id '{step_id}' is not valid.")
    return step
