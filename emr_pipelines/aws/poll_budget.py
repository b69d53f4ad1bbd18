"""How often this process looks at AWS: for a few steps as often as is of use, for hundreds each of them less often.

A look takes one or two milliseconds of a core, and AWS lets an account describe one step in two seconds. So what all
watches of this process do together has a bound, and each has a share in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOOKS_PER_SECOND = 7.0  # at S3, of all live feeds together
EMR_INTERVAL_SECONDS = 2.5  # between two calls to EMR, of all watches together; DescribeStep has 0.5 a second


class PollBudget:
    """The pace of all watches that take part in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Take part, for as long as something is watched."""
        with self._lock:
            self._watches += 1
        try:
            yield
        finally:
            with self._lock:
                self._watches -= 1

    def look_seconds(self, least: float) -> float:
        """How long to pause between two looks of a live feed."""
        return max(least, self._watches / LOOKS_PER_SECOND)

    def emr_seconds(self, least: float) -> float:
        """How long to pause between two calls to EMR."""
        return max(least, (self._watches - 1) * EMR_INTERVAL_SECONDS)


POLL_BUDGET = PollBudget()  # of this process
