"""What the rules of versions need of a place: the folder of one asset, with writes that take effect on a condition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

PUBLISHED = "_published.json"  # a leading underscore: Spark passes over it


@dataclass(frozen=True)
class Found:
    """What a file held when it was read; `tag` is the place's own, to know by whether it still does."""

    data: bytes
    tag: str = ""


class Folder(Protocol):
    """The folder of one asset; names are paths within it. Writes are whole: a reader sees the old or the new.

    Every call raises StorageUnusable, with a sentence, when the place cannot be used.
    """

    resumable: bool
    """Whether what a killed attempt began may go on without it, so that the next one should find it."""

    def uri(self, name: str) -> str:
        """As Hadoop and Spark read it: not percent-encoded."""
        ...

    def shown(self, name: str) -> str:
        """As a person reads it, in a sentence."""
        ...

    def prepare(self) -> None:
        """Make it a place that can be written, or say that it cannot."""
        ...

    def read(self, name: str) -> Found | None: ...

    def has(self, name: str) -> bool: ...

    def names(self) -> list[str]:
        """What lies directly in it."""
        ...

    def has_visible_file(self, name: str) -> bool:
        """Whether a folder in it, or a folder below that, has a file of which every name on the way `is_visible`."""
        ...

    def write(self, name: str, data: bytes, replacing: Found | None) -> bool:
        """Write a file if it still is what was found: None for not there. False when it is not, and nothing is written.

        The data should be like no other, for a write whose answer was lost is known by what is there afterwards.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        ...

    def sweep(self, before: datetime) -> None:
        """Delete what writes into it that were killed before then have left."""
        ...

    def delete_version(self, name: str) -> None:
        """Delete a folder in it, if it is there, its PUBLISHED mark first: a deletion that is killed then leaves an
        abandoned version, not a broken published one."""
        ...
