"""Clusters are launched once even if the response is lost, found by name, and reliably terminated."""

from __future__ import annotations

import pytest
from rehearsal import UP

from emr_pipelines.backends.emr.states import ClusterState
from emr_pipelines.errors import RequestRefused, ResponseLost
from emr_pipelines.report import Lines
from tests.account import Account


def test_a_launched_cluster_comes_up_and_is_described(account: Account) -> None:
    cluster_id = account.launch("emr-pipelines/a")
    account.clock.pause(UP)
    cluster = account.clusters.describe(cluster_id)
    assert (cluster.state, cluster.name) == (ClusterState.WAITING, "emr-pipelines/a")
    assert cluster.created is not None
    assert cluster.ready is not None
    assert (cluster.ready - cluster.created).total_seconds() == UP
    assert cluster.log_uri.endswith("/tests/logs/")


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_answer_to_run_job_flow_starts_no_second_cluster(account: Account, lost: int) -> None:
    account.fault("lost_response", operation="RunJobFlow", times=lost)
    cluster_id = account.launch("emr-pipelines/a")
    assert [cluster.id for cluster in account.emulator.clusters()] == [cluster_id]


def test_a_run_job_flow_that_took_no_effect_is_made_again(account: Account) -> None:
    account.fault("server_error", operation="RunJobFlow")
    cluster_id = account.launch("emr-pipelines/a")
    assert [cluster.id for cluster in account.emulator.clusters()] == [cluster_id]
    assert account.emr_calls("run_job_flow") == 2


def test_a_launch_that_is_never_answered_is_given_up(account: Account) -> None:
    account.fault("server_error", operation="RunJobFlow", times=None)
    began = account.clock.now()
    with pytest.raises(ResponseLost):
        account.launch("emr-pipelines/a")
    assert 900 <= account.clock.now() - began < 1000
    assert account.states() == []


def test_another_cluster_of_a_longer_name_is_not_adopted(account: Account) -> None:
    account.launch("emr-pipelines/ab")
    assert account.clusters.find("emr-pipelines/a") is None


def test_a_cluster_that_ends_is_not_found(account: Account) -> None:
    account.clusters.terminate(account.launch("emr-pipelines/a"))
    assert account.clusters.find("emr-pipelines/a") is None


def test_active_goes_through_all_pages(account: Account) -> None:
    ids = [account.launch(f"emr-pipelines/x/{number}") for number in range(60)]
    assert [cluster.id for cluster in account.clusters.active("emr-pipelines/x")] == ids[::-1]


def test_100_throttles_in_a_row_are_no_failure(account: Account) -> None:
    cluster_id = account.launch()
    account.fault("throttle", operation="DescribeCluster", times=100)
    assert account.clusters.describe(cluster_id).id == cluster_id


def test_terminate_is_idempotent_and_confirmed(account: Account) -> None:
    cluster_id = account.launch()
    account.clusters.terminate(cluster_id)
    account.clusters.terminate(cluster_id)
    assert account.clusters.confirm_ended(cluster_id).state is ClusterState.TERMINATED
    account.clusters.terminate(cluster_id)


def test_the_end_is_waited_for_aloud(account: Account) -> None:
    said: list[str] = []
    cluster_id = account.launch()
    account.clusters.terminate(cluster_id)
    account.clusters.confirm_ended(cluster_id, report=Lines(said.append, account.clock.now))
    assert said[0] == f"Waiting for cluster {cluster_id} to end: TERMINATING, 5 s so far, at most 15 min."
    assert 2 <= len(said) <= 5  # it takes 90 s


def test_a_protected_cluster_is_ended_too(account: Account) -> None:
    cluster_id = account.launch()
    account.clock.pause(UP)
    account.aws.call("emr", "set_termination_protection", JobFlowIds=[cluster_id], TerminationProtected=True)
    account.clusters.terminate(cluster_id)
    assert account.clusters.confirm_ended(cluster_id).state is ClusterState.TERMINATED


def test_an_end_that_does_not_come_is_not_called_one(account: Account) -> None:
    cluster_id = account.launch()
    assert account.clusters.confirm_ended(cluster_id, within_seconds=UP).state in (
        ClusterState.STARTING,
        ClusterState.BOOTSTRAPPING,
        ClusterState.WAITING,
    )


def test_an_invalid_request_is_refused_at_once(account: Account) -> None:
    with pytest.raises(RequestRefused, match="emr-9"):
        account.clusters.launch({**account.request(), "ReleaseLabel": "emr-9.9.9"})
    assert account.emr_calls() == 1
