"""Files of this machine that programs on a cluster are to read: copied to S3, once for each content."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from emr_pipelines.emr.report import Reporter
from emr_pipelines.emr.shipment import DIGEST_CHARACTERS, Place
from emr_pipelines.programs.progress import many

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Inputs:
    """Files of this machine below `root` that are now on S3 below `folder`; `copied` of them were not there before."""

    root: Path
    folder: str
    copied: int

    def named_here(self, text: str) -> str:
        """A text that names files on S3, as a person knows them who has them here."""
        return text.replace(self.folder, str(self.root))


def copy_inputs(place: Place, paths: Sequence[Path], report: Reporter) -> Inputs:
    """Copy what is not there yet below a folder that is named by all names and contents. Raises the AwsErrors."""
    root = Path(os.path.commonpath([path.parent for path in paths]))
    named = [(str(path.relative_to(root)), path) for path in paths]
    with report(f"Reading {many(len(named), 'file')}", total=_bytes_of(paths)) as work:
        folder = f"{place.of('inputs')}/{_digest(named, work.advance)}"
    there = {entry.uri for entry in place.objects.entries(f"{folder}/")}
    missing = [(f"{folder}/{name}", path) for name, path in named if f"{folder}/{name}" not in there]
    total = _bytes_of([path for _, path in missing])
    with report(f"Copying {many(len(missing), 'file')} to S3", total=total) as work:
        for uri, path in missing:
            place.objects.upload(uri, path, work.advance)
    return Inputs(root, folder, len(missing))


def _bytes_of(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _digest(files: Sequence[tuple[str, Path]], advance: Callable[[int], None]) -> str:
    """Of names and contents. `advance` is told how many bytes more were read."""
    whole = sha256()
    for name, path in files:
        whole.update(f"{name}\0".encode())
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                whole.update(block)
                advance(len(block))
        whole.update(b"\0")
    return whole.hexdigest()[:DIGEST_CHARACTERS]
