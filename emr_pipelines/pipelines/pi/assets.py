"""The Pi pipeline: pi_estimates."""

import math
from dataclasses import asdict
from fractions import Fraction

import dagster as dg
from pydantic import Field

from emr_pipelines import charts
from emr_pipelines.assets.publication import (
    OWNERS,
    AssetConfig,
    AssetEvents,
    code_version,
    mistakes_as_failures,
    new_version,
    pictures,
    publish,
)
from emr_pipelines.pipelines.pi.estimate import (
    LEAST_DECIMALS,
    MAX_DECIMALS,
    MAX_PARTITIONS,
    MAX_SAMPLES,
    PiEstimate,
    PiParams,
    PiResult,
    estimate_pi,
    machin,
)
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.storage import Storage

COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("method", "string", description="monte_carlo or bailey_borwein_plouffe."),
        dg.TableColumn("samples", "bigint", description="Random points, or terms of the series."),
        dg.TableColumn("estimate", "double", description="The estimate of pi."),
        dg.TableColumn("abs_error", "double", description="How far the estimate is from pi."),
        dg.TableColumn("std_error", "double", description="Standard error of a Monte Carlo estimate; else null."),
        dg.TableColumn("error_bound", "double", description="5 standard errors, or what the series proves."),
        dg.TableColumn("seconds", "double", description="How long the estimate took."),
    ]
)


class PiEstimatesConfig(AssetConfig):
    """The sample sizes and the number of decimals."""

    samples: list[int] = Field(
        default=[10_000, 1_000_000, 100_000_000],
        min_length=1,
        description=f"Sizes of the Monte Carlo estimates, each 1 to {MAX_SAMPLES:,}; at least one.",
    )
    seed: int = Field(
        default=20_250_314, ge=0, le=2**63 - 1, description="The same seed gives the same estimates; 0 or more."
    )
    decimals: int = Field(
        default=15,
        ge=LEAST_DECIMALS,
        le=MAX_DECIMALS,
        description=f"How many decimals the series must have right; {LEAST_DECIMALS} to {MAX_DECIMALS}.",
    )
    partitions: int | None = Field(
        default=None,
        ge=1,
        le=MAX_PARTITIONS,
        description=f"Spark tasks per estimate, 1 to {MAX_PARTITIONS:,}; by default one per core.",
    )


@dg.asset(
    group_name="pi",
    kinds={"pyspark", "parquet"},
    owners=OWNERS,
    tags={"domain": "numerics"},
    code_version=code_version(estimate_pi.__module__),
    description="Estimates of pi, one row per method and size: Monte Carlo with its standard error, and the "
    "Bailey-Borwein-Plouffe series with a proven bound.",
    metadata={"dagster/column_schema": COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            "monte_carlo_within_5_standard_errors",
            asset="pi_estimates",
            blocking=True,
            description="Each Monte Carlo estimate is within 5 standard errors of pi.",
        ),
        dg.AssetCheckSpec(
            "series_within_its_bound",
            asset="pi_estimates",
            blocking=True,
            description="The series is as close to pi as it promises, and so are its decimals as text.",
        ),
    ],
)
def pi_estimates(
    context: dg.AssetExecutionContext, config: PiEstimatesConfig, spark: SparkRunner, storage: Storage
) -> AssetEvents:
    def params_at(output: str) -> PiParams:
        return PiParams(
            output=output,
            samples=tuple(config.samples),
            seed=config.seed,
            decimals=config.decimals,
            partitions=config.partitions,
        )

    with mistakes_as_failures(), new_version(context, spark, storage, estimate_pi, params_at) as version:
        result = spark.run(context, estimate_pi, params_at(version.uri))
        metadata = {
            **pictures(context, convergence=lambda: charts.convergence(*_by_method(result))),
            "estimates": dg.MetadataValue.table(
                [dg.TableRecord(asdict(row)) for row in result.estimates], schema=COLUMNS
            ),
            "dagster/row_count": len(result.estimates),
            "digits": result.digits,
            "samples": sum(row.samples for row in result.estimates),
            "seconds": round(result.seconds, 3),
        }
        yield from publish(context, storage, version, result.digest, check_pi_estimates(result), metadata)


def check_pi_estimates(result: PiResult) -> list[dg.AssetCheckResult]:
    """Check that every estimate is within its error bound of pi."""
    monte_carlo = [row for row in result.estimates if row.std_error is not None]
    series = [row for row in result.estimates if row.std_error is None]
    # not "farther than its bound": a NaN must not pass
    far = [row for row in monte_carlo if not abs(row.estimate - math.pi) <= row.error_bound]
    wrong = [row for row in series if not abs(row.estimate - math.pi) <= row.error_bound]
    decimals = len(result.digits) - 2
    off = abs(Fraction(result.digits) - machin(bits=4 * decimals + 64))
    digits_hold = off < Fraction(1, 10**decimals)
    return [
        dg.AssetCheckResult(
            check_name="monte_carlo_within_5_standard_errors",
            passed=bool(monte_carlo) and not far,
            description=_distances(far or monte_carlo),
        ),
        dg.AssetCheckResult(
            check_name="series_within_its_bound",
            passed=bool(series) and not wrong and digits_hold,
            description=f"{_distances(wrong or series)}; the {decimals} decimals as text are "
            f"{'right' if digits_hold else 'wrong'} by Machin's formula",
        ),
    ]


def _by_method(result: PiResult) -> tuple[list[int], list[float], list[float], list[float]]:
    """Sizes, errors and bounds of the Monte Carlo estimates, and the errors of the series."""
    random = [row for row in result.estimates if row.std_error is not None]
    series = [row.abs_error for row in result.estimates if row.std_error is None]
    return (
        [row.samples for row in random],
        [row.abs_error for row in random],
        [row.error_bound for row in random],
        series,
    )


def _distances(rows: list[PiEstimate]) -> str:
    return "; ".join(
        f"{row.samples:,} samples: off by {row.abs_error:.2g}, bound {row.error_bound:.2g}" for row in rows
    )
