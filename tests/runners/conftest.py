"""What the tests of runners share."""

from __future__ import annotations

from tests.runners.bed import bed

__all__ = ["bed"]
