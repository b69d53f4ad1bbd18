"""Pi: Monte Carlo samples per second and core, compared with Spark's pi.py and plain NumPy; decimals of the series.

Spark's pi.py is the file that the pyspark package ships, run as it is. Its function takes `random` with it to the
workers, state included, so all its partitions draw the same 100,000 points: its estimate is then the one that it gives
with two partitions, and is held against the spread of so many points.

NumPy's contenders are plain processes without Spark, in blocks that fit a core's cache, in place; the last two get both
coordinates of a point from 64 random bits, as the program does. NumPy in two processes at once shows what the machine's
cores take from each other.

Before times, estimates are held against pi, the program's own against a serial count over the same seeds for 1, 2 and 4
partitions, and the series' decimals against the Gauss-Legendre algorithm in Python's decimal.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import runpy
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.harness import (
    Contender,
    Disagreement,
    Run,
    Table,
    agree,
    arguments,
    in_turn,
    machine,
    median,
    report,
    serve,
    spark_session,
)

if TYPE_CHECKING:
    pass

MODULE = "benchmarks.pi"
CORES = 2  # of Spark, and of NumPy when it runs in two processes
SEED = 31_415
STD_ERRORS = 5  # a correct estimate is further off once in 1.7 million times
BLOCK = 1 << 15  # points: the fastest of 2^12 to 2^17 for each of NumPy's contenders
SLICE_POINTS = 100_000  # of a partition of Spark's pi.py
PARTITIONINGS = (1, 2, 4)
DECIMALS = (10, 50, 1000, 4000)
PI_50 = "3.14159265358979323846264338327950288419716939937510"  # OEIS A000796

PROGRAM, SPARK = "this program on Spark", "Spark's pi.py"
NUMPY = {
    "NumPy, default_rng().random()": "default_rng",
    "NumPy, SFC64 random()": "sfc64",
    "NumPy, SFC64 64-bit draws": "raw",
}
NUMPY_AT_ONCE = f"NumPy, the same in {CORES} processes"
ANY_PARTITIONS, SERIALLY, SERIES, IN_DECIMAL = "any partitions", "serially", "series", "decimal"


@dataclass(frozen=True)
class Size:
    """Points per core of what is in NumPy, partitions of Spark's pi.py, points of the count over the same seeds."""

    points_per_core: int
    slices: int
    counted: int


FULL, QUICK = Size(1 << 31, 100, 50_000_007), Size(1 << 26, 10, 10_000_007)


def size_of(quick: bool) -> Size:
    return QUICK if quick else FULL


# What the contenders do, each in a process of its own


def program(quick: bool) -> tuple[float, Any]:
    from emr_pipelines.pipelines.pi.estimate import CHUNK_SAMPLES, monte_carlo

    points = CORES * size_of(quick).points_per_core
    with spark_session(CORES) as spark:
        monte_carlo(spark, CORES * CHUNK_SAMPLES, SEED, CORES)
        began = time.monotonic()
        estimate = monte_carlo(spark, points, SEED, CORES).estimate
        seconds = time.monotonic() - began
    return seconds, {"points": points, "distinct": points, "cores": CORES, "estimate": estimate}


def sparks_own(quick: bool) -> tuple[float, Any]:
    import pyspark
    from pyspark.sql import SparkSession

    file = Path(pyspark.__file__).parent / "examples/src/main/python/pi.py"

    def estimate(slices: int) -> tuple[float, float]:
        """Run the file in the running session; return the seconds, and the estimate that it prints."""
        said = io.StringIO()
        arguments = mock.patch.object(sys, "argv", [str(file), str(slices)])
        # the file stops Spark at its end, which is not part of the work
        with arguments, mock.patch.object(SparkSession, "stop"), redirect_stdout(said):
            began = time.monotonic()
            runpy.run_path(str(file), run_name="__main__")
            seconds = time.monotonic() - began
        return seconds, float(said.getvalue().split()[-1])

    slices = size_of(quick).slices
    with spark_session(CORES):
        _, of_two = estimate(CORES)
        seconds, found = estimate(slices)
    points = slices * SLICE_POINTS
    return seconds, {
        "points": points,
        "distinct": SLICE_POINTS if found == of_two else points,
        "cores": CORES,
        "estimate": found,
    }


def numpy_alone(quick: bool, kind: str) -> tuple[float, Any]:
    points = size_of(quick).points_per_core
    points_inside(kind, BLOCK, 0)
    began = time.monotonic()
    inside = points_inside(kind, points, 1)
    seconds = time.monotonic() - began
    return seconds, {"points": points, "distinct": points, "cores": 1, "estimate": 4 * inside / points}


def numpy_at_once(quick: bool) -> tuple[float, Any]:
    points = CORES * size_of(quick).points_per_core
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        pool.starmap(points_inside, [("raw", BLOCK << 10, stream) for stream in range(CORES)], chunksize=1)
        began = time.monotonic()
        shares = [("raw", points // CORES, stream) for stream in range(CORES)]
        inside = sum(pool.starmap(points_inside, shares, chunksize=1))
        seconds = time.monotonic() - began
    return seconds, {"points": points, "distinct": points, "cores": CORES, "estimate": 4 * inside / points}


def points_inside(kind: str, points: int, stream: int) -> int:
    """Count the points of a stream with x² + y² <= 1, in plain NumPy. `points` is a multiple of BLOCK."""
    import numpy as np

    seed = np.random.SeedSequence(SEED, spawn_key=(stream,))
    inside = 0
    xy = np.empty((2, BLOCK))
    if kind == "raw":
        bits = np.random.SFC64(seed)
        for _ in range(points // BLOCK):
            xy[:] = bits.random_raw(BLOCK).view(np.uint32).reshape(2, BLOCK)
            xy *= xy
            xy[0] += xy[1]
            inside += int(np.count_nonzero(xy[0] <= 2.0**64))
        return inside
    generator = np.random.default_rng(seed) if kind == "default_rng" else np.random.Generator(np.random.SFC64(seed))
    for _ in range(points // BLOCK):
        generator.random(out=xy)
        xy *= xy
        xy[0] += xy[1]
        inside += int(np.count_nonzero(xy[0] <= 1.0))
    return inside


def any_partitions(quick: bool) -> tuple[float, Any]:
    """Return the program's estimates for several numbers of partitions."""
    from emr_pipelines.pipelines.pi.estimate import monte_carlo

    with spark_session(CORES) as spark:
        began = time.monotonic()
        estimates = [monte_carlo(spark, size_of(quick).counted, SEED, count).estimate for count in PARTITIONINGS]
        return time.monotonic() - began, estimates


def serially(quick: bool) -> tuple[float, Any]:
    """Compute the same estimate from the program's documentation: chunk i is the stream with spawn key (i,)."""
    import numpy as np

    from emr_pipelines.pipelines.pi.estimate import BLOCK_SAMPLES, CHUNK_SAMPLES

    began = time.monotonic()
    points, inside = size_of(quick).counted, 0
    for chunk, first in enumerate(range(0, points, CHUNK_SAMPLES)):
        stream = np.random.SFC64(np.random.SeedSequence(SEED, spawn_key=(chunk,)))
        for begin in range(first, min(first + CHUNK_SAMPLES, points), BLOCK_SAMPLES):
            draws = stream.random_raw(BLOCK_SAMPLES)
            x, y = np.split(np.stack([draws % 2**32, draws >> 32], axis=1).ravel() / 2**32, 2)
            inside += int(np.count_nonzero(np.hypot(x, y)[: points - begin] <= 1))
    return time.monotonic() - began, 4 * inside / points


def series(quick: bool) -> tuple[float, Any]:  # noqa: ARG001 (the same in both)
    """Return the seconds and the text of the program's series for each of DECIMALS."""
    from emr_pipelines.pipelines.pi.estimate import bailey_borwein_plouffe

    found = {}
    with spark_session(CORES) as spark:
        for decimals in DECIMALS:
            began = time.monotonic()
            _, digits = bailey_borwein_plouffe(spark, decimals, CORES)
            found[str(decimals)] = (time.monotonic() - began, digits)
    return sum(seconds for seconds, _ in found.values()), found


def in_decimal(quick: bool) -> tuple[float, Any]:  # noqa: ARG001 (the same in both)
    """Do the same with the Gauss-Legendre algorithm (Brent 1976, Salamin 1976) in Python's decimal."""
    found = {}
    for decimals in DECIMALS:
        began = time.monotonic()
        digits = str(gauss_legendre(decimals + 20))[: decimals + 2]
        found[str(decimals)] = (time.monotonic() - began, digits)
    return sum(seconds for seconds, _ in found.values()), found


def gauss_legendre(precision: int) -> Decimal:
    """Return pi to about `precision` digits; each step doubles the correct digits."""
    with localcontext() as context:
        context.prec = precision
        a, b, t, p = Decimal(1), 1 / Decimal(2).sqrt(), Decimal("0.25"), 1
        for _ in range(precision.bit_length()):
            mean = (a + b) / 2
            b = (a * b).sqrt()
            t -= p * (a - mean) ** 2
            a, p = mean, 2 * p
        return (a + b) ** 2 / (4 * t)


CONTENDERS: dict[str, Contender] = {
    PROGRAM: program,
    SPARK: sparks_own,
    **{name: partial(numpy_alone, kind=kind) for name, kind in NUMPY.items()},
    NUMPY_AT_ONCE: numpy_at_once,
    ANY_PARTITIONS: any_partitions,
    SERIALLY: serially,
    SERIES: series,
    IN_DECIMAL: in_decimal,
}
SAMPLERS = (PROGRAM, SPARK, *NUMPY, NUMPY_AT_ONCE)


# What is made of their answers


def check_estimates(runs: Mapping[str, Sequence[Run]]) -> None:
    """Raise Disagreement unless each estimate is as close to pi as its number of distinct points implies."""
    for name in SAMPLERS:
        for run in runs[name]:
            off, allowed = abs(run.answer["estimate"] - math.pi), STD_ERRORS * std_error(run.answer["distinct"])
            if off > allowed:
                raise Disagreement(
                    f"{name} estimates {run.answer['estimate']}, off by {off:.1e}; allowed: {allowed:.1e}."
                )


def std_error(points: int) -> float:
    return 4 * math.sqrt(math.pi / 4 * (1 - math.pi / 4) / points)


def check_partitions(quick: bool, turns: Mapping[str, Sequence[Run]]) -> Table:
    (spark,), (serial,) = turns[ANY_PARTITIONS], turns[SERIALLY]
    estimates = dict(zip(PARTITIONINGS, spark.answer, strict=True))
    agree({"NumPy": serial.answer, **{f"{count} partitions": found for count, found in estimates.items()}})
    table = Table(f"One seed, {size_of(quick).counted:,} points", ["counted by", "estimate"])
    table.rows += [(f"this program, {count} partitions", repr(found)) for count, found in estimates.items()]
    table.rows.append(("NumPy serially, the same seeds", repr(serial.answer)))
    return table


def check_series(runs: Mapping[str, Sequence[Run]]) -> Table:
    table = Table("The series", ["decimals", "of them right", "s", "s of Gauss-Legendre in decimal, no Spark"])
    for decimals in map(str, DECIMALS):
        ours, others = ([run.answer[decimals] for run in runs[name]] for name in (SERIES, IN_DECIMAL))
        agree(
            {f"Gauss-Legendre, {decimals}": others[0][1], **{f"run {i}": found[1] for i, found in enumerate(ours, 1)}}
        )
        shown = min(len(PI_50), int(decimals) + 2)
        agree({"published": PI_50[:shown], "the series": ours[0][1][:shown]})
        seconds = [f"{statistics.median(found[0] for found in several):.3f}" for several in (ours, others)]
        table.rows.append((decimals, str(len(ours[0][1]) - 2), *seconds))
    return table


def speeds(runs: Mapping[str, Sequence[Run]]) -> list[Table]:
    """Return the samples per second, and their ratios per core."""
    table = Table(
        "Monte Carlo",
        ["contender", "cores", "million points", "s", "million/s", "million/s a core", "off by", "allowed"],
    )
    per_core = {}
    for name in SAMPLERS:
        answer, seconds = runs[name][0].answer, median(runs[name])
        rate = answer["points"] / seconds / 1e6
        per_core[name] = rate / answer["cores"]
        off = max(abs(run.answer["estimate"] - math.pi) for run in runs[name])
        table.rows.append(
            (
                name,
                str(answer["cores"]),
                f"{answer['points'] / 1e6:,.0f}",
                f"{seconds:.2f}",
                f"{rate:,.1f}",
                f"{per_core[name]:,.1f}",
                f"{off:.1e}",
                f"{STD_ERRORS * std_error(answer['distinct']):.1e}",
            )
        )
    best = max(NUMPY, key=lambda name: per_core[name])
    pairs = [(PROGRAM, SPARK), (PROGRAM, best), (PROGRAM, NUMPY_AT_ONCE), (NUMPY_AT_ONCE, best)]
    ratios = Table("Points per second and core", ["", "ratio"])
    ratios.rows += [(f"{one} / {other}", f"{per_core[one] / per_core[other]:.2f}") for one, other in pairs]
    return [table, ratios]


def main() -> None:
    serve(CONTENDERS)
    asked = arguments(__doc__, rounds=5)
    checks = in_turn(MODULE, [ANY_PARTITIONS, SERIALLY], 1, quick=asked.quick)
    tables = [check_partitions(asked.quick, checks)]
    runs = in_turn(MODULE, [*SAMPLERS, SERIES, IN_DECIMAL], asked.rounds, quick=asked.quick)
    check_estimates(runs)
    tables = [*speeds(runs), *tables, check_series(runs)]
    report(asked, machine("pyspark", "numpy"), tables, {**checks, **runs})


if __name__ == "__main__":
    main()
