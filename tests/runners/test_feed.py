"""The live feed: messages in their order, whatever becomes of them on the way; and nothing of it can fail a step."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, cast

import dagster as dg
import pytest

from emr_pipelines.emr.objects import Objects
from emr_pipelines.emr.raised import RemoteException
from emr_pipelines.emr.watch import Hint
from emr_pipelines.errors import Unreachable
from emr_pipelines.runners.feed import FIRST_ALARMS_SECONDS, LATE_SECONDS, SILENT_SECONDS, LiveFeed, Pulse

FOLDER = "s3://b/attempt-1"


class Clock:
    """Passes when the feed pauses, and tells when it does."""

    def __init__(self) -> None:
        self.time = 0.0
        self.on_pause: Callable[[float], None] = lambda _: None

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:  # noqa: ARG002
        self.time += seconds
        self.on_pause(self.time)


class Bucket:
    """Objects, some of which are not there yet."""

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
    """What Dagster does with messages."""

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


class Bed:
    def __init__(self) -> None:
        self.clock, self.bucket, self.handler, self.hint = Clock(), Bucket(), Handler(), Hint()
        self.lines: list[str] = []
        self.feed = LiveFeed(cast("Objects", self.bucket), FOLDER, self.clock, self.hint, self.lines.append)

    def follow(self, over_at: float = 0.0) -> None:
        """Follow until the step is over at that time, and what is said after that."""
        over = threading.Event()
        before = self.clock.on_pause

        def tick(now: float) -> None:
            before(now)
            if now >= over_at:
                over.set()

        self.clock.on_pause = tick
        self.feed._follow(cast("dg.PipesMessageHandler", self.handler), over)


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_messages_are_handed_on_in_their_order_and_lines_are_logged(bed: Bed) -> None:
    bed.bucket.put("1.json", message("opened"), said("one\ntw"))
    bed.bucket.put("2.json", said("o\n\n"), said("an error\n", "stderr"), said("three"))
    bed.bucket.put("3.json", message("closed"))
    bed.follow(over_at=100)
    assert bed.handler.got == ["opened", *["log_external_stream"] * 4, "closed"]
    assert bed.lines == ["one", "two\nan error", "three"]
    assert bed.clock.time == 0  # it ended with the last message


def test_many_lines_are_few_events(bed: Bed) -> None:
    text = "".join(f"line {number}\n" for number in range(10_000)) + "x" * 20_000 + "\n"
    bed.bucket.put("1.json", said(text), message("closed"))
    bed.follow()
    assert len(bed.lines) < 25
    assert max(map(len, bed.lines)) < 10_000
    assert "\n".join(bed.lines).replace("\n", "") == text.replace("\n", "")


def test_messages_out_of_order_wait_for_each_other(bed: Bed) -> None:
    bed.bucket.put("2.json", said("two\n"), message("closed"))
    bed.clock.on_pause = lambda now: bed.bucket.put("1.json", said("one\n")) if now >= 10 else None
    bed.follow(over_at=100)
    assert bed.lines == ["one", "two"]


@pytest.mark.parametrize("seen", [0, 1])
def test_messages_that_come_after_the_end_are_waited_for_a_little(bed: Bed, seen: int) -> None:
    if seen:
        bed.bucket.put("1.json", message("opened"))
    late = f"{seen + 1}.json"
    bed.clock.on_pause = lambda now: bed.bucket.put(late, said("late\n"), message("closed")) if now >= 13 else None
    bed.follow(over_at=10)
    assert bed.lines == ["late"]


def test_messages_that_never_come_are_not_waited_for_long(bed: Bed) -> None:
    bed.bucket.put("1.json", message("opened"), said("the last words"))
    bed.follow(over_at=10)
    assert bed.clock.time <= 10 + LATE_SECONDS + 2
    assert bed.lines == ["the last words"]


def test_a_message_that_cannot_be_read_stops_no_other(bed: Bed) -> None:
    bed.bucket.put("1.json", "no json", message("nonsense"), said("after\n"), message("closed"))
    bed.follow()
    assert bed.lines[-1] == "after"
    assert sum("could not be taken in" in line for line in bed.lines) == 2


def test_s3_that_is_ill_delays_and_loses_nothing(bed: Bed) -> None:
    bed.bucket.put("1.json", said("one\n"), message("closed"))
    bed.bucket.ill = True

    def recovers(now: float) -> None:
        bed.bucket.ill = now < 30

    bed.clock.on_pause = recovers
    bed.follow(over_at=100)
    assert bed.lines == ["one"]


def test_what_the_program_raised_is_kept(bed: Bed) -> None:
    raised = {"message": "ValueError: no\n", "stack": ["  File ..."], "name": "ValueError", "cause": None}
    bed.bucket.put("1.json", message("opened"))
    bed.bucket.put("2.json", message("closed", exception={**raised, "cause": {**raised, "name": "KeyError"}}))
    bed.follow()
    cause = RemoteException("KeyError", "ValueError: no\n", ("  File ...",), None)
    assert bed.handler.params[-1] == {}  # the step's failure explains it; Dagster need not tell it as well
    assert bed.feed.exception == RemoteException("ValueError", "ValueError: no\n", ("  File ...",), cause)


def test_beginning_and_end_are_hints(bed: Bed) -> None:
    bed.bucket.put("1.json", message("opened"))
    bed.follow(over_at=1)
    assert (bed.hint.given.is_set(), bed.hint.ending) == (True, False)
    bed.bucket.put("1.json", message("closed"))
    bed.follow()
    assert bed.hint.ending


def test_silence_is_a_hint(bed: Bed) -> None:
    bed.bucket.put("1.json", said("begun"))
    bed.clock.on_pause = lambda now: bed.bucket.put("alive", str(int(now))) if now < 20 else None
    heard: list[float] = []
    give = bed.hint.give

    def note(ending: bool = False) -> None:
        heard.append(bed.clock.time)
        give(ending)

    bed.hint.give = note  # type: ignore[method-assign]
    bed.follow(over_at=60)
    assert heard[0] == pytest.approx(19 + SILENT_SECONDS, abs=2)


def test_a_pulse_raises_fewer_and_fewer_alarms() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    alarms = 0
    for _ in range(3600):
        clock.time += 1
        alarms += pulse.lost(b"1")
    assert 2 <= alarms <= 9
    assert FIRST_ALARMS_SECONDS < 60


def test_the_thread_ends_with_the_session(bed: Bed) -> None:
    with bed.feed.read_messages(cast("dg.PipesMessageHandler", bed.handler)) as told:
        assert told == {"folder": FOLDER}
        assert any(thread.name == "feed" for thread in threading.enumerate())
    assert not any(thread.name == "feed" for thread in threading.enumerate())
