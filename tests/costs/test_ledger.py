"""The ledger, against sums done by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from rehearsal import Rehearsal, rehearsing, step

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.cluster_usage import ClusterUsage
from emr_pipelines.backends.emr.ledger import entries_of, ledger
from emr_pipelines.backends.emr.states import StepState
from emr_pipelines.backends.emr.steps import AddedStep
from emr_pipelines.costs.ledger import LedgerEntry
from emr_pipelines.costs.pricing import PriceList
from emr_pipelines.errors import AccessDenied
from tests.account import deny
from tests.costs.test_bill import Standing

RUN, OTHER = "0123abcd-0000-4000-8000-000000000001", "0123abcd-0000-4000-8000-000000000002"
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
RATES = {("m5.xlarge", "on demand"): 3.6}  # 0.001 USD a second
PRICES = {"m5.xlarge": 3.6}
MINUTE = timedelta(minutes=1)


def instance(created: datetime, ended: datetime | None) -> dict[str, Any]:
    times = {"CreationDateTime": created, **({"EndDateTime": ended} if ended else {})}
    return {"Ec2InstanceId": "i-1", "InstanceType": "m5.xlarge", "Status": {"State": "TERMINATED", "Timeline": times}}


def ran(name: str, started: datetime, minutes: float) -> AddedStep:
    ended = started + minutes * MINUTE
    return AddedStep(f"s-{name}", name, StepState.COMPLETED, created=started, started=started, ended=ended)


def life(
    *steps: AddedStep,
    start: datetime = NOON,
    minutes: float = 60,
    ready: float | None = 10,
    ended: bool = True,
    name: str = f"emr-pipelines/default/run/{RUN}-0a1b",
) -> ClusterUsage:
    end = start + minutes * MINUTE
    machine = instance(start, end if ended else None)
    ready_at = None if ready is None else start + ready * MINUTE
    return ClusterUsage("j-1", name, start, ready_at, end, ended, "", 0, (machine,), steps)


def entries(of: ClusterUsage) -> list[tuple[Any, ...]]:
    return [
        (
            entry.day.day,
            entry.run_id,
            entry.asset,
            round(entry.instance_seconds),
            None if entry.usd is None else round(entry.usd, 3),
            entry.idle_share,
        )
        for entry in entries_of(of, RATES)
    ]


def test_a_run_s_cluster_is_shared_by_its_assets_by_the_seconds_of_their_steps() -> None:
    steps = ran(f"a 1.1 {RUN}", NOON + 10 * MINUTE, 30), ran(f"b 2.1 {RUN}", NOON + 40 * MINUTE, 10)
    assert entries(life(*steps)) == [
        (1, RUN, "a", 2700, 2.7, pytest.approx(5 / 60)),  # of the last 10 minutes, 5 count as its end
        (1, RUN, "b", 900, 0.9, pytest.approx(5 / 60)),
    ]


def test_provisioning_and_a_slow_end_are_no_idleness() -> None:
    """A well-run cluster: 8 minutes to come up, 3 of work, 1 idle, 4 to end."""
    found = entries(life(ran(f"a 1.1 {RUN}", NOON + 8 * MINUTE, 3), minutes=16, ready=8))
    assert found == [(1, RUN, "a", 960, 0.96, pytest.approx(0))]


def test_a_pool_s_cluster_is_shared_by_runs() -> None:
    pool = "emr-pipelines/default/pool/0a1b-0"
    steps = ran(f"a 1.1 {RUN}", NOON + 10 * MINUTE, 25), ran(f"a 2.1 {OTHER}", NOON + 35 * MINUTE, 25)
    assert [entry[:4] for entry in entries(life(*steps, name=pool))] == [(1, RUN, "a", 1800), (1, OTHER, "a", 1800)]
    assert [entry[1] for entry in entries(life(ran("a 3.1", NOON + 10 * MINUTE, 9), name=pool))] == [""]


def test_a_step_of_several_assets_is_paid_by_each() -> None:
    assert [entry[2:4] for entry in entries(life(ran(f"a,b 1.1 {RUN}", NOON + 10 * MINUTE, 5)))] == [
        ("a", 1800),
        ("b", 1800),
    ]


def test_a_cluster_that_nobody_used_is_in_it() -> None:
    assert entries(life()) == [(1, RUN, "", 3600, 3.6, pytest.approx(45 / 60))]
    assert entries(life(ready=None)) == [(1, RUN, "", 3600, 3.6, None)]


def test_a_cluster_over_midnight_belongs_to_both_days() -> None:
    start = NOON.replace(hour=23)  # ready at 23:10, works from 23:30 to 0:30, ends at 1:00
    steps = ran(f"a 1.1 {RUN}", start + 30 * MINUTE, 30), ran(f"b 1.1 {RUN}", start + 60 * MINUTE, 30)
    assert entries(life(*steps, start=start, minutes=120)) == [
        (1, RUN, "a", 3600, 3.6, pytest.approx(20 / 60)),
        (2, RUN, "b", 3600, 3.6, pytest.approx(25 / 60)),
    ]


def test_a_step_over_midnight_is_paid_on_both_days() -> None:
    start = NOON.replace(hour=23)
    found = entries(life(ran(f"a 1.1 {RUN}", start + 30 * MINUTE, 60), start=start, minutes=120))
    assert [entry[:4] for entry in found] == [(1, RUN, "a", 3600), (2, RUN, "a", 3600)]


def test_a_price_that_is_not_known() -> None:
    (entry,) = entries_of(life(), {})
    assert (entry.usd, entry.instance_seconds) == (None, 3600)


def test_what_goes_on_is_not_final() -> None:
    assert [entry.final for entry in entries_of(life(ended=False), RATES)] == [False]
    assert [entry.final for entry in entries_of(life(), RATES)] == [True]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_days_are_those_of_utc_wherever_it_is_asked(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        cluster_id = rehearsal.up(step(), Name=f"emr-pipelines/default/run/{RUN}")
        rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
        rehearsal.advance(1000)
        found = ledger(Aws(clock=Standing(rehearsal)), "default", [], PRICES)
    finally:
        monkeypatch.undo()
        time.tzset()
    created = rehearsal.emulator.clusters()[0].created
    assert [entry.day for entry in found] == [datetime.fromtimestamp(created, timezone.utc).date()]
    assert found[0].instance_seconds > 3 * 300


def test_what_had_no_price_gets_one_when_prices_are_told(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step(), Name=f"emr-pipelines/default/run/{RUN}")
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(1000)
    aws = Aws(clock=Standing(rehearsal))
    (before,) = ledger(aws, "default", [], {})
    assert (before.usd, before.final) == (None, True)
    (after,) = ledger(aws, "default", [before], PRICES)
    assert after.usd == pytest.approx(after.instance_seconds * 3.6 / 3600)


def test_the_price_lists_are_asked_in_one_hurry_for_all_clusters(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        rehearsal.up(step(), Name=f"emr-pipelines/default/run/{number}")
    made: list[PriceList] = []
    begin = PriceList.__init__

    def noted(self: PriceList, aws: Aws) -> None:
        made.append(self)
        begin(self, aws)

    monkeypatch.setattr(PriceList, "__init__", noted)
    assert {entry.usd for entry in ledger(Aws(clock=Standing(rehearsal)), "default", [], {})} == {None}
    assert len(made) == 1


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    noon = datetime.now(timezone.utc).replace(hour=12, minute=0) - timedelta(days=1)  # no test runs over midnight
    ago = datetime.now(timezone.utc) - noon
    with rehearsing(tmp_path / "emulator", monkeypatch, started_ago=ago.total_seconds()) as rehearsal:
        yield rehearsal


def test_what_emr_says_is_brought_up_to_date_and_what_is_final_is_not_asked_for_again(rehearsal: Rehearsal) -> None:
    mine = rehearsal.up(step(), Name="emr-pipelines/default/run/x")
    rehearsal.up(step(), Name="emr-pipelines/staging/run/x")
    aws = Aws(clock=Standing(rehearsal))
    first = ledger(aws, "default", [], PRICES)
    assert {(entry.billed_id, entry.final) for entry in first} == {(mine, False)}
    rehearsal.emr.terminate_job_flows(JobFlowIds=[mine])
    rehearsal.advance(1000)
    second = ledger(aws, "default", first, PRICES)
    assert {(entry.billed_id, entry.final) for entry in second} == {(mine, True)}
    assert sum(entry.instance_seconds for entry in second) > sum(entry.instance_seconds for entry in first)
    asked: list[str] = []
    call = aws.call

    def noted(service: str, operation: str, /, **request: Any) -> Any:
        asked.append(operation)
        return call(service, operation, **request)

    aws.call = noted  # type: ignore[method-assign, assignment]
    assert ledger(aws, "default", second, PRICES) == second
    assert asked == ["list_clusters"]


@pytest.mark.parametrize("denied", [False, True], ids=["is refused", "is denied"])
@pytest.mark.parametrize("final", [True, False])
def test_what_emr_has_forgotten_stays(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, final: bool, denied: bool
) -> None:
    if denied:
        deny(monkeypatch, "j-GONE")
    old = [LedgerEntry(date(2026, 1, 1), "j-GONE", RUN, "a", 60.0, 0.1, 0.5, final)]
    assert ledger(Aws(clock=Standing(rehearsal)), "default", old, PRICES) == old


def test_what_is_there_and_may_not_be_asked_for_is_not_left_out(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, rehearsal.launch(Name="emr-pipelines/default/run/1"))
    with pytest.raises(AccessDenied):
        ledger(Aws(clock=Standing(rehearsal)), "default", [], PRICES)
