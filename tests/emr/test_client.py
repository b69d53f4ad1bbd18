"""AWS's API: every error of boto3 is mapped, what is worth it is tried again, and what must not be is not."""

from __future__ import annotations

import inspect
import socket
from typing import Any, cast

import boto3
import botocore.exceptions
import pytest
from botocore.loaders import JSONFileLoader
from botocore.response import StreamingBody

from emr_pipelines import errors
from emr_pipelines.emr.client import FIRST_CONTACT_SECONDS, UNREACHABLE_FOR_SECONDS, Aws, mapped_error
from emr_pipelines.emr.clock import SystemClock
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
from tests.emr.conftest import BUCKET, Account


def client_error(code: str, status: int) -> botocore.exceptions.ClientError:
    answer = {"Error": {"Code": code, "Message": "so it is."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "Operation")  # type: ignore[arg-type, unused-ignore]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, Throttled),
        ("SlowDown", 503, Throttled),
        ("TooManyRequestsException", 429, Throttled),
        ("AccessDeniedException", 400, AccessDenied),
        ("403", 403, AccessDenied),
        ("ExpiredTokenException", 400, CredentialsMissing),
        ("UnrecognizedClientException", 400, CredentialsMissing),
        ("NoSuchBucket", 404, NotFound),
        ("404", 404, NotFound),
        ("PreconditionFailed", 412, Changed),
        ("ConditionalRequestConflict", 409, Unreachable),
        ("ValidationException", 400, RequestRefused),
        ("InternalServerException", 500, Unreachable),
        ("SomethingNew", 502, Unreachable),
        ("SomethingNew", 418, RequestRefused),
    ],
)
def test_codes(code: str, status: int, kind: type[AwsError]) -> None:
    error = mapped_error(client_error(code, status), "s3.head_object", {"Bucket": "b", "Body": b"no text"})
    assert type(error) is kind
    assert error.code == code
    assert str(error) == f"s3.head_object (Bucket 'b') was answered with {code}: so it is."


def test_every_exception_of_boto3_is_mapped() -> None:
    """Those that can be made without knowing what they want to be told."""
    kinds = [
        kind
        for module in (botocore.exceptions, boto3.exceptions)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, (botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error))
    ]
    assert len(kinds) > 100
    for kind in kinds:
        error = cast("Exception", kind.__new__(kind))
        assert isinstance(mapped_error(error, "s3.get_object", {}), AwsError), kind


def test_an_exception_of_somebody_else_is_not() -> None:
    assert mapped_error(KeyError("x"), "s3.get_object", {}) is None


def test_every_aws_error_says_whether_to_try_again() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AwsError)}
    assert {kind for kind in kinds if kind.retryable} == {Throttled, Unreachable, ResponseLost}


def test_throttles_and_5xx_are_tried_again_with_pauses_that_differ(account: Account) -> None:
    account.fault("throttle", operation="ListClusters", times=20)
    account.fault("server_error", operation="ListClusters", times=3)
    assert account.aws.call("emr", "list_clusters")["Clusters"] == []
    assert len(account.clock.pauses) == 23
    assert len(set(account.clock.pauses)) == 23  # full jitter
    assert max(account.clock.pauses) <= 60


def test_an_answer_that_never_comes_is_given_up(account: Account) -> None:
    account.aws.call("emr", "list_clusters")
    account.fault("server_error", operation="ListClusters", times=None)
    began = account.clock.now()
    with pytest.raises(Unreachable):
        account.aws.call("emr", "list_clusters")
    assert UNREACHABLE_FOR_SECONDS < account.clock.now() - began < UNREACHABLE_FOR_SECONDS + 70


def test_an_endpoint_that_was_never_there_is_given_up_soon(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        began = account.clock.now()
        with pytest.raises(Unreachable, match="did not reach AWS"):
            Aws(clock=account.clock).call("emr", "list_clusters")
    assert account.clock.now() - began < FIRST_CONTACT_SECONDS + 70


def test_a_call_that_must_not_be_repeated_is_not(account: Account) -> None:
    account.fault("lost_response", operation="RunJobFlow")
    with pytest.raises(ResponseLost):
        account.aws.call("emr", "run_job_flow", once=True, **account.request())
    assert len(account.emulator.clusters()) == 1


def test_no_region_and_no_credentials_are_sentences(monkeypatch: pytest.MonkeyPatch, tmp_path: str) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    with pytest.raises(RequestRefused, match="set AWS_REGION"):
        Aws().call("emr", "list_clusters")
    with pytest.raises(CredentialsMissing, match="Set AWS_PROFILE"):
        Aws("us-east-1").call("emr", "list_clusters")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(CredentialsMissing, match="nobody"):
        Aws("us-east-1").call("emr", "list_clusters")


def test_a_body_that_breaks_off_is_read_again(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.objects.write(f"s3://{BUCKET}/x", b"whole")
    read, broken = StreamingBody.read, [True]

    def breaks_once(self: StreamingBody, amt: int | None = None) -> bytes:
        if broken:
            broken.clear()
            raise botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=5)
        data: bytes = read(self, amt)
        return data

    monkeypatch.setattr(StreamingBody, "read", breaks_once)
    assert account.objects.read(f"s3://{BUCKET}/x") == b"whole"


@pytest.mark.usefixtures("account")
def test_what_describes_aws_is_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = JSONFileLoader._load_file

    def noted(loader: JSONFileLoader, path: str, open_method: Any) -> Any:
        read.append(path)
        return real(loader, path, open_method)

    monkeypatch.setattr(JSONFileLoader, "_load_file", noted)
    for _ in range(2):
        assert Aws().call("emr", "list_clusters")["Clusters"] == []
    assert len(read) == len(set(read))


def test_errors_survive_being_pickled() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(Throttled("slow", "SlowDown")))  # noqa: S301 (our own)
    assert (type(error), str(error), error.code) == (Throttled, "slow", "SlowDown")


def test_the_clock_pauses_no_longer_than_told() -> None:
    clock = SystemClock()
    began = clock.now()
    clock.pause(-1)
    assert clock.now() - began < 10
