"""Finding, creating and changing applications."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rehearsal import EmulatedClock

from emr_emulator import Emulator, ManualClock
from emr_pipelines.aws.client import Aws
from emr_pipelines.backends.emr_serverless.applications import SERVICE, Application, Applications
from emr_pipelines.backends.emr_serverless.spec import ApplicationSpec
from emr_pipelines.errors import InvalidValue, Unreachable
from tests.account import Account


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with Emulator(tmp_path / "emulator", clock=ManualClock()) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield Account(emulator, EmulatedClock(emulator))


def acquired(account: Account, deployment: str = "mine", **spec: Any) -> Application:
    return Applications(account.aws).acquire(ApplicationSpec.parse(spec), deployment)[0]


def by_hand(account: Account, name: str, kind: str = "SPARK") -> str:
    made: str = account.aws.call(
        SERVICE, "create_application", name=name, releaseLabel="emr-7.14.0", type=kind, clientToken=name
    )["applicationId"]
    return made


def test_what_a_description_asks_for(account: Account) -> None:
    found = acquired(
        account,
        preset="small",
        warm={"drivers": 1, "executors": 2},
        queue={"concurrent": 2, "minutes": 30},
        subnets=["subnet-1"],
        security_groups=["sg-1"],
        disk_key="arn:aws:kms:us-east-1:111122223333:key/1234",
        tags={"team": "data"},
        extra={"jobLevelCostAllocationConfiguration": {"enabled": True}},
    )
    assert found.told["maximumCapacity"] == {"cpu": "16 vCPU", "memory": "64 GB", "disk": "200 GB"}
    assert found.told["initialCapacity"]["EXECUTOR"] == {
        "workerCount": 2, "workerConfiguration": {"cpu": "2 vCPU", "memory": "8 GB", "disk": "20 GB"},
    }  # fmt: skip
    assert found.told["schedulerConfiguration"] == {"maxConcurrentRuns": 2, "queueTimeoutMinutes": 30}
    assert found.told["networkConfiguration"] == {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    assert found.told["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 15}
    assert found.tags["team"] == "data"
    assert found.tags["emr_pipelines:deployment"] == "mine"
    (record,) = account.emulator.applications()
    assert record.request["jobLevelCostAllocationConfiguration"] == {"enabled": True}


def test_it_is_found_again_and_another_description_makes_another(account: Account) -> None:
    first = acquired(account)
    assert acquired(account).id == first.id
    assert acquired(account, executors=5).id == first.id  # which only job runs need
    other = acquired(account, preset="large")
    assert other.id != first.id
    assert acquired(account, deployment="theirs").id not in (first.id, other.id)


def test_a_lost_response_makes_one_application(account: Account) -> None:
    account.fault("lost_response", operation="CreateApplication", times=3)
    acquired(account)
    assert len(account.emulator.applications()) == 1


def test_two_processes_make_one_application(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sees the other's in the list."""
    monkeypatch.setattr(Applications, "each", lambda *_: iter(()))
    assert acquired(account).id == acquired(account).id


def test_one_that_was_deleted_is_made_again(account: Account) -> None:
    first = acquired(account)
    account.aws.call(SERVICE, "delete_application", applicationId=first.id)
    second = acquired(account)
    assert second.id != first.id
    assert str(second.state) == "CREATED"


def test_a_named_application_is_changed_while_it_is_stopped(account: Account) -> None:
    first = acquired(account, name="nightly")
    changed = acquired(account, name="nightly", idle_timeout_minutes=5)
    assert changed.id == first.id
    assert changed.told["autoStopConfiguration"]["idleTimeoutMinutes"] == 5
    account.aws.call(SERVICE, "start_application", applicationId=first.id)
    account.emulator.advance(200)
    assert acquired(account, name="nightly", idle_timeout_minutes=5).id == first.id  # as it is
    with pytest.raises(InvalidValue, match=r"it changes when it is stopped.*stop-application --application-id"):
        acquired(account, name="nightly", idle_timeout_minutes=6)


def test_the_name_of_another_deployment_s_application_is_refused(account: Account) -> None:
    acquired(account, name="nightly")
    with pytest.raises(InvalidValue, match=r"another name: application .* belongs to deployment 'mine'"):
        acquired(account, deployment="theirs", name="nightly")
    by_hand(account, "theirs")
    with pytest.raises(InvalidValue, match=r"belongs to no deployment; application\.id uses it as it is"):
        acquired(account, name="theirs")


def test_one_that_cannot_run_programs_is_refused(account: Account) -> None:
    hive = by_hand(account, "hive", "HIVE")
    with pytest.raises(InvalidValue, match="one for Spark"):
        acquired(account, id=hive)
    account.emulator.advance(60)
    account.aws.call(SERVICE, "delete_application", applicationId=hive)
    with pytest.raises(InvalidValue, match="one that was not deleted; it is TERMINATED"):
        acquired(account, id=hive)


def test_a_service_that_does_not_answer_is_said(account: Account) -> None:
    account.fault("server_error", operation="ListApplications", times=None)
    with pytest.raises(Unreachable, match=r"emr-serverless\.list_applications"):
        Applications(Aws(clock=account.clock, within_seconds=1)).acquire(ApplicationSpec(), "mine")
