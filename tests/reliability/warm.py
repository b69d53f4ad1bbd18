"""Imported once by the fork server, so that each run starts with these modules loaded."""

import os

import dagster as dg

from emr_pipelines import charts
from emr_pipelines.aws import objects  # noqa: F401
from emr_pipelines.backends.emr import backend, orphans  # noqa: F401
from emr_pipelines.backends.emr_serverless import backend as serverless_backend  # noqa: F401
from emr_pipelines.costs.bill import Span
from emr_pipelines.job import (
    live_log,  # noqa: F401
    package,  # noqa: F401
)
from tests.reliability import pipeline, sabotage

sabotage.apply()
# the user agent identifies the process
os.register_at_fork(after_in_child=lambda: os.environ.update(AWS_SDK_UA_APP_ID=f"process-{os.getpid()}"))

with dg.DagsterInstance.local_temp() as instance:
    for job in (pipeline.one(), pipeline.two()):
        instance.create_run_for_job(job)
charts.timeline([Span("step", "left", 0, 1)], "warm")  # type: ignore[arg-type]
