"""The package, broken on purpose: a campaign must find each of these, or it would find nothing else either.

python -m tests.reliability.kills --sabotage nothing_is_adopted
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from emr_pipelines.automation import orphans
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.storage import storage
from emr_pipelines.storage.folder import PUBLISHED
from emr_pipelines.storage.s3 import S3Folder
from tests.reliability.plans import Plan

SABOTAGE = "KILLS_SABOTAGE"  # in the environment of all processes: which of them


def nothing_is_adopted() -> None:
    """A cluster is not looked for by its name before another is launched."""
    _replace(Clusters, "find", lambda *_: None)


def nothing_is_marked() -> None:
    """A version is published without its mark."""
    write = S3Folder.write

    def without_mark(folder: S3Folder, name: str, data: bytes, replacing: Any) -> bool:
        return name.endswith(PUBLISHED) or write(folder, name, data, replacing)

    _replace(S3Folder, "write", without_mark)


def ended_by_the_run_alone() -> None:
    """No sensor ends a cluster whose run was killed."""
    _replace(orphans, "_end_orphans", lambda *_: "")


def nothing_is_taken_up() -> None:
    """A retry begins anew what a killed attempt has done."""
    _replace(storage, "resume", lambda *_: None)


# the plan of a kill by which each is found
SABOTAGES: dict[str, tuple[Callable[[], None], Plan]] = {
    sabotage.__name__: (sabotage, plan)
    for sabotage, plan in (
        (nothing_is_adopted, Plan("worker", "SIGKILL", "in_process", "run", "RunJobFlow", "after", retry_first=True)),
        (nothing_is_marked, Plan("worker", "SIGKILL", "in_process", "run", "latest.json", "after")),
        (ended_by_the_run_alone, Plan("worker", "SIGKILL", "in_process", "run", "step begins")),
        (nothing_is_taken_up, Plan("worker", "SIGKILL", "in_process", "run", "result is left", retry_first=True)),
    )
}


def apply() -> None:
    """In each process: what the environment says."""
    if os.environ.get(SABOTAGE):
        SABOTAGES[os.environ[SABOTAGE]][0]()


def _replace(of: Any, name: str, by: Any) -> None:
    setattr(of, name, by)
