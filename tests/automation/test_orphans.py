"""orphaned_clusters_sensor terminates orphans, leaves clusters that may be needed, and always logs why."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rehearsal import Rehearsal, rehearsing

from emr_pipelines.automation.orphans import SETTLED_SECONDS, orphaned_clusters_sensor, runs_of
from emr_pipelines.backends.orphans import RunIs

LATER = SETTLED_SECONDS + 1


@dg.job
def nothing_to_do() -> None: ...


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    monkeypatch.setenv("EMR_PIPELINES_DEPLOYMENT", "here")
    with rehearsing(tmp_path / "emulator", monkeypatch) as rehearsal:
        yield rehearsal


def tick(instance: dg.DagsterInstance) -> str:
    result: Any = orphaned_clusters_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def add_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, root: str | None = None, ended_ago: float = LATER
) -> str:
    """Add a run that ended some seconds ago."""
    tags = {"dagster/root_run_id": root, "dagster/parent_run_id": root} if root else {}
    run = instance.create_run_for_job(
        nothing_to_do, run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags, root_run_id=root,
        parent_run_id=root,
    )  # fmt: skip
    kinds = {
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
        dg.DagsterRunStatus.CANCELING: dg.DagsterEventType.RUN_CANCELING,
    }
    if status in kinds:
        instance.handle_new_event(ended(run, kinds[status], time.time() - ended_ago))
    return run.run_id


def ended(run: dg.DagsterRun, kind: dg.DagsterEventType, at: float) -> dg.EventLogEntry:
    event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None, level=logging.INFO, user_message="", run_id=run.run_id, timestamp=at,
        job_name=run.job_name, dagster_event=event,
    )  # fmt: skip


def name(run_id: str, kind: str = "run", deployment: str = "here") -> str:
    return f"emr-pipelines/{deployment}/{kind}/{run_id}{'-0a1b' if kind == 'asset' else ''}"


@pytest.mark.parametrize(
    ("status", "ended_ago", "expected"),
    [
        (dg.DagsterRunStatus.SUCCESS, LATER, RunIs.FINISHED),
        (dg.DagsterRunStatus.FAILURE, LATER, RunIs.FINISHED),
        (dg.DagsterRunStatus.CANCELED, LATER, RunIs.FINISHED),
        (dg.DagsterRunStatus.STARTED, LATER, RunIs.UNFINISHED),
        (dg.DagsterRunStatus.CANCELING, LATER, RunIs.UNFINISHED),
        (dg.DagsterRunStatus.FAILURE, SETTLED_SECONDS - 10, RunIs.UNFINISHED),  # a retry may come
    ],
)
def test_what_is_known_of_a_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, ended_ago: float, expected: RunIs
) -> None:
    run_id = add_run(instance, status, ended_ago=ended_ago)
    assert runs_of(instance, time.time())(run_id) is expected


def test_a_run_that_nobody_knows(instance: dg.DagsterInstance) -> None:
    assert runs_of(instance, time.time())(str(uuid.uuid4())) is RunIs.UNKNOWN


def test_a_run_is_unfinished_while_one_that_retries_it_is(instance: dg.DagsterInstance) -> None:
    first = add_run(instance, dg.DagsterRunStatus.FAILURE)
    second = add_run(instance, dg.DagsterRunStatus.FAILURE, root=first)
    run_is = runs_of(instance, time.time())
    assert (run_is(first), run_is(second)) == (RunIs.FINISHED, RunIs.FINISHED)
    third = add_run(instance, dg.DagsterRunStatus.STARTED, root=first)
    assert [run_is(found) for found in (first, second, third)] == [RunIs.UNFINISHED] * 3
    instance.delete_run(first)  # its record may be gone before those of its retries
    assert run_is(first) is RunIs.UNFINISHED


def test_clusters_of_finished_and_unknown_runs_are_ended(instance: dg.DagsterInstance, rehearsal: Rehearsal) -> None:
    finished = add_run(instance, dg.DagsterRunStatus.SUCCESS)
    running = add_run(instance, dg.DagsterRunStatus.STARTED)
    unknown = str(uuid.uuid4())
    names = [name(finished), name(running), name(unknown), name(finished, "asset"), name(running, "asset")]
    ids = {of: rehearsal.launch(Name=of) for of in [*names, "emr-pipelines/here/pool/0a1b-0", "theirs"]}
    elsewhere = rehearsal.launch(Name=name(finished, deployment="other"))
    rehearsal.advance(700)
    said = tick(instance)
    assert f"Ended cluster {ids[name(finished)]} ({name(finished)}): its run {finished} has finished." in said
    assert f"Dagster knows no run {unknown}, 12 min after its launch." in said
    assert said.count("Ended cluster") == 3
    left = {of for of, id_ in ids.items() if rehearsal.state(id_) == "WAITING"}
    assert left == {name(running), name(running, "asset"), "emr-pipelines/here/pool/0a1b-0", "theirs"}
    assert rehearsal.state(elsewhere) == "WAITING"
    assert tick(instance) == (  # 3 are ending
        "None of the 6 active clusters of deployment 'here' is an orphan: each is young, a pool's, or of a run that is "
        "not over, and none is too old."
    )


def test_clusters_of_unknown_runs_are_spared_under_the_name_that_everybody_has(
    instance: dg.DagsterInstance, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMR_PIPELINES_DEPLOYMENT")
    finished = add_run(instance, dg.DagsterRunStatus.SUCCESS)
    unknown = str(uuid.uuid4())
    theirs = rehearsal.launch(Name=name(unknown, deployment="default"))
    ours = rehearsal.launch(Name=name(finished, deployment="default"))
    rehearsal.advance(700)
    assert tick(instance).count("Ended cluster") == 1
    assert (rehearsal.state(theirs), rehearsal.state(ours)) == ("WAITING", "TERMINATING")
    assert tick(instance).endswith(f"Runs that are not known here, but may be elsewhere: {unknown}.")


def test_a_tick_ends_so_many_and_leaves_the_others_to_the_next(
    instance: dg.DagsterInstance, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emr_pipelines.automation.orphans.MAX_AT_ONCE", 2)
    for _ in range(3):
        rehearsal.launch(Name=name(str(uuid.uuid4())))
    rehearsal.advance(700)
    said = tick(instance)
    assert said.count("Ended cluster") == 2
    assert said.endswith("1 more are left to the next ticks.")
    assert tick(instance).count("Ended cluster") == 1


def test_what_it_did_is_logged(instance: dg.DagsterInstance, rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(Name=name(str(uuid.uuid4())))
    rehearsal.advance(700)
    context = dg.build_sensor_context(instance=instance)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    context.log.addHandler(handler)
    orphaned_clusters_sensor(context)
    assert any(f"Ended cluster {cluster_id}" in line for line in lines)


def test_a_young_cluster_is_left_alone(instance: dg.DagsterInstance, rehearsal: Rehearsal) -> None:
    rehearsal.advance(3300)
    cluster_id = rehearsal.launch(Name=name(str(uuid.uuid4())))
    assert tick(instance).startswith("None of the 1 active clusters")
    assert rehearsal.state(cluster_id) == "STARTING"


def test_a_greatest_age_and_a_dry_run(
    instance: dg.DagsterInstance, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster_id = rehearsal.launch(Name=name("0a1b-0", "pool", "prod"))
    rehearsal.advance(3600)
    monkeypatch.setenv("EMR_PIPELINES_DEPLOYMENT", "prod")
    monkeypatch.setenv("EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS", "0.5")
    monkeypatch.setenv("EMR_PIPELINES_ORPHAN_DRY_RUN", "true")
    reason = "it is 1.0 h old, older than the 0.5 h that a cluster may be."
    assert tick(instance) == f"Would end cluster {cluster_id} (emr-pipelines/prod/pool/0a1b-0): {reason}"
    assert rehearsal.state(cluster_id) == "WAITING"
    monkeypatch.setenv("EMR_PIPELINES_ORPHAN_DRY_RUN", "0")
    assert tick(instance) == f"Ended cluster {cluster_id} (emr-pipelines/prod/pool/0a1b-0): {reason}"
    assert rehearsal.state(cluster_id) == "TERMINATING"


@pytest.mark.parametrize("target", ["", "local"])
def test_without_emr_there_is_nothing_to_end(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", target)
    assert tick(instance) == "EMR_PIPELINES_TARGET is 'local'; only 'emr' and 'emr-serverless' leave something to end."


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS", "soon"),
        ("EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS", "0"),
        ("EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS", "nan"),
        ("EMR_PIPELINES_ORPHAN_MAX_AGE_HOURS", "inf"),
        ("EMR_PIPELINES_ORPHAN_DRY_RUN", "perhaps"),
        ("EMR_PIPELINES_DEPLOYMENT", "a/b"),
    ],
)
def test_a_setting_that_is_not_allowed_is_a_reason(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    monkeypatch.setenv(variable, value)
    assert tick(instance).startswith(f"{variable} is {value!r}; allowed: ")


def test_aws_that_refuses_is_a_reason(
    instance: dg.DagsterInstance, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tick(instance) == "Deployment 'here' has no active cluster."
    rehearsal.emulator.stop()
    monkeypatch.setattr("emr_pipelines.automation.orphans.PATIENCE_SECONDS", 0)
    assert tick(instance).startswith("emr.list_clusters did not reach AWS: ")


def test_throttling_does_not_hold_up_the_daemon(
    instance: dg.DagsterInstance, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal.emulator.faults.add([{"fault": "throttle", "times": None}])
    monkeypatch.setattr("emr_pipelines.automation.orphans.PATIENCE_SECONDS", 0)
    assert "ThrottlingException" in tick(instance)


def test_it_is_stopped_until_somebody_starts_it() -> None:
    assert orphaned_clusters_sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert orphaned_clusters_sensor.minimum_interval_seconds == 300
    assert orphaned_clusters_sensor.description
