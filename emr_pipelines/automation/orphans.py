"""The sensor that terminates orphaned clusters: the last safety net, after runs that end theirs and idle timeouts."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from emr_pipelines import environment
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import DEFAULT_DEPLOYMENT, deployment_name
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.orphans import RunIs, end_orphans, find_orphans
from emr_pipelines.backends.names import prefix_of
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
    description="Every 5 minutes, where EMR_PIPELINES_TARGET is emr: ends this deployment's EMR clusters whose run "
    "ended more than 5 minutes ago, or is not known here, unless they are younger than 10 minutes; and those older "
    "than EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS (48), pools too. It starts no run, and never ends what this project has "
    "not launched. With EMR_PIPELINES_ORPHAN_DRY_RUN=1 it only says what it would end. Runs are looked up in this "
    "Dagster instance only: give each instance its own EMR_PIPELINES_DEPLOYMENT; without one, clusters of unknown runs "
    "are spared until they are too old.",
)
def orphaned_clusters_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    try:
        if (target := environment.target()) != "emr":
            return dg.SkipReason(f"EMR_PIPELINES_TARGET is {target!r}; there are clusters to end only with 'emr'.")
        settings = OrphanSettings.read()
        return dg.SkipReason(_end_orphans(context, settings))
    except (AwsError, InvalidValue) as reason:
        return dg.SkipReason(str(reason))


def _end_orphans(context: dg.SensorEvaluationContext, settings: OrphanSettings) -> str:
    aws = Aws(within_seconds=PATIENCE_SECONDS)
    clusters = Clusters(aws)
    active = clusters.active(prefix_of(settings.deployment))
    run_is = runs_of(context.instance, time.time())
    spared: set[str] = set()
    if settings.deployment == DEFAULT_DEPLOYMENT:
        known = run_is

        def run_is(run_id: str) -> RunIs:
            """Tell the state of a run. An unknown run may belong to another Dagster instance with the same deployment
            name."""
            found = known(run_id)
            if found is RunIs.UNKNOWN:
                spared.add(run_id)
            return RunIs.UNFINISHED if found is RunIs.UNKNOWN else found

    orphans = find_orphans(active, run_is, aws.now(), settings.max_age_seconds)
    if not orphans:
        return _nothing_to_end(len(active), settings.deployment, sorted(spared))
    said = end_orphans(clusters, orphans[:MAX_AT_ONCE], settings.dry_run)
    if len(orphans) > MAX_AT_ONCE:
        said.append(f"{len(orphans) - MAX_AT_ONCE:,} more are left to the next ticks.")
    for sentence in said:
        context.log.info(sentence)
    return " ".join(said)


def _nothing_to_end(active: int, deployment: str, spared: list[str]) -> str:
    if not active:
        return f"Deployment {deployment!r} has no active cluster."
    why = "each is young, a pool's, or of a run that is not over, and none is too old"
    theirs = f" Runs that are not known here, but may be elsewhere: {', '.join(spared)}." if spared else ""
    return f"None of the {active:,} active clusters of deployment {deployment!r} is an orphan: {why}.{theirs}"


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
