"""Places of this machine in what a cluster is told: refused where assets live there, and named in the log elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emr_pipelines.emr.preflight import check_storage
from emr_pipelines.programs.file_uris import local_path
from emr_pipelines.storage import STORAGE_MARK
from emr_pipelines.storage.versions import VERSION_NAME


def check_locations(of: str, told: Any, warn: Callable[[str], None] = lambda _: None) -> None:
    """Look for paths of this machine in the JSON values that a program or a step is told.

    Raises StorageUnusable for one in a storage: on a cluster its path is the node's own disk, where nobody reads and
    nothing is left. Of any other path nobody here can say whether it is meant to be one of the cluster's, so it is a
    warning.
    """
    for field, value in _texts(told, of):
        path = _path_here(value)
        if path is None:
            continue
        if (root := _storage_of(path)) is not None:
            check_storage(str(root))
        warn(
            f"{field} is {value!r}. If that is a place on this machine, the cluster does not have it: there, the path "
            "is one of a node's own disk. Use s3://bucket/key; files here are copied by `reads` and an AssetSpec with "
            "'dagster/uri', or by the runner's `files`."
        )


def _texts(told: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(told, str):
        yield path, told
    elif isinstance(told, dict):
        for name, value in told.items():
            yield from _texts(value, f"{path}.{name}")
    elif isinstance(told, list | tuple):
        for number, value in enumerate(told):
            yield from _texts(value, f"{path}[{number}]")


def _path_here(value: str) -> Path | None:
    """What file: URIs, absolute paths and those in a home folder mean; None for any other text."""
    path = local_path(value) or value
    if path.startswith("~"):
        path = str(Path.home()) + path[1:] if path[1:2] in ("", "/") else ""
    return Path(path) if path.startswith("/") and len(path) > 1 and "\0" not in path else None


def _storage_of(path: Path) -> Path | None:
    """The folder of the storage that has the version which a path is, or is in."""
    versions = [folder for folder in (path, *path.parents) if VERSION_NAME.fullmatch(folder.name)]
    try:
        return next((root for version in versions for root in version.parents if (root / STORAGE_MARK).exists()), None)
    except OSError:  # a name that is too long, or a folder that may not be looked at
        return None
