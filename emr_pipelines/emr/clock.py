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
