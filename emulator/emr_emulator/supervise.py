"""Run one command, and end everything it started when it ends, when told to, and when the emulator is gone.

    python -I -S supervise.py MIB COMMAND [ARGUMENT ...]

MIB limits the memory of each Spark executor and its child processes (0: no limit); one that exceeds it is killed, as
YARN kills its container. Lines on standard input: `interrupt` sends SIGTERM to the command and all its descendants,
`kill` sends SIGKILL, `kill NAME` kills one process whose command line contains NAME. At the end of standard input,
everything is killed. The exit code is the command's, or 128 plus the number of its signal.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 3.0
GIVE_UP_SECONDS = 10.0  # of processes that may not be killed
LOOK_SECONDS = 0.05
MEMORY_SECONDS = 0.5  # between checks of the executors' memory; YARN checks every 3
GIB = 1 << 30
EXECUTOR_CLASS = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans among the descendants become children of this process, not of init


def parents() -> "dict[int, int]":
    """Return the parent of every living process."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if name.isdigit():
            with suppress(ProcessLookupError, FileNotFoundError):
                # pid (name, which may contain anything) state parent ...
                state, parent = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[:2]
                if state != b"Z":
                    found[int(name)] = int(parent)
    return found


def descendants(of: "set[int]", among: "dict[int, int] | None" = None) -> "list[int]":
    """Return the living descendants of these processes."""
    among = parents() if among is None else among
    found = set(of)
    while more := {pid for pid, parent in among.items() if parent in found and pid not in found}:
        found |= more
    return sorted(found - of)


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # another user's, started with sudo: cannot be ended
        os.kill(pid, number)


def send(number: int) -> None:
    for pid in descendants({os.getpid()}):
        kill(pid, number)


def words_of(pid: int) -> "list[str]":
    """Return a process's command line."""
    with suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def kill_one(name: str) -> None:
    for pid in descendants({os.getpid()}):
        if name in "\0".join(words_of(pid)):
            kill(pid, signal.SIGKILL)
            return


def resident_bytes(pid: int) -> int:
    with suppress(ProcessLookupError, FileNotFoundError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def enforce(limit_bytes: int) -> None:
    """Kill each executor whose processes use more memory than this, with YARN's message.

    Like YARN, add up the resident memory of an executor's processes, shared pages included.
    """
    among = parents()
    for pid in descendants({os.getpid()}, among):
        words = words_of(pid)
        if EXECUTOR_CLASS not in words:
            continue
        family = [pid, *descendants({pid}, among)]
        used = sum(map(resident_bytes, family))
        if used > limit_bytes:
            for member in reversed(family):
                kill(member, signal.SIGKILL)
            number = words[words.index("--executor-id") + 1] if "--executor-id" in words else "?"
            had, allowed = f"{used / GIB:.1f}", f"{limit_bytes / GIB:.1f}"
            print(
                f"{time.strftime('%y/%m/%d %H:%M:%S')} ERROR YarnScheduler: Lost executor {number}: Container killed "
                f"by YARN for exceeding physical memory limits. {had} GB of {allowed} GB physical memory used. "
                "Consider boosting spark.executor.memoryOverhead.",
                file=sys.stderr,
                flush=True,
            )


def end_all(grace_seconds: float) -> None:
    """End every descendant, first with SIGTERM if there is time."""
    until = time.monotonic() + grace_seconds
    if grace_seconds and descendants({os.getpid()}):
        send(signal.SIGTERM)
    while descendants({os.getpid()}):
        if time.monotonic() >= until + GIVE_UP_SECONDS:
            return
        if time.monotonic() >= until:
            send(signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def heed_signals() -> None:
    """Restore default signal handlers: background jobs of a script ignore SIGINT, and Dagster then SIGTERM too."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def main() -> int:
    limit_bytes = int(sys.argv[1]) << 20
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # the user's own program; preexec_fn is safe because this process has no threads
    command = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, preexec_fn=heed_signals)  # noqa: S603, PLW1509
    ended = os.pidfd_open(command.pid)
    told = b""
    while command.poll() is None:
        ready, _, _ = select.select([0, ended], [], [], MEMORY_SECONDS if limit_bytes else None)
        if limit_bytes:
            enforce(limit_bytes)
        if 0 not in ready:
            continue
        some = os.read(0, 4096)
        if not some:
            end_all(0)
            break
        *lines, told = (told + some).split(b"\n")
        for line in lines:
            word, _, name = line.decode().partition(" ")
            if name:
                kill_one(name)
            else:
                send(signal.SIGTERM if word == "interrupt" else signal.SIGKILL)
    end_all(GRACE_SECONDS)
    code = command.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
