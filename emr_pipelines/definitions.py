"""The whole code location on one page."""

import dagster as dg

from emr_pipelines.assets.costs import spark_costs
from emr_pipelines.automation.executor import in_process_by_default
from emr_pipelines.automation.jobs import pi_job, spark_costs_job, word_count_job
from emr_pipelines.automation.orphans import orphaned_clusters_sensor
from emr_pipelines.automation.schedules import daily_pi, daily_spark_costs, nightly_word_count
from emr_pipelines.automation.sensors import new_text_sensor
from emr_pipelines.pipelines.pi.assets import pi_estimates
from emr_pipelines.pipelines.word_count.assets import input_text, word_counts
from emr_pipelines.runners.ledger import CostLedger
from emr_pipelines.runners.target import configured_runner
from emr_pipelines.storage import Storage

defs = dg.Definitions(
    assets=[input_text, word_counts, pi_estimates, spark_costs],
    jobs=[word_count_job, pi_job, spark_costs_job],
    schedules=[nightly_word_count, daily_pi, daily_spark_costs],
    sensors=[new_text_sensor, orphaned_clusters_sensor],
    executor=in_process_by_default,
    resources={
        "spark": configured_runner(),
        "ledger": CostLedger(),
        "storage": Storage(),
    },
)
