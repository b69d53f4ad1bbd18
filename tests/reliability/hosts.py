"""Hosts: threads with different clocks, in a simulated time that advances when all of them pause."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.patience import HUNG_SECONDS

T = TypeVar("T")
HELPER_SECONDS = 3.0  # between two polls of a host's helper threads, whose pauses do not advance the time


class Killed(BaseException):
    """Ends a killed host."""


class Host:
    """A clock that is some seconds ahead of AWS's, and the thread that uses it."""

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
    """Runs actors concurrently, each on its own host. Those whose pauses end together continue together.

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
        """The clock of the calling thread's host."""
        host: Host = self._here.host
        return host

    def run(
        self, actors: Sequence[Callable[[], T]], ahead_seconds: Sequence[float] = (0.0,)
    ) -> list[T | BaseException]:
        """Return what the actors returned or raised. ahead_seconds: how far their clocks are ahead, in turn."""
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
        """Advance the time of a host that waits for a helper thread."""
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
