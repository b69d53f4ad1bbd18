"""The template's tests detect excess permissions: they fail on templates with one changed line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from docs import permissions
from docs.permissions import template
from tests.docs import test_security as allowed
from tests.docs import test_template as made
from tests.docs.recording import Recorded

Resources = dict[str, Any]


def statements_of(resources: Resources, policy: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = resources[policy]["Properties"]["PolicyDocument"]["Statement"]
    return found


def trust(resources: Resources, role: str) -> dict[str, Any]:
    found: dict[str, Any] = resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
    return found


def statement(resources: Resources, policy: str, sid: str) -> dict[str, Any]:
    return next(found for found in statements_of(resources, policy) if found["Sid"] == sid)


def put(policy: str, sid: str, member: str, value: Any) -> Callable[[Resources], None]:
    return lambda resources: statement(resources, policy, sid).update({member: value})


def also(policy: str, sid: str, member: str, value: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        found = statement(resources, policy, sid)
        found[member] = [*(found[member] if isinstance(found[member], list) else [found[member]]), value]

    return change


def without_condition(policy: str, sid: str) -> Callable[[Resources], None]:
    return lambda resources: statement(resources, policy, sid).pop("Condition")


def of_resource(name: str, **properties: Any) -> Callable[[Resources], None]:
    return lambda resources: resources[name]["Properties"].update(properties)


def inline(member: str, value: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        (policy,) = resources["ServiceRole"]["Properties"]["Policies"]
        policy["PolicyDocument"]["Statement"][0][member] = value

    return change


ADMINISTRATOR = ["arn:aws:iam::aws:policy/AdministratorAccess"]
IN_FOLDER = "arn:aws:s3:::${BucketName}/${Prefix}${Deployment}"
MUTATIONS = {
    "instances delete what is sent": also("InstancePolicy", "ReadWhatIsSent", "Action", "s3:DeleteObject"),
    "instances write what is sent": also("InstancePolicy", "ReadWhatIsSent", "Action", "s3:PutObject"),
    "instances use EMR": also("InstancePolicy", "ReadAndWriteAssets", "Action", "elasticmapreduce:*"),
    "instances use IAM": lambda resources: statements_of(resources, "InstancePolicy").append(
        {"Sid": "All", "Effect": "Allow", "Action": "iam:*", "Resource": "*"}
    ),
    "instances list the bucket": without_condition("InstancePolicy", "ListObjects"),
    "instances write the whole folder": put(
        "InstancePolicy", "ReadAndWriteAssets", "Resource", {"Fn::Sub": f"{IN_FOLDER}/*"}
    ),
    "instances do all to assets": put("InstancePolicy", "ReadAndWriteAssets", "Action", "s3:*"),
    "instances are administrators": of_resource("InstanceRole", ManagedPolicyArns=ADMINISTRATOR),
    "Dagster is an administrator": of_resource("DagsterRole", ManagedPolicyArns=ADMINISTRATOR),
    "EMR is an administrator": of_resource("ServiceRole", ManagedPolicyArns=ADMINISTRATOR),
    "a policy of a role's own": of_resource("InstanceRole", Policies=[{"PolicyName": "a", "PolicyDocument": {}}]),
    "the instances' policy is the service role's": of_resource("InstancePolicy", Roles=[{"Ref": "ServiceRole"}]),
    "EMR gives any role": inline("Resource", "*"),
    "EMR does anything": inline("Action", "*"),
    "Dagster uses any key": put("DagsterKeyPolicy", "UseTheKeyByS3", "Resource", "*"),
    "instances use any key": put("InstanceKeyPolicy", "UseTheKeyByS3", "Resource", "*"),
    "the key is used by all": without_condition("DagsterKeyPolicy", "UseTheKeyByS3"),
    "instances' role to all": without_condition("DagsterPolicy", "GiveInstancesTheirRole"),
    "EMR's role to all": without_condition("DagsterPolicy", "GiveClustersTheirRole"),
    "any role to EMR": put("DagsterPolicy", "GiveClustersTheirRole", "Resource", "*"),
    "any cluster": without_condition("DagsterPolicy", "UseItsClusters"),
    "any cluster is tagged": without_condition("DagsterPolicy", "TagWhatIsLaunched"),
    "Dagster deletes what is sent": also("DagsterObjectsPolicy", "ReadAndWriteObjects", "Action", "s3:DeleteObject"),
    "Dagster lists the bucket": without_condition("DagsterObjectsPolicy", "ListObjects"),
    "Dagster reads the bucket": also("DagsterObjectsPolicy", "ReadLogs", "Resource", "arn:aws:s3:::${BucketName}/*"),
    "TLS for reading alone": put("ObjectsPolicy", "EncryptedOnTheWay", "Action", "s3:GetObject"),
    "TLS for one": put("ObjectsPolicy", "EncryptedOnTheWay", "Principal", {"AWS": "111122223333"}),
    "old TLS for objects": put("ObjectsPolicy", "ByAnOldProtocol", "Resource", {"Fn::Sub": "${Objects.Arn}"}),
    "one kind of public access": of_resource("Objects", PublicAccessBlockConfiguration={"BlockPublicAcls": True}),
    "everybody is Dagster": lambda resources: trust(resources, "DagsterRole").update(Principal="*"),
}


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS)
def test_a_template_that_allows_more_is_noticed(
    change: Callable[[Resources], None], recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = template()
    change(changed["Resources"])
    monkeypatch.setattr(permissions, "template", lambda: changed)
    monkeypatch.setattr(made, "template", lambda: changed)
    with pytest.raises(AssertionError):  # noqa: PT012 (any of them)
        made.test_the_bucket_is_encrypted_private_and_outlives_its_stack()
        made.test_everybody_is_denied_what_is_not_by_tls_1_2()
        made.test_only_those_who_are_to_can_take_a_role()
        made.test_a_role_has_its_policies_and_no_others()
        made.test_the_key_is_used_by_s3_alone()
        allowed.test_nothing_is_allowed_that_was_not_called(recorded)
        allowed.test_the_instances_may_do_what_a_step_does_and_nothing_else(recorded)
