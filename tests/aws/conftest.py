"""The emulated AWS account that the tests of this room share."""

from tests.account import account

__all__ = ["account"]
