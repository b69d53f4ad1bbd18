"""Skip the tests of the manual's pages if the pages are missing, as beside the built package."""

from __future__ import annotations

import pytest

from tests.docs.blocks import ROOT
from tests.docs.recording import Recorded, record

collect_ignore_glob = [] if (ROOT / "README.md").exists() else ["test_*.py"]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"))
