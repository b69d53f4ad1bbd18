"""The CloudFormation template passes cfn-lint, and the page describes it correctly."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from docs.permissions import DAGSTER, INSTANCES, SERVERLESS, TEMPLATE, template
from emr_pipelines.aws.deployment import base_uri
from tests.docs.blocks import commands, page
from tests.patience import HUNG_SECONDS


@pytest.mark.extended
def test_cfn_lint_has_nothing_to_say() -> None:
    """Not even a warning or an informational message."""
    linted = subprocess.run(
        [f"{sys.prefix}/bin/cfn-lint", "--include-checks", "I", "--format", "parseable", "--", str(TEMPLATE)],
        capture_output=True, text=True, check=False, timeout=HUNG_SECONDS,
    )  # fmt: skip
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def properties(resource: str) -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def test_the_bucket_is_encrypted_private_and_outlives_its_stack() -> None:
    bucket = template()["Resources"]["Objects"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    private = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    assert properties("Objects")["PublicAccessBlockConfiguration"] == dict.fromkeys(private, True)
    assert properties("Objects")["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = properties("Objects")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == {"Fn::If": ["HasKey", "aws:kms", "AES256"]}


def test_everybody_is_denied_what_is_not_by_tls_1_2() -> None:
    assert properties("ObjectsPolicy")["Bucket"] == {"Ref": "Objects"}
    everything = [{"Fn::GetAtt": ["Objects", "Arn"]}, {"Fn::Sub": "${Objects.Arn}/*"}]
    assert properties("ObjectsPolicy")["PolicyDocument"]["Statement"] == [
        {
            "Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": everything,
            "Condition": condition,
        }
        for sid, condition in {
            "EncryptedOnTheWay": {"Bool": {"aws:SecureTransport": "false"}},
            "ByAnOldProtocol": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        }.items()
    ]  # fmt: skip


def test_no_arn_and_no_service_is_of_one_partition_only() -> None:
    text = TEMPLATE.read_text()
    assert set(re.findall(r"arn:(?:\$\{[^}]*\}|[^:]*):", text)) == {"arn:${AWS::Partition}:", "arn:aws[a-z-]*:"}
    assert "amazonaws.com" not in text
    patterns = {name: properties["AllowedPattern"] for name, properties in template()["Parameters"].items()
                if "arn:" in properties.get("AllowedPattern", "")}  # fmt: skip
    for partition in ("aws", "aws-us-gov", "aws-cn"):
        assert re.fullmatch(patterns["KmsKeyArn"], f"arn:{partition}:kms:cn-north-1:111122223333:key/1234abcd")
        assert re.fullmatch(patterns["DagsterPrincipal"], f"arn:{partition}:iam::111122223333:role/dagster")


def test_what_the_page_says_that_a_rule_deletes_is_what_the_template_deletes() -> None:
    rules = properties("Objects")["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Id"]: rule["Prefix"]["Fn::Sub"] for rule in rules if "ExpirationInDays" in rule}
    told = re.findall(r"^\| `(\w+)/.*\| until a lifecycle rule\b", page("security"), re.MULTILINE)
    assert expiring == {name: f"${{Prefix}}${{Deployment}}/{name}/" for name in told}
    assert len(expiring) == 3
    assert all(rule["Status"] == "Enabled" for rule in rules)
    assert "NoncurrentVersionExpiration" in rules[3]
    assert "AbortIncompleteMultipartUpload" in rules[4]


def test_only_those_who_are_to_can_take_a_role() -> None:
    def trusted(resource: str) -> Any:
        (statement,) = properties(resource)["AssumeRolePolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
        return statement["Principal"], statement.get("Condition")

    ec2 = {"Service": {"Fn::Sub": "ec2.${AWS::URLSuffix}"}}
    assert trusted("DagsterRole") == ({"Fn::If": ["OnMachine", ec2, {"AWS": {"Ref": "DagsterPrincipal"}}]}, None)
    assert trusted("InstanceRole") == (ec2, None)
    principal, condition = trusted("JobRole")
    assert principal == {"Service": {"Fn::Sub": "emr-serverless.${AWS::URLSuffix}"}}
    assert condition == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    principal, condition = trusted("ServiceRole")
    assert principal == {"Service": {"Fn::Sub": "elasticmapreduce.${AWS::URLSuffix}"}}
    assert condition == {  # against the confused deputy problem
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:elasticmapreduce:*:${AWS::AccountId}:*"}},
    }


def test_a_role_has_its_policies_and_no_others() -> None:
    """DAGSTER, SERVERLESS and INSTANCES are compared with recorded calls; this test finds all other permissions."""
    of_type: dict[str, set[str]] = {}
    for name, resource in template()["Resources"].items():
        of_type.setdefault(resource["Type"], set()).add(name)
    of_dagster = {*DAGSTER, *SERVERLESS, "DagsterKeyPolicy"}
    of_programs = {*INSTANCES, "InstanceKeyPolicy"}
    assert of_type == {
        "AWS::S3::Bucket": {"Objects"},
        "AWS::S3::BucketPolicy": {"ObjectsPolicy"},
        "AWS::IAM::Role": {"DagsterRole", "ServiceRole", "InstanceRole", "JobRole"},
        "AWS::IAM::InstanceProfile": {"DagsterInstanceProfile", "InstanceProfile"},
        "AWS::IAM::ManagedPolicy": of_dagster | of_programs,
    }
    assert [properties(name)["Roles"] for name in of_dagster] == [[{"Ref": "DagsterRole"}]] * 4
    programs = [{"Ref": "InstanceRole"}, {"Ref": "JobRole"}]
    assert [properties(name)["Roles"] for name in of_programs] == [programs] * 2
    assert properties("DagsterInstanceProfile")["Roles"] == [{"Ref": "DagsterRole"}]
    assert properties("InstanceProfile")["Roles"] == [{"Ref": "InstanceRole"}]
    for role in ("DagsterRole", "InstanceRole", "JobRole"):
        assert set(properties(role)) == {"AssumeRolePolicyDocument"}
    assert set(properties("ServiceRole")) == {"AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies"}
    of_aws = "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2"
    assert properties("ServiceRole")["ManagedPolicyArns"] == [{"Fn::Sub": of_aws}]
    (inline,) = properties("ServiceRole")["Policies"]
    assert inline["PolicyDocument"]["Statement"] == [
        {
            "Sid": "GiveInstancesTheirRole", "Effect": "Allow", "Action": "iam:PassRole",
            "Resource": {"Fn::GetAtt": ["InstanceRole", "Arn"]},
            "Condition": {"StringEquals": {"iam:PassedToService": {"Fn::Sub": "ec2.${AWS::URLSuffix}"}}},
        }
    ]  # fmt: skip


def test_the_key_is_used_by_s3_alone() -> None:
    for resource in ("DagsterKeyPolicy", "InstanceKeyPolicy"):
        assert properties(resource)["PolicyDocument"]["Statement"] == [
            {
                "Sid": "UseTheKeyByS3", "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": {"Ref": "KmsKeyArn"},
                "Condition": {"StringLike": {"kms:ViaService": {"Fn::Sub": "s3.*.${AWS::URLSuffix}"}}},
            }
        ]  # fmt: skip
        assert template()["Resources"][resource]["Condition"] == "HasKey"


def test_a_role_of_one_s_own_is_given_all_policies() -> None:
    key, with_key, without = template()["Outputs"]["DagsterPolicies"]["Value"]["Fn::If"]
    assert key == "HasKey"
    policies = [f"${{{name}}}" for name in (*DAGSTER, *SERVERLESS)]
    assert sorted(without["Fn::Sub"].split()) == sorted(policies)
    assert sorted(with_key["Fn::Sub"].split()) == sorted([*policies, "${DagsterKeyPolicy}"])


def test_parameters_allow_what_the_package_allows_and_no_wildcards_of_iam() -> None:
    parameters = template()["Parameters"]
    for name, good, bad in (
        ("BucketName", ["my-bucket", "a.b-1"], ["my-bucket/x", "*", "My"]),
        ("Prefix", ["", "team/", "a/b/", "data/", "a/data2/"], ["team", "/", "a//b/", "*/", "${x}/", "../", "a/data/"]),
        ("Deployment", ["default", "prod_1.a-b", "data2"], ["", "a/b", "*", "a" * 65, "..", "data", "doctor-1"]),
    ):
        pattern = parameters[name]["AllowedPattern"]
        assert [text for text in good if not re.fullmatch(pattern, text)] == []
        assert [text for text in bad if re.fullmatch(pattern, text)] == []
    assert base_uri("s3://my-bucket/data/a/data2/", "prod_1.a-b", {}) == "s3://my-bucket/data/a/data2/prod_1.a-b"


def test_the_base_is_the_package_s() -> None:
    value = template()["Outputs"]["Environment"]["Value"]["Fn::Sub"]
    told = dict(word.split("=", 1) for word in value.split())
    for prefix in ("", "team/"):
        bucket = told["EMR_PIPELINES_BUCKET"].replace("${BucketName}", "b-1").replace("${Prefix}", prefix)
        assert base_uri(bucket, "prod", {}) == f"s3://b-1/{prefix}prod"


def test_the_page_s_command_gives_parameters_that_there_are() -> None:
    (deploy,) = (words for words in commands(page("security")) if words[:3] == ["aws", "cloudformation", "deploy"])
    assert deploy[deploy.index("--template-file") + 1] == "docs/cloudformation.yaml"
    given = [word.split("=", 1) for word in deploy[deploy.index("--parameter-overrides") + 1 :]]
    parameters = template()["Parameters"]
    assert {name for name, _ in given} <= parameters.keys()
    assert all(re.fullmatch(parameters[name].get("AllowedPattern", ".*"), value) for name, value in given)
    named = re.findall(
        r"^\| `(\w+)` \| .*\|$", page("security").partition("## Deploying")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert set(named) == parameters.keys()
