"""Start, stop and inspect processes of this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from emr_emulator import supervise

KILLED = 137  # 128 + SIGKILL, as a shell reports it


class Supervised:
    """A command under a supervisor, which ends all its processes when the command or the emulator ends.

    Its output is appended to the files `stdout` and `stderr` of a folder. `executor_mib` limits the memory of each
    Spark executor with its child processes (default: no limit).
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        work: Path,
        output: Path,
        executor_mib: int | None = None,
    ) -> None:
        with (output / "stdout").open("ab") as stdout, (output / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 (what the user asked to be run)
                [sys.executable, "-I", "-S", supervise.__file__, str(executor_mib or 0), *argv],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=work,
                env=environment,
                start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
            )
        self.pid = self._process.pid
        self._lock = Lock()

    def wait(self) -> int:
        """Wait until all processes have ended; return the command's exit code."""
        code = self._process.wait()
        with self._lock:
            if self._process.stdin is not None:
                self._process.stdin.close()
        if code < 0:  # the supervisor itself was killed: end the rest of its session
            _kill_session(self.pid)
        return code if code >= 0 else 128 - code

    def tell(self, word: str) -> None:
        """Send a command to the supervisor, if it is still running."""
        with self._lock, suppress(BrokenPipeError):
            if self._process.stdin is not None and not self._process.stdin.closed:
                os.write(self._process.stdin.fileno(), f"{word}\n".encode())


def written_files(supervisors: set[int], prefix: str) -> Iterator[str]:
    """Return the files with this prefix that processes under these supervisors have open for writing."""
    for pid in supervise.descendants(supervisors):
        with suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 (names are all that is wanted)
                with suppress(FileNotFoundError):  # closed in the meantime
                    target = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 (a name is wanted, quickly)
                    if target.startswith(prefix) and _writes(pid, descriptor):
                        yield target


def _writes(pid: int, descriptor: str) -> bool:
    flags = re.search(r"^flags:\s*(\d+)", Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(), re.MULTILINE)
    return flags is not None and int(flags.group(1), 8) & (os.O_WRONLY | os.O_RDWR) != 0


def _kill_session(session: int) -> None:
    """Kill all processes of a session. Repeat until none is left, because one may start another meanwhile."""
    killed: set[int] = set()
    while fresh := _living(session) - killed:
        for pid in fresh:
            supervise.kill(pid, signal.SIGKILL)
        killed |= fresh


def _living(session: int) -> set[int]:
    """Return the living processes of a session."""
    found = set()
    for pid in supervise.parents():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == session:
                found.add(pid)
    return found
