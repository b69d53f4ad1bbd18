"""A bar for what takes long, where a person sits at a terminal.

Others write to the same terminal and know nothing of the bar: Dagster's log, by way of a process of its own, and other
steps of the run. So the bar is one line and leaves the cursor at its beginning: a line that somebody writes covers it,
and the bar goes on below. What is over within a second is not shown.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOBase
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.spinner import Spinner
from rich.table import Column
from rich.text import Text

from emr_pipelines.report import BYTES, Work, amount, spell

SHOWN_AFTER_SECONDS = 1.0
DRAWN_PER_SECOND = 4
WIDEST = 100  # columns; a line of Dagster's log is longer, and so covers it
BAR_COLUMNS = 12
ERR = 2  # the file descriptor


def is_able(stream: TextIO) -> bool:
    """Whether it is a terminal on which a line can be drawn anew."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def bars_on_stderr() -> Bars | None:
    """Bars on what is this process's stderr now, whatever it is led to later; None when that can show none. Dagster
    leads the stderr of a step to a file. To be closed."""
    stream = os.fdopen(os.dup(ERR), "w")
    if is_able(stream):
        return Bars(stream)
    stream.close()
    return None


class Bars:
    """The reporter that shows how far work is: of several pieces of work at a time, the newest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._progress = _OneLine(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            _BarOrMark(BAR_COLUMNS),
            _Words(table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=_Console(file=cast("TextIO", _FromTheLeft(stream)), force_terminal=True),
            refresh_per_second=DRAWN_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    @contextmanager
    def __call__(self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> Iterator[Work]:
        with self._lock:
            task = self._progress.add_task(what, total=total or None, unit=unit, most=at_most_seconds, state="")
            self._progress.start()
        try:
            yield _Bar(self._progress, task)
        finally:
            with self._lock:
                self._progress.remove_task(task)
                if not self._progress.tasks:
                    self._progress.stop()

    def close(self) -> None:
        with suppress(OSError):  # as below
            self._stream.close()


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int) -> None:
        self._progress.advance(self._task, amount)

    def still(self, state: str = "") -> None:
        if state:
            self._progress.update(self._task, state=state)


class _OneLine(Progress):
    def get_renderables(self) -> Iterable[RenderableType]:
        shown = [task for task in self.tasks if (task.elapsed or 0) >= SHOWN_AFTER_SECONDS]
        if shown:
            yield Constrain(self.make_tasks_table(shown[-1:]), WIDEST)


class _BarOrMark(BarColumn):
    """A bar, where it is known how much there is to do; else a mark that turns."""

    _mark = Spinner("line")

    def __call__(self, task: Task) -> RenderableType:
        return self.render(task) if task.total else self._mark.render(task.get_time())


class _Words(ProgressColumn):
    """How far work is, in words behind the bar."""

    def render(self, task: Task) -> Text:
        parts = [task.fields["state"]] if task.fields["state"] else []
        if task.total:
            parts.append(amount(int(task.completed), int(task.total), task.fields["unit"]))
        if task.time_remaining and task.speed and task.fields["unit"] == BYTES:
            parts += [f"{task.speed / 1e6:,.1f} MB/s", f"{spell(task.time_remaining)} left"]
        else:
            parts.append(spell(task.elapsed or 0))
        if task.fields["most"]:
            parts.append(f"at most {spell(task.fields['most'])}")
        return Text(", ".join(parts))


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 (the base class's)
        """It stays: a process that is killed could not bring it back."""
        return False


class _FromTheLeft(TextIOBase):
    """A terminal whose cursor goes back to the beginning of the line after each write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):  # a terminal that is gone stops no work
            self._stream.write(f"{text}\r")
            self._stream.flush()
        return len(text)

    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding
