"""A bar in a terminal: what a person sees of it, also when others write there."""

from __future__ import annotations

import io
import os
import pty
import re
from pathlib import Path

import pytest

from emr_pipelines import terminal
from emr_pipelines.terminal import Bars, bars_on_stderr, is_able
from tests.terminals import Screen

LINE = "2026-11-22 22:42:32 +0000 - dagster - INFO - a_job - 7e3f4742-19c9-4dfd-9418-9be03e94aa60 - written by another"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is shown from its first moment, and drawn when a test says so."""
    monkeypatch.setattr(terminal, "SHOWN_AFTER_SECONDS", 0)
    monkeypatch.setattr(terminal, "DRAWN_PER_SECOND", 0.001)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def draw(bars: Bars) -> None:
    bars._progress.refresh()


def test_a_bar_shows_how_much_is_sent_and_goes_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen:
        bars = Bars(screen.stream)
        with bars("Sending a.jar", total=200_000_000) as work:
            work.advance(50_000_000)
            draw(bars)
    assert "Sending a.jar" in screen.text
    assert "━" in screen.text
    assert "25 % of 200.0 MB" in screen.text
    assert screen.lines() == [""]


def test_a_wait_shows_what_was_seen_and_how_long_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen:
        bars = Bars(screen.stream)
        with bars("Waiting for cluster j-2RSKZORHP3VYQ to come up", at_most_seconds=3600) as work:
            work.still("STARTING")
            draw(bars)
            work.still()
    assert "Waiting for cluster j-2RSKZORHP3VYQ to come up" in screen.text
    assert "STARTING, 0 s, at most 60 min" in screen.text  # all of it, on 80 columns
    assert screen.lines() == [""]


def test_what_is_over_within_a_second_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SHOWN_AFTER_SECONDS", 1.0)
    with Screen(monkeypatch) as screen:
        bars = Bars(screen.stream)
        with bars("Sending a.jar", total=100) as work:
            work.advance(50)
            draw(bars)
    assert "Sending" not in screen.text
    assert screen.lines() == [""]


def test_lines_that_others_write_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's come by way of another process, so nothing can hold them back while a bar is there."""
    with Screen(monkeypatch) as screen:
        bars = Bars(screen.stream)
        with bars("Sending a.jar", total=100, unit="parts") as work:
            for _ in range(3):
                work.advance(25)
                draw(bars)
                os.write(screen.stream.fileno(), f"{LINE}\n".encode())
                draw(bars)
    assert screen.lines() == [LINE, LINE, LINE, ""]


def test_of_several_pieces_of_work_the_newest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen:
        bars = Bars(screen.stream)
        with bars("the older"):
            with bars("the newer"):
                draw(bars)
            draw(bars)
            screen.stream.write("the end\n")
            screen.stream.flush()
    shown = [text for text in ("the older", "the newer", "the end") if text in screen.text]
    assert shown == ["the older", "the newer", "the end"]
    assert screen.text.index("the newer") < screen.text.rindex("the older")  # which is shown again
    assert screen.lines()[-1] == ""


def test_the_cursor_is_never_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen, Bars(screen.stream)("Sending"):
        pass
    assert "\x1b[?25" not in screen.text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(monkeypatch) as screen:
        monkeypatch.setenv("NO_COLOR", "1")
        bars = Bars(screen.stream)
        with bars("Sending a.jar", total=100) as work:
            work.advance(50)
            draw(bars)
    assert "Sending a.jar" in screen.text
    assert not re.search(r"\x1b\[[0-9;]*[34]\d", screen.text)


def test_a_terminal_that_is_gone_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    read_end, written = pty.openpty()
    bars = Bars(os.fdopen(written, "w"))
    with bars("Sending a.jar", total=100) as work:
        os.close(read_end)
        work.advance(100)
        with pytest.raises(OSError, match="Input/output error"):
            os.write(written, b"x")
        draw(bars)
    bars.close()
    assert bars._stream.closed


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


def test_a_bar_stays_where_stderr_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster leads a step's stderr to a file after the resources are there."""
    before = os.dup(2)
    try:
        with Screen(monkeypatch) as screen:
            os.dup2(screen.stream.fileno(), 2)
            bars = bars_on_stderr()
            os.dup2(before, 2)
            assert bars is not None
            with bars("Sending a.jar"):
                draw(bars)
            bars.close()
    finally:
        os.dup2(before, 2)
        os.close(before)
    assert "Sending a.jar" in screen.text


def test_stderr_that_is_no_terminal_is_left_alone(tmp_path: Path) -> None:
    opened, before = open_files(), os.dup(2)
    with (tmp_path / "err").open("w") as file:
        os.dup2(file.fileno(), 2)
        try:
            assert bars_on_stderr() is None
        finally:
            os.dup2(before, 2)
            os.close(before)
    assert open_files() == opened
