"""Pass on what a program prints, without changing its standard streams otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TextIO


class PrintedText:
    """A text stream that passes written text to a function, and is otherwise like the stream that it replaces.

    It is not a TextIOBase, whose own attributes (encoding, buffer) would hide the stream's.
    """

    def __init__(self, in_place_of: TextIO, on_text: Callable[[str], None]) -> None:
        self._in_place_of = in_place_of
        self._on_text = on_text

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._on_text(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._in_place_of, name)
