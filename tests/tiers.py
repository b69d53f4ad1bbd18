"""Values of a parametrized test that only the whole suite tries."""

from typing import Any

import pytest


def extended(*values: object) -> Any:
    """Leave these out of what `pytest` runs by itself; `pytest --all` has them."""
    return pytest.param(*values, marks=pytest.mark.extended)
