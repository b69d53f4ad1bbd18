"""Read, write (conditionally), list and delete S3 objects by URI."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.encryption import Encryption
from emr_pipelines.errors import AccessDenied, InvalidValue, NotFound, PreconditionFailed, RequestRefused

S3_URI = re.compile(r"s3[an]?://([^/]+)(?:/(.*))?", re.DOTALL)
DELETED_AT_ONCE = 1000  # the maximum of DeleteObjects


@dataclass(frozen=True)
class ObjectEntry:
    """An object in a listing: its URI, its size in bytes, and when it was written."""

    uri: str
    bytes: int
    modified: datetime


@dataclass(frozen=True)
class Content:
    """The content of an object, and its ETag, with which a later write can demand that the object is unchanged."""

    data: bytes
    etag: str


def split_uri(uri: str) -> tuple[str, str]:
    """Split an s3://, s3a:// or s3n:// URI into bucket and key. Raises InvalidValue."""
    found = S3_URI.fullmatch(uri)
    if not found:
        raise InvalidValue("The S3 location", uri, "s3://bucket/key")
    return found.group(1), found.group(2) or ""


def join(uri: str, *names: str) -> str:
    return posixpath.join(uri.rstrip("/"), *names)


class Objects:
    """Objects on S3.

    Each call may raise what `Aws.call` raises: CredentialsMissing, AccessDenied, NotFound (of a bucket), Throttled,
    Unreachable, RequestRefused.
    """

    def __init__(self, aws: Aws, patience_seconds: float | None = None, encryption: Encryption | None = None) -> None:
        """patience_seconds: how long a call is retried; by default as in `Aws.call`. encryption: what each write asks
        for; by default the environment's. Raises InvalidValue for an invalid environment."""
        self._aws = aws
        self._patience = patience_seconds
        self._encryption = Encryption.configured() if encryption is None else encryption

    def read(self, uri: str, last_bytes: int | None = None) -> bytes | None:
        """Return the bytes of an object, or its last ones; None if it does not exist."""
        bucket, key = split_uri(uri)
        span: dict[str, Any] = {} if last_bytes is None else {"Range": f"bytes=-{last_bytes}"}
        content = self._get(bucket, key, **span)
        return content.data if content else None

    def read_tagged(self, uri: str) -> Content | None:
        """Return an object with its ETag; None if it does not exist."""
        return self._get(*split_uri(uri))

    def write(self, uri: str, data: bytes, *, replacing: Content | None = None) -> None:
        """Write an object atomically. Raises PreconditionFailed if it is no longer `replacing`."""
        bucket, key = split_uri(uri)
        condition: dict[str, Any] = {} if replacing is None else {"IfMatch": replacing.etag}
        try:
            self._put(Bucket=bucket, Key=key, Body=data, **condition)
        except NotFound as error:
            if replacing is None or error.code == "NoSuchBucket":
                raise
            raise PreconditionFailed(str(error), error.code) from error  # the object to replace is gone

    def create(self, uri: str, data: bytes) -> None:
        """Write a new object. Raises PreconditionFailed if it exists."""
        bucket, key = split_uri(uri)
        self._put(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")

    def upload(self, uri: str, path: Path, advance: Callable[[int], None] | None = None) -> None:
        """Write an object from a file of any size. Calls `advance`, from several threads, with the bytes sent since."""
        bucket, key = split_uri(uri)
        self._write("upload_file", str(path), bucket, key, Callback=advance, ExtraArgs=self._encryption.of_put())

    def exists(self, uri: str) -> bool:
        bucket, key = split_uri(uri)
        try:
            self._call("head_object", Bucket=bucket, Key=key)
        except NotFound:
            return False
        return True

    def entries(self, uri: str) -> Iterator[ObjectEntry]:
        """Yield the objects whose URI starts with `uri`, in the order of their keys."""
        for page in self._pages(uri):
            for found in page.get("Contents", []):
                yield ObjectEntry(f"s3://{split_uri(uri)[0]}/{found['Key']}", found["Size"], found["LastModified"])

    def names(self, uri: str) -> list[str]:
        """Return the names directly below a folder: of objects and of folders, without a slash."""
        folder = uri.rstrip("/") + "/"
        start = len(split_uri(folder)[1])
        names = set()
        for page in self._pages(folder, Delimiter="/"):
            names |= {found["Prefix"][start:].rstrip("/") for found in page.get("CommonPrefixes", [])}
            names |= {found["Key"][start:] for found in page.get("Contents", [])}
        return sorted(name for name in names if name)

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; missing ones count as deleted."""
        by_bucket: dict[str, list[str]] = {}
        for bucket, key in map(split_uri, uris):
            by_bucket.setdefault(bucket, []).append(key)
        for bucket, keys in by_bucket.items():
            for start in range(0, len(keys), DELETED_AT_ONCE):
                wanted = [{"Key": key} for key in keys[start : start + DELETED_AT_ONCE]]
                answer = self._aws.call(
                    "s3", "delete_objects", Bucket=bucket, Delete={"Objects": wanted, "Quiet": True}
                )
                for refused in answer.get("Errors", ()):  # a successful response may contain errors of single keys
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
        options |= {"Bucket": bucket, "Prefix": prefix}
        return self._aws.pages("s3", "list_objects_v2", patience_seconds=self._patience, **options)

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
