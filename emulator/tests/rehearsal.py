"""Helpers and fixtures for tests of the emulator and of its clients."""

from __future__ import annotations

import copy
import gzip
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from emr_emulator import Durations, Emulator, ManualClock, Scripted, find_spark

HUNG_SECONDS = 900.0  # no result depends on it; only a hanging test takes this long
SESSION = boto3.session.Session()
ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=HUNG_SECONDS)  # a retry would hide an error
DURATIONS = Durations(provisioning=240, bootstrapping=60, termination=90, log_push_interval=300)
UP = DURATIONS.provisioning + DURATIONS.bootstrapping
SCRIPTED = {
    "spark-submit": Scripted(seconds=10),
    "fails": Scripted(seconds=10, exit_code=1, stderr="ValueError: no\n"),
    "hangs": Scripted(seconds=1e9),
}
REQUEST: dict[str, Any] = {
    "Name": "test",
    "ReleaseLabel": "emr-7.10.0",
    "Applications": [{"Name": "Spark"}],
    "ServiceRole": "EMR_DefaultRole",
    "JobFlowRole": "EMR_EC2_DefaultRole",
    "Instances": {
        "InstanceGroups": [
            {"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 1},
            {"InstanceRole": "CORE", "InstanceType": "m5.xlarge", "InstanceCount": 2, "Market": "SPOT"},
        ],
        "KeepJobFlowAliveWhenNoSteps": True,
    },
}


def client(emulator: Emulator, service: str) -> Any:
    return SESSION.client(
        service,
        endpoint_url=emulator.url,
        region_name="us-east-1",
        aws_access_key_id="emulator",
        aws_secret_access_key="emulator",  # noqa: S106 (any will do)
        config=ONCE,
    )


def step(*args: str, name: str = "step", on_failure: str = "CONTINUE") -> dict[str, Any]:
    return {
        "Name": name,
        "ActionOnFailure": on_failure,
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": list(args or ("spark-submit",))},
    }


class Rehearsal:
    """An emulator, its clients, and shortcuts for calls."""

    def __init__(self, emulator: Emulator, lines: list[str]) -> None:
        self.emulator = emulator
        self.lines = lines
        self.emr = client(emulator, "emr")
        self.s3 = client(emulator, "s3")
        self.advance = emulator.advance

    def launch(self, *steps: dict[str, Any], **changes: Any) -> str:
        """Run a job flow. Members of Instances, such as TerminationProtected, are keyword arguments too."""
        request = copy.deepcopy(REQUEST)
        for name in ("KeepJobFlowAliveWhenNoSteps", "TerminationProtected", "InstanceGroups", "InstanceFleets"):
            if name in changes:
                request["Instances"][name] = changes.pop(name)
        cluster_id: str = self.emr.run_job_flow(**{**request, "Steps": list(steps), **changes})["JobFlowId"]
        return cluster_id

    def up(self, *steps: dict[str, Any], **changes: Any) -> str:
        """Launch a cluster and wait until it is up."""
        cluster_id = self.launch(*steps, **changes)
        self.advance(UP)
        return cluster_id

    def add(self, cluster_id: str, *steps: dict[str, Any]) -> list[str]:
        ids: list[str] = self.emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=list(steps))["StepIds"]
        return ids

    def status(self, cluster_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]
        return found

    def state(self, cluster_id: str) -> str:
        return str(self.status(cluster_id)["State"])

    def steps(self, cluster_id: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return list(reversed(self.emr.list_steps(ClusterId=cluster_id)["Steps"]))

    def step_states(self, cluster_id: str) -> list[str]:
        return [found["Status"]["State"] for found in self.steps(cluster_id)]

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        data: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def fetch(
        self, path: str, body: bytes | None = None, method: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request without a client's checks; return the HTTP status and the body, also of an error."""
        request = urllib.request.Request(self.emulator.url + path, body, headers or {}, method=method)  # noqa: S310 (its own address)
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def log(self, bucket: str, key: str) -> str:
        return gzip.decompress(self.read(bucket, key)).decode()


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    """An emulator with scripted steps and a manual clock."""
    lines: list[str] = []
    with Emulator(
        tmp_path / "emulator", clock=ManualClock(), durations=DURATIONS, scripted=SCRIPTED, say=lines.append
    ) as emulator:
        yield Rehearsal(emulator, lines)


@pytest.fixture(scope="session")
def with_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """An emulator that runs steps with Spark, and does everything else immediately."""
    lines: list[str] = []
    moment = Durations(
        provisioning=0, bootstrapping=0, termination=0, log_push_interval=0.2,
        application_creation=0, application_start=0, application_stop=0, worker_start=0,
    )  # fmt: skip
    with Emulator(
        tmp_path_factory.mktemp("emulator") / "a root",  # with a space
        durations=moment,
        spark=find_spark("local[2]"),
        say=lines.append,
    ) as emulator:
        yield Rehearsal(emulator, lines)


@contextmanager
def rehearsing(folder: Path, monkeypatch: pytest.MonkeyPatch, started_ago: float = 0) -> Iterator[Rehearsal]:
    """An emulator with scripted steps and a manual clock; the environment points to it."""
    clock = ManualClock(time.time() - started_ago)
    with Emulator(folder, clock=clock, durations=DURATIONS, scripted=SCRIPTED) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield Rehearsal(emulator, [])


class EmulatedClock:
    """A clock that shows the emulator's time; a pause advances it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.now = emulator._agenda.now
        self.pauses: list[float] = []

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        self.pauses.append(seconds)
        if until is None or not until.is_set():
            self.emulator.advance(seconds)


def until(condition: Callable[[], Any]) -> Any:
    """Repeat a call until it returns true, for work of other processes."""
    pause, end = threading.Event(), time.monotonic() + HUNG_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        pause.wait(0.05)
    return answer
