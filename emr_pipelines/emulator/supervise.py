"""Runs one command and ends everything it started: when it ends, when told to, and when the emulator is gone.

    python -I -S supervise.py COMMAND [ARGUMENT ...]

The caller starts this in a new session; every process of that session is the command's. Lines on standard input:
`interrupt` asks the command to end (SIGTERM), `kill` ends all (SIGKILL), `kill NAME` those whose command line has NAME.
When standard input ends, all is killed. The exit code is the command's, or 128 and the number of its signal.
"""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 3.0
LOOK_SECONDS = 0.05


def others() -> "list[int]":
    """The processes of this session but this one."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if name.isdigit() and int(name) != os.getpid():
            with suppress(ProcessLookupError, FileNotFoundError):
                if os.getsid(int(name)) == os.getpid() and not is_zombie(name):
                    found.append(int(name))
    return found


def is_zombie(pid: str) -> bool:
    """A dead process that its parent has yet to ask for."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def send(number: int, name: str = "") -> None:
    for pid in others():
        with suppress(ProcessLookupError, FileNotFoundError):
            if name in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                os.kill(pid, number)


def end_all(grace_seconds: float) -> None:
    """End every process of the session, kindly at first if there is time."""
    until = time.monotonic() + grace_seconds
    if grace_seconds and others():
        send(signal.SIGTERM)
    while others():
        if time.monotonic() >= until:
            send(signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def main() -> int:
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603 (the user's own program)
    ended = os.pidfd_open(command.pid)
    told = b""
    while command.poll() is None:
        ready, _, _ = select.select([0, ended], [], [])
        if 0 not in ready:
            continue
        some = os.read(0, 4096)
        if not some:
            end_all(0)
            break
        *lines, told = (told + some).split(b"\n")
        for line in lines:
            word, _, name = line.decode().partition(" ")
            send(signal.SIGTERM if word == "interrupt" else signal.SIGKILL, name)
    end_all(GRACE_SECONDS)
    code = command.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
