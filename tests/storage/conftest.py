"""Fixtures: a storage on this machine or on S3, and its files seen without the storage."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import pytest

from emr_pipelines.storage import Storage, Version
from emr_pipelines.storage.local import LocalFolder
from emr_pipelines.storage.s3 import S3Folder

KEY = dg.AssetKey("words")
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def noon(minute: int) -> Callable[[], datetime]:
    return lambda: NOON + timedelta(minutes=minute)


class Look(Protocol):
    """The files of a storage, by their paths from its root."""

    def paths(self) -> list[str]: ...

    def put(self, path: str, text: str) -> None: ...

    def get(self, path: str) -> str: ...

    def remove(self, path: str) -> None: ...


class LookAtFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def paths(self) -> list[str]:
        return sorted(str(path.relative_to(self._root)) for path in self._root.rglob("*") if path.is_file())

    def put(self, path: str, text: str) -> None:
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_text(text, "utf-8", "surrogateescape")

    def get(self, path: str) -> str:
        return (self._root / path).read_text()

    def remove(self, path: str) -> None:
        (self._root / path).unlink()


class LookAtObjects:
    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def paths(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix).get("Contents", [])
        return sorted(entry["Key"].removeprefix(self._prefix) for entry in found)

    def put(self, path: str, text: str) -> None:
        body = text.encode("utf-8", "surrogateescape")
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=body)

    def get(self, path: str) -> str:
        text: str = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)["Body"].read().decode()
        return text

    def remove(self, path: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + path)


class Place:
    """A storage, and a view of its files."""

    def __init__(self, storage: Storage, look: Look, folder: type[LocalFolder | S3Folder]) -> None:
        self.storage = storage
        self.look = look
        self.folder = folder

    def put(self, path: str, data: bytes) -> None:
        """What may be no text."""
        self.look.put(path, data.decode("utf-8", "surrogateescape"))

    def keeping(self, versions: int) -> Place:
        return Place(Storage(uri=self.storage.uri, keep_versions=versions), self.look, self.folder)

    def fill(self, version: Version) -> None:
        self.look.put(f"words/{version.name}/part-0.txt", "x")

    def filled(self, name: str) -> bool:
        return f"words/{name}/part-0.txt" in self.look.paths()

    def write(self, minute: int, publish: bool = False) -> Version:
        """Write a version that was begun at that minute past noon."""
        with self.storage.new_version(KEY, f"{minute:08d}-run", now=noon(minute)) as version:
            self.fill(version)
            if publish:
                self.storage.publish(KEY, version, data_version=f"data{minute}")
        return version

    def publish(self, minute: int) -> Version:
        return self.write(minute, publish=True)

    def versions(self) -> list[str]:
        inner = (path.split("/") for path in self.look.paths() if path.startswith("words/"))
        return sorted({parts[1] for parts in inner if len(parts) > 2})

    def begun(self) -> list[str]:
        return [path.split("/")[-1].removesuffix(".begun.json") for path in self.look.paths() if "begun" in path]


def first_time(monkeypatch: pytest.MonkeyPatch, place: Place, call: str, name: str, does: Callable[[], Any]) -> None:
    """Do something just before the folder's first call with this name."""
    real = getattr(place.folder, call)
    to_do = [does]

    def at_last(folder: Any, *arguments: Any, **options: Any) -> Any:
        if to_do and (arguments[:1] or ("",))[0].endswith(name):
            to_do.pop()()
        return real(folder, *arguments, **options)

    monkeypatch.setattr(place.folder, call, at_last)


@pytest.fixture
def on_disk(tmp_path: Path) -> Place:
    return Place(Storage(uri=str(tmp_path / "storage")), LookAtFiles(tmp_path / "storage"), LocalFolder)


@pytest.fixture
def on_s3(s3: Any) -> Place:
    bucket = f"storage-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    return Place(Storage(uri=f"s3://{bucket}/my/data"), LookAtObjects(s3, bucket, "my/data/"), S3Folder)


@pytest.fixture(params=["on_disk", "on_s3"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
