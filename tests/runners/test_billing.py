"""Each cluster of a run is billed once, with its own times, to the assets and partitions whose steps it ran."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import pytest
from rehearsal import DURATIONS

from emr_pipelines import charts
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.backends.watch import JITTER, LONGEST_INTERVAL_SECONDS
from emr_pipelines.costs.bill import Span
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.billing import prepare_bill
from emr_pipelines.runners.emr import EmrSparkRunner
from tests.account import BUCKET, ended
from tests.emr_env import PARAMS, EmrEnv, Failed
from tests.runners.programs import add_up

Work = Callable[[dg.AssetExecutionContext, EmrSparkRunner], Any]
PRICES = {"m5.xlarge": 0.36}  # 0.0001 USD a second
INSTANCES = 3


@dataclass(frozen=True)
class Billed:
    """The metadata of a cluster's observation."""

    cluster_id: str
    share: float
    seconds: float
    idle_share: float | None
    partition: str | None


def billed(emr_env: EmrEnv, asset: str = "answer") -> list[Billed]:
    """Return the observations of an asset, oldest first."""
    found = []
    for record in reversed(emr_env.instance.fetch_observations(dg.AssetKey(asset), limit=20).records):
        observation = record.asset_observation
        assert observation is not None
        said = {name: entry.value for name, entry in observation.metadata.items()}
        cluster: Any = said["cluster"]
        idle: Any = said.get("idle_share")
        found.append(
            Billed(
                cluster["cluster_id"],
                float(str(said["cost_share"])),
                float(str(said["billed_instance_seconds"])),
                idle,
                observation.partition,
            )
        )
    return found


def ids(emr_env: EmrEnv) -> list[str]:
    return [cluster.id for cluster in emr_env.account.emulator.clusters()]


def short_step(name: str = "short") -> Step:
    return Step(name, ("bash",))


def end_by_a_person(emr_env: EmrEnv) -> None:
    """Terminate the first cluster, as a person would."""
    emr_env.account.clusters.terminate(ids(emr_env)[0])
    emr_env.account.emulator.advance(DURATIONS.termination)


def test_a_cluster_that_took_another_s_place_has_its_own_times(emr_env: EmrEnv) -> None:
    """The runner ended the first after a failed step; the second is idle for 500 s."""

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        emr_env.account.fault("step_fails", stderr="ValueError: no")
        with pytest.raises(dg.Failure):
            spark.run_step(context, short_step("fails"))
        emr_env.account.emulator.advance(DURATIONS.termination)
        spark.run_step(context, short_step("b"))
        emr_env.account.emulator.advance(500)

    emr_env.materialize(work, prices=PRICES)
    first, second = ids(emr_env)
    of_first, of_second = billed(emr_env)
    assert [of_first.cluster_id, of_second.cluster_id] == [first, second]
    assert of_first.share == of_second.share == 1
    # 300 s to come up, 10 s of a step, 500 s of nothing and 90 s to end; each end is noticed up to a pause late
    latest = 900 + 2 * LONGEST_INTERVAL_SECONDS * (1 + JITTER)
    assert INSTANCES * 900 <= of_second.seconds <= INSTANCES * latest
    assert of_second.idle_share == pytest.approx(INSTANCES * 500 / of_second.seconds, abs=0.03)


def test_what_draws_the_bill_is_ready_before_the_cluster_has_ended(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process's first chart takes a second or two, which should not delay the end of a run."""
    states = []

    def timeline(spans: Sequence[Span], title: str) -> str:
        states.append([str(cluster.state) for cluster in emr_env.account.emulator.clusters()])
        return f"{len(spans)} {title}"

    monkeypatch.setattr(charts, "timeline", timeline)
    prepare_bill.cache_clear()
    emr_env.materialize(lambda context, spark: spark.run_step(context, short_step()), prices=PRICES)
    assert states == [["STARTING"], ["TERMINATED"]]


def time_out(emr_env: EmrEnv) -> None:
    """Let the first cluster reach its idle timeout."""
    emr_env.account.emulator.advance(900 + DURATIONS.termination)


def begin_to_end(emr_env: EmrEnv) -> None:
    emr_env.account.clusters.terminate(ids(emr_env)[0])


@pytest.mark.parametrize(
    ("meanwhile", "other_process"),
    [
        (time_out, False),
        (end_by_a_person, True),
        pytest.param(end_by_a_person, False, marks=pytest.mark.extended),
        pytest.param(time_out, True, marks=pytest.mark.extended),
        pytest.param(begin_to_end, False, marks=pytest.mark.extended),
        pytest.param(begin_to_end, True, marks=pytest.mark.extended),
    ],
)
def test_a_cluster_that_ended_between_two_steps_is_billed_too(
    emr_env: EmrEnv, meanwhile: Callable[[EmrEnv], object], other_process: bool
) -> None:
    """In the same process, and when the first step's process left the cluster to the second's."""

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run_step(context, short_step("a"))
        if other_process:
            spark._shared = spark._run_steps = None
        meanwhile(emr_env)
        spark.run_step(context, short_step("b"))

    emr_env.materialize(work, prices=PRICES)
    assert [entry.cluster_id for entry in billed(emr_env)] == ids(emr_env)
    assert len(ids(emr_env)) == 2
    assert [entry.share for entry in billed(emr_env)] == [1, 1]
    assert sum(line.startswith("Cluster") and "billed for" in line for line in emr_env.log) == 2


@pytest.mark.extended
def test_a_spot_cluster_that_was_lost_is_billed_beside_the_one_of_the_retry(emr_env: EmrEnv) -> None:
    emr_env.account.fault("primary_lost", after_seconds=60)
    emr_env.clock.result_of_cluster = 1  # the second
    assert emr_env.run(retries=1, prices=PRICES).total == 6
    assert [entry.cluster_id for entry in billed(emr_env)] == ids(emr_env)
    assert len(ids(emr_env)) == 2


@pytest.mark.parametrize("scope", ["run", pytest.param("asset", marks=pytest.mark.extended)])
def test_a_cluster_that_did_not_come_up_is_billed(emr_env: EmrEnv, scope: str) -> None:
    emr_env.account.fault("provisioning_hangs")
    with pytest.raises(Failed, match="was not ready after 20 minutes"):
        emr_env.run(provisioning_minutes=20, scope=scope, prices=PRICES)
    (found,) = billed(emr_env)
    assert found.cluster_id == ids(emr_env)[0]
    assert found.share == 1
    assert found.idle_share is None


@pytest.mark.extended
def test_a_cluster_that_a_cancelled_step_ended_is_billed(emr_env: EmrEnv) -> None:
    """In deploy mode cluster, the runner terminates the cluster to stop the driver."""
    with pytest.raises(Failed, match="was not done after 5 minutes"):
        emr_env.run(deploy_mode="cluster", running_minutes=5, prices=PRICES)
    assert [entry.cluster_id for entry in billed(emr_env)] == ids(emr_env)
    assert len(ids(emr_env)) == 1


@pytest.mark.extended
def test_a_cluster_whose_launch_had_no_answer_is_billed_once(emr_env: EmrEnv) -> None:
    emr_env.account.fault("lost_response", operation="RunJobFlow", times=1)
    emr_env.run(prices=PRICES)
    assert [entry.cluster_id for entry in billed(emr_env)] == ids(emr_env)
    assert len(ids(emr_env)) == 1


def test_a_pool_s_cluster_is_billed_by_the_run_that_puts_another_in_its_place(emr_env: EmrEnv) -> None:
    emr_env.run(scope="pool", prices=PRICES)
    assert billed(emr_env) == []
    emr_env.account.emulator.advance(900 + DURATIONS.termination)
    emr_env.run(scope="pool", prices=PRICES)
    (found,) = billed(emr_env)
    assert found.cluster_id == ids(emr_env)[0]
    emr_env.account.clusters.terminate(ids(emr_env)[1])
    emr_env.account.emulator.advance(DURATIONS.termination)


def test_a_cluster_that_ended_after_its_process_left_it_for_others_is_billed_by_one_that_needs_none(
    emr_env: EmrEnv,
) -> None:
    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run_step(context, short_step("a"))
        spark._shared = spark._run_steps = None
        end_by_a_person(emr_env)

    emr_env.materialize(work, prices=PRICES)
    assert [entry.cluster_id for entry in billed(emr_env)] == ids(emr_env)


def test_what_another_process_put_in_the_place_of_a_cluster_is_ended_too(emr_env: EmrEnv) -> None:
    """The last process to leave still refers to the first cluster."""

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run_step(context, short_step("a"))
        mine, spark._shared = spark._shared, None
        end_by_a_person(emr_env)
        spark.run_step(context, short_step("b"))
        other, spark._shared = spark._shared, mine
        assert other is not None
        assert [held.id for held in other.clusters.owed] == ids(emr_env)[:1]

    emr_env.materialize(work, prices=PRICES)
    assert ended(emr_env.account)
    assert [entry.cluster_id for entry in billed(emr_env)] == [ids(emr_env)[1]]  # the other process billed the first


@pytest.fixture
def two_runners(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Run two assets with two runners and two clusters, as the multiprocess executor does: the first one's process
    leaves its cluster to the steps that may come. Returns the clusters' ids."""
    teardown, gone = EmrSparkRunner.teardown_after_execution, list[EmrSparkRunner]()

    def of_a_process_that_is_here(self: EmrSparkRunner, context: dg.InitResourceContext) -> None:
        if self not in gone:
            teardown(self, context)

    def run(then: Callable[[dg.AssetExecutionContext], object] = lambda _: None, **large: Any) -> list[str]:
        @dg.asset
        def first(context: dg.AssetExecutionContext, small: SparkRunner) -> None:
            assert isinstance(small, EmrSparkRunner)
            small.run(context, add_up, PARAMS)
            gone.append(small)

        @dg.asset(deps=[first])
        def second(context: dg.AssetExecutionContext, large: SparkRunner) -> None:
            assert isinstance(large, EmrSparkRunner)
            large.run(context, add_up, PARAMS)
            assert large._run_steps is not None
            large._run_steps = replace(large._run_steps, here=frozenset(["second"]))
            then(context)

        common: dict[str, Any] = {"bucket": BUCKET, "ship_dependencies": False, "prices": PRICES}
        setup = {"idle_timeout_seconds": 7200}  # longer than any cluster is idle here
        described = {**setup, "core": {"type": "m5.xlarge", "count": 4}}
        runners = {
            "small": EmrSparkRunner(**common, cluster=setup),
            "large": EmrSparkRunner(**common, cluster=described, **large),
        }
        dg.materialize([first, second], resources=runners, instance=emr_env.instance)
        return ids(emr_env)

    monkeypatch.setattr(EmrSparkRunner, "teardown_after_execution", of_a_process_that_is_here)
    return run


@pytest.mark.parametrize("last_scope", ["run", "asset"])
def test_the_last_process_of_a_run_ends_and_bills_the_clusters_of_its_other_runners(
    emr_env: EmrEnv, two_runners: Callable[..., list[str]], last_scope: str
) -> None:
    of_first, of_second = two_runners(scope=last_scope)
    assert ended(emr_env.account)
    assert [entry.cluster_id for entry in billed(emr_env, "first")] == [of_first]
    assert [entry.cluster_id for entry in billed(emr_env, "second")] == [of_second]


def test_the_last_process_of_a_run_ends_the_run_s_cluster_and_leaves_the_pool_s(
    emr_env: EmrEnv, two_runners: Callable[..., list[str]]
) -> None:
    of_first, of_second = two_runners(scope="pool")
    assert emr_env.account.states() == ["TERMINATED", "WAITING"]
    assert [entry.cluster_id for entry in billed(emr_env, "first")] == [of_first]
    assert billed(emr_env, "second") == []
    emr_env.account.clusters.terminate(of_second)
    emr_env.account.emulator.advance(DURATIONS.termination)


def test_a_process_of_a_run_that_was_given_up_leaves_the_clusters_of_other_runners_to_a_retry(
    emr_env: EmrEnv, two_runners: Callable[..., list[str]]
) -> None:
    of_first, of_second = two_runners(lambda context: context.instance.report_run_failed(context.run))
    assert emr_env.account.states() == ["WAITING", "TERMINATED"]
    assert [entry.cluster_id for entry in billed(emr_env, "second")] == [of_second]
    emr_env.account.clusters.terminate(of_first)
    emr_env.account.emulator.advance(DURATIONS.termination)


def test_the_partition_of_a_step_of_another_process_is_known(emr_env: EmrEnv) -> None:
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

    def work(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        assert isinstance(spark, EmrSparkRunner)
        spark.run(context, add_up, PARAMS)
        spark._shared = spark._run_steps = None

    described: dict[str, dict[str, Any]] = {
        "one": {"partitions_def": days},
        "two": {"partitions_def": days, "deps": ["one"]},
        "whole": {},
    }
    assets = [dg.asset(name=name, **more)(work) for name, more in described.items()]
    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, prices=PRICES)
    assert dg.materialize(
        assets, resources={"spark": runner}, instance=emr_env.instance, partition_key="monday"
    ).success
    found = {name: billed(emr_env, name) for name in ("one", "two", "whole")}
    assert {name: [entry.partition for entry in entries] for name, entries in found.items()} == {
        "one": ["monday"], "two": ["monday"], "whole": [None]
    }  # fmt: skip
    assert sum(entries[0].share for entries in found.values()) == pytest.approx(1, abs=0.001)


@pytest.mark.extended
def test_partitions_of_an_asset_that_shared_a_pool_s_cluster_are_told_apart(emr_env: EmrEnv) -> None:
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

    @dg.asset(partitions_def=days)
    def daily(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        spark.run(context, add_up, PARAMS)

    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, prices=PRICES, scope="pool")
    for day in ("monday", "tuesday"):
        resources = {"spark": runner}
        assert dg.materialize([daily], resources=resources, instance=emr_env.instance, partition_key=day).success
    emr_env.account.emulator.advance(900 + DURATIONS.termination)
    emr_env.run(scope="pool", prices=PRICES)
    found = billed(emr_env, "daily")
    assert {entry.partition: entry.share for entry in found} == {
        "monday": pytest.approx(0.5, abs=0.01), "tuesday": pytest.approx(0.5, abs=0.01)
    }  # fmt: skip
    assert len(found) == 2
    emr_env.account.clusters.terminate(ids(emr_env)[1])
    emr_env.account.emulator.advance(DURATIONS.termination)
