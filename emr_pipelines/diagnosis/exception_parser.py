"""Find exceptions in a log (Python's, the JVM's, spark-submit's) or in a reported exception. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.diagnosis.known_errors import KINDS_BY_ERROR, SYMPTOMS, SYMPTOMS_SAID

LAST_LINES = 20  # of a log, for a person to read; and of a message, which may have many
EXIT_CODE = re.compile(
    r".*(?:ended with exit code|exited with status) (-?\d+)"
)  # in a controller's log, and in YARN's messages

TRACEBACK = "Traceback (most recent call last):"
DIRECT_CAUSE = "The above exception was the direct cause of the following exception:"
MEANWHILE = "During handling of the above exception, another exception occurred:"
ERROR = r"(?P<name>[A-Za-z_][\w.$<>]*)(?:: ?(?P<message>.*))?"
PYTHON_ERROR = re.compile(ERROR)
SYNTAX_ERROR = re.compile(r"(SyntaxError|IndentationError|TabError): ")  # raised by the main file, without a traceback
LOGGED = re.compile(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d |\d{4}-\d\d-\d\d[T ]\d\d:\d\d")  # a line of a logger
JAVA_FRAME = re.compile(r"\tat |\t\.\.\. \d+ |(Driver|JVM) stacktrace:")
JAVA_ERROR = re.compile(rf"(?:: |Caused by: ){ERROR}")
CARRIER = re.compile(r"py4j\..*|pyspark\..*")  # the Python exceptions that stand for an error in the JVM
IN_MAIN = re.compile(rf'(?:Exception in thread "main"|.*ERROR ApplicationMaster: Uncaught exception:) {ERROR}')
FAILED_ELSEWHERE = re.compile(r"Application application_\d+_\d+ finished with failed status")
BEFORE_MAIN = re.compile(r"\tat org\.apache\.spark\.(launcher|deploy\.SparkSubmitArguments)\b|\tat .*prepareSubmitEnv")
USAGE = re.compile(
    r"Error: (?P<said>(?:Unrecognized option|Missing |Failed to load|Cannot load|Invalid |Could not |No main class).*)"
    r"|\S*python[\d.]*: (?P<file>can't open file .*)"
)
# Ivy: spark.jars.packages that were not found, and why a repository did not answer
UNRESOLVED = re.compile(r"\[(?:unresolved dependency|download failed): ")
UNREACHED = re.compile(r"\s*(Server access error at url .*|Host \S+ not found\. url=.*)")
LAST_RESORT = tuple(  # if nothing else explains the failure: an error's name, and the line in the JVM's log
    (name, re.compile(pattern))
    for name, pattern in (
        ("OutOfMemoryError", r'(?:Exception in thread "[^"]*" |# ?)?java\.lang\.OutOfMemoryError(?:: (.*))?'),
        ("SparkException", r".*(Job aborted due to stage failure: .*)"),
        ("Container", r".*(AM Container for .*|Container \[pid=.*|Container killed by YARN .*)"),
    )
)


@dataclass(frozen=True)
class RemoteException:
    """The exception of a program, from the `closed` message of Dagster Pipes."""

    name: str
    message: str
    stack: tuple[str, ...] = ()
    cause: RemoteException | None = None


@dataclass(frozen=True)
class Log:
    """The last lines of a log. Its URI tells its name (`stdout`, `stderr`, `controller`)."""

    uri: str
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        return re.split(r"\W", posixpath.basename(self.uri))[0]

    @property
    def exit_code(self) -> int | None:
        """The last exit code in the log, if any."""
        for line in reversed(self.lines):
            if found := EXIT_CODE.match(line):
                return int(found.group(1))
        return None

    @property
    def last_lines(self) -> tuple[str, ...]:
        return tuple(line for line in self.lines if line.strip())[-LAST_LINES:]


class Error(NamedTuple):
    """An error's class, without its package, and the first line of its message."""

    name: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)

    @property
    def kind(self) -> Kind | None:
        """The kind of failure that the error shows, if it is known."""
        for kind, name, message in KINDS_BY_ERROR:
            if name.fullmatch(self.name) and message.search(self.message):
                return kind
        return None


@dataclass(frozen=True)
class Raised:
    """What was raised: the errors, each caused by the next, and the text for a person."""

    errors: tuple[Error, ...]
    text: str
    uri: str
    last_word: bool = True  # nothing was printed after it
    kind: Kind | None = None  # if it is more specific than the errors

    @property
    def verdict(self) -> tuple[Kind, Error]:
        """The innermost error of a known kind; else the outermost one, as an exception of the program."""
        known = [(self.kind or kind, error) for error in reversed(self.errors) if (kind := error.kind)]
        return known[0] if known else (self.kind or Kind.USER_EXCEPTION, self.errors[0])

    @property
    def symptom(self) -> bool:
        return any(SYMPTOMS.fullmatch(error.name) or SYMPTOMS_SAID.search(error.message) for error in self.errors)


def _error(found: re.Match[str]) -> Error:
    return Error(re.split(r"[.$]", found["name"])[-1], (found["message"] or "").strip())


def _said_below(error: Error, lines: Sequence[str]) -> Error:
    """Return an error with the first line of its message, if that begins a line below, as Spark's parser has it."""
    said = next((line.strip() for line in lines if line.strip()), "")
    return error if error.message or not said.startswith("[") else Error(error.name, said)


def last_raised(log: Log) -> Raised | None:
    """Return the last Python traceback of a log; for an error in a Python worker, the worker's own.

    Its direct causes belong to it. An exception that was being handled is shown, but is not a cause.
    """
    lines = log.lines
    starts = [number for number, line in enumerate(lines) if line.rstrip().endswith(TRACEBACK)] or _syntax_error(lines)
    place = _error_after(lines, starts[-1]) if starts else None
    if place is None:
        return None
    first, (end, indent, error) = starts.pop(), place
    errors, link = [error], DIRECT_CAUSE
    while starts and (before := _before(lines, first)) in (DIRECT_CAUSE, MEANWHILE):
        first = starts.pop()
        link = MEANWHILE if MEANWHILE in (link, before) else DIRECT_CAUSE
        if link == DIRECT_CAUSE and (cause := _error_after(lines, first)):
            errors.append(cause[2])

    tail = tuple(takewhile(lambda line: not LOGGED.match(line), lines[end + 1 :]))
    of_java, said = _java(lines[end][indent:], tail)
    errors = [*of_java, *errors]
    start = TRACEBACK if lines[first].rstrip().endswith(TRACEBACK) else lines[first]
    shown = [start, *(line[indent:] for line in (*lines[first + 1 : end + 1], *said))]
    after = [line for line in lines[end + 1 :] if line and not (LOGGED.match(line) or JAVA_FRAME.match(line))]
    return Raised(
        tuple(errors),
        "\n".join(line for line in shown if not JAVA_FRAME.match(line)).rstrip(),
        log.uri,
        last_word=len(after) <= LAST_LINES,
    )


def _java(line: str, tail: Sequence[str]) -> tuple[list[Error], list[str]]:
    """Return the JVM's errors in the lines after a Python error, innermost first, and those lines to show."""
    if not CARRIER.match(line):
        return [], list(takewhile(lambda line: not JAVA_FRAME.match(line), tail))[:LAST_LINES]
    errors = [_error(found) for line in tail if (found := JAVA_ERROR.fullmatch(line))]
    return errors[::-1], [line for line in tail if not JAVA_FRAME.match(line)][:LAST_LINES]


def _error_after(lines: Sequence[str], start: int) -> tuple[int, int, Error] | None:
    """Return the line of a traceback's error, the traceback's indentation, and the error."""
    before = lines[start].rstrip().removesuffix(TRACEBACK)
    indent = 0 if before.strip(" |+-") else len(before)
    for number in range(start + 1, len(lines)):
        line = lines[number][indent:]
        if line.strip() and not line[0].isspace() and not LOGGED.match(line):
            found = PYTHON_ERROR.fullmatch(line)
            return (number, indent, _said_below(_error(found), lines[number + 1 :])) if found else None
    return None


def _before(lines: Sequence[str], number: int) -> str:
    """Return the last line before a position that is not empty, without indentation."""
    return next((line.strip(" |") for line in reversed(lines[:number]) if line.strip(" |")), "")


def _syntax_error(lines: Sequence[str]) -> list[int]:
    """Return where Python's report of a syntax error in the main file begins; it has no traceback."""
    return [
        number
        for number, line in enumerate(lines)
        if line.startswith('  File "') and any(SYNTAX_ERROR.match(after) for after in lines[number + 1 : number + 4])
    ]


def unusable(log: Log) -> Raised | None:
    """Return the message of spark-submit (in stderr) or Python (in stdout) if it could not start the program."""
    for line in log.lines if log.name in ("stdout", "stderr") else ():
        found = USAGE.match(line)
        if found and (found["file"] is not None) == (log.name == "stdout"):
            said = Error("", found["said"] or found["file"])
            return Raised((said,), "", log.uri, kind=Kind.SPARK_SUBMIT_USAGE)
    return None


def last_fatal(log: Log) -> Raised | None:
    """Return the error that ended the JVM, or the last job that Spark aborted, from the JVM's log."""
    lines = log.lines
    mains = [number for number, line in enumerate(lines) if IN_MAIN.match(line) and not FAILED_ELSEWHERE.search(line)]
    if mains:
        return _in_main(log, mains[-1])
    for line in reversed(lines):
        for name, pattern in LAST_RESORT:
            if (found := pattern.fullmatch(line)) and (error := Error(name, found[1] or "")).kind:
                return Raised((error,), "", log.uri)
    return last_raised(log) if any("Job aborted due to stage failure" in line for line in lines) else None


def _in_main(log: Log, number: int) -> Raised:
    """Return an error that left Java's main method, with its causes."""
    lines = log.lines[number:]
    block = [lines[0], *takewhile(lambda line: JAVA_FRAME.match(line) or JAVA_ERROR.match(line), lines[1:])]
    shown = [line for line in block if not JAVA_FRAME.match(line)]
    errors = [_error(found) for line in shown if (found := IN_MAIN.fullmatch(line) or JAVA_ERROR.fullmatch(line))]
    if UNRESOLVED.match(errors[0].message):
        return _unresolved(log, number, errors[0].message)
    raised = Raised(tuple(errors), "\n".join(shown), log.uri)
    if raised.verdict[0] in (Kind.USER_EXCEPTION, Kind.INPUT_MISSING) and any(map(BEFORE_MAIN.match, block)):
        return replace(raised, kind=Kind.SPARK_SUBMIT_USAGE)  # what is missing is the program
    return raised


def _unresolved(log: Log, number: int, message: str) -> Raised:
    """Return Ivy's error for missing packages; a network error if a repository did not answer."""
    unreached = next((found[1] for line in log.lines[:number] if (found := UNREACHED.fullmatch(line))), "")
    said = f"{unreached.strip()} {message}" if unreached else message
    kind = Kind.NETWORK if unreached else Kind.PACKAGE_MISSING
    return Raised((Error("", said),), log.lines[number], log.uri, kind=kind)


def raised_remotely(exception: RemoteException) -> Raised:
    """Return what a program raised, with its causes, from the exception that the program reported."""
    raised = _reported(exception)
    if exception.cause is None:
        return raised
    cause = raised_remotely(exception.cause)
    return Raised((*raised.errors, *cause.errors), "\n".join((cause.text, "", DIRECT_CAUSE, "", raised.text)), "")


def _reported(exception: RemoteException) -> Raised:
    """Return one exception without its causes. If Spark's message quotes a Python worker's traceback, that counts."""
    lines = exception.message.rstrip().split("\n")
    if TRACEBACK in exception.message and (quoted := last_raised(Log("", tuple(lines)))):
        return quoted
    named = [number for number, line in enumerate(lines) if exception.name and _error_name(line) == exception.name]
    place = next(iter(named), None)
    if place is None:  # a message without the name
        place, message = 0, lines[0]
        lines[0] = f"{exception.name}: {message}".removeprefix(": ")
    else:
        _, _, message = lines[place].partition(": ")
    of_java, said = _java(lines[place], lines[place + 1 :])
    frames = "".join(frame if frame.endswith("\n") else f"{frame}\n" for frame in exception.stack).splitlines()
    text = "\n".join([TRACEBACK, *frames, *lines[: place + 1], *said]).rstrip()
    error = _said_below(Error(exception.name, message.strip()), lines[place + 1 :])
    return Raised((*of_java, error), text, "")


def _error_name(line: str) -> str:
    found = PYTHON_ERROR.fullmatch(line)
    return _error(found).name if found else ""
