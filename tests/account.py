"""An emulator whose clock stands still until somebody pauses, and AWS as the package sees it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emr_emulator import Emulator, ManualClock, Scripted
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.states import ENDED
from emr_pipelines.backends.emr.steps import Steps
from emr_pipelines.errors import AccessDenied
from emr_pipelines.report import BYTES, Work
from tests.emulator.conftest import DURATIONS, EmulatedClock

SCRIPTED = {
    "spark-submit": Scripted(seconds=600),
    "bash": Scripted(seconds=10),
    "fails": Scripted(seconds=10, exit_code=1, stderr="ValueError: no\n"),
    "hour": Scripted(seconds=3600),
    "hangs": Scripted(seconds=1e9),
}
BUCKET = "emr-tests"


class Account:
    """An emulated AWS account with one bucket."""

    def __init__(self, emulator: Emulator, clock: EmulatedClock) -> None:
        self.emulator, self.clock = emulator, clock
        self.aws = Aws(clock=clock)
        self.objects = Objects(self.aws)
        self.clusters, self.steps = Clusters(self.aws), Steps(self.aws)
        self.base = f"s3://{BUCKET}/tests"
        self.calls: list[str] = []
        call = self.aws.call

        def counted(service: str, operation: str, /, *args: Any, **request: Any) -> Any:
            self.calls.append(f"{service}.{operation}")
            return call(service, operation, *args, **request)

        self.aws.call = counted  # type: ignore[method-assign]

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
    """A reporter that remembers what work there was, how much of it was to do, how much was done, and how often it was
    told that it goes on."""

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

    def still(self, state: str = "") -> None:  # noqa: ARG002 (as all have it)
        self.looks += 1


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Steps are scripted, and time passes by pauses alone."""
    with Emulator(tmp_path / "emulator", clock=ManualClock(), durations=DURATIONS, scripted=SCRIPTED) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        emulator.create_bucket(BUCKET)
        yield Account(emulator, EmulatedClock(emulator))


def ended(account: Account) -> bool:
    """Whether no cluster is left that could cost anything."""
    return all(state in set(map(str, ENDED)) for state in account.states())


def deny(monkeypatch: pytest.MonkeyPatch, cluster_id: str) -> None:
    """As IAM does, of which the emulator knows nothing: no more calls about this cluster."""
    attempt = Aws._attempt

    def denied(
        self: Aws, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
    ) -> Any:
        if request.get("ClusterId") == cluster_id:
            raise AccessDenied("You are not authorized to perform this.", "AccessDeniedException")
        return attempt(self, service, operation, positional, once, request)

    monkeypatch.setattr(Aws, "_attempt", denied)
