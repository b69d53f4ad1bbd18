"""S3 whose objects are files: moto answers, and each object's bytes are a file in a folder per bucket.

So Spark, which is given the folders (see filesystem.py), and clients of the endpoint see the same objects.
Before moto answers a request, what has changed in the folders is made known to it; after it has, what it took in is
written to its file. An object that cannot be a file (its key has an empty or `..` part, ends with a slash, or names a
folder) is moto's alone, and Spark does not see it.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import md5
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote
from xml.parsers.expat import ExpatError

import xmltodict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.exceptions import BucketAlreadyExists
from moto.s3.models import FakeBucket, FakeKey, s3_backends
from werkzeug.wrappers import Request, Response

from emr_emulator.faults import ExpiredToken, Faults, ObjectsLate, S3Error
from emr_emulator.files import (
    FileContent,
    Signature,
    files_below,
    new_file,
    path_below,
    remove_bare_folders,
    remove_empty_folders,
    signature_of,
)
from emr_emulator.s3 import (
    BLOCK_BYTES,
    access_key_of,
    answer,
    error_response,
    not_emulated,
    operation_of,
    service_of,
    with_content,
)

SERVICES = ("s3", "sts")
# S3 User Guide, "General purpose bucket naming rules"
BUCKET_NAME = re.compile(
    r"(?!.*\.\.)(?!\d+(\.\d+){3}$)(?!xn--|sthree-|amzn-s3-demo-)(?!.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$)"
    r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)


class InvalidBucket(ValueError):
    """A bucket that cannot be made."""


class Activity(Protocol):
    """What steps do to the folders."""

    def busy(self) -> bool:
        """Whether there are steps that may be about to write."""

    def written_files(self, below: Path) -> set[str]:
        """The files below a folder that are open for writing."""


class Buckets:
    """S3, and STS."""

    def __init__(self, root: Path, account: str, faults: Faults, now: Callable[[], float], activity: Activity) -> None:
        self.root = root
        self._account = account
        self._faults = faults
        self._now = now
        self._activity = activity
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.RLock()
        self._backend = s3_backends[account]["aws"]
        self._known: dict[str, dict[str, Signature]] = {}
        self._hidden: dict[tuple[str, str], tuple[float, list[FakeKey]]] = {}
        for left in root.glob(".*"):  # half-written files of an emulator that was killed
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
        """Have `write` fill a file and put it into a bucket at once; false when there is no such bucket."""
        path = self._path(bucket, key)
        if path is None or bucket not in self.folders():
            return False
        with new_file(self.root, path) as temporary:
            write(temporary)
        return True

    def close(self) -> None:
        """Forget the buckets; their folders stay."""
        with self._lock:
            for name in list(self._backend.buckets):
                bucket = self._backend.buckets.pop(name)
                s3_backends.bucket_accounts.pop(name, None)
                for versions in dict(bucket.keys.lists()).values():
                    for key in versions:
                        if isinstance(key, FakeKey):  # and no delete marker
                            key.dispose()
                for part in bucket.multiparts.values():
                    part.dispose()

    # answering

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
            self._take_in(request, bucket, key, touched)
            response = self._respond(environ, bucket, key, operation, body)
            if request.method in ("PUT", "POST", "DELETE") and response.status_code < 300:  # noqa: PLR2004 (HTTP)
                deletes = operation in ("DeleteObject", "DeleteObjects")
                self._write_out(bucket, key, touched, deletes)
        if response.mimetype == "text/html" and response.status_code >= 500:  # noqa: PLR2004 (HTTP)
            return error_response("InternalError", request)  # moto could make nothing of it
        return response

    def _refusal(self, request: Request, operation: str, bucket: str, key: str) -> str | None:
        """The code of an error that moto knows nothing of."""
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
        return "AccessDenied" if foreign else None  # another account's, without a policy that allows it

    def _respond(self, environ: dict[str, Any], bucket: str, key: str, operation: str, body: bytes) -> Response:
        if operation == "GetObject" and bucket in self._backend.buckets:
            content = _content_of(self._backend.buckets[bucket].keys.get(key))
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
        """A GET is moto's answer to HEAD and the file's bytes."""
        try:
            file = content.path.open("rb")
        except OSError:  # gone since it was looked at
            self._refresh(bucket, key)
            return answer(self._moto, environ)
        head = answer(self._moto, {**environ, "REQUEST_METHOD": "HEAD"})
        if head.status_code in (200, 206):
            return with_content(head, file)
        file.close()
        return answer(self._moto, environ)

    def _touched(self, request: Request, key: str, body: bytes) -> list[str]:
        """The keys that a request is about."""
        if key:
            return [key]
        if request.method == "POST" and "delete" in request.args:
            asked = xmltodict.parse(body, force_list=("Object",)).get("Delete") or {}
            return [entry["Key"] for entry in asked.get("Object", []) if entry and entry.get("Key")]
        return []

    # folders to moto

    def _take_in(self, request: Request, bucket: str, key: str, touched: list[str]) -> None:
        """Make moto know what is in the folders, as far as a request is about it."""
        self._show_what_was_hidden()
        source = request.headers.get("x-amz-copy-source")
        if source:
            other, _, name = unquote(source.partition("?versionId=")[0]).lstrip("/").partition("/")
            self._refresh(other, name)
        for name in touched:
            self._refresh(bucket, name)
        later_page = {"continuation-token", "marker", "key-marker"} & request.args.keys()
        if not key and request.method in ("GET", "DELETE") and not later_page:
            self._refresh_all(bucket, request.args.get("prefix", ""))

    def _refresh(self, bucket: str, key: str, writing: Callable[[], set[str]] | None = None) -> None:
        folder = self._folder(bucket)
        path = self._path(bucket, key)
        if folder is None or path is None:
            return
        known = self._known.setdefault(bucket, {})
        signature = signature_of(path)
        if signature == known.get(key) or (bucket, key) in self._hidden:
            return
        if signature is not None and str(path) in (writing or self._writing())():
            signature = None  # S3 shows an object when it is whole; what was there before is gone
        if signature is None:
            known.pop(key, None)
            if isinstance(_content_of(folder.keys.get(key)), FileContent):
                folder.keys.pop(key)
        else:
            known[key] = signature
            self._attach(folder, key, path, signature)
            self._maybe_hide(bucket, key)

    def _refresh_all(self, bucket: str, prefix: str) -> None:
        if self._folder(bucket) is None:
            return
        root = self.root / bucket
        writing = self._writing()
        start = root / prefix.rpartition("/")[0]
        present = set()
        if start.is_dir() and start.resolve().is_relative_to(root.resolve()):
            for path in files_below(str(start)):
                key = os.path.relpath(path, root)
                if key.startswith(prefix):
                    present.add(key)
                    self._refresh(bucket, key, writing)
        for key in [key for key in self._known.get(bucket, {}) if key.startswith(prefix) and key not in present]:
            self._refresh(bucket, key, writing)

    def _writing(self) -> Callable[[], set[str]]:
        """What is being written now, looked up at most once."""
        found: list[set[str]] = []

        def look() -> set[str]:
            if not found:
                found.append(self._activity.written_files(self.root))
            return found[0]

        return look

    def _attach(self, folder: FakeBucket, key: str, path: Path, signature: Signature) -> None:
        """Make an object of a file that did not come through moto."""
        modified_ns, size, _ = signature
        # like the ETag of an object that was uploaded in parts, this is no digest of the content
        etag = md5(f"{path}{signature}".encode(), usedforsecurity=False).hexdigest() + "-1"
        found = FakeKey(
            name=key,
            value=b"",
            account_id=self._account,
            region_name=folder.region_name,
            bucket_name=folder.name,
            etag=etag,
            is_versioned=folder.is_versioned,
            version_id=secrets.token_hex(16) if folder.is_versioned else "null",
        )
        found.last_modified = datetime.fromtimestamp(modified_ns / 1e9, timezone.utc).replace(tzinfo=None)
        if folder.is_versioned:
            _content_of(found).write(path.read_bytes())  # the file will be the next version's
            found.contentsize = size
        else:
            _back_with_file(found, path, size)
        versions = folder.keys.getlist(key, []) if folder.is_versioned else []
        folder.keys.setlist(key, [*versions, found])

    # moto to folders

    def _write_out(self, bucket: str, key: str, touched: list[str], deletes: bool) -> None:
        """Write what moto took in to its files, and remove what it removed."""
        folder = self._folder(bucket)
        root = self.root / bucket
        if folder is None:
            if self._known.pop(bucket, None) is not None and root.is_dir():
                shutil.rmtree(root)  # the bucket was deleted, which moto refuses while it has objects
            return
        if not key and BUCKET_NAME.fullmatch(bucket):
            root.mkdir(exist_ok=True)
            self._known.setdefault(bucket, {})
        for name in touched:
            found = folder.keys.get(name)
            path = self._path(bucket, name)
            if path is None:
                continue
            if isinstance(found, FakeKey):
                self._write(folder, name, found, path)
            elif deletes:
                self._hidden.pop((bucket, name), None)
                self._known.get(bucket, {}).pop(name, None)
                if signature_of(path) is not None:
                    path.unlink()
                    remove = remove_bare_folders if self._activity.busy() else remove_empty_folders
                    remove(path.parent, root)

    def _write(self, folder: FakeBucket, key: str, found: FakeKey, path: Path) -> None:
        content = _content_of(found)
        if isinstance(content, FileContent):
            return
        try:
            with new_file(self.root, path) as temporary:
                content.seek(0)
                with temporary.open("wb") as file:
                    shutil.copyfileobj(content, file, BLOCK_BYTES)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return  # `a` and `a/b` can both be objects, but not both be files
        signature = signature_of(path)
        if signature is None:
            return
        if not folder.is_versioned:  # or moto keeps the bytes, for the file will be the next version's
            _ = found.etag  # of the bytes, while they are at hand
            _back_with_file(found, path, found.size)
        self._known.setdefault(folder.name, {})[key] = signature
        self._maybe_hide(folder.name, key)

    # objects that come late

    def _maybe_hide(self, bucket: str, key: str) -> None:
        fault = self._faults.strike(ObjectsLate, key=(f"{bucket}/{key}",))
        if fault is not None:
            keys = self._backend.buckets[bucket].keys
            self._hidden[bucket, key] = (self._now() + fault.seconds, keys.getlist(key, []))
            dict.pop(keys, key, None)  # not `keys.pop`, which would throw the bytes away

    def _show_what_was_hidden(self) -> None:
        for (bucket, key), (until, versions) in list(self._hidden.items()):
            if until <= self._now():
                del self._hidden[bucket, key]
                if bucket in self._backend.buckets and key not in self._backend.buckets[bucket].keys:
                    self._backend.buckets[bucket].keys.setlist(key, versions)

    # where things are

    def _folder(self, bucket: str) -> FakeBucket | None:
        found: FakeBucket | None = self._backend.buckets.get(bucket)
        return found

    def _path(self, bucket: str, key: str) -> Path | None:
        """The file of an object, or None if it cannot be one."""
        return path_below(self.root / bucket, key) if BUCKET_NAME.fullmatch(bucket) else None


def _content_of(key: FakeKey | None) -> Any:
    """Where moto has an object's bytes."""
    return getattr(key, "_value_buffer", None)


def _back_with_file(key: FakeKey, path: Path, size: int) -> None:
    key._value_buffer.close()  # noqa: SLF001 (moto's)
    key._value_buffer = cast("Any", FileContent(path))  # noqa: SLF001
    key.contentsize = size
