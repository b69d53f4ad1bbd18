"""Shared fixture: an emulated AWS account."""

from tests.account import account

__all__ = ["account"]
