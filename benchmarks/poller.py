"""One process that watches many clusters: 200 concurrent programs, each in a thread and on its own cluster.

    python -m benchmarks.poller [--quick] [--json]

One asset runs the programs in threads with an EmrSparkRunner of scope `asset`: sessions, leases, watches, live feeds,
results and bills are those of every run. The emulator is another process, so its CPU time is not counted. It throttles
as EMR does: a bucket of calls for each operation and one for all, at AWS's default quotas. While clusters are launched
and ended, the buckets are TIMES_FASTER times as large and fill as much faster, so that the benchmark takes minutes and
not an hour; while all steps run, they are AWS's.

The CPU time (user and system) of the watching process is taken over a window in which all steps run; so are the calls.
The programs are as chatty as a program that says nothing: a sign of life every 3 s.
"""

import os
import resource
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

import dagster as dg

from benchmarks import harness, orchestration
from benchmarks.account import BUCKET, ENDED, account

MAX_CPU_PERCENT = 5.0
TIMES_FASTER = 10.0
SETTLED_SECONDS = 10.0  # between the start of the last step and the window
# AWS's default quotas of Amazon EMR, from a public listing of Service Quotas: calls at once, and calls per second
LIMITS: Mapping[str, tuple[float, float]] = {
    "*": (25, 5),
    "AddJobFlowSteps": (10, 0.5),
    "CancelSteps": (10, 0.5),
    "DescribeCluster": (10, 1),
    "DescribeStep": (10, 0.5),
    "ListClusters": (20, 0.5),
    "ListInstances": (10, 0.5),
    "ListSteps": (10, 0.5),
    "RunJobFlow": (10, 0.5),
    "TerminateJobFlows": (10, 0.5),
}


@dataclass(frozen=True)
class Size:
    """How many clusters, for how long they are watched, and how long their steps take, in seconds: their launch and
    the window have to fit in."""

    clusters: int
    window: float
    step: float


FULL = Size(200, 60, 260)
QUICK = Size(10, 5, 30)


def watch(clusters: int, window: float, step: float) -> tuple[float, dict[str, Any]]:
    """Run so many programs, and measure while all of them run; return the seconds of the whole run."""
    from emr_pipelines.aws import client  # noqa: F401 (what the runner imports when it is used)
    from emr_pipelines.backends.emr import backend  # noqa: F401 (what the runner imports when it is used)
    from emr_pipelines.job import package  # noqa: F401 (what the runner imports when it is used)
    from emr_pipelines.runners.emr import EmrSparkRunner

    failures: list[str] = []

    @dg.asset(required_resource_keys={"spark"})
    def totals(context: dg.AssetExecutionContext) -> None:
        def one(number: int) -> None:
            try:
                context.resources.spark.run(context, orchestration.add_up, orchestration.Numbers((number,)))
            except Exception as error:  # noqa: BLE001 (counted)
                failures.append(f"{type(error).__name__}: {error}")

        with ThreadPoolExecutor(clusters) as pool:
            list(pool.map(one, range(clusters)))

    durations = {"provisioning": 5.0, "bootstrapping": 1.0, "step": step, "termination": 3.0}
    with account(**durations, result={"total": 6}, limits=LIMITS) as emulated:
        emulated.ask(f"factor {TIMES_FASTER}")
        window_found: dict[str, Any] = {}
        meter = threading.Thread(target=lambda: window_found.update(_meter(emulated.ask, clusters, window)))
        runner = EmrSparkRunner(
            bucket=BUCKET, ship_dependencies=False, scope="asset", prices={"m5.xlarge": 1.0}, retries=0
        )
        meter.start()
        began = time.monotonic()
        dg.materialize([totals], resources={"spark": runner})
        seconds = time.monotonic() - began
        meter.join()
        report = emulated.in_the_end()
    return seconds, {
        "launches": len(report["clusters"]),
        "left": sum(cluster["state"] not in ENDED for cluster in report["clusters"]),
        "steps": sorted(state for cluster in report["clusters"] for state in cluster["steps"]),
        "failures": failures,
        "failed": len(failures),
        "calls": report["calls"],
        "throttled": report["throttled"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "cores": sum(os.times()[:2]) / seconds,
        **window_found,
    }


def _meter(ask: Callable[..., dict[str, Any]], clusters: int, window: float) -> dict[str, Any]:
    """Wait until all steps run, and measure the next seconds."""
    while True:
        steps = [cluster["steps"] for cluster in ask()["clusters"]]
        if steps.count(["RUNNING"]) == clusters or ["COMPLETED"] in steps:  # then they were not all running at once
            break
        time.sleep(1)
    ask("factor 1")
    time.sleep(SETTLED_SECONDS)
    before, cpu, began = ask(), time.process_time(), time.monotonic()
    time.sleep(window)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    after = ask(f"factor {TIMES_FASTER}")
    still = sum(cluster["steps"] == ["RUNNING"] for cluster in after["clusters"])
    return {
        "window_seconds": seconds,
        "cpu_percent": 100 * cpu / seconds,
        "threads": threading.active_count(),
        "running": still,
        "window_s3": after["s3_calls"] - before["s3_calls"],
        "window_calls": {name: after["calls"][name] - before["calls"].get(name, 0) for name in after["calls"]},
        "window_throttled": {
            name: after["throttled"][name] - before["throttled"].get(name, 0) for name in after["throttled"]
        },
    }


CONTENDERS: dict[str, harness.Contender] = {"ours": watch}


def main() -> None:
    asked = harness.arguments(__doc__, rounds=1)
    size = QUICK if asked.quick else FULL
    runs = harness.in_turn("benchmarks.poller", ["ours"], asked.rounds, **vars(size))
    _check(runs["ours"], size)
    met = orchestration.verdict(_median(runs, "cpu_percent") <= MAX_CPU_PERCENT)
    table = harness.Table(
        f"{size.clusters} clusters watched by one process, all steps running, over {size.window:g} s "
        f"(CPU: {met}: at most {MAX_CPU_PERCENT:g} % of a core)",
        ("what", "while all steps run", "in all"),
    )
    minutes = _median(runs, "window_seconds") / 60
    whole = [run.answer for run in runs["ours"]]
    rows: list[tuple[str, str, str]] = [
        (
            "CPU of the process, % of a core",
            f"{_median(runs, 'cpu_percent'):.1f}",
            f"{100 * _median(runs, 'cores'):.1f}",
        ),
        ("seconds", f"{_median(runs, 'window_seconds'):.0f}", f"{harness.median(runs['ours']):.0f}"),
        ("calls to EMR", _calls(whole, "window_calls"), _calls(whole, "calls")),
        ("of them throttled", _calls(whole, "window_throttled"), _calls(whole, "throttled")),
        ("calls to EMR per minute", f"{float(_calls(whole, 'window_calls')) / minutes:.0f}", ""),
        ("calls to S3 per minute", f"{_median(runs, 'window_s3') / minutes:.0f}", ""),
        ("threads", f"{_median(runs, 'threads'):.0f}", ""),
        ("peak memory, MB", "", f"{_median(runs, 'peak_mb'):.0f}"),
        ("failures", "", f"{_median(runs, 'failed'):.0f}"),
    ]
    table.rows += rows
    harness.report(asked, harness.machine("dagster", "boto3"), [table], runs)


def _check(runs: Sequence[harness.Run], size: Size) -> None:
    """Check that every step ran once on its own cluster, that nothing failed or is left, and that all steps were
    running during the measurement. Raises Disagreement."""
    expected = {
        "launches": size.clusters, "left": 0, "steps": ["COMPLETED"] * size.clusters, "failures": [],
        "running": size.clusters,
    }  # fmt: skip
    for run in runs:
        harness.agree({"what is asked": expected, "ours": {name: run.answer[name] for name in expected}})


def _median(runs: Mapping[str, Sequence[harness.Run]], name: str) -> float:
    return float(median(run.answer[name] for run in runs["ours"]))


def _calls(answers: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the calls of all operations; --json lists each."""
    return f"{median(sum(answer[name].values()) for answer in answers):.0f}"


if __name__ == "__main__":
    harness.serve(CONTENDERS)
    main()
