"""Lines about the progress of work: their text and their number."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from emr_pipelines.report import Lines, no_report, spell


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_takes_a_moment_is_not_worth_a_line(clock: Clock) -> None:
    said: list[str] = []
    with Lines(said.append, clock.now)("Sending a.jar", total=100) as work:
        for _ in range(49):
            clock.seconds += 0.1
            work.advance(2)
    assert said == []


def test_bytes_are_told_in_megabytes_and_percent(clock: Clock) -> None:
    said: list[str] = []
    with Lines(said.append, clock.now)("Sending a.jar", total=1_200_000_000) as work:
        for _ in range(60):
            clock.seconds += 1
            work.advance(20_000_000)
    assert said == [
        "Sending a.jar: 8 % of 1,200.0 MB, 5 s so far.",
        "Sending a.jar: 16 % of 1,200.0 MB, 10 s so far.",
        "Sending a.jar: 33 % of 1,200.0 MB, 20 s so far.",
        "Sending a.jar: 66 % of 1,200.0 MB, 40 s so far.",
    ]


def test_what_was_sent_twice_does_not_count_twice(clock: Clock) -> None:
    said: list[str] = []
    with Lines(said.append, clock.now)("Sending", total=100) as work:
        work.advance(80)
        work.advance(-80)
        clock.seconds += 5
        work.advance(60)
        work.advance(60)
        clock.seconds += 5
        work.heartbeat()
    assert said == ["Sending: 60 % of 0.0 MB, 5 s so far.", "Sending: 100 % of 0.0 MB, 10 s so far."]


def test_a_wait_is_told_with_what_was_seen_last_and_how_long_it_may_take(clock: Clock) -> None:
    said: list[str] = []
    with Lines(said.append, clock.now)("Waiting for j-1", at_most_seconds=3 * 3600) as work:
        work.heartbeat("STARTING")
        clock.seconds += 200
        work.heartbeat()
        clock.seconds += 200
        work.heartbeat("BOOTSTRAPPING")
    assert said == [
        "Waiting for j-1: STARTING, 3 min so far, at most 3 h.",
        "Waiting for j-1: BOOTSTRAPPING, 7 min so far, at most 3 h.",
    ]


def test_checks_are_counted(clock: Clock) -> None:
    said: list[str] = []
    with Lines(said.append, clock.now)("Looking", total=8, unit="checks") as work:
        clock.seconds += 6
        work.advance(2)
    assert said == ["Looking: 25 % of 8 checks, 6 s so far."]


def test_many_threads_may_advance_it(clock: Clock) -> None:
    said: list[str] = []
    together = threading.Barrier(8)

    def send() -> None:
        together.wait()
        for _ in range(1000):
            work.advance(1)

    with Lines(said.append, clock.now)("Sending", total=8000, unit="pieces") as work:
        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(send) for _ in range(8)]:
                future.result()
        clock.seconds += 5
        work.heartbeat()
    assert said == ["Sending: 100 % of 8,000 pieces, 5 s so far."]


def test_nobody_need_be_told(capfd: pytest.CaptureFixture[str]) -> None:
    with no_report("Sending", total=10) as work:
        work.advance(5)
        work.heartbeat("slowly")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (3600, "60 min"), (9000, "2.5 h"), (604_800, "168 h")],
)
def test_a_stretch_of_time(seconds: float, said: str) -> None:
    assert spell(seconds) == said
