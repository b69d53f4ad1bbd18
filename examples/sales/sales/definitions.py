"""The code location. Where its programs run, EMR_PIPELINES_TARGET says."""

import os
from pathlib import Path

import dagster as dg

from emr_pipelines import Storage, configured_runner, in_process_by_default, orphaned_clusters_sensor, program_asset
from sales.revenue import best_countries, daily_revenue, few_lines_are_broken, something_was_sold

SAMPLE = str(Path(__file__).parent / "orders")

orders = dg.AssetSpec("orders", kinds={"csv"}, metadata={"dagster/uri": os.environ.get("SALES_ORDERS", SAMPLE)})
revenue = program_asset(
    daily_revenue, reads={"orders": orders}, writes="output", checks=[few_lines_are_broken, something_was_sold]
)
best = program_asset(best_countries, reads={"revenue": revenue})

defs = dg.Definitions(
    assets=[orders, revenue, best],
    jobs=[dg.define_asset_job("sales_job", [revenue, best])],
    sensors=[orphaned_clusters_sensor],
    executor=in_process_by_default,
    resources={"spark": configured_runner(), "storage": Storage()},
)
