"""Processes of this machine: started, told to end, and looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from emr_pipelines.emulator import supervise


class Supervised:
    """A command under a supervisor, which ends all its processes when the command ends or the emulator does.

    Its output goes to the files `stdout` and `stderr` of a folder. `over` is called with its exit code.
    """

    def __init__(
        self, argv: list[str], environment: dict[str, str], work: Path, output: Path, over: Callable[[int], None]
    ) -> None:
        self._over = over
        with (output / "stdout").open("ab") as stdout, (output / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 (what the user asked to be run)
                [sys.executable, "-I", "-S", supervise.__file__, *argv],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=work,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._thread = threading.Thread(target=self._wait, name=f"step {self.pid}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def interrupt(self) -> None:
        self.tell("interrupt")

    def kill(self) -> None:
        self.tell("kill")

    def join(self) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join()

    def tell(self, word: str) -> None:
        """Say a word to the supervisor, which may have ended in the meantime."""
        try:
            os.write(self._stdin, f"{word}\n".encode())
        except (BrokenPipeError, ValueError):
            return

    @property
    def _stdin(self) -> int:
        if self._process.stdin is None:
            raise ValueError("no pipe")
        return self._process.stdin.fileno()

    def _wait(self) -> None:
        code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._over(code if code >= 0 else 128 - code)


def written_files(sessions: set[int], prefix: str) -> Iterator[str]:
    """The files whose names begin with `prefix` that processes of these sessions have open for writing."""
    for pid in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if not pid.isdigit():
            continue
        with suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            if os.getsid(int(pid)) in sessions:
                yield from _written_by(pid, prefix)


def _written_by(pid: str, prefix: str) -> Iterator[str]:
    for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
        with suppress(FileNotFoundError):  # closed in the meantime
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 (a name is wanted, quickly)
            if target.startswith(prefix) and _writes(pid, descriptor):
                yield target


def _writes(pid: str, descriptor: str) -> bool:
    flags = re.search(r"^flags:\s*(\d+)", Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(), re.MULTILINE)
    return flags is not None and int(flags.group(1), 8) & (os.O_WRONLY | os.O_RDWR) != 0
