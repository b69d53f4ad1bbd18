"""Show on a terminal how far a piece of work is, with rich's progress display. For commands, not for runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from emr_pipelines.report import BYTES, Work, amount, spell


def is_able(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class Bars:
    """A reporter that shows each piece of work as a bar, and removes the bar when the work ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def __call__(self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> Iterator[Work]:
        limit = f" of at most {spell(at_most_seconds)}" if at_most_seconds else ""
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(12),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            TextColumn(limit.strip(), markup=False),
            console=Console(file=self._stream),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as progress:
            yield _Bar(progress, progress.add_task(what, total=total or None, state=""), unit)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID, unit: str) -> None:
        self._progress, self._task, self._unit = progress, task, unit

    def advance(self, done: int) -> None:
        self._progress.advance(self._task, done)
        task = self._progress.tasks[self._task]
        if task.total:
            self._progress.update(self._task, state=amount(int(task.completed), int(task.total), self._unit))

    def heartbeat(self, state: str = "") -> None:
        if state:
            self._progress.update(self._task, state=state)
