"""Every error this package raises on purpose, as one tree (the emulator, which stands apart, has its own).

    EmrPipelinesError
    ├── InvalidValue           a parameter or setting has a value that is not allowed
    ├── InvalidEnvironment     the same of an environment variable, when definitions load (in runners/target.py)
    ├── JavaNotUsable          no Java that Spark can run on
    ├── RequirementsMissing    a library that a program requires is not installed here, or in another version
    ├── SourceError            something about the input text
    │   ├── SourceNotFound     a source matches no file
    │   ├── SourceUnreadable   the file or bucket is there but cannot be read
    │   ├── SourceChanged      a file changed while it was read                  (a retry may help)
    │   └── NotText            the bytes are not text, or a compressed file is damaged
    ├── StorageError           something about the place where assets live
    │   ├── StorageUnusable    an address that is not allowed, or it cannot be read or written
    │   ├── NotMaterialized    an asset that is needed has no published version
    │   ├── NothingWritten     a version without a file was to be published
    │   └── Superseded         a run that began later has published already
    ├── AuditFailed            what was computed did not pass its checks, so it was not published
    ├── CannotTravel           a program, its parameters or its result cannot be sent to or from a cluster
    ├── ProgramExited          a program ended its process instead of returning its result
    ├── AwsError               AWS refused a call, or could not be asked
    │   ├── CredentialsMissing no credentials, or AWS refuses them               (a retry may help, when refused)
    │   ├── AccessDenied       the credentials do not allow it
    │   ├── NotFound           a bucket, role, cluster or step that is not there
    │   ├── RequestRefused     AWS calls the request invalid
    │   ├── QuotaFull          a quota of the account or cluster is full for now (a retry may help)
    │   ├── Throttled          too many calls, for longer than is worth waiting  (a retry may help)
    │   ├── Unreachable        no answer from AWS, or one that says it is ill    (a retry may help)
    │   ├── Changed            an object is not (or is) there any more as a conditional write wanted it
    │   └── ResponseLost       a call that must not be repeated blindly may have taken effect
    └── RunFailed              a program on a cluster came to nothing; it knows whether a retry helps
        ├── ClusterFailed      the cluster ended, or never came up
        ├── StepFailed         the step ended without a result
        └── TimedOut           a deadline passed while it was provisioned, queued or run

The message of each is a sentence or two that name the value and say what is allowed or what to do. `retryable` says
whether the same again may go well; of a mistake that a person has to mend it does not, and Dagster is told so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_VALUE = 1000  # characters of a value in a sentence


class EmrPipelinesError(Exception):
    """Base of the tree; catch it to catch everything this package raises on purpose."""

    retryable = False


class InvalidValue(EmrPipelinesError, ValueError):
    """A parameter or setting has a value that is not allowed. `instead` is the nearest one that is, if there is one."""

    def __init__(self, name: str, value: object, allowed: str, instead: str = "") -> None:
        suggestion = f"did you mean {instead!r}? Allowed" if instead else "allowed"
        super().__init__(f"{name} is {_short(value)}; {suggestion}: {allowed}.")
        self.name = name
        self.value = value
        self.allowed = allowed
        self.instead = instead

    def __reduce__(self) -> tuple[type[InvalidValue], tuple[str, object, str, str]]:
        return type(self), (self.name, self.value, self.allowed, self.instead)

    @classmethod
    def unknown(cls, name: str, value: object, known: Iterable[str]) -> InvalidValue:
        """For a name that is none of those known."""
        names = list(known)
        return cls(name, value, ", ".join(names), nearest(value, names))

    @classmethod
    def first_of(cls, found: Sequence[Mapping[str, Any]]) -> InvalidValue:
        """The first mistake that pydantic found (`ValidationError.errors()`), as this package says it."""
        first = found[0]
        mistake = first.get("ctx", {}).get("error")
        if isinstance(mistake, InvalidValue):
            return mistake
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        instead = nearest(first["input"], quoted(allowed)) if first["type"] == "literal_error" else ""
        return cls(".".join(map(str, first["loc"])), first["input"], allowed, instead)


class JavaNotUsable(EmrPipelinesError):
    """No Java that Spark can run on."""


class RequirementsMissing(EmrPipelinesError):
    """A library that a program requires is not installed here, or in another version."""


class SourceError(EmrPipelinesError):
    """Something is wrong with the input text."""


class SourceNotFound(SourceError):
    """A source matches no file."""


class SourceUnreadable(SourceError):
    """A file or bucket is there but cannot be read."""


class SourceChanged(SourceError):
    """A file changed, or was removed, after it was listed and before it was read to its end."""

    retryable = True


class NotText(SourceError):
    """A file's bytes are not text, or a compressed file is damaged."""


class StorageError(EmrPipelinesError):
    """Something is wrong with the place where assets live."""


class StorageUnusable(StorageError):
    """The storage has an address that is not allowed, or cannot be read or written."""


class NotMaterialized(StorageError):
    """An asset that is needed has no published version in this storage."""


class NothingWritten(StorageError):
    """A version without a file that readers see was to be published, so it was not."""


class Superseded(StorageError):
    """A run that began later has published already, so this one's older data was not published."""


class AuditFailed(EmrPipelinesError):
    """What was computed did not pass its checks, so it was not published."""


class CannotTravel(EmrPipelinesError):
    """A program, its parameters or its result cannot be sent to or from a cluster."""


class ProgramExited(EmrPipelinesError):
    """A program ended its process (sys.exit) instead of returning its result."""


class AwsError(EmrPipelinesError):
    """AWS refused a call, or could not be asked. `code` is AWS's own, where it gave one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[AwsError], tuple[str, str]]:
        return type(self), (str(self), self.code)


class CredentialsMissing(AwsError):
    """There are no credentials, or AWS refuses them.

    Credentials that were refused, or could not be renewed, have a `code`: a retry finds others after a login. A
    process that has none, and no code, does not get any by waiting.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, code)
        self.retryable = bool(code)


class AccessDenied(AwsError):
    """The credentials do not allow it."""


class NotFound(AwsError):
    """A bucket, role, cluster or step that is not there."""


class RequestRefused(AwsError):
    """AWS calls the request invalid."""


class QuotaFull(AwsError):
    """A quota of the account, the subnet or the cluster is full: other work has to end, or AWS to raise the quota."""

    retryable = True


class Throttled(AwsError):
    """Too many calls, for longer than is worth waiting."""

    retryable = True


class Unreachable(AwsError):
    """AWS did not answer, or answered that it is ill, for longer than is worth waiting."""

    retryable = True


class Changed(AwsError):
    """An object is not as a conditional write wanted it: somebody else was first."""


class ResponseLost(AwsError):
    """A call that must not be repeated blindly may have taken effect: its answer did not arrive."""

    retryable = True


class RunFailed(EmrPipelinesError):
    """A program on a cluster came to nothing. `facts` are what is known of why: kind, hint, logs."""

    def __init__(self, message: str, retryable: bool = False, facts: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.facts = dict(facts or {})

    def __reduce__(self) -> tuple[type[RunFailed], tuple[str, bool, dict[str, str]]]:
        return type(self), (str(self), self.retryable, self.facts)


class ClusterFailed(RunFailed):
    """The cluster ended, or never came up."""


class StepFailed(RunFailed):
    """The step ended without a result."""


class TimedOut(RunFailed):
    """A deadline passed while the cluster was provisioned, or the step was queued or run."""


def nearest(told: object, known: Iterable[str]) -> str:
    """The known name that resembles this one most, whatever its case; empty if none does."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(told).lower(), by_lower, n=1) if isinstance(told, str) else []
    return by_lower[found[0]] if found else ""


def quoted(text: str) -> list[str]:
    """The names in a text such as pydantic's "'small', 'spot' or 'large'"."""
    return re.findall(r"'([^']*)'", text)


def _short(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[:LONGEST_VALUE]}…"
