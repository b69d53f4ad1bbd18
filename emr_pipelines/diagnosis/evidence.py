"""The evidence of a failure, and its probable cause as shown to a person. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emr_pipelines.aws.quotas import Quota
from emr_pipelines.diagnosis.exception_parser import Log, RemoteException
from emr_pipelines.diagnosis.kinds import MEANINGS, Kind

LONGEST_MESSAGE = 500
LONGEST_LINE = 500  # characters
MAX_LINES = 100


@dataclass(frozen=True)
class Reason:
    """A service's reason for a state: a code, a message, and additional data."""

    code: str
    message: str
    data: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The evidence of a failure, on any service. A backend adds its own in a subclass."""

    exception: RemoteException | None = None
    driver: tuple[Log, ...] = ()  # logs of the driver, and of what submitted it, oldest first
    lost_spot_instances: tuple[str, ...] = ()  # Spot instances that the service took back
    log_uri: str = ""  # where a person should look
    package: str = ""  # the program's package: its frames are the ones to show
    timed_out_phase: str | None = None  # provisioning, queueing or running
    timed_out_seconds: float = 0

    @property
    def after(self) -> str:
        """After how long the deadline passed, in words."""
        seconds = self.timed_out_seconds
        return f"{round(seconds / 60):,} minutes" if seconds >= 120 else f"{round(seconds)} seconds"  # noqa: PLR2004

    @property
    def newest_logs(self) -> tuple[Log, ...]:
        """The driver's logs, newest first."""
        return tuple(reversed(self.driver))

    @property
    def exit_code(self) -> int | None:
        """The last exit code in the logs."""
        codes = (log.exit_code for log in self.newest_logs if log.name != "stdout")
        return next((code for code in codes if code is not None), None)


@dataclass(frozen=True)
class ProbableCause:
    """Why a step failed, for a person and for the decision to retry. `pages` maps names to links with more details."""

    kind: Kind
    message: str
    hint: str = ""
    log_uri: str = ""
    retryable: bool = False
    traceback: str = ""
    last_lines: tuple[str, ...] = ()
    pages: Mapping[str, str] = field(default_factory=dict)
    quota: Quota | None = None  # the one that is full

    def __str__(self) -> str:
        links = {**({"Logs": self.log_uri} if self.log_uri else {}), **self.pages}
        parts = [
            "\n".join(line for line in (self.message, self.hint) if line),
            _ending(self.traceback or "\n".join(self.last_lines)),
            "\n".join(f"{name}: {link}" for name, link in links.items()),
        ]
        return "\n\n".join(part for part in parts if part)


def _ending(text: str) -> str:
    """Return the last lines, each shortened: the text is stored with the run and shown on a page."""
    lines = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..." for line in text.splitlines()]
    kept = lines[-MAX_LINES:]
    return "\n".join(kept if len(kept) == len(lines) else [f"... ({len(lines) - len(kept):,} lines)", *kept])


def caused(kind: Kind, what: str, log_uri: str, traceback: str = "", last_lines: tuple[str, ...] = ()) -> ProbableCause:
    begin, hint, retryable = MEANINGS[kind]
    return ProbableCause(kind, sentence(begin, what), hint, log_uri, retryable, traceback, last_lines)


def sentence(begin: str, end: str) -> str:
    end = " ".join(end.split()).rstrip(";:")
    end = end if len(end) <= LONGEST_MESSAGE else end[:LONGEST_MESSAGE] + "…"
    return f"{begin} {end}" + ("" if end.endswith((".", "!", "?", "…")) else ".")


def output(logs: Sequence[Log], *names: str) -> Log:
    """Return the log whose end is most useful to a person: the driver's own output, else the JVM's."""
    filled = [
        log for name in names or ("stdout", "stderr") for log in reversed(logs) if log.name == name and log.last_lines
    ]
    return filled[0] if filled else Log("", ())
