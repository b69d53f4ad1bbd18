"""Every error that this package raises on purpose, as one tree (the emulator has its own).

    EmrPipelinesError
    ├── InvalidValue           a parameter or setting has a value that is not allowed
    ├── InvalidEnvironment     the same of an environment variable, when definitions load (in runners/target.py)
    ├── JavaNotUsable          no Java that Spark can run on
    ├── RequirementsMissing    a library that a program requires is not installed here, or in another version
    ├── SourceError            a problem with the input text
    │   ├── SourceNotFound     a source matches no file
    │   ├── SourceUnreadable   the file or bucket exists but cannot be read
    │   ├── SourceChanged      a file changed while it was read                  (a retry may help)
    │   └── NotText            the bytes are not text, or a compressed file is damaged
    ├── StorageError           a problem with the storage of assets
    │   ├── StorageUnusable    an address that is not allowed, or it cannot be read or written
    │   ├── NotMaterialized    an asset that is needed has no published version
    │   ├── NothingWritten     a version without a file must not be published
    │   └── Superseded         a run that began later has published already
    ├── AuditFailed            what was computed did not pass its checks, so it was not published
    ├── PackagingError           a program, its parameters or its result cannot be sent to or from a cluster
    ├── ProgramExited          a program ended its process instead of returning a result
    ├── AwsError               AWS refused a call, or could not be asked
    │   ├── CredentialsMissing no credentials, or AWS refuses them               (a retry may help, if refused)
    │   ├── AccessDenied       the credentials do not allow it
    │   ├── NotFound           a bucket, role, cluster or step does not exist
    │   ├── RequestRefused     AWS rejects the request as invalid
    │   ├── QuotaFull          a quota of the account or cluster is full for now (a retry may help)
    │   ├── Throttled          AWS kept throttling calls for too long            (a retry may help)
    │   ├── Unreachable        AWS did not answer, or had an internal error      (a retry may help)
    │   ├── PreconditionFailed the condition of a conditional write was not met
    │   └── ResponseLost       a call that must not be repeated blindly may have taken effect
    └── RunFailed              a program on a cluster failed; `retryable` says whether a retry may help
        ├── ClusterFailed      the cluster ended, or never started
        ├── StepFailed         the step ended without a result
        └── TimedOut           a deadline passed while it was provisioned, queued or run

Each message is a sentence or two that name the value and say what is allowed or what to do. `retryable` says whether a
retry may succeed; it is false for mistakes that a person has to fix.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_VALUE = 1000  # characters of a value in a sentence


class EmrPipelinesError(Exception):
    """The base class of every error that this package raises on purpose. retryable: whether a retry may help."""

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
        """Return the error for an unknown name."""
        names = list(known)
        return cls(name, value, ", ".join(names), nearest(value, names))

    @classmethod
    def first_of(cls, found: Sequence[Mapping[str, Any]]) -> InvalidValue:
        """Return the error for pydantic's first mistake (`ValidationError.errors()`)."""
        first = found[0]
        mistake = first.get("ctx", {}).get("error")
        if isinstance(mistake, InvalidValue):
            return mistake
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        instead = nearest(first["input"], quoted(allowed)) if first["type"] == "literal_error" else ""
        return cls(".".join(map(str, first["loc"])), first["input"], allowed, instead)


class JavaNotUsable(EmrPipelinesError):
    """No Java that Spark can run on."""


class SparkNotUsable(EmrPipelinesError):
    """The installed pyspark cannot run with this Python."""


class RequirementsMissing(EmrPipelinesError):
    """A library that a program requires is not installed here, or in another version."""


class SourceError(EmrPipelinesError):
    """There is a problem with the input text."""


class SourceNotFound(SourceError):
    """A source matches no file."""


class SourceUnreadable(SourceError):
    """A file or bucket exists but cannot be read."""


class SourceChanged(SourceError):
    """A file changed, or was removed, after it was listed and before it was read to its end."""

    retryable = True


class NotText(SourceError):
    """A file's bytes are not text, or a compressed file is damaged."""


class StorageError(EmrPipelinesError):
    """There is a problem with the storage of assets."""


class StorageUnusable(StorageError):
    """The storage has an address that is not allowed, or cannot be read or written."""


class NotMaterialized(StorageError):
    """An asset that is needed has no published version in this storage."""


class NothingWritten(StorageError):
    """A version was not published because it contains no visible file."""


class Superseded(StorageError):
    """A run that began later has published already, so this one's older data was not published."""


class AuditFailed(EmrPipelinesError):
    """What was computed did not pass its checks, so it was not published."""


class PackagingError(EmrPipelinesError):
    """A program, its parameters or its result cannot be sent to or from a cluster."""


class ProgramExited(EmrPipelinesError):
    """A program ended its process (sys.exit) instead of returning its result."""


class AwsError(EmrPipelinesError):
    """AWS refused a call, or could not be reached. `code` is AWS's error code, if there is one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[AwsError], tuple[str, str]]:
        return type(self), (str(self), self.code)


class CredentialsMissing(AwsError):
    """There are no credentials, or AWS refuses them.

    `code` is set for credentials that were refused or could not be renewed: after a login, a retry finds new ones. It
    is empty if the process has no credentials, which a retry does not change.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message, code)
        self.retryable = bool(code)


class AccessDenied(AwsError):
    """The credentials do not allow it."""


class NotFound(AwsError):
    """A bucket, role, cluster or step does not exist."""


class RequestRefused(AwsError):
    """AWS rejects the request as invalid."""


class QuotaFull(AwsError):
    """A quota of the account, the subnet or the cluster is full, until other work ends or AWS raises it."""

    retryable = True


class Throttled(AwsError):
    """AWS kept throttling calls for too long."""

    retryable = True


class Unreachable(AwsError):
    """AWS did not answer, or had an internal error, for too long."""

    retryable = True


class PreconditionFailed(AwsError):
    """The condition of a conditional write was not met: another writer was first."""


class ResponseLost(AwsError):
    """A call that must not be repeated blindly may have taken effect: its response was lost."""

    retryable = True


class RunFailed(EmrPipelinesError):
    """A program on a cluster failed. `facts` describe the cause: kind, hint, logs."""

    def __init__(self, message: str, retryable: bool = False, facts: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.facts = dict(facts or {})

    def __reduce__(self) -> tuple[type[RunFailed], tuple[str, bool, dict[str, str]]]:
        return type(self), (str(self), self.retryable, self.facts)


class ClusterFailed(RunFailed):
    """The cluster ended, or never started."""


class StepFailed(RunFailed):
    """The step ended without a result."""


class TimedOut(RunFailed):
    """A deadline passed while the cluster was provisioned, or the step was queued or run."""


def nearest(told: object, known: Iterable[str]) -> str:
    """Return the most similar known name, ignoring case; empty if none is similar."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(told).lower(), by_lower, n=1) if isinstance(told, str) else []
    return by_lower[found[0]] if found else ""


def quoted(text: str) -> list[str]:
    """Return the quoted names in a text such as pydantic's "'small', 'spot' or 'large'"."""
    return re.findall(r"'([^']*)'", text)


def _short(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[:LONGEST_VALUE]}…"
