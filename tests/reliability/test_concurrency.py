"""Many concurrent runs on hosts whose clocks differ by minutes: no extra cluster, no repeated step, no old data."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rehearsal import DURATIONS, UP, Rehearsal, rehearsing

from emr_emulator import Emulator, ManualClock, Scripted
from emr_pipelines.assets.publication import AssetEvents, mistakes_as_failures, publish
from emr_pipelines.automation import orphans
from emr_pipelines.automation.orphans import SETTLED_SECONDS
from emr_pipelines.aws import client
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.emr import leases
from emr_pipelines.backends.emr.bills import Observed, bill
from emr_pipelines.backends.emr.cluster import Clusters
from emr_pipelines.backends.emr.leases import LAUNCHED_WITHIN_SECONDS, AcquiredCluster, Leases
from emr_pipelines.backends.emr.ledger import ledger
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.orphans import GRACE_SECONDS
from emr_pipelines.clock import SystemClock
from emr_pipelines.errors import Superseded
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.storage import Storage
from tests.account import BUCKET
from tests.automation.test_orphans import add_run, name, tick
from tests.reliability.hosts import Hosts, Killed
from tests.runners.programs import Numbers, Total, add_up
from tests.storage.conftest import KEY, Place, on_disk, on_s3  # noqa: F401 (fixtures)

TEN_MINUTES = 600.0
AHEAD_SECONDS = (0.0, TEN_MINUTES, -TEN_MINUTES)  # offsets of the hosts' clocks, in turn
RUNS, CLUSTERS = 20, 3
IDLE_SECONDS = 900
CONTENDERS = 50
YOUNG_SECONDS = GRACE_SECONDS / 5
CALLED = "emr-pipelines/test/run/1"
LAUNCHED_BY_ANOTHER = ("before RunJobFlow", "the write of the lease took effect")


# 20 runs, 3 clusters


class Programs:
    """Writes the results of all running programs."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._left = emulator, set[str]()

    def leave_results(self) -> None:
        bucket = self._emulator.root / "buckets" / BUCKET
        for step in [step for cluster in self._emulator.clusters() for step in cluster.steps.values()]:
            if step.id not in self._left and str(step.state) in ("RUNNING", "COMPLETED"):
                self._left.add(step.id)
                (task_uri,) = (word for word in step.args if word.endswith("/task.json"))
                task = json.loads((bucket / task_uri.removeprefix(f"s3://{BUCKET}/")).read_text())
                result = json.dumps({"result": {"total": sum(task["params"]["values"])}})
                (bucket / task["result"].removeprefix(f"s3://{BUCKET}/")).write_text(result)


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    scripted = {"spark-submit": Scripted(seconds=60)}
    with Emulator(tmp_path / "emulator", clock=ManualClock(), durations=DURATIONS, scripted=scripted) as emulator:
        for variable, value in emulator.environment.items():
            monkeypatch.setenv(variable, value)
        emulator.create_bucket(BUCKET)
        make, shared = Aws._client, Aws()
        # one client for all hosts, because creating one takes a third of a second
        monkeypatch.setattr(Aws, "_client", lambda _, *service: make(shared, *service))
        yield emulator


def on_hosts(emulator: Emulator, before_time_passes: Callable[[], None] = lambda: None) -> Hosts:
    return Hosts(emulator._agenda.now, emulator.advance, before_time_passes)


def adding_up(number: int, **settings: Any) -> Callable[[], Total]:
    """Run one program in a separate Dagster instance."""

    def run() -> Total:
        found: list[Total] = []

        @dg.asset
        def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
            found.append(spark.run(context, add_up, Numbers((number,))))

        runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, retries=0, **settings)
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize([answer], resources={"spark": runner}, instance=instance)
        return found[0]

    return run


@pytest.mark.extended
def test_20_runs_share_a_pool_of_3_clusters(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = on_hosts(emulator, Programs(emulator).leave_results)
    monkeypatch.setattr(client, "SystemClock", hosts.clock)
    settings = {"scope": "pool", "pool_size": CLUSTERS, "cluster": {"idle_timeout_seconds": IDLE_SECONDS}}
    runs = [adding_up(number, **settings) for number in range(RUNS)]

    assert hosts.run(runs, AHEAD_SECONDS) == [Total(number) for number in range(RUNS)]
    assert len(emulator.clusters()) == CLUSTERS
    steps = [len(cluster.steps) for cluster in emulator.clusters()]
    assert sum(steps) == RUNS  # each was submitted once
    assert min(steps) >= RUNS // CLUSTERS - 2

    # on existing idle clusters
    more = [adding_up(number, **settings) for number in range(RUNS, RUNS + CLUSTERS)]
    assert hosts.run(more, AHEAD_SECONDS) == [Total(number) for number in range(RUNS, RUNS + CLUSTERS)]
    assert [len(cluster.steps) - before for cluster, before in zip(emulator.clusters(), steps, strict=True)] == [
        1,
        1,
        1,
    ]

    emulator.advance(IDLE_SECONDS + DURATIONS.termination + 1)
    assert {str(cluster.state) for cluster in emulator.clusters()} == {"TERMINATED"}


# a contended lease whose holder dies


class Moment:
    """A moment at which the first host to reach it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dead: threading.Thread | None = None

    def come(self) -> None:
        with self._lock:
            if self._dead is None:
                self._dead = threading.current_thread()
        self.pass_by()

    def pass_by(self) -> None:
        if threading.current_thread() is self._dead:
            raise Killed


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before RunJobFlow", marks=pytest.mark.extended),
        pytest.param("after RunJobFlow", marks=pytest.mark.extended),
        pytest.param("the write of the lease took effect", marks=pytest.mark.extended),
        "the write of the id took effect",
    ],
)
def test_50_contend_for_a_lease_and_its_holder_dies(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr(leases, "LOOK_INTERVAL_SECONDS", 10.0)  # 50 hosts look, on two cores
    death = Moment()
    call = Aws.call

    def mortal(self: Aws, service: str, operation: str, /, *args: Any, **request: Any) -> Any:
        death.pass_by()
        answer = call(self, service, operation, *args, **request)
        written = json.loads(request["Body"]) if operation == "put_object" else None
        if written and moment == f"the write of the {'id' if written['cluster_id'] else 'lease'} took effect":
            death.come()
        return answer

    monkeypatch.setattr(Aws, "call", mortal)
    hosts = on_hosts(emulator)

    def acquire() -> tuple[AcquiredCluster, float]:
        aws, began = Aws(clock=hosts.clock()), hosts.clock().now()

        def launch(_renew: object) -> str:
            if moment == "before RunJobFlow":
                death.come()
            launched = Clusters(aws).launch(ClusterSpec.parse({}).request(CALLED, f"s3://{BUCKET}/logs/", {}))
            if moment == "after RunJobFlow":
                death.come()
            return launched

        leased = Leases(aws, Objects(aws), f"s3://{BUCKET}/clusters").acquire("1", CALLED, launch)
        return leased, hosts.clock().now() - began

    outcomes = hosts.run([acquire] * CONTENDERS, AHEAD_SECONDS)
    got = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)] == [Killed]
    (cluster,) = emulator.clusters()
    assert {leased.cluster_id for leased, _ in got} == {cluster.id}
    assert max(waited for _, waited in got) <= LAUNCHED_WITHIN_SECONDS + 2 * leases.LOOK_INTERVAL_SECONDS
    assert sum(leased.launched for leased, _ in got) == (moment in LAUNCHED_BY_ANOTHER)


def test_a_launch_that_is_throttled_for_minutes_is_one(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOK_INTERVAL_SECONDS", 10.0)
    emulator.faults.add([{"fault": "throttle", "operation": "RunJobFlow", "times": 20}])
    hosts = on_hosts(emulator)
    began = hosts.now()

    def acquire() -> AcquiredCluster:
        aws = Aws(clock=hosts.clock())
        request = ClusterSpec.parse({}).request(CALLED, f"s3://{BUCKET}/logs/", {})
        return Leases(aws, Objects(aws), f"s3://{BUCKET}/clusters").acquire(
            "1", CALLED, lambda renewing: Clusters(renewing).launch(request)
        )

    outcomes = hosts.run([acquire] * 8)
    assert hosts.now() - began > LAUNCHED_WITHIN_SECONDS
    (cluster,) = emulator.clusters()
    found, launched = AcquiredCluster(cluster.id, launched=False), AcquiredCluster(cluster.id, launched=True)
    assert (outcomes.count(found), outcomes.count(launched)) == (7, 1)


# the same asset, twice at once


@pytest.fixture(params=["on_disk", "on_s3"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("ahead_seconds", [(0.0, 0.0), (TEN_MINUTES, -TEN_MINUTES), (-TEN_MINUTES, TEN_MINUTES)])
@pytest.mark.parametrize("later_is_first", [True, False])
def test_of_two_runs_the_data_of_the_one_that_began_later_stays(
    place: Place, ahead_seconds: tuple[float, float], later_is_first: bool
) -> None:
    """Regardless of their hosts' clocks and of which one ends first."""
    earlier_now, later_now = (
        partial(lambda ahead: datetime.now(timezone.utc) + timedelta(seconds=ahead), ahead) for ahead in ahead_seconds
    )
    storage = place.storage
    before = place.publish(0)
    with suppress(Superseded), storage.new_version(KEY, "earlier", now=earlier_now) as earlier:
        place.fill(earlier)
        with storage.new_version(KEY, "later", now=later_now) as later:
            place.fill(later)
            for version in (later, earlier) if later_is_first else (earlier, later):
                if later_is_first and version is earlier:
                    with pytest.raises(Superseded, match="run later began later than this one and has already publish"):
                        storage.publish(KEY, version, "data")
                else:
                    storage.publish(KEY, version, "data")
                    assert place.filled(storage.require(KEY).version)
        if later_is_first:
            raise Superseded("as publish said")
    assert storage.require(KEY).run_id == "later"
    assert place.versions() == sorted([before.name, later.name, *([] if later_is_first else [earlier.name])])
    assert place.begun() == []
    with storage.new_version(KEY, "next", now=earlier_now) as following:  # and neither clock blocks a later run
        place.fill(following)
        storage.publish(KEY, following, "data")
    assert storage.require(KEY).run_id == "next"


def test_the_run_that_is_overtaken_fails_with_a_sentence_and_the_other_does_not(tmp_path: Path) -> None:
    storage = Storage(uri=str(tmp_path / "storage"))
    runs: list[str] = []
    others: list[dg.ExecuteInProcessResult] = []

    @dg.asset
    def words(context: dg.AssetExecutionContext, storage: Storage) -> AssetEvents:
        with mistakes_as_failures(), storage.new_version(context.asset_key, context.run.run_id) as version:
            storage.write(context.asset_key, version, "data.txt", context.run.run_id.encode())
            runs.append(context.run.run_id)
            if len(runs) == 1:  # meanwhile another run begins, and ends first
                others.append(dg.materialize([words], resources={"storage": storage}))
            yield from publish(context, storage, version, context.run.run_id, [], {})

    overtaken = dg.materialize([words], resources={"storage": storage}, raise_on_error=False)
    assert others[0].success
    (failure,) = overtaken.get_step_failure_events()
    user_failure = failure.step_failure_data.user_failure_data
    assert user_failure is not None
    latest = storage.require(dg.AssetKey("words"))
    assert user_failure.description == (
        f"words was not published: run {others[0].run_id} began later than this one and has already published version "
        f"{latest.version}."
    )
    assert storage.read(dg.AssetKey("words"), latest.version, "data.txt") == others[0].run_id.encode()


# clocks of the sensor and of the costs


@pytest.fixture
def an_hour_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    monkeypatch.setenv("EMR_PIPELINES_DEPLOYMENT", "here")
    with rehearsing(tmp_path / "emulator", monkeypatch, started_ago=3600) as rehearsal:
        yield rehearsal


@pytest.mark.parametrize("ahead", AHEAD_SECONDS)
def test_a_sensor_whose_clock_is_off_ends_no_cluster_that_is_needed_and_leaves_none_that_is_not(
    an_hour_ago: Rehearsal, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    class Ahead(SystemClock):
        def now(self) -> float:
            return super().now() + ahead

    monkeypatch.setattr(client, "SystemClock", Ahead)
    monkeypatch.setattr(orphans, "time", Ahead)
    monkeypatch.setattr(Ahead, "time", Ahead().now, raising=False)
    running = add_run(instance, dg.DagsterRunStatus.STARTED)
    finished = add_run(instance, dg.DagsterRunStatus.SUCCESS, ended_ago=SETTLED_SECONDS + TEN_MINUTES + 1)
    needed = an_hour_ago.up(Name=name(running))
    left = an_hour_ago.up(Name=name(finished))
    unknown = an_hour_ago.up(Name=name(str(uuid.uuid4())))
    an_hour_ago.advance(3600 - 3 * UP - YOUNG_SECONDS)
    young = an_hour_ago.launch(Name=name(str(uuid.uuid4())))  # its run's record may come from another host
    tick(instance)
    assert [an_hour_ago.state(cluster) for cluster in (needed, young)] == ["WAITING", "STARTING"]
    assert [an_hour_ago.state(cluster) for cluster in (left, unknown)] == ["TERMINATING"] * 2


@pytest.mark.parametrize("ahead", [TEN_MINUTES, -TEN_MINUTES])
def test_what_a_cluster_cost_does_not_depend_on_who_asks(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    hosts = on_hosts(emulator, Programs(emulator).leave_results)
    monkeypatch.setattr(client, "SystemClock", hosts.clock)

    def ask() -> tuple[Any, Any, Any]:
        aws = Aws()
        (cluster,) = emulator.clusters()
        Clusters(aws).describe(cluster.id)  # it asks before each termination, and then knows AWS's time
        cost = bill(aws, cluster.id, {"m5.xlarge": 0.36}, observed=Observed(told_to_end=aws.now()))
        return cost.usages, cost.idle_share, ledger(aws, "default", [], {"m5.xlarge": 0.36})

    assert hosts.run([adding_up(1, prices={"m5.xlarge": 0.36})], [ahead]) == [Total(1)]
    assert [str(cluster.state) for cluster in emulator.clusters()] == ["TERMINATED"]
    right, told = hosts.run([ask, ask], [0.0, ahead])
    assert not isinstance(right, BaseException)
    assert told == right
    for share in right[2]:
        assert share.instance_seconds > 0
