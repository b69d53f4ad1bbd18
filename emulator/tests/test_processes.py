"""A supervised command leaves no process behind."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from rehearsal import HUNG_SECONDS, until

from emr_emulator import supervise
from emr_emulator.processes import Supervised

CHILD = "sleep 1000 & echo started; "


class Watched:
    def __init__(self, folder: Path, script: str) -> None:
        self.code: queue.Queue[int] = queue.Queue()
        self.folder = folder
        (folder / "script").write_text(script)
        self.process = Supervised(["bash", "script"], dict(os.environ), folder, folder)
        threading.Thread(target=lambda: self.code.put(self.process.wait()), daemon=True).start()

    def started(self) -> None:
        until(lambda: "started" in (self.folder / "stdout").read_text())

    def left(self) -> list[int]:
        return processes_of(self.process.pid)


def processes_of(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, ProcessLookupError, FileNotFoundError):
            if os.getsid(int(entry.name)) == session and " Z " not in (entry / "stat").read_text(errors="replace"):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_exit_codes(tmp_path: Path, script: str, code: int) -> None:
    watched = Watched(tmp_path, f"echo out; echo err >&2; {script}")
    assert watched.code.get(timeout=HUNG_SECONDS) == code
    assert ((tmp_path / "stdout").read_text(), (tmp_path / "stderr").read_text()) == ("out\n", "err\n")
    assert watched.left() == []


def test_what_a_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    watched = Watched(tmp_path, CHILD + "(trap '' TERM; sleep 1000) & exit 0")
    assert watched.code.get(timeout=HUNG_SECONDS) == 0
    assert watched.left() == []


def test_interrupt_asks(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "trap 'exit 5' TERM; " + CHILD + "wait")
    watched.started()
    watched.process.tell("interrupt")
    assert watched.code.get(timeout=HUNG_SECONDS) == 5
    assert watched.left() == []


IGNORES_AND_STARTS = """
import signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
command = [sys.executable, "-I", "-S", sys.argv[1], "0", "grep", "SigIgn", "/proc/self/status"]
sys.exit(subprocess.Popen(command, stdin=subprocess.PIPE).wait())
"""


def test_a_command_heeds_signals_that_its_starter_ignores() -> None:
    command = [sys.executable, "-c", IGNORES_AND_STARTS, supervise.__file__]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HUNG_SECONDS).stdout
    ignored = int(said.split()[1], 16)
    assert not ignored & (1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1)


def test_kill_does_not_ask(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "trap 'echo asked' TERM; " + CHILD + "wait; while true; do sleep 1000; done")
    watched.started()
    watched.process.tell("interrupt")
    until(lambda: "asked" in (tmp_path / "stdout").read_text())
    assert watched.code.empty()
    watched.process.tell("kill")
    assert watched.code.get(timeout=HUNG_SECONDS) == 137
    assert watched.left() == []
    watched.process.tell("kill")  # killing it again is allowed


def descendants(watched: Watched) -> list[int]:
    return supervise.descendants({watched.process.pid})


def test_a_daemon_is_ended_too(tmp_path: Path) -> None:
    """It has its own session, and its parent has ended."""
    (tmp_path / "ääääääääää").symlink_to("/bin/sleep")  # a name that the kernel truncates within a character
    watched = Watched(tmp_path, "(setsid ./ääääääääää 1000 &); echo started; sleep 1000")
    watched.started()
    (daemon,) = until(lambda: [pid for pid in descendants(watched) if os.getsid(pid) == pid])
    watched.process.tell("kill")
    assert watched.code.get(timeout=HUNG_SECONDS) == 137
    assert not Path(f"/proc/{daemon}").exists() or " Z " in Path(f"/proc/{daemon}/stat").read_text(errors="replace")


@pytest.mark.parametrize("then", ["sleep 1000", "for each in {1..300}; do sleep 1000 & done; wait"])
def test_a_command_that_kills_its_supervisor(tmp_path: Path, then: str) -> None:
    """It may start processes while its earlier ones are being killed."""
    watched = Watched(tmp_path, f"sleep 1000 & kill -9 $PPID; {then}")
    assert watched.code.get(timeout=HUNG_SECONDS) == 137
    until(lambda: not watched.left())


def test_one_of_its_processes_is_killed_by_name(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "sleep 987 & sleep 987 & wait -n; code=$?; jobs -r | grep -c sleep; exit $code")

    def sleepers() -> list[int]:
        return [pid for pid in descendants(watched) if "987" in Path(f"/proc/{pid}/cmdline").read_text()]

    until(lambda: len(sleepers()) == 2)
    watched.process.tell("kill 987")
    assert watched.code.get(timeout=HUNG_SECONDS) == 137
    assert (tmp_path / "stdout").read_text() == "1\n"  # the other still ran


STARTS_AND_WAITS = """
import subprocess, sys
command = [sys.executable, "-I", "-S", sys.argv[1], "0", "bash", "-c", "sleep 1000 & echo started; wait"]
process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
print(process.pid, flush=True)
process.wait()
"""


def test_all_ends_when_the_one_who_started_it_is_killed() -> None:
    """The supervisor's standard input ends with its parent."""
    command = [sys.executable, "-c", STARTS_AND_WAITS, supervise.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        said = {parent.stdout.readline(), parent.stdout.readline()} - {"started\n"}
        (supervisor,) = (int(line) for line in said)
        assert len(processes_of(supervisor)) == 3
        parent.send_signal(signal.SIGKILL)
        until(lambda: not processes_of(supervisor))


def test_output_larger_than_a_pipe_does_not_block(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "head -c 3000000 /dev/zero")
    assert watched.code.get(timeout=HUNG_SECONDS) == 0
    assert (tmp_path / "stdout").stat().st_size == 3_000_000


TAKES_100_MB = f"{sys.executable} -S -c 'x = bytearray([1]) * (100 << 20); input()'"
EXECUTOR = f"exec -a {supervise.EXECUTOR_CLASS}"


@pytest.mark.parametrize(
    ("started", "limit_mib", "code"),
    [
        (f"{EXECUTOR} {TAKES_100_MB}", 60, 137),
        (f'{EXECUTOR} bash -c "{TAKES_100_MB}; exit 1"', 60, 137),  # child processes count, like Python workers
        pytest.param(f"{EXECUTOR} {TAKES_100_MB} < <(sleep 2)", 1000, 1, marks=pytest.mark.extended),
        (f"{TAKES_100_MB} < <(sleep 2)", 60, 1),  # not an executor
        pytest.param(f"{EXECUTOR} {TAKES_100_MB} < <(sleep 2)", None, 1, marks=pytest.mark.extended),
    ],
)
def test_an_executor_has_no_more_memory_than_its_container(
    tmp_path: Path, started: str, limit_mib: int | None, code: int
) -> None:
    """Exit code 137 if it is killed, 1 if its input ends."""
    script = f"mkfifo open; sleep 1000 > open & ({started}) < open & wait $!; exit $?"
    process = Supervised(["bash", "-c", script], dict(os.environ), tmp_path, tmp_path, limit_mib)
    assert process.wait() == code
    said = (tmp_path / "stderr").read_text()
    assert ("exceeding physical memory limits. 0.1 GB of 0.1 GB physical memory used." in said) == (code == 137)
