"""Encrypt Spark's writes to S3, on a cluster or on EMR Serverless, as EMR_PIPELINES_ENCRYPTION says."""

from __future__ import annotations

from emr_pipelines.aws.encryption import AES256, DSSE, KEY_FORM, KMS, Encryption
from emr_pipelines.errors import InvalidValue
from emr_pipelines.spark_lines import has

OF_S3A = {AES256: "AES256", KMS: "SSE-KMS", DSSE: "DSSE-KMS"}


def encryption_configurations(encryption: Encryption, release_label: str) -> dict[str, dict[str, str]]:
    """EMR's configurations that make Spark, and all that uses Hadoop's file systems, encrypt its writes. Raises
    InvalidValue for what EMRFS, in releases without S3A, cannot do.

    Sources: Hadoop's "Working with Encrypted S3 Data"; EMR Release Guide, "Specifying Amazon S3 encryption using
    EMRFS properties".
    """
    if not encryption.algorithm:
        return {}
    s3a = {"fs.s3a.encryption.algorithm": OF_S3A[encryption.algorithm]}
    found = {"core-site": {**s3a, **({"fs.s3a.encryption.key": encryption.key} if encryption.key else {})}}
    if has(release_label, "S3A"):
        return found
    if encryption.algorithm == DSSE:
        raise InvalidValue("EMR_PIPELINES_ENCRYPTION", DSSE, f"{AES256} or {KMS} with releases before emr-7.10.0")
    if encryption.algorithm == KMS and not encryption.key:
        raise InvalidValue("EMR_PIPELINES_KMS_KEY", "", f"{KEY_FORM}, with releases before emr-7.10.0")
    how = (
        {"fs.s3.serverSideEncryption.kms.keyId": encryption.key}
        if encryption.key
        else {"fs.s3.serverSideEncryptionAlgorithm": AES256}
    )
    return {**found, "emrfs-site": {"fs.s3.enableServerSideEncryption": "true", **how}}


def encryption_settings(encryption: Encryption, release_label: str) -> dict[str, str]:
    """Return the same as settings of Spark, for where there is no cluster to configure. Raises InvalidValue."""
    told = encryption_configurations(encryption, release_label).values()
    return {f"spark.hadoop.{name}": value for properties in told for name, value in properties.items()}
