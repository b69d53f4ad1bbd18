"""The jobs: assets that are materialized together."""

import dagster as dg

from emr_pipelines.assets.costs import spark_costs
from emr_pipelines.pipelines.pi.assets import pi_estimates
from emr_pipelines.pipelines.word_count.assets import input_text, word_counts

REASON_TAG = "emr_pipelines/reason"  # why a schedule or sensor requested a run

word_count_job = dg.define_asset_job(
    "word_count_job", selection=[input_text, word_counts], description="Ingest the source text and count its words."
)
spark_costs_job = dg.define_asset_job(
    "spark_costs_job", selection=[spark_costs], description="Bring the ledger of what the clusters cost up to date."
)
pi_job = dg.define_asset_job("pi_job", selection=[pi_estimates], description="Estimate pi by every method and size.")
