"""Local files that change while they are copied to S3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emr_pipelines.errors import SourceChanged
from emr_pipelines.job.inputs import Inputs, copy_inputs
from emr_pipelines.report import no_report


class Objects:
    """A stub of S3 for copies; `meanwhile` is called during the first upload."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.held: dict[str, bytes] = {}
        self.meanwhile: Callable[[], object] = meanwhile

    def entries(self, uri: str) -> list[Any]:
        return [SimpleNamespace(uri=held, bytes=len(data)) for held, data in self.held.items() if held.startswith(uri)]

    def upload(self, uri: str, path: Path, advance: object) -> None:  # noqa: ARG002 (as it is called)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        self.held[uri] = path.read_bytes()

    def delete(self, uris: list[str]) -> None:
        for uri in uris:
            del self.held[uri]


def copy(objects: Objects, folder: Path) -> Inputs:
    place: Any = SimpleNamespace(objects=objects, of=lambda name: f"s3://bucket/{name}")
    return copy_inputs(place, [str(folder)], sorted(folder.iterdir()), no_report)


def test_a_file_that_changes_while_it_is_copied_is_not_left_under_the_name_of_another_content(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n")
    objects = Objects(meanwhile=lambda: file.write_text("one\ntwo\n"))
    with pytest.raises(
        SourceChanged, match=r"a\.txt changed while it was copied: it had 4 bytes and has 8 now"
    ) as caught:
        copy(objects, tmp_path)
    assert caught.value.retryable
    assert objects.held == {}
    longer = copy(objects, tmp_path)
    assert objects.held == {f"{longer.folder}/a.txt": b"one\ntwo\n"}
    file.write_text("one\n")
    assert copy(objects, tmp_path).copied == 1


def test_a_copy_of_another_size_is_replaced(tmp_path: Path) -> None:
    """Another tool left it, because our copies are written atomically."""
    (tmp_path / "a.txt").write_text("one\n")
    objects = Objects(meanwhile=lambda: None)
    copied = copy(objects, tmp_path)
    assert copied.copied == 1
    objects.held[f"{copied.folder}/a.txt"] = b"on"
    assert copy(objects, tmp_path).copied == 1
    assert objects.held == {f"{copied.folder}/a.txt": b"one\n"}
    assert copy(objects, tmp_path).copied == 0


def test_a_file_that_is_removed_while_others_are_copied_is_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    objects = Objects(meanwhile=(tmp_path / "b.txt").unlink)
    with pytest.raises(SourceChanged, match=r"b\.txt was removed while it was copied"):
        copy(objects, tmp_path)


def test_a_file_that_changes_while_it_is_digested_is_not_copied(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n")

    class Reporter:
        def __call__(self, what: str, **options: Any) -> Any:
            if what.startswith("Reading"):
                file.write_text("longer\n")
            return no_report(what, **options)

    objects = Objects(meanwhile=lambda: None)
    place: Any = SimpleNamespace(objects=objects, of=lambda name: f"s3://bucket/{name}")
    with pytest.raises(SourceChanged, match="it had 4 bytes and has 7 now"):
        copy_inputs(place, [str(file)], [file], Reporter())
    assert objects.held == {}
