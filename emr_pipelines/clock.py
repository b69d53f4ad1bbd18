"""Time, as something that is passed in, so that tests do not wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What hour it is, and a pause."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        """Let so many seconds pass, fewer if the event is set meanwhile."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        (until or threading.Event()).wait(max(seconds, 0))  # an Event's wait lets signals through


class Wakeup:
    """Wakes a watcher early: something has changed, or the program is `ending`."""

    def __init__(self) -> None:
        self.given = threading.Event()
        self.ending = False

    def set(self, ending: bool = False) -> None:
        self.ending = self.ending or ending
        self.given.set()
