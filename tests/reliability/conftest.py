"""Fixtures shared with the tests of runners."""

from __future__ import annotations

from tests.account import account
from tests.emr_env import emr_env

__all__ = ["account", "emr_env"]
