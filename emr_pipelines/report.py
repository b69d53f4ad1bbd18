"""Report how far a long piece of work is. Callers choose the reporter: lines in a log, a bar, or nothing.

with report("Uploading deps.zip", total=size) as work:
    objects.upload(uri, path, work.advance)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from emr_pipelines.remote.progress import Backoff

BYTES = "bytes"  # the unit that is shown in megabytes


class Work(Protocol):
    """A piece of work in progress. Its methods return at once and may be called from any thread."""

    def advance(self, amount: int) -> None:
        """Count an amount as done; a negative one as undone."""
        ...

    def heartbeat(self, state: str = "") -> None:
        """Tell that the work goes on, and its state in a few words; without one, the last state stands."""
        ...


class Reporter(Protocol):
    """Reports on a piece of work while its context is open.

    what: such as "Uploading deps.zip". total: how much there is to do, in `unit`; 0 if unknown. at_most_seconds: the
    deadline of a wait; 0 without one.
    """

    def __call__(
        self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0
    ) -> AbstractContextManager[Work]: ...


class Unseen:
    """Work that nobody follows."""

    def advance(self, amount: int) -> None: ...

    def heartbeat(self, state: str = "") -> None: ...


def no_report(what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> nullcontext[Work]:  # noqa: ARG001 (a Reporter's)
    """Report nothing."""
    return nullcontext(Unseen())


class Lines:
    """Writes a line after 5 seconds, and then at the growing intervals of `Backoff`. now: a clock, in seconds."""

    def __init__(self, log: Callable[[str], None], now: Callable[[], float]) -> None:
        self._log, self._now = log, now

    @contextmanager
    def __call__(self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> Iterator[Work]:
        yield _Line(self._log, Backoff(self._now), what, total, unit, at_most_seconds)


class _Line:
    def __init__(
        self, log: Callable[[str], None], backoff: Backoff, what: str, total: int, unit: str, at_most_seconds: float
    ) -> None:
        self._log, self._backoff = log, backoff
        self._what, self._total, self._unit, self._at_most_seconds = what, total, unit, at_most_seconds
        self._lock = threading.Lock()
        self._done = 0
        self._state = ""

    def advance(self, amount: int) -> None:
        with self._lock:
            self._done += amount
        self.heartbeat()

    def heartbeat(self, state: str = "") -> None:
        with self._lock:
            self._state = state or self._state
            if self._backoff.left:
                return
            self._backoff.said()
            sentence = self._sentence()
        self._log(sentence)

    def _sentence(self) -> str:
        parts = [self._state] if self._state else []
        if self._total:
            parts.append(amount(min(self._done, self._total), self._total, self._unit))
        parts.append(f"{spell(self._backoff.elapsed)} so far")
        if self._at_most_seconds:
            parts.append(f"at most {spell(self._at_most_seconds)}")
        return f"{self._what}: {', '.join(parts)}."


def amount(done: int, total: int, unit: str) -> str:
    """Return "25 % of 200.0 MB", or "25 % of 8 checks"."""
    share = f"{100 * done // total} % of "
    return share + (f"{total / 1e6:,.1f} MB" if unit == BYTES else f"{total:,} {unit}")


def spell(seconds: float) -> str:
    """Return a duration with two or three digits: 119 s, 60 min, 2.5 h."""
    if seconds < 120:  # noqa: PLR2004 (two minutes)
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004 (two hours)
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h"
