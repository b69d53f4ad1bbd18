"""The asset spark_costs and its checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from emr_pipelines.assets.costs import TABLE, check_spark_costs, entries_of, rows_of, spark_costs
from emr_pipelines.costs.ledger import LedgerEntry
from emr_pipelines.errors import RequestRefused
from emr_pipelines.runners.ledger import CostLedger
from emr_pipelines.storage import Storage

TODAY = datetime.now(timezone.utc).date()
YESTERDAY = TODAY - timedelta(days=1)
RUN = "0123abcd-0000-4000-8000-000000000001"
ENTRY = LedgerEntry(YESTERDAY, "j-1", RUN, "word_counts", 7200.0, 2.5, 0.25, True)
LEDGERS: dict[str, Callable[[Sequence[LedgerEntry]], list[LedgerEntry]]] = {}


class Told(CostLedger):
    """Clusters that a test defines."""

    def entries(self, known: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        return LEDGERS["now"](known)


def materialize(storage: Storage, instance: dg.DagsterInstance, ledger: CostLedger, **config: Any) -> Any:
    return dg.materialize(
        [spark_costs],
        instance=instance,
        resources={"ledger": ledger, "storage": storage},
        run_config={"ops": {"spark_costs": {"config": config}}},
        raise_on_error=False,
    )


def table(storage: Storage) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(f"{storage.require(spark_costs.key).uri}/{TABLE}").to_pylist()
    return rows


def metadata(result: Any) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: entry.value for name, entry in event.materialization.metadata.items()}


def test_entries_become_rows(storage: Storage, instance: dg.DagsterInstance) -> None:
    LEDGERS["now"] = lambda known: [*known, ENTRY]
    result = materialize(storage, instance, Told())
    assert result.success
    (row,) = table(storage)
    assert row == {
        "day": YESTERDAY,
        "billed_id": "j-1",
        "run_id": RUN,
        "job": "",
        "asset": "word_counts",
        "instance_seconds": 7200.0,
        "usd": 2.5,
        "idle_share": 0.25,
        "final": True,
        "service": "EMR",
        "vcpu_hours": 0.0,
    }
    found = metadata(result)
    assert found["yesterday_usd"] == 2.5
    assert found["yesterday_idle_share"] == 0.25
    assert found["by_day"].startswith("![USD a day](data:image/png;base64,")
    assert found["yesterday_instance_hours"] == 2
    assert list(found["by_asset"].records[0].data.items()) == [
        ("asset", "word_counts"), ("usd", 2.5), ("instance_hours", 2.0), ("idle_share", 0.25), ("vcpu_hours", 0.0),
        ("runs", 1),
    ]  # fmt: skip
    assert list(found["latest"].records[0].data.items()) == [
        ("asset", "word_counts"), ("usd", 2.5), ("instance_hours", 2.0), ("idle_share", 0.25), ("vcpu_hours", 0.0),
        ("day", str(YESTERDAY)), ("job", ""), ("final", True), ("service", "EMR"), ("run_id", RUN),
        ("billed_id", "j-1"),
    ]  # fmt: skip


def test_every_table_begins_with_what_people_look_for_and_ends_with_ids(
    storage: Storage, instance: dg.DagsterInstance
) -> None:
    LEDGERS["now"] = lambda _: [ENTRY]
    result = materialize(storage, instance, Told())
    found = metadata(result)
    first, last = ["asset", "usd", "instance_hours", "idle_share"], ["run_id", "billed_id"]
    for name in ("by_asset", "latest"):
        assert [column.name for column in found[name].schema.columns][:4] == first
    assert [column.name for column in found["latest"].schema.columns][-2:] == last
    assert result.asset_materializations_for_node("spark_costs")
    columns = [column.name for column in spark_costs.metadata_by_key[spark_costs.key]["dagster/column_schema"].columns]
    assert columns == list(table(storage)[0])
    assert (columns[:4], columns[-2:]) == (["asset", "usd", "instance_seconds", "idle_share"], last)


def test_what_was_known_is_handed_on_and_kept(storage: Storage, instance: dg.DagsterInstance) -> None:
    seen: list[Sequence[LedgerEntry]] = []

    def now(known: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        seen.append(known)
        return [ENTRY] if not known else [*known, replace(ENTRY, day=TODAY, billed_id="j-2")]

    LEDGERS["now"] = now
    assert materialize(storage, instance, Told()).success
    assert materialize(storage, instance, Told()).success
    assert seen == [[], [ENTRY]]
    assert [row["billed_id"] for row in table(storage)] == ["j-1", "j-2"]


def test_the_job_of_a_run_is_known_and_kept_after_the_run_is_forgotten(
    storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def nightly() -> None:
        nothing()

    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("jobs"))) as instance:
        run_id = nightly.execute_in_process(instance=instance).run_id
        LEDGERS["now"] = lambda known: list(known) or [replace(ENTRY, run_id=run_id)]
        assert materialize(storage, instance, Told()).success
        assert [row["job"] for row in table(storage)] == ["nightly"]
        instance.delete_run(run_id)
        assert materialize(storage, instance, Told()).success
        assert [row["job"] for row in table(storage)] == ["nightly"]


def test_programs_that_run_here_cost_nothing(storage: Storage, instance: dg.DagsterInstance) -> None:
    result = materialize(storage, instance, CostLedger())
    assert result.success
    assert table(storage) == []
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_the_ledger_refuses_a_region_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-est-1")
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    with pytest.raises(RequestRefused, match="There is no region 'us-est-1'"):
        CostLedger().entries([])
    with pytest.raises(RequestRefused, match="There is no region 'us-est-1'"):
        CostLedger(target="emr").entries([])
    assert CostLedger(target="local").entries([ENTRY]) == [ENTRY]


def checked(*entries: LedgerEntry, budget: float | None = None, most_idle: float = 0.5) -> dict[str, tuple[bool, str]]:
    rows = [{**vars(entry), "job": ""} for entry in entries]
    found = check_spark_costs(rows, TODAY, budget, most_idle)
    return {str(check.check_name): (check.passed, str(check.description)) for check in found}


def test_the_budget_is_a_day_s() -> None:
    dear = replace(ENTRY, usd=4.0), replace(ENTRY, billed_id="j-2", usd=7.0)
    assert checked(*dear, budget=11)["daily_budget"][0]
    passed, said = checked(*dear, budget=10)["daily_budget"]
    assert not passed
    assert said == f"{TODAY}: 0.00 USD; {YESTERDAY}: 11.00 USD; the budget is 10.00 USD a day"
    assert checked(*dear)["daily_budget"][0]
    assert checked(*[replace(entry, day=TODAY - timedelta(days=2)) for entry in dear], budget=1)["daily_budget"][0]


@pytest.mark.parametrize(
    ("usd", "budget", "passes"),
    [
        ((None,), 10, False),
        ((None, 4.0), 10, False),  # within the budget so far, but not all costs are known
        ((None, 11.0), 10, False),
        ((4.0,), 10, True),
        ((None, 4.0), None, True),  # there is nothing to keep
    ],
)
def test_a_budget_cannot_be_kept_when_a_price_is_not_known(
    usd: tuple[float | None, ...], budget: float | None, passes: bool
) -> None:
    passed, said = checked(*[replace(ENTRY, usd=each) for each in usd], budget=budget)["daily_budget"]
    assert passed is passes
    known = sum(each or 0 for each in usd)
    assert (f"at least {known:.2f} USD, and 1 of {len(usd)} rows without a known price" in said) is (None in usd)
    assert ("Give the runner `prices`" in said) is (None in usd)


def test_a_day_on_which_clusters_were_billed_and_none_came_up_does_not_pass_as_one_without_idleness() -> None:
    never = replace(ENTRY, idle_share=None)
    passed, said = checked(never)["idle_share"]
    assert not passed
    assert said == f"{YESTERDAY}: not known, no cluster came up and 2.0 instance hours were billed; allowed: 50 %"
    assert checked(replace(never, final=False))["idle_share"] == (
        True,
        "No cluster was up; allowed: 50 %",
    )  # it may yet
    assert checked(replace(never, instance_seconds=0.0))["idle_share"][0]
    assert checked()["idle_share"][0]


def test_idleness_is_weighed_by_what_it_cost() -> None:
    idle = replace(ENTRY, billed_id="j-2", idle_share=1.0, instance_seconds=2400.0)
    assert checked(ENTRY, replace(idle, idle_share=None))["idle_share"][1].startswith(
        f"{YESTERDAY}: 19 %"
    )  # 1800 / 9600
    assert checked(ENTRY, idle)["idle_share"] == (True, f"{YESTERDAY}: 44 %; allowed: 50 %")  # (1800 + 2400) / 9600
    assert not checked(ENTRY, idle, most_idle=0.4)["idle_share"][0]


@pytest.mark.parametrize(
    ("variable", "allowed"),
    [("EMR_PIPELINES_DAILY_BUDGET_USD", "0 or more"), ("EMR_PIPELINES_MOST_IDLE_SHARE", "0 to 1")],
)
def test_what_is_too_much_can_be_said_by_the_environment(
    storage: Storage, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, variable: str, allowed: str
) -> None:
    LEDGERS["now"] = lambda _: [ENTRY]
    monkeypatch.setenv(variable, "0.1")
    failed = [
        check for check in materialize(storage, instance, Told()).get_asset_check_evaluations() if not check.passed
    ]
    assert len(failed) == 1
    monkeypatch.setenv(variable, "cheap")
    result = materialize(storage, instance, Told())
    failure = result.failure_data_for_node("spark_costs").user_failure_data
    assert failure.description == f"{variable} is 'cheap'; allowed: a number, {allowed}."


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It had clusters only, and their ids in another column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: value for name, value in asdict(ENTRY).items() if name not in ("service", "vcpu_hours")}
    columns["cluster_id"] = columns.pop("billed_id")
    pq.write_table(pa.Table.from_pylist([{**columns, "job": ""}]), tmp_path / "costs.parquet")
    assert entries_of(rows_of((tmp_path / "costs.parquet").read_bytes())) == [ENTRY]


def test_a_job_run_stands_beside_a_cluster(storage: Storage, instance: dg.DagsterInstance) -> None:
    job_run = replace(
        ENTRY,
        billed_id="00f1",
        instance_seconds=0.0,
        usd=0.5,
        idle_share=None,
        service="EMR Serverless",
        vcpu_hours=4.0,
    )
    LEDGERS["now"] = lambda known: [*known, ENTRY, job_run]
    found = metadata(materialize(storage, instance, Told()))
    assert found["yesterday_usd"] == 3.0
    assert (found["yesterday_clusters"], found["yesterday_job_runs"]) == (1, 1)
    assert found["yesterday_idle_share"] == 0.25  # of the cluster alone
    (record,) = found["by_asset"].records
    assert (record.data["usd"], record.data["instance_hours"], record.data["vcpu_hours"]) == (3.0, 2.0, 4.0)
