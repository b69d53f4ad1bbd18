"""Load tests at full size, each in a separate process, with a table of their figures.

    python -m tests.reliability.load [--only NAME]

AWS is a stub in this process where its name says so: then the figures are the client's side alone.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import dagster as dg

from emr_pipelines.assets.fields import metadata_of
from emr_pipelines.automation.sensors import new_text_sensor
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.base import Deadlines
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.ledger import ledger
from emr_pipelines.backends.emr.orphans import find_orphans
from emr_pipelines.backends.emr.poller import StepPoller
from emr_pipelines.backends.emr.steps import Steps
from emr_pipelines.backends.orphans import RunIs
from emr_pipelines.backends.watch import Watch
from emr_pipelines.clock import Wakeup
from emr_pipelines.errors import NotFound, PackagingError, Throttled
from emr_pipelines.job.live_log import LiveFeed
from emr_pipelines.pipelines.word_count import count as word_count
from emr_pipelines.pipelines.word_count import ingest
from emr_pipelines.pipelines.word_count.splits import plan_tasks
from emr_pipelines.remote import codec
from emr_pipelines.remote.driver import Channel, tee
from emr_pipelines.remote.entrypoint import Files
from emr_pipelines.remote.files import find_text_files
from tests.reliability.hosts import Hosts

MB = 1_000_000
HOUR = 3600.0
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Figures:
    """What a load took: seconds; the most memory beyond what the process had before, in MB; calls; and what came of
    it."""

    load: str
    seconds: float
    calls: int
    outcome: str
    peak_mb: float = 0.0


# a text of one line


def line(megabytes: int, word: str = "so long a line ") -> Figures:
    """Copy and count a text of one line with the programs' tasks, in this process and without Spark."""
    times = megabytes * MB // len(word)
    with tempfile.TemporaryDirectory(prefix="load-") as root:
        with (Path(root) / "line.txt").open("w") as file:
            file.writelines(word * 1000 for _ in range(times // 1000))
        began = time.monotonic()
        copies = [
            copied
            for number, task in enumerate(plan_tasks(find_text_files([f"{root}/line.txt"]), 2))
            for copied in ingest._copy_task(task, f"{root}/copied/part-{number:05d}.txt")
        ]
        for copied in copies:
            if copied.problem:
                refusal = str(copied.problem).replace(root, "")
                return Figures(f"a word of {megabytes:,} MB", time.monotonic() - began, 0, refusal)
        assert sum(copied.lines for copied in copies) == 1
        counts: Counter[str] = Counter()
        for task in plan_tasks(find_text_files([f"{root}/copied"]), 2):
            for _, found in word_count._count_task(task, shares=2, case_sensitive=False):
                if not isinstance(found, word_count._Totals):
                    counts.update(dict(zip(found["word"].to_pylist(), found["count"].to_pylist(), strict=True)))
        seconds = time.monotonic() - began
    assert counts == {each: times // 1000 * 1000 * count for each, count in Counter(word.split()).items()}
    return Figures(f"a line of {megabytes:,} MB", seconds, 0, f"{counts.total():,} words, all of them counted")


# a listing of many files


def listing(files: int) -> Figures:
    """Run new_text_sensor on a local folder: its first tick, and one without new files."""
    with tempfile.TemporaryDirectory(prefix="load-") as root:
        for number in range(files):
            folder = Path(root) / f"day={number // 1000:04d}"
            if number % 1000 == 0:
                folder.mkdir()
            (folder / f"part-{number % 1000:05d}.txt").touch()
        return _ticks(f"sensor, {files:,} files here", root, files, lambda: 0)


def listing_on_s3(files: int) -> Figures:
    """Run it on a bucket: a stub with pages of 1,000 keys, over HTTP, for pyarrow's client."""
    with pages_of_keys(files) as asked:
        return _ticks(f"sensor, {files:,} objects on S3 (stub)", "s3://bucket/text", files, lambda: len(asked))


def _ticks(load: str, source: str, files: int, calls: Callable[[], int]) -> Figures:
    os.environ["EMR_PIPELINES_SOURCE"] = source
    try:
        began = time.monotonic()
        first = cast("dg.SensorResult", new_text_sensor(dg.build_sensor_context()))
        seconds, made = time.monotonic() - began, calls()
        assert first.run_requests is not None
        assert first.run_requests[0].tags["new_files"] == str(files)
        second = cast("dg.SensorResult", new_text_sensor(dg.build_sensor_context(cursor=first.cursor)))
        assert second.skip_reason is not None
        assert f"among {files:,}" in str(second.skip_reason.skip_message)
    finally:
        del os.environ["EMR_PIPELINES_SOURCE"]
    return Figures(load, seconds, made, f"a cursor of {len(first.cursor or ''):,} characters, one run")


@contextmanager
def pages_of_keys(files: int) -> Iterator[list[str]]:
    """Serve one bucket of empty objects; yield the list of requests."""
    asked: list[str] = []

    class Bucket(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            found = urlsplit(self.path).path in ("/bucket", "/bucket/")
            self._answer(b"", 200 if found else 404)

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            asked.append(self.path)
            start = int(query.get("continuation-token", "0"))
            most = int(query.get("max-keys", "1000"))
            end = min(start + most, files)
            entries = "".join(
                f"<Contents><Key>text/day={number // 1000:04d}/part-{number % 1000:05d}.txt</Key><Size>0</Size>"
                "<LastModified>2026-01-01T12:00:00.000Z</LastModified><ETag>&quot;0&quot;</ETag></Contents>"
                for number in range(start, end)
            )
            more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < files else ""
            self._answer(
                f'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><KeyCount>{end - start}</KeyCount>'
                f"<MaxKeys>{most}</MaxKeys><IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{entries}"
                "</ListBucketResult>".encode()
            )

        def _answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-amz-bucket-region", "us-east-1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's)
            pass

    from emr_pipelines.remote.files import _bucket

    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        before = os.environ.get("AWS_ENDPOINT_URL")
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.server_port}"
        _bucket.cache_clear()
        try:
            yield asked
        finally:
            server.shutdown()
            _bucket.cache_clear()
            os.environ.pop("AWS_ENDPOINT_URL")
            os.environ |= {"AWS_ENDPOINT_URL": before} if before else {}


# a program's output


class Folder:
    """Files of messages, written like a cluster's Hadoop and read like a runner's S3 client."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writes = self.reads = 0

    def sizes(self) -> list[int]:
        return [path.stat().st_size for path in self.root.iterdir()]

    def write(self, uri: str, data: bytes) -> None:
        self.writes += 1
        (self.root / uri.rpartition("/")[2]).write_bytes(data)

    def read(self, uri: str) -> bytes | None:
        self.reads += 1
        path = self.root / uri.rpartition("/")[2]
        return path.read_bytes() if path.exists() else None


class Pipes:
    """The part of Pipes that a tee uses."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def log_external_stream(self, stream: str, text: str) -> None:
        self.send("log_external_stream", stream=stream, text=text, extras={})

    def send(self, method: str, **params: Any) -> None:
        self._channel.write_message(cast("Any", {"__dagster_pipes_version": "0.1", "method": method, "params": params}))


class Handler:
    """The part of Dagster's handler that a feed uses."""

    received_closed_message = False

    def handle_message(self, message: Mapping[str, Any]) -> None:
        self.received_closed_message = message["method"] == "closed"


def print_much(folder: Folder, megabytes: int) -> int:
    """Print lines of 100 characters through the entrypoint's tee; return their number."""
    channel = Channel(cast("Files", folder), "s3://b/messages")
    pipes = Pipes(channel)
    lines = megabytes * MB // 100
    with channel.writing(), Path(os.devnull).open("w") as nowhere:
        stdout = tee(nowhere, "stdout", cast("Any", pipes))
        pipes.send("opened", extras={})
        for number in range(lines):
            print(f"line {number:>94}", file=stdout)
        pipes.send("closed")
    return lines


def printing(megabytes: int) -> Figures:
    """Measure the cluster's side."""
    with tempfile.TemporaryDirectory(prefix="load-") as root:
        folder, began = Folder(Path(root)), time.monotonic()
        lines = print_much(folder, megabytes)
        seconds, sizes = time.monotonic() - began, folder.sizes()
    outcome = f"{lines:,} lines; sent {sum(sizes) / MB:,.1f} MB in {len(sizes)} files of {max(sizes) / MB:.1f} at most"
    return Figures(f"{megabytes} MB printed, on the cluster", seconds, folder.writes, outcome)


def logging(megabytes: int) -> Figures:
    """Measure the runner's side."""
    with tempfile.TemporaryDirectory(prefix="load-") as root:
        child = _child("print", root, str(megabytes))  # not part of this side's figures
        assert child.returncode == 0
        folder = Folder(Path(root))
        seconds, logged = log_all(folder)
    cut = [line for text in logged for line in text.split("\n") if "left out" in line]
    outcome = f"{len(logged):,} writes to the event log; {' '.join(cut) or 'nothing was cut'}"
    return Figures(f"{megabytes} MB printed, in the runner", seconds, folder.reads, outcome)


def log_all(folder: Folder) -> tuple[float, list[str]]:
    """Read the files into an event log; return the seconds that this took, and what was logged."""
    logged: list[str] = []
    with tempfile.TemporaryDirectory(prefix="load-") as home, dg.DagsterInstance.local_temp(home) as instance:

        @dg.op
        def follow(context: dg.OpExecutionContext) -> None:
            def log(text: str) -> None:
                context.log.info(text)
                logged.append(text)

            feed = LiveFeed(cast("Objects", folder), "s3://b/messages", Clock(), Wakeup(), log)
            feed._follow(cast("Any", Handler()), threading.Event())

        @dg.job
        def following() -> None:
            follow()

        began = time.monotonic()
        result = following.execute_in_process(instance=instance)
        seconds = time.monotonic() - began
        assert result.success
    return seconds, logged


class Clock:
    """A clock that advances only with pauses."""

    def __init__(self) -> None:
        self.time = NOON.timestamp()

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:  # noqa: ARG002
        self.time += max(seconds, 0.0)

    def advance(self, seconds: float) -> None:
        self.time += seconds


# a large result


@dataclass(frozen=True)
class Found:
    number: int
    text: str


@dataclass(frozen=True)
class Result:
    rows: list[Found]
    text: str
    anything: Any


def result(megabytes: float) -> Figures:
    """Measure a large result's transfer, and its metadata on an asset."""
    size = int(megabytes * MB)
    whole = Result([Found(number, "x" * 60) for number in range(size // 300)], "y" * (size // 3), ["z"] * (size // 15))
    began = time.monotonic()
    sent = codec.dumps(whole, "result")
    assert codec.loads(Result, sent, "result") == whole
    seconds = time.monotonic() - began
    shown = len(json.dumps({name: str(value) for name, value in metadata_of(whole).items()}))
    return Figures(f"a result of {len(sent) / MB:.1f} MB", seconds, 0, f"{shown:,} characters of metadata")


def too_large_a_result(megabytes: int) -> Figures:
    began = time.monotonic()
    try:
        codec.dumps(Result([], "x" * (megabytes * MB), None), "result")
    except PackagingError as refusal:
        return Figures(f"a result of {megabytes:,} MB", time.monotonic() - began, 0, str(refusal))
    raise AssertionError("It was taken.")


# many clusters


class Account:
    """A stub of EMR with a token bucket per kind of call; the `active` newest clusters have not ended."""

    def __init__(self, clusters: int, active: int, tokens: float = 10.0, tokens_per_second: float = 0.5) -> None:
        self.clock = Clock()
        self.calls: Counter[str] = Counter()
        self.throttled = 0
        self._full, self._per_second = tokens, tokens_per_second
        self._tokens: dict[str, tuple[float, float]] = {}
        self._entries = [self._entry(number, number < active) for number in range(clusters)]  # newest first
        self.aws = Aws("us-east-1", cast("Any", self.clock))
        self.aws._attempt = self._attempt  # type: ignore[method-assign, assignment]

    def _entry(self, number: int, active: bool) -> dict[str, Any]:
        created = NOON - timedelta(seconds=60 * number)
        end = {} if active else {"EndDateTime": created + timedelta(seconds=600)}
        return {
            "Id": f"j-{number:013d}",
            "Name": f"emr-pipelines/load/run/{number:08x}-0000-0000-0000-000000000000-0a1b",
            "Status": {
                "State": "WAITING" if active else "TERMINATED",
                "Timeline": {"CreationDateTime": created, "ReadyDateTime": created + timedelta(seconds=300), **end},
            },
            "NormalizedInstanceHours": 1,
        }

    def _attempt(self, _: str, operation: str, __: Any, ___: bool, request: dict[str, Any]) -> dict[str, Any]:
        self.calls[operation] += 1
        had, then = self._tokens.get(operation, (self._full, self.clock.now()))
        has = min(self._full, had + self._per_second * (self.clock.now() - then))
        self._tokens[operation] = (has - (has >= 1), self.clock.now())
        if has < 1:
            self.throttled += 1
            raise Throttled("Rate exceeded", "ThrottlingException")
        if operation == "list_clusters":
            states = request.get("ClusterStates")
            wanted = [entry for entry in self._entries if not states or entry["Status"]["State"] in states]
            start = int(request.get("Marker", "0"))
            more = {"Marker": str(start + 50)} if start + 50 < len(wanted) else {}
            return {"Clusters": wanted[start : start + 50], **more}
        cluster = self._entries[int(request["ClusterId"][2:])]
        times = cluster["Status"]["Timeline"]
        if operation == "describe_cluster":
            return {"Cluster": cluster}
        if operation == "list_instances":
            timeline = {"CreationDateTime": times["CreationDateTime"]}
            instance = {"Ec2InstanceId": "i-1", "InstanceType": "m5.xlarge", "Market": "ON_DEMAND"}
            return {"Instances": [{**instance, "Status": {"State": "RUNNING", "Timeline": timeline}}] * 3}
        status = {"State": "COMPLETED", "Timeline": {"CreationDateTime": times["CreationDateTime"]}}
        return {"Steps": [{"Id": "s-1", "Name": "words 0a1b", "Status": status}]}


def find_by_name(clusters: int, active: int) -> Figures:
    account = Account(clusters, active)
    began = time.monotonic()
    oldest = account._entries[active - 1]
    found = Clusters(account.aws).find(oldest["Name"])
    assert found is not None
    assert found.id == oldest["Id"]
    return _listed(account, "find by name", clusters, active, time.monotonic() - began, "found")


def end_orphans(clusters: int, active: int) -> Figures:
    """Run the orphan sensor's search in EMR, which `clusters list` shares."""
    account = Account(clusters, active)
    began = time.monotonic()
    listed = Clusters(account.aws).active("emr-pipelines/load")
    orphans = find_orphans(listed, lambda _: RunIs.FINISHED, account.clock.now() + HOUR, 48 * HOUR)
    assert len(listed) == len(orphans) == active
    return _listed(
        account, "active ones, orphans", clusters, active, time.monotonic() - began, f"{len(orphans)} orphans"
    )


def keep_the_ledger(clusters: int, active: int) -> Figures:
    """Build the first ledger, which asks about each cluster, and the next, which skips ended ones."""
    account = Account(clusters, active)
    began = time.monotonic()
    first = ledger(account.aws, "load", [], {"m5.xlarge": 0.24})
    seconds, calls = time.monotonic() - began, account.calls.total()
    assert len({entry.billed_id for entry in first}) == clusters
    ledger(account.aws, "load", first, {"m5.xlarge": 0.24})
    again = f"the next makes {account.calls.total() - calls:,} calls"
    return replace(_listed(account, "first ledger", clusters, active, seconds, again), calls=calls)


def _listed(account: Account, what: str, clusters: int, active: int, seconds: float, outcome: str) -> Figures:
    minutes = (account.clock.now() - NOON.timestamp()) / 60
    outcome += f"; {account.throttled:,} throttled, {minutes:,.1f} min of AWS's patience"
    return Figures(f"{what}: {clusters:,} clusters, {active:,} active (stub)", seconds, account.calls.total(), outcome)


# a day of polling


@dataclass
class Polled:
    """A day of polling: calls by operation, and Python's memory blocks at two hours."""

    calls: Counter[str]
    blocks_early: int = 0
    blocks_late: int = 0
    seconds: float = 0.0


class Service:
    """Stubs of EMR and S3 on a clock, with steps of many hours that print every ten minutes."""

    def __init__(self, hours: float, clock: Clock) -> None:
        self.calls: Counter[str] = Counter()
        self._clock, self._hours, self._began = clock, hours, clock.now()
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "describe_cluster": lambda _: {"Cluster": {"Id": "j-1", "Name": "day", "Status": {"State": "RUNNING"}}},
            "describe_step": self._step,
            "head_object": self._result,
            "get_object": self._message,
        }

    def over(self) -> bool:
        return self._clock.now() - self._began >= self._hours * HOUR

    def call(
        self, service: str, operation: str, read: Callable[[Any], Any] = lambda answer: answer, **request: Any
    ) -> Any:
        self.calls[f"{service}.{operation}"] += 1
        return read(self._answers[operation](request))

    def _step(self, request: dict[str, Any]) -> dict[str, Any]:
        started = datetime.fromtimestamp(self._began, timezone.utc)
        status = {"State": "COMPLETED" if self.over() else "RUNNING", "Timeline": {"StartDateTime": started}}
        return {"Step": {"Id": request["StepId"], "Name": "day", "Status": status}}

    def _result(self, _: dict[str, Any]) -> dict[str, Any]:
        if not self.over():
            raise NotFound("404", "404")
        return {}

    def _message(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["Key"].rpartition("/")[2]
        elapsed = self._clock.now() - self._began
        if int(name.removesuffix(".json")) > elapsed / 600:
            raise NotFound("404", "NoSuchKey")
        text = {"stream": "stdout", "text": "still at it\n", "extras": {}}
        return {"Body": json.dumps({"method": "log_external_stream", "params": text}).encode(), "ETag": "1"}


def poll(hours: float, steps: int, early: float, late: float) -> Polled:
    """Watch steps in one process, each with its live log. early, late: the hours at which memory is measured."""
    clock = Clock()
    service = Service(hours, clock)
    polled = Polled(service.calls)
    looked: list[float] = []

    def look() -> None:
        elapsed = (clock.now() - NOON.timestamp()) / HOUR
        if len(looked) < 2 and elapsed >= (early, late)[len(looked)]:
            looked.append(elapsed)
            gc.collect()
            polled.blocks_early = polled.blocks_early or sys.getallocatedblocks()
            polled.blocks_late = sys.getallocatedblocks()

    hosts = Hosts(clock.now, clock.advance, look)

    def actors(number: int) -> list[Callable[[], object]]:
        wakeup, over = Wakeup(), threading.Event()

        def aws() -> Aws:
            made = Aws("us-east-1", cast("Any", hosts.clock()))
            made.call = service.call  # type: ignore[method-assign, assignment]
            return made

        def watch() -> str:
            api = aws()
            poller = StepPoller(Clusters(api), Steps(api), api.clock, "j-1", f"s-{number}")
            watching = Watch(poller.poll, api.clock, Deadlines(running=48 * HOUR), wakeup)
            try:
                return watching.wait().status.words
            finally:
                over.set()

        def follow() -> None:
            api = aws()
            feed = LiveFeed(Objects(api, patience_seconds=0), "s3://b/messages", api.clock, wakeup, lambda _: None)
            feed._follow(cast("Any", Handler()), over)

        return [watch, follow]

    began = time.monotonic()
    outcomes = hosts.run([actor for number in range(steps) for actor in actors(number)])
    polled.seconds = time.monotonic() - began
    assert outcomes == ["COMPLETED", None] * steps
    return polled


def polling(hours: float, steps: int) -> Figures:
    polled = poll(hours, steps, early=2, late=hours - 0.5)
    emr = sum(count for call, count in polled.calls.items() if call.startswith("emr."))
    describes = polled.calls["emr.describe_step"] / steps / (60 * hours)
    outcome = (
        f"{describes:.2f} DescribeStep a minute and step, {emr / (3600 * hours):.2f} calls to EMR a second; "
        f"memory at hour 2: {polled.blocks_early:,} blocks, at the end: {polled.blocks_late:,}"
    )
    return Figures(f"{hours:g} h of {steps} steps (stub)", polled.seconds, polled.calls.total(), outcome)


# the command

LOADS: dict[str, Callable[[], Figures]] = {
    "line": lambda: line(1_000),
    "word": lambda: line(1_000, "x" * 1_000),
    "listing": lambda: listing(100_000),
    "listing_on_s3": lambda: listing_on_s3(100_000),
    "printing": lambda: printing(100),
    "logging": lambda: logging(100),
    "result": lambda: result(10),
    "too_large_a_result": lambda: too_large_a_result(1000),
    "find_by_name": lambda: find_by_name(5_000, 500),
    "end_orphans": lambda: end_orphans(5_000, 500),
    "keep_the_ledger": lambda: keep_the_ledger(5_000, 500),
    "a_day": lambda: polling(24, 1),
    "a_day_of_100": lambda: polling(24, 100),
}


def _child(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.reliability.load", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


def _measured(name: str) -> Figures:
    """Run one load in this process; memory is the kernel's peak resident size."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = LOADS[name]()
    return replace(figures, peak_mb=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MB)


def main() -> int:
    parser = argparse.ArgumentParser(description="Loads at their full sizes.")
    parser.add_argument("--only", choices=LOADS, help="one of them")
    parser.add_argument("--json", action="store_true", help="its figures as JSON, measured in this process")
    parser.add_argument("print", nargs="*", help=argparse.SUPPRESS)  # print FOLDER MEGABYTES
    told = parser.parse_args()
    if told.print:
        print_much(Folder(Path(told.print[1])), int(told.print[2]))
        return 0
    if told.json:
        print(json.dumps(asdict(_measured(told.only))))
        return 0
    print(f"{'load':<58} {'seconds':>8} {'MB':>7} {'calls':>9}  outcome")
    failed = False
    for name in [told.only] if told.only else LOADS:
        child = _child("--only", name, "--json")
        if child.returncode:
            print(f"{name} failed")
            failed = True
            continue
        figures = Figures(**json.loads(child.stdout.splitlines()[-1]))
        numbers = f"{figures.seconds:>8.1f} {figures.peak_mb:>7.0f} {figures.calls:>9,}"
        print(f"{figures.load:<58} {numbers}  {figures.outcome}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
