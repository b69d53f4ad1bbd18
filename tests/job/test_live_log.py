"""The live log: messages arrive in order even if files are late or lost, and no error in it fails a step."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, cast

import dagster as dg
import pytest

from emr_pipelines.aws.objects import Objects
from emr_pipelines.clock import Wakeup
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import Unreachable
from emr_pipelines.job.live_log import LATE_SECONDS, LiveFeed

FOLDER = "s3://b/attempt-1"


class Clock:
    """A clock that advances when the live log pauses, and calls back."""

    def __init__(self) -> None:
        self.time = 0.0
        self.on_pause: Callable[[float], None] = lambda _: None

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:  # noqa: ARG002
        self.time += seconds
        self.on_pause(self.time)


class Bucket:
    """A bucket, some of whose objects do not exist yet."""

    def __init__(self) -> None:
        self.there: dict[str, bytes] = {}
        self.ill = False

    def read(self, uri: str) -> bytes | None:
        if self.ill:
            raise Unreachable("S3 is ill")
        return self.there.get(uri)

    def put(self, name: str, *messages: Any) -> None:
        self.there[f"{FOLDER}/{name}"] = "\n".join(
            message if isinstance(message, str) else json.dumps(message) for message in messages
        ).encode()


class Handler:
    """Stands for Dagster's message handler."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.params: list[Any] = []
        self.received_closed_message = False

    def handle_message(self, message: dict[str, Any]) -> None:
        self.got.append(message["method"])
        self.params.append(message.get("params"))
        self.received_closed_message = message["method"] == "closed"
        if message["method"] == "nonsense":
            raise KeyError("nonsense")


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"__dagster_pipes_version": "0.1", "method": method, "params": params}


def said(text: str, stream: str = "stdout") -> dict[str, Any]:
    return message("log_external_stream", stream=stream, text=text, extras={})


class FeedEnv:
    def __init__(self) -> None:
        self.clock, self.bucket, self.handler, self.wakeup = Clock(), Bucket(), Handler(), Wakeup()
        self.lines: list[str] = []
        self.feed = LiveFeed(cast("Objects", self.bucket), FOLDER, self.clock, self.wakeup, self.lines.append)

    def follow(self, over_at: float = 0.0) -> None:
        """Follow a step that ends at that time, including messages after it."""
        over = threading.Event()
        before = self.clock.on_pause

        def tick(now: float) -> None:
            before(now)
            if now >= over_at:
                over.set()

        self.clock.on_pause = tick
        self.feed._follow(cast("dg.PipesMessageHandler", self.handler), over)


@pytest.fixture
def feed_env() -> FeedEnv:
    return FeedEnv()


def test_messages_are_handed_on_in_their_order_and_lines_are_logged(feed_env: FeedEnv) -> None:
    feed_env.bucket.put("1.json", message("opened"), said("one\ntw"))
    feed_env.bucket.put("2.json", said("o\n\n"), said("an error\n", "stderr"), said("three"))
    feed_env.bucket.put("3.json", message("closed"))
    feed_env.follow(over_at=100)
    assert feed_env.handler.got == ["opened", *["log_external_stream"] * 4, "closed"]
    assert feed_env.lines == ["one", "two\nan error", "three"]
    assert feed_env.clock.time == 0  # the last message ended it


def test_many_lines_are_few_events(feed_env: FeedEnv) -> None:
    text = "".join(f"line {number}\n" for number in range(10_000)) + "x" * 20_000 + "\n"
    feed_env.bucket.put("1.json", said(text), message("closed"))
    feed_env.follow()
    assert len(feed_env.lines) < 25
    assert max(map(len, feed_env.lines)) < 10_000
    assert "\n".join(feed_env.lines).replace("\n", "") == text.replace("\n", "")


def test_messages_out_of_order_wait_for_each_other(feed_env: FeedEnv) -> None:
    feed_env.bucket.put("2.json", said("two\n"), message("closed"))
    feed_env.clock.on_pause = lambda now: feed_env.bucket.put("1.json", said("one\n")) if now >= 10 else None
    feed_env.follow(over_at=100)
    assert feed_env.lines == ["one", "two"]


@pytest.mark.parametrize("seen", [0, 1])
def test_messages_that_come_after_the_end_are_waited_for_a_little(feed_env: FeedEnv, seen: int) -> None:
    if seen:
        feed_env.bucket.put("1.json", message("opened"))
    late = f"{seen + 1}.json"
    feed_env.clock.on_pause = lambda now: (
        feed_env.bucket.put(late, said("late\n"), message("closed")) if now >= 13 else None
    )
    feed_env.follow(over_at=10)
    assert feed_env.lines == ["late"]


def test_messages_that_never_come_are_not_waited_for_long(feed_env: FeedEnv) -> None:
    feed_env.bucket.put("1.json", message("opened"), said("the last words"))
    feed_env.follow(over_at=10)
    assert feed_env.clock.time <= 10 + LATE_SECONDS + 2
    assert feed_env.lines == ["the last words"]


def test_a_message_that_cannot_be_read_stops_no_other(feed_env: FeedEnv) -> None:
    feed_env.bucket.put("1.json", "no json", message("nonsense"), said("after\n"), message("closed"))
    feed_env.follow()
    assert feed_env.lines[-1] == "after"
    assert sum("could not be taken in" in line for line in feed_env.lines) == 2


def test_s3_that_is_ill_delays_and_loses_nothing(feed_env: FeedEnv) -> None:
    feed_env.bucket.put("1.json", said("one\n"), message("closed"))
    feed_env.bucket.ill = True

    def recovers(now: float) -> None:
        feed_env.bucket.ill = now < 30

    feed_env.clock.on_pause = recovers
    feed_env.follow(over_at=100)
    assert feed_env.lines == ["one"]


def test_what_the_program_raised_is_kept(feed_env: FeedEnv) -> None:
    raised = {"message": "ValueError: no\n", "stack": ["  File ..."], "name": "ValueError", "cause": None}
    feed_env.bucket.put("1.json", message("opened"))
    feed_env.bucket.put("2.json", message("closed", exception={**raised, "cause": {**raised, "name": "KeyError"}}))
    feed_env.follow()
    cause = RemoteException("KeyError", "ValueError: no\n", ("  File ...",), None)
    assert feed_env.handler.params[-1] == {}  # the step's failure explains it, so Dagster need not
    assert feed_env.feed.exception == RemoteException("ValueError", "ValueError: no\n", ("  File ...",), cause)


def test_beginning_and_end_are_wakeups(feed_env: FeedEnv) -> None:
    feed_env.bucket.put("1.json", message("opened"))
    feed_env.follow(over_at=1)
    assert (feed_env.wakeup.given.is_set(), feed_env.wakeup.ending) == (True, False)
    feed_env.bucket.put("1.json", message("closed"))
    feed_env.follow()
    assert feed_env.wakeup.ending


def test_the_thread_ends_with_the_session(feed_env: FeedEnv) -> None:
    with feed_env.feed.read_messages(cast("dg.PipesMessageHandler", feed_env.handler)) as told:
        assert told == {"folder": FOLDER}
        assert any(thread.name == "feed" for thread in threading.enumerate())
    assert not any(thread.name == "feed" for thread in threading.enumerate())
