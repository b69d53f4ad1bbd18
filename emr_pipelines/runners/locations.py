"""Find local paths in a cluster's settings: refuse those in a storage, and warn about all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emr_pipelines.aws.preflight import check_storage
from emr_pipelines.aws.redaction import HIDDEN, is_called_secret, masked
from emr_pipelines.remote.file_uris import local_path
from emr_pipelines.storage import STORAGE_MARK
from emr_pipelines.storage.versions import VERSION_NAME


def check_locations(of: str, told: Any, warn: Callable[[str], None] = lambda _: None) -> None:
    """Look for paths of this machine in the JSON values that a program or a step gets.

    Raises StorageUnusable for a path in a storage: on a cluster it would be the node's own disk, which nobody reads and
    which goes with the node. Any other path may be meant for the cluster, so it is only a warning. The warning is
    masked, because it is logged before the values are searched for secrets.
    """
    for field, value in _texts(told, of):
        path = _path_here(value)
        if path is None:
            continue
        if (root := _storage_of(path)) is not None:
            check_storage(str(root))
        shown = HIDDEN if is_called_secret(field) else repr(value)
        warn(
            masked(
                f"{field} is {shown}. If this is a path on this machine, the cluster does not have it: there it means "
                "the disk of a single node. Use s3://bucket/key. Local files are copied to the cluster by `reads` and "
                "an AssetSpec with 'dagster/uri', or by the runner's `files`."
            )
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
    """Return the path that a file: URI, an absolute path or a ~/ path means; None for any other text."""
    path = local_path(value) or value
    if path.startswith("~"):
        path = str(Path.home()) + path[1:] if path[1:2] in ("", "/") else ""
    return Path(path) if path.startswith("/") and len(path) > 1 and "\0" not in path else None


def _storage_of(path: Path) -> Path | None:
    """Return the root of the storage whose version a path is, or is in; None for any other path."""
    versions = [folder for folder in (path, *path.parents) if VERSION_NAME.fullmatch(folder.name)]
    try:
        return next((root for version in versions for root in version.parents if (root / STORAGE_MARK).exists()), None)
    except OSError:  # a name that is too long, or a folder that may not be looked at
        return None
