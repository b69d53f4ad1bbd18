"""An emulated AWS account whose clock advances only with pauses, and the package's client for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rehearsal import DURATIONS, EmulatedClock

from emr_emulator import Emulator, ManualClock, Scripted
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import ENDED
from emr_pipelines.backends.emr.steps import Steps
from emr_pipelines.errors import AccessDenied
from emr_pipelines.report import BYTES, Work

SCRIPTED = {
    "spark-submit": Scripted(seconds=600),
    "bash": Scripted(seconds=10),
    "fails": Scripted(seconds=10, exit_code=1, stderr="ValueError: no\n"),
    "hour": Scripted(seconds=3600),
    "hangs": Scripted(seconds=1e9),
}
BUCKET = "emr-tests"


class CountedAws(Aws):
    """A client that records its calls."""

    def __init__(self, clock: EmulatedClock) -> None:
        super().__init__(clock=clock)
        self.calls: list[str] = []

    def call(self, service: str, operation: str, /, *args: Any, **request: Any) -> Any:
        self.calls.append(f"{service}.{operation}")
        return super().call(service, operation, *args, **request)


class Account:
    """An emulated AWS account with one bucket."""

    def __init__(self, emulator: Emulator, clock: EmulatedClock) -> None:
        self.emulator, self.clock = emulator, clock
        self.aws = CountedAws(clock)
        self.calls = self.aws.calls
        self.objects = Objects(self.aws)
        self.clusters, self.steps = Clusters(self.aws), Steps(self.aws)
        self.base = f"s3://{BUCKET}/tests"

    def emr_calls(self, operation: str = "") -> int:
        return sum(call.startswith(f"emr.{operation}") for call in self.calls)

    def request(self, name: str = "emr-pipelines/test", **spec: Any) -> dict[str, Any]:
        return ClusterSpec.parse(spec).request(name, f"{self.base}/logs/", {})

    def launch(self, name: str = "emr-pipelines/test", **spec: Any) -> str:
        return self.clusters.launch(self.request(name, **spec))

    def states(self) -> list[str]:
        return [str(cluster.state) for cluster in self.emulator.clusters()]

    def fault(self, fault: str, **members: Any) -> None:
        self.emulator.faults.add([{"fault": fault, **members}])


class Ledger:
    """A reporter that records each piece of work: its size, its progress and its heartbeats."""

    def __init__(self) -> None:
        self.works: dict[str, Entered] = {}

    @contextmanager
    def __call__(self, what: str, *, total: int = 0, unit: str = BYTES, at_most_seconds: float = 0) -> Iterator[Work]:
        assert unit == BYTES
        assert at_most_seconds >= 0
        yield self.works.setdefault(what, Entered(total))

    def done(self) -> dict[str, tuple[int, int]]:
        return {what: (work.done, work.total) for what, work in self.works.items()}


@dataclass
class Entered:
    total: int
    done: int = 0
    looks: int = 0

    def advance(self, amount: int) -> None:
        self.done += amount

    def heartbeat(self, state: str = "") -> None:  # noqa: ARG002 (as all have it)
        self.looks += 1


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account with scripted steps, whose time advances only with pauses."""
    with Emulator(tmp_path / "emulator", clock=ManualClock(), durations=DURATIONS, scripted=SCRIPTED) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        emulator.create_bucket(BUCKET)
        yield Account(emulator, EmulatedClock(emulator))


def ended(account: Account) -> bool:
    """Tell whether all clusters have ended."""
    return all(state in set(map(str, ENDED)) for state in account.states())


def deny(monkeypatch: pytest.MonkeyPatch, cluster_id: str) -> None:
    """Deny calls about this cluster, as IAM would; the emulator has no IAM."""
    attempt = Aws._attempt

    def denied(
        self: Aws, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        if request.get("ClusterId") == cluster_id:
            raise AccessDenied("You are not authorized to perform this.", "AccessDeniedException")
        return attempt(self, service, operation, positional, once, request)

    monkeypatch.setattr(Aws, "_attempt", denied)
