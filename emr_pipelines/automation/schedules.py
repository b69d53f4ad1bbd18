"""The schedules: jobs by the clock, in UTC."""

import dagster as dg

from emr_pipelines.automation.jobs import pi_job, word_count_job

nightly_word_count = dg.ScheduleDefinition(
    name="nightly_word_count",
    job=word_count_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    description="Count the words of the source text every night at 02:00 UTC.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
daily_pi = dg.ScheduleDefinition(
    name="daily_pi",
    job=pi_job,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    description="Estimate pi every day at 06:00 UTC.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
