"""Load tests at small sizes; `python -m tests.reliability.load` has the full ones.

Except for the result, AWS is a stub in this process: the tests are about the client's calls, memory and output.
"""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from emr_pipelines.assets.fields import metadata_of
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.states import STEP_UNFINISHED
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.errors import PackagingError, Throttled
from emr_pipelines.remote import codec, driver
from emr_pipelines.remote import message_buffer as outbox
from emr_pipelines.remote.message_buffer import AT_ONCE_CHARACTERS, KEPT_CHARACTERS, MessageBuffer
from tests.account import Account
from tests.emr_env import EmrEnv
from tests.patience import HUNG_SECONDS
from tests.reliability import load
from tests.reliability.load import MB, Folder, Found, Pipes, Result
from tests.runners.programs import Anything, Numbers, returns_no_json

TICK_SECONDS = 60  # Dagster's limit for a sensor
FILES = 3_000


@contextmanager
def most_memory(megabytes: float) -> Iterator[None]:
    """Check that at most so many additional MB are held at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * MB
    finally:
        tracemalloc.stop()


# a text of one line


@pytest.mark.extended
def test_a_long_line_takes_little_memory_and_a_word_as_long_is_refused() -> None:
    with most_memory(180):
        assert load.line(300).outcome == "80,000,000 words, all of them counted"
    with most_memory(30):
        refusal = load.line(60, "x" * 1_000).outcome
    assert refusal.startswith("/line.txt has no space or punctuation mark for more than 16,777,216 bytes")


# a listing


@pytest.mark.parametrize("listing", [load.listing, load.listing_on_s3])
def test_a_tick_over_many_files_takes_little(listing: Callable[[int], load.Figures]) -> None:
    with most_memory(5 + FILES * 3_000 / MB):
        figures = listing(FILES)
    assert figures.seconds < TICK_SECONDS
    assert figures.calls in (0, FILES // 1000 + 1)
    assert int(figures.outcome.split()[3].replace(",", "")) < 8 * FILES + 100


# a program's output


def message(text: str, stream: str = "stdout") -> tuple[str, dict[str, object]]:
    return "log_external_stream", {"stream": stream, "text": text, "extras": {}}


class Printer:
    """A message buffer, and its output."""

    def __init__(self) -> None:
        self.time = 0.0
        self.outbox = MessageBuffer(lambda: self.time)

    def put(self, method: str, params: dict[str, object]) -> None:
        self.outbox.put({"__dagster_pipes_version": "0.1", "method": method, "params": params})

    def take(self) -> list[tuple[str, str]]:
        taken = []
        while messages := self.outbox.take():
            taken += [(found["method"], str((found["params"] or {}).get("text", ""))) for found in messages]
        return taken


def test_texts_of_a_stream_are_one_message_and_keep_their_order_among_the_others() -> None:
    printer = Printer()
    for what in (message("a"), message("\n"), message("oh", "stderr"), ("log", {}), message("b"), message("c")):
        printer.put(*what)
    printed = "log_external_stream"
    assert printer.take() == [(printed, "a\n"), (printed, "oh"), ("log", ""), (printed, "bc")]


def test_what_is_over_the_limit_is_counted_and_the_newest_of_it_is_kept() -> None:
    printer = Printer()
    lines = [f"line {number:>94}\n" for number in range(AT_ONCE_CHARACTERS // 100 + 1000)]
    for line in lines:
        printer.put(*message(line))
    printer.put("closed", {})
    (*_, (_, last), (method, _)) = taken = printer.take()
    assert method == "closed"
    text = "".join(found for _, found in taken)
    kept = KEPT_CHARACTERS // 100 - 1
    told = f"\n[{100 * (1000 - kept):,} characters were printed here and are left out; the step's logs have them.]\n"
    assert text == "".join(lines[:-1000]) + told + "".join(lines[-kept:])
    assert last.endswith(lines[-1])


def test_who_prints_on_after_much_is_heard_again_after_a_while() -> None:
    printer = Printer()
    printer.put(*message("x" * AT_ONCE_CHARACTERS))
    printer.put(*message("over\n"))
    assert sum(len(text) for _, text in printer.take()) == AT_ONCE_CHARACTERS
    printer.time += 2 * KEPT_CHARACTERS / outbox.PER_SECOND_CHARACTERS
    assert printer.take() == [("log_external_stream", "over\n")]
    printer.put(*message("soon\n"))
    assert printer.take() == [("log_external_stream", "soon\n")]


@pytest.mark.extended
def test_much_output_takes_bounded_memory_and_few_writes_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "FEED_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "AT_ONCE_CHARACTERS", MB)
    folder = Folder(tmp_path)
    lines = load.print_much(folder, 5)
    sizes = folder.sizes()
    assert MB < sum(sizes) < 1.2 * MB
    _, logged = load.log_all(folder)
    assert len(logged) < MB / 7_000
    assert folder.reads == len(sizes)
    left_out = [line for text in logged for line in text.split("\n") if "left out" in line]
    assert len(left_out) == 1
    assert logged[-1].endswith(f"line {lines - 1:>94}")


def test_output_that_nobody_takes_is_held_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 cannot be reached, and the program keeps printing a few characters at a time."""
    monkeypatch.setattr(outbox, "AT_ONCE_CHARACTERS", 20_000)
    printer = Printer()
    with most_memory(0.5):
        for _ in range(40_000):
            printer.put(*message("abc"))
    assert "left out" not in "".join(text for _, text in printer.take())
    printer.put("closed", {})
    assert "left out" in "".join(text for _, text in printer.take())


def test_messages_that_cannot_be_written_are_tried_again(tmp_path: Path) -> None:
    class Ill(Folder):
        def write(self, uri: str, data: bytes) -> None:
            if self.writes < 2:
                self.writes += 1
                raise OSError("S3 is ill")
            super().write(uri, data)

    folder = Ill(tmp_path)
    channel = driver.Channel(folder, "s3://b/messages")  # type: ignore[arg-type]
    for text in ("one\n", "two\n", "three\n"):
        Pipes(channel).log_external_stream("stdout", text)
        channel._write()
    lines = [line for number in (1, 2) for line in (folder.read(f"{number}.json") or b"").splitlines()]
    assert [json.loads(line)["params"]["text"] for line in lines] == ["one\n", "two\nthree\n"]


# a large result


def test_a_result_of_10_mb_comes_back_whole(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    emr_env.clock.result = {"value": "x" * (10 * MB)}
    leave = emr_env.clock._leave_results

    def leave_once() -> None:
        leave()
        steps = [step for cluster in emr_env.account.emulator.clusters() for step in cluster.steps.values()]
        if any(str(step.state) == "RUNNING" for step in steps):
            emr_env.clock.result = None

    monkeypatch.setattr(emr_env.clock, "_leave_results", leave_once)
    found = emr_env.materialize(lambda context, spark: spark.run(context, returns_no_json, Numbers((1,))))
    assert found == Anything("x" * (10 * MB))
    assert max(map(len, emr_env.log)) < 10_000  # it is not in the event log


def test_metadata_show_the_beginning_of_a_large_result() -> None:
    figures = load.result(1)
    assert int(figures.outcome.split()[0].replace(",", "")) < 100_000
    shown = metadata_of(Result([Found(1, "a")], "text", ["x"] * 10_000))
    assert shown["text"] == "text"
    assert isinstance(shown["rows"], dg.TableMetadataValue)
    assert shown["anything"].value.endswith(" characters more")
    assert "rows_rows" not in shown
    assert metadata_of(Result([Found(1, "a")] * 501, "", None))["rows_rows"] == 501


def test_a_result_that_is_too_large_gets_one_sentence() -> None:
    with pytest.raises(PackagingError) as refusal:
        codec.dumps(Result([], "x" * codec.MAX_BYTES, None), "result")
    assert str(refusal.value) == (
        "result is 67,108,906 bytes of JSON; allowed: up to 67,108,864. Write data to files, and let result say where "
        "they are."
    )


# many clusters


@pytest.mark.extended
@pytest.mark.parametrize(
    ("look", "least_calls", "most_calls"),
    [(load.find_by_name, 10, 10), (load.end_orphans, 10, 10), (load.keep_the_ledger, 100 + 3 * 5000, 30_000)],
)
def test_5000_clusters_are_listed_page_by_page_within_aws_s_limits(
    look: Callable[[int, int], load.Figures], least_calls: int, most_calls: int
) -> None:
    figures = look(5_000, 500)
    assert least_calls <= figures.calls <= most_calls


def test_who_cannot_wait_hears_that_aws_throttles() -> None:
    stub = load.Account(5_000, 5_000)
    stub.aws._deadline = stub.clock.now() + 30  # the sensor's deadline
    with pytest.raises(Throttled):
        Clusters(stub.aws).active("emr-pipelines/load")


def test_a_pool_s_cluster_with_many_steps_behind_it_is_asked_for_few(account: Account) -> None:
    cluster_id = account.launch()
    for number in range(200):
        account.steps.add(cluster_id, Step(f"step {number}", ("bash",)))
        account.emulator.advance(400 if number == 0 else 11)
    waiting = account.steps.add(cluster_id, Step("waiting", ("hangs",)))
    account.calls.clear()
    assert [step.id for step in account.steps.each(cluster_id, STEP_UNFINISHED)] == [waiting]
    assert account.steps.before(cluster_id, waiting) == 0
    assert account.emr_calls() == 2
    account.clusters.terminate(cluster_id)


# hours of polling


@pytest.mark.parametrize("steps", [1, pytest.param(20, marks=pytest.mark.extended)])
def test_polling_for_hours_costs_few_calls_and_no_memory(steps: int) -> None:
    hours = 3
    polled = load.poll(hours, steps, early=1, late=2.9)
    minutes = 60 * hours
    assert polled.calls["emr.describe_step"] <= steps * (1.05 * minutes + 10)
    emr = sum(calls for call, calls in polled.calls.items() if call.startswith("emr."))
    assert emr <= 0.5 * 3600 * hours  # AWS's rate limit for an account
    s3 = sum(calls for call, calls in polled.calls.items() if call.startswith("s3."))
    assert s3 <= 12 * 3600 * hours
    assert polled.blocks_early
    assert polled.blocks_late - polled.blocks_early < sys.getallocatedblocks() // 200


# the command


@pytest.mark.extended
def test_the_command_prints_figures() -> None:
    command = [sys.executable, "-m", "tests.reliability.load", "--only", "find_by_name"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HUNG_SECONDS)
    assert ran.returncode == 0, ran.stderr
    heading, figures = ran.stdout.splitlines()
    assert heading.split() == ["load", "seconds", "MB", "calls", "outcome"]
    assert "5,000" in figures
