"""What the tests of the promises share with those of runners."""

from __future__ import annotations

from tests.account import account
from tests.emr_env import emr_env

__all__ = ["account", "emr_env"]
