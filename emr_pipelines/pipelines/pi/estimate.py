"""Estimate pi by Monte Carlo at growing sizes, and by a series to any number of decimals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from emr_pipelines.errors import InvalidValue

if TYPE_CHECKING:  # pyspark takes a second to import, and a code location that only looks at the graph needs none of it
    from pyspark.sql import SparkSession

REQUIREMENTS = ("numpy>=2,<3",)  # on the cluster

CHUNK_SAMPLES = 1 << 22  # one random stream; the streams, and so the estimate, do not depend on how they are dealt out
BLOCK_SAMPLES = 1 << 15  # 24 bytes a point fit a core's second-level cache; which coordinates meet depends on it
BOUND_STD_ERRORS = 5  # a Monte Carlo estimate is further off than this once in 1.7 million times
GUARD_BITS = 64
LEAST_DECIMALS = 10
MAX_SAMPLES = 10**15  # a day on a thousand cores; whole numbers up to 2^53 are exact as float64
MAX_PARTITIONS = 100_000
MAX_DECIMALS = 4000  # by default, Python converts no number of more than 4,300 digits to text
COLUMNS = (
    "method string, samples bigint, estimate double, abs_error double, std_error double, error_bound double, "
    "seconds double"
)


@dataclass(frozen=True)
class PiParams:
    """`samples`: the Monte Carlo sizes. `decimals`: how many the series must have right. `partitions`: Spark tasks per
    estimate, by default one per core. `output`: the folder (path or URI) to write; what is in it is replaced."""

    output: str
    samples: tuple[int, ...] = (10_000, 1_000_000, 100_000_000)
    seed: int = 20_250_314
    decimals: int = 15
    partitions: int | None = None

    def __post_init__(self) -> None:
        if not self.samples:
            raise InvalidValue("samples", list(self.samples), "at least one size")
        for size in self.samples:
            if not 1 <= size <= MAX_SAMPLES:
                raise InvalidValue("samples", size, f"1 to {MAX_SAMPLES:,} each")
        if self.seed < 0:
            raise InvalidValue("seed", self.seed, "0 or more")
        if not LEAST_DECIMALS <= self.decimals <= MAX_DECIMALS:
            raise InvalidValue("decimals", self.decimals, f"{LEAST_DECIMALS} to {MAX_DECIMALS}")
        if self.partitions is not None and not 1 <= self.partitions <= MAX_PARTITIONS:
            raise InvalidValue("partitions", self.partitions, f"1 to {MAX_PARTITIONS:,}, or none for one per core")


@dataclass(frozen=True)
class PiEstimate:
    """A row of the table. `samples` are points (Monte Carlo) or terms (series); `abs_error` is the distance of
    `estimate` from pi; `std_error` is null for the series; `error_bound` is 5 standard errors for Monte Carlo and a
    proven bound for the series, the rounding to a double included."""

    method: str
    samples: int
    estimate: float
    abs_error: float
    std_error: float | None
    error_bound: float
    seconds: float


@dataclass(frozen=True)
class PiResult:
    """The rows of the table, and the series' value as text with `decimals` decimals, cut off, not rounded. `digest` is
    one of the rows without their seconds."""

    estimates: tuple[PiEstimate, ...]
    digits: str
    digest: str
    seconds: float


def estimate_pi(spark: SparkSession, params: PiParams) -> PiResult:
    """Estimate pi by each method and size, and write the estimates as a parquet table to `params.output`, in the
    place of what is there: a step that was killed and is submitted again finds part of its own output."""
    began = time.monotonic()
    partitions = params.partitions or spark.sparkContext.defaultParallelism
    estimates = []
    for samples in params.samples:
        estimates.append(monte_carlo(spark, samples, params.seed, partitions))
        print(_sentence(estimates[-1]))
    series, digits = bailey_borwein_plouffe(spark, params.decimals, partitions)
    estimates.append(series)
    print(_sentence(series))
    rows = [astuple(estimate) for estimate in estimates]
    spark.createDataFrame(rows, COLUMNS).coalesce(1).write.mode("overwrite").parquet(params.output)
    values = repr([row[:-1] for row in rows] + [digits])
    digest = blake2b(values.encode(), digest_size=16).hexdigest()
    return PiResult(tuple(estimates), digits, digest, time.monotonic() - began)


def monte_carlo(spark: SparkSession, samples: int, seed: int, partitions: int) -> PiEstimate:
    """Four times the share of `samples` uniform points of the unit square that fall in the quarter disc.

    Chunk i of the samples draws from the stream SeedSequence(seed, spawn_key=(i,)), so the same seed and size give the
    same estimate on any cluster, and a larger size begins with the samples of a smaller one. 64 random bits are two
    coordinates in units of 2^-32; those from the first half of a block are x, from the second half y. The circle cuts
    fewer than 2^33 of this grid's 2^64 cells, and only a cell that is cut can be counted wrong: by less than 2^-29 of
    pi in all, 4 % of the standard error at the largest size. The standard error is 4 sqrt(p (1 - p) / n) with p and n
    of the plus-four rule (Agresti and Coull 1998), which stays above zero when all points of a small sample fall on
    one side.
    """
    began = time.monotonic()
    chunks = range(-(-samples // CHUNK_SAMPLES))
    count = partial(_points_in_disc, seed=seed, samples=samples)
    inside = spark.sparkContext.parallelize(chunks, min(partitions, len(chunks))).map(count).sum()
    estimate = 4 * inside / samples
    share = (inside + 2) / (samples + 4)
    std_error = 4 * math.sqrt(share * (1 - share) / (samples + 4))
    return PiEstimate(
        method="monte_carlo",
        samples=samples,
        estimate=estimate,
        abs_error=abs(estimate - math.pi),
        std_error=std_error,
        error_bound=BOUND_STD_ERRORS * std_error,
        seconds=time.monotonic() - began,
    )


def _points_in_disc(chunk: int, seed: int, samples: int) -> int:
    """Count the points of a chunk with x² + y² <= 1."""
    import numpy as np

    stream = np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(chunk,)))
    left = min(CHUNK_SAMPLES, samples - chunk * CHUNK_SAMPLES)
    xy = np.empty((2, BLOCK_SAMPLES))
    inside = 0
    while left > 0:
        xy[:] = stream.random_raw(BLOCK_SAMPLES).view(np.uint32).reshape(2, BLOCK_SAMPLES)
        xy *= xy
        xy[0] += xy[1]
        inside += int(np.count_nonzero(xy[0, :left] <= 2.0**64))
        left -= BLOCK_SAMPLES
    return inside


def bailey_borwein_plouffe(spark: SparkSession, decimals: int, partitions: int) -> tuple[PiEstimate, str]:
    """Pi as a row of the table, and as text with `decimals` decimals (cut off, not rounded).

    The series (Bailey, Borwein and Plouffe 1997, theorem 1)

        pi = sum over k >= 0 of 16^-k (4/(8k+1) - 2/(8k+4) - 1/(8k+5) - 1/(8k+6))

    is summed in whole numbers scaled by 2^bits. All terms are positive, and what follows after K terms is below
    16^-K · 64 / (15 (8K + 1)); each of the four divisions of a term rounds by less than 2^-bits.
    """
    began = time.monotonic()
    bits = math.ceil(decimals * math.log2(10)) + GUARD_BITS
    terms = bits // 4
    ranges = [range(first, terms, partitions) for first in range(min(partitions, terms))]
    add_up = partial(_sum_terms, bits=bits)
    total = spark.sparkContext.parallelize(ranges, len(ranges)).map(add_up).sum()

    exact = Fraction(total, 1 << bits)
    bound = Fraction(64, 15 * (8 * terms + 1) * 16**terms) + Fraction(4 * terms, 1 << bits)
    estimate = float(exact)
    row = PiEstimate(
        method="bailey_borwein_plouffe",
        samples=terms,
        estimate=estimate,
        abs_error=float(abs(Fraction(estimate) - machin(bits))),
        std_error=None,
        error_bound=float(bound) + math.ulp(estimate) / 2,
        seconds=time.monotonic() - began,
    )
    digits = str(total * 10**decimals >> bits)
    return row, f"{digits[0]}.{digits[1:]}"


def _sum_terms(terms: range, bits: int) -> int:
    return sum(_series_term(k, bits) for k in terms)


def _series_term(k: int, bits: int) -> int:
    one = 1 << bits - 4 * k
    return 4 * one // (8 * k + 1) - 2 * one // (8 * k + 4) - one // (8 * k + 5) - one // (8 * k + 6)


def machin(bits: int) -> Fraction:
    """Return pi to within 2^-(bits - 32), by Machin's formula 16 arctan(1/5) - 4 arctan(1/239), to check the series."""
    return Fraction(16 * sum(_arctan_terms(5, bits)) - 4 * sum(_arctan_terms(239, bits)), 1 << bits)


def _arctan_terms(inverse: int, bits: int) -> Iterator[int]:
    """Yield the terms of arctan(1 / inverse) = 1/x - 1/(3 x^3) + 1/(5 x^5) - ..., scaled by 2^bits."""
    power = (1 << bits) // inverse
    divisor = 1
    while power:
        yield power // divisor if divisor % 4 == 1 else -(power // divisor)
        power //= inverse * inverse
        divisor += 2


def _sentence(row: PiEstimate) -> str:
    return (
        f"{row.method} with {row.samples:,} samples: {row.estimate!r}, off by {row.abs_error:.1e} "
        f"(bound {row.error_bound:.1e}), {row.seconds:.2f} s."
    )
