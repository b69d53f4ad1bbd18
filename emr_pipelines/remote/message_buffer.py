"""Buffer messages for Dagster until they are written, and limit printed text to what an event log can hold.

A program may print gigabytes in small pieces. Text of one stream becomes one message; above the limit, the newest text
is kept and the rest is replaced by a note. The step's logs have all of it.
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
KEPT_CHARACTERS = 8_000  # how much of the excess is kept: the newest
MESSAGE_CHARACTERS = 1 << 16
FILE_CHARACTERS = 1 << 20  # of messages that are written together


@dataclass
class _Printed:
    """Text of one stream, from one or more messages."""

    stream: str
    like: PipesMessage
    text: StringIO = field(default_factory=StringIO)

    def message(self) -> PipesMessage:
        params = {**(self.like["params"] or {}), "text": self.text.getvalue()}
        return cast("PipesMessage", {**cast("dict[str, Any]", self.like), "params": params})


@dataclass
class _Cut:
    """The excess of one stream: how much, and its end."""

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


class MessageBuffer:
    """Messages in order. Its memory is bounded by the limit for printed text. Any thread may use it.

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
        """Return the next messages, for one file; empty if none waits."""
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
        """Return how many characters may be printed now."""
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
