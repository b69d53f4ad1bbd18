"""The runs that are killed, of one or two assets, and the processes that execute them.

Imported once by a fork server, from which every run worker and every step's process is forked, so that a run takes
about a second; and by the daemon, as a code location.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, cast

import dagster as dg
import matplotlib.figure as _figure  # noqa: F401 (what a run would import is here when it is forked)
import pyarrow.parquet as _parquet  # noqa: F401
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._grpc.impl import core_execute_run
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from emr_pipelines.assets.program import program_asset
from emr_pipelines.automation.executor import in_process_by_default
from emr_pipelines.automation.orphans import orphaned_clusters_sensor
from emr_pipelines.aws import client
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from emr_pipelines.storage import Storage
from tests.reliability.programs import write

CLOCK = "KILLS_CLOCK"  # environment variable: pairs time.monotonic() with the account's clock
WANTED = "KILLS_WANTED"  # environment variable: the folder whose files each request a run from the daemon
RUNS_ON = "KILLS_RUNS_ON"  # environment variable: emr, the default, or emr-serverless
ROLE = "arn:aws:iam::111122223333:role/jobs"
SPEED = 10.0  # simulated seconds per second, for clusters and for those that wait for them
JOBS = {"in_process": "one", "multiprocess": "two"}


class QuickClock:
    """A clock that runs faster, and equally for all processes."""

    def __init__(self) -> None:
        began, self._at = map(float, os.environ[CLOCK].split())
        self._began = began

    def now(self) -> float:
        return self._at + (time.monotonic() - self._began) * SPEED

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        (until or threading.Event()).wait(max(seconds, 0) / SPEED)


def on_serverless() -> bool:
    return os.environ.get(RUNS_ON) == "emr-serverless"


def use_quick_clock() -> None:
    cast("Any", client).SystemClock = QuickClock


if CLOCK in os.environ:  # of the daemon's code location
    use_quick_clock()

assets = [program_asset(write, writes="output", name=name) for name in ("left", "right")]


@dg.sensor(job_name="one", minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def wanted_runs() -> Iterator[dg.RunRequest]:
    """Request a run for each file in a folder, by the file's name."""
    for file in sorted(Path(os.environ[WANTED]).glob("*.json")):
        told = json.loads(file.read_text())
        yield dg.RunRequest(run_key=file.stem, run_config=told["config"], tags=told["tags"])


@dg.sensor(minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def orphans_often(context: dg.SensorEvaluationContext) -> Any:
    return orphaned_clusters_sensor(context)


defs = dg.Definitions(
    assets=assets,
    jobs=[dg.define_asset_job("one", selection=["left"]), dg.define_asset_job("two", selection=["left", "right"])],
    sensors=[wanted_runs, orphans_often],
    executor=in_process_by_default,
    resources={"spark": EmrServerlessSparkRunner() if on_serverless() else EmrSparkRunner(), "storage": Storage()},
)


def one() -> dg.JobDefinition:
    return defs.resolve_job_def("one")


def two() -> dg.JobDefinition:
    return defs.resolve_job_def("two")


def run_config(executor: str, scope: str, place: str) -> dict[str, Any]:
    """Return the run config. place: the bucket and the prefix for a run and its retries only."""
    how: dict[str, Any] = {"in_process": {}}
    if executor == "multiprocess":
        how = {"multiprocess": {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": [__name__]}}}}
    own: dict[str, Any] = {"scope": scope, "prices": {"m5.xlarge": 0.3}}
    if on_serverless():
        own = {"execution_role": ROLE, "prices": {"vcpu_hour": 0.05, "memory_gb_hour": 0.006}}
    runner = {
        "bucket": place.partition("/")[0], "ship_dependencies": False, "log_wait_seconds": 0, "retry_delay_seconds": 0,
        **own,
    }  # fmt: skip
    return {
        "execution": {"config": how},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "resources": {"spark": {"config": runner}, "storage": {"config": {"uri": f"s3://{place}/data"}}},
    }


def work(run_id: str, home: str, environment: dict[str, str], forked_by: str) -> None:
    """A run worker, as `dagster api execute_run` is one. forked_by: the address of the fork server that made it, which
    is to make the processes of its steps too."""
    os.environ.update(environment)
    use_quick_clock()
    ours = cast("Any", forkserver)._forkserver
    ours._forkserver_address, ours.ensure_running = forked_by, lambda: None
    setup_interrupt_handlers()
    with capture_interrupts(), dg.DagsterInstance.from_config(home) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        job = ReconstructableJob.for_module(__name__, run.job_name)
        for _event in core_execute_run(job, run, instance, inject_env_vars=False):
            pass
