"""Run contenders in turn, in separate processes; print medians and ratios as Markdown or JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SAMPLE_SECONDS = 0.05  # between two measurements of memory

Contender = Callable[..., tuple[float, Any]]
"""Does its work with the settings it is given; returns the seconds of the work (without imports, without the start of
Spark) and its answer, in JSON types."""


class Disagreement(Exception):
    """Contenders that should agree have different answers."""


@dataclass(frozen=True)
class Run:
    """What one run of a contender took. `seconds` are of its work, `wall_seconds` of its whole process; `peak_mb` is
    the largest resident size (MB) that any one process of the kind had, by kind: python, java, spark worker."""

    seconds: float
    wall_seconds: float
    peak_mb: dict[str, float]
    answer: Any


@dataclass
class Table:
    """A table to print: title, columns and rows."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def __str__(self) -> str:
        cells = [list(self.columns), *(list(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
        lines = [f"| {' | '.join(row)} |" for row in padded]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([f"**{self.title}**", "", *lines, ""])


def arguments(description: str | None, rounds: int) -> argparse.Namespace:
    """Parse the command line of every benchmark: `quick`, `json`, `rounds`."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small inputs, one round: whether the answers agree")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each contender runs ({rounds})")
    found = parser.parse_args()
    if found.rounds < 1:
        parser.error(f"--rounds is {found.rounds}; it can be 1 or more")
    if found.quick:
        found.rounds = 1
    return found


def serve(contenders: Mapping[str, Contender]) -> None:
    """In a process that `run` started, do the work, write the answer and exit; otherwise return at once."""
    if len(sys.argv) != 5 or sys.argv[1] != "--contender":
        return
    _, _, name, settings, answer_file = sys.argv
    seconds, answer = contenders[name](**json.loads(settings))
    Path(answer_file).write_text(json.dumps({"seconds": seconds, "answer": answer}))
    raise SystemExit(0)


def run(module: str, name: str, **settings: Any) -> Run:
    """Run one contender of a benchmark module once, in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder, "answer.json"), Path(folder, "log")
        command = [sys.executable, "-m", module, "--contender", name, json.dumps(settings), str(answer)]
        began = time.monotonic()
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            peak = _watch(process)
        wall_seconds = time.monotonic() - began
        if process.returncode:
            raise RuntimeError(f"{name} ended with exit code {process.returncode}:\n{log.read_text()[-8000:]}")
        found = json.loads(answer.read_text())
    return Run(found["seconds"], wall_seconds, peak, found["answer"])


def in_turn(module: str, names: Sequence[str], rounds: int, **settings: Any) -> dict[str, list[Run]]:
    """Run each contender `rounds` times, in the order A B C A B C."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            print(f"  {name} ({turn + 1} of {rounds})", file=sys.stderr)
            runs[name].append(run(module, name, **settings))
    return runs


@contextmanager
def spark_session(cores: int) -> Iterator[SparkSession]:
    """Return a Spark session with so many cores, this Python, a usable Java, and started Python workers."""
    from pyspark.sql import SparkSession

    from emr_pipelines.runners.java import java_environment

    os.environ |= java_environment(print)
    os.environ["PYSPARK_PYTHON"] = sys.executable  # otherwise workers use the first Python on the PATH
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.master(f"local[{cores}]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.log.level", "ERROR").getOrCreate()
    try:
        spark.sparkContext.parallelize(range(cores), cores).map(lambda _: time.sleep(0.1)).count()
        yield spark
    finally:
        spark.stop()


def median(runs: Sequence[Run]) -> float:
    """Return the median of the seconds of work."""
    return statistics.median(found.seconds for found in runs)


def agree(answers: Mapping[str, Any]) -> None:
    """Raise Disagreement unless all answers are equal."""
    (first, expected), *others = answers.items()
    for name, answer in others:
        if answer != expected:
            raise Disagreement(f"{name} answers {answer!r}, {first} {expected!r}.")


def machine(*packages: str) -> str:
    """Return a line about the machine and the compared versions."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}; {versions}"
    )


def report(asked: argparse.Namespace, about: str, tables: Sequence[Table], runs: Mapping[str, Sequence[Run]]) -> None:
    """Print the tables, or everything as JSON."""
    if asked.json:
        found = {name: [asdict(run) for run in several] for name, several in runs.items()}
        print(json.dumps({"machine": about, "tables": [asdict(table) for table in tables], "runs": found}))
        return
    print(f"{about}\n")
    print("\n".join(map(str, tables)), end="")


def _watch(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Wait for a process; return the largest resident size (MB) of each kind of process in its tree."""
    peak: dict[str, float] = {}
    root = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            for member in [root, *root.children(recursive=True)]:
                with suppress(psutil.Error):
                    kind = _kind(member)
                    peak[kind] = max(peak.get(kind, 0), member.memory_info().rss / 1e6)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_SECONDS)
    return peak


def _kind(process: psutil.Process) -> str:
    if "java" in process.name():
        return "java"
    return "spark worker" if "pyspark.daemon" in process.cmdline() else "python"
