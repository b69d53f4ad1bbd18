"""Break the package on purpose: a campaign must detect each of these.

python -m tests.reliability.kills --sabotage nothing_is_adopted
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from emr_pipelines.automation import orphans
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr_serverless.job_runs import JobRunId, JobRuns
from emr_pipelines.errors import Unreachable
from emr_pipelines.storage import storage
from emr_pipelines.storage.folder import PUBLISHED
from emr_pipelines.storage.s3 import S3Folder
from tests.reliability.plans import SERVERLESS, Plan

SABOTAGE = "KILLS_SABOTAGE"  # environment variable of all processes: the sabotage


def nothing_is_adopted() -> None:
    """Launch without searching for an existing cluster by name."""
    _replace(Clusters, "find", lambda *_: None)


def nothing_is_marked() -> None:
    """Publish a version without its mark."""
    write = S3Folder.write

    def without_mark(folder: S3Folder, name: str, data: bytes, replacing: Any) -> bool:
        return name.endswith(PUBLISHED) or write(folder, name, data, replacing)

    _replace(S3Folder, "write", without_mark)


def ended_by_the_run_alone() -> None:
    """Let no sensor terminate the cluster of a killed run."""
    _replace(orphans._Search, "clusters", lambda _: orphans._Looked("cluster", 0, []))


def nothing_is_taken_up() -> None:
    """Let a retry redo what a killed attempt has done."""
    _replace(storage, "resume", lambda *_: None)


def a_token_for_each_call() -> None:
    """Ask for a job run on EMR Serverless with another client token each time."""

    def start(runs: JobRuns, request: dict[str, Any]) -> JobRunId:
        while True:
            told = {**request, "clientToken": secrets.token_hex(8)}
            with suppress(Unreachable):
                answer = runs._aws.call("emr-serverless", "start_job_run", patience_seconds=0, **told)
                return JobRunId(answer["applicationId"], answer["jobRunId"])

    _replace(JobRuns, "start", start)


# the kill that detects each
SABOTAGES: dict[str, tuple[Callable[[], None], Plan]] = {
    sabotage.__name__: (sabotage, plan)
    for sabotage, plan in (
        (nothing_is_adopted, Plan("worker", "SIGKILL", "in_process", "run", "RunJobFlow", "after", retry_first=True)),
        (nothing_is_marked, Plan("worker", "SIGKILL", "in_process", "run", "latest.json", "after")),
        (ended_by_the_run_alone, Plan("worker", "SIGKILL", "in_process", "run", "step begins")),
        (nothing_is_taken_up, Plan("worker", "SIGKILL", "in_process", "run", "result is left", retry_first=True)),
        (a_token_for_each_call, Plan("connection", "reset", "in_process", SERVERLESS, "StartJobRun", "after")),
    )
}


def apply() -> None:
    """Apply the sabotage named in the environment, in each process."""
    if os.environ.get(SABOTAGE):
        SABOTAGES[os.environ[SABOTAGE]][0]()


def _replace(of: Any, name: str, by: Any) -> None:
    assert hasattr(of, name)
    setattr(of, name, by)
