"""The jobs: what is materialized together."""

import dagster as dg

from emr_pipelines.assets.pi import pi_estimates
from emr_pipelines.assets.word_count import input_text, word_counts

word_count_job = dg.define_asset_job(
    "word_count_job", selection=[input_text, word_counts], description="Ingest the source text and count its words."
)
pi_job = dg.define_asset_job("pi_job", selection=[pi_estimates], description="Estimate pi by every method and size.")
