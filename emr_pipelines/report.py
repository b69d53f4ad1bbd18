"""How far what takes long is: told to a reporter, which says it in lines, or shows it, or, unless told, does nothing.

with report("Sending deps.zip", total=size) as work:
    objects.upload(uri, path, work.advance)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from emr_pipelines.remote.progress import Backoff

BYTES = "bytes"  # the unit that is told in megabytes


class Work(Protocol):
    """Something that is under way. Each call takes no time to speak of, and may come from any thread."""

    def advance(self, amount: int) -> None:
        """So much more of it is done; less, when negative."""
        ...

    def still(self, state: str = "") -> None:
        """It goes on, and this, in a few words, is how it looks; as before when nothing is said."""
        ...


class Reporter(Protocol):
    """Who is told of work that may take longer than a few seconds."""

    def __call__(
        self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0
    ) -> AbstractContextManager[Work]:
        """Work that lasts as long as the context.

        what: such as "Sending deps.zip". total: how much there is to do, of a unit; at_most_seconds: how long it is
        waited for; 0 where that is not known.
        """
        ...


class Unseen:
    """Work that nobody is told of."""

    def advance(self, amount: int) -> None: ...

    def still(self, state: str = "") -> None: ...


def no_report(
    what: str,  # noqa: ARG001 (as all reporters are called)
    *,
    total: int = 0,  # noqa: ARG001
    unit: str = BYTES,  # noqa: ARG001
    at_most_seconds: float = 0,  # noqa: ARG001
) -> AbstractContextManager[Work]:
    """The reporter of who wants to hear nothing."""
    return nullcontext(Unseen())


class Lines:
    """Says how far work is: a line after 5 seconds, and then ever more rarely, as `Backoff` has it."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float]) -> None:
        """now: a clock, in seconds."""
        self._say, self._now = say, now

    @contextmanager
    def __call__(self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> Iterator[Work]:
        yield _Line(self._say, Backoff(self._now), what, total, unit, at_most_seconds)


class Both:
    """Tells two reporters."""

    def __init__(self, one: Reporter, other: Reporter) -> None:
        self._one, self._other = one, other

    @contextmanager
    def __call__(self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> Iterator[Work]:
        facts: dict[str, Any] = {"total": total, "unit": unit, "at_most_seconds": at_most_seconds}
        with self._one(what, **facts) as one, self._other(what, **facts) as other:
            yield _Works(one, other)


class _Works:
    def __init__(self, *works: Work) -> None:
        self._works = works

    def advance(self, amount: int) -> None:
        for work in self._works:
            work.advance(amount)

    def still(self, state: str = "") -> None:
        for work in self._works:
            work.still(state)


class _Line:
    def __init__(
        self, say: Callable[[str], None], rarely: Backoff, what: str, total: int, unit: str, at_most_seconds: float
    ) -> None:
        self._say, self._rarely = say, rarely
        self._what, self._total, self._unit, self._at_most_seconds = what, total, unit, at_most_seconds
        self._lock = threading.Lock()
        self._done = 0
        self._state = ""

    def advance(self, amount: int) -> None:
        with self._lock:
            self._done += amount
        self.still()

    def still(self, state: str = "") -> None:
        with self._lock:
            self._state = state or self._state
            if self._rarely.left:
                return
            self._rarely.said()
            sentence = self._sentence()
        self._say(sentence)

    def _sentence(self) -> str:
        parts = [self._state] if self._state else []
        if self._total:
            done = min(self._done, self._total)
            parts.append(amount(done, self._total, self._unit))
        parts.append(f"{spell(self._rarely.elapsed)} so far")
        if self._at_most_seconds:
            parts.append(f"at most {spell(self._at_most_seconds)}")
        return f"{self._what}: {', '.join(parts)}."


def amount(done: int, total: int, unit: str) -> str:
    """How much of something is done, as people say it."""
    share = f"{100 * done // total} % of "
    return share + (f"{total / 1e6:,.1f} MB" if unit == BYTES else f"{total:,} {unit}")


def spell(seconds: float) -> str:
    """A stretch of time as people say it, to two or three digits."""
    if seconds < 120:  # noqa: PLR2004 (two minutes)
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004 (two hours)
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h"
