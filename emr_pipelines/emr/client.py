"""AWS's API: the one place that knows boto3, maps every one of its errors, and tries again what is worth it."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.loaders import JSONFileLoader
from botocore.parsers import ResponseParserError
from botocore.session import Session as CoreSession
from botocore.utils import parse_timestamp
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from emr_pipelines.emr.clock import Clock, SystemClock
from emr_pipelines.emr.disclosure import masked
from emr_pipelines.emr.partitions import partition_of
from emr_pipelines.errors import (
    AccessDenied,
    AwsError,
    Changed,
    CredentialsMissing,
    NotFound,
    RequestRefused,
    ResponseLost,
    Throttled,
    Unreachable,
)

# Throttling is AWS asking for patience, not a failure; how long an answer is waited for that never comes
THROTTLED_FOR_SECONDS = 4 * 3600.0
UNREACHABLE_FOR_SECONDS = 900.0
FIRST_CONTACT_SECONDS = 20.0  # who was never reached will not be: a wrong endpoint, no network
LONGEST_PAUSE_SECONDS = 60.0

BY_CODE: dict[str, type[AwsError]] = {
    **dict.fromkeys(
        (
            "ThrottlingException", "Throttling", "ThrottledException", "RequestLimitExceeded", "RequestThrottled",
            "RequestThrottledException", "TooManyRequestsException", "SlowDown", "BandwidthLimitExceeded",
            "LimitExceededException", "ProvisionedThroughputExceededException", "PriorRequestNotComplete",
        ),
        Throttled,
    ),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403"), AccessDenied
    ),
    **dict.fromkeys(
        (
            "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken",
            "SignatureDoesNotMatch", "InvalidSignatureException", "UnrecognizedClientException", "AuthFailure",
            "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature", "OptInRequired",
            "RequestExpired", "NotSignedUp",
        ),
        CredentialsMissing,
    ),
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchEntity", "NotFoundException", "404"), NotFound),
    **dict.fromkeys(("PreconditionFailed", "412"), Changed),
    **dict.fromkeys(
        ("ConditionalRequestConflict", "RequestTimeout", "InternalError", "InternalFailure", "503", "500"), Unreachable
    ),
}  # fmt: skip
NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.MetadataRetrievalError,
)
NOT_SENT = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
NO_ANSWER = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    ResponseParserError,  # somebody else answered, such as a proxy
)
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
        self._clients: dict[tuple[str, bool], Any] = {}
        self._answered = False
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
                odd = f"{service}.{operation}{_about(request)} got an answer that is none: {error!r}"
                raise (ResponseLost if once else Unreachable)(odd) from error

        return attempts(attempt)

    def _left(self) -> float:
        return math.inf if self._deadline is None else self._deadline - self.clock.now()

    def _attempt(
        self, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        try:
            transfer = operation == "upload_file"
            answer = getattr(self._client(service, transfer), operation)(*positional, **request)
            if isinstance(answer, dict) and "Body" in answer:
                answer["Body"] = answer["Body"].read()
        except NOT_SENT as error:
            raise Unreachable(masked(f"{service}.{operation} did not reach AWS: {error}")) from _shown(error)
        except Exception as error:
            mapped = mapped_error(error, f"{service}.{operation}", request)
            if mapped is None:
                raise
            self._answered = self._answered or not isinstance(mapped, Unreachable)
            if once and isinstance(mapped, Unreachable):
                lost = masked(f"The answer to {service}.{operation} was lost: {error}")
                raise ResponseLost(lost, mapped.code) from _shown(error)
            raise mapped from _shown(error)
        self._answered = True
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
                    raise mapped from _shown(error)
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
                f"emr.{operation}{_about(request)} goes in circles: page {page['Marker']!r} follows itself."
            )
        marker = {"Marker": page["Marker"]}


def _shown(error: Exception) -> Exception | None:
    """What Dagster prints as the cause of an error of ours; nothing when there is a secret in it."""
    return error if masked(str(error)) == str(error) else None


def mapped_error(error: Exception, what: str, request: dict[str, Any]) -> AwsError | None:
    """What an exception of boto3 is here, without secrets; None when it is not boto3's."""
    mapped = _mapped_error(error, what, request)
    return type(mapped)(masked(str(mapped)), mapped.code) if mapped else None


def _mapped_error(error: Exception, what: str, request: dict[str, Any]) -> AwsError | None:  # noqa: PLR0911 (one per kind)
    if isinstance(error, boto3.exceptions.S3UploadFailedError) and isinstance(error.__context__, boto.ClientError):
        error = error.__context__
    about = _about(request)
    if isinstance(error, boto.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        kind = BY_CODE.get(code) or (Unreachable if status >= 500 else RequestRefused)  # noqa: PLR2004 (HTTP's)
        return kind(f"{what}{about} was answered with {code}: {said}.", code)
    if isinstance(error, NO_CREDENTIALS):
        return CredentialsMissing(
            f"{what} needs AWS credentials: {error}. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or run where a role gives them."
        )
    if isinstance(error, boto.NoRegionError):
        return RequestRefused(f"{what} needs an AWS region; set AWS_REGION, to us-east-1 say.", "NoRegion")
    if isinstance(error, boto.ParamValidationError):
        return RequestRefused(f"{what}{about} is not a request that AWS takes: {error}", "ParamValidation")
    if isinstance(error, NO_ANSWER):
        return Unreachable(f"{what}{about} was not answered: {error}")
    if isinstance(error, (boto.BotoCoreError, boto3.exceptions.Boto3Error)):
        return RequestRefused(f"{what}{about} could not be sent: {error}", type(error).__name__)
    return None


def _about(request: Mapping[str, Any]) -> str:
    """What a call is about, for a sentence."""
    said = [f"{name} {value!r}" for name, value in request.items() if isinstance(value, str) and name != "IfNoneMatch"]
    return f" ({', '.join(said)})" if said else ""
