"""The folder of an asset on S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from emr_pipelines.aws.objects import Content, Objects, join
from emr_pipelines.errors import AccessDenied, AwsError, NotFound, PreconditionFailed, StorageUnusable
from emr_pipelines.remote.files import STORAGE_MARK, is_visible
from emr_pipelines.storage.folder import PUBLISHED, Found

HADOOP_FOLDER = "_$folder$"  # EMR's file system writes an empty object of this name beside each folder it makes


class S3Folder:
    """A prefix of objects. Conditional writes are conditional puts, which S3 decides; there are no locks."""

    resumable = True  # a step runs on when the process that submitted it is killed

    def __init__(self, objects: Objects, root: str, parts: Sequence[str]) -> None:
        self._objects = objects
        self._root = root
        self._uri = join(root, *parts)

    def uri(self, name: str) -> str:
        return join(self._uri, name)

    def shown(self, name: str) -> str:
        return self.uri(name)

    def prepare(self) -> None:
        mark = join(self._root, STORAGE_MARK)
        with self._in_a_sentence("written"):
            if not self._objects.exists(mark):
                self._objects.write(mark, b"")

    def read(self, name: str) -> Found | None:
        with self._in_a_sentence("read"):
            content = self._objects.read_tagged(self.uri(name))
        return Found(content.data, content.etag) if content else None

    def has(self, name: str) -> bool:
        with self._in_a_sentence("read"):
            return self._objects.exists(self.uri(name))

    def names(self) -> list[str]:
        with self._in_a_sentence("listed"):
            return self._objects.names(self._uri)

    def has_visible_file(self, name: str) -> bool:
        folder = self.uri(name) + "/"
        with self._in_a_sentence("listed"):
            # the first page of the list tells, unless a thousand hidden objects come first
            return any(_is_visible_file(entry.uri.removeprefix(folder)) for entry in self._objects.entries(folder))

    def write(self, name: str, data: bytes, replacing: Found | None) -> bool:
        with self._in_a_sentence("written"):
            try:
                if replacing is None:
                    self._objects.create(self.uri(name), data)
                else:
                    self._objects.write(self.uri(name), data, replacing=Content(replacing.data, replacing.tag))
            except PreconditionFailed:
                # a put whose response was lost is repeated, and then meets the object that it wrote itself
                content = self._objects.read_tagged(self.uri(name))
                return content is not None and content.data == data
        return True

    def delete(self, name: str) -> None:
        with self._in_a_sentence("cleaned up"):
            self._objects.delete([self.uri(name)])

    def sweep(self, before: datetime) -> None:
        """Do nothing: S3 puts an object completely or not at all."""

    def delete_version(self, name: str) -> None:
        with self._in_a_sentence("cleaned up"):
            self._objects.delete([self.uri(f"{name}/{PUBLISHED}"), self.uri(f"{name}{HADOOP_FOLDER}")])
            self._objects.delete_below(self.uri(name))

    @contextmanager
    def _in_a_sentence(self, done: str) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            remedy = ""
            if isinstance(error, NotFound):
                remedy = " Create the bucket, or set EMR_PIPELINES_STORAGE to one that is there."
            elif isinstance(error, AccessDenied):
                remedy = " Allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket for it."
            unusable = StorageUnusable(f"The storage {self._root!r} cannot be {done}: {error}{remedy}")
            unusable.retryable = error.retryable
            raise unusable from error


def _is_visible_file(key: str) -> bool:
    """Whether a key, relative to its version, is a file that readers see. A key that ends with a slash, or with
    HADOOP_FOLDER, stands for a folder."""
    return not key.endswith(("/", HADOOP_FOLDER)) and all(map(is_visible, key.split("/")))
