"""Maps every boto3 exception and every AWS error code to an error of errors.py, without secrets."""

from __future__ import annotations

from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from emr_pipelines.aws.credentials import NOT_RENEWED_CODE, REFUSED, hint_of
from emr_pipelines.aws.quotas import FULL, RATE, quota_of
from emr_pipelines.aws.redaction import about, masked
from emr_pipelines.errors import (
    AccessDenied,
    AwsError,
    CredentialsMissing,
    NotFound,
    PreconditionFailed,
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
    **dict.fromkeys(
        ("NoSuchBucket", "NoSuchKey", "NoSuchEntity", "NotFoundException", "ResourceNotFoundException", "404"), NotFound
    ),
    **dict.fromkeys(("PreconditionFailed", "412"), PreconditionFailed),
    **dict.fromkeys(
        ("ConditionalRequestConflict", "RequestTimeout", "InternalError", "InternalFailure", "503", "500"), Unreachable
    ),
}  # fmt: skip
NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.ConfigParseError,  # the file is being written
)
NOT_RENEWED = (boto.CredentialRetrievalError, boto.TokenRetrievalError, boto.SSOError, boto.MetadataRetrievalError)
NOT_SENT = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
NO_ANSWER = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    ResponseParserError,  # the response came from something else, such as a proxy
)


def mapped_error(error: Exception, what: str, request: dict[str, Any]) -> AwsError | None:
    """Return the error for a boto3 exception, without secrets; None for an exception that is not boto3's."""
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
        said = f"{what} needs AWS credentials, and they could not be renewed: {error}".rstrip(".")
        return CredentialsMissing(f"{said}. {hint_of(NOT_RENEWED_CODE, said)}", NOT_RENEWED_CODE)
    if isinstance(error, NO_CREDENTIALS):
        return CredentialsMissing(
            f"{what} needs AWS credentials: {error}. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or run on a machine with a role."
        )
    if isinstance(error, boto.NoRegionError):
        return RequestRefused(f"{what} needs an AWS region; set AWS_REGION (us-east-1, for example).", "NoRegion")
    if isinstance(error, boto.ParamValidationError):
        return RequestRefused(f"{what}{asked} is not a valid AWS request: {error}", "ParamValidation")
    if isinstance(error, NO_ANSWER):
        return Unreachable(f"{what}{asked} got no response: {error}")
    if isinstance(error, (boto.BotoCoreError, boto3.exceptions.Boto3Error)):
        return RequestRefused(f"{what}{asked} could not be sent: {error}", type(error).__name__)
    return None


def _answered(code: str, said: str, status: int, sentence: str) -> AwsError:
    """Return the error for an error code that AWS answered with."""
    kind = BY_CODE.get(code) or (Unreachable if status >= 500 else RequestRefused)  # noqa: PLR2004 (HTTP's)
    if kind is QuotaFull and RATE.search(said):
        kind = Throttled
    quota = quota_of(code, said) if kind in (QuotaFull, RequestRefused) else None
    if quota:
        return QuotaFull(f"{sentence} {quota.advice}", code)
    if kind is CredentialsMissing:
        return CredentialsMissing(f"{sentence} {hint_of(code, said)}", code)
    return kind(sentence, code)
