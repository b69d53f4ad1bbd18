"""The live log of a step: reads the Pipes messages that its program writes to S3."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.aws.poll_budget import POLL_BUDGET
from emr_pipelines.clock import Clock, Wakeup
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AwsError

if TYPE_CHECKING:
    from dagster._core.pipes.context import PipesMessageHandler
    from dagster_pipes import PipesContextData, PipesParams

LOOK_SECONDS = 1.0
BEHIND_SECONDS = 60.0  # after a step's end, how long logging the received messages may take
LATE_SECONDS = 5.0  # after a step's end, how long to wait for more messages
LONGEST_EVENT = 8192  # characters of printed text
LINE_END = re.compile(r"[\r\n]+")


@contextmanager
def pipes_session(
    context: dg.AssetExecutionContext, objects: Objects, folder: str, feed: LiveFeed
) -> Iterator[dg.PipesSession]:
    """Open a session of Dagster Pipes.

    Dagster's `open_pipes_session` requires the asset to yield the session's results; an asset that uses a runner does
    not know about Pipes.
    """
    from dagster._core.pipes.context import build_external_execution_context_data

    about = build_external_execution_context_data(context.op_execution_context, extras=None)
    handler = dg.PipesMessageHandler(context, feed)
    injector = ContextOnS3(objects, join(folder, "context.json"))
    with injector.inject_context(about) as found_at, handler.handle_messages() as told_to:
        yield dg.PipesSession(about, handler, found_at, told_to, context)
    if handler.get_reported_results():
        context.log.warning(
            f"The program reported {len(handler.get_reported_results())} materializations or checks by Pipes, which "
            "are not taken over: a program returns what it found, and the asset reports it."
        )


class ContextOnS3(dg.PipesContextInjector):
    """Writes Dagster's context where the program reads it."""

    def __init__(self, objects: Objects, uri: str) -> None:
        self._objects = objects
        self._uri = uri

    @contextmanager
    def inject_context(self, context: PipesContextData) -> Iterator[PipesParams]:
        self._objects.write(self._uri, json.dumps(context).encode())
        yield {"uri": self._uri}

    def no_messages_debug_text(self) -> str:
        return f"The context is in {self._uri}."


class LiveFeed(dg.PipesMessageReader):
    """Passes on the messages in a folder, and logs the printed lines in them.

    wakeup: is set when the program begins or ends, so that the service is polled. exception: what the program raised,
    once its message has arrived.
    """

    def __init__(self, objects: Objects, folder: str, clock: Clock, wakeup: Wakeup, log: Callable[[str], None]) -> None:
        self._objects, self._folder, self._clock, self._wakeup, self._log = objects, folder, clock, wakeup, log
        self._lines: dict[str, str] = {"stdout": "", "stderr": ""}
        self._printed: list[str] = []
        self._given_up = threading.Event()
        self.exception: RemoteException | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        over = threading.Event()
        thread = threading.Thread(target=self._follow, args=(handler, over), name="feed", daemon=True)
        thread.start()
        try:
            yield {"folder": self._folder}
        finally:
            over.set()
            thread.join(LATE_SECONDS + LOOK_SECONDS + BEHIND_SECONDS)
            if thread.is_alive():
                self._given_up.set()
                self._log("Logging what the program printed takes too long; the rest of it is in the step's logs.")

    @property
    def expected_writer_count(self) -> int:  # the base class's warns that it may change
        return 1

    def no_messages_debug_text(self) -> str:
        return f"They would be in {self._folder}; the step's result and its end do not depend on them."

    def _follow(self, handler: PipesMessageHandler, over: threading.Event) -> None:
        number = 1
        until: float | None = None  # set when the step has ended
        try:
            while not (handler.received_closed_message or self._given_up.is_set()):
                chunk = self._read(f"{number}.json")
                if chunk is not None:
                    number += 1
                    self._hand_on(handler, chunk)
                    continue
                if over.is_set():
                    until = until or self._clock.now() + LATE_SECONDS
                    if self._clock.now() >= until:
                        break
                # `over` ends the pause once, and then there is nothing to be woken by
                pause = LOOK_SECONDS if over.is_set() else POLL_BUDGET.look_seconds(LOOK_SECONDS)
                self._clock.pause(pause, None if over.is_set() else over)
        finally:
            self._printed += filter(str.strip, self._lines.values())
            if not self._given_up.is_set():
                self._log_lines()

    def _read(self, name: str) -> bytes | None:
        try:
            return self._objects.read(join(self._folder, name))
        except AwsError:  # it will be there the next time; if not, only the live log misses it
            return None

    def _hand_on(self, handler: PipesMessageHandler, chunk: bytes) -> None:
        for line in chunk.decode(errors="replace").splitlines():
            try:
                message = json.loads(line)
                self._notice(message["method"], message.get("params") or {})
                if message["method"] == "closed":  # the step's failure explains the exception
                    message["params"] = {}
                if message["method"] != "log_external_stream":
                    self._log_lines()  # what was printed before
                handler.handle_message(message)
            except Exception as error:  # noqa: BLE001, PERF203 (a message that cannot be read must not stop the others)
                self._log(f"A message of the program could not be taken in ({error!r}): {line[:200]}")
        self._log_lines()

    def _log_lines(self) -> None:
        """Log the received lines in few events, because each is a write to Dagster's event log and a program may print
        a hundred thousand lines."""
        event: list[str] = []
        size = 0
        for line in self._printed:
            for start in range(0, len(line), LONGEST_EVENT):
                part = line[start : start + LONGEST_EVENT]
                if event and size + len(part) > LONGEST_EVENT:
                    self._log("\n".join(event))
                    event, size = [], 0
                event.append(part)
                size += len(part)
        if event:
            self._log("\n".join(event))
        self._printed.clear()

    def _notice(self, method: str, params: Mapping[str, Any]) -> None:
        if method in ("opened", "closed"):
            self._wakeup.set(ending=method == "closed")
        if method == "closed" and params.get("exception"):
            self.exception = _exception(params["exception"])
        if method == "log_external_stream":
            *lines, rest = LINE_END.split(self._lines[params["stream"]] + params["text"])
            self._lines[params["stream"]] = rest
            self._printed += filter(str.strip, lines)


def _exception(told: Mapping[str, Any]) -> RemoteException:
    cause = told.get("cause")
    return RemoteException(
        name=told.get("name") or "",
        message=told.get("message") or "",
        stack=tuple(told.get("stack") or ()),
        cause=_exception(cause) if cause else None,
    )
