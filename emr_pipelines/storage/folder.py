"""The protocol of an asset's folder: small files with conditional writes. local.py and s3.py implement it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

PUBLISHED = "_published.json"  # a leading underscore: Spark skips it


@dataclass(frozen=True)
class Found:
    """The content of a file, and the `tag` (on S3, the ETag) that tells whether the file has changed since."""

    data: bytes
    tag: str = ""


class Folder(Protocol):
    """The folder of one asset; names are paths within it. Writes are whole: a reader sees the old or the new.

    Every call raises StorageUnusable, with a sentence, when the place cannot be used.
    """

    resumable: bool
    """Whether the work of a killed attempt may run on, so that the next attempt should find its version."""

    def uri(self, name: str) -> str:
        """Return the URI of a file as Hadoop and Spark read it, that is, not percent-encoded."""
        ...

    def shown(self, name: str) -> str:
        """Return the location of a file for a message."""
        ...

    def prepare(self) -> None:
        """Create the folder, and check that it can be written."""
        ...

    def read(self, name: str) -> Found | None: ...

    def has(self, name: str) -> bool: ...

    def names(self) -> list[str]:
        """List the names of files and folders directly in it."""
        ...

    def has_visible_file(self, name: str) -> bool:
        """Whether there is a file at any depth below this name whose path has only names that are `is_visible`."""
        ...

    def write(self, name: str, data: bytes, replacing: Found | None) -> bool:
        """Compare and swap: write a file if it still equals `replacing`; None means that it must not exist. Returns
        False, and writes nothing, if it differs.

        The data should be unique: after a lost response, the content tells whether the write took effect.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        ...

    def sweep(self, before: datetime) -> None:
        """Delete temporary files that killed writes left before this time."""
        ...

    def delete_version(self, name: str) -> None:
        """Delete the folder of a version, if it exists, the PUBLISHED mark first: a deletion that is killed then leaves
        an abandoned version, not a published one with files missing."""
        ...
