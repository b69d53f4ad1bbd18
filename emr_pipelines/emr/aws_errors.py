"""Maps every error of boto3, and every code that AWS answers with, to one of errors.py's tree, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from emr_pipelines.emr.credentials import NOT_RENEWED_CODE, REFUSED, hint_of
from emr_pipelines.emr.disclosure import masked
from emr_pipelines.emr.quotas import FULL, RATE, quota_of
from emr_pipelines.errors import (
    AccessDenied,
    AwsError,
    Changed,
    CredentialsMissing,
    NotFound,
    QuotaFull,
    RequestRefused,
    Throttled,
    Unreachable,
)

BY_CODE: dict[str, type[AwsError]] = {
    **dict.fromkeys(
        (
            "ThrottlingException", "Throttling", "ThrottledException", "RequestLimitExceeded", "RequestThrottled",
            "RequestThrottledException", "TooManyRequestsException", "SlowDown", "BandwidthLimitExceeded",
            "ProvisionedThroughputExceededException", "PriorRequestNotComplete", "EC2ThrottledException",
        ),
        Throttled,
    ),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403"), AccessDenied
    ),
    **dict.fromkeys(REFUSED, CredentialsMissing),
    **dict.fromkeys(FULL, QuotaFull),
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchEntity", "NotFoundException", "404"), NotFound),
    **dict.fromkeys(("PreconditionFailed", "412"), Changed),
    **dict.fromkeys(
        ("ConditionalRequestConflict", "RequestTimeout", "InternalError", "InternalFailure", "503", "500"), Unreachable
    ),
}  # fmt: skip
NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.ConfigParseError,  # of a file that is being written
)
NOT_RENEWED = (boto.CredentialRetrievalError, boto.TokenRetrievalError, boto.SSOError, boto.MetadataRetrievalError)
NOT_SENT = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
NO_ANSWER = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    ResponseParserError,  # somebody else answered, such as a proxy
)


def shown(error: Exception) -> Exception | None:
    """What Dagster prints as the cause of an error of ours; nothing when there is a secret in it."""
    return error if masked(str(error)) == str(error) else None


def mapped_error(error: Exception, what: str, request: dict[str, Any]) -> AwsError | None:
    """What an exception of boto3 is here, without secrets; None when it is not boto3's."""
    mapped = _mapped_error(error, what, request)
    return type(mapped)(masked(str(mapped)), mapped.code) if mapped else None


def _mapped_error(error: Exception, what: str, request: dict[str, Any]) -> AwsError | None:  # noqa: PLR0911 (one per kind)
    if isinstance(error, boto3.exceptions.S3UploadFailedError) and isinstance(error.__context__, boto.ClientError):
        error = error.__context__
    asked = about(request)
    if isinstance(error, boto.ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return _answered(code, said, status, f"{what}{asked} was answered with {code}: {said}.")
    if isinstance(error, NOT_RENEWED):
        said = f"{what} needs AWS credentials, which could not be renewed: {error}".rstrip(".")
        return CredentialsMissing(f"{said}. {hint_of(NOT_RENEWED_CODE, said)}", NOT_RENEWED_CODE)
    if isinstance(error, NO_CREDENTIALS):
        return CredentialsMissing(
            f"{what} needs AWS credentials: {error}. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or run where a role gives them."
        )
    if isinstance(error, boto.NoRegionError):
        return RequestRefused(f"{what} needs an AWS region; set AWS_REGION, to us-east-1 say.", "NoRegion")
    if isinstance(error, boto.ParamValidationError):
        return RequestRefused(f"{what}{asked} is not a request that AWS takes: {error}", "ParamValidation")
    if isinstance(error, NO_ANSWER):
        return Unreachable(f"{what}{asked} was not answered: {error}")
    if isinstance(error, (boto.BotoCoreError, boto3.exceptions.Boto3Error)):
        return RequestRefused(f"{what}{asked} could not be sent: {error}", type(error).__name__)
    return None


def _answered(code: str, said: str, status: int, sentence: str) -> AwsError:
    """What an error that AWS answered with is here."""
    kind = BY_CODE.get(code) or (Unreachable if status >= 500 else RequestRefused)  # noqa: PLR2004 (HTTP's)
    if kind is QuotaFull and RATE.search(said):
        kind = Throttled
    quota = quota_of(code, said) if kind in (QuotaFull, RequestRefused) else None
    if quota:
        return QuotaFull(f"{sentence} {quota.advice}", code)
    if kind is CredentialsMissing:
        return CredentialsMissing(f"{sentence} {hint_of(code, said)}", code)
    return kind(sentence, code)


def about(request: Mapping[str, Any]) -> str:
    """What a call is about, for a sentence."""
    said = [f"{name} {value!r}" for name, value in request.items() if isinstance(value, str) and name != "IfNoneMatch"]
    return f" ({', '.join(said)})" if said else ""
