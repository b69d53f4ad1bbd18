"""Every transition of clusters and steps, observed through boto3 with a manual clock."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from rehearsal import DURATIONS, UP, Rehearsal, step

from emr_emulator.records import Exit, ReasonCode


def test_a_cluster_comes_up_waits_and_ends(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch()
    start = rehearsal.emulator.clusters()[0].created
    assert rehearsal.state(cluster_id) == "STARTING"
    rehearsal.advance(DURATIONS.provisioning)
    assert rehearsal.state(cluster_id) == "BOOTSTRAPPING"
    rehearsal.advance(DURATIONS.bootstrapping)
    assert rehearsal.status(cluster_id)["StateChangeReason"] == {"Message": "Cluster ready to run steps."}
    assert rehearsal.state(cluster_id) == "WAITING"
    rehearsal.advance(3600)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    assert rehearsal.state(cluster_id) == "TERMINATING"
    rehearsal.advance(DURATIONS.termination)
    status = rehearsal.status(cluster_id)
    assert status["State"] == "TERMINATED"
    assert status["StateChangeReason"] == {"Code": "USER_REQUEST", "Message": "Terminated by user request"}
    times = {name: moment.timestamp() - start for name, moment in status["Timeline"].items()}
    assert times == {"CreationDateTime": 0, "ReadyDateTime": UP, "EndDateTime": UP + 3600 + DURATIONS.termination}


def test_steps_run_in_turn_and_the_cluster_ends_when_none_is_left(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(step(name="a"), step(name="b"), KeepJobFlowAliveWhenNoSteps=False)
    assert rehearsal.step_states(cluster_id) == ["PENDING", "PENDING"]
    rehearsal.advance(UP)
    assert rehearsal.state(cluster_id) == "RUNNING"
    assert rehearsal.step_states(cluster_id) == ["RUNNING", "PENDING"]
    rehearsal.advance(10)
    assert rehearsal.step_states(cluster_id) == ["COMPLETED", "RUNNING"]
    rehearsal.advance(10)
    assert rehearsal.step_states(cluster_id) == ["COMPLETED", "COMPLETED"]
    assert rehearsal.status(cluster_id)["StateChangeReason"]["Code"] == "ALL_STEPS_COMPLETED"
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.state(cluster_id) == "TERMINATED"
    timeline = rehearsal.steps(cluster_id)[1]["Status"]["Timeline"]
    assert timeline["StartDateTime"].timestamp() - timeline["CreationDateTime"].timestamp() == UP + 10
    assert timeline["EndDateTime"].timestamp() - timeline["StartDateTime"].timestamp() == 10


def test_steps_can_be_added_in_every_living_state(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch()
    rehearsal.add(cluster_id, step(name="while starting"))
    rehearsal.advance(DURATIONS.provisioning)
    rehearsal.add(cluster_id, step(name="while bootstrapping"))
    rehearsal.advance(DURATIONS.bootstrapping)
    rehearsal.add(cluster_id, step(name="while running"))
    rehearsal.advance(30)
    assert rehearsal.state(cluster_id) == "WAITING"
    rehearsal.add(cluster_id, step(name="while waiting"))
    assert rehearsal.state(cluster_id) == "RUNNING"
    rehearsal.advance(10)
    assert rehearsal.step_states(cluster_id) == ["COMPLETED"] * 4


def test_concurrency_runs_so_many_steps_at_once(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(*[step() for _ in range(5)], StepConcurrencyLevel=2)
    assert rehearsal.step_states(cluster_id).count("RUNNING") == 2
    assert rehearsal.emr.modify_cluster(ClusterId=cluster_id, StepConcurrencyLevel=4)["StepConcurrencyLevel"] == 4
    assert rehearsal.step_states(cluster_id).count("RUNNING") == 4
    rehearsal.advance(20)
    assert rehearsal.step_states(cluster_id) == ["COMPLETED"] * 5
    assert rehearsal.state(cluster_id) == "WAITING"


@pytest.mark.parametrize(
    ("action", "protected", "cluster", "rest"),
    [
        ("CONTINUE", False, "RUNNING", "RUNNING"),
        ("CANCEL_AND_WAIT", False, "WAITING", "CANCELLED"),
        ("TERMINATE_CLUSTER", False, "TERMINATED_WITH_ERRORS", "CANCELLED"),
        ("TERMINATE_JOB_FLOW", False, "TERMINATED_WITH_ERRORS", "CANCELLED"),
        ("TERMINATE_CLUSTER", True, "WAITING", "CANCELLED"),
    ],
)
def test_action_on_failure(rehearsal: Rehearsal, action: str, protected: bool, cluster: str, rest: str) -> None:
    steps = [step("fails", on_failure=action), step("hangs")]
    cluster_id = rehearsal.up(*steps, TerminationProtected=protected)
    rehearsal.advance(10 + DURATIONS.termination)
    assert rehearsal.step_states(cluster_id) == ["FAILED", rest]
    status = rehearsal.status(cluster_id)
    assert status["State"] == cluster
    if cluster == "TERMINATED_WITH_ERRORS":
        assert status["StateChangeReason"] == {"Code": "STEP_FAILURE", "Message": "Shut down as step failed"}


def test_a_failed_step_under_continue_leaves_a_cluster_that_ends_well(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step("fails"), KeepJobFlowAliveWhenNoSteps=False)
    rehearsal.advance(10 + DURATIONS.termination)
    assert rehearsal.step_states(cluster_id) == ["FAILED"]
    assert rehearsal.steps(cluster_id)[0]["Status"]["FailureDetails"] == {"Reason": "Unknown Error."}
    assert rehearsal.status(cluster_id)["State"] == "TERMINATED"
    reason = {"Code": "ALL_STEPS_COMPLETED", "Message": "Steps completed with errors"}
    assert rehearsal.status(cluster_id)["StateChangeReason"] == reason


def test_cancel(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step("spark-submit"))
    rehearsal.advance(10)
    rehearsal.add(cluster_id, step("hangs"), step("hangs"))
    done, running, pending = (found["Id"] for found in rehearsal.steps(cluster_id))
    answer = rehearsal.emr.cancel_steps(ClusterId=cluster_id, StepIds=[pending, running, done])
    assert [(entry["Status"], "Reason" in entry) for entry in answer["CancelStepsInfoList"]] == [
        ("SUBMITTED", False),
        ("SUBMITTED", False),
        ("FAILED", True),
    ]
    rehearsal.advance(0)
    assert rehearsal.step_states(cluster_id) == ["COMPLETED", "CANCELLED", "CANCELLED"]
    assert rehearsal.state(cluster_id) == "WAITING"
    again = rehearsal.emr.cancel_steps(ClusterId=cluster_id, StepIds=[running])["CancelStepsInfoList"][0]
    assert again["Status"] == "FAILED"


def test_cancel_is_asynchronous(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step("hangs"))
    (step_id,) = (found["Id"] for found in rehearsal.steps(cluster_id))
    with rehearsal.emulator._agenda.lock:
        cluster = rehearsal.emulator.clusters()[0]
        rehearsal.emulator._lifecycle.cancel(cluster, cluster.steps[step_id], kill=False)
        assert str(cluster.steps[step_id].state) == "CANCEL_PENDING"
    rehearsal.advance(0)
    found = rehearsal.emr.describe_step(ClusterId=cluster_id, StepId=step_id)["Step"]["Status"]
    assert found["State"] == "CANCELLED"
    assert "EndDateTime" in found["Timeline"]


def test_a_step_that_ends_well_before_it_can_be_cancelled_is_completed(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step("hangs"))
    (cluster,) = rehearsal.emulator.clusters()
    (running,) = cluster.steps.values()
    running.running = None  # the process has ended, but the end has not been processed
    with rehearsal.emulator._agenda.lock:
        rehearsal.emulator._lifecycle.cancel(cluster, running, kill=False)
        rehearsal.emulator._lifecycle._ended(cluster, running, Exit(0))
    assert rehearsal.step_states(cluster_id) == ["COMPLETED"]


def test_a_cluster_that_is_ended_while_a_step_is_being_cancelled(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step("hangs"))
    (cluster,) = rehearsal.emulator.clusters()
    (running,) = cluster.steps.values()
    with rehearsal.emulator._agenda.lock:
        rehearsal.emulator._lifecycle.cancel(cluster, running, kill=False)
        rehearsal.emulator._lifecycle.terminate(cluster, ReasonCode.USER_REQUEST, "")
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.step_states(cluster_id) == ["INTERRUPTED"]
    assert rehearsal.state(cluster_id) == "TERMINATED"


def test_a_cluster_ends_when_its_last_step_is_cancelled(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(step(), KeepJobFlowAliveWhenNoSteps=False)
    (found,) = rehearsal.steps(cluster_id)
    rehearsal.emr.cancel_steps(ClusterId=cluster_id, StepIds=[found["Id"]])
    assert rehearsal.state(cluster_id) == "STARTING"
    rehearsal.advance(UP + DURATIONS.termination)
    assert rehearsal.state(cluster_id) == "TERMINATED"


def test_an_action_on_failure_does_not_hold_when_steps_run_side_by_side(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step("fails", on_failure="TERMINATE_CLUSTER"))
    rehearsal.emr.modify_cluster(ClusterId=cluster_id, StepConcurrencyLevel=2)
    rehearsal.advance(10)
    assert (rehearsal.step_states(cluster_id), rehearsal.state(cluster_id)) == (["FAILED"], "WAITING")


@pytest.mark.parametrize("seconds", [0, DURATIONS.provisioning, UP, UP + 5])
def test_terminated_by_the_user_in_every_state(rehearsal: Rehearsal, seconds: float) -> None:
    cluster_id = rehearsal.launch(step("hangs"), step())
    rehearsal.advance(seconds)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])  # calling it twice is allowed
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.state(cluster_id) == "TERMINATED"
    assert rehearsal.step_states(cluster_id) == ["INTERRUPTED" if seconds >= UP else "CANCELLED", "CANCELLED"]
    rehearsal.advance(86_400)
    assert rehearsal.state(cluster_id) == "TERMINATED"
    with pytest.raises(ClientError, match="may not be modified"):
        rehearsal.add(cluster_id, step())


def test_termination_protection(rehearsal: Rehearsal) -> None:
    protected = rehearsal.up(TerminationProtected=True)
    other = rehearsal.up()
    with pytest.raises(ClientError, match="termination protected"):
        rehearsal.emr.terminate_job_flows(JobFlowIds=[other, protected])
    assert rehearsal.state(other) == "WAITING"  # all steps or none
    rehearsal.emr.set_termination_protection(JobFlowIds=[protected], TerminationProtected=False)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[other, protected])
    rehearsal.advance(DURATIONS.termination)
    assert {rehearsal.state(other), rehearsal.state(protected)} == {"TERMINATED"}


def test_keep_alive_can_be_switched_off(rehearsal: Rehearsal) -> None:
    idle, busy = rehearsal.up(), rehearsal.up(step())
    off: dict[str, Any] = {"JobFlowIds": [idle, busy], "KeepJobFlowAliveWhenNoSteps": False}
    rehearsal.emr.set_keep_job_flow_alive_when_no_steps(**off)
    assert rehearsal.state(idle) == "TERMINATING"
    assert rehearsal.state(busy) == "RUNNING"
    rehearsal.advance(10)
    assert rehearsal.status(busy)["StateChangeReason"]["Code"] == "ALL_STEPS_COMPLETED"


def test_an_idle_cluster_ends_itself(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(step(), AutoTerminationPolicy={"IdleTimeout": 60})
    rehearsal.advance(10 + 59)
    assert rehearsal.state(cluster_id) == "WAITING"
    rehearsal.add(cluster_id, step())
    rehearsal.advance(10 + 59)
    assert rehearsal.state(cluster_id) == "WAITING"
    rehearsal.advance(1)
    assert rehearsal.state(cluster_id) == "TERMINATING"
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.state(cluster_id) == "TERMINATED"


def test_an_auto_termination_policy_can_change(rehearsal: Rehearsal) -> None:
    emr, cluster_id = rehearsal.emr, rehearsal.up(AutoTerminationPolicy={"IdleTimeout": 60})
    assert emr.get_auto_termination_policy(ClusterId=cluster_id)["AutoTerminationPolicy"] == {"IdleTimeout": 60}
    emr.remove_auto_termination_policy(ClusterId=cluster_id)
    assert "AutoTerminationPolicy" not in emr.get_auto_termination_policy(ClusterId=cluster_id)
    rehearsal.advance(1000)
    assert rehearsal.state(cluster_id) == "WAITING"
    emr.put_auto_termination_policy(ClusterId=cluster_id, AutoTerminationPolicy={"IdleTimeout": 1200})
    rehearsal.advance(199)
    assert rehearsal.state(cluster_id) == "WAITING"
    rehearsal.advance(1)
    assert rehearsal.state(cluster_id) == "TERMINATING"


def test_instances_and_their_times(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch()
    found = rehearsal.emr.list_instances(ClusterId=cluster_id)["Instances"]
    assert {instance["Status"]["State"] for instance in found} == {"PROVISIONING"}
    rehearsal.advance(DURATIONS.provisioning)
    found = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceStates=["BOOTSTRAPPING"])["Instances"]
    assert len(found) == 3
    rehearsal.advance(DURATIONS.bootstrapping)
    core = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceGroupTypes=["CORE"])["Instances"]
    assert [(i["Market"], i["InstanceType"], i["Status"]["State"]) for i in core] == [
        ("SPOT", "m5.xlarge", "RUNNING")
    ] * 2
    groups = rehearsal.emr.list_instance_groups(ClusterId=cluster_id)["InstanceGroups"]
    assert [(g["InstanceGroupType"], g["RunningInstanceCount"], g["Status"]["State"]) for g in groups] == [
        ("MASTER", 1, "RUNNING"),
        ("CORE", 2, "RUNNING"),
    ]
    assert rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["NormalizedInstanceHours"] == 24
    rehearsal.advance(3600)
    assert rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["NormalizedInstanceHours"] == 48
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(DURATIONS.termination)
    (primary,) = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceGroupTypes=["MASTER"])["Instances"]
    times = primary["Status"]["Timeline"]
    assert primary["Status"]["State"] == "TERMINATED"
    assert (times["EndDateTime"] - times["CreationDateTime"]).total_seconds() == UP + 3600 + DURATIONS.termination


def test_fleets(rehearsal: Rehearsal) -> None:
    spot = {"TimeoutDurationMinutes": 5, "TimeoutAction": "TERMINATE_CLUSTER"}
    fleets = [
        {
            "InstanceFleetType": "MASTER",
            "TargetOnDemandCapacity": 1,
            "InstanceTypeConfigs": [{"InstanceType": "m5.xlarge"}],
        },
        {
            "InstanceFleetType": "CORE",
            "TargetSpotCapacity": 5,
            "InstanceTypeConfigs": [{"InstanceType": "r5.2xlarge", "WeightedCapacity": 2}],
            "LaunchSpecifications": {"SpotSpecification": spot},
        },
    ]
    cluster_id = rehearsal.up(InstanceGroups=[], InstanceFleets=fleets)
    core = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceFleetType="CORE")["Instances"]
    assert [(instance["InstanceType"], instance["Market"]) for instance in core] == [("r5.2xlarge", "SPOT")] * 3
    found = rehearsal.emr.list_instance_fleets(ClusterId=cluster_id)["InstanceFleets"]
    assert [(fleet["InstanceFleetType"], fleet["ProvisionedSpotCapacity"]) for fleet in found] == [
        ("MASTER", 0),
        ("CORE", 5),
    ]
    with pytest.raises(ClientError, match="mutually exclusive"):
        rehearsal.emr.list_instance_groups(ClusterId=cluster_id)


def test_three_primaries_are_kept_alive_and_protected(rehearsal: Rehearsal) -> None:
    groups = [{"InstanceRole": "MASTER", "InstanceType": "m5.xlarge", "InstanceCount": 3}]
    cluster_id = rehearsal.launch(InstanceGroups=groups, KeepJobFlowAliveWhenNoSteps=False)
    found = rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
    assert (found["AutoTerminate"], found["TerminationProtected"]) == (False, True)


def test_every_event_is_a_line(rehearsal: Rehearsal) -> None:
    rehearsal.up(step(name="count"), KeepJobFlowAliveWhenNoSteps=False)
    rehearsal.advance(10 + DURATIONS.termination)
    told = [line.split("  ", 2)[2] for line in rehearsal.lines]
    assert [line if not line.startswith("s-") else line.split(" ", 1)[1] for line in told] == [
        "STARTING  emr-7.10.0, 3 instances",
        "count  PENDING",
        "BOOTSTRAPPING",
        "count  RUNNING",
        "RUNNING   Running step",
        "count  COMPLETED",
        "TERMINATING  ALL_STEPS_COMPLETED Steps completed",
        "TERMINATED  ALL_STEPS_COMPLETED Steps completed",
    ]
