"""A cluster's bill against sums done by hand, and prices with and without AWS's price list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from rehearsal import DURATIONS, UP, Rehearsal, rehearsing, step

from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr.bills import Observed, bill
from emr_pipelines.clock import SystemClock
from emr_pipelines.costs.bill import Bill, Doing, Span, Usage
from emr_pipelines.costs.pricing import PriceList
from emr_pipelines.errors import AccessDenied, RequestRefused, Throttled, Unreachable

PRICES = {"m5.xlarge": 0.24, "m5.xlarge spot": 0.12}
AT = datetime(2026, 1, 2, tzinfo=timezone.utc)
NOTHING_KNOWN: dict[str, float] = {}


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    with rehearsing(tmp_path / "emulator", monkeypatch) as rehearsal:
        yield rehearsal


class Answers:
    """An Aws whose operations return or raise what the test sets; it records the calls."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.region = "eu-west-1"
        self.clock = SystemClock()
        self.now = self.clock.now

    pages = Aws.pages

    def call(
        self,
        _service: str,
        operation: str,
        /,
        read: Callable[[Any], Any] = lambda answer: answer,
        patience_seconds: float | None = None,  # noqa: ARG002 (Aws has it)
        **request: Any,
    ) -> Any:
        self.asked.append((operation, request))
        answer = self.answers[operation]
        answer = answer(request) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return read(answer)


def aws_of(answers: Answers) -> Aws:
    return cast("Aws", answers)


def run_twice(rehearsal: Rehearsal) -> str:
    """300 s to come up, 10 s of a step, 90 s of nothing, 10 s of another, 50 s of nothing, 90 s to end: 550 s in all,
    of which it was up 250."""
    cluster_id = rehearsal.up(step())
    rehearsal.advance(100)
    rehearsal.add(cluster_id, step())
    rehearsal.advance(60)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(90)
    assert rehearsal.state(cluster_id) == "TERMINATED"
    return cluster_id


def test_a_cluster_that_ran_two_steps(rehearsal: Rehearsal) -> None:
    cluster_id = run_twice(rehearsal)
    found = bill(Aws(), cluster_id, PRICES)
    assert found.ended
    assert found.usages == (
        Usage("m5.xlarge on demand", "instance-hours", 550 / 3600, 0.24, "1 x m5.xlarge on demand, billed for 550 s"),
        Usage("m5.xlarge spot", "instance-hours", 1100 / 3600, 0.12, "2 x m5.xlarge spot, billed for 550 s"),
    )
    assert found.idle_share == pytest.approx(90 / 550)
    assert found.facts["normalized_instance_hours"] == 3 * 8  # one started hour of three instances that count 8 each
    assert found.usd == pytest.approx((550 * 0.24 + 2 * 550 * 0.12) / 3600)
    assert found.sentence() == (
        "1 x m5.xlarge on demand, billed for 550 s, 2 x m5.xlarge spot, billed for 550 s, 16 % idle, about 0.07 USD."
    )


@pytest.mark.parametrize("told", [True, False])
def test_what_a_cluster_did_when(rehearsal: Rehearsal, told: bool) -> None:
    cluster_id = run_twice(rehearsal)
    created = rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["Timeline"]["CreationDateTime"]
    began = created.timestamp()
    observed = Observed(bootstrapping=began + 240, told_to_end=began + 460) if told else Observed()
    found = bill(Aws(), cluster_id, PRICES, observed=observed)
    spans = [(str(span.doing), round(span.start), round(span.end)) for span in found.spans]
    first = [("starting", 0, 240), ("bootstrapping", 240, 300)] if told else [("starting", 0, 300)]
    rest = [("idle", 410, 460), ("ending", 460, 550)] if told else [("ending", 410, 550)]
    assert spans == [*first, ("step", 300, 310), ("idle", 310, 400), ("step", 400, 410), *rest]
    assert found.idle_share == pytest.approx((140 if told else 90) / 550)
    assert {span.name for span in found.spans if span.doing is Doing.STEP} == {"step"}


def test_metadata_is_json(rehearsal: Rehearsal) -> None:
    found = bill(Aws(), run_twice(rehearsal), PRICES).metadata()
    assert json.loads(json.dumps(found)) == found
    assert found["usage"][1] == {
        "resource": "m5.xlarge spot", "unit": "instance-hours", "amount": 0.3056, "usd_per_unit": 0.12
    }  # fmt: skip
    assert found["usd"] == pytest.approx(0.0733, abs=0.0001)


def test_steps_bear_the_bill_by_their_seconds(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step(), step("hangs"), step())  # the third never runs
    rehearsal.advance(10 + 30)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(90)
    first, second, third = (found["Id"] for found in rehearsal.steps(cluster_id))
    found = bill(Aws(), cluster_id, PRICES)
    assert found.step_seconds == {first: pytest.approx(10), second: pytest.approx(30), third: 0}
    assert found.share_of([first]) == pytest.approx(0.25)
    assert found.share_of([second, second]) == pytest.approx(0.75)
    assert found.share_of([third, "s-OFANOTHER"]) == 0
    assert found.share_of([first, second, third]) == pytest.approx(1)


def test_steps_that_run_at_once_are_busy_once(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(StepConcurrencyLevel=3)
    rehearsal.add(cluster_id, step())
    rehearsal.advance(5)
    rehearsal.add(cluster_id, step())
    rehearsal.advance(20)
    rehearsal.add(cluster_id, step())
    rehearsal.advance(75)  # busy from 0 to 15, and from 25 to 35, of 100
    found = bill(Aws(clock=Standing(rehearsal)), cluster_id, PRICES)
    assert found.idle_share == pytest.approx(75 / 400)
    assert sum(found.step_seconds.values()) == pytest.approx(30)
    assert not found.ended
    assert found.sentence().endswith("19 % idle, about 0.05 USD, so far.")


class Standing(SystemClock):
    """The emulator's time."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._agenda = rehearsal.emulator._agenda

    def now(self) -> float:
        return self._agenda.now()


def test_a_cluster_that_nobody_used(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up()
    rehearsal.advance(1110)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(90)
    found = bill(Aws(), cluster_id, PRICES)
    assert found.idle_share == pytest.approx(900 / 1500)  # the last 300 s count as its end
    assert found.share_of([]) == 0
    assert found.sentence().endswith("60 % idle, about 0.20 USD.")  # 1,500 s of 0.24 + 2 * 0.12 an hour


def test_a_cluster_that_never_came_up(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.faults.add([{"fault": "cluster_fails"}])
    cluster_id = rehearsal.launch(step(), step())
    rehearsal.advance(DURATIONS.provisioning + DURATIONS.termination)
    found = bill(Aws(), cluster_id, PRICES)
    assert found.idle_share is None
    assert "never ready" in found.sentence()
    first, second = found.step_seconds
    assert found.share_of([first]) == found.share_of([second]) == 0.5


def test_a_lost_instance_is_counted_to_its_own_end_and_the_one_that_came_for_it_from_its_beginning(
    rehearsal: Rehearsal,
) -> None:
    rehearsal.emulator.faults.add([{"fault": "core_lost", "after_seconds": 20}])
    cluster_id = rehearsal.up(step("hangs"))
    rehearsal.advance(20 + 30)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(90)
    usage = next(usage for usage in bill(Aws(), cluster_id, PRICES).usages if usage.resource == "m5.xlarge spot")
    assert usage.amount == pytest.approx((UP + 140 + UP + 20 + 120) / 3600)
    assert str(usage) == "3 x m5.xlarge spot, billed for 880 s in all"


def described(**timeline: datetime) -> dict[str, Any]:
    return {"Cluster": {"Id": "j-1", "Status": {"Timeline": timeline}, "NormalizedInstanceHours": 8}}


def instance(begin: int, end: int | None = None, **changes: Any) -> dict[str, Any]:
    times = {"CreationDateTime": AT.replace(second=begin)}
    if end is not None:
        times["EndDateTime"] = AT.replace(minute=end // 60, second=end % 60)
    status = {"State": "TERMINATED", "Timeline": times}
    return {"InstanceType": "m5.xlarge", "Market": "ON_DEMAND", "Ec2InstanceId": "i-1", "Status": status, **changes}


def test_each_instance_pays_for_a_minute_and_seconds_begun_and_pages_are_read_on() -> None:
    pages: dict[str, dict[str, Any]] = {
        "": {"Instances": [instance(0, 20), instance(0)], "Marker": "more"},
        "more": {"Instances": [instance(0, 61), instance(0, 99, Ec2InstanceId=None)]},
    }
    part_of_a_second = instance(0, 62)
    part_of_a_second["Status"]["Timeline"]["EndDateTime"] = AT.replace(minute=1, second=2, microsecond=1)
    pages["more"]["Instances"].append(part_of_a_second)
    answers = Answers(
        describe_cluster=described(EndDateTime=AT.replace(minute=5)),
        list_instances=lambda request: pages[request.get("Marker", "")],
        list_steps={"Steps": []},
    )
    found = bill(aws_of(answers), "j-1", {"m5.xlarge on_demand": 3.6})
    (usage,) = found.usages
    assert usage.amount == pytest.approx((300 + 63 + 61 + 60) / 3600)
    assert str(usage) == "4 x m5.xlarge on demand, billed for 484 s in all"
    assert found.usd == pytest.approx(0.484)


def test_no_instance_costs_nothing() -> None:
    answers = Answers(
        describe_cluster=described(EndDateTime=AT), list_instances={"Instances": []}, list_steps={"Steps": []}
    )
    found = bill(aws_of(answers), "j-1", {})
    assert found.sentence() == "No instance, never ready, about 0.00 USD."
    assert found.usd == 0


@pytest.mark.parametrize(
    ("usd_per_hour", "says"),
    [
        (None, "price not known (`prices` can tell it)."),
        (0.1, "less than 0.01 USD."),
        (600.0, "about 10.00 USD."),
        (0.0, "about 0.00 USD."),
    ],
)
def test_the_sentence_says_a_price_as_people_do(usd_per_hour: float | None, says: str) -> None:
    spans = Span(Doing.STARTING, "", 0, 59), Span(Doing.IDLE, "", 59, 100)
    found = Bill("j-1", True, (Usage("vCPU", "hours", 1 / 60, usd_per_hour),), {}, spans=spans)
    assert found.sentence() == f"0.02 hours of vCPU, 41 % idle, {says}"


def test_emr_that_cannot_say_is_an_error() -> None:
    with pytest.raises(AccessDenied):
        bill(aws_of(Answers(describe_cluster=AccessDenied("no"))), "j-1", {})


# prices


def test_no_price_is_no_failure(rehearsal: Rehearsal) -> None:
    """The emulator has no price list."""
    found = bill(Aws(), run_twice(rehearsal), {"m5.xlarge on demand": 0.24})
    assert found.usd is None
    assert found.usages[0].usd == pytest.approx(550 * 0.24 / 3600)
    assert found.sentence().endswith("16 % idle, price not known (`prices` can tell it).")


def test_no_price_is_looked_up_when_all_are_given_or_it_is_not_wanted(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(PriceList, "usd_per_hour")
    cluster_id = run_twice(rehearsal)
    assert bill(Aws(), cluster_id, {"m5.xlarge": 1}).usd is not None
    assert bill(Aws(), cluster_id, NOTHING_KNOWN, look_up=False).usd is None


def product(*dimensions: dict[str, Any]) -> str:
    return json.dumps({"terms": {"OnDemand": {"a": {"priceDimensions": dict(enumerate(dimensions))}}}})


def hourly(usd: str) -> dict[str, Any]:
    return {"unit": "Hrs", "pricePerUnit": {"USD": usd}}


def listed(request: dict[str, Any]) -> dict[str, Any]:
    """Return a price list: EC2's 0.192 on the second page, EMR's 0.048, and entries to ignore."""
    if request["ServiceCode"] == "ElasticMapReduce":
        return {"PriceList": [product(hourly("0.0480000000"))]}
    if "NextToken" not in request:
        return {"PriceList": [product(hourly("0.0000000000"), {"unit": "Quantity", "pricePerUnit": {"USD": "900"}})],
                "NextToken": "more"}  # fmt: skip
    return {"PriceList": [product(hourly("0.1920000000"))]}


def test_a_price_is_that_of_ec2_and_that_of_emr() -> None:
    answers = Answers(get_products=listed)
    assert PriceList(aws_of(answers)).usd_per_hour("m5.xlarge", "on demand", "", AT) == pytest.approx(0.24)
    filters = [{found["Field"]: found["Value"] for found in request["Filters"]} for _, request in answers.asked]
    assert filters[0] == {
        "instanceType": "m5.xlarge", "regionCode": "eu-west-1", "softwareType": "EMR",
        "productFamily": "Elastic Map Reduce Instance",
    }  # fmt: skip
    assert filters[1] == filters[2]
    assert filters[1].items() >= {
        "instanceType": "m5.xlarge", "regionCode": "eu-west-1", "operatingSystem": "Linux", "tenancy": "Shared",
        "capacitystatus": "Used", "preInstalledSw": "NA",
    }.items()  # fmt: skip


def test_a_spot_price_is_that_of_the_zone_and_time() -> None:
    history = {"SpotPriceHistory": [{"SpotPrice": "0.0712", "AvailabilityZone": "eu-west-1b"}], "NextToken": ""}
    answers = Answers(get_products=listed, describe_spot_price_history=history)
    found = PriceList(aws_of(answers)).usd_per_hour("m5.xlarge", "spot", "eu-west-1b", AT)
    assert found == pytest.approx(0.1192)
    operation, request = answers.asked[-1]
    assert operation == "describe_spot_price_history"
    assert request == {
        "InstanceTypes": ["m5.xlarge"], "ProductDescriptions": ["Linux/UNIX"], "StartTime": AT, "EndTime": AT,
        "AvailabilityZone": "eu-west-1b",
    }  # fmt: skip


def test_requests_for_prices_are_as_boto3_takes_them() -> None:
    import boto3
    from botocore.stub import Stubber

    made: dict[str, Any] = {}
    answers: dict[str, dict[str, Any]] = {"pricing": {"PriceList": [product(hourly("0.1"))]},
                                          "ec2": {"SpotPriceHistory": [{"SpotPrice": "0.05"}]}}  # fmt: skip
    aws = Aws("us-east-1")
    for service, operation in (("pricing", "get_products"), ("ec2", "describe_spot_price_history")):
        made[service] = Stubber(boto3.client(service, region_name="us-east-1"))
        made[service].add_response(operation, answers[service])
        made[service].activate()
        aws._clients[service, False] = made[service].client
    assert PriceList(aws).usd_per_hour("m5.xlarge", "spot", "us-east-1a", AT) == pytest.approx(0.15)
    for stub in made.values():
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "answer",
    [
        AccessDenied("no"), RequestRefused("no such service"), Unreachable("no answer"),
        {"PriceList": []}, {}, {"PriceList": ["{"]}, {"PriceList": ["[]"]},
        {"PriceList": [product({"unit": "Hrs", "pricePerUnit": {"CNY": "3"}})]},
        {"PriceList": [product({"unit": "Hrs", "pricePerUnit": {"USD": "much"}})]},
    ],
)  # fmt: skip
def test_a_price_list_that_says_nothing(answer: object) -> None:
    answers = Answers(get_products=answer)
    assert PriceList(aws_of(answers)).usd_per_hour("m5.xlarge", "on demand", "", AT) is None


def test_who_does_not_answer_is_not_asked_again() -> None:
    answers = Answers(get_products=Unreachable("no answer"))
    prices = PriceList(aws_of(answers))
    assert prices.usd_per_hour("m5.xlarge", "on demand", "", AT) is None
    assert prices.usd_per_hour("r5.xlarge", "spot", "", AT) is None
    assert len(answers.asked) == 1


class Counted(SystemClock):
    """A clock that counts pauses instead of waiting."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float, until: object = None) -> None:  # noqa: ARG002
        self.time += seconds


@pytest.mark.parametrize("fault", ["throttle", "server_error"])
def test_who_is_in_a_hurry_gives_up_soon(rehearsal: Rehearsal, fault: str) -> None:
    rehearsal.emulator.faults.add([{"fault": fault, "times": None}])
    clock = Counted()
    aws = Aws(within_seconds=10, clock=clock)
    with pytest.raises((Unreachable, Throttled)):
        aws.call("emr", "list_clusters")
    assert clock.time == pytest.approx(1010, abs=0.01)


def test_a_cluster_that_ended_by_itself_before_it_was_told_to_has_no_other_ending(rehearsal: Rehearsal) -> None:
    cluster_id = run_twice(rehearsal)
    late = rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Status"]["Timeline"]["EndDateTime"]
    found = bill(Aws(), cluster_id, PRICES, observed=Observed(told_to_end=late.timestamp() + 60))
    assert found.spans == bill(Aws(), cluster_id, PRICES).spans
