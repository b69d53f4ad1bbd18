"""Calls AWS's API. Retries throttled and unanswered calls. Imports boto3, by sdk.py, with the first call."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from email.utils import parsedate_to_datetime
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from emr_pipelines.aws.credentials import NOT_RENEWED_CODE, may_be_renewed
from emr_pipelines.aws.partitions import partition_of
from emr_pipelines.aws.redaction import about, masked, shown
from emr_pipelines.clock import Clock, SystemClock
from emr_pipelines.errors import CredentialsMissing, ResponseLost, Throttled, Unreachable

# for how long a call is retried
THROTTLED_FOR_SECONDS = 4 * 3600.0  # throttling is not a failure: it ends
UNREACHABLE_FOR_SECONDS = 900.0
FIRST_CONTACT_SECONDS = 20.0  # before AWS has answered at all: the endpoint may be wrong, or the network missing
LONGEST_PAUSE_SECONDS = 60.0

# the member of a page that says where the next begins, and that of the request for it; by default NextToken
TOKENS = {
    "emr": ("Marker", "Marker"),
    "emr-serverless": ("nextToken", "nextToken"),
    "s3": ("NextContinuationToken", "ContinuationToken"),
}

NOT_FOUND_IN_ANSWER = (LookupError, TypeError, ValueError, AttributeError)


class Aws:
    """AWS in one account and region: `aws.call("emr", "describe_cluster", ClusterId=...)`.

    region: by default AWS_REGION, else what the AWS SDKs choose. Credentials and endpoints are always the SDKs'.
    within_seconds: overall deadline in seconds from now; after it no failed call is retried.
    """

    def __init__(
        self, region: str | None = None, clock: Clock | None = None, within_seconds: float | None = None
    ) -> None:
        self.clock = clock or SystemClock()
        self._region = region or os.environ.get("AWS_REGION") or None  # boto3 reads only AWS_DEFAULT_REGION
        self._deadline = None if within_seconds is None else self.clock.now() + within_seconds
        self._lock = threading.Lock()
        self._session: Any = None
        self._sessions = 0  # number of earlier sessions: a new one reads refused credentials again
        self._clients: dict[tuple[str, bool], Any] = {}
        self._answered = False  # AWS has answered, if only with an error
        self._accepted = False  # AWS has accepted these credentials, or earlier ones
        self._ahead_seconds = 0.0

    def now(self) -> float:
        """Return seconds since 1970 by AWS's clock (from its last response), or by this host's before the first.

        Compare AWS's timestamps with this: the clocks of hosts can be minutes off.
        """
        return self.clock.now() + self._ahead_seconds

    def with_clock(self, clock: Clock) -> Aws:
        """Return a client that waits on another clock and shares this one's connections."""
        other = copy(self)
        other.clock = clock
        return other

    @property
    def region(self) -> str:
        """The region in use. Raises RequestRefused when none is configured."""
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
        """Make a call and return what `read` makes of the response; a `Body` in it is read.

        Throttled calls are retried with full jitter for four hours, calls without a response for 15 minutes. A response
        is malformed, and counts as none, when `read` raises one of NOT_FOUND_IN_ANSWER.

        patience_seconds: retry for this long instead; 0 for a single attempt.
        once: the call must not take effect twice, so a response that may have been lost raises ResponseLost at once.

        Raises AwsErrors.
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
                malformed = f"{service}.{operation}{about(request)} returned a malformed response: {error!r}"
                raise (ResponseLost if once else Unreachable)(malformed) from error

        return attempts(attempt)

    def pages(self, service: str, operation: str, /, **request: Any) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list, such as EMR's `list_steps`, on demand; arguments as for `call`.

        Raises AwsErrors.
        """
        given, asked = TOKENS.get(service, ("NextToken", "NextToken"))
        token: dict[str, Any] = {}
        while True:
            page = self.call(service, operation, **request, **token)
            yield page
            following, what = page.get(given), f"{service}.{operation}{about(request)}"
            if not following and page.get("IsTruncated"):
                raise Unreachable(f"{what} returned part of a list, and no {given} for the rest.")
            if not following:
                return
            if following == token.get(asked):
                raise Unreachable(f"{what} has a pagination loop: the marker {following!r} repeats.")
            token = {asked: following}

    def _left(self) -> float:
        return math.inf if self._deadline is None else self._deadline - self.clock.now()

    def _attempt(
        self, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        """Make one call, and a second one with freshly read credentials when AWS refuses the session's.

        That is safe even for calls that must not take effect twice: a refused call has none.
        """
        used = self._sessions
        try:
            return self._sent(service, operation, positional, once, request)
        except CredentialsMissing as refused:
            if not may_be_renewed(refused.code, str(refused)):
                raise
            with self._lock:
                if self._sessions == used:  # no other thread has done so
                    self._session, self._sessions = None, self._sessions + 1
                    self._clients.clear()  # calls in flight keep their clients
            try:
                return self._sent(service, operation, positional, once, request)
            except CredentialsMissing as again:
                if again.code or not self._accepted:
                    raise
                # credentials that worked are gone, perhaps because a file is being written: a retry may find them
                raise CredentialsMissing(str(again), NOT_RENEWED_CODE) from again.__cause__

    def _sent(
        self, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        from emr_pipelines.aws import sdk  # here and in _client: boto3 takes half a second to import

        try:
            transfer = operation == "upload_file"
            answer = getattr(self._client(service, transfer), operation)(*positional, **request)
            if isinstance(answer, dict) and "Body" in answer:
                answer["Body"] = answer["Body"].read()
        except sdk.NOT_SENT as error:
            raise Unreachable(masked(f"{service}.{operation} did not reach AWS: {error}")) from shown(error)
        except Exception as error:
            mapped = sdk.mapped_error(error, f"{service}.{operation}", request)
            if mapped is None:
                raise
            self._answered = self._answered or not isinstance(mapped, Unreachable)
            if once and isinstance(mapped, Unreachable):
                lost = masked(f"The response to {service}.{operation} was lost: {error}")
                raise ResponseLost(lost, mapped.code) from shown(error)
            raise mapped from shown(error)
        self._answered = self._accepted = True
        self._set_clock(answer)
        return answer

    def _set_clock(self, answer: Any) -> None:
        about = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
        if told := about.get("HTTPHeaders", {}).get("date"):
            with suppress(ValueError):  # a proxy may write it differently
                self._ahead_seconds = parsedate_to_datetime(told).timestamp() - self.clock.now()

    def _client(self, service: str, transfer: bool = False) -> Any:
        from emr_pipelines.aws import sdk

        key = (service, transfer)
        with self._lock:  # making a client is not thread-safe; using one is
            if key not in self._clients:
                try:
                    self._session = self._session or sdk.session(self._region)
                    region = self._session.region_name
                    if service == "pricing":  # few regions have its endpoint
                        region = partition_of(region or "").prices_in or region
                    self._clients[key] = sdk.client(self._session, service, region, transfer)
                except Exception as error:
                    mapped = sdk.mapped_error(error, f"A client of {service}", {})
                    if mapped is None:
                        raise
                    raise mapped from shown(error)
            return self._clients[key]


def call_once(clock: Clock, call: Callable[[], str], look: Callable[[ResponseLost], str | None]) -> str:
    """Make a call that must not take effect twice and has no client token, and return the id of what it created.

    When the response is lost, `look` searches for what was created. The call is repeated only if nothing is found.
    Raises ResponseLost after 15 minutes without a response.
    """
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
