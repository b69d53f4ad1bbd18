"""What the tests of the promises share with those of runners."""

from __future__ import annotations

from tests.emr.conftest import account
from tests.runners.bed import bed

__all__ = ["account", "bed"]
