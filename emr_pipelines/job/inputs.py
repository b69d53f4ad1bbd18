"""Copy files of this machine to S3 for programs on a cluster; equal content is copied once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from emr_pipelines.errors import SourceChanged
from emr_pipelines.job.package import DIGEST_CHARACTERS, StagingArea
from emr_pipelines.remote.file_uris import local_path
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.report import Reporter

BLOCK_BYTES = 1 << 20
GLOB = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Inputs:
    """The files below `root` of this machine that are now on S3 below `folder`; `copied` of them were uploaded now."""

    root: Path
    folder: str
    copied: int

    def named_here(self, text: str) -> str:
        """Replace URIs of the copies in a text by the paths of the files on this machine."""
        return text.replace(self.folder, str(self.root))


def copy_inputs(staging: StagingArea, sources: Sequence[str], paths: Sequence[Path], report: Reporter) -> Inputs:
    """Copy the files of the sources to a folder whose name is a digest of all names and contents; files that are there
    already are skipped. Raises the AwsErrors, and SourceChanged for a file that changes meanwhile, so that the folder
    never holds other content."""
    try:
        return _copy_inputs(staging, sources, paths, report)
    except FileNotFoundError as error:
        raise SourceChanged(f"{error.filename} was removed while it was copied. Retry.") from error


def _copy_inputs(staging: StagingArea, sources: Sequence[str], paths: Sequence[Path], report: Reporter) -> Inputs:
    paths = [_absolute(path) for path in paths]
    before = {path: _state(path) for path in paths}
    # not the common path of the files: Spark reads a column from a folder such as day=2026-01-01
    root = Path(os.path.commonpath([*map(_folder_of, sources), *(path.parent for path in paths)]))
    named = [(str(path.relative_to(root)), path) for path in paths]
    with report(f"Reading {pluralize(len(named), 'file')}", total=_bytes_of(paths)) as work:
        folder = f"{staging.of('inputs')}/{_digest(named, work.advance)}"
    for path in paths:
        _refuse_changed(path, before[path])
    there = {entry.uri: entry.bytes for entry in staging.objects.entries(f"{folder}/")}
    missing = [(uri, path) for name, path in named if there.get(uri := f"{folder}/{name}") != before[path][0]]
    total = _bytes_of([path for _, path in missing])
    with report(f"Copying {pluralize(len(missing), 'file')} to S3", total=total) as work:
        for uri, path in missing:
            staging.objects.upload(uri, path, work.advance)
            try:
                _refuse_changed(path, before[path])
            except (SourceChanged, FileNotFoundError):
                staging.objects.delete([uri])
                raise
    return Inputs(root, folder, len(missing))


def _folder_of(source: str) -> Path:
    """Return the folder that a source is, or is in; of a glob, the last one before the first wildcard."""
    path = _absolute(local_path(source) or source)
    while GLOB.search(str(path)) and not path.exists():
        path = path.parent
    return path if path.is_dir() else path.parent


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (Path.resolve would follow links, which have names of their own)


def _state(path: Path) -> tuple[int, int]:
    """Return the size (bytes) and modification time (ns) of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _refuse_changed(path: Path, before: tuple[int, int]) -> None:
    now = _state(path)
    if now != before:
        raise SourceChanged(
            f"{path} changed while it was copied: it had {before[0]:,} bytes and has {now[0]:,} now. Retry when "
            "nothing writes to it."
        )


def _bytes_of(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _digest(files: Sequence[tuple[str, Path]], advance: Callable[[int], None]) -> str:
    """Digest names and contents; `advance` is called with the number of bytes read since the last call."""
    whole = sha256()
    for name, path in files:
        whole.update(f"{name}\0".encode())
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                whole.update(block)
                advance(len(block))
        whole.update(b"\0")
    return whole.hexdigest()[:DIGEST_CHARACTERS]
