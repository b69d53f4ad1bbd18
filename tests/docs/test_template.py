"""The CloudFormation template: cfn-lint has nothing to say of it, and what the page says of it is so."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from docs.permissions import TEMPLATE, template
from emr_pipelines.emr.place import BUCKET, DEPLOYMENT, base_uri
from tests.docs.blocks import commands, page


def test_cfn_lint_has_nothing_to_say() -> None:
    """Not even a warning, or a remark."""
    linted = subprocess.run(
        [f"{sys.prefix}/bin/cfn-lint", "--include-checks", "I", "--format", "parseable", "--", str(TEMPLATE)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def properties(resource: str) -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def test_the_bucket_is_encrypted_private_and_outlives_its_stack() -> None:
    bucket = template()["Resources"]["Objects"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert set(properties("Objects")["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = properties("Objects")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == {"Fn::If": ["HasKey", "aws:kms", "AES256"]}
    denied = properties("ObjectsPolicy")["PolicyDocument"]["Statement"]
    assert {statement["Effect"] for statement in denied} == {"Deny"}
    assert [statement["Condition"] for statement in denied] == [
        {"Bool": {"aws:SecureTransport": "false"}}, {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
    ]  # fmt: skip


def test_what_the_page_says_that_a_rule_deletes_is_what_the_template_deletes() -> None:
    rules = properties("Objects")["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Id"]: rule["Prefix"]["Fn::Sub"] for rule in rules if "ExpirationInDays" in rule}
    told = re.findall(r"^\| `(\w+)/.*\| a lifecycle rule\b", page("security"), re.MULTILINE)
    assert expiring == {name: f"${{Prefix}}${{Deployment}}/{name}/" for name in told}
    assert len(expiring) == 3
    assert all(rule["Status"] == "Enabled" for rule in rules)
    assert "NoncurrentVersionExpiration" in rules[3]
    assert "AbortIncompleteMultipartUpload" in rules[4]


def test_only_those_who_are_to_can_take_a_role() -> None:
    def trusted(resource: str) -> Any:
        (statement,) = properties(resource)["AssumeRolePolicyDocument"]["Statement"]
        return statement["Principal"], statement.get("Condition")

    ec2 = {"Service": {"Fn::Sub": "ec2.${AWS::URLSuffix}"}}
    assert trusted("DagsterRole") == ({"Fn::If": ["OnMachine", ec2, {"AWS": {"Ref": "DagsterPrincipal"}}]}, None)
    assert trusted("InstanceRole") == (ec2, None)
    principal, condition = trusted("ServiceRole")
    assert principal == {"Service": {"Fn::Sub": "elasticmapreduce.${AWS::URLSuffix}"}}
    assert condition["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}  # no confused deputy


def test_the_key_is_used_by_s3_alone() -> None:
    for resource in ("DagsterKeyPolicy", "InstanceKeyPolicy"):
        (statement,) = properties(resource)["PolicyDocument"]["Statement"]
        assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        assert list(statement["Condition"]["StringLike"]) == ["kms:ViaService"]
        assert template()["Resources"][resource]["Condition"] == "HasKey"


def test_parameters_allow_what_the_package_allows_and_no_wildcards_of_iam() -> None:
    parameters = template()["Parameters"]
    for name, good, bad in (
        ("BucketName", ["my-bucket", "a.b-1"], ["my-bucket/x", "*", "My"]),
        ("Prefix", ["", "team/", "a/b/"], ["team", "/", "a//b/", "*/", "${x}/"]),
        ("Deployment", ["default", "prod_1.a-b"], ["", "a/b", "*", "a" * 65]),
    ):
        pattern = parameters[name]["AllowedPattern"]
        assert [text for text in good if not re.fullmatch(pattern, text)] == []
        assert [text for text in bad if re.fullmatch(pattern, text)] == []
    assert BUCKET.fullmatch("s3://my-bucket/a/b/")
    assert DEPLOYMENT.fullmatch("prod_1.a-b")


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
