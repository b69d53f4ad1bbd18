"""The schedules, in UTC."""

import dagster as dg

from emr_pipelines.automation.jobs import REASON_TAG, pi_job, spark_costs_job, word_count_job

nightly_word_count = dg.ScheduleDefinition(
    name="nightly_word_count",
    job=word_count_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description="Every night at 02:00 UTC: takes in the text of EMR_PIPELINES_SOURCE, or else the sample text, and "
    "counts its words, changed or not. Of nights that Dagster was not running, only the last is made up for.",
    tags={REASON_TAG: "nightly_word_count: every night at 02:00 UTC, whether the text changed or not"},
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
daily_pi = dg.ScheduleDefinition(
    name="daily_pi",
    job=pi_job,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    description="Every day at 06:00 UTC: estimates pi with the default sizes and seed, so the estimates are the same "
    "every day; how long they took is not. Of days that Dagster was not running, only the last is made up for.",
    tags={REASON_TAG: "daily_pi: every day at 06:00 UTC"},
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
daily_spark_costs = dg.ScheduleDefinition(
    name="daily_spark_costs",
    job=spark_costs_job,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    description="Every day at 00:30 UTC: asks EMR what the clusters of the last 30 days cost and checks "
    "yesterday and today against the budget. A day on which Dagster was not running is made up for by the next.",
    tags={REASON_TAG: "daily_spark_costs: every day at 00:30 UTC"},
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
