"""The Pi asset: what is published."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from emr_pipelines.pipelines.pi.assets import COLUMNS, check_pi_estimates, pi_estimates
from emr_pipelines.pipelines.pi.estimate import PiEstimate, PiResult
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("spark")


def materialize(instance: dg.DagsterInstance, storage: Storage, **config: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [pi_estimates],
        instance=instance,
        resources={"spark": LocalSparkRunner(), "storage": storage},
        run_config={"ops": {"pi_estimates": {"config": config}}},
        raise_on_error=False,
    )


def test_estimates_are_published_and_shown(spark: SparkSession, instance: dg.DagsterInstance, storage: Storage) -> None:
    first = materialize(instance, storage, samples=[1000, 50_000], decimals=20, partitions=3)
    assert first.success
    rows = spark.read.parquet(storage.require(pi_estimates.key).uri).collect()
    (event,) = first.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert shown["dagster/row_count"].value == len(rows) == 3
    assert [column.name for column in COLUMNS.columns] == list(rows[0].asDict())
    assert str(shown["convergence"].value).startswith("![How close the estimates of pi are](data:image/png;base64,")
    assert shown["digits"].value == "3.14159265358979323846"
    records = [record.data for record in shown["estimates"].value.records]  # type: ignore[union-attr]
    assert sorted(record["samples"] for record in records) == sorted(row["samples"] for row in rows)
    assert {check.check_name: check.passed for check in first.get_asset_check_evaluations()} == {
        "monte_carlo_within_5_standard_errors": True,
        "series_within_its_bound": True,
    }
    again = materialize(instance, storage, samples=[1000, 50_000], decimals=20, partitions=1)
    (event,) = again.get_asset_materialization_events()
    assert event.materialization.metadata["unchanged"].value is True


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"samples": [-3]}, "samples is -3; allowed: 1 to 1,000,000,000,000,000 each."),
        ({"partitions": 0}, "partitions is 0; allowed: greater than or equal to 1."),
        ({"samples": []}, "samples is []; allowed: List should have at least 1 item after validation, not 0."),
        ({"seed": -1}, "seed is -1; allowed: greater than or equal to 0."),
        ({"decimals": 5}, "decimals is 5; allowed: greater than or equal to 10."),
    ],
)
def test_a_setting_out_of_bounds_is_one_sentence(
    instance: dg.DagsterInstance, storage: Storage, config: dict[str, Any], says: str
) -> None:
    result = materialize(instance, storage, **config)
    assert not result.success
    message = result.failure_data_for_node("pi_estimates").error.message  # type: ignore[union-attr]
    assert message.strip() == f"dagster._core.definitions.events.Failure: {says}"
    assert storage.latest(pi_estimates.key) is None


MONTE_CARLO = PiEstimate("monte_carlo", 100, 3.16, abs(3.16 - math.pi), 0.16, 0.8, 1.0)
SERIES = PiEstimate("bailey_borwein_plouffe", 28, math.pi, 1.2e-16, None, 2.3e-16, 1.0)
GOOD = PiResult((MONTE_CARLO, SERIES), "3.1415926535", "digest", 1.0)


@pytest.mark.parametrize(
    ("result", "failing"),
    [
        (GOOD, set()),
        (
            replace(GOOD, estimates=(replace(MONTE_CARLO, estimate=4.0), SERIES)),
            {"monte_carlo_within_5_standard_errors"},
        ),
        (replace(GOOD, estimates=(MONTE_CARLO, replace(SERIES, estimate=3.14159265))), {"series_within_its_bound"}),
        (replace(GOOD, estimates=(MONTE_CARLO,)), {"series_within_its_bound"}),
        (replace(GOOD, estimates=(SERIES,)), {"monte_carlo_within_5_standard_errors"}),
        (replace(GOOD, digits="3.1415926545"), {"series_within_its_bound"}),
        # NaN is neither close to nor far from a number
        (
            replace(GOOD, estimates=(replace(MONTE_CARLO, estimate=math.nan), replace(SERIES, error_bound=math.nan))),
            {"monte_carlo_within_5_standard_errors", "series_within_its_bound"},
        ),
    ],
)
def test_checks_fail_when_they_should(result: PiResult, failing: set[str]) -> None:
    assert {check.check_name for check in check_pi_estimates(result) if not check.passed} == failing
