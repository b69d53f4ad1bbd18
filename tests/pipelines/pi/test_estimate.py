"""Estimates of pi, compared with its known decimals and with plain NumPy."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from emr_pipelines.errors import InvalidValue
from emr_pipelines.pipelines.pi import estimate as pi
from emr_pipelines.pipelines.pi.estimate import PiParams, bailey_borwein_plouffe, estimate_pi, machin, monte_carlo

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# OEIS A000796
PI_100 = "3.1415926535897932384626433832795028841971693993751058209749445923078164062862089986280348253421170679"


def test_the_table(spark: SparkSession, tmp_path: Path) -> None:
    result = estimate_pi(spark, PiParams(f"file://{tmp_path}/out", samples=(1000, 100_000), decimals=50))
    table = spark.read.parquet(f"file://{tmp_path}/out")
    assert dict(table.dtypes) == {
        "method": "string",
        "samples": "bigint",
        "estimate": "double",
        "abs_error": "double",
        "std_error": "double",
        "error_bound": "double",
        "seconds": "double",
    }
    rows = table.orderBy("method", "samples").collect()
    assert [(row["method"], row["samples"]) for row in rows[1:]] == [("monte_carlo", 1000), ("monte_carlo", 100_000)]
    assert rows[0]["method"] == "bailey_borwein_plouffe"
    assert rows[0]["std_error"] is None
    assert rows[0]["estimate"] == math.pi
    for row in rows:
        assert abs(row["estimate"] - math.pi) <= row["error_bound"]
        assert row["seconds"] > 0
    assert result.digits == PI_100[:52]


def test_what_a_killed_attempt_left_is_replaced(spark: SparkSession, tmp_path: Path) -> None:
    for samples in (100, 200):
        estimate_pi(spark, PiParams(f"file://{tmp_path}/out", samples=(samples,)))
        rows = spark.read.parquet(f"file://{tmp_path}/out").collect()
        assert sorted(row["samples"] for row in rows if row["method"] == "monte_carlo") == [samples]


def test_monte_carlo_is_what_plain_numpy_gives(spark: SparkSession) -> None:
    samples = 3 * pi.BLOCK_SAMPLES + 17  # the last block is not full
    stream = np.random.SFC64(np.random.SeedSequence(7, spawn_key=(0,)))
    inside = 0
    for first in range(0, samples, pi.BLOCK_SAMPLES):
        draws = stream.random_raw(pi.BLOCK_SAMPLES)
        coordinates = np.stack([draws & 0xFFFFFFFF, draws >> 32], axis=1).ravel() / 2**32
        x, y = np.split(coordinates, 2)
        inside += int(np.sum(np.hypot(x, y)[: samples - first] <= 1))
    assert monte_carlo(spark, samples, seed=7, partitions=2).estimate == 4 * inside / samples


def test_monte_carlo_depends_on_the_seed_alone(spark: SparkSession) -> None:
    samples = 3 * pi.CHUNK_SAMPLES + 5
    estimates = {partitions: monte_carlo(spark, samples, 1, partitions).estimate for partitions in (1, 3, 50)}
    assert len(set(estimates.values())) == 1
    assert monte_carlo(spark, samples, 2, 3).estimate != estimates[1]


@pytest.mark.extended
def test_the_standard_error_is_the_spread_of_estimates(spark: SparkSession) -> None:
    estimates = [monte_carlo(spark, 2000, seed, 1) for seed in range(60)]
    spread = np.std([row.estimate for row in estimates], ddof=1)
    assert 0.7 < spread / estimates[0].std_error < 1.4  # type: ignore[operator]


def test_one_sample_still_has_an_honest_bound(spark: SparkSession) -> None:
    for seed in range(5):
        row = monte_carlo(spark, 1, seed, 1)
        assert row.estimate in {0.0, 4.0}
        assert row.abs_error <= row.error_bound


@pytest.mark.parametrize("decimals", [10, 15, 50, 98])
def test_the_series_is_right_to_all_its_decimals(spark: SparkSession, decimals: int) -> None:
    row, digits = bailey_borwein_plouffe(spark, decimals, partitions=3)
    assert digits == PI_100[: decimals + 2]
    assert row.estimate == math.pi
    assert row.abs_error <= row.error_bound < 1e-10


def test_the_series_at_its_largest_agrees_with_machin(spark: SparkSession) -> None:
    _, digits = bailey_borwein_plouffe(spark, pi.MAX_DECIMALS, partitions=2)
    assert len(digits) == pi.MAX_DECIMALS + 2
    assert abs(Fraction(digits) - machin(15_000)) < Fraction(1, 10**pi.MAX_DECIMALS)


def test_machin_is_right() -> None:
    assert abs(machin(400) - Fraction(PI_100)) < Fraction(1, 10**100)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"samples": (100, -5)}, "samples is -5; allowed: 1 to 1,000,000,000,000,000 each"),
        ({"samples": (0,)}, "samples is 0"),
        ({"samples": ()}, r"samples is \[\]; allowed: at least one size"),
        ({"samples": (10**16,)}, "samples is 10000000000000000"),
        ({"partitions": 0}, "partitions is 0; allowed: 1 to 100,000"),
        ({"seed": -1}, "seed is -1; allowed: 0 or more"),
        ({"decimals": 9}, "decimals is 9; allowed: 10 to 4000"),
        ({"decimals": 4001}, "decimals is 4001"),
    ],
)
def test_params_out_of_bounds_are_refused(options: dict[str, int], says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        PiParams("out", **options)  # type: ignore[arg-type]
