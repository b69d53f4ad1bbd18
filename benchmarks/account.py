"""An emulated AWS account in a separate process: scripted steps, their programs' objects on S3, EMR's quotas."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emr_emulator import Emulator

BUCKET = "benchmark"
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
ENDS_WITHIN_SECONDS = 60.0  # a cluster that a contender leaves to its idle timeout
STEP_CHANGED = re.compile(r"(j-\w+) .*  (s-\w+) .*  (RUNNING|COMPLETED)\b")
JOB_RUN_CHANGED = re.compile(r"(00\w+) (00\w+) .*  (RUNNING|SUCCESS)\b")
OVER = ("SUCCESS", "FAILED", "CANCELLED")  # of job runs


class Quotas:
    """EMR's throttling: a bucket of calls for each operation, and one for all of them. Calls are counted by operation
    whether there are `limits` or not: calls at once and calls per second by operation, the rest under `*`."""

    def __init__(self, limits: Mapping[str, Sequence[float]] | None) -> None:
        self._limits = dict(limits or {})
        self._left: dict[str, tuple[float, float]] = {}
        self.factor = 1.0  # of both
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.s3_calls = 0

    def take(self, operation: str) -> bool:
        """Tell whether a call is admitted."""
        self.calls[operation] += 1
        names = [name for name in (operation, "*") if name in self._limits]
        left = {name: self._in(name) for name in names}
        granted = all(calls >= 1 for calls in left.values())
        for name in names:
            self._left[name] = (left[name] - granted, time.monotonic())
        self.throttled[operation] += not granted
        return granted

    def _in(self, name: str) -> float:
        at_once, per_second = self._limits[name]
        calls, then = self._left.get(name, (at_once, 0.0))
        return min(at_once * max(self.factor, 1), calls + (time.monotonic() - then) * per_second * self.factor)


class Programs:
    """What the programs of scripted steps and job runs leave on S3: word that they began, their result, and word of
    their end."""

    def __init__(self, emulator: Emulator, result: object) -> None:
        self._emulator, self._result = emulator, json.dumps({"result": result})
        self._bucket = emulator.create_bucket(BUCKET)
        self._aside = Path(tempfile.mkdtemp(dir=emulator.root))

    def changed(self, line: str) -> None:
        """Called with every line of the emulator, before a client can see the change."""
        if found := STEP_CHANGED.search(line):
            cluster_id, step_id, state = found.groups()
            cluster = next(cluster for cluster in self._emulator.clusters() if cluster.id == cluster_id)
            args = cluster.steps[step_id].args
            folder = _messages_folder(args, cluster.request.get("Configurations", []))
            self._leave(args, folder, state, cluster_id)
        elif found := JOB_RUN_CHANGED.search(line):
            application_id, run_id, state = found.groups()
            application = next(one for one in self._emulator.applications() if one.id == application_id)
            driver = application.runs[run_id].request["jobDriver"]["sparkSubmit"]
            args = driver.get("entryPointArguments", [])
            words = driver.get("sparkSubmitParameters", "").split()
            properties = dict(word.partition("=")[::2] for word in words if "=" in word)
            folder = _messages_folder(args, [{"Configurations": [{"Properties": properties}]}])
            self._leave(args, folder, state, run_id)

    def _leave(self, args: Sequence[str], folder: str, state: str, owner: str) -> None:
        if state == "RUNNING":
            self._write(f"{folder}/1.json", _message("opened", {"extras": {}}))
            return
        for task in (arg for arg in args if arg.endswith("/task.json")):
            where = json.loads((self._bucket / task.removeprefix(f"s3://{BUCKET}/")).read_text())["result"]
            self._write(where.removeprefix(f"s3://{BUCKET}/"), self._result)
        self._write(f"{folder}/2.json", _message("closed", {}))
        container = f"logs/{owner}/containers/application_1_0001/container_1_0001_01_000001"
        for name in ("stdout", "stderr"):  # Spark's executors write them, and PipesEMRClient fails without them
            self._write(f"{container}/{name}.gz", gzip.compress(b"a container\n"))

    def _write(self, key: str, content: str | bytes) -> None:
        """Write an object atomically."""
        aside = self._aside / f"{threading.get_ident()}"
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        path = self._bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(path)


def _messages_folder(args: Sequence[str], configurations: Sequence[Mapping[str, Any]]) -> str:
    """Return the folder of Pipes' messages in the bucket, from an argument or the cluster's environment."""
    from dagster_pipes import DAGSTER_PIPES_MESSAGES_ENV_VAR, decode_param

    told = [args[place + 1] for place, arg in enumerate(args) if arg == "--dagster-pipes-messages"]
    for entry in configurations:
        told += [value for key, value in entry.get("Properties", {}).items() if key == DAGSTER_PIPES_MESSAGES_ENV_VAR]
        for inner in entry.get("Configurations", []):
            told += [
                text for name, text in inner["Properties"].items() if name.endswith(DAGSTER_PIPES_MESSAGES_ENV_VAR)
            ]
    if not told:
        return "no-messages"
    where = decode_param(told[0])
    return str(where.get("key_prefix") or where["folder"].removeprefix(f"s3://{BUCKET}/"))


def _message(method: str, params: Mapping[str, Any]) -> str:
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params}) + "\n"


def emulate(settings: Mapping[str, Any]) -> None:
    """Run the account: print its environment, then answer lines (`report`, `factor <x>`) until the end of input."""
    from emr_emulator import Durations, Emulator, Scripted
    from emr_emulator.faults import Fault, S3Error, Throttle

    quotas = Quotas(settings.get("limits"))
    hears: list[Callable[[str], None]] = []

    def say(line: str) -> None:
        for hear in hears:
            hear(line)

    durations = Durations(
        settings.get("provisioning", 0),
        settings.get("bootstrapping", 0),
        settings.get("termination", 0),
        300,
        application_creation=0,
        application_start=settings.get("application", 0),
        worker_start=settings.get("workers", 0),
    )
    # a Spark program's log is never empty; PipesEMRClient would wait forever for an empty one, which is not pushed
    scripted = {"spark-submit": Scripted(settings["step"], stdout="6\n", stderr="INFO SparkContext: it ran\n")}
    with Emulator(durations=durations, scripted=scripted, say=say) as emulator:
        strike = emulator.faults.strike

        def throttle(kind: type[Fault], **targets: tuple[str, ...]) -> Fault | None:
            """Count every call to EMR, and throttle those above the quotas."""
            if kind is Throttle and not quotas.take(targets["operation"][0]):
                return Throttle()
            quotas.s3_calls += kind is S3Error  # every call to S3 is asked that
            return strike(kind, **targets)

        emulator.faults.strike = throttle  # type: ignore[method-assign,assignment]
        hears.append(Programs(emulator, settings["result"]).changed)
        print(json.dumps(emulator.environment), flush=True)
        for line in sys.stdin:
            word, _, factor = line.strip().partition(" ")
            if word == "factor":
                quotas.factor = float(factor)
            print(json.dumps(_report(emulator, quotas)), flush=True)


def _report(emulator: Emulator, quotas: Quotas) -> dict[str, Any]:
    clusters = [
        {
            "state": str(cluster.state),
            "created": cluster.created,
            "instances_ended": [instance.ended for instance in cluster.instances],
            "steps": [str(step.state) for step in cluster.steps.values()],
        }
        for cluster in emulator.clusters()
    ]
    job_runs = [
        {"state": str(run.state), "billed": run.billed_seconds}
        for application in emulator.applications()
        for run in application.runs.values()
    ]
    throttled = dict(quotas.throttled)
    return {
        "clusters": clusters,
        "job_runs": job_runs,
        "calls": dict(quotas.calls),
        "throttled": throttled,
        "s3_calls": quotas.s3_calls,
    }


class Account:
    """A contender's view of the emulated account."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: str = "report") -> dict[str, Any]:
        """Return its clusters, and the numbers of calls and throttled calls by operation."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("an account is asked through pipes")
        print(line, file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def in_the_end(self) -> dict[str, Any]:
        """Return the same once all clusters have ended, or after a deadline."""
        deadline = time.monotonic() + ENDS_WITHIN_SECONDS
        while True:
            found = self.ask()
            ended = [cluster["state"] in ENDED for cluster in found["clusters"]]
            ended += [run["state"] in OVER for run in found["job_runs"]]
            if time.monotonic() > deadline or all(ended):
                return found
            time.sleep(0.2)


@contextmanager
def account(**settings: Any) -> Iterator[Account]:
    """An account, which this process then has for AWS.

    settings: in seconds, `provisioning`, `bootstrapping`, `step` and `termination`, or on EMR Serverless `application`,
    `workers` and `step`; `result` of every program; `limits` of Quotas.
    """
    command = [sys.executable, "-m", "benchmarks.account", json.dumps(settings)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        found = Account(process)
        if process.stdout is not None:
            os.environ.update(json.loads(process.stdout.readline()))
        yield found
        if process.stdin is not None:
            process.stdin.close()


if __name__ == "__main__":
    emulate(json.loads(sys.argv[1]))
