"""What bad input is tried on: the beds of other rooms, one storage with something published, and what a sentence is."""

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

ASSETS = ("input_text", "word_counts", "pi_estimates", "cluster_costs")
NOT_A_SENTENCE = re.compile(
    r"Traceback|\b(Key|Type|Index|Attribute|Unicode\w*|JSONDecode|Overflow|Recursion)Error\b|py4j"
)


def validate_sentence(said: str, about: str) -> None:
    """That a person reads one sentence or two, about this, and nothing of Python's."""
    assert about in said
    assert not NOT_A_SENTENCE.search(said), said
    assert len(said.splitlines()) == 1, said


class Shelf:
    """A storage in which each asset has a published version, and all that lies in it."""

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
    """What is published is as before, and nothing else is left."""
    shelf = Shelf(tmp_path / "storage")
    before = shelf.files()
    assert len(before) == 3 * len(ASSETS) + 1
    yield shelf
    assert shelf.files() == before
