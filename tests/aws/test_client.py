"""The AWS client: every error of boto3 is mapped, and only retryable ones are retried."""

from __future__ import annotations

import inspect
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import boto3
import botocore.exceptions
import pytest
from botocore.loaders import JSONFileLoader
from botocore.response import StreamingBody

from emr_pipelines import errors
from emr_pipelines.aws import sdk
from emr_pipelines.aws.client import FIRST_CONTACT_SECONDS, UNREACHABLE_FOR_SECONDS, Aws
from emr_pipelines.aws.error_map import mapped_error
from emr_pipelines.clock import SystemClock
from emr_pipelines.errors import (
    AccessDenied,
    AwsError,
    CredentialsMissing,
    NotFound,
    PreconditionFailed,
    QuotaFull,
    RequestRefused,
    ResponseLost,
    Throttled,
    Unreachable,
)
from tests.account import BUCKET, Account


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
        ("PreconditionFailed", 412, PreconditionFailed),
        ("ConditionalRequestConflict", 409, Unreachable),
        ("ValidationException", 400, RequestRefused),
        ("InternalServerException", 500, Unreachable),
        ("SomethingNew", 502, Unreachable),
        ("SomethingNew", 418, RequestRefused),
        ("LimitExceededException", 400, QuotaFull),
        ("ServiceQuotaExceededException", 402, QuotaFull),
        ("RequestTimeTooSkewed", 403, CredentialsMissing),
        ("400", 400, CredentialsMissing),  # HEAD: S3 may not say ExpiredToken
    ],
)
def test_codes(code: str, status: int, kind: type[AwsError]) -> None:
    error = mapped_error(client_error(code, status), "s3.head_object", {"Bucket": "b", "Body": b"no text"})
    assert type(error) is kind
    assert error.code == code
    said = f"s3.head_object (Bucket 'b') was answered with {code}: so it is."
    assert str(error).startswith(said)
    assert (str(error) == said) is (kind is not CredentialsMissing)  # those have a hint


KEYS = {"AWS_ACCESS_KEY_ID": "from-env", "AWS_SECRET_ACCESS_KEY": "any"}


@pytest.mark.parametrize(
    ("environ", "source", "says"),
    [
        ({}, "from-default", "the profile 'default' or from this machine's role"),
        ({"AWS_PROFILE": "team"}, "from-team", "aws sso login --profile team"),
        ({"AWS_PROFILE": "team", "AWS_DEFAULT_PROFILE": "other"}, "from-other", "the profile 'other'"),
        (KEYS, "from-env", "Restart it with new keys, or unset it and use a profile"),
        ({**KEYS, "AWS_PROFILE": "team"}, "from-env", "unset it so that the profile 'team' is used"),
    ],
)  # fmt: skip
def test_the_hint_names_the_credentials_that_were_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], source: str, says: str
) -> None:
    profiles = ("default", "team", "other")
    (tmp_path / "credentials").write_text(
        "".join(f"[{name}]\naws_access_key_id = from-{name}\naws_secret_access_key = any\n" for name in profiles)
    )
    for name in (*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**environ, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}.items():
        monkeypatch.setenv(name, value)
    assert boto3.session.Session().get_credentials().access_key == source
    error = mapped_error(client_error("ExpiredToken", 400), "s3.get_object", {})
    assert says in str(error)


def test_a_head_that_s3_refuses_without_a_reason_names_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    said = str(mapped_error(client_error("400", 400), "s3.head_object", {"Bucket": "b"}))
    assert "the session token has expired" in said
    assert "set AWS_REGION to the bucket's region" in said
    assert "aws sso login --profile default" in said


QUOTA_MESSAGES = [
    (
        "ValidationException",
        "Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') for cluster exceeded.",
        "Try again when steps of the cluster have ended: EMR allows 256 running and pending steps per cluster.",
    ),
    (
        "ValidationException",
        "The number of vCPUs for instance type m5.xlarge exceeds the EC2 service quota for that type.",
        '"Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances" (L-1216C47A) in Service Quotas.',
    ),
    (
        "InvalidRequestException",
        "The EBS volume limit was exceeded",
        '"Storage for General Purpose SSD (gp3) volumes, in TiB" (L-7A658B76) in Service Quotas.',
    ),
    ("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded", "(L-34B43A08) in Service Quotas."),
    (
        "ValidationException",
        "The subnet is not large enough: available IP address count 3 less than requested: 5.",
        "Try again when other instances in the subnet have ended, or use more or larger subnets.",
    ),
    ("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet 'subnet-1'.", "Try again"),
    ("ServiceQuotaExceededException", "Concurrent vCPUs: 16.", "Concurrent vCPUs: 16."),
]


@pytest.mark.parametrize(("code", "message", "advice"), QUOTA_MESSAGES)
def test_a_full_quota_is_no_mistake_in_the_request(code: str, message: str, advice: str) -> None:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    refused = botocore.exceptions.ClientError(answer, "RunJobFlow")  # type: ignore[arg-type, unused-ignore]
    error = mapped_error(refused, "emr.run_job_flow", {})
    assert type(error) is QuotaFull
    assert error.retryable
    assert advice in str(error)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("LimitExceededException", "Rate exceeded", Throttled),
        ("LimitExceededException", "Too many requests", Throttled),
        ("ValidationException", "Maximum number of tags exceeded.", RequestRefused),
        ("ValidationException", "Total length of step arguments exceeds the limit of 10240.", RequestRefused),
    ],
)
def test_not_every_limit_is_a_quota(code: str, message: str, kind: type[AwsError]) -> None:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    refused = botocore.exceptions.ClientError(answer, "RunJobFlow")  # type: ignore[arg-type, unused-ignore]
    assert type(mapped_error(refused, "emr.run_job_flow", {})) is kind


class Profile:
    """A credentials file for the SDKs, which replaces those in the environment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "credentials"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self.file))
        self.rotate("OLD")

    def rotate(self, access_key: str) -> None:
        self.access_key = access_key
        self.file.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = any\n")


@pytest.fixture
def profile(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:  # noqa: ARG001 (before it)
    return Profile(tmp_path, monkeypatch)


def test_credentials_that_were_rotated_are_read_anew(account: Account, profile: Profile, tmp_path: Path) -> None:
    for access_key in ("NEW", "NEWER"):  # each time that they expire, and not once in the life of a process
        account.aws.call("emr", "list_clusters")
        account.fault("expired_token", access_key=profile.access_key, times=None)
        profile.rotate(access_key)
        assert account.aws.call("emr", "list_clusters")["Clusters"] == []
        account.objects.write(f"s3://{BUCKET}/x", access_key.encode())
        assert account.objects.exists(f"s3://{BUCKET}/x")  # S3 answers a HEAD without saying why it refuses
        file = tmp_path / "sent"
        file.write_bytes(b"sent")
        account.objects.upload(f"s3://{BUCKET}/sent", file)
        assert account.objects.read(f"s3://{BUCKET}/x") == access_key.encode()
    assert account.clock.pauses == []


@pytest.mark.parametrize("first", ["head", "upload"])
def test_whichever_call_meets_the_rotation_first_renews(
    account: Account, profile: Profile, tmp_path: Path, first: str
) -> None:
    account.objects.write(f"s3://{BUCKET}/x", b"x")
    account.fault("expired_token", access_key="OLD", times=None)
    profile.rotate("NEW")
    if first == "head":
        assert account.objects.exists(f"s3://{BUCKET}/x")
    else:
        (tmp_path / "sent").write_bytes(b"sent")
        account.objects.upload(f"s3://{BUCKET}/sent", tmp_path / "sent")
        assert account.objects.read(f"s3://{BUCKET}/sent") == b"sent"


def test_a_launch_that_was_refused_is_made_once_with_new_credentials(account: Account, profile: Profile) -> None:
    account.fault("expired_token", operation="RunJobFlow", access_key="OLD", times=None)
    profile.rotate("NEW")
    account.launch()
    assert len(account.emulator.clusters()) == 1


def test_threads_that_meet_an_expiry_together_make_one_new_session(
    account: Account, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.aws.call("emr", "list_clusters")
    account.fault("expired_token", access_key="OLD", times=None)
    profile.rotate("NEW")
    made: list[str | None] = []
    real = sdk.session

    def counted(region: str | None) -> Any:
        made.append(region)
        return real(region)

    monkeypatch.setattr(sdk, "session", counted)
    together = threading.Barrier(4)
    sent = Aws._sent

    def at_once(self: Aws, *asked: Any) -> Any:
        try:
            return sent(self, *asked)
        except CredentialsMissing:
            together.wait(60)
            raise

    monkeypatch.setattr(Aws, "_sent", at_once)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: account.aws.call("emr", "list_clusters")["Clusters"], range(4)))
    assert answers == [[], [], [], []]
    assert len(made) == 1


def test_credentials_that_stay_expired_are_said_with_what_to_do(account: Account, profile: Profile) -> None:
    account.fault("expired_token", access_key="OLD", times=None)
    with pytest.raises(CredentialsMissing, match=r"profile 'default'.*aws sso login") as raised:
        account.aws.call("emr", "list_clusters")
    assert raised.value.retryable
    assert account.emulator.faults.struck("expired_token") == 2  # with the first session, and a new one
    profile.file.write_text("")  # it is being written


def test_a_file_that_is_being_written_is_read_again(account: Account, profile: Profile) -> None:
    account.aws.call("emr", "list_clusters")
    account.fault("expired_token", access_key="OLD", times=None)
    for written in ("", "[default]\naws_access_key_id = NEW\n", "[defau"):
        profile.file.write_text(written)
        with pytest.raises(CredentialsMissing) as raised:
            account.aws.call("emr", "list_clusters")
        assert raised.value.retryable, written
    profile.rotate("NEW")
    assert account.aws.call("emr", "list_clusters")["Clusters"] == []


def test_an_environment_does_not_change(account: Account) -> None:
    account.fault("expired_token", times=None)
    with pytest.raises(CredentialsMissing, match="a running process keeps its environment"):
        account.aws.call("emr", "list_clusters")


def test_a_clock_that_is_off_is_no_reason_for_a_new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def refused(self: Aws, *_: Any) -> Any:  # noqa: ARG001 (a method)
        calls.append("emr")
        said = "Signature expired: 20261126T010000Z is now earlier than 20261126T012000Z"
        answer = {"Error": {"Code": "InvalidSignatureException", "Message": said}}
        raise mapped_error(botocore.exceptions.ClientError(answer, "ListClusters"), "emr.list_clusters", {}) or KeyError

    monkeypatch.setattr(Aws, "_sent", refused)
    with pytest.raises(CredentialsMissing, match="clock is wrong"):
        Aws("us-east-1").call("emr", "list_clusters")
    assert len(calls) == 1


def test_none_at_all_is_not_worth_a_retry_and_a_login_that_ran_out_is() -> None:
    none = mapped_error(botocore.exceptions.NoCredentialsError(), "emr.list_clusters", {})
    login = mapped_error(botocore.exceptions.UnauthorizedSSOTokenError(), "emr.list_clusters", {})
    assert none is not None
    assert login is not None
    assert (none.retryable, login.retryable) == (False, True)
    assert "aws sso login" in str(login)


def test_every_exception_of_boto3_is_mapped() -> None:
    """All that can be constructed generically."""
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
    assert {kind for kind in kinds if kind.retryable} == {Throttled, Unreachable, ResponseLost, QuotaFull}


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
