"""What each operation accepts and refuses: limits, paging, error codes."""

from __future__ import annotations

import json
import re
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from rehearsal import REQUEST, UP, Rehearsal, step

from emr_emulator import protocol


def refused(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def post(rehearsal: Rehearsal, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
    target = {"X-Amz-Target": f"ElasticMapReduce.{operation}"}
    status, answer = rehearsal.fetch("", body, headers=target)
    return status, json.loads(answer)


def group(role: str, count: int, **more: Any) -> dict[str, Any]:
    return {"InstanceRole": role, "InstanceType": "m5.xlarge", "InstanceCount": count, **more}


def fleet(role: str, types: int, **launch: Any) -> dict[str, Any]:
    return {
        "InstanceFleetType": role,
        "TargetOnDemandCapacity": 1,
        "InstanceTypeConfigs": [{"InstanceType": f"m5.{size}xlarge"} for size in range(types)],
        "LaunchSpecifications": launch,
    }


STRATEGY = {"OnDemandSpecification": {"AllocationStrategy": "lowest-price"}}
SPOT = {"TimeoutDurationMinutes": 4, "TimeoutAction": "TERMINATE_CLUSTER"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ReleaseLabel": "emr-9.9.9"}, "release label is invalid: emr-9.9.9"),
        ({"ServiceRole": None}, "ServiceRole is required"),
        ({"JobFlowRole": None}, "InstanceProfile is required"),
        ({"LogUri": "logs"}, "must be an S3 URI; it is 'logs'"),
        ({"StepConcurrencyLevel": 257}, "must be 1 to 256; it is 257"),
        ({"StepConcurrencyLevel": 2, "Steps": [step(on_failure="CANCEL_AND_WAIT")]}, "only ActionOnFailure CONTINUE"),
        ({"AutoTerminationPolicy": {"IdleTimeout": 59}}, "must be 60 to 604800 seconds; it is 59"),
        (
            {"AutoTerminationPolicy": {"IdleTimeout": 60}, "ReleaseLabel": "emr-5.29.0"},
            "not emr-5.29.0",
        ),
        ({"Steps": [step()] * 257}, "Maximum number of active steps"),
        ({"Steps": [step("a" * 10_241)]}, "Member must have length|10240 characters"),
        ({"Steps": [step("a" * 9_000, "b" * 2_000)]}, "10240 characters in all; those of step 'step' have 11018"),
        ({"Tags": [{"Key": "", "Value": "v"}]}, "A tag needs a Key"),
        ({"Name": "n" * 257}, "length less than or equal to 256"),
        ({"InstanceGroups": []}, "exactly one way"),
        ({"InstanceFleets": [fleet("MASTER", 1)]}, "exactly one way: .*; given: InstanceGroups, InstanceFleets"),
        ({"InstanceGroups": [group("CORE", 1)]}, "master instance group is required"),
        ({"InstanceGroups": [group("MASTER", 2)]}, "must have 1 or 3 instances, not 2"),
        (
            {"InstanceGroups": [group("MASTER", 1), group("CORE", 1), group("CORE", 1)]},
            "only one instance group",
        ),
        ({"InstanceGroups": [group("MASTER", 1), group("CORE", 1)] + [group("TASK", 1)] * 49}, "at most 48 task"),
        ({"InstanceGroups": [], "InstanceFleets": [fleet("MASTER", 6)]}, "has 6 instance types; allowed are 1 to 5"),
        ({"InstanceGroups": [], "InstanceFleets": [fleet("MASTER", 31, **STRATEGY)]}, "up to 30"),
        (
            {"InstanceGroups": [], "InstanceFleets": [fleet("MASTER", 1, SpotSpecification=SPOT)]},
            "must be 5 to 1440; it is 4",
        ),
        (
            {
                "ManagedScalingPolicy": {
                    "ComputeLimits": {"UnitType": "Instances", "MinimumCapacityUnits": 3, "MaximumCapacityUnits": 2}
                }
            },
            r"MinimumCapacityUnits \(3\) must not be above",
        ),
        ({"InstanceGroups": [{**group("MASTER", 1), "Market": "CHEAP"}]}, r"enum value set: \[ON_DEMAND, SPOT\]"),
    ],
)
def test_run_job_flow_refuses(rehearsal: Rehearsal, changes: dict[str, Any], says: str) -> None:
    request = json.loads(json.dumps(REQUEST))
    for name in ("InstanceGroups", "InstanceFleets"):
        if name in changes:
            request["Instances"][name] = changes[name]
    changes = {name: value for name, value in changes.items() if name not in ("InstanceGroups", "InstanceFleets")}
    status, answer = post(rehearsal, "RunJobFlow", json.dumps({**request, **changes}).encode())
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert re.search(says, answer["message"]), answer["message"]
    assert rehearsal.emulator.clusters() == []


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"{", "SerializationException", "not JSON"),
        (b"[]", "SerializationException", "not a JSON object"),
        (b"\xff", "SerializationException", "not JSON"),
        (b"{}", "ValidationException", 'Missing required parameter in input: "ClusterId"'),
        (b'{"ClusterId": null}', "ValidationException", "Missing required parameter"),
        (b'{"ClusterId": 5}', "ValidationException", "Invalid type for parameter ClusterId"),
        (b'{"ClusterId": "j-1", "Colour": "red"}', "ValidationException", 'Unknown parameter in input: "Colour"'),
        (b'{"ClusterId": "\\ud800"}', "SerializationException", "not JSON"),
        (b'{"ClusterId": ' + b"[" * 100_000, "SerializationException", "not JSON"),
        (b'{"ClusterId": ' + b"[" * 900 + b"]" * 900 + b"}", "", ""),
        (b'{"ClusterId": "j-1"}', "InvalidRequestException", "Cluster id 'j-1' is not valid."),
    ],
)
def test_requests_are_checked_against_the_model(rehearsal: Rehearsal, body: bytes, code: str, says: str) -> None:
    status, answer = post(rehearsal, "DescribeCluster", body)
    assert status == 400
    assert code in answer["__type"]
    assert says in answer["message"]


@pytest.mark.parametrize("moment", ['"soon"', "1e400", "1e30"])
def test_timestamps_that_are_none(rehearsal: Rehearsal, moment: str) -> None:
    status, answer = post(rehearsal, "ListClusters", b'{"CreatedAfter": %s}' % moment.encode())
    assert status == 400
    assert answer["__type"] in ("SerializationException", "ValidationException")


def test_a_timestamp_may_be_a_text(rehearsal: Rehearsal) -> None:
    rehearsal.launch()
    assert len(post(rehearsal, "ListClusters", b'{"CreatedAfter": "2020-01-01T00:00:00Z"}')[1]["Clusters"]) == 1
    assert post(rehearsal, "ListClusters", b'{"CreatedAfter": "2090-01-01T00:00:00Z"}')[1]["Clusters"] == []


def test_control_characters_are_refused(rehearsal: Rehearsal) -> None:
    steps = json.dumps({**REQUEST, "Steps": [step("bash", "-c", "a\0b")]}).encode()
    status, answer = post(rehearsal, "RunJobFlow", steps)
    assert (status, "regular expression pattern" in answer["message"]) == (400, True)


def test_operations_that_are_not_emulated_are_named(rehearsal: Rehearsal) -> None:
    code, message = refused(rehearsal.emr.list_studios)
    assert code == "UnknownOperationException"
    assert message.startswith("ListStudios is not emulated; emulated are AddJobFlowSteps, AddTags,")
    status, answer = post(rehearsal, "Dance", b"{}")
    assert (status, answer["message"]) == (400, "EMR has no operation 'Dance'.")


def test_unknown_ids(rehearsal: Rehearsal) -> None:
    emr, cluster_id = rehearsal.emr, rehearsal.launch()
    assert refused(emr.describe_step, ClusterId=cluster_id, StepId="s-1")[0] == "InvalidRequestException"
    assert refused(emr.list_steps, ClusterId=cluster_id, StepIds=["s-1"])[1] == "Step id 's-1' is not valid."
    assert refused(emr.cancel_steps, ClusterId=cluster_id, StepIds=["s-1"])[0] == "InvalidRequestException"
    for ids in (["j-1"], [cluster_id, cluster_id]):
        assert refused(emr.terminate_job_flows, JobFlowIds=ids)[0] == "ValidationException"
    assert refused(emr.add_job_flow_steps, JobFlowId="j-1", Steps=[step()])[0] == "ValidationException"
    assert refused(emr.list_clusters, Marker="j-1")[1] == "Marker 'j-1' is not valid."


def test_limits_of_lists(rehearsal: Rehearsal) -> None:
    emr, cluster_id = rehearsal.emr, rehearsal.launch(*[step()] * 12)
    ids = [found["Id"] for found in rehearsal.steps(cluster_id)]
    assert "At most 10 StepIds" in refused(emr.list_steps, ClusterId=cluster_id, StepIds=ids)[1]
    assert "both" in refused(emr.list_steps, ClusterId=cluster_id, StepIds=ids[:1], StepStates=["PENDING"])[1]
    assert "1 to 10 job flow IDs" in refused(emr.terminate_job_flows, JobFlowIds=[cluster_id] * 11)[1]
    assert [found["Id"] for found in emr.list_steps(ClusterId=cluster_id, StepIds=ids[3:5])["Steps"]] == ids[3:5]
    rehearsal.add(cluster_id, *[step()] * 244)
    assert "Maximum number of active steps" in refused(emr.add_job_flow_steps, JobFlowId=cluster_id, Steps=[step()])[1]


def test_steps_come_newest_first_in_pages_of_fifty(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(*[step(name=str(number)) for number in range(120)])
    first = rehearsal.emr.list_steps(ClusterId=cluster_id)
    assert [found["Name"] for found in first["Steps"]] == [str(number) for number in range(119, 69, -1)]
    rehearsal.add(cluster_id, step(name="new"))  # does not shift the next page
    second = rehearsal.emr.list_steps(ClusterId=cluster_id, Marker=first["Marker"])
    assert [found["Name"] for found in second["Steps"]] == [str(number) for number in range(69, 19, -1)]
    third = rehearsal.emr.list_steps(ClusterId=cluster_id, Marker=second["Marker"])
    assert len(third["Steps"]) == 20
    assert "Marker" not in third


def test_clusters_are_listed_by_time_and_state(rehearsal: Rehearsal) -> None:
    ids = [rehearsal.launch(Name=f"cluster {number}") for number in range(60)]
    rehearsal.advance(1000)
    late = rehearsal.launch()
    created = rehearsal.emulator.clusters()[0].created
    pages = list(rehearsal.emr.get_paginator("list_clusters").paginate())
    assert [len(page["Clusters"]) for page in pages] == [50, 11]
    assert [found["Id"] for page in pages for found in page["Clusters"]] == [late, *reversed(ids)]
    assert [found["Id"] for found in rehearsal.emr.list_clusters(CreatedAfter=created + 1)["Clusters"]] == [late]
    assert len(rehearsal.emr.list_clusters(CreatedBefore=created + 1)["Clusters"]) == 50
    assert [c["Id"] for c in rehearsal.emr.list_clusters(ClusterStates=["STARTING"])["Clusters"]] == [late]
    assert "Tags" not in pages[0]["Clusters"][0]


def test_a_page_goes_on_although_its_marker_changed_state(rehearsal: Rehearsal) -> None:
    ids = [rehearsal.up() for _ in range(55)]
    first = rehearsal.emr.list_clusters(ClusterStates=["WAITING"])
    rehearsal.emr.terminate_job_flows(JobFlowIds=[first["Clusters"][-1]["Id"]])
    rest = rehearsal.emr.list_clusters(ClusterStates=["WAITING"], Marker=first["Marker"])
    assert [found["Id"] for found in rest["Clusters"]] == list(reversed(ids))[50:]


def test_tags(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(Tags=[{"Key": "run", "Value": "1"}, {"Key": "job"}])
    rehearsal.emr.add_tags(ResourceId=cluster_id, Tags=[{"Key": "run", "Value": "2"}])
    rehearsal.emr.remove_tags(ResourceId=cluster_id, TagKeys=["job", "none"])
    assert rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]["Tags"] == [{"Key": "run", "Value": "2"}]


def test_what_was_asked_for_is_shown(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(
        LogUri="s3://logs/here",
        Applications=[{"Name": "Spark"}],
        Configurations=[{"Classification": "spark-defaults", "Properties": {"spark.x": "y"}}],
        BootstrapActions=[{"Name": "b", "ScriptBootstrapAction": {"Path": "s3://logs/b.sh", "Args": ["1"]}}],
        StepConcurrencyLevel=3,
    )
    found = rehearsal.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
    assert found["LogUri"] == "s3n://logs/here/"  # as EMR returns it
    assert found["Applications"] == [{"Name": "Spark", "Version": "3.5.5"}]
    assert found["Configurations"] == [{"Classification": "spark-defaults", "Properties": {"spark.x": "y"}}]
    assert (found["ServiceRole"], found["StepConcurrencyLevel"]) == ("EMR_DefaultRole", 3)
    actions = rehearsal.emr.list_bootstrap_actions(ClusterId=cluster_id)["BootstrapActions"]
    assert actions == [{"Name": "b", "ScriptPath": "s3://logs/b.sh", "Args": ["1"]}]


def test_managed_scaling_policy(rehearsal: Rehearsal) -> None:
    limits = {"UnitType": "Instances", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 4}
    cluster_id = rehearsal.launch(ManagedScalingPolicy={"ComputeLimits": limits})
    emr = rehearsal.emr
    assert emr.get_managed_scaling_policy(ClusterId=cluster_id)["ManagedScalingPolicy"]["ComputeLimits"] == limits
    emr.remove_managed_scaling_policy(ClusterId=cluster_id)
    assert "ManagedScalingPolicy" not in emr.get_managed_scaling_policy(ClusterId=cluster_id)
    emr.put_managed_scaling_policy(ClusterId=cluster_id, ManagedScalingPolicy={"ComputeLimits": limits})
    assert "ManagedScalingPolicy" in emr.get_managed_scaling_policy(ClusterId=cluster_id)


def test_releases(rehearsal: Rehearsal) -> None:
    labels = rehearsal.emr.list_release_labels()["ReleaseLabels"]
    assert labels[:3] == ["emr-spark-8.1.0", "emr-spark-8.0.0", "emr-7.14.0"]
    assert labels[-1] == "emr-5.30.0"
    assert rehearsal.emr.list_release_labels(Filters={"Prefix": "emr-7.1."})["ReleaseLabels"] == ["emr-7.1.0"]
    assert rehearsal.emr.list_release_labels(Filters={"Application": "spark-3.5.4"})["ReleaseLabels"] == ["emr-7.8.0"]
    page = rehearsal.emr.list_release_labels(MaxResults=5)
    rest = rehearsal.emr.list_release_labels(NextToken=page["NextToken"])
    assert page["ReleaseLabels"] + rest["ReleaseLabels"] == labels
    found = rehearsal.emr.describe_release_label(ReleaseLabel="emr-7.10.0")
    assert {"Name": "Spark", "Version": "3.5.5"} in found["Applications"]
    assert refused(rehearsal.emr.describe_release_label, ReleaseLabel="emr-0")[0] == "InvalidRequestException"
    spark_8 = rehearsal.emr.describe_release_label(ReleaseLabel="emr-spark-8.1.0")
    assert {"Name": "Spark", "Version": "4.1.1"} in spark_8["Applications"]
    assert rehearsal.emr.describe_release_label()["ReleaseLabel"] == "emr-spark-8.1.0"  # the newest


def test_concurrency_needs_continue_on_pending_steps(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.launch(step(on_failure="CANCEL_AND_WAIT"))
    code, message = refused(rehearsal.emr.modify_cluster, ClusterId=cluster_id, StepConcurrencyLevel=2)
    assert (code, "CONTINUE" in message) == ("InvalidRequestException", True)


def test_an_ended_cluster_is_not_modified(rehearsal: Rehearsal) -> None:
    emr, cluster_id = rehearsal.emr, rehearsal.up(KeepJobFlowAliveWhenNoSteps=False)
    rehearsal.advance(1000)
    policy = {"AutoTerminationPolicy": {"IdleTimeout": 60}}
    limits = {"UnitType": "Instances", "MinimumCapacityUnits": 1, "MaximumCapacityUnits": 4}
    assert refused(emr.put_auto_termination_policy, ClusterId=cluster_id, **policy)[0] == "ValidationException"
    assert refused(emr.remove_auto_termination_policy, ClusterId=cluster_id)[0] == "ValidationException"
    scaling = {"ManagedScalingPolicy": {"ComputeLimits": limits}}
    assert refused(emr.put_managed_scaling_policy, ClusterId=cluster_id, **scaling)[0] == "ValidationException"
    assert refused(emr.modify_cluster, ClusterId=cluster_id, StepConcurrencyLevel=2)[0] == "InvalidRequestException"
    keep = {"JobFlowIds": [cluster_id], "KeepJobFlowAliveWhenNoSteps": True}
    assert refused(emr.set_keep_job_flow_alive_when_no_steps, **keep)[0] == "ValidationException"
    protect = {"JobFlowIds": [cluster_id], "TerminationProtected": True}
    assert refused(emr.set_termination_protection, **protect)[0] == "ValidationException"


def shaped(rehearsal: Rehearsal, operation: str, **params: Any) -> None:
    """Return a response after checking that the model has all its members."""
    status, answer = post(rehearsal, operation, json.dumps(params).encode())
    shape = protocol.service_model().operation_model(operation).output_shape
    assert (status, protocol.complaints(answer, shape)) == (200, []), operation


def test_answers_about_fleets_and_about_what_failed_have_them_too(rehearsal: Rehearsal) -> None:
    spot = {"SpotSpecification": {"TimeoutDurationMinutes": 5, "TimeoutAction": "TERMINATE_CLUSTER"}}
    fleets = [fleet("MASTER", 1), fleet("CORE", 2, **spot)]
    idle = {"AutoTerminationPolicy": {"IdleTimeout": 60}}
    cluster_id = rehearsal.launch(step("fails"), InstanceGroups=[], InstanceFleets=fleets, **idle)
    rehearsal.emulator.faults.add([{"fault": "cluster_fails", "error_codes": ["VALIDATION_ERROR_X"]}])
    for _ in range(3):
        shaped(rehearsal, "ListInstanceFleets", ClusterId=cluster_id)
        shaped(rehearsal, "ListInstances", ClusterId=cluster_id)
        shaped(rehearsal, "DescribeCluster", ClusterId=cluster_id)
        shaped(rehearsal, "ListSteps", ClusterId=cluster_id)
        rehearsal.advance(UP)
    shaped(rehearsal, "GetAutoTerminationPolicy", ClusterId=cluster_id)
    shaped(rehearsal, "RunJobFlow", **REQUEST)
    shaped(rehearsal, "AddJobFlowSteps", JobFlowId=rehearsal.emulator.clusters()[-1].id, Steps=[step()])


def test_answers_have_the_models_shapes(rehearsal: Rehearsal) -> None:
    """botocore's parser ignores unknown members; its validator does not."""
    cluster_id = rehearsal.up(step(), step("fails"), LogUri="s3://logs/", Tags=[{"Key": "a", "Value": "b"}])
    (first, _) = (found["Id"] for found in rehearsal.steps(cluster_id))
    rehearsal.advance(20)
    model = botocore.session.Session().get_service_model("emr")
    asked: dict[str, dict[str, Any]] = {
        "DescribeCluster": {"ClusterId": cluster_id},
        "ListClusters": {},
        "ListSteps": {"ClusterId": cluster_id},
        "DescribeStep": {"ClusterId": cluster_id, "StepId": first},
        "ListInstances": {"ClusterId": cluster_id},
        "ListInstanceGroups": {"ClusterId": cluster_id},
        "ListBootstrapActions": {"ClusterId": cluster_id},
        "CancelSteps": {"ClusterId": cluster_id, "StepIds": [first]},
        "DescribeReleaseLabel": {},
        "ListReleaseLabels": {},
    }
    for operation, params in asked.items():
        status, answer = post(rehearsal, operation, json.dumps(params).encode())
        shape = model.operation_model(operation).output_shape
        assert status == 200
        assert answer
        assert ParamValidator().validate(answer, shape).generate_report() == "", operation
        assert protocol.complaints(answer, shape) == [], operation
