"""Emulate S3: moto answers the requests, and each object is a file in its bucket's folder.

Spark reads and writes the folders (see filesystem.py), so it sees the same objects as the clients of the endpoint.
Before each request, changes in the folders are passed to moto; after it, moto's new objects are written to files. Some
objects cannot be files: their key has an empty or `..` part, ends with a slash, or names a folder. Only moto has those,
and Spark does not see them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.parsers.expat import ExpatError

import xmltodict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.exceptions import BucketAlreadyExists
from moto.s3.models import FakeKey, s3_backends
from werkzeug.wrappers import Request, Response

from emr_emulator.faults import ExpiredToken, Faults, S3Error
from emr_emulator.files import FileContent, new_file
from emr_emulator.object_files import BUCKET_NAME, Activity, ObjectFiles, content_of
from emr_emulator.s3 import (
    access_key_of,
    answer,
    error_response,
    not_emulated,
    operation_of,
    service_of,
    with_content,
)

SERVICES = ("s3", "sts")


class InvalidBucket(ValueError):
    """A bucket cannot be created; the message says why."""


class Buckets:
    """The S3 and STS endpoint, with its buckets."""

    def __init__(self, root: Path, account: str, faults: Faults, now: Callable[[], float], activity: Activity) -> None:
        self.root = root
        self._account = account
        self._faults = faults
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.RLock()
        self._backend = s3_backends[account]["aws"]
        self._files = ObjectFiles(root, self._backend, faults, now, activity)
        for left in root.glob(".*"):  # temporary files of an emulator that was killed
            left.unlink(missing_ok=True)
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and BUCKET_NAME.fullmatch(folder.name):
                self.create(folder.name)

    def folders(self) -> dict[str, Path]:
        with self._lock:
            return {name: self.root / name for name in self._backend.buckets if BUCKET_NAME.fullmatch(name)}

    def create(self, name: str) -> None:
        if not BUCKET_NAME.fullmatch(name):
            raise InvalidBucket(
                f"A bucket cannot be called {name!r}: 3 to 63 small letters, digits, dots and hyphens are allowed, "
                "within S3's naming rules."
            )
        with self._lock:
            if name not in self._backend.buckets:
                try:
                    self._backend.create_bucket(name, "us-east-1")
                except BucketAlreadyExists as error:
                    raise InvalidBucket(f"Another emulator of this process has a bucket {name!r}.") from error
            (self.root / name).mkdir(exist_ok=True)

    def add_file(self, bucket: str, key: str, write: Callable[[Path], None]) -> bool:
        """Add an object atomically; `write` fills its file. Return False if the bucket does not exist."""
        path = self._files.path(bucket, key)
        if path is None or bucket not in self.folders():
            return False
        with new_file(self.root, path) as temporary:
            write(temporary)
        return True

    def close(self) -> None:
        """Remove the buckets from moto; their folders stay."""
        with self._lock:
            for name in list(self._backend.buckets):
                bucket = self._backend.buckets.pop(name)
                s3_backends.bucket_accounts.pop(name, None)
                for versions in dict(bucket.keys.lists()).values():
                    for key in versions:
                        if isinstance(key, FakeKey):  # not a delete marker
                            key.dispose()
                for part in bucket.multiparts.values():
                    part.dispose()

    # requests

    def respond(self, request: Request) -> Response:
        environ = request.environ
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        bucket, _, key = request.path.lstrip("/").partition("/")
        service = service_of(request)
        if service not in SERVICES:
            return not_emulated(request, service)
        if service != "s3" or not bucket:
            return answer(self._moto, environ)
        operation = operation_of(request, key)
        refused = self._refusal(request, operation, bucket, key)
        if refused is not None:
            return error_response(refused, request)
        body = request.get_data() if request.method in ("PUT", "POST") else b""
        with self._lock:
            try:
                touched = self._touched(request, key, body)
            except ExpatError:
                return error_response("MalformedXML", request)
            self._files.take_in(request, bucket, key, touched)
            response = self._respond(environ, bucket, key, operation, body)
            if request.method in ("PUT", "POST", "DELETE") and response.status_code < 300:  # noqa: PLR2004 (HTTP)
                deletes = operation in ("DeleteObject", "DeleteObjects")
                self._files.write_out(bucket, key, touched, deletes)
        if response.mimetype == "text/html" and response.status_code >= 500:  # noqa: PLR2004 (HTTP)
            return error_response("InternalError", request)  # moto failed
        return response

    def _refusal(self, request: Request, operation: str, bucket: str, key: str) -> str | None:
        """Return the code of an error that moto would not raise, or None."""
        fault = self._faults.strike(S3Error, operation=(operation,), key=(f"{bucket}/{key}",))
        if fault is not None:
            return fault.code
        signed_with = (access_key_of(request),)
        asked = {"operation": (operation,), "key": (f"{bucket}/{key}",)}
        if self._faults.strike(ExpiredToken, access_key=signed_with, **asked):
            return "ExpiredToken"
        if operation == "CreateBucket" and not request.args:
            return None if BUCKET_NAME.fullmatch(bucket) else "InvalidBucketName"
        source = unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[0]
        foreign = any(name in s3_backends.bucket_accounts for name in {bucket, source} - set(self._backend.buckets))
        return "AccessDenied" if foreign else None  # the bucket of another account, which no policy allows

    def _respond(self, environ: dict[str, Any], bucket: str, key: str, operation: str, body: bytes) -> Response:
        if operation == "GetObject" and bucket in self._backend.buckets:
            content = content_of(self._backend.buckets[bucket].keys.get(key))
            if isinstance(content, FileContent):
                return self._get(environ, bucket, key, content)
        if body:
            environ = {
                **environ,
                "wsgi.input": io.BytesIO(body),
                "wsgi.input_terminated": True,
                "CONTENT_LENGTH": str(len(body)),
            }
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        return answer(self._moto, environ)

    def _get(self, environ: dict[str, Any], bucket: str, key: str, content: FileContent) -> Response:
        """Answer a GET with moto's headers for HEAD and the file's bytes."""
        try:
            file = content.path.open("rb")
        except OSError:  # deleted in the meantime
            self._files.refresh(bucket, key)
            return answer(self._moto, environ)
        head = answer(self._moto, {**environ, "REQUEST_METHOD": "HEAD"})
        if head.status_code in (200, 206):
            return with_content(head, file)
        file.close()
        return answer(self._moto, environ)

    def _touched(self, request: Request, key: str, body: bytes) -> list[str]:
        """Return the keys that a request names."""
        if key:
            return [key]
        if request.method == "POST" and "delete" in request.args:
            asked = xmltodict.parse(body, force_list=("Object",)).get("Delete") or {}
            return [entry["Key"] for entry in asked.get("Object", []) if entry and entry.get("Key")]
        return []
