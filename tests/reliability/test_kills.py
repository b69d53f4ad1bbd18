"""A short campaign of kills at the most critical moments (kills.py does hundreds)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from tests.patience import HUNG_SECONDS
from tests.reliability import daemon
from tests.reliability.campaign import Campaign
from tests.reliability.kills import table
from tests.reliability.plans import POINTS, POINTS_ON_SERVERLESS, SERVERLESS, Plan
from tests.reliability.sabotage import SABOTAGES

PLANS = (
    Plan("worker", "SIGKILL", "in_process", "run", "RunJobFlow", "after"),
    Plan("worker", "SIGKILL", "in_process", "run", "_published.json", "after", retry_first=True),
    Plan("worker", "SIGKILL", "in_process", "asset", "latest.json", "after", retry_first=True),
    Plan("worker", "SIGINT", "in_process", "pool", "result is left"),
    Plan("worker", "SIGTERM", "in_process", "run", "AddJobFlowSteps", "after", retry_first=True),
    Plan("worker", "SIGKILL", "multiprocess", "run", "step begins", retry_first=True, hasty=True),
    Plan("step", "SIGKILL", "multiprocess", "run", "step begins", retry_first=True),
    Plan("step", "SIGTERM", "multiprocess", "pool", "_published.json", "after"),
    Plan("connection", "reset", "in_process", "run", "RunJobFlow", "after"),
    Plan("connection", "down", "in_process", "pool", "AddJobFlowSteps", "after"),
    Plan("daemon", "SIGKILL", "in_process", "run", "AddJobFlowSteps", "after"),
)

FAST = PLANS[4]
JOB = dg.GraphDefinition("nothing").to_job()


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    campaign = Campaign(tmp_path_factory.mktemp("kills"))
    yield campaign
    campaign.stop()


def _case(plan: Plan) -> Any:
    """Mark all plans as extended but the one whose retry finds a running step."""
    name = f"{plan.target}-{plan.how}-{plan.moment}".replace(" ", "-")
    return pytest.param(plan, marks=() if plan is FAST else pytest.mark.extended, id=name)


@pytest.mark.parametrize("plan", [_case(plan) for plan in PLANS])
def test_nothing_is_lost_or_left_or_done_again(campaign: Campaign, plan: Plan) -> None:
    verdict = campaign.kill(plan)
    assert verdict.phase
    assert verdict.violations == [], "\n".join(verdict.log)


@pytest.mark.extended
def test_a_run_of_the_daemon_that_does_not_end_breaks_a_promise(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "LONG_SECONDS", 0)
    monkeypatch.setattr(daemon.Daemon, "ask_for_run", lambda _, instance, *__: instance.create_run_for_job(JOB).run_id)
    verdict = campaign.kill(PLANS[-1])
    assert verdict.violations == ["a run of the daemon did not end; it is NOT_STARTED"]


def test_a_plan_is_drawn_alike_and_can_be_written_down() -> None:
    plans = [Plan.drawn(f"1/{number}") for number in range(300)]
    assert plans == [Plan.drawn(f"1/{number}") for number in range(300)]
    assert plans == [Plan.parse(str(plan)) for plan in plans]
    assert {plan.moment for plan in plans} > set(POINTS)
    assert len({(plan.target, plan.how) for plan in plans}) == 11
    on_serverless = [Plan.drawn(f"1/{number}", serverless=True) for number in range(300)]
    assert {plan.moment for plan in on_serverless} > set(POINTS_ON_SERVERLESS)
    assert {plan.scope for plan in on_serverless} == {SERVERLESS}


def test_the_table_counts_what_struck() -> None:
    from tests.reliability.campaign import Verdict

    plan = Plan("step", "SIGINT", "multiprocess", "pool", "request 7")
    found = [Verdict(plan, "queued", "failure"), Verdict(plan), Verdict(plan, "running", "success", ["left"])]
    lines = table(found).splitlines()
    assert lines[1].split() == ["step", "SIGINT", "0", "0", "0", "1", "1", "0", "0", "2"]
    assert "came too late, and did not count: 1" in lines
    assert lines[-1] == "violations: 1"


def command(*options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.reliability.kills", *options]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=HUNG_SECONDS)


@pytest.mark.extended
@pytest.mark.parametrize("target", ["emr", "emr-serverless"])
def test_the_command_kills_as_a_seed_says(target: str) -> None:
    ran = command("--kills", "5", "--seed", "2", "--target", target)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (counts,) = (line for line in ran.stdout.splitlines() if line.startswith("all "))
    assert counts.split()[-1] == "5"
    assert ran.stdout.splitlines()[-1] == "violations: 0"


FOUND = {
    "nothing_is_adopted": "2 clusters are called",
    "nothing_is_marked": "what the pointer of left leads to cannot be read",
    "ended_by_the_run_alone": "after two ticks",
    "nothing_is_taken_up": "left was computed again",
    "a_token_for_each_call": "2 job runs do the work",
}


@pytest.mark.extended
@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_command_finds_a_package_that_was_broken(sabotage: str) -> None:
    ran = command("--sabotage", sabotage)
    assert ran.returncode == 1, ran.stderr
    assert re.search(f"VIOLATION .*{FOUND[sabotage]}", ran.stdout)
    assert ran.stdout.splitlines()[-1] == "violations: 1"
