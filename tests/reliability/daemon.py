"""A real `dagster-daemon`, which is killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg

from tests.reliability.account import Account
from tests.reliability.pipeline import WANTED

LONG_SECONDS = 300.0  # a longer wait counts as a hang
HOUSE = Path(__file__).resolve().parents[2]


class Hung(Exception):
    """Something did not end in time."""


class Daemon:
    """Runs the daemon while it is needed; `pid` is its process."""

    def __init__(self, root: Path, home: Path, account: Account) -> None:
        self._root, self._home, self._account = root, home, account
        self._wanted = root / "wanted"
        self._wanted.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        environment = {
            **os.environ, **self._account.environment, WANTED: str(self._wanted), "DAGSTER_HOME": str(self._home),
            "PYTHONPATH": str(HOUSE),
        }  # fmt: skip
        command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-m", "tests.reliability.pipeline"]
        with (self._root / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self._root, stdout=log, stderr=log, start_new_session=True
            )
        self._groups.append(self._process)

    def ask_for_run(self, instance: dg.DagsterInstance, key: str, config: dict[str, Any]) -> str:
        """Start the daemon, and return the id of the run that its sensor requests. Raises Hung."""
        self.start()
        (self._wanted / f"{key}.json").write_text(json.dumps({"config": config, "tags": {"wanted": key}}))
        pause, end = threading.Event(), time.monotonic() + LONG_SECONDS
        while not (found := instance.get_runs(dg.RunsFilter(tags={"wanted": key}), limit=1)):
            if self._process is not None and self._process.poll() is not None:
                self.start()  # it was killed before the request
            if time.monotonic() > end:
                raise Hung("the daemon asked for no run")
            pause.wait(0.1)
        return found[0].run_id

    def await_run(self, instance: dg.DagsterInstance, run_id: str) -> None:
        """Until the run has ended; the daemon is started again when it is killed meanwhile. Then all is ended. Raises
        Hung."""
        pause, end = threading.Event(), time.monotonic() + LONG_SECONDS
        while (run := instance.get_run_by_id(run_id)) is not None and not run.is_finished:
            if time.monotonic() > end:
                raise Hung(f"a run of the daemon did not end; it is {run.status.value}")
            if self._process is not None and self._process.poll() is not None:
                self.start()
            pause.wait(0.1)
        self.stop()

    def stop(self) -> None:
        """Stop the daemons and their children."""
        for process in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._groups.clear()
        self._process = None
        for file in self._wanted.iterdir():
            file.unlink()
