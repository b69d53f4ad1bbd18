"""Limit how often this process polls AWS: the more it watches, the less often it polls for each watch.

A poll takes one or two milliseconds of a core, and AWS lets an account describe one step in two seconds. So all watches
of a process share one budget.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOOKS_PER_SECOND = 7.0  # at S3, of all live feeds together
EMR_INTERVAL_SECONDS = 2.5  # between two calls to EMR, of all watches together; DescribeStep has 0.5 a second


class PollBudget:
    """The polling rate that the watches of a process share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Take a share of the budget within the block."""
        with self._lock:
            self._watches += 1
        try:
            yield
        finally:
            with self._lock:
                self._watches -= 1

    def look_seconds(self, least: float) -> float:
        """Return how long to pause between two looks at a live feed."""
        return max(least, self._watches / LOOKS_PER_SECOND)

    def emr_seconds(self, least: float) -> float:
        """Return how long to pause between two calls to EMR."""
        return max(least, (self._watches - 1) * EMR_INTERVAL_SECONDS)


POLL_BUDGET = PollBudget()  # of this process
