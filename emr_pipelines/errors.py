"""Every error this package raises on purpose, as one tree (the emulator, which stands apart, has its own).

    EmrPipelinesError
    ├── InvalidValue           a parameter or setting has a value that is not allowed
    ├── JavaNotUsable          no Java that Spark can run on
    ├── SourceError            something about the input text
    │   ├── SourceNotFound     a source matches no file
    │   ├── SourceUnreadable   the file or bucket is there but cannot be read
    │   └── NotText            the bytes are not text, or a compressed file is damaged
    ├── StorageError           something about the place where assets live
    │   ├── StorageUnusable    an address that is not allowed, or it cannot be read or written
    │   ├── NotMaterialized    an asset that is needed has no published version
    │   └── Superseded         a run that began later has published already
    └── AuditFailed            what was computed did not pass its checks, so it was not published

The message of each is a sentence or two that name the value and say what is allowed or what to do. They are
mistakes a person can mend, so a retry does not help and Dagster is told so.
"""

from __future__ import annotations


class EmrPipelinesError(Exception):
    """Base of the tree; catch it to catch everything this package raises on purpose."""


class InvalidValue(EmrPipelinesError, ValueError):
    """A parameter or setting has a value that is not allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name} is {value!r}; allowed: {allowed}.")
        self.name = name
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[type[InvalidValue], tuple[str, object, str]]:
        return type(self), (self.name, self.value, self.allowed)


class JavaNotUsable(EmrPipelinesError):
    """No Java that Spark can run on."""


class SourceError(EmrPipelinesError):
    """Something is wrong with the input text."""


class SourceNotFound(SourceError):
    """A source matches no file."""


class SourceUnreadable(SourceError):
    """A file or bucket is there but cannot be read."""


class NotText(SourceError):
    """A file's bytes are not text, or a compressed file is damaged."""


class StorageError(EmrPipelinesError):
    """Something is wrong with the place where assets live."""


class StorageUnusable(StorageError):
    """The storage has an address that is not allowed, or cannot be read or written."""


class NotMaterialized(StorageError):
    """An asset that is needed has no published version in this storage."""


class Superseded(StorageError):
    """A run that began later has published already, so this one's older data was not published."""


class AuditFailed(EmrPipelinesError):
    """What was computed did not pass its checks, so it was not published."""
