"""What the tests of runners share."""

from __future__ import annotations

from tests.emr_env import emr_env

__all__ = ["emr_env"]
