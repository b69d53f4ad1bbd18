"""AWS's API: the one place that calls boto3, and tries again what is worth it."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.loaders import JSONFileLoader
from botocore.session import Session as CoreSession
from botocore.utils import parse_timestamp
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from emr_pipelines.emr.aws_errors import NOT_SENT, about, mapped_error, shown
from emr_pipelines.emr.clock import Clock, SystemClock
from emr_pipelines.emr.credentials import NOT_RENEWED_CODE, may_be_renewed
from emr_pipelines.emr.disclosure import masked
from emr_pipelines.emr.partitions import partition_of
from emr_pipelines.errors import CredentialsMissing, ResponseLost, Throttled, Unreachable

# Throttling is AWS asking for patience, not a failure; how long an answer is waited for that never comes
THROTTLED_FOR_SECONDS = 4 * 3600.0
UNREACHABLE_FOR_SECONDS = 900.0
FIRST_CONTACT_SECONDS = 20.0  # who was never reached will not be: a wrong endpoint, no network
LONGEST_PAUSE_SECONDS = 60.0

NOT_FOUND_IN_ANSWER = (LookupError, TypeError, ValueError, AttributeError)


class Aws:
    """AWS as one account in one region sees it: `aws.call("emr", "describe_cluster", ClusterId=...)`.

    region: AWS_REGION, or what the AWS SDKs choose, unless told. Credentials and endpoints are always the SDKs'.
    within_seconds: for who cannot wait: so long from now, no failed call is tried again any more.
    """

    def __init__(
        self, region: str | None = None, clock: Clock | None = None, within_seconds: float | None = None
    ) -> None:
        self.clock = clock or SystemClock()
        self._region = region or os.environ.get("AWS_REGION") or None  # boto3 reads AWS_DEFAULT_REGION alone
        self._deadline = None if within_seconds is None else self.clock.now() + within_seconds
        self._lock = threading.Lock()
        self._session: Any = None
        self._sessions = 0  # how many there were before: credentials that AWS refuses are read anew by the next
        self._clients: dict[tuple[str, bool], Any] = {}
        self._answered = False  # AWS has, if only with an error
        self._accepted = False  # these credentials, or earlier ones
        self._ahead_seconds = 0.0

    def now(self) -> float:
        """Seconds since 1970 by AWS's clock, as far as its last answer told it; by this host's when there was none.
        What AWS says when something was is compared with this, for hosts' clocks are minutes off."""
        return self.clock.now() + self._ahead_seconds

    @property
    def region(self) -> str:
        """Raises RequestRefused when nothing says which."""
        region: str | None = self._region or self._client("emr").meta.region_name
        return region or ""

    def call(
        self,
        service: str,
        operation: str,
        /,
        *positional: Any,
        once: bool = False,
        patience_seconds: float | None = None,
        read: Callable[[Any], Any] = lambda answer: answer,
        **request: Any,
    ) -> Any:
        """Make a call and return what `read` makes of its answer; a `Body` in it is read.

        A throttled call is made again, with full jitter, for hours; one without an answer for a quarter of an hour, and
        an answer in which `read` does not find what it looks for (it raises one of NOT_FOUND_IN_ANSWER) is none;
        `patience_seconds` says how long instead, 0 for one attempt. `once` says that the call must not take
        effect twice: then an answer that may have been lost raises ResponseLost at once. Raises the AwsErrors.
        """
        began = self.clock.now()

        def patience_ends(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            patience = UNREACHABLE_FOR_SECONDS if self._answered else FIRST_CONTACT_SECONDS
            if isinstance(error, Throttled):
                patience = THROTTLED_FOR_SECONDS
            if patience_seconds is not None:
                return self.clock.now() - began >= patience_seconds
            return self.clock.now() - began > patience or self._left() <= 0

        attempts = Retrying(
            wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_SECONDS),
            stop=patience_ends,
            retry=retry_if_exception_type((Throttled, Unreachable)),
            sleep=lambda seconds: self.clock.pause(min(seconds, self._left())),
            reraise=True,
        )

        def attempt() -> Any:
            answer = self._attempt(service, operation, positional, once, request)
            try:
                return read(answer)
            except NOT_FOUND_IN_ANSWER as error:
                odd = f"{service}.{operation}{about(request)} got an answer that is none: {error!r}"
                raise (ResponseLost if once else Unreachable)(odd) from error

        return attempts(attempt)

    def _left(self) -> float:
        return math.inf if self._deadline is None else self._deadline - self.clock.now()

    def _attempt(
        self, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        """One call, and one more with credentials read anew when AWS refuses those of this session: a refused call
        takes no effect."""
        used = self._sessions
        try:
            return self._sent(service, operation, positional, once, request)
        except CredentialsMissing as refused:
            if not may_be_renewed(refused.code, str(refused)):
                raise
            with self._lock:
                if self._sessions == used:  # no other thread was quicker
                    self._session, self._sessions = None, self._sessions + 1
                    self._clients.clear()  # calls in flight keep the clients that they have
            try:
                return self._sent(service, operation, positional, once, request)
            except CredentialsMissing as again:
                if again.code or not self._accepted:
                    raise
                # there were some, and there are none now, as while a file is written: a retry may find them
                raise CredentialsMissing(str(again), NOT_RENEWED_CODE) from again.__cause__

    def _sent(
        self, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        try:
            transfer = operation == "upload_file"
            answer = getattr(self._client(service, transfer), operation)(*positional, **request)
            if isinstance(answer, dict) and "Body" in answer:
                answer["Body"] = answer["Body"].read()
        except NOT_SENT as error:
            raise Unreachable(masked(f"{service}.{operation} did not reach AWS: {error}")) from shown(error)
        except Exception as error:
            mapped = mapped_error(error, f"{service}.{operation}", request)
            if mapped is None:
                raise
            self._answered = self._answered or not isinstance(mapped, Unreachable)
            if once and isinstance(mapped, Unreachable):
                lost = masked(f"The answer to {service}.{operation} was lost: {error}")
                raise ResponseLost(lost, mapped.code) from shown(error)
            raise mapped from shown(error)
        self._answered = self._accepted = True
        self._set_clock(answer)
        return answer

    def _set_clock(self, answer: Any) -> None:
        about = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
        if told := about.get("HTTPHeaders", {}).get("date"):
            with suppress(ValueError):  # from somebody between AWS and here
                self._ahead_seconds = parsedate_to_datetime(told).timestamp() - self.clock.now()

    def _client(self, service: str, transfer: bool = False) -> Any:
        key = (service, transfer)
        with self._lock:  # making a client is not thread-safe; using one is
            if key not in self._clients:
                # one attempt: boto3's own repeat RunJobFlow when its answer is lost, which starts a second cluster. A
                # transfer is of many parts, each of which is worth trying again by itself.
                config = Config(
                    retries={"total_max_attempts": 6 if transfer else 1, "mode": "standard"},
                    connect_timeout=10,
                    read_timeout=60,
                    user_agent_extra="emr_pipelines",
                )
                try:
                    self._session = self._session or _session(self._region)
                    region = self._session.region_name
                    if service == "pricing":  # which few regions have
                        region = partition_of(region or "").prices_in or region
                    self._clients[key] = self._session.client(service, config=config, region_name=region)
                except Exception as error:
                    mapped = mapped_error(error, f"A client of {service}", {})
                    if mapped is None:
                        raise
                    raise mapped from shown(error)
            return self._clients[key]


class _Descriptions(JSONFileLoader):  # type: ignore[misc]
    """The descriptions of AWS's services and endpoints: each is read once in a process, and not for each session."""

    def __init__(self) -> None:
        self.load_file = cache(super().load_file)


_DESCRIPTIONS = _Descriptions()


def _session(region: str | None) -> Any:
    """One whose answers tell times in UTC. boto3's are in this machine's zone, where their day may be another."""
    core = CoreSession()
    core.get_component("data_loader").file_loader = _DESCRIPTIONS
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_in_utc)
    return boto3.session.Session(region_name=region, botocore_session=core)


def _in_utc(told: Any) -> datetime:
    time: datetime = parse_timestamp(told)
    return time.astimezone(timezone.utc)


def call_once(clock: Clock, call: Callable[[], str], look: Callable[[ResponseLost], str | None]) -> str:
    """The id of what is made by a call that must not take effect twice, and knows no client token: when its answer is
    lost, that of what is found by `look`; nothing there is made anew. Raises ResponseLost when no answer has come for a
    quarter of an hour."""
    lost_since: float | None = None
    while True:
        try:
            return call()
        except ResponseLost as lost:  # noqa: PERF203 (a loop over seconds)
            lost_since = clock.now() if lost_since is None else lost_since
            if found := look(lost):
                return found
            if clock.now() - lost_since >= UNREACHABLE_FOR_SECONDS:
                raise


def look_for(clock: Clock, find: Callable[[], str | None], within_seconds: float) -> str | None:
    """The id of what may have been made just now, and lists may show later; None when they do not within the time."""
    deadline = clock.now() + within_seconds
    while True:
        if (found := find()) or clock.now() >= deadline:
            return found
        clock.pause(within_seconds / 6)


def emr_pages(aws: Aws, operation: str, **request: Any) -> Iterator[dict[str, Any]]:
    """The pages of one of EMR's lists (`list_steps`, say), each when it is wanted. May raise the AwsErrors."""
    marker: dict[str, Any] = {}
    while True:
        page = aws.call("emr", operation, **request, **marker)
        yield page
        if "Marker" not in page:
            return
        if page["Marker"] == marker.get("Marker"):
            raise Unreachable(
                f"emr.{operation}{about(request)} goes in circles: page {page['Marker']!r} follows itself."
            )
        marker = {"Marker": page["Marker"]}
