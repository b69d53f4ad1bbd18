"""Hosts: threads with clocks that differ, in a time that passes when all of them pause."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.patience import HUNG_SECONDS

T = TypeVar("T")
HELPER_SECONDS = 3.0  # between two looks of a host's helper threads, whose pauses let no time pass


class Killed(BaseException):
    """What a killed host does from then on: nothing."""


class Host:
    """A clock that is ahead of AWS's by some seconds, and the thread that goes by it."""

    def __init__(self, hosts: Hosts, ahead_seconds: float) -> None:
        self._hosts, self._ahead = hosts, ahead_seconds
        self.thread = threading.current_thread()

    def now(self) -> float:
        return self._hosts.now() + self._ahead

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        if threading.current_thread() is self.thread:
            if until is None or not until.is_set():
                self._hosts.sleep(seconds)
        elif until is not None:
            until.wait(HELPER_SECONDS)
        else:
            self._hosts.skip(seconds)


class Hosts:
    """Runs actors at once, each on a host of its own. Those whose pauses end together go on together.

    now, advance: what hour it is, and how to let seconds pass. before_time_passes: is called whenever all actors pause.
    """

    def __init__(
        self,
        now: Callable[[], float],
        advance: Callable[[float], None],
        before_time_passes: Callable[[], None] = lambda: None,
    ) -> None:
        self.now, self._advance, self._before = now, advance, before_time_passes
        self._lock = threading.Lock()
        self._awake = 0
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._numbers = itertools.count()
        self._here = threading.local()

    def clock(self) -> Host:
        """That of the host whose thread asks."""
        host: Host = self._here.host
        return host

    def run(
        self, actors: Sequence[Callable[[], T]], ahead_seconds: Sequence[float] = (0.0,)
    ) -> list[T | BaseException]:
        """What the actors returned, or raised. ahead_seconds: of their clocks, one after the other and over again."""
        outcomes: dict[int, T | BaseException] = {}

        def act(number: int) -> None:
            self._here.host = Host(self, ahead_seconds[number % len(ahead_seconds)])
            try:
                outcomes[number] = actors[number]()
            except BaseException as error:  # noqa: BLE001 (for the test to look at)
                outcomes[number] = error
            finally:
                with self._lock:
                    self._one_less()

        threads = [threading.Thread(target=act, args=(number,), daemon=True) for number in range(len(actors))]
        self._awake = len(threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HUNG_SECONDS)
            assert not thread.is_alive()
        return [outcomes[number] for number in range(len(actors))]

    def sleep(self, seconds: float) -> None:
        woken = threading.Event()
        with self._lock:
            heapq.heappush(self._asleep, (self.now() + max(seconds, 0.0), next(self._numbers), woken))
            self._one_less()
        assert woken.wait(HUNG_SECONDS)

    def skip(self, seconds: float) -> None:
        """Let time pass for who waits for a helper."""
        with self._lock:
            self._advance(seconds)

    def _one_less(self) -> None:
        self._awake -= 1
        if self._awake or not self._asleep:
            return
        self._before()
        self._advance(max(0.0, self._asleep[0][0] - self.now()))
        while self._asleep and self._asleep[0][0] <= self.now() + 1e-6:
            self._awake += 1
            heapq.heappop(self._asleep)[2].set()
