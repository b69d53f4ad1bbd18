"""The manual's pages are tested where they are; the built package is tested without them."""

from __future__ import annotations

from tests.docs.blocks import ROOT

collect_ignore_glob = [] if (ROOT / "docs").exists() else ["test_*.py"]
