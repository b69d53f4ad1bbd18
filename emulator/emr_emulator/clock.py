"""The clocks of the emulator, and its agenda of actions that are due later."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

Action = Callable[[], None]

LONGEST_WAIT_SECONDS = 3600.0  # threading's limit for a wait is about 292 years


class Clock(Protocol):
    """Tells the time in seconds since the epoch."""

    def now(self) -> float: ...


class SystemClock:
    def now(self) -> float:
        return time.time()


class ManualClock:
    """A clock that only `Agenda.advance` moves, for tests that do not wait."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


class Agenda:
    """Actions by the time they are due, and the lock that guards all clusters and steps.

    Actions run one at a time, in the order in which they are due, with `lock` held. With a system clock a thread runs
    them (`start`, `stop`); with a manual clock `advance` does.
    """

    def __init__(self, clock: Clock, report: Callable[[BaseException], None] | None = None) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._due: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._report = report
        self._thread: threading.Thread | None = None
        self._aside: ThreadPoolExecutor | None = None
        self._stopping = False

    def now(self) -> float:
        return self.clock.now()

    def after(self, seconds: float, action: Action) -> None:
        """Run `action` in so many seconds. The action must check whether it still applies then."""
        with self._changed:
            heapq.heappush(self._due, (self.now() + seconds, next(self._order), action))
            self._changed.notify_all()

    def aside(self, work: Action, then: Action) -> None:
        """Do slow work without the lock, one at a time. Then call `then` with the lock, even if the work failed.

        A manual clock waits for it.
        """

        def both() -> None:
            try:
                self._guarded(work)
            finally:
                with self.lock:
                    self._guarded(then)

        if self._aside is None:
            both()
        else:
            self._aside.submit(both)

    def run_due(self) -> float | None:
        """Run the actions that are due; return when the next one is due, or None."""
        with self.lock:
            while self._due and self._due[0][0] <= self.now():
                _, _, action = heapq.heappop(self._due)
                self._guarded(action)
            return self._due[0][0] if self._due else None

    def _guarded(self, action: Action) -> None:
        try:
            action()
        except Exception as error:
            if self._report is None:
                raise
            self._report(error)  # an error in one cluster must not stop the clock of the others

    def advance(self, seconds: float) -> None:
        """Move a manual clock forward, and run each action at its time."""
        if not isinstance(self.clock, ManualClock):
            raise TypeError("only a ManualClock can be advanced")
        with self.lock:
            until = self.clock.time + seconds
            while self._due and self._due[0][0] <= until:
                self.clock.time = max(self.clock.time, self._due[0][0])
                self.run_due()
            self.clock.time = until

    def start(self) -> None:
        """Start a thread that runs due actions; a manual clock needs none."""
        if not isinstance(self.clock, ManualClock):
            self._aside = ThreadPoolExecutor(1, "aside")
            self._thread = threading.Thread(target=self._run, name="agenda", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._aside is not None:
            self._aside.shutdown()

    def _run(self) -> None:
        with self._changed:
            while not self._stopping:
                due = self.run_due()
                self._changed.wait(None if due is None else min(max(0.0, due - self.now()), LONGEST_WAIT_SECONDS))
