"""Server-side encryption for buckets whose policy demands it of each write: EMR_PIPELINES_ENCRYPTION and
EMR_PIPELINES_KMS_KEY. Without them no header is sent, and S3 applies the bucket's default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emr_pipelines.environment import setting
from emr_pipelines.errors import InvalidValue

AES256, KMS, DSSE = "AES256", "aws:kms", "aws:kms:dsse"  # the values of the header x-amz-server-side-encryption
ALGORITHMS = (AES256, KMS, DSSE)
KEY = re.compile(r"arn:aws[\w-]*:kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")
KEY_FORM = "the ARN of a KMS key, arn:aws:kms:<region>:<account>:key/<id>"


@dataclass(frozen=True)
class Encryption:
    """What each write asks for. algorithm: one of ALGORITHMS, or nothing. key: a KMS key's ARN; without one, S3 takes
    the account's own key aws/s3, not the bucket's."""

    algorithm: str = ""
    key: str = ""

    @classmethod
    def configured(cls, environ: Mapping[str, str] = os.environ) -> Encryption:
        """Read the environment. A key alone means aws:kms. Raises InvalidValue."""
        algorithm = setting("EMR_PIPELINES_ENCRYPTION", environ)
        key = setting("EMR_PIPELINES_KMS_KEY", environ)
        if algorithm and algorithm not in ALGORITHMS:
            raise InvalidValue("EMR_PIPELINES_ENCRYPTION", algorithm, ", ".join(ALGORITHMS))
        if key and not KEY.fullmatch(key):
            raise InvalidValue("EMR_PIPELINES_KMS_KEY", key, KEY_FORM)
        if key and algorithm == AES256:
            raise InvalidValue("EMR_PIPELINES_KMS_KEY", key, f"nothing with EMR_PIPELINES_ENCRYPTION={AES256}")
        return cls(algorithm or (KMS if key else ""), key)

    @property
    def key_region(self) -> str:
        found = KEY.fullmatch(self.key)
        return found.group(1) if found else ""

    def of_put(self) -> dict[str, Any]:
        """Return the parameters for PutObject and CreateMultipartUpload."""
        algorithm = {"ServerSideEncryption": self.algorithm} if self.algorithm else {}
        return {**algorithm, **({"SSEKMSKeyId": self.key} if self.key else {})}

    def when_denied(self) -> str:
        """Return a hint for a write that S3 denies although the credentials seem to allow it."""
        if not self.algorithm:
            return (
                "If the bucket's policy demands encryption headers, set EMR_PIPELINES_ENCRYPTION "
                f"({', '.join(ALGORITHMS)}), and EMR_PIPELINES_KMS_KEY for a key of yours."
            )
        asked = f"{self.algorithm} with {self.key}" if self.key else self.algorithm
        may = " and kms:GenerateDataKey and kms:Decrypt are allowed on the key" if self.algorithm != AES256 else ""
        return f"It was written with {asked}: check that the bucket's policy wants that{may}."
