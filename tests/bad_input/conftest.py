"""Fixtures for bad input: environments, a storage with published data, and a check of messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from emr_pipelines.storage import Storage
from tests.account import account
from tests.emr_env import emr_env
from tests.storage.conftest import on_disk, on_s3, place

__all__ = ["account", "emr_env", "on_disk", "on_s3", "place"]

ASSETS = ("input_text", "word_counts", "pi_estimates", "spark_costs")
NOT_A_SENTENCE = re.compile(
    r"Traceback|\b(Key|Type|Index|Attribute|Unicode\w*|JSONDecode|Overflow|Recursion)Error\b|py4j"
)


def validate_sentence(said: str, about: str) -> None:
    """Check that a message is one or two sentences about the value, without Python internals."""
    assert about in said
    assert not NOT_A_SENTENCE.search(said), said
    assert len(said.splitlines()) == 1, said


class Shelf:
    """A storage with a published version of each asset, and its content."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = Storage(uri=str(root))
        for name in ASSETS:
            key = dg.AssetKey(name)
            with self.storage.new_version(key, "good-run") as version:
                self.storage.write(key, version, "part-00000.txt", b"good\n")
                self.storage.publish(key, version, "good")

    def files(self) -> dict[str, bytes]:
        files = [path for path in self.root.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Check afterwards that published data is unchanged and nothing else is left."""
    shelf = Shelf(tmp_path / "storage")
    before = shelf.files()
    assert len(before) == 3 * len(ASSETS) + 1
    yield shelf
    assert shelf.files() == before
