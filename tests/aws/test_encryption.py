"""Encryption headers of every write, from this process and from a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session

from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.errors import AccessDenied, EmrPipelinesError, InvalidValue
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.emr_settings import encrypted
from emr_pipelines.runners.target import configured_runner
from tests.account import BUCKET, Account

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_OF_CHINA = "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
HEADER, KEY_HEADER = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, str]]]:
    """Record the method, URL and headers of boto3's requests."""
    requests: list[tuple[str, str, dict[str, str]]] = []
    send = URLLib3Session.send

    def recorded(self: URLLib3Session, request: Any) -> Any:
        said = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        requests.append((request.method, request.url, said))
        return send(self, request)

    monkeypatch.setattr(URLLib3Session, "send", recorded)
    return requests


@pytest.mark.parametrize(
    ("told", "headers"),
    [
        ({}, (None, None)),
        pytest.param({"EMR_PIPELINES_ENCRYPTION": "AES256"}, ("AES256", None), marks=pytest.mark.extended),
        pytest.param({"EMR_PIPELINES_ENCRYPTION": "aws:kms"}, ("aws:kms", None), marks=pytest.mark.extended),
        ({"EMR_PIPELINES_KMS_KEY": KEY}, ("aws:kms", KEY)),
        ({"EMR_PIPELINES_ENCRYPTION": " aws:kms:dsse ", "EMR_PIPELINES_KMS_KEY": KEY}, ("aws:kms:dsse", KEY)),
        pytest.param({"EMR_PIPELINES_KMS_KEY": KEY_OF_CHINA}, ("aws:kms", KEY_OF_CHINA), marks=pytest.mark.extended),
    ],
)
def test_every_kind_of_write_carries_the_headers(
    account: Account,
    tmp_path: Path,
    sent: list[tuple[str, str, dict[str, str]]],
    told: dict[str, str],
    headers: tuple[str | None, str | None],
) -> None:
    objects = Objects(account.aws, encryption=Encryption.configured(told))
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"a")
    large.write_bytes(bytes(9 * 1024**2))  # boto3 sends this one in parts
    objects.create(f"{account.base}/created", b"1")
    objects.write(f"{account.base}/written", b"1")
    found = objects.read_tagged(f"{account.base}/written")
    objects.write(f"{account.base}/written", b"2", replacing=found)
    objects.upload(f"{account.base}/small", small)
    objects.upload(f"{account.base}/large", large)
    assert len(objects.read(f"{account.base}/large") or b"") == 9 * 1024**2
    begun = [
        (said.get(HEADER), said.get(KEY_HEADER))
        for method, url, said in sent
        if (method == "PUT" and "partNumber" not in url) or (method == "POST" and url.endswith("?uploads"))
    ]
    assert begun == [headers] * 5
    assert sum("partNumber" in url for _, url, _ in sent) == 2  # which take none: they have the upload's


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"EMR_PIPELINES_ENCRYPTION": "SSE-S3"}, "is 'SSE-S3'; allowed: AES256, aws:kms, aws:kms:dsse."),
        ({"EMR_PIPELINES_ENCRYPTION": "aes256"}, "EMR_PIPELINES_ENCRYPTION is 'aes256'; allowed: AES256, "),
        ({"EMR_PIPELINES_KMS_KEY": "alias/mine"}, "is 'alias/mine'; allowed: the ARN of a KMS key"),
        (
            {"EMR_PIPELINES_ENCRYPTION": "AES256", "EMR_PIPELINES_KMS_KEY": KEY},
            "allowed: nothing with EMR_PIPELINES_ENCRYPTION=AES256.",
        ),
    ],
)  # fmt: skip
def test_what_is_no_encryption_is_refused_when_definitions_are_loaded(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], sentence: str
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EmrPipelinesError) as refused:
        configured_runner()
    assert sentence in str(refused.value)


S3A_KMS = {"fs.s3a.encryption.algorithm": "SSE-KMS", "fs.s3a.encryption.key": KEY}


@pytest.mark.parametrize(
    ("encryption", "release", "expected"),
    [
        (Encryption(), "emr-7.10.0", {}),
        (Encryption("AES256"), "emr-7.10.0", {"core-site": {"fs.s3a.encryption.algorithm": "AES256"}}),
        (Encryption("aws:kms"), "emr-7.12.0", {"core-site": {"fs.s3a.encryption.algorithm": "SSE-KMS"}}),
        (Encryption("aws:kms", KEY), "emr-7.10.0", {"core-site": S3A_KMS}),
        (
            Encryption("aws:kms:dsse", KEY),
            "emr-7.10.0",
            {"core-site": {**S3A_KMS, "fs.s3a.encryption.algorithm": "DSSE-KMS"}},
        ),
        (
            Encryption("aws:kms", KEY),
            "emr-7.9.0",
            {
                "core-site": S3A_KMS,
                "emrfs-site": {
                    "fs.s3.enableServerSideEncryption": "true",
                    "fs.s3.serverSideEncryption.kms.keyId": KEY,
                },
            },
        ),
        (
            Encryption("AES256"),
            "emr-7.0.0",
            {
                "core-site": {"fs.s3a.encryption.algorithm": "AES256"},
                "emrfs-site": {
                    "fs.s3.enableServerSideEncryption": "true",
                    "fs.s3.serverSideEncryptionAlgorithm": "AES256",
                },
            },
        ),
    ],
)
def test_what_spark_writes_is_encrypted_by_the_release_s_file_system(
    encryption: Encryption, release: str, expected: dict[str, dict[str, str]]
) -> None:
    request = encrypted(ClusterSpec(release_label=release), encryption).request("a", "s3://b/", {})
    found = {entry["Classification"]: entry["Properties"] for entry in request["Configurations"]}
    del found["spark-defaults"]
    assert found == expected
    assert request.get("LogEncryptionKmsKeyId", "") == encryption.key  # of EMR's own logs


@pytest.mark.parametrize("encryption", [Encryption("aws:kms"), Encryption("aws:kms:dsse", KEY)])
def test_what_emrfs_cannot_do_is_refused_before_a_cluster_is_launched(encryption: Encryption) -> None:
    with pytest.raises(InvalidValue, match=r"with releases before emr-7\.10\.0"):
        encrypted(ClusterSpec(release_label="emr-7.9.0"), encryption)


def test_a_cluster_s_own_words_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_KMS_KEY", KEY)
    other = KEY.replace("1234abcd", "99999999")
    runner = EmrSparkRunner(
        bucket="my-bucket",
        cluster={
            "configurations": {"core-site": {"fs.s3a.encryption.key": other, "a": "b"}},
            "extra": {"LogEncryptionKmsKeyId": other},
        },
    )
    request = runner.spec().request("a", "s3://b/", {})
    (core_site,) = [found for found in request["Configurations"] if found["Classification"] == "core-site"]
    assert core_site["Properties"] == {
        "fs.s3a.encryption.algorithm": "SSE-KMS", "fs.s3a.encryption.key": other, "a": "b"
    }  # fmt: skip
    assert request["LogEncryptionKmsKeyId"] == other


def test_clusters_that_write_otherwise_do_not_stand_in_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = EmrSparkRunner(bucket="my-bucket").spec().digest
    monkeypatch.setenv("EMR_PIPELINES_ENCRYPTION", "AES256")
    assert EmrSparkRunner(bucket="my-bucket").spec().digest != plain


@pytest.mark.parametrize(
    ("encryption", "says"),
    [
        (Encryption(), "If the bucket's policy demands encryption headers, set EMR_PIPELINES_ENCRYPTION (AES256, "),
        (Encryption("aws:kms", KEY), f"It was written with aws:kms with {KEY}: check that the bucket's policy wants"),
        (Encryption("AES256"), "It was written with AES256: check that the bucket's policy wants that."),
    ],
)
def test_a_denied_write_names_the_headers_as_a_possible_reason(
    account: Account, tmp_path: Path, encryption: Encryption, says: str
) -> None:
    account.fault("s3_error", key="*", operation="*", code="AccessDenied", times=None)
    objects, file = Objects(account.aws, encryption=encryption), tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(AccessDenied) as created:
        objects.create(f"s3://{BUCKET}/a", b"")
    with pytest.raises(AccessDenied) as written:
        objects.write(f"s3://{BUCKET}/a", b"")
    with pytest.raises(AccessDenied) as uploaded:
        objects.upload(f"s3://{BUCKET}/a", file)
    assert all(says in str(denied.value) for denied in (created, written, uploaded))
