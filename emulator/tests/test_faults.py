"""Every fault has its effect, and an invalid one is refused in a sentence."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from rehearsal import DURATIONS, UP, Rehearsal, client, step

from emr_emulator import Emulator
from emr_emulator.faults import KINDS, InvalidFault, Throttle, read_faults


def plan(rehearsal: Rehearsal, fault: str, **members: Any) -> None:
    rehearsal.emulator.faults.add(read_faults({"fault": fault, **members}))


def code_of(call: Any, **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


# calls


def test_throttle_refuses_the_next_calls_of_an_operation(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "throttle", operation="ListClusters", times=2)
    assert code_of(rehearsal.emr.list_clusters) == ("ThrottlingException", 400)
    rehearsal.launch()
    assert code_of(rehearsal.emr.list_clusters) == ("ThrottlingException", 400)
    assert len(rehearsal.emr.list_clusters()["Clusters"]) == 1


def test_throttle_at_a_rate(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "throttle", operation="List*", rate=0.3, times=None)
    faults = rehearsal.emulator.faults
    refused = sum(faults.strike(Throttle, operation=("ListClusters",)) is not None for _ in range(1000))
    assert 250 < refused < 350  # 300 are expected


def test_server_error(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "server_error")
    assert code_of(rehearsal.emr.list_clusters) == ("InternalServerException", 500)
    assert rehearsal.emr.list_clusters()["Clusters"] == []


def test_expired_token_refuses_the_calls_that_an_access_key_signs(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "expired_token", access_key="other", times=None)
    assert rehearsal.emr.list_clusters()["Clusters"] == []
    plan(rehearsal, "expired_token", access_key="emul*", times=None)
    assert code_of(rehearsal.emr.list_clusters) == ("ExpiredTokenException", 400)
    assert code_of(rehearsal.s3.list_objects_v2, Bucket="b") == ("ExpiredToken", 400)
    assert code_of(rehearsal.s3.head_object, Bucket="b", Key="k") == ("400", 400)  # the response to HEAD has no body
    rehearsal.emulator.faults.clear()
    plan(rehearsal, "expired_token", key="b/logs/*", times=None)
    assert rehearsal.emr.list_clusters()["Clusters"] == []
    assert code_of(rehearsal.s3.get_object, Bucket="b", Key="logs/x") == ("ExpiredToken", 400)


def test_lost_response_takes_effect(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "lost_response", operation="RunJobFlow")
    with pytest.raises(ConnectionClosedError):
        rehearsal.launch()
    (cluster,) = rehearsal.emr.list_clusters()["Clusters"]
    plan(rehearsal, "lost_response", operation="AddJobFlowSteps")
    with pytest.raises(ConnectionClosedError):
        rehearsal.add(cluster["Id"], step())
    assert rehearsal.step_states(cluster["Id"]) == ["PENDING"]


def test_a_lost_response_of_s3(rehearsal: Rehearsal) -> None:
    rehearsal.s3.create_bucket(Bucket="lost")
    plan(rehearsal, "lost_response", operation="PutObject")
    with pytest.raises(ConnectionClosedError):
        rehearsal.s3.put_object(Bucket="lost", Key="a", Body=b"1")
    assert rehearsal.read("lost", "a") == b"1"


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("AccessDenied", 403), ("InternalError", 500)])
def test_s3_error(rehearsal: Rehearsal, code: str, status: int) -> None:
    rehearsal.s3.create_bucket(Bucket="errors")
    plan(rehearsal, "s3_error", operation="PutObject", key="errors/in/*", code=code)
    rehearsal.s3.put_object(Bucket="errors", Key="out/a", Body=b"")
    assert code_of(rehearsal.s3.put_object, Bucket="errors", Key="in/a", Body=b"") == (code, status)
    rehearsal.s3.put_object(Bucket="errors", Key="in/a", Body=b"")
    plan(rehearsal, "s3_error", operation="ListObjectsV2", code=code)
    assert code_of(rehearsal.s3.list_objects_v2, Bucket="errors") == (code, status)


def test_objects_late_and_out_of_order(rehearsal: Rehearsal) -> None:
    folder = rehearsal.emulator.create_bucket("late")
    plan(rehearsal, "objects_late", key="late/messages/1.json", seconds=30)
    plan(rehearsal, "objects_late", key="late/by-spark", seconds=30)
    for number in (1, 2):
        rehearsal.s3.put_object(Bucket="late", Key=f"messages/{number}.json", Body=b"%d" % number)
    (folder / "by-spark").write_bytes(b"data")
    assert rehearsal.keys("late") == ["messages/2.json"]
    for key in ("messages/1.json", "by-spark"):
        assert code_of(rehearsal.s3.head_object, Bucket="late", Key=key)[1] == 404
    rehearsal.advance(29)
    assert rehearsal.keys("late") == ["messages/2.json"]
    rehearsal.advance(1)
    assert rehearsal.keys("late") == ["by-spark", "messages/1.json", "messages/2.json"]
    assert (rehearsal.read("late", "messages/1.json"), rehearsal.read("late", "by-spark")) == (b"1", b"data")


# clusters


def test_provisioning_hangs_until_it_is_terminated(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "provisioning_hangs", cluster="test")
    cluster_id, other = rehearsal.launch(step()), rehearsal.launch()
    rehearsal.advance(86_400)
    assert (rehearsal.state(cluster_id), rehearsal.state(other)) == ("STARTING", "WAITING")
    instances = rehearsal.emr.list_instances(ClusterId=cluster_id)["Instances"]
    assert {instance["Status"]["State"] for instance in instances} == {"AWAITING_FULFILLMENT"}
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.state(cluster_id) == "TERMINATED"
    assert rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["NormalizedInstanceHours"] == 0


def test_provisioning_hangs_in_a_bootstrap_action(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "provisioning_hangs", state="BOOTSTRAPPING")
    cluster_id = rehearsal.launch(step())
    rehearsal.advance(86_400)
    assert rehearsal.state(cluster_id) == "BOOTSTRAPPING"
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.state(cluster_id) == "TERMINATED"


@pytest.mark.parametrize("code", ["VALIDATION_ERROR", "INSTANCE_FLEET_TIMEOUT", "INTERNAL_ERROR", "INSTANCE_FAILURE"])
def test_cluster_fails(rehearsal: Rehearsal, code: str) -> None:
    details = ["INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ"]
    plan(rehearsal, "cluster_fails", code=code, message="None left.", error_codes=details)
    cluster_id = rehearsal.up(step())
    rehearsal.advance(DURATIONS.termination)
    status = rehearsal.status(cluster_id)
    assert status["State"] == "TERMINATED_WITH_ERRORS"
    assert status["StateChangeReason"] == {"Code": code, "Message": "None left."}
    assert [detail["ErrorCode"] for detail in status["ErrorDetails"]] == details
    assert "ReadyDateTime" not in status["Timeline"]
    assert rehearsal.step_states(cluster_id) == ["CANCELLED"]


def test_bootstrap_fails_with_its_log_under_node(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.create_bucket("boot")
    plan(rehearsal, "bootstrap_fails", action=2, exit_code=7, stderr="pip: no such package\n")
    actions = [{"Name": name, "ScriptBootstrapAction": {"Path": f"s3://boot/{name}.sh"}} for name in ("one", "two")]
    cluster_id = rehearsal.up(step(), BootstrapActions=actions, LogUri="s3://boot/logs")
    rehearsal.advance(DURATIONS.termination)
    status = rehearsal.status(cluster_id)
    assert (status["State"], status["StateChangeReason"]["Code"]) == ("TERMINATED_WITH_ERRORS", "BOOTSTRAP_FAILURE")
    assert status["ErrorDetails"][0]["ErrorCode"] == "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE"
    (primary,) = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceGroupTypes=["MASTER"])["Instances"]
    node = f"logs/{cluster_id}/node/{primary['Ec2InstanceId']}/bootstrap-actions"
    assert rehearsal.keys("boot", node) == [
        f"{node}/{n}/{log}.gz" for n, log in [(1, "controller"), (2, "controller"), (2, "stderr")]
    ]
    assert rehearsal.log("boot", f"{node}/2/stderr.gz") == "pip: no such package\n"
    assert "exit code 7 : s3://boot/two.sh" in rehearsal.log("boot", f"{node}/2/controller.gz")


def test_the_primary_is_lost_in_the_middle_of_a_step(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.create_bucket("primary")
    plan(rehearsal, "primary_lost", after_seconds=5)
    cluster_id = rehearsal.up(step(), step(), LogUri="s3://primary/")
    rehearsal.advance(4)
    assert rehearsal.step_states(cluster_id) == ["RUNNING", "PENDING"]
    rehearsal.advance(1 + DURATIONS.termination)
    status = rehearsal.status(cluster_id)
    assert (status["State"], status["StateChangeReason"]["Code"]) == ("TERMINATED_WITH_ERRORS", "INSTANCE_FAILURE")
    assert rehearsal.step_states(cluster_id) == ["CANCELLED", "CANCELLED"]
    (primary,) = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceGroupTypes=["MASTER"])["Instances"]
    assert primary["Status"]["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"
    assert rehearsal.keys("primary") == []  # logs that were not pushed are lost with it


def test_a_spot_core_node_is_lost_and_another_comes(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "core_lost", after_seconds=5)
    cluster_id = rehearsal.up(step())
    rehearsal.advance(5)

    def core() -> list[str]:
        found = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceGroupTypes=["CORE"])["Instances"]
        return [instance["Status"]["State"] for instance in found]

    assert core() == ["TERMINATED", "RUNNING", "PROVISIONING"]
    (lost, *_) = rehearsal.emr.list_instances(ClusterId=cluster_id, InstanceGroupTypes=["CORE"])["Instances"]
    assert lost["Status"]["StateChangeReason"] == {
        "Code": "INSTANCE_FAILURE",
        "Message": "Spot instance was reclaimed.",
    }
    rehearsal.advance(5)
    assert rehearsal.step_states(cluster_id) == ["COMPLETED"]
    rehearsal.advance(DURATIONS.provisioning)
    assert core() == ["TERMINATED", "RUNNING", "RUNNING"]


# steps


def test_step_fails_with_details(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.create_bucket("fails")
    plan(
        rehearsal,
        "step_fails",
        step="b*",
        after_seconds=3,
        reason="Out of memory.",
        message="Java heap space",
        stderr="oom",
    )
    cluster_id = rehearsal.up(step(name="a"), step(name="b"), LogUri="s3://fails/")
    rehearsal.advance(13)
    first, second = rehearsal.steps(cluster_id)
    assert (first["Status"]["State"], second["Status"]["State"]) == ("COMPLETED", "FAILED")
    log_file = f"s3://fails/{cluster_id}/steps/{second['Id']}/stderr.gz"
    details = {"Reason": "Out of memory.", "Message": "Java heap space", "LogFile": log_file}
    assert second["Status"]["FailureDetails"] == details
    rehearsal.advance(DURATIONS.log_push_interval)
    assert rehearsal.log("fails", log_file.removeprefix("s3://fails/")) == "oom"


def test_step_fails_without_details(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "step_fails", details=False)
    cluster_id = rehearsal.up(step())
    rehearsal.advance(0)
    (found,) = rehearsal.steps(cluster_id)
    assert found["Status"]["State"] == "FAILED"
    assert "FailureDetails" not in found["Status"]


def test_step_killed(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "step_killed", after_seconds=5)
    cluster_id = rehearsal.up(step())
    rehearsal.advance(5)
    assert rehearsal.step_states(cluster_id) == ["FAILED"]
    assert rehearsal.lines[-2].endswith("FAILED  exit code 137")


# logs


def logs_after(rehearsal: Rehearsal, seconds: float) -> list[str]:
    rehearsal.emulator.create_bucket("logs")
    cluster_id = rehearsal.up(step(), LogUri="s3://logs/p/")
    rehearsal.advance(seconds)
    (found,) = rehearsal.steps(cluster_id)
    return [key.removeprefix(f"p/{cluster_id}/steps/{found['Id']}/") for key in rehearsal.keys("logs")]


def test_logs_are_pushed_at_their_interval_and_on_termination(rehearsal: Rehearsal) -> None:
    assert logs_after(rehearsal, 10) == []
    cluster = rehearsal.emulator.clusters()[0]
    rehearsal.advance(DURATIONS.log_push_interval)
    assert len(rehearsal.keys("logs")) == 1
    rehearsal.add(cluster.id, step())
    rehearsal.advance(10)
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster.id])
    rehearsal.advance(DURATIONS.termination)
    assert len(rehearsal.keys("logs")) == 2


def test_logs_late(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "logs_late", seconds=1000)
    assert logs_after(rehearsal, DURATIONS.log_push_interval) == []
    cluster = rehearsal.emulator.clusters()[0]
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster.id])
    rehearsal.advance(DURATIONS.termination)
    assert rehearsal.state(cluster.id) == "TERMINATED"
    assert rehearsal.keys("logs") == []
    rehearsal.advance(1000)
    assert len(rehearsal.keys("logs")) == 1


def test_logs_never(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "logs_never")
    assert logs_after(rehearsal, 86_400) == []


def test_logs_by_another_name(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "log_names")
    assert logs_after(rehearsal, DURATIONS.log_push_interval) == ["controller.txt.gz"]


def test_no_log_uri_no_logs_and_no_bucket_is_told(rehearsal: Rehearsal) -> None:
    rehearsal.up(step())
    rehearsal.up(step(), LogUri="s3://nowhere/")
    rehearsal.advance(DURATIONS.log_push_interval)
    assert [line.split("  ")[-1] for line in rehearsal.lines if "bucket" in line] == [
        "there is no bucket 'nowhere' for its logs"
    ]
    rehearsal.advance(DURATIONS.log_push_interval)
    assert sum("no bucket" in line for line in rehearsal.lines) == 1  # once
    assert rehearsal.s3.list_buckets()["Buckets"] == []


# faults as data


def test_every_kind_can_be_planned_and_is_waiting(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.faults.add(read_faults([{"fault": kind} for kind in KINDS]))
    assert [fault["fault"] for fault in rehearsal.emulator.faults.waiting()] == list(KINDS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"fault": "earthquake"}, "There is no fault 'earthquake'; there are throttle, server_error, lost_response,"),
        ("throttle", "A fault is a mapping with a member 'fault'; this is 'throttle'."),
        ({"fault": []}, "There is no fault []"),
        ([{"operation": "x"}], "A fault is a mapping with a member 'fault'"),
        (
            {"fault": "throttle", "cluster": "x"},
            "has no member 'cluster'; it has times, rate, operation.",
        ),
        ({"fault": "throttle", "times": 0}, "The fault 'throttle' has times 0: Input should be greater than"),
        ({"fault": "throttle", "rate": 2}, "The fault 'throttle' has rate 2: Input should be less than or equal to 1"),
        ({"fault": "cluster_fails", "code": "X"}, "The fault 'cluster_fails' has code 'X': Input should be"),
        (
            {"fault": "logs_late", "seconds": "soon"},
            "The fault 'logs_late' has seconds 'soon': Input",
        ),
    ],
)
def test_bad_faults(data: Any, says: str) -> None:
    with pytest.raises(InvalidFault) as caught:
        read_faults(data)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_emulator_takes_what_describes_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with Emulator(faults=[{"fault": "throttle", "operation": "ListClusters"}], say=lines.append) as emulator:
        assert code_of(client(emulator, "emr").list_clusters)[0] == "ThrottlingException"
    assert lines[0].endswith("  fault throttle  ListClusters")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(InvalidFault, match="A fault is a mapping"):
        Emulator(faults="- fault: throttle")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_faults_over_http(rehearsal: Rehearsal) -> None:
    def ask(method: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        status, answer = rehearsal.fetch("/_emulator/faults", body, method)
        said = json.loads(answer)
        return said if status == 200 else (status, said["error"])

    assert ask("GET") == []
    (waiting,) = ask("POST", {"fault": "throttle", "operation": "ListClusters", "times": 5})
    assert (waiting["fault"], waiting["times"], waiting["struck"]) == ("throttle", 5, 0)
    assert code_of(rehearsal.emr.list_clusters)[0] == "ThrottlingException"
    assert ask("GET")[0]["struck"] == 1
    assert ask("POST", {"fault": "fire"})[0] == 400
    assert ask("PUT", {}) == (405, "PUT is not GET, POST or DELETE.")
    assert ask("DELETE") == []
    assert rehearsal.emulator.faults.struck("throttle") == 1  # including faults that are used up
    assert rehearsal.emr.list_clusters()["Clusters"] == []


def test_a_fault_strikes_by_name_or_id(rehearsal: Rehearsal) -> None:
    plan(rehearsal, "cluster_fails", cluster="nightly-*", times=None)
    struck, spared = rehearsal.launch(Name="nightly-1"), rehearsal.launch(Name="daily-1")
    rehearsal.advance(UP)
    assert (rehearsal.state(struck), rehearsal.state(spared)) == ("TERMINATING", "WAITING")
