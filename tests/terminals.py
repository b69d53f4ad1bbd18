"""A terminal for tests, which keeps what is written to it."""

from __future__ import annotations

import os
import pty
import threading

import pytest
from typing_extensions import Self


class Screen:
    """A pseudo-terminal of 80 columns, able to move its cursor. `text` is all that was written, once it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, term: str = "xterm-256color") -> None:
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("COLUMNS", "80")
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        self.text = ""

    def __enter__(self) -> Self:
        self._read_end, written = pty.openpty()
        self.stream = os.fdopen(written, "w", encoding="utf-8")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self._reader.join()
        os.close(self._read_end)

    def _read(self) -> None:
        """Read until all writers have closed it, which Linux reports as an error."""
        data = b""
        try:
            while chunk := os.read(self._read_end, 4096):
                data += chunk
        except OSError:
            self.text = data.decode()
