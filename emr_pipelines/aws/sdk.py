"""Makes boto3's sessions and clients. It is imported with the first call: boto3 takes half a second to import."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.loaders import JSONFileLoader
from botocore.session import Session as CoreSession
from botocore.utils import parse_timestamp

from emr_pipelines.aws.error_map import NOT_SENT, mapped_error

__all__ = ["NOT_SENT", "client", "mapped_error", "session"]


class _Descriptions(JSONFileLoader):  # type: ignore[misc]
    """Loads the models of AWS's services and endpoints once per process, not once per session."""

    def __init__(self) -> None:
        self.load_file = cache(super().load_file)


_DESCRIPTIONS = _Descriptions()


def session(region: str | None) -> Any:
    """Return a session whose responses have times in UTC; boto3's are in this machine's zone, with another date."""
    core = CoreSession()
    core.get_component("data_loader").file_loader = _DESCRIPTIONS
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_in_utc)
    return boto3.session.Session(region_name=region, botocore_session=core)


def _in_utc(told: Any) -> datetime:
    time: datetime = parse_timestamp(told)
    return time.astimezone(timezone.utc)


def client(session: Any, service: str, region: str | None, transfer: bool) -> Any:
    """Return a client that makes each call once.

    boto3 itself would repeat RunJobFlow when its response is lost, and so launch a second cluster. transfer: retry each
    of the many parts of a transfer.
    """
    config = Config(
        retries={"total_max_attempts": 6 if transfer else 1, "mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
        user_agent_extra="emr_pipelines",
    )
    return session.client(service, config=config, region_name=region)
