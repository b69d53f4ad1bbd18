"""What a person sees of a progress bar in a terminal."""

from __future__ import annotations

import io
import re

import pytest

from emr_pipelines.terminal import Bars, is_able
from tests.terminals import Screen


def test_a_bar_shows_how_much_is_done_and_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen, Bars(screen.stream)("Checking", total=8, unit="checks") as work:
        work.advance(2)
    assert "Checking" in screen.text
    assert "━" in screen.text
    assert "25 % of 8 checks" in screen.text
    assert screen.text.endswith("\x1b[1A\x1b[2K")  # one line up, erased


def test_a_wait_shows_its_state_and_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen, Bars(screen.stream)("Waiting for j-2RSKZORHP3VYQ", at_most_seconds=900) as work:
        work.heartbeat("TERMINATING")
        work.heartbeat()
    for part in ("Waiting for j-2RSKZORHP3VYQ", "TERMINATING", "0:00:00", "of at most 15 min"):
        assert part in re.sub(r"\x1b\[[0-9;]*m", "", screen.text)


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_move_its_cursor_has_no_bar(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    with Screen(monkeypatch, term) as screen:
        assert not is_able(screen.stream)
        monkeypatch.setenv("TERM", "xterm")
        assert is_able(screen.stream)


def test_what_is_no_terminal_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not is_able(io.StringIO())
