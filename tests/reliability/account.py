"""An emulated account that records every request and computation, and where a kill can strike."""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emr_emulator import Durations, Emulator, ManualClock, Scripted
from emr_emulator.records import Cluster, Exit, Running, Step
from tests.reliability.line import Line
from tests.reliability.pipeline import CLOCK, SPEED, on_serverless

BUCKET = "kills"
# in the emulator's seconds, of which SPEED pass in one; a step leaves its result when half of its time is over
STEP_SECONDS = 6.0
DURATIONS = Durations(
    provisioning=4, bootstrapping=3, termination=5, log_push_interval=300,
    application_creation=1, application_start=3, application_stop=2, worker_start=4,
)  # fmt: skip
TICK_SECONDS = 0.005
OPENED = {"__dagster_pipes_version": "0.1", "method": "opened", "params": {"extras": {}}}
CLOSED = {"__dagster_pipes_version": "0.1", "method": "closed", "params": None}
TAKES_STEPS = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
ACTIVE = ("SUBMITTED", "PENDING", "QUEUED", "SCHEDULED", "RUNNING", "CANCELLING")  # of job runs
# by method, and the number of the path's parts: /applications/<id>/jobruns/<id>
OF_SERVERLESS = {("POST", 1): "CreateApplication", ("POST", 3): "StartJobRun", ("DELETE", 4): "CancelJobRun"}


@dataclass(frozen=True)
class Asked:
    """A request: its number within the case, and its operation, such as `PutObject left/latest.json`."""

    number: int
    what: str


@dataclass
class Case:
    """The record of one kill and its retry."""

    place: str
    clusters_before: int = 0
    job_runs_before: int = 0
    strike: Callable[[Asked | None, str], None] = lambda *_: None
    requests: list[Asked] = field(default_factory=list)
    computed: dict[str, list[str]] = field(default_factory=dict)  # by asset, the ids of its computations
    committed: dict[str, list[str]] = field(default_factory=dict)  # computations that wrote their result
    committed_at: dict[str, float] = field(default_factory=dict)  # by asset, when the first one did
    violations: list[str] = field(default_factory=list)


class Account:
    """The emulator behind a connection that can be cut; its time follows ours, and can be moved forward."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock(time.time())
        self._began, self._at = time.monotonic(), self.clock.time
        self.emulator = Emulator(
            root, clock=self.clock, durations=DURATIONS, scripted={"spark-submit": Scripted(seconds=STEP_SECONDS)}
        )
        self.objects = self.emulator.create_bucket(BUCKET)
        self.case = Case("")
        server = self.emulator._server._server
        self._answer: Any = server.app
        server.app = self._gate
        lives: Any = self.emulator._serverless if on_serverless() else self.emulator._lifecycle
        runner = "_steps" if on_serverless() else "_runner"
        self._steps: Any = getattr(lives, runner)
        setattr(lives, runner, self)
        self._stopping = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="time", daemon=True)
        self._listed: dict[str, int] = {}  # by client, how many clusters there were
        self._lock, self._timing = threading.Lock(), threading.Lock()
        self.emulator.start()
        self.line = Line(self.emulator._server.port)
        self._ticking.start()

    def stop(self) -> None:
        self._stopping.set()
        self._ticking.join()
        self.line.close()
        self.emulator.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of processes that start now; they share the account's time until `move_on`."""
        return {
            **self.emulator.environment,
            "AWS_ENDPOINT_URL": self.line.url,
            "EMR_PIPELINES_TARGET": "emr-serverless" if on_serverless() else "emr",
            "EMR_PIPELINES_DEPLOYMENT": BUCKET,
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            CLOCK: f"{self._began!r} {self._at!r}",
        }

    # time

    def _now(self) -> float:
        return self._at + (time.monotonic() - self._began) * SPEED

    def _tick(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            self._catch_up()

    def move_on(self, seconds: float) -> None:
        """Advance the clusters' time at once, while nothing else runs."""
        self._at += seconds
        self._catch_up()

    def _catch_up(self) -> None:
        with self._timing:
            self.emulator.advance(max(0.0, self._now() - self.clock.time))

    # requests

    def _gate(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        case, what = self.case, _what(environ, self.case.place)
        with self._lock:
            asked = Asked(len(case.requests) + 1, what)
            case.requests.append(asked)
        case.strike(asked, "before")
        if what == "ListClusters":
            self._listed[environ["HTTP_USER_AGENT"]] = len(self.emulator.clusters())
        answer: Iterable[bytes] = self._answer(environ, start_response)
        if what == "RunJobFlow":
            self._refuse_two_of_a_name(case, self._listed.get(environ["HTTP_USER_AGENT"]))
        if what == "StartJobRun":
            self._refuse_two_of_an_identity(case)
        case.strike(asked, "after")
        return answer

    def _refuse_two_of_a_name(self, case: Case, listed: int | None) -> None:
        """Report a cluster that was launched although its launcher could have seen one with its name when it last
        `listed` them. (Two that launch at the very same time, for one of them was held up too long, settle it.)"""
        clusters = self.emulator.clusters()
        names = [cluster.name for cluster in clusters if str(cluster.state) in TAKES_STEPS]
        for cluster in clusters[:listed]:
            if str(cluster.state) in TAKES_STEPS and names.count(cluster.name) > 1:
                case.violations.append(f"{names.count(cluster.name)} clusters are called {cluster.name}")

    def _refuse_two_of_an_identity(self, case: Case) -> None:
        """Report work that two job runs do at once, and an attempt that has two."""
        active = [run for run in self.job_runs() if str(run.state) in ACTIVE]
        identities = Counter(run.names[1].split(" ")[1].rpartition(".")[0] for run in active)
        case.violations += [f"{count} job runs do the work {name}" for name, count in identities.items() if count > 1]
        attempts = Counter(" ".join(run.names[1].split(" ")[:2]) for run in self.job_runs())
        case.violations += [f"{count} job runs are the attempt {name}" for name, count in attempts.items() if count > 1]

    def job_runs(self) -> list[Any]:
        """Return all job runs on EMR Serverless, oldest first."""
        return [run for application in self.emulator.applications() for run in list(application.runs.values())]

    # the programs' work, with the agenda's lock held

    def start(self, cluster: Cluster, step: Step, ended: Callable[[Exit], None]) -> Running:
        (task_uri,) = (word for word in step.args if word.endswith("/task.json"))
        case, asset = self.case, step.name.partition(" ")[0]
        task = json.loads(self._file(task_uri).read_text())
        computation = secrets.token_hex(8)
        if step.created >= case.committed_at.get(asset, math.inf):
            case.violations.append(f"{asset} was computed again, by step {step.name!r}, when its result was there")
        case.computed.setdefault(asset, []).append(computation)
        output = self._file(task["params"]["output"]) / "part-0.json"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"written": "half", "digest": computation}))
        case.strike(None, "step begins")

        def commit() -> None:
            if not self._is_running(step):
                return
            _put(output, {"written": "whole", "digest": computation})
            attempt = step.name.split(" ")[1].rpartition(".")[2]
            messages = self._file(task_uri).parent / f"attempt-{attempt}" / "1.json"
            messages.parent.mkdir(exist_ok=True)
            messages.write_text(f"{json.dumps(OPENED)}\n{json.dumps(CLOSED)}\n")
            _put(self._file(task["result"]), {"result": {"digest": computation}})
            case.committed.setdefault(asset, []).append(computation)
            case.committed_at.setdefault(asset, self.clock.time)
            case.strike(None, "result is left")

        self.emulator._agenda.after(STEP_SECONDS / 2, commit)
        running: Running = self._steps.start(cluster, step, ended)
        return running

    def _is_running(self, step: Step) -> bool:
        if on_serverless():
            return any(run.id == step.id and str(run.state) == "RUNNING" for run in self.job_runs())
        return str(step.state) == "RUNNING"

    def lose_executor(self, step: Step) -> None:
        self._steps.lose_executor(step)

    def _file(self, uri: str) -> Path:
        return self.objects / uri.removeprefix(f"s3://{BUCKET}/")

    # the account as seen from outside

    def left(self) -> dict[str, str]:
        """Return the names of the clusters and job runs that still cost money, with their states."""
        clusters = {cluster.name: str(cluster.state) for cluster in self.emulator.clusters()}
        found = {name: state for name, state in clusters.items() if state not in ENDED}
        return found | {run.names[1]: str(run.state) for run in self.job_runs() if str(run.state) in ACTIVE}

    def pointer(self, place: str, asset: str) -> dict[str, Any] | None:
        file = self.objects / place.partition("/")[2] / "data" / asset / "latest.json"
        return json.loads(file.read_text()) if file.exists() else None

    def fault_of_pointer(self, place: str, asset: str) -> str:
        """Return what is wrong with the published data, or an empty string."""
        try:
            pointer = self.pointer(place, asset)
            if pointer is None:
                return ""
            folder = self.objects / place.partition("/")[2] / "data" / asset / pointer["version"]
            mark = json.loads((folder / "_published.json").read_text())
            data = json.loads((folder / "part-0.json").read_text())
        except (OSError, ValueError, KeyError) as error:
            return f"what the pointer of {asset} leads to cannot be read: {error!r}"
        if data != {"written": "whole", "digest": pointer["data_version"]}:
            return f"the pointer of {asset} says {pointer['data_version']}, and the data says {data}"
        if mark["data_version"] != pointer["data_version"]:
            return f"the pointer of {asset} says {pointer['data_version']}, and its mark {mark['data_version']}"
        return ""

    def phase(self, case: Case, assets: Iterable[str]) -> str:
        """Return the phase of a run, the most specific first."""
        steps = [
            step for cluster in self.emulator.clusters()[case.clusters_before :] for step in cluster.steps.values()
        ]
        states = set(self.left().values())
        job_runs = [str(run.state) for run in self.job_runs()[case.job_runs_before :]]
        pointers = {asset: self.pointer(case.place, asset) or {} for asset in assets}
        published = {asset for asset in assets if pointers[asset].get("data_version") in case.committed.get(asset, ())}
        up = bool(steps and states & {"RUNNING", "WAITING"})
        computing = sum(map(len, case.computed.values())) > sum(map(len, case.committed.values()))
        phases = {
            "before launch": not any(request.what in ("RunJobFlow", "StartJobRun") for request in case.requests),
            "launching": not steps and not job_runs,
            "queued": (up and any(str(step.state) == "PENDING" for step in steps)) or "QUEUED" in job_runs,
            "running": computing and "RUNNING" in [*(str(step.state) for step in steps), *job_runs],
            "provisioning": bool(states & {"STARTING", "BOOTSTRAPPING", "SUBMITTED", "PENDING", "SCHEDULED"}),
            "publishing": bool(case.committed.keys() - published),
            "ending": True,
        }
        return next(phase for phase, so in phases.items() if so)


def _put(file: Path, data: Any) -> None:
    """Write an object atomically."""
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(data))
    new.replace(file)


def _what(environ: dict[str, Any], place: str) -> str:
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return str(target).rpartition(".")[2]
    of_serverless = (str(environ["REQUEST_METHOD"]), len(str(environ["PATH_INFO"]).strip("/").split("/")))
    if str(environ["PATH_INFO"]).startswith("/applications"):
        return OF_SERVERLESS.get(of_serverless, f"{environ['REQUEST_METHOD']} of EMR Serverless")
    path = str(environ["PATH_INFO"]).removeprefix("/").removeprefix(place).removeprefix(BUCKET).lstrip("/")
    query = str(environ.get("QUERY_STRING", ""))
    return f"{environ['REQUEST_METHOD']} {path}" + (f"?{query.partition('=')[0]}" if query else "")
