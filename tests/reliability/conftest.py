"""What the tests of the promises share with those of runners."""

from __future__ import annotations

from tests.runners.bed import bed

__all__ = ["bed"]
