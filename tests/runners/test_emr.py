"""Programs on EMR, without Spark: clusters, steps, messages, and that nothing is left running."""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rehearsal import DURATIONS

from emr_pipelines.aws import client
from emr_pipelines.backends.emr.backend import EmrBackend
from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose
from emr_pipelines.backends.emr.cluster import Cluster, Clusters
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.steps import AddedStep, Step, Steps, hive_script, shell_command
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.errors import AccessDenied
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.failures import advised
from emr_pipelines.runners.ledger import CostLedger
from emr_pipelines.spark_lines import installed_spark
from tests.account import BUCKET, deny, ended
from tests.emr_env import PARAMS, Clock, EmrEnv, Failed
from tests.runners.programs import Anything, Numbers, Total, add_up, returns_no_json
from tests.tiers import extended

# success


def test_a_program_runs_on_one_cluster_that_is_gone_when_the_run_is(emr_env: EmrEnv) -> None:
    assert emr_env.run() == Total(6)
    assert emr_env.account.states() == ["TERMINATED"]
    said = emr_env.events(
        "Launched cluster", "Cluster j-", "Step s-"
    )  # provisioned; and in the end: terminated, its cost
    assert said == ["Launched cluster", "Cluster j-", "Step s-", "Cluster j-", "Cluster j-"]
    (cluster,) = emr_env.account.emulator.clusters()
    assert [line for line in emr_env.log if "provisioned" in line] == [
        f"Cluster {cluster.id} was provisioned after 300 s."
    ]
    assert [line for line in emr_env.log if "TERMINATED" in line] == [f"Cluster {cluster.id} is TERMINATED."]


def test_what_is_waited_for_is_told_ever_more_rarely(emr_env: EmrEnv) -> None:
    emr_env.run()
    (cluster,) = emr_env.account.emulator.clusters()
    waits = [line.partition(": ")[::2] for line in emr_env.log if line.startswith("Waiting for ")]
    coming_up = [rest for what, rest in waits if what == f"Waiting for cluster {cluster.id} to come up"]
    assert len(coming_up) in (8, 9)  # within 300 s; polling has random jitter
    assert coming_up[0] in [f"STARTING, {seconds} s so far, at most 60 min." for seconds in (5, 6)]
    ending = [rest for what, rest in waits if what == f"Waiting for cluster {cluster.id} to end"]
    assert ending[0] in [f"TERMINATING, {seconds} s so far, at most 15 min." for seconds in (5, 6)]
    assert len(waits) == len(coming_up) + len(ending)  # the program reports its progress itself


def test_files_of_this_machine_are_brought_once(emr_env: EmrEnv, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)

    def bring(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> list[str]:
        brought = spark.stage_inputs(context, [f"{tmp_path}/?.txt", "s3://elsewhere/x"])
        assert spark.named_here(f"{brought[0]}/a.txt and s3://elsewhere/x") == f"{tmp_path}/a.txt and s3://elsewhere/x"
        return brought

    folder, elsewhere = emr_env.materialize(bring)
    assert elsewhere == "s3://elsewhere/x"
    assert emr_env.account.objects.read(f"{folder}/b.txt") == b"b.txt"
    assert [line for line in emr_env.log if line.startswith("Copied 2 of 2 files")]
    assert emr_env.materialize(bring) == [folder, elsewhere]
    assert [line for line in emr_env.log if line.startswith("Copied 0 of 2 files")]


def test_uris_of_other_file_systems_are_the_cluster_s_business(emr_env: EmrEnv) -> None:
    elsewhere = ["s3a://b/x", "hdfs:///x", "hdfs:/x", "gs://b/x", "jdbc:postgresql://host/db"]
    assert emr_env.materialize(lambda context, spark: spark.stage_inputs(context, elsewhere)) == elsewhere


@pytest.mark.extended
def test_folders_that_are_named_for_a_partition_are_kept(emr_env: EmrEnv, tmp_path: Path) -> None:
    """Even a single one: readers expect the partition's column."""
    file = tmp_path / "orders" / "day=2026-01-01" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    file.write_text("rows")

    def bring(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> list[list[str]]:
        sources = [str(tmp_path / "orders"), f"{tmp_path}/orders/day=*/*.parquet", str(file)]
        return [spark.stage_inputs(context, [source]) for source in sources]

    (folder,), (globbed,), (alone,) = emr_env.materialize(bring)
    assert folder == globbed != alone
    assert emr_env.account.objects.read(f"{folder}/day=2026-01-01/part-0.parquet") == b"rows"
    assert emr_env.account.objects.read(f"{alone}/part-0.parquet") == b"rows"


def test_a_failure_names_files_as_they_are_called_here(emr_env: EmrEnv, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    file = tmp_path / "text" / "b.txt"
    file.write_text("b")

    def bring(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> str:
        (folder,) = spark.stage_inputs(context, [str(file.parent)])
        return folder

    def bring_and_run(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        bring(context, spark)
        return spark.run(context, add_up, PARAMS)

    emr_env.account.fault("step_fails", times=None, stderr=f"ValueError: {emr_env.materialize(bring)}/b.txt is bad")
    emr_env.clock.result = None
    with pytest.raises(Failed, match=f"{file} is bad"):
        emr_env.materialize(bring_and_run)


def test_a_cluster_carries_what_it_is_known_by(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_DEPLOYMENT", "staging")
    emr_env.run()
    (cluster,) = emr_env.account.emulator.clusters()
    described = emr_env.account.clusters.describe(cluster.id)
    (run,) = emr_env.instance.get_runs()
    assert described.name == f"emr-pipelines/staging/run/{run.run_id}-{ClusterSpec().digest}"
    assert described.tags is not None
    assert {key: described.tags[f"emr_pipelines:{key}"] for key in ("deployment", "run_id", "job", "asset")} == {
        "deployment": "staging", "run_id": run.run_id, "job": run.job_name, "asset": "answer",
    }  # fmt: skip
    assert cluster.request["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    assert run.tags["emr_pipelines/cluster_id"] == cluster.id


@pytest.mark.parametrize("scope", ["run", *map(extended, ["asset", "pool"])])
def test_the_ledger_knows_which_run_and_asset_a_cluster_was_for(emr_env: EmrEnv, scope: str) -> None:
    emr_env.run(scope=scope)
    emr_env.step(shell_command("hello", "echo hello"), scope=scope)
    found = CostLedger(target="emr", prices={"m5.xlarge": 0.36}).entries([])
    runs = {run.run_id for run in emr_env.instance.get_runs()}
    assert {entry.run_id for entry in found} == runs
    assert {entry.asset for entry in found} == {"answer"}
    assert len(found) == len(runs) == 2
    clusters = emr_env.account.emulator.clusters()
    assert {entry.billed_id for entry in found} == {cluster.id for cluster in clusters}
    assert len(clusters) == (1 if scope == "pool" else 2)
    assert all(entry.usd == pytest.approx(entry.instance_seconds * 0.36 / 3600) for entry in found)


def test_entering_and_leaving_the_runner_launches_nothing(emr_env: EmrEnv) -> None:
    assert emr_env.materialize(lambda *_: 1) == 1
    assert emr_env.account.emulator.clusters() == []
    assert emr_env.account.calls == []


def test_other_steps_run_too(emr_env: EmrEnv) -> None:
    assert emr_env.step(shell_command("hello", "echo hello")).name.startswith("answer hello ")
    assert emr_env.account.states() == ["TERMINATED"]


@pytest.mark.extended
def test_a_cluster_spec_is_given_as_such(emr_env: EmrEnv) -> None:
    emr_env.run(cluster=ClusterSpec(release_label="emr-7.9.0", core=None))
    (cluster,) = emr_env.account.emulator.clusters()
    assert cluster.request["ReleaseLabel"] == "emr-7.9.0"


def test_two_runners_of_one_run_on_two_lines_of_spark(emr_env: EmrEnv) -> None:
    """Each on a cluster of its own; the run's log says once of each that the cluster is of another line, or newer."""

    def runner(label: str) -> EmrSparkRunner:
        cluster = {"release_label": label}
        return EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, retries=0, cluster=cluster)

    @dg.multi_asset(specs=[dg.AssetSpec("old"), dg.AssetSpec("new")])
    def both(context: dg.AssetExecutionContext, spark35: SparkRunner, spark4: SparkRunner) -> Iterator[dg.Output[None]]:
        for name, spark in (("old", spark35), ("new", spark4)):
            assert spark.run(context, add_up, PARAMS) == Total(6)
            yield dg.Output(None, name)

    labels = ["emr-7.99.0", "emr-spark-8.99.0"]
    resources = {"spark35": runner(labels[0]), "spark4": runner(labels[1])}
    run = dg.materialize([both], resources=resources, instance=emr_env.instance)
    assert [cluster.request["ReleaseLabel"] for cluster in emr_env.account.emulator.clusters()] == labels
    log = [entry.user_message for entry in emr_env.instance.all_logs(run.run_id)]
    for label in labels:
        assert len([line for line in log if line.startswith(f"{label} is newer than")]) == 1
    other = labels[0] if installed_spark().startswith("4.") else labels[1]
    assert [line.split(" runs ")[0] for line in log if "To align them" in line] == [other]


def test_roles_can_come_from_the_environment(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_SERVICE_ROLE", "a-role")
    monkeypatch.setenv("EMR_PIPELINES_INSTANCE_PROFILE", "a-profile")
    emr_env.run()
    (cluster,) = emr_env.account.emulator.clusters()
    assert (cluster.request["ServiceRole"], cluster.request["JobFlowRole"]) == ("a-role", "a-profile")


@pytest.mark.extended
def test_a_run_with_a_step_of_an_hour_costs_few_calls(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, calls = client.Aws._attempt, []

    def counted(self: client.Aws, service: str, *args: Any) -> Any:
        calls.append(service)
        return attempt(self, service, *args)

    monkeypatch.setattr(client.Aws, "_attempt", counted)
    emr_env.step(Step("long", ("hour",)))
    assert calls.count("emr") <= 120


# scopes


def test_two_steps_of_an_asset_share_the_run_s_cluster(emr_env: EmrEnv) -> None:
    def twice(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run(context, add_up, PARAMS)
        spark.run(context, add_up, Numbers((4,)))

    emr_env.materialize(twice)
    assert len(emr_env.account.emulator.clusters()) == 1
    assert len(emr_env.account.emulator.clusters()[0].steps) == 2


def test_with_scope_asset_each_has_its_own(emr_env: EmrEnv) -> None:
    def twice(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run(context, add_up, PARAMS)
        spark.run(context, add_up, Numbers((4,)))

    emr_env.materialize(twice, scope="asset")
    assert emr_env.account.states() == ["TERMINATED", "TERMINATED"]


def test_a_pool_is_joined_and_ends_by_itself_when_idle(emr_env: EmrEnv) -> None:
    emr_env.run(scope="pool")
    emr_env.run(scope="pool")
    assert emr_env.account.states() == ["WAITING"]
    emr_env.account.emulator.advance(900 + DURATIONS.termination)
    assert emr_env.account.states() == ["TERMINATED"]


@pytest.mark.extended
def test_a_pool_grows_when_its_clusters_are_busy(emr_env: EmrEnv) -> None:
    emr_env.run(scope="pool", pool_size=2)
    (first,) = emr_env.account.emulator.clusters()
    emr_env.account.steps.add(first.id, Step("busy", ("spark-submit",)))
    emr_env.run(scope="pool", pool_size=2)
    assert len(emr_env.account.emulator.clusters()) == 2
    emr_env.account.steps.add(first.id, Step("busy", ("spark-submit",)))
    emr_env.account.steps.add(emr_env.account.emulator.clusters()[1].id, Step("busy", ("spark-submit",)))
    emr_env.run(scope="pool", pool_size=2)  # all are full: it waits behind another step
    assert len(emr_env.account.emulator.clusters()) == 2
    for cluster in emr_env.account.emulator.clusters():
        emr_env.account.clusters.terminate(cluster.id)
    emr_env.account.emulator.advance(1000)


@pytest.mark.extended
def test_a_pool_s_cluster_that_dies_before_the_step_is_added_is_replaced(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr_env.run(scope="pool")
    (first,) = emr_env.account.emulator.clusters()
    every = Steps.each

    def dies_after_it_was_chosen(self: Steps, cluster_id: str, *more: Any) -> Iterator[AddedStep]:
        yield from every(self, cluster_id, *more)
        if cluster_id == first.id:
            emr_env.account.clusters.terminate(first.id)

    monkeypatch.setattr(Steps, "each", dies_after_it_was_chosen)
    assert emr_env.run(scope="pool") == Total(6)
    assert emr_env.account.states()[0] in ("TERMINATING", "TERMINATED")
    assert len(emr_env.account.emulator.clusters()) == 2
    for cluster in emr_env.account.emulator.clusters():
        emr_env.account.clusters.terminate(cluster.id)
    emr_env.account.emulator.advance(1000)


# refused before a launch


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bucket": ""}, "EMR_PIPELINES_BUCKET is ''; allowed: a bucket: my-bucket, or s3://my-bucket/prefix."),
    ],
)
def test_settings_that_are_not_allowed(emr_env: EmrEnv, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Failed) as failed:
        emr_env.run(**settings)
    assert str(failed.value) == sentence
    assert emr_env.account.emulator.clusters() == []


def test_a_missing_bucket(emr_env: EmrEnv) -> None:
    with pytest.raises(Failed, match="NoSuchBucket"):
        emr_env.run(bucket="no-such-bucket")
    assert emr_env.account.emulator.clusters() == []


def test_no_credentials(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Failed, match="Set AWS_PROFILE"):
        emr_env.run()
    assert emr_env.account.emulator.clusters() == []


def test_parameters_that_cannot_be_sent(emr_env: EmrEnv) -> None:
    with pytest.raises(Failed, match="params"):
        emr_env.materialize(lambda context, spark: spark.run(context, add_up, Numbers((1, {2}))))  # type: ignore[arg-type]
    assert emr_env.account.emulator.clusters() == []


def test_a_program_that_cannot_be_sent(emr_env: EmrEnv) -> None:
    with pytest.raises(Failed, match="lambda"):
        emr_env.materialize(lambda context, spark: spark.run(context, lambda *_: Total(0), PARAMS))
    assert emr_env.account.emulator.clusters() == []


def test_a_result_that_does_not_fit(emr_env: EmrEnv) -> None:
    emr_env.clock.result = {"total": "six"}
    with pytest.raises(Failed, match=r"result\.total is 'six'"):
        emr_env.run()


def test_a_step_that_completes_without_a_result(emr_env: EmrEnv) -> None:
    emr_env.clock.result = None
    with pytest.raises(Failed, match="left no result"):
        emr_env.run()


@pytest.mark.extended
def test_programs_may_return_anything_that_is_json(emr_env: EmrEnv) -> None:
    emr_env.clock.result = {"value": {"a": [1, None]}}
    found = emr_env.materialize(lambda context, spark: spark.run(context, returns_no_json, PARAMS))
    assert found == Anything({"a": [1, None]})


# faults, by stage; the fixture checks that no cluster is left


@dataclass(frozen=True)
class Stage:
    """A fault, the message for the user, and whether the failure is retried."""

    fault: dict[str, Any]
    reads: str
    kind: str
    retryable: bool


STAGES = {
    "launch: refused": Stage(
        {"fault": "cluster_fails", "code": "VALIDATION_ERROR"}, "EMR rejected the description", "VALIDATION", False
    ),
    "provisioning: no capacity": Stage(
        {
            "fault": "cluster_fails",
            "code": "INSTANCE_FLEET_TIMEOUT",
            "error_codes": ["INTERNAL_ERROR_SPOT_NO_CAPACITY_PRIMARY"],
        },
        "did not have enough capacity",
        "CAPACITY",
        True,
    ),
    "provisioning: hangs": Stage({"fault": "provisioning_hangs"}, "was not ready after 20 minutes", "TIMED_OUT", True),
    "provisioning: internal": Stage(
        {"fault": "cluster_fails", "code": "INTERNAL_ERROR"}, "EMR failed", "INTERNAL", True
    ),
    "bootstrap": Stage(
        {"fault": "bootstrap_fails", "stderr": "no such package"}, "could not be set up", "BOOTSTRAP", False
    ),
    "bootstrap: hangs": Stage(
        {"fault": "provisioning_hangs", "state": "BOOTSTRAPPING"}, "a bootstrap action may hang", "TIMED_OUT", False
    ),
    "provisioning: quota": Stage(
        {"fault": "cluster_fails", "code": "VALIDATION_ERROR", "message": "The EBS volume limit was exceeded"},
        "L-7A658B76",
        "QUOTA",
        True,
    ),
    "run: fails": Stage({"fault": "step_fails", "stderr": "nothing of use"}, "nothing of use", "UNKNOWN", False),
    "run: primary lost": Stage({"fault": "primary_lost", "after_seconds": 60}, "instance", "INSTANCE_LOST", True),
}


@pytest.mark.parametrize("name", STAGES)
def test_faults_by_stage(emr_env: EmrEnv, name: str) -> None:
    stage = STAGES[name]
    emr_env.account.fault(**{**stage.fault, "times": None})
    emr_env.clock.result = None
    bootstrap = (
        {"bootstrap_actions": [{"name": "install", "path": "s3://b/i.sh"}]} if name.startswith("bootstrap") else {}
    )
    with pytest.raises(Failed) as failed:
        emr_env.run(provisioning_minutes=20, cluster=bootstrap)
    assert stage.reads in str(failed.value)
    failure = failed.value.data.user_failure_data
    assert failure.metadata["kind"].value == stage.kind
    assert failure.metadata["logs"].value.startswith(f"s3://{BUCKET}/")
    (cluster,) = emr_env.account.emulator.clusters()
    pages = [entry.value for entry in failure.metadata.values() if isinstance(entry, dg.UrlMetadataValue)]
    assert pages[0] == f"{emr_env.account.emulator.url}/_emulator/clusters/{cluster.id}"
    assert [page.partition("home/")[2] for page in pages[1:]] == (
        ["services/ebs/quotas/L-7A658B76?region=us-east-1"] if stage.kind == "QUOTA" else []
    )
    assert failure.description.endswith(pages[-1])  # links come last
    assert ended(emr_env.account)


@pytest.mark.parametrize("name", [extended(name) for name, stage in STAGES.items() if stage.retryable])
def test_what_aws_is_to_blame_for_is_tried_again(emr_env: EmrEnv, name: str) -> None:
    emr_env.account.fault(**STAGES[name].fault)
    emr_env.clock.result_of_cluster = 1  # the second
    bootstrap = (
        {"bootstrap_actions": [{"name": "install", "path": "s3://b/i.sh"}]} if name.startswith("bootstrap") else {}
    )
    assert emr_env.run(retries=1, provisioning_minutes=20, cluster=bootstrap) == Total(6)
    assert len(emr_env.account.emulator.clusters()) == 2


def test_what_the_program_is_to_blame_for_is_not(emr_env: EmrEnv) -> None:
    emr_env.account.fault("step_fails", times=None, stderr="no")
    with pytest.raises(Failed):
        emr_env.run(retries=3)
    (cluster,) = emr_env.account.emulator.clusters()
    assert len(cluster.steps) == 1


@pytest.mark.extended
def test_a_step_behind_others_for_too_long(emr_env: EmrEnv) -> None:
    def behind_another(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        spark.run_step(context, shell_command("first", "true"))
        (cluster,) = emr_env.account.emulator.clusters()
        for number in range(3):
            emr_env.account.steps.add(cluster.id, Step(f"other {number}", ("spark-submit",)))
        return spark.run(context, add_up, PARAMS)

    with pytest.raises(Failed, match="had not begun after 5 minutes: 3 unfinished steps were ahead of it"):
        emr_env.materialize(behind_another, queueing_minutes=5)


def test_a_step_that_runs_for_too_long_is_cancelled(emr_env: EmrEnv) -> None:
    with pytest.raises(Failed, match="not done after 5 minutes"):
        emr_env.run(running_minutes=5)
    (cluster,) = emr_env.account.emulator.clusters()
    assert str(next(iter(cluster.steps.values())).state) in ("CANCELLED", "INTERRUPTED")


@pytest.mark.parametrize("others", [True, False])
def test_a_cancelled_driver_ends_with_its_cluster_unless_that_runs_other_programs(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    """In deploy mode cluster, EMR does not stop the driver's YARN container with the step."""
    emr_env.clock.result = None
    submit = EmrBackend.submit

    def joined(self: EmrBackend, *args: Any) -> Any:
        handle = submit(self, *args)
        if others:
            emr_env.account.steps.add(self._cluster_of(handle.id).id, Step("another run's", ("hour",)))
        return handle

    monkeypatch.setattr(EmrBackend, "submit", joined)
    with pytest.raises(Failed, match="was not done after 5 minutes"):
        emr_env.run(scope="pool", deploy_mode="cluster", running_minutes=5)
    (cluster,) = emr_env.account.emulator.clusters()
    states = [str(step.state) for step in cluster.steps.values()]
    assert states[1:] == (["RUNNING"] if others else [])
    assert any("may go on in YARN" in line for line in emr_env.log) is others
    assert (str(cluster.state) == "TERMINATED") is not others


def test_an_end_that_goes_wrong_in_any_way_does_not_hide_the_first_error(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("Cluster")

    confirm = Clusters.confirm_ended
    monkeypatch.setattr(Clusters, "confirm_ended", fail)
    emr_env.account.fault("step_fails", stderr="the first error")
    with pytest.raises(Failed, match="the first error"):
        emr_env.run(scope="asset")
    assert any("may still be running: 'Cluster'" in line for line in emr_env.log)
    monkeypatch.setattr(Clusters, "confirm_ended", confirm)
    emr_env.account.emulator.advance(1000)


def test_a_step_that_may_not_be_cancelled_does_not_hide_the_deadline(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny_it(*_: object, **__: object) -> None:
        raise AccessDenied("You may not cancel steps.")

    monkeypatch.setattr(Steps, "cancel", deny_it)
    with pytest.raises(Failed, match="was not done after 5 minutes"):
        emr_env.run(running_minutes=5)
    assert any("may still be running: You may not cancel steps." in line for line in emr_env.log)


@pytest.mark.parametrize("scope", ["run", extended("asset")])
def test_a_good_result_stands_though_the_cluster_cannot_be_ended(emr_env: EmrEnv, scope: str) -> None:
    with emr_env.ends_are_refused():
        assert emr_env.run(scope=scope) == Total(6)
    assert sum("may still be running" in line for line in emr_env.log) == 1


@pytest.mark.extended
def test_a_lease_that_cannot_be_freed_hides_neither_the_end_of_the_cluster_nor_its_cost(emr_env: EmrEnv) -> None:
    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        total = spark.run(context, add_up, PARAMS)
        emr_env.account.fault("s3_error", key="*/clusters/*", code="AccessDenied", times=None)
        return total

    assert emr_env.materialize(work, scope="run") == Total(6)
    assert emr_env.account.emulator.faults.struck("s3_error")
    assert any("billed for" in line for line in emr_env.log)
    assert not any("may still be running" in line for line in emr_env.log)


@pytest.mark.parametrize("scope", ["run", extended("asset")])
def test_the_first_error_is_not_hidden_by_a_cluster_that_cannot_be_ended(emr_env: EmrEnv, scope: str) -> None:
    emr_env.account.fault("step_fails", stderr="the first error")
    with emr_env.ends_are_refused(), pytest.raises(Failed, match="the first error"):
        emr_env.run(scope=scope)
    assert any("may still be running" in line for line in emr_env.log)


@pytest.mark.parametrize("fault", [extended("logs_never"), "logs_late"])
def test_missing_or_late_logs_do_not_fail_a_good_step(emr_env: EmrEnv, fault: str) -> None:
    emr_env.account.fault(fault, times=None)
    assert emr_env.run() == Total(6)


def test_missing_logs_of_a_failed_step_are_waited_for_only_so_long(emr_env: EmrEnv) -> None:
    emr_env.account.fault("logs_never", times=None)
    emr_env.account.fault("step_fails", stderr="never seen")
    with pytest.raises(Failed) as failed:
        emr_env.run(log_wait_seconds=90)
    waits = [line.partition(": ")[2] for line in emr_env.log if line.startswith("Waiting for the logs of step s-")]
    assert waits == [f"{seconds} s so far, at most 90 s." for seconds in (5, 10, 20, 40, 80)]
    assert "never seen" not in str(failed.value)
    assert failed.value.data.user_failure_data.metadata["kind"].value == "UNKNOWN"


def test_logs_under_other_names_are_read_too(emr_env: EmrEnv) -> None:
    emr_env.account.fault("log_names", times=None)
    emr_env.account.fault("step_fails", stderr="an error by another name")
    with pytest.raises(Failed, match="an error by another name"):
        emr_env.run(log_wait_seconds=600)


@pytest.mark.parametrize(
    "operation", ["RunJobFlow", "AddJobFlowSteps", *map(extended, ["TerminateJobFlows", "DescribeStep"])]
)
@pytest.mark.parametrize("fault", [*map(extended, ["throttle", "server_error"]), "lost_response"])
def test_calls_that_go_wrong_change_nothing(emr_env: EmrEnv, operation: str, fault: str) -> None:
    emr_env.account.fault(fault, operation=operation, times=3)
    assert emr_env.run() == Total(6)
    (cluster,) = emr_env.account.emulator.clusters()
    assert len(cluster.steps) == 1


def test_s3_that_is_ill_for_a_while_changes_nothing(emr_env: EmrEnv) -> None:
    emr_env.account.fault("s3_error", operation="*", code="SlowDown", rate=0.3, times=40)
    assert emr_env.run() == Total(6)


# attempts


def test_a_retry_that_the_asset_asks_for_is_given_the_result_that_is_there(emr_env: EmrEnv) -> None:
    totals: list[int] = []

    def tried_again(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        totals.append(spark.run(context, add_up, PARAMS).total)
        if context.retry_number == 0:
            raise dg.RetryRequested(max_retries=1)

    emr_env.materialize(tried_again)
    assert totals == [6, 6]
    (cluster,) = emr_env.account.emulator.clusters()
    assert len(cluster.steps) == 1


def test_another_kind_of_step_runs_once_in_all_tries(emr_env: EmrEnv) -> None:
    def once_more(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run_step(context, shell_command("sync", "true"))
        spark.run_step(context, shell_command("sync", "true"))
        if context.retry_number == 0:
            raise dg.RetryRequested(max_retries=1)

    emr_env.materialize(once_more)
    (cluster,) = emr_env.account.emulator.clusters()
    assert [str(step.state) for step in cluster.steps.values()] == ["COMPLETED"]


def test_a_retry_takes_up_another_kind_of_step_that_a_killed_try_had_completed(emr_env: EmrEnv) -> None:
    def killed_before_it_had_it(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        if context.retry_number == 0:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(EmrSparkRunner, "_raise_unless_succeeded", killed)  # after the step has completed
                with suppress(Killed):
                    spark.run_step(context, shell_command("sync", "true"))
            raise dg.RetryRequested(max_retries=1)
        spark.run_step(context, shell_command("sync", "true"))

    emr_env.materialize(killed_before_it_had_it)
    (cluster,) = emr_env.account.emulator.clusters()
    assert [str(step.state) for step in cluster.steps.values()] == ["COMPLETED"]


def test_whether_a_result_is_there_is_known_before_anything_runs(emr_env: EmrEnv) -> None:
    known: list[bool] = []

    def tried_again(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        known.append(spark.has_result(context, add_up, PARAMS))
        spark.run(context, add_up, PARAMS)
        known.append(spark.has_result(context, add_up, PARAMS))
        known.append(spark.has_result(context, add_up, Numbers((4,))))
        if context.retry_number == 0:
            raise dg.RetryRequested(max_retries=1)

    emr_env.materialize(tried_again)
    assert known == [False, True, False, True, True, False]


def test_two_descriptions_of_clusters_in_one_run_are_two_clusters(emr_env: EmrEnv) -> None:
    @dg.asset
    def one(context: dg.AssetExecutionContext, small: SparkRunner) -> None:
        small.run(context, add_up, PARAMS)

    @dg.asset
    def two(context: dg.AssetExecutionContext, large: SparkRunner) -> None:
        large.run(context, add_up, PARAMS)

    spec = ClusterSpec.parse({"core": {"type": "r5.4xlarge", "count": 8}})
    runners = {
        "small": EmrSparkRunner(bucket=BUCKET, ship_dependencies=False),
        "large": EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, cluster=spec.model_dump()),
    }
    assert dg.materialize([one, two], resources=runners, instance=emr_env.instance).success
    clusters = emr_env.account.emulator.clusters()
    assert emr_env.account.states() == ["TERMINATED", "TERMINATED"]
    types = [cluster.request["Instances"]["InstanceGroups"][1]["InstanceType"] for cluster in clusters]
    assert sorted(types) == ["m5.xlarge", "r5.4xlarge"]


@pytest.mark.extended
def test_mapped_steps_share_the_run_s_cluster(emr_env: EmrEnv) -> None:
    @dg.op(out=dg.DynamicOut(int))
    def fan() -> Any:
        for number in range(3):
            yield dg.DynamicOutput(number, mapping_key=str(number))

    @dg.op
    def work(context: dg.OpExecutionContext, spark: EmrSparkRunner, number: int) -> int:
        return spark.run(context, add_up, Numbers((number,))).total  # type: ignore[arg-type]

    @dg.op
    def collect(numbers: list[int]) -> int:
        return sum(numbers)

    @dg.job(resource_defs={"spark": EmrSparkRunner(bucket=BUCKET, ship_dependencies=False)})
    def mapped() -> None:
        collect(fan().map(work).collect())

    result = mapped.execute_in_process(instance=emr_env.instance)
    assert result.output_for_node("collect") == 18
    assert emr_env.account.states() == ["TERMINATED"]


@pytest.mark.parametrize("settings", [{"bukket": "x"}, {"deployment": "staging"}])
def test_settings_that_there_are_not(settings: dict[str, Any]) -> None:
    says = rf"A setting of EmrSparkRunner is '{next(iter(settings))}'; did you mean .* Allowed: bucket, "
    with pytest.raises(ValueError, match=says):
        EmrSparkRunner(**settings)


@pytest.mark.extended
def test_an_explicit_retry_policy_is_not_overruled(emr_env: EmrEnv) -> None:
    emr_env.account.fault("step_fails", stderr="no")

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def tried_again(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        assert spark.run(context, add_up, PARAMS) == Total(6)

    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, log_wait_seconds=0)
    assert dg.materialize([tried_again], resources={"spark": runner}, instance=emr_env.instance).success


@pytest.mark.parametrize("fault", ["primary_lost", extended("somebody")])
def test_a_result_stands_though_its_step_was_stopped_behind_it(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The program had written its result, but its process had not ended."""
    if fault == "primary_lost":
        emr_env.account.fault(fault, after_seconds=60)
    else:
        leave = Clock._leave_results

        def leave_and_end(self: Clock) -> None:
            leave(self)
            for cluster in self.emulator.clusters():
                if any(str(step.state) == "RUNNING" for step in cluster.steps.values()):
                    emr_env.account.clusters.terminate(cluster.id)

        monkeypatch.setattr(Clock, "_leave_results", leave_and_end)
    assert emr_env.run() == Total(6)
    (cluster,) = emr_env.account.emulator.clusters()
    assert [str(step.state) for step in cluster.steps.values()] in (["CANCELLED"], ["INTERRUPTED"])
    assert any("The program was done when step" in line for line in emr_env.log)


@pytest.mark.extended
@pytest.mark.parametrize("others", [True, False])
def test_who_works_on_for_a_run_that_was_given_up_leaves_the_cluster_to_steps_that_run(
    emr_env: EmrEnv, others: bool
) -> None:
    """The run's worker was killed, but not the processes of its steps; a retry may have begun."""

    def given_up(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run(context, add_up, PARAMS)
        if others:
            (cluster,) = emr_env.account.emulator.clusters()
            emr_env.account.steps.add(cluster.id, Step("another's", ("hour",)))
        context.instance.report_run_failed(context.run)

    emr_env.materialize(given_up)
    (cluster,) = emr_env.account.emulator.clusters()
    assert sum("stays for the steps that run on it" in line for line in emr_env.log) == others
    assert emr_env.account.states() == (["RUNNING"] if others else ["TERMINATED"])
    emr_env.account.clusters.terminate(cluster.id)
    emr_env.account.emulator.advance(1000)


def test_a_committed_result_is_not_computed_again(emr_env: EmrEnv) -> None:
    def twice(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> tuple[Total, Total]:
        return spark.run(context, add_up, PARAMS), spark.run(context, add_up, PARAMS)

    assert emr_env.materialize(twice) == (Total(6), Total(6))
    assert len(emr_env.account.emulator.clusters()[0].steps) == 1


def test_a_step_that_an_earlier_attempt_left_running_is_watched_and_not_added_again(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's worker was killed, so nothing was cleaned up."""
    poll, tries = EmrBackend.poll, []

    def killed_the_first_time(self: EmrBackend, *args: Any) -> Any:
        tries.append(self.clusters.held)
        if len(tries) == 1:
            self.clusters.held = None  # a dead process terminates nothing
            raise Killed
        return poll(self, *args)

    def attempts(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> Total:
        try:
            return spark.run(context, add_up, PARAMS)
        except Killed:
            spark._shared = None
            return spark.run(context, add_up, PARAMS)

    monkeypatch.setattr(EmrBackend, "poll", killed_the_first_time)
    monkeypatch.setattr(EmrBackend, "cancel", lambda *_, **__: None)
    assert emr_env.materialize(attempts) == Total(6)
    (cluster,) = emr_env.account.emulator.clusters()
    assert len(cluster.steps) == 1
    assert any("of an earlier attempt" in line for line in emr_env.log)


class Killed(BaseException):
    """Stands for SIGKILL."""


def killed(*_: object) -> None:
    raise Killed


def test_an_interrupt_cancels_the_step_and_ends_the_cluster(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = Clock.pause

    def interrupted_while_it_runs(self: Clock, seconds: float, until: threading.Event | None = None) -> None:
        steps = [step for cluster in self.emulator.clusters() for step in cluster.steps.values()]
        if threading.current_thread() is threading.main_thread() and any(str(s.state) == "RUNNING" for s in steps):
            monkeypatch.setattr(Clock, "pause", pause)
            raise KeyboardInterrupt
        pause(self, seconds, until)

    monkeypatch.setattr(Clock, "pause", interrupted_while_it_runs)
    with pytest.raises((KeyboardInterrupt, Failed, dg.DagsterExecutionInterruptedError)):
        emr_env.run()
    (cluster,) = emr_env.account.emulator.clusters()
    assert str(next(iter(cluster.steps.values())).state) in ("CANCELLED", "INTERRUPTED")
    assert emr_env.account.states() == ["TERMINATED"]


@pytest.mark.extended
def test_hive_on_a_cluster_that_cannot_run_it_fails_with_its_reason(emr_env: EmrEnv) -> None:
    with pytest.raises(Failed, match="The emulator could not run this step"):
        emr_env.step(hive_script("query", "s3://b/q.hql"), log_wait_seconds=600)


@pytest.mark.extended
def test_a_step_that_does_not_need_the_cluster_ends_what_others_of_its_run_left(emr_env: EmrEnv) -> None:
    """With the multiprocess executor, the last step's process may find its result, or fail, before it needs a
    cluster."""

    def left_by_another_process(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run(context, add_up, PARAMS)
        spark._shared = spark._run_steps = None

    emr_env.materialize(left_by_another_process)
    assert emr_env.account.states() == ["TERMINATED"]


@pytest.mark.extended
def test_a_step_of_an_earlier_attempt_is_found_on_whichever_cluster_of_a_pool_it_runs(emr_env: EmrEnv) -> None:
    emr_env.run(scope="pool", pool_size=2)
    (first,) = emr_env.account.emulator.clusters()
    busy = emr_env.account.steps.add(first.id, Step("busy", ("spark-submit",)))

    def twice(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        spark.run_step(context, shell_command("once", "true"))  # on the second one, because the first is busy
        emr_env.account.steps.cancel(first.id, busy)
        spark._shared = None
        spark.run_step(context, shell_command("once", "true"))

    emr_env.materialize(twice, scope="pool", pool_size=2)
    assert [len(cluster.steps) for cluster in emr_env.account.emulator.clusters()] == [2, 1]


@pytest.mark.extended
@pytest.mark.parametrize("denied", [False, True], ids=["is refused", "is denied"])
def test_a_pool_whose_cluster_emr_has_forgotten_gets_another(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, denied: bool
) -> None:
    """Its tags are gone too, and a deployment's role can only describe clusters with its tag."""
    emr_env.run(scope="pool", pool_size=2)
    (first,) = emr_env.account.emulator.clusters()
    emr_env.account.clusters.terminate(first.id)
    emr_env.account.emulator.advance(1000)
    del emr_env.account.emulator._lifecycle.clusters[first.id]
    if denied:
        deny(monkeypatch, first.id)
    assert emr_env.run(scope="pool", pool_size=2) == Total(6)


@pytest.mark.extended
def test_a_retry_of_a_failed_step_is_a_new_one_even_if_its_answer_is_lost(emr_env: EmrEnv) -> None:
    def tried_again(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> AddedStep:
        emr_env.account.fault("step_fails", step="*once*")
        with pytest.raises(dg.Failure):
            spark.run_step(context, shell_command("once", "true"))
        emr_env.account.fault("server_error", operation="AddJobFlowSteps")
        return spark.run_step(context, shell_command("once", "true"))

    assert emr_env.materialize(tried_again).state == "COMPLETED"


def test_several_assets_of_one_step_share_what_it_cost(emr_env: EmrEnv) -> None:
    @dg.multi_asset(outs={"one": dg.AssetOut(), "two": dg.AssetOut()})
    def both(context: dg.AssetExecutionContext, spark: SparkRunner) -> tuple[int, int]:
        return spark.run(context, add_up, PARAMS).total, 0

    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, prices={"m5.xlarge": 0.3})
    assert dg.materialize([both], resources={"spark": runner}, instance=emr_env.instance).success
    for key in ("one", "two"):
        (event,) = emr_env.instance.fetch_observations(dg.AssetKey(key), limit=2).records
        assert event.asset_observation is not None
        assert event.asset_observation.metadata["cost_share"].value == 0.5


# cost


def test_what_a_cluster_cost_is_said_and_attributed_to_its_assets(emr_env: EmrEnv) -> None:
    emr_env.run(prices={"m5.xlarge": 0.36})
    seconds = DURATIONS.provisioning + DURATIONS.bootstrapping + 600 + DURATIONS.termination
    (event,) = emr_env.instance.fetch_observations(dg.AssetKey("answer"), limit=10).records
    observation = event.asset_observation
    assert observation is not None
    usd, share = observation.metadata["cost_usd"].value, observation.metadata["cost_share"].value
    assert share == 1
    # three instances at 0.36 an hour; a scripted step wakes no watcher, so its end is noticed late
    assert isinstance(usd, float)
    assert 3 * seconds * 0.0001 <= usd <= 3 * (seconds + 150) * 0.0001
    assert any("3 x m5.xlarge on demand, billed for" in line for line in emr_env.log)
    assert observation.metadata["billed_instance_seconds"].value == pytest.approx(usd * 10_000, abs=3)
    idle = observation.metadata["idle_share"].value
    assert isinstance(idle, float)
    assert 0 < idle < 0.5
    assert "data:image/png;base64," in str(observation.metadata["timeline"].value)


@pytest.mark.extended
def test_what_a_partition_cost_is_seen_on_it(emr_env: EmrEnv) -> None:
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])

    @dg.asset(partitions_def=days)
    def daily(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        spark.run(context, add_up, PARAMS)

    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False)
    result = dg.materialize([daily], resources={"spark": runner}, instance=emr_env.instance, partition_key="monday")
    assert result.success
    (event,) = emr_env.instance.fetch_observations(dg.AssetKey("daily"), limit=2).records
    assert event.partition_key == "monday"


@pytest.mark.extended
def test_an_event_log_that_is_ill_fails_no_good_step(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(dg.DagsterInstance, "report_runless_asset_event", fail)
    assert emr_env.run(scope="asset") == Total(6)
    assert any("is not recorded: the disk is full" in line for line in emr_env.log)


@pytest.mark.extended
def test_a_timeline_that_cannot_be_drawn_is_left_out(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("emr_pipelines.charts.timeline", fail)
    emr_env.run()
    (event,) = emr_env.instance.fetch_observations(dg.AssetKey("answer"), limit=10).records
    assert event.asset_observation is not None
    assert "timeline" not in event.asset_observation.metadata
    assert any("could not be drawn: no fonts" in line for line in emr_env.log)


@pytest.mark.extended
def test_without_prices_there_is_no_sum_and_no_failure(emr_env: EmrEnv) -> None:
    emr_env.run()
    (event,) = emr_env.instance.fetch_observations(dg.AssetKey("answer"), limit=10).records
    assert event.asset_observation is not None
    assert "cost_usd" not in event.asset_observation.metadata
    assert any("price not known" in line for line in emr_env.log)


def test_a_cluster_whose_launch_was_interrupted_is_found_and_ended(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is interrupted before RunJobFlow's response arrives; lists show the cluster a little later."""
    launch, find = Clusters.launch, Clusters.find
    to_see = [True, False, False, False]  # before the launch, and missing from two lists after it

    def interrupted(self: Clusters, *args: Any, **how: Any) -> str:
        launch(self, *args, **how)
        raise KeyboardInterrupt

    def find_late(self: Clusters, name: str) -> Cluster | None:
        return find(self, name) if not to_see or to_see.pop(0) else None

    monkeypatch.setattr(Clusters, "launch", interrupted)
    monkeypatch.setattr(Clusters, "find", find_late)
    with pytest.raises((KeyboardInterrupt, Failed, dg.DagsterExecutionInterruptedError)):
        emr_env.run()
    assert emr_env.account.states() == ["TERMINATED"]


def _modules(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    invalidate_caches()


RUN = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Total:
    total: int
def run(spark, params: None) -> Total: ...
"""


def test_a_program_that_needs_dagster_is_refused_before_a_launch(
    emr_env: EmrEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    _modules(tmp_path, {"needs_dagster_pkg/__init__.py": "import dagster\n", "needs_dagster_pkg/job.py": RUN})
    program = import_module("needs_dagster_pkg.job").run
    with pytest.raises(Failed, match=r"__init__\.py, line 1, imports dagster, and clusters have no Dagster"):
        emr_env.materialize(lambda context, spark: spark.run(context, program, None), ship_dependencies=True)
    assert emr_env.account.emulator.clusters() == []


def test_libraries_that_are_not_declared_are_warned_of(
    emr_env: EmrEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    _modules(
        tmp_path, {"undeclared_job.py": f"import undeclared_helper\n{RUN}", "undeclared_helper.py": "import click\n"}
    )
    program = import_module("undeclared_job").run
    emr_env.materialize(lambda context, spark: spark.run(context, program, None), ship_dependencies=True)
    (line,) = [line for line in emr_env.log if "no REQUIREMENTS name" in line]
    assert line.startswith(f"{tmp_path}/undeclared_helper.py, line 1, imports click of the project click")
    emr_env.materialize(lambda context, spark: spark.run(context, program, None), ship_dependencies=False)
    assert not [line for line in emr_env.log if "no REQUIREMENTS name" in line]


def test_code_and_libraries_travel_as_archives_beside_the_user_s_own(emr_env: EmrEnv) -> None:
    emr_env.run(spark_config={"spark.archives": "s3://b/env.zip#env", "spark.executor.memory": "1g"})
    (step,) = [step for cluster in emr_env.account.emulator.clusters() for step in cluster.steps.values()]
    words = list(step.args)
    ours, theirs = words[words.index("--archives") + 1].split(",")
    assert ours.startswith(f"s3://{BUCKET}/default/code/")
    assert ours.endswith(".zip#shipped_code")
    assert theirs == "s3://b/env.zip#env"
    assert "--py-files" not in words
    assert [word for word in words if word.startswith("spark.")] == ["spark.executor.memory=1g"]


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        (
            "own_plugins",
            r'Add PACKAGES = \("own_plugins",\) to the program\'s module, .* Do not add it to REQUIREMENTS',
        ),
        (
            "own_plugins.gone",
            "own_plugins is your own code, and has no module own_plugins.gone on this machine either",
        ),
        ("yaml.nodes", "On this machine yaml belongs to the project (?i:pyyaml). Add that to REQUIREMENTS"),
        ("dagster", "Clusters have no Dagster"),
        ("surely_not_here", "make sure that the project of that name in the package index is the one you mean"),
    ],
)
def test_a_missing_module_is_told_by_whose_it_is(
    module: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Your own module's name must not become a requirement: a stranger's project may have it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    _modules(tmp_path, {"own_plugins/__init__.py": ""})
    exception = RemoteException("ModuleNotFoundError", f"ModuleNotFoundError: No module named '{module}'\n")
    cause = advised(diagnose(ClusterEvidence(exception=exception)))
    assert cause.kind is Kind.MODULE_MISSING
    assert re.search(hint, cause.hint), cause.hint
