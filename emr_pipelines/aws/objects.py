"""S3 objects by their URI: read, written on a condition, listed, deleted."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.errors import AccessDenied, InvalidValue, NotFound, PreconditionFailed, RequestRefused, Unreachable

if TYPE_CHECKING:
    from emr_pipelines.aws.client import Aws

S3_URI = re.compile(r"s3[an]?://([^/]+)(?:/(.*))?", re.DOTALL)
DELETED_AT_ONCE = 1000  # as many keys as DeleteObjects takes


@dataclass(frozen=True)
class Entry:
    """An object in a listing: its URI, its size in bytes, and when it was written."""

    uri: str
    bytes: int
    modified: datetime


@dataclass(frozen=True)
class Content:
    """What an object holds, and the tag by which a later write can say that it replaces just this."""

    data: bytes
    etag: str


def split_uri(uri: str) -> tuple[str, str]:
    """The bucket and the key of an s3://, s3a:// or s3n:// URI. Raises InvalidValue."""
    found = S3_URI.fullmatch(uri)
    if not found:
        raise InvalidValue("The S3 location", uri, "s3://bucket/key")
    return found.group(1), found.group(2) or ""


def join(uri: str, *names: str) -> str:
    return posixpath.join(uri.rstrip("/"), *names)


class Objects:
    """S3, as what this package needs of it.

    Each call may raise what `Aws.call` raises: CredentialsMissing, AccessDenied, NotFound (of a bucket), Throttled,
    Unreachable, RequestRefused.
    """

    def __init__(self, aws: Aws, patience_seconds: float | None = None, encryption: Encryption | None = None) -> None:
        """patience_seconds: how long a call is tried again; as long as `Aws.call` has it unless told. encryption: what
        each write asks for; what the environment says unless told. Raises InvalidValue."""
        self._aws = aws
        self._patience = patience_seconds
        self._encryption = Encryption.configured() if encryption is None else encryption

    def read(self, uri: str, last_bytes: int | None = None) -> bytes | None:
        """The bytes of an object, or its last ones; None when there is none."""
        bucket, key = split_uri(uri)
        span: dict[str, Any] = {} if last_bytes is None else {"Range": f"bytes=-{last_bytes}"}
        content = self._get(bucket, key, **span)
        return content.data if content else None

    def read_tagged(self, uri: str) -> Content | None:
        """An object with its tag; None when there is none."""
        return self._get(*split_uri(uri))

    def write(self, uri: str, data: bytes, *, replacing: Content | None = None) -> None:
        """Write an object, whole and at once. With `replacing`, raises Changed when it is not that any more."""
        bucket, key = split_uri(uri)
        condition: dict[str, Any] = {} if replacing is None else {"IfMatch": replacing.etag}
        try:
            self._put(Bucket=bucket, Key=key, Body=data, **condition)
        except NotFound as error:
            if replacing is None or error.code == "NoSuchBucket":
                raise
            raise PreconditionFailed(str(error), error.code) from error  # it was to be replaced, and has gone

    def create(self, uri: str, data: bytes) -> None:
        """Write an object that is not there yet. Raises Changed when it is."""
        bucket, key = split_uri(uri)
        self._put(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")

    def upload(self, uri: str, path: Path, advance: Callable[[int], None] | None = None) -> None:
        """Write an object from a file of any size. `advance` is told, from several threads, how many bytes more were
        sent."""
        bucket, key = split_uri(uri)
        self._write("upload_file", str(path), bucket, key, Callback=advance, ExtraArgs=self._encryption.of_put())

    def exists(self, uri: str) -> bool:
        bucket, key = split_uri(uri)
        try:
            self._call("head_object", Bucket=bucket, Key=key)
        except NotFound:
            return False
        return True

    def entries(self, uri: str) -> Iterator[Entry]:
        """The objects whose URI begins so, in the order of their keys."""
        for page in self._pages(uri):
            for found in page.get("Contents", []):
                yield Entry(f"s3://{split_uri(uri)[0]}/{found['Key']}", found["Size"], found["LastModified"])

    def names(self, uri: str) -> list[str]:
        """The names directly below a folder: objects, and folders that have any, without a slash."""
        folder = uri.rstrip("/") + "/"
        start = len(split_uri(folder)[1])
        names = set()
        for page in self._pages(folder, Delimiter="/"):
            names |= {found["Prefix"][start:].rstrip("/") for found in page.get("CommonPrefixes", [])}
            names |= {found["Key"][start:] for found in page.get("Contents", [])}
        return sorted(name for name in names if name)

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; those that are not there count as deleted."""
        by_bucket: dict[str, list[str]] = {}
        for bucket, key in map(split_uri, uris):
            by_bucket.setdefault(bucket, []).append(key)
        for bucket, keys in by_bucket.items():
            for start in range(0, len(keys), DELETED_AT_ONCE):
                wanted = [{"Key": key} for key in keys[start : start + DELETED_AT_ONCE]]
                answer = self._aws.call(
                    "s3", "delete_objects", Bucket=bucket, Delete={"Objects": wanted, "Quiet": True}
                )
                for refused in answer.get("Errors", ()):  # of single keys, in an answer that is otherwise good
                    kind = AccessDenied if refused.get("Code") == "AccessDenied" else RequestRefused
                    said = f"{refused.get('Code')}: {refused.get('Message')}"
                    raise kind(f"s3://{bucket}/{refused.get('Key')} was not deleted: {said}.", refused.get("Code", ""))

    def delete_below(self, uri: str) -> None:
        """Delete all objects in a folder."""
        self.delete(entry.uri for entry in list(self.entries(uri.rstrip("/") + "/")))

    def _call(self, operation: str, /, *positional: Any, **request: Any) -> Any:
        return self._aws.call("s3", operation, *positional, patience_seconds=self._patience, **request)

    def _pages(self, uri: str, **options: Any) -> Iterator[dict[str, Any]]:
        bucket, prefix = split_uri(uri)
        token: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Bucket=bucket, Prefix=prefix, **options, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            following = page.get("NextContinuationToken")
            if not following or following == token.get("ContinuationToken"):
                raise Unreachable(f"The list of {uri} goes on, and S3 does not say where.")
            token = {"ContinuationToken": following}

    def _get(self, bucket: str, key: str, **options: Any) -> Content | None:
        try:
            found = self._call("get_object", Bucket=bucket, Key=key, **options)
        except NotFound as error:
            if error.code == "NoSuchBucket":
                raise
            return None
        return Content(found["Body"], found["ETag"])

    def _put(self, **request: Any) -> None:
        self._write("put_object", **request, **self._encryption.of_put())

    def _write(self, operation: str, /, *positional: Any, **request: Any) -> None:
        try:
            self._call(operation, *positional, **request)
        except AccessDenied as error:
            raise AccessDenied(f"{error} {self._encryption.when_denied()}", error.code) from error
