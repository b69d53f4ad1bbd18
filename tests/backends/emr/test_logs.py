"""Logs are found under any name, awaited for a limited time, and read from their end."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest
from rehearsal import UP, Rehearsal, client, step, until, with_spark  # noqa: F401 (a fixture)

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import ObjectEntry, Objects
from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose
from emr_pipelines.backends.emr.logs import Logs
from emr_pipelines.backends.log_files import KEPT_BYTES, KEPT_LINES, MAX_COMPRESSED_BYTES, last_lines, read_newest
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.errors import AwsError, InvalidValue, Unreachable
from tests.account import BUCKET, Account

STEP = "steps/s-1"
APPLICATION = "application_1700000000000_0001"
CONTAINERS = f"containers/{APPLICATION}/container_1700000000000_0001"


class Hour:
    """A clock that a pause advances, running the actions that become due."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:  # noqa: ARG002
        self.pauses.append(seconds)
        self.time += seconds


@dataclass
class Stored:
    data: bytes
    written: float
    bytes: int


class Shelf(Objects):
    """S3 as a dictionary: an object exists from a given time, until a later one of the same name."""

    def __init__(self, clock: Hour) -> None:
        self.clock = clock
        self.stored: dict[str, list[Stored]] = {}
        self.errors: list[AwsError] = []  # one for each call
        self.reads: list[tuple[str, int | None]] = []

    def put(self, name: str, text: str | bytes, after: float = 0, size: int | None = None) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        data = gzip.compress(data) if name.endswith(".gz") and isinstance(text, str) else data
        stored = Stored(data, self.clock.time + after, len(data) if size is None else size)
        self.stored.setdefault(f"s3://b/logs/j-1/{name}", []).append(stored)

    def entries(self, uri: str) -> Iterator[ObjectEntry]:
        if self.errors:
            raise self.errors.pop(0)
        for name in sorted(self.stored):
            if name.startswith(uri) and (stored := self._now(name)):
                yield ObjectEntry(name, stored.bytes, datetime.fromtimestamp(stored.written, timezone.utc))

    def read(self, uri: str, last_bytes: int | None = None) -> bytes | None:
        self.reads.append((uri, last_bytes))
        if self.errors:
            raise self.errors.pop(0)
        stored = self._now(uri)
        return stored.data[-(last_bytes or 0) :] if stored else None

    def _now(self, name: str) -> Stored | None:
        return next((one for one in reversed(self.stored[name]) if one.written <= self.clock.time), None)


@pytest.fixture
def clock() -> Hour:
    return Hour()


@pytest.fixture
def shelf(clock: Hour) -> Shelf:
    return Shelf(clock)


@pytest.fixture
def logs(shelf: Shelf, clock: Hour) -> Logs:
    return Logs(shelf, clock, "s3n://b/logs/", "j-1")


def texts(logs: tuple[Log, ...]) -> dict[str, str]:
    return {log.uri.removeprefix("s3://b/logs/j-1/"): "\n".join(log.lines) for log in logs}


@pytest.mark.parametrize(
    ("log_uri", "folder"),
    [
        ("s3n://b/logs/", "s3://b/logs/j-1/steps/s-1/"),
        ("s3://b/a/b", "s3://b/a/b/j-1/steps/s-1/"),
        ("s3://b", "s3://b/j-1/steps/s-1/"),
        ("s3n://b/", "s3://b/j-1/steps/s-1/"),
        ("", ""),
    ],
)
def test_the_folder_of_a_step(shelf: Shelf, clock: Hour, log_uri: str, folder: str) -> None:
    assert Logs(shelf, clock, log_uri, "j-1").step_folder("s-1") == folder


def test_a_log_uri_that_is_none(shelf: Shelf, clock: Hour) -> None:
    with pytest.raises(InvalidValue, match="s3://bucket/key"):
        Logs(shelf, clock, "file:///logs", "j-1")


@pytest.mark.parametrize("suffix", [".gz", ".txt.gz", "", "-2026-11-22-10.gz"])
def test_logs_are_found_whatever_they_are_called(shelf: Shelf, logs: Logs, suffix: str) -> None:
    for name in ("controller", "stderr", "stdout", "syslog", "directory.info"):
        shelf.put(f"{STEP}/{name}{suffix}", f"{name} 1\n{name} 2\n")
    shelf.put("steps/s-10/stdout.gz", "another step's")
    found = logs.driver_logs("s-1", 60)
    assert [log.name for log in found] == ["controller", "stderr", "stdout"]
    assert [log.lines for log in found] == [(f"{log.name} 1", f"{log.name} 2") for log in found]


def test_of_rotated_logs_the_newest_two_the_oldest_first(shelf: Shelf, logs: Logs) -> None:
    for number in (3, 1, 2):
        shelf.put(f"{STEP}/stdout-{number}.gz", str(number), after=-10 + number)
    assert list(texts(logs.driver_logs("s-1", 60)).values()) == ["2", "3"]


def test_it_waits_until_they_are_there_and_as_they_were_a_moment_before(shelf: Shelf, logs: Logs, clock: Hour) -> None:
    shelf.put(f"{STEP}/controller.gz", "there all the time")
    shelf.put(f"{STEP}/stderr.gz", "first", after=12)
    shelf.put(f"{STEP}/stdout.gz", "then", after=17)
    assert texts(logs.driver_logs("s-1", 300)) == {
        f"{STEP}/controller.gz": "there all the time",
        f"{STEP}/stderr.gz": "first",
        f"{STEP}/stdout.gz": "then",
    }
    assert clock.pauses == [5] * 5


def test_what_was_written_before_the_end_is_waited_out(shelf: Shelf, logs: Logs, clock: Hour) -> None:
    ended = clock.time
    shelf.put(f"{STEP}/stderr.gz", "while it ran", after=-60)
    shelf.put(f"{STEP}/stderr.gz", "to its end", after=30)
    shelf.put(f"{STEP}/stdout.gz", "ValueError", after=30)
    assert list(texts(logs.driver_logs("s-1", 300, ended)).values()) == ["to its end", "ValueError"]
    assert clock.time == ended + 35
    assert len(logs.driver_logs("s-1", 20, ended + 60)) == 2  # better than none
    assert clock.time == ended + 55


@pytest.mark.parametrize("wait_seconds", [0, 12])
def test_at_the_end_of_the_wait_it_gives_back_what_there_is(
    shelf: Shelf, logs: Logs, clock: Hour, wait_seconds: float
) -> None:
    began = clock.time
    assert logs.driver_logs("s-1", wait_seconds) == ()
    shelf.put(f"{STEP}/controller.gz", "alone")
    assert texts(logs.driver_logs("s-1", wait_seconds)) == {f"{STEP}/controller.gz": "alone"}
    assert clock.time == began + 2 * wait_seconds


def test_without_a_log_uri_nothing_is_waited_for(shelf: Shelf, clock: Hour) -> None:
    logs = Logs(shelf, clock, "", "j-1")
    assert (logs.driver_logs("s-1", 600), logs.bootstrap_logs(600), clock.pauses) == ((), (), [])


CLUSTER_MODE = f"INFO Client: Application report for {APPLICATION} (state: FINISHED)\n"
CLIENT_MODE = f"INFO YarnClientImpl: Submitted application {APPLICATION}\n"


def test_in_cluster_mode_it_waits_for_the_drivers_container_too(shelf: Shelf, logs: Logs) -> None:
    shelf.put(f"{STEP}/stderr.gz", CLUSTER_MODE)
    for name in ("01_000001/stdout", "02_000001/stderr", "02_000001/stdout", "02_000002/stdout"):
        shelf.put(f"{CONTAINERS}_{name}.gz", name, after=20)
    shelf.put(f"{CONTAINERS.replace('0001', '0002')}_01_000001/stdout.gz", "another application's")
    assert texts(logs.driver_logs("s-1", 60)) == {
        f"{STEP}/stderr.gz": CLUSTER_MODE.rstrip(),
        f"{CONTAINERS}_02_000001/stderr.gz": "02_000001/stderr",
        f"{CONTAINERS}_02_000001/stdout.gz": "02_000001/stdout",
    }


def test_in_client_mode_it_does_not_wait_for_a_container(shelf: Shelf, logs: Logs, clock: Hour) -> None:
    shelf.put(f"{STEP}/stderr.gz", CLIENT_MODE)
    assert len(logs.driver_logs("s-1", 600)) == 1
    assert clock.pauses == [5]
    shelf.put(f"{CONTAINERS}_01_000001/stderr.gz", "what is there is taken")
    assert len(logs.driver_logs("s-1", 600)) == 2


def test_bootstrap_logs_of_the_actions_that_failed(shelf: Shelf, logs: Logs) -> None:
    node = "node/i-2/bootstrap-actions"
    for action, code in ((1, 0), (2, 7)):
        text = f"waitProcessCompletion ended with exit code {code} : s3://b/{action}.sh"
        shelf.put(f"{node}/{action}/controller.gz", text, after=8)
        shelf.put(f"{node}/{action}/stderr.gz", f"of {action}", after=8)
    shelf.put("node/i-2/applications/hadoop/stderr.gz", "a daemon's")
    found = logs.bootstrap_logs(60)
    assert [log.uri.removeprefix(f"s3://b/logs/j-1/{node}/") for log in found] == ["2/controller.gz", "2/stderr.gz"]
    assert (found[0].exit_code, found[1].lines) == (7, ("of 2",))


def test_bootstrap_logs_of_all_actions_where_no_controller_tells(shelf: Shelf, logs: Logs) -> None:
    for action in (1, 2):
        shelf.put(f"node/i-1/bootstrap-actions/{action}/stdout.gz", str(action))
    assert list(texts(logs.bootstrap_logs(60)).values()) == ["1", "2"]
    assert logs.bootstrap_logs(0) == logs.bootstrap_logs(60)


def test_errors_of_aws_are_absent_logs(shelf: Shelf, logs: Logs) -> None:
    shelf.put(f"{STEP}/stderr.gz", "a")
    shelf.put(f"{STEP}/stdout.gz", "b")
    shelf.errors = [Unreachable("no listing")]
    assert len(logs.driver_logs("s-1", 60)) == 2  # the next listing went well
    shelf.errors = [Unreachable("no listing")]
    assert logs.driver_logs("s-1", 0) == ()
    entries = list(shelf.entries(logs.step_folder("s-1")))
    shelf.errors = [Unreachable("no reading")]
    assert texts(read_newest(logs._objects, entries)) == {f"{STEP}/stdout.gz": "b"}


# the content of a log


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", ()),
        (b"a\nb\n", ("a", "b")),
        (b"a\r\n\nb", ("a", "", "b")),
        (b"[Stage 0:> (0 + 2) / 2]\r      \rTraceback\n", ("Traceback",)),
        (b"caf\xe9 \xc3\xa9\n", ("caf� é",)),
        (gzip.compress(b"a\nb\n", mtime=0), ("a", "b")),
        (gzip.compress(b"a\n", mtime=0) + gzip.compress(b"b\n", mtime=0), ("a", "b")),
        (gzip.compress(b"a\n", mtime=0) + b"\x1f\x8b damaged", ("a",)),
        (gzip.compress(b"", mtime=0), ()),
        (gzip.compress(b"a\n", mtime=0) + b"\0\0\0", ("a",)),
        (b"\x1f\x8b", ()),
    ],
)
def test_lines_of_what_is_stored(data: bytes, lines: tuple[str, ...]) -> None:
    assert last_lines(data) == lines


def test_a_log_that_was_cut_off_gives_what_can_be_unpacked() -> None:
    whole = "\n".join(f"{number} {number * 7919 % 10007}" for number in range(3000))
    packed = gzip.compress(whole.encode())
    lines = last_lines(packed[: len(packed) // 2])
    assert len(lines) > 500
    assert "\n".join(lines) == whole[: len("\n".join(lines))]


def test_of_a_long_log_the_end_is_kept() -> None:
    many = b"".join(b"%d\n" % number for number in range(400_000))
    lines = last_lines(gzip.compress(many))
    assert (len(lines), lines[-1]) == (KEPT_LINES, "399999")
    assert lines == last_lines(many)
    endless = last_lines(gzip.compress(b"x" * (3 * KEPT_BYTES)))
    assert [len(line) for line in endless] == [KEPT_BYTES]


def test_of_a_large_object_only_the_end_is_asked_for(shelf: Shelf, logs: Logs) -> None:
    shelf.put(f"{STEP}/controller", "")
    shelf.put(f"{STEP}/stderr", "plain")
    shelf.put(f"{STEP}/stdout.gz", "packed", size=MAX_COMPRESSED_BYTES + 1)
    assert texts(logs.driver_logs("s-1", 60)) == {
        f"{STEP}/controller": "",
        f"{STEP}/stderr": "plain",
        f"{STEP}/stdout.gz": "(This log is not shown: it has 33,554,433 bytes, compressed.)",
    }
    assert shelf.reads == [(f"s3://b/logs/j-1/{STEP}/stderr", KEPT_BYTES)]


# with the emulator


def failed_step(account: Account) -> tuple[Logs, str]:
    """Return the logs of a cluster whose only step has failed, and that step."""
    emr = client(account.emulator, "emr")
    cluster_id = account.launch()
    (step_id,) = emr.add_job_flow_steps(JobFlowId=cluster_id, Steps=[step("fails")])["StepIds"]
    account.emulator.advance(UP + 20)
    assert emr.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"]["Status"]["State"] == "FAILED"
    log_uri = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["LogUri"]
    assert log_uri.startswith(f"s3n://{BUCKET}/")
    return Logs(account.objects, account.clock, log_uri, cluster_id), step_id


@pytest.mark.parametrize("suffix", [".gz", ".txt.gz"])
def test_it_waits_for_emrs_push(account: Account, suffix: str) -> None:
    account.fault("log_names", suffix=suffix)
    logs, step_id = failed_step(account)
    began = account.clock.now()
    found = logs.driver_logs(step_id, 600, ended=began - 10)
    assert [log.uri for log in found] == [f"{logs.step_folder(step_id)}{n}{suffix}" for n in ("controller", "stderr")]
    assert (found[0].exit_code, found[1].lines) == (1, ("ValueError: no",))
    assert 0 < account.clock.now() - began <= 300


@pytest.mark.parametrize("fault", [{"fault": "logs_never"}, {"fault": "logs_late", "seconds": 3000}])
def test_logs_that_do_not_come_in_time_cost_the_wait_and_no_more(account: Account, fault: dict[str, str]) -> None:
    account.fault(**fault)
    logs, step_id = failed_step(account)
    began = account.clock.now()
    assert logs.driver_logs(step_id, 100) == ()
    assert account.clock.now() - began == 100


def test_logs_that_may_not_be_read(account: Account) -> None:
    account.fault("s3_error", operation="ListObjectsV2", code="AccessDenied", times=None)
    logs, step_id = failed_step(account)
    assert logs.driver_logs(step_id, 400) == ()
    account.emulator.faults.clear()
    account.fault("s3_error", operation="GetObject", code="AccessDenied", times=None)
    assert logs.driver_logs(step_id, 400) == ()


def test_the_bootstrap_action_that_failed(account: Account) -> None:
    account.fault("bootstrap_fails", action=2, exit_code=7, stderr="pip: no such package\n")
    request = account.request()
    request["BootstrapActions"] = [
        {"Name": name, "ScriptBootstrapAction": {"Path": f"s3://{BUCKET}/{name}.sh"}} for name in ("one", "two")
    ]
    cluster_id = account.clusters.launch(request)
    account.emulator.advance(UP)
    logs = Logs(account.objects, account.clock, request["LogUri"], cluster_id)
    found = logs.bootstrap_logs(600)
    assert [(log.name, log.exit_code) for log in found] == [("controller", 7), ("stderr", None)]
    assert found[1].lines == ("pip: no such package",)


PROGRAM = """
import sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print("OutOfMemoryError and Access Denied are words")
if "worker" in sys.argv:
    spark.sparkContext.parallelize(range(4), 2).map(lambda n: 1 // (n - 3)).collect()
spark.read.text("s3://real/nothing").count()
"""


@pytest.mark.extended
def test_what_spark_really_leaves_is_understood(with_spark: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in with_spark.emulator.environment.items():
        monkeypatch.setenv(name, value)
    (with_spark.emulator.create_bucket("real") / "main.py").write_text(PROGRAM)
    submit = ("spark-submit", "--master", "yarn", "--deploy-mode")
    cluster_id = with_spark.launch(
        step(*submit, "cluster", "s3://real/main.py", "worker"),
        step(*submit, "client", "s3://real/main.py"),
        step(*submit, "client", "--nonsense", "s3://real/main.py"),
        LogUri="s3://real/logs",
        KeepJobFlowAliveWhenNoSteps=False,
    )
    until(lambda: with_spark.state(cluster_id) == "TERMINATED")
    logs = Logs(Objects(Aws()), Hour(), "s3n://real/logs/", cluster_id)
    causes = []
    for found in with_spark.steps(cluster_id):
        details = found["Status"]["FailureDetails"]
        evidence = ClusterEvidence(
            step_state=found["Status"]["State"],
            failure_reason=details["Reason"],
            failure_message=details.get("Message", ""),
            failure_log=details["LogFile"],
            driver=logs.driver_logs(found["Id"], 0),
        )
        causes.append(diagnose(evidence))
    assert [cause.kind for cause in causes] == [Kind.USER_EXCEPTION, Kind.INPUT_MISSING, Kind.SPARK_SUBMIT_USAGE]
    assert causes[0].message == "The program raised ZeroDivisionError: integer division or modulo by zero."
    assert "/containers/" in causes[0].log_uri
    assert causes[0].traceback.startswith("Traceback (most recent call last):\n")
    assert causes[0].traceback.endswith("\nZeroDivisionError: integer division or modulo by zero")
    assert "s3://real/nothing" in causes[1].message
    assert causes[2].message == "spark-submit could not start the program: Unrecognized option: --nonsense."
