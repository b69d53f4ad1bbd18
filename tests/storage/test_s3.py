"""S3's failures: no bucket, no permission, a lost response, no response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from emr_emulator import Emulator
from emr_pipelines.aws.client import Aws
from emr_pipelines.clock import SystemClock
from emr_pipelines.errors import StorageUnusable, Unreachable
from emr_pipelines.storage import Storage
from tests.storage.conftest import KEY, Place


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A separate emulator with a bucket `mine`, for faults."""
    with Emulator() as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="mine")
        yield emulator


def test_a_bucket_that_is_not_there_is_said_before_any_work(s3: Any) -> None:  # noqa: ARG001 (the endpoint)
    storage = Storage(uri="s3://no-such-bucket/data")
    says = r"'s3://no-such-bucket/data' cannot be written: .*NoSuchBucket.* Create the bucket, or set EMR_PIPELINES_S"
    with pytest.raises(StorageUnusable, match=says) as caught, storage.new_version(KEY, "run"):
        raise AssertionError("work was begun")
    assert not caught.value.retryable
    for ask in (storage.latest, storage.require, storage.prune):
        with pytest.raises(StorageUnusable, match="NoSuchBucket"):
            ask(KEY)


@pytest.mark.parametrize("operation", ["HeadObject", "PutObject", "GetObject"])
def test_what_is_not_permitted_is_said_before_any_work(emulator: Emulator, operation: str) -> None:
    emulator.faults.add([{"fault": "s3_error", "operation": operation, "code": "AccessDenied", "times": None}])
    storage = Storage(uri="s3://mine/data")
    says = r"'s3://mine/data' cannot be (read|written): .*(AccessDenied|403).* Allow s3:GetObject, s3:PutObject"
    with pytest.raises(StorageUnusable, match=says), storage.new_version(KEY, "run"):
        raise AssertionError("work was begun")


def test_an_exception_is_not_hidden_by_what_cannot_be_cleaned_up(emulator: Emulator) -> None:
    storage = Storage(uri="s3://mine/data")
    with pytest.raises(ZeroDivisionError), storage.new_version(KEY, "run"):  # noqa: PT012
        emulator.faults.add([{"fault": "s3_error", "code": "AccessDenied", "times": None}])
        print(1 / 0)
    emulator.faults.clear()
    assert storage.latest(KEY) is None


def test_slow_answers_are_waited_for(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "pause", _no_pause)
    emulator.faults.add([{"fault": "s3_error", "code": "SlowDown", "times": 5}])
    storage = Storage(uri="s3://mine/data")
    with storage.new_version(KEY, "run") as version:
        storage.write(KEY, version, "part-0.txt", b"x")
        storage.publish(KEY, version, "data")
    assert storage.require(KEY).version == version.name
    assert emulator.faults.waiting() == []


def test_when_nobody_answers_a_retry_may_help(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setattr("emr_pipelines.aws.client.FIRST_CONTACT_SECONDS", 0.0)
    with pytest.raises(StorageUnusable, match="did not reach AWS") as caught:
        Storage(uri="s3://mine/data").latest(KEY)
    assert caught.value.retryable


@pytest.mark.parametrize("name", [".begun.json", "_published.json", "latest.json"])
def test_a_write_whose_answer_was_lost_is_known_as_ours(
    on_s3: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The put is repeated, and refused because of the object that the first one wrote."""
    on_s3.publish(1)
    lost = _lose_one_answer(monkeypatch, name)
    version = on_s3.publish(2)
    assert lost == [True]
    assert on_s3.storage.require(KEY).version == version.name
    assert on_s3.begun() == []


def test_a_pointer_that_was_deleted_meanwhile_is_made_anew(on_s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    on_s3.publish(1)
    put = on_s3.folder.write

    def after_deletion(folder: Any, name: str, data: bytes, replacing: Any) -> bool:
        if name == "latest.json" and replacing is not None:
            on_s3.look.remove("words/latest.json")
        return put(folder, name, data, replacing)

    monkeypatch.setattr(on_s3.folder, "write", after_deletion)
    version = on_s3.publish(2)
    assert on_s3.storage.require(KEY).version == version.name


def test_what_emrs_file_system_leaves_beside_a_folder_goes_with_it(on_s3: Place) -> None:
    place = on_s3.keeping(1)
    first = place.publish(1)
    place.look.put(f"words/{first.name}_$folder$", "")
    second = place.publish(2)
    assert place.storage.prune(KEY) == [first.name]
    assert [path for path in place.look.paths() if first.name in path] == []
    assert place.filled(second.name)


def _no_pause(*_: Any, **__: Any) -> None:
    pass


def _lose_one_answer(monkeypatch: pytest.MonkeyPatch, key: str) -> list[bool]:
    attempt = Aws._attempt
    lost: list[bool] = []

    def lose(aws: Aws, service: str, operation: str, positional: Any, once: bool, request: dict[str, Any]) -> Any:
        answer = attempt(aws, service, operation, positional, once, request)
        if operation == "put_object" and request["Key"].endswith(key) and not lost:
            lost.append(True)
            raise Unreachable("The answer was lost.")
        return answer

    monkeypatch.setattr(Aws, "_attempt", lose)
    monkeypatch.setattr(SystemClock, "pause", _no_pause)
    return lost
