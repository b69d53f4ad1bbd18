"""The sensor that ends orphaned clusters and job runs: the last net, below runs that end theirs, and timeouts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dagster as dg

from emr_pipelines import environment
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import DEFAULT_DEPLOYMENT, deployment_name
from emr_pipelines.backends.emr import orphans as emr
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr_serverless import orphans as serverless
from emr_pipelines.backends.emr_serverless import search
from emr_pipelines.backends.emr_serverless.job_runs import JobRuns
from emr_pipelines.backends.names import prefix_of
from emr_pipelines.backends.orphans import RunIs
from emr_pipelines.environment import ON_AWS
from emr_pipelines.errors import AwsError, InvalidValue

ROOT_RUN_ID_TAG = "dagster/root_run_id"
# For this long after its end a run counts as unfinished: its own teardown may still be ending the cluster, or
# an automatic retry, which finds the cluster by its name, may be about to start.
SETTLED_SECONDS = 300.0
PATIENCE_SECONDS = 30.0  # Dagster gives a tick 60
MAX_AT_ONCE = 50  # orphans per tick, so that a tick is over in time even if AWS throttles


@dataclass(frozen=True)
class OrphanSettings:
    """The settings of the sensor, from the environment."""

    deployment: str
    max_age_seconds: float
    dry_run: bool

    @classmethod
    def read(cls) -> "OrphanSettings":
        """Read the environment. Raises InvalidValue."""
        return cls(deployment_name(), environment.orphan_max_age_hours() * 3600, environment.orphan_dry_run())


@dg.sensor(
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Every 5 minutes, where EMR_PIPELINES_TARGET is emr or emr-serverless: ends this deployment's EMR "
    "clusters, or cancels its job runs, whose run ended more than 5 minutes ago, or is not known here, unless they are "
    "younger than 10 minutes; and those older than EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS (48), pools too. It starts no "
    "run, and never ends what this project has not launched. With EMR_PIPELINES_ORPHAN_DRY_RUN=1 it only says what it "
    "would end. Runs are looked up in this Dagster instance only: give each instance its own EMR_PIPELINES_DEPLOYMENT; "
    "without one, what belongs to unknown runs is spared until it is too old.",
)
def orphaned_clusters_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    try:
        if (target := environment.target()) not in ON_AWS:
            others = " and ".join(f"'{name}'" for name in sorted(ON_AWS))
            return dg.SkipReason(f"EMR_PIPELINES_TARGET is {target!r}; only {others} leave something to end.")
        settings = OrphanSettings.read()
        search = _Search(context.instance, settings, Aws(within_seconds=PATIENCE_SECONDS))
        looked = search.clusters() if target == "emr" else search.job_runs()
        for sentence in looked.said:
            context.log.info(sentence)
        return dg.SkipReason(" ".join(looked.said) or looked.nothing_to_end(settings.deployment, search.spared))
    except (AwsError, InvalidValue) as reason:
        return dg.SkipReason(str(reason))


class _Looked(NamedTuple):
    """What a search found. noun: what it looked for. said: what was done, in sentences."""

    noun: str
    active: int
    said: list[str]

    def nothing_to_end(self, deployment: str, spared: set[str]) -> str:
        if not self.active:
            return f"Deployment {deployment!r} has no active {self.noun}."
        pools = ", a pool's" if self.noun == "cluster" else ""
        why = f"each is young{pools}, or of a run that is not over, and none is too old"
        theirs = f" Runs that are not known here, but may be elsewhere: {', '.join(sorted(spared))}." if spared else ""
        return (
            f"None of the {self.active:,} active {self.noun}s of deployment {deployment!r} is an orphan: {why}.{theirs}"
        )


class _Search:
    """A search for orphans, which ends them. spared: runs that are not known here, but may be in another Dagster
    instance with the same deployment name."""

    def __init__(self, instance: dg.DagsterInstance, settings: OrphanSettings, aws: Aws) -> None:
        self._run_is, self._settings, self._aws = runs_of(instance, time.time()), settings, aws
        self.spared: set[str] = set()

    def clusters(self) -> _Looked:
        clusters = Clusters(self._aws)
        active = clusters.active(prefix_of(self._settings.deployment))
        orphans = emr.find_orphans(active, self._state_of, self._aws.now(), self._settings.max_age_seconds)
        said = emr.end_orphans(clusters, orphans[:MAX_AT_ONCE], self._settings.dry_run)
        return _Looked("cluster", len(active), [*said, *_left(orphans)])

    def job_runs(self) -> _Looked:
        active = list(search.active_job_runs(self._aws, self._settings.deployment))
        orphans = serverless.find_orphans(active, self._state_of, self._aws.now(), self._settings.max_age_seconds)
        said = serverless.cancel_orphans(JobRuns(self._aws), orphans[:MAX_AT_ONCE], self._settings.dry_run)
        return _Looked("job run", len(active), [*said, *_left(orphans)])

    def _state_of(self, run_id: str) -> RunIs:
        found = self._run_is(run_id)
        if found is RunIs.UNKNOWN and self._settings.deployment == DEFAULT_DEPLOYMENT:
            self.spared.add(run_id)
            return RunIs.UNFINISHED
        return found


def _left(orphans: Sequence[object]) -> list[str]:
    more = len(orphans) - MAX_AT_ONCE
    return [f"{more:,} more are left to the next ticks."] if more > 0 else []


def runs_of(instance: dg.DagsterInstance, now: float) -> Callable[[str], "RunIs"]:
    """Tell the state of the run in a cluster's name and of all runs of its group: the cluster is needed while any of
    them is unfinished. now: seconds since 1970."""

    def run_is(run_id: str) -> RunIs:
        record = instance.get_run_record_by_id(run_id)
        roots = {run_id, *([record.dagster_run.root_run_id] if record and record.dagster_run.root_run_id else [])}
        found = [*([record] if record else [])]
        found += instance.get_run_records(dg.RunsFilter(run_ids=sorted(roots)))
        found += instance.get_run_records(dg.RunsFilter(tags={ROOT_RUN_ID_TAG: sorted(roots)}))
        if not found:
            return RunIs.UNKNOWN
        return RunIs.UNFINISHED if any(_may_need_it(record, now) for record in found) else RunIs.FINISHED

    return run_is


def _may_need_it(record: dg.RunRecord, now: float) -> bool:
    if not record.dagster_run.is_finished:
        return True
    return record.end_time is not None and now - record.end_time < SETTLED_SECONDS
