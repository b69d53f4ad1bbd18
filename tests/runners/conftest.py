"""Shared fixtures of the tests of runners."""

from __future__ import annotations

from tests.emr_env import emr_env

__all__ = ["emr_env"]
