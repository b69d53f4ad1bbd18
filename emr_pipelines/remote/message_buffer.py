"""Messages for Dagster that wait to be written, and of what a program prints only as much as an event log can hold.

What is printed is many small texts, and may be gigabytes. Texts of one stream become one message, and when more comes
than is allowed, the newest is kept and what it was that is left out is said in its place. All of it is in the step's
logs anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, cast

from dagster_pipes import PipesMessage

PRINTED = "log_external_stream"  # the method of messages about what was printed
AT_ONCE_CHARACTERS = 5_000_000  # of printed text; some 600 events
PER_SECOND_CHARACTERS = 200.0  # and more as time passes: 17 million a day
KEPT_CHARACTERS = 8_000  # of what is over that, the newest
MESSAGE_CHARACTERS = 1 << 16
FILE_CHARACTERS = 1 << 20  # of messages that are written together


@dataclass
class _Printed:
    """Text of one stream, from one message or several."""

    stream: str
    like: PipesMessage
    text: StringIO = field(default_factory=StringIO)

    def message(self) -> PipesMessage:
        params = {**(self.like["params"] or {}), "text": self.text.getvalue()}
        return cast("PipesMessage", {**cast("dict[str, Any]", self.like), "params": params})


@dataclass
class _Cut:
    """What of one stream is over the limit: how much, and the end of it."""

    like: PipesMessage
    characters: int = 0
    end: str = ""

    def add(self, text: str) -> None:
        self.characters += len(text)
        self.end = (self.end + text[-KEPT_CHARACTERS:])[-KEPT_CHARACTERS:]

    def text(self) -> str:
        lines = self.end.split("\n", 1)
        shown = lines[-1] if len(lines) > 1 and self.characters > len(self.end) else self.end  # whole lines, if any
        if self.characters == len(shown):
            return shown
        left_out = self.characters - len(shown)
        return f"\n[{left_out:,} characters were printed here and are left out; the step's logs have them.]\n{shown}"


class Outbox:
    """Messages in their order; its memory is bounded by what may be printed at once. Any thread may use it.

    now: a clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._taken_in = 0  # characters of printed text
        self._waiting: deque[PipesMessage | _Printed] = deque()
        self._cut: dict[str, _Cut] = {}
        self._lock = threading.Lock()

    def put(self, message: PipesMessage) -> None:
        with self._lock:
            if message["method"] == PRINTED:
                params = message["params"] or {}
                self._print(message, params["stream"], params["text"])
                return
            if message["method"] == "closed":
                self._tell_what_was_cut()
            self._waiting.append(message)

    def take(self) -> list[PipesMessage]:
        """The next messages, for one file; none when none waits."""
        taken: list[PipesMessage] = []
        characters = 0
        with self._lock:
            if self._cut and self._left() >= 2 * KEPT_CHARACTERS * len(self._cut):
                self._tell_what_was_cut()
            while self._waiting and characters < FILE_CHARACTERS:
                waiting = self._waiting.popleft()
                taken.append(waiting.message() if isinstance(waiting, _Printed) else waiting)
                characters += len((taken[-1]["params"] or {}).get("text", "")) or MESSAGE_CHARACTERS // 16
        return taken

    def _left(self) -> int:
        """How many characters may be printed now."""
        return int(AT_ONCE_CHARACTERS + PER_SECOND_CHARACTERS * (self._now() - self._began)) - self._taken_in

    def _print(self, message: PipesMessage, stream: str, text: str) -> None:
        fits = 0 if stream in self._cut else max(0, min(len(text), self._left()))
        self._append(message, stream, text[:fits])
        if fits < len(text):
            self._cut.setdefault(stream, _Cut(_without_text(message))).add(text[fits:])

    def _append(self, message: PipesMessage, stream: str, text: str) -> None:
        self._taken_in += len(text)
        for start in range(0, len(text), MESSAGE_CHARACTERS):
            last = self._waiting[-1] if self._waiting else None
            if not isinstance(last, _Printed) or last.stream != stream or last.text.tell() >= MESSAGE_CHARACTERS:
                last = _Printed(stream, _without_text(message))
                self._waiting.append(last)
            last.text.write(text[start : start + MESSAGE_CHARACTERS])

    def _tell_what_was_cut(self) -> None:
        for stream, cut in self._cut.items():
            self._append(cut.like, stream, cut.text())
        self._cut.clear()


def _without_text(message: PipesMessage) -> PipesMessage:
    params = {**(message["params"] or {}), "text": ""}
    return cast("PipesMessage", {**cast("dict[str, Any]", message), "params": params})
