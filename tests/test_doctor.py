"""The doctor's findings with the emulator, with an AWS that refuses, and without an endpoint."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from rehearsal import Rehearsal, rehearsing

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.findings import DoctorContext, Finding, Verdict
from emr_pipelines.doctor import BAD, PATIENCE_SECONDS, run_checks
from emr_pipelines.errors import (
    AccessDenied,
    CredentialsMissing,
    NotFound,
    RequestRefused,
    StorageUnusable,
    Throttled,
    Unreachable,
)
from emr_pipelines.report import Lines
from emr_pipelines.spark_lines import default_label, installed_spark

ON_S3 = "s3://mine/data"
EVERYWHERE = ["settings", "Python", "Spark", "uv", "credentials", "region"]
CHECKS = [
    *EVERYWHERE, "EMR", "release", "bucket", "encryption", "service role", "instance profile", "storage"
]  # fmt: skip
ON_SERVERLESS = [
    *EVERYWHERE, "EMR Serverless", "bucket", "encryption", "application", "execution role", "quota", "storage"
]  # fmt: skip
ENVIRONMENT = {"EMR_PIPELINES_BUCKET": "mine", "EMR_PIPELINES_TARGET": "emr"}
GOOD: dict[str, Any] = {
    "get_caller_identity": {"Account": "111122223333", "Arn": "arn:aws:iam::111122223333:user/me"},
    "list_clusters": {"Clusters": [{}, {}]},
    "describe_release_label": {"Applications": [{"Name": "Spark", "Version": "3.5.5"}]},
    "list_objects_v2": {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-1"}}},
    "put_object": {},
    "delete_object": {},
    "get_role": {"Role": {}},
    "get_instance_profile": {"InstanceProfile": {"Roles": [{}]}},
}


class Answers:
    """An Aws whose operations return or raise what the test sets."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {**GOOD, **answers}
        self.asked: dict[str, dict[str, Any]] = {}
        self.region = "eu-west-1"

    def pages(self, service: str, operation: str, /, **request: Any) -> Any:
        yield self.call(service, operation, **request)

    def call(self, _service: str, operation: str, /, **request: Any) -> Any:
        self.asked[operation] = request
        answer = self.answers[operation]
        if isinstance(answer, Exception):
            raise answer
        return request["read"](answer) if "read" in request else answer


def look(
    answers: Answers | Aws, environ: dict[str, str] | None = None, storage: Callable[[], str] = lambda: ON_S3
) -> dict[str, Finding]:
    findings = run_checks(DoctorContext(cast("Aws", answers), ENVIRONMENT if environ is None else environ, storage))
    serverless = (environ or {}).get("EMR_PIPELINES_TARGET") == "emr-serverless"
    assert [finding.check for finding in findings] == (ON_SERVERLESS if serverless else CHECKS)
    return {finding.check: finding for finding in findings}


def bad(found: dict[str, Finding]) -> list[str]:
    return [name for name, finding in found.items() if finding.verdict in BAD]


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    with rehearsing(tmp_path / "emulator", monkeypatch) as rehearsal:
        yield rehearsal


def test_it_tells_how_far_it_is() -> None:
    hours = count(step=3600.0)  # each reading of the clock is an hour later
    said: list[str] = []
    report = Lines(said.append, lambda: next(hours))
    run_checks(DoctorContext(cast("Aws", Answers()), ENVIRONMENT, lambda: ON_S3), report=report)
    assert re.fullmatch(rf"Checking the setup: \d+ % of {len(CHECKS)} checks, \d+ h so far, at most 15 s\.", said[0])


def test_all_is_well() -> None:
    answers = Answers()
    found = look(answers)
    assert bad(found) == []
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert found["credentials"].found == "account 111122223333, arn:aws:iam::111122223333:user/me"
    assert found["EMR"].found == "it answers; active clusters in this account and region: 2"
    assert found["release"].found == f"{default_label()}, with Spark 3.5.5"
    assert found["Spark"].found.startswith(f"pyspark {installed_spark()} on Java 17 in ")
    assert found["Spark"].found.endswith(f"clusters run {default_label()} by default")
    assert found["bucket"].found == "s3://mine/default is writable, in eu-west-1"
    assert "programs on a cluster run on 3.11" in found["Python"].found
    assert answers.asked["get_role"] == {"RoleName": "EMR_DefaultRole"}
    assert answers.asked["get_instance_profile"] == {"InstanceProfileName": "EMR_EC2_DefaultRole"}


def test_against_the_emulator(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.create_bucket("mine")
    environ = {**ENVIRONMENT, "AWS_ENDPOINT_URL": rehearsal.emulator.url}
    found = look(Aws(within_seconds=PATIENCE_SECONDS), environ)
    assert bad(found) == []
    assert [name for name, finding in found.items() if finding.verdict is Verdict.UNCHECKED] == [
        "service role",
        "instance profile",
    ]
    assert "The emulator answers for EMR, EMR Serverless, S3 and STS, not for 'iam'" in found["service role"].found
    assert f"it answers at {rehearsal.emulator.url} (AWS_ENDPOINT_URL)" in found["EMR"].found
    assert found["release"].found.startswith(
        f"{default_label()}, with Spark {'.'.join(installed_spark().split('.')[:2])}"
    )
    assert rehearsal.keys("mine") == []  # nothing is left behind


def test_a_bucket_that_is_not_there(rehearsal: Rehearsal) -> None:  # noqa: ARG001 (its environment is used)
    found = look(Aws(within_seconds=PATIENCE_SECONDS))
    assert bad(found) == ["bucket", "storage"]
    assert str(found["bucket"]) == (
        "MISSING    bucket: there is no bucket 'mine'. Create it with aws s3 mb s3://mine, or set another one."
    )


def test_nothing_is_set(rehearsal: Rehearsal, tmp_path: Path) -> None:  # noqa: ARG001
    found = look(Aws(within_seconds=PATIENCE_SECONDS), {}, lambda: str(tmp_path / "new" / "data"))
    assert bad(found) == ["bucket"]
    assert found["bucket"].found.startswith("EMR_PIPELINES_BUCKET is ''; allowed: a bucket: my-bucket, or s3://my-buck")
    assert found["storage"].found.endswith(
        "on this machine; with EMR_PIPELINES_TARGET=emr or emr-serverless it must be on S3"
    )


def test_the_folder_is_that_of_the_deployment() -> None:
    answers = Answers()
    environ = {**ENVIRONMENT, "EMR_PIPELINES_BUCKET": "s3://mine/team/", "EMR_PIPELINES_DEPLOYMENT": "prod"}
    storage = StorageUnusable("no.")

    def refuse() -> str:
        raise storage

    found = look(answers, environ, refuse)
    assert found["bucket"].found.startswith("s3://mine/team/prod is writable")
    assert answers.asked["list_objects_v2"]["Prefix"] == answers.asked["put_object"]["Key"]
    assert answers.asked["put_object"]["Key"].startswith("team/prod/doctor-")
    assert answers.asked["delete_object"] == {"Bucket": "mine", "Key": answers.asked["put_object"]["Key"]}
    assert (found["storage"].verdict, found["storage"].found) == (Verdict.WRONG, "no.")


@pytest.mark.parametrize(
    ("operation", "answer", "check", "verdict", "says"),
    [
        ("list_clusters", AccessDenied("not you."), "EMR", "WRONG", "not you. Allow elasticmapreduce:*"),
        ("list_clusters", Unreachable("gone."), "EMR", "WRONG", "gone. Check the network, and the name of the"),
        ("list_clusters", Throttled("wait."), "EMR", "UNCHECKED", "not checked: wait."),
        ("describe_release_label", RequestRefused("?", "InvalidRequestException"), "release", "WRONG",
         f"EMR does not know {default_label()}: ?. Choose another release_label"),
        ("describe_release_label", RequestRefused("?", "UnknownOperationException"), "release", "UNCHECKED", "?"),
        ("describe_release_label", AccessDenied("not you."), "release", "UNCHECKED", "not you."),
        ("list_objects_v2", AccessDenied("not you."), "bucket", "WRONG", "not you. Allow s3:ListBucket on mine"),
        ("list_objects_v2", {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "us-east-2"}}}, "bucket",
         "WRONG", "mine is in us-east-2, but EMR"),
        ("list_objects_v2", {}, "bucket", "OK", "is writable."),
        ("put_object", AccessDenied("not you."), "bucket", "WRONG", "Allow s3:PutObject, s3:GetObject and"),
        ("delete_object", AccessDenied("not you."), "bucket", "WRONG", "s3:DeleteObject on mine."),
        ("get_role", NotFound("?"), "service role", "MISSING",
         "there is no EMR_DefaultRole. Set EMR_PIPELINES_SERVICE_ROLE to an existing one, or create it with aws emr"),
        ("get_role", AccessDenied("not you."), "service role", "UNCHECKED", "EMR_DefaultRole was not checked: not"),
        ("get_instance_profile", NotFound("?"), "instance profile", "MISSING", "there is no EMR_EC2_DefaultRole."),
        ("get_instance_profile", {"InstanceProfile": {"Roles": []}}, "instance profile", "WRONG", "contains no role"),
        ("get_caller_identity", CredentialsMissing("it needs AWS credentials."), "credentials", "MISSING", "it needs"),
        ("get_caller_identity", CredentialsMissing("old.", "ExpiredToken"), "credentials", "WRONG", "old. Or use"),
        ("get_caller_identity", Unreachable("gone."), "credentials", "WRONG", "gone. Check the network"),
        ("get_caller_identity", RequestRefused("?", "NoRegion"), "credentials", "UNCHECKED", "there is no region"),
    ],
)  # fmt: skip
def test_what_is_wrong_says_what_to_do(operation: str, answer: object, check: str, verdict: str, says: str) -> None:
    finding = look(Answers(**{operation: answer}))[check]
    assert finding.verdict == verdict
    assert says in str(finding)


def test_roles_by_name_or_arn() -> None:
    answers = Answers()
    roles = {
        "EMR_PIPELINES_SERVICE_ROLE": "arn:aws:iam::111122223333:role/team/mine",
        "EMR_PIPELINES_INSTANCE_PROFILE": "ours",
    }
    found = look(answers, {**ENVIRONMENT, **roles})
    assert found["service role"].found == "arn:aws:iam::111122223333:role/team/mine"
    assert answers.asked["get_role"] == {"RoleName": "mine"}
    assert answers.asked["get_instance_profile"] == {"InstanceProfileName": "ours"}


def test_without_credentials_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    found = look(Aws("us-east-1", within_seconds=PATIENCE_SECONDS))
    assert bad(found) == ["credentials"]
    assert found["credentials"].verdict is Verdict.MISSING
    assert "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and" in found["credentials"].found
    assert found["EMR"].found == found["bucket"].found == "not checked: there are no valid credentials"


def test_without_a_region_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    found = look(Aws(within_seconds=PATIENCE_SECONDS))
    assert found["region"].verdict is Verdict.MISSING
    assert "set AWS_REGION (us-east-1, for example)" in found["region"].found
    assert found["EMR"].found == "not checked: there is no region"


@pytest.mark.parametrize(
    ("region", "verdict", "says"),
    [
        ("us-gov-west-1", "OK", "us-gov-west-1"),
        ("eu-central-9", "UNCHECKED", "the installed botocore does not know the region eu-central-9; it may be"),
        ("us-est-1", "WRONG", "There is no region 'us-est-1'. Did you mean us-west-1 or us-east-1? Set AWS_REGION"),
        ("eu-cental-1", "WRONG", "There is no region 'eu-cental-1'. Did you mean eu-central-1 or "),
        ("somewhere", "WRONG", "There is no region 'somewhere'. Set AWS_REGION"),
        ("us-east-1a", "WRONG", "There is no region 'us-east-1a'. Did you mean us-east-1 or "),  # a zone
    ],
)
def test_a_region_that_does_not_exist_is_wrong_and_one_that_may_be_new_is_not(
    region: str, verdict: str, says: str
) -> None:
    answers = Answers()
    answers.region = region
    found = look(answers)["region"]
    assert (str(found.verdict), says in str(found)) == (verdict, True)


KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(
    ("told", "wrong", "says"),
    [
        ({}, [], "the bucket's default; set"),
        ({"EMR_PIPELINES_KMS_KEY": KEY}, [], f"aws:kms, with {KEY}"),
        ({"EMR_PIPELINES_ENCRYPTION": "AES256"}, [], "AES256, with no key of your own"),
        ({"EMR_PIPELINES_ENCRYPTION": "SSE"}, ["encryption"], "EMR_PIPELINES_ENCRYPTION is 'SSE'; allowed: AES256"),
        (
            {"EMR_PIPELINES_KMS_KEY": KEY.replace("eu-west-1", "eu-west-2")},
            ["encryption"],
            "the key is in eu-west-2, but EMR runs in eu-west-1",
        ),
    ],
)
def test_the_encryption_is_checked_and_tried(told: dict[str, str], wrong: list[str], says: str) -> None:
    answers = Answers()
    found = look(answers, {**ENVIRONMENT, **told})
    assert bad(found) == wrong
    assert says in found["encryption"].found
    written = answers.asked["put_object"]
    assert written.get("SSEKMSKeyId") == told.get("EMR_PIPELINES_KMS_KEY")
    denied = look(Answers(put_object=AccessDenied("no", "AccessDenied")), {**ENVIRONMENT, **told})["bucket"]
    assert ("EMR_PIPELINES_ENCRYPTION" in denied.to_do) is (not told or "SSE" in told.values())


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    found = look(
        Aws("us-east-1", within_seconds=0), {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{unused_tcp_port}"}
    )
    assert bad(found) == ["credentials", "EMR", "bucket", "storage"]
    assert "Check the network, and the endpoint at http://127.0.0.1:" in found["EMR"].to_do


def test_who_never_answers_holds_up_nobody() -> None:
    never = threading.Event()

    class Silent(Answers):
        def call(self, _service: str, operation: str, /, **request: Any) -> Any:
            if operation == "list_clusters":
                never.wait()
            return super().call(_service, operation, **request)

    setup = DoctorContext(cast("Aws", Silent()), ENVIRONMENT, lambda: ON_S3)
    found = {finding.check: finding for finding in run_checks(setup, within_seconds=0.5)}
    never.set()
    assert bad(found) == ["EMR"]
    assert found["EMR"].found == "no answer within 0.5 s"


def test_what_no_check_reckons_with_is_a_finding() -> None:
    found = look(Answers(get_caller_identity=ValueError("odd")))
    assert bad(found) == ["credentials"]
    assert found["credentials"].found == "the check failed with an unexpected error: ValueError('odd')"


def test_a_storage_on_this_machine_cannot_be_written_by_a_cluster(tmp_path: Path) -> None:
    found = look(Answers(), storage=lambda: str(tmp_path))["storage"]
    assert found.verdict is Verdict.WRONG
    assert "is a folder of this machine, which a cluster cannot reach" in found.found


def test_a_storage_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = look(Answers(), {"EMR_PIPELINES_BUCKET": "mine"}, lambda: str(tmp_path / "file" / "data"))["storage"]
    assert (found.verdict, found.found) == (Verdict.WRONG, f"{tmp_path}/file/data is not writable")


def test_without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "Install it with pip install uv." in str(look(Answers())["uv"])


def test_an_unknown_or_invalid_variable_is_wrong() -> None:
    unknown = look(Answers(), {**ENVIRONMENT, "EMR_PIPELINES_BUKET": "x"})["settings"]
    assert str(unknown) == (
        "WRONG      settings: The environment variable EMR_PIPELINES_BUKET is unknown and has no effect; the nearest "
        "known is EMR_PIPELINES_BUCKET. Correct the name, or unset it."
    )
    invalid = look(Answers(), {**ENVIRONMENT, "EMR_PIPELINES_TARGET": "yarn"})["settings"]
    assert str(invalid) == "WRONG      settings: EMR_PIPELINES_TARGET is 'yarn'; allowed: local, emr or emr-serverless."
    good = look(Answers(), {**ENVIRONMENT, "EMR_PIPELINES_TARGET": "EMR"})
    assert (good["settings"].verdict, good["storage"].verdict) == (Verdict.OK, Verdict.OK)


ROLE = "arn:aws:iam::111122223333:role/jobs"
SERVERLESS = {**ENVIRONMENT, "EMR_PIPELINES_TARGET": "emr-serverless", "EMR_PIPELINES_EXECUTION_ROLE": ROLE}
TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "emr-serverless.amazonaws.com"}}]}
APPLICATION = {"applicationId": "00f1", "name": "own", "state": "STARTED", "releaseLabel": "emr-7.14.0"}
OF_SERVERLESS: dict[str, Any] = {
    "list_applications": {"applications": [{"id": "00f1", "state": "STARTED"}]},
    "get_application": {"application": APPLICATION},
    "get_role": {"Role": {"AssumeRolePolicyDocument": TRUST}},
    "list_service_quotas": {"Quotas": [{"QuotaName": "Max concurrent vCPUs per account", "Value": 16.0}]},
}


def test_with_serverless_its_own_parts_are_checked() -> None:
    found = look(Answers(**OF_SERVERLESS), {**SERVERLESS, "EMR_PIPELINES_APPLICATION": "00f1"})
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert "applications in this account and region: 1" in found["EMR Serverless"].found
    assert "emr-7.14.0, X86_64, STARTED" in found["application"].found
    assert found["quota"].found.startswith("16 vCPU at once")


@pytest.mark.parametrize(
    ("check", "answers", "environ", "verdict", "says"),
    [
        ("execution role", {}, {"EMR_PIPELINES_EXECUTION_ROLE": ""}, Verdict.MISSING, "is not set"),
        ("execution role", {}, {"EMR_PIPELINES_EXECUTION_ROLE": "jobs"}, Verdict.WRONG, "Set it to the ARN"),
        ("execution role", {"get_role": NotFound("no")}, {}, Verdict.MISSING, "there is no role"),
        ("execution role", {"get_role": AccessDenied("no")}, {}, Verdict.UNCHECKED, "was not checked"),
        ("execution role", {"get_role": {"Role": {}}}, {}, Verdict.WRONG, "Allow sts:AssumeRole"),
        ("application", {"get_application": NotFound("no")}, {}, Verdict.MISSING, "Set EMR_PIPELINES_APPLICATION"),
        (
            "application", {"get_application": {"application": {**APPLICATION, "state": "TERMINATED"}}}, {},
            Verdict.MISSING, "was deleted",
        ),
        (
            "application", {"get_application": {"application": {**APPLICATION, "architecture": "ARM64"}}}, {},
            Verdict.OK, "set application.architecture to arm64",
        ),
        ("EMR Serverless", {"list_applications": AccessDenied("no")}, {}, Verdict.WRONG, "Allow emr-serverless:*"),
        ("quota", {"list_service_quotas": AccessDenied("no")}, {}, Verdict.UNCHECKED, "was not checked"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_serverless(
    check: str, answers: dict[str, Any], environ: dict[str, str], verdict: Verdict, says: str
) -> None:
    told = {**SERVERLESS, "EMR_PIPELINES_APPLICATION": "00f1", **environ}
    found = look(Answers(**{**OF_SERVERLESS, **answers}), told)[check]
    assert found.verdict is verdict
    assert says in str(found)
