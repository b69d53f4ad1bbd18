"""Which runs are attempts at the same work."""

from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from emr_pipelines.runners.lineage import lineage

RESUMED = {"dagster/is_resume_retry": "true"}
ASSETS_RESUMED = {"dagster/is_asset_resume_retry": "true"}
AUTOMATIC = {"dagster/retry_number": "1"}


def run(parent: dg.DagsterRun | None = None, **tags: str) -> dg.DagsterRun:
    group = (
        {"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.root_run_id or parent.run_id}
        if parent
        else {}
    )
    return dg.DagsterRun(
        job_name="job",
        run_id=f"run-{next(NUMBERS)}",
        tags=group | tags,
        parent_run_id=group.get("dagster/parent_run_id"),
        root_run_id=group.get("dagster/root_run_id"),
    )


NUMBERS = iter(range(1000))


def lineage_of(current: dg.DagsterRun, *known: dg.DagsterRun, partition: str | None = None) -> str:
    runs = {run.run_id: run for run in known}
    context = SimpleNamespace(
        run=current,
        instance=SimpleNamespace(get_run_by_id=runs.get),
        has_partition_key=partition is not None,
        partition_key=partition,
    )
    return lineage(cast("dg.AssetExecutionContext", context))


def test_a_run_is_its_own_work() -> None:
    first = run()
    assert lineage_of(first) == first.run_id
    assert lineage_of(first, partition="2026-01-01") == f"{first.run_id} 2026-01-01"


@pytest.mark.parametrize("tags", [RESUMED, ASSETS_RESUMED, AUTOMATIC, RESUMED | AUTOMATIC])
def test_a_retry_goes_on_with_the_work_of_its_parent(tags: dict[str, str]) -> None:
    first = run()
    second = run(first, **tags)
    third = run(second, **tags)
    assert lineage_of(third, first, second) == lineage_of(second, first) == first.run_id
    assert lineage_of(third, first, second, partition="a") == f"{first.run_id} a"


def test_what_a_person_starts_anew_is_new_work() -> None:
    first = run()
    anew = run(first)
    assert lineage_of(anew, first) == anew.run_id
    retried = run(anew, **AUTOMATIC)
    assert lineage_of(retried, first, anew) == anew.run_id
    assert lineage_of(run(first, **{"dagster/is_resume_retry": "false"}), first).startswith("run-")


def test_when_the_record_of_the_parent_is_gone_the_first_run_stands_for_it() -> None:
    first = run()
    second = run(first, **RESUMED)
    third = run(second, **RESUMED)
    assert lineage_of(third) == lineage_of(third, second) == first.run_id


ONE_PROCESS = dg.in_process_executor
SEEN: list[str] = []


@dg.asset
def fails_once(context: dg.AssetExecutionContext) -> None:
    SEEN.append(lineage(context))
    if len(SEEN) == 1:
        raise ValueError("the first attempt")


def make_job() -> dg.JobDefinition:
    definitions = dg.Definitions([fails_once], jobs=[dg.define_asset_job("job", [fails_once])], executor=ONE_PROCESS)
    return definitions.resolve_job_def("job")


def test_the_runs_that_dagster_records(instance: dg.DagsterInstance) -> None:
    job = dg.reconstructable(make_job)
    SEEN.clear()
    with dg.execute_job(job, instance) as failed:
        assert not failed.success
    from_failure = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
    # the tags are those that the web server and the daemon set; execute_job sets none
    with dg.execute_job(job, instance, tags=RESUMED, reexecution_options=from_failure) as goes_on:
        assert goes_on.success
        assert goes_on.run_id != failed.run_id
    with dg.execute_job(job, instance, reexecution_options=dg.ReexecutionOptions(failed.run_id)) as anew:
        assert [failed.run_id, failed.run_id, anew.run_id] == SEEN
