"""Clocks, which are parameters so that tests do not wait, and the one loop that polls."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Tells the time, and waits."""

    def now(self) -> float:
        """Return seconds since 1970."""
        ...

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        """Wait for some seconds, or until the event is set."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        (until or threading.Event()).wait(max(seconds, 0))  # an Event's wait lets signals through


class KeepAlive:
    """A clock that calls `renew` at least every few seconds of a pause, so that a lease does not expire meanwhile."""

    def __init__(self, clock: Clock, renew: Callable[[], None], every_seconds: float) -> None:
        self.now, self._clock, self._renew, self._every = clock.now, clock, renew, every_seconds

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        while seconds > 0 and not (until and until.is_set()):
            self._clock.pause(min(seconds, self._every), until)
            self._renew()
            seconds -= self._every


def poll(
    clock: Clock,
    look: Callable[[], T],
    within_seconds: float,
    done: Callable[[T], object] = lambda found: found is not None,
    interval: float = 1.0,
    growth: float = 1.0,
    longest: float = math.inf,
) -> T:
    """Look at once and then at intervals that grow, until the find is `done` or the time is over; return the last find.

    data = poll(clock, lambda: objects.read(uri), within_seconds=15)
    """
    deadline = clock.now() + within_seconds
    while not done(found := look()) and (left := deadline - clock.now()) > 0:
        clock.pause(min(interval, left))
        interval = min(interval * growth, longest)
    return found


class Wakeup:
    """Wakes a watcher early: something has changed, or the program is `ending`."""

    def __init__(self) -> None:
        self.given = threading.Event()
        self.ending = False

    def set(self, ending: bool = False) -> None:
        self.ending = self.ending or ending
        self.given.set()
