"""Mark parameters of a test that only the whole suite runs."""

from typing import Any

import pytest


def extended(*values: object) -> Any:
    """Mark parameters as extended: only `pytest --all` runs them."""
    return pytest.param(*values, marks=pytest.mark.extended)
