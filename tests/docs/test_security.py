"""The template and the security page allow what the code does, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import emr_pipelines
from docs.permissions import DAGSTER, INSTANCES, statements, template
from emr_pipelines.aws.deployment import FOLDERS, base_uri
from emr_pipelines.errors import InvalidValue
from tests.account import BUCKET
from tests.docs.blocks import page
from tests.docs.policies import KEY, Wish, allowed, idle, loose, names, reached
from tests.docs.recording import (
    DEPLOYMENT,
    NAMES,
    NEEDS_NO_PERMISSION,
    PREFIX,
    Recorded,
    action_of,
)

PACKAGE = Path(emr_pipelines.__file__).parent
CALL = re.compile(r'\.(?:call|pages|_pages)\(\s*"(\w+)",\s*"(\w+)"')
WITH_RUN_JOB_FLOW = {
    "elasticmapreduce:AddTags", "elasticmapreduce:PutAutoTerminationPolicy",
    "elasticmapreduce:PutManagedScalingPolicy", "iam:PassRole",
}  # fmt: skip
CALLED_BY_NAME = {"iam:GetRole", "iam:GetInstanceProfile"}
OF_NO_DEPLOYMENT = {  # AWS has no condition for these that would tell one deployment's calls from another's
    "elasticmapreduce:ListClusters", "elasticmapreduce:DescribeReleaseLabel", "pricing:GetProducts",
    "ec2:DescribeSpotPriceHistory",
}  # fmt: skip
BUCKET_ARN = f"arn:aws:s3:::{BUCKET}"
BASE = f"{BUCKET_ARN}/{PREFIX}{DEPLOYMENT}"
PLACES = {BUCKET_ARN, *(f"{BASE}/{folder}/*" for folder in FOLDERS)}


def test_what_was_called_is_allowed(recorded: Recorded) -> None:
    policy = statements(DAGSTER, NAMES)
    assert [wish for wish in recorded.wishes() if not allowed(policy, wish)] == []


def test_nothing_is_allowed_that_was_not_called(recorded: Recorded) -> None:
    policy, wishes = statements(DAGSTER, NAMES), recorded.wishes()
    assert idle(policy, wishes) == []
    assert loose(policy, wishes) == []
    everywhere = {action for statement in policy if "*" in statement["Resource"] for action in statement["Action"]}
    assert everywhere == {"elasticmapreduce:RunJobFlow", *OF_NO_DEPLOYMENT}
    roles = {NAMES[f"{name}.Arn"] for name in ("ServiceRole", "InstanceRole", "InstanceProfile")}
    clusters = f"arn:aws:elasticmapreduce:*:{NAMES['AWS::AccountId']}:cluster/*"
    assert reached(policy, BUCKET_ARN) == {"*", clusters, f"{BASE}/doctor-*", *roles, *PLACES}


@pytest.mark.parametrize(
    "other",
    [
        names("staging", PREFIX, BUCKET), names("prod", PREFIX, BUCKET), names("production2", PREFIX, BUCKET),
        names("production", "", "other-bucket"), names("team", "", BUCKET), names("production", "team2/", BUCKET),
    ],
    ids=lambda other: f"{other['BucketName']}/{other['Prefix']}{other['Deployment']}",
)  # fmt: skip
def test_nothing_of_one_deployment_is_allowed_to_another_s_role(recorded: Recorded, other: dict[str, str]) -> None:
    policy = statements(DAGSTER, other)
    same_name = other["Deployment"] == DEPLOYMENT  # then the clusters have the same tag: a name is to be had once
    theirs = [
        wish
        for wish in recorded.wishes()
        if wish.action not in OF_NO_DEPLOYMENT
        and not (wish.action.startswith(("elasticmapreduce:", "iam:")) and (same_name or _of_a_new_cluster(wish)))
    ]
    assert {wish.action for wish in theirs} >= {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}
    assert [wish for wish in theirs if allowed(policy, wish)] == []


def _of_a_new_cluster(wish: Wish) -> bool:
    """Of one that has no tag yet, as the role's own when it is launched."""
    return wish.action.startswith("elasticmapreduce:Put") and not wish.context


def test_every_write_asks_for_the_encryption_that_is_set_and_the_roles_may_use_the_key(recorded: Recorded) -> None:
    """Of everything that the Dagster process writes: code, tasks, leases, assets, inputs, and the doctor's object."""
    asked: dict[str, set[tuple[str, str]]] = {}
    for call in recorded.calls:
        if call.operation in ("put_object", "upload_file"):
            key = call.request.get("Key") or call.positional[2]
            headers = call.request.get("ExtraArgs", call.request)
            folder = key.removeprefix(f"{PREFIX}{DEPLOYMENT}/").split("/")[0].partition("-")[0]
            asked.setdefault(folder, set()).add((headers["ServerSideEncryption"], headers["SSEKMSKeyId"]))
    assert asked.keys() == {*FOLDERS, "doctor"} - {"logs"}  # which EMR writes
    assert {how for found in asked.values() for how in found} == {("aws:kms", KEY)}
    launches = [call.request for call in recorded.calls if call.operation == "run_job_flow"]
    by_runner = [request for request in launches if not request["Name"].endswith("/run/a")]
    assert by_runner
    for request in by_runner:
        properties = {found["Classification"]: found["Properties"] for found in request["Configurations"]}
        assert properties["core-site"] == {
            "fs.s3a.encryption.algorithm": "SSE-KMS", "fs.s3a.encryption.key": KEY
        }  # fmt: skip
        assert request["LogEncryptionKmsKeyId"] == KEY
    for policy in ("DagsterKeyPolicy", "InstanceKeyPolicy"):
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            wish = Wish(action, KEY, {"kms:ViaService": "s3.us-east-1.amazonaws.com"})
            assert allowed(statements([policy], NAMES), wish)
            assert not allowed(statements([policy], NAMES), Wish(action, KEY, {"kms:ViaService": "ec2.amazonaws.com"}))


def of_a_step(recorded: Recorded) -> list[Wish]:
    """Return what a step needs on S3: for its arguments, its task, and the assets that it reads and writes."""
    words = [part for word in recorded.arguments for part in word.split(",") if part.startswith("s3://")]
    (task,) = {word for word in words if word.endswith("/task.json")}
    sent = [_arn(word) for word in words if word != task]
    assert {arn.removeprefix(BASE).split("/")[1] for arn in sent} == {"code", "jars", "files"}
    asset, attempt = f"{BASE}/data/words/v/part-0.parquet", f"{_arn(task).rpartition('/')[0]}/attempt-1"
    read = [*sent, f"{BASE}/deps/a.zip", f"{BASE}/inputs/a/a.txt", _arn(task), f"{attempt}/context.json", asset]
    written = [_arn(recorded.task["result"]), f"{attempt}/1.json", asset, f"{BASE}/logs/j-1/x"]
    return [
        *(Wish("s3:GetObject", arn) for arn in read),
        *(Wish("s3:ListBucket", BUCKET_ARN, {"s3:prefix": arn.removeprefix(f"{BUCKET_ARN}/")}) for arn in read),
        *(Wish("s3:PutObject", arn) for arn in written),
        *(Wish(f"s3:{action}", asset) for action in ("DeleteObject", "AbortMultipartUpload")),
        Wish("s3:ListBucketMultipartUploads", BUCKET_ARN),
    ]


def _arn(uri: str) -> str:
    return f"arn:aws:s3:::{uri.removeprefix('s3://')}"


def test_the_instances_may_do_what_a_step_does_and_nothing_else(recorded: Recorded) -> None:
    policy, wishes = statements(INSTANCES, NAMES), of_a_step(recorded)
    assert [wish for wish in wishes if not allowed(policy, wish)] == []
    assert idle(policy, wishes) == []
    assert loose(policy, wishes) == []
    assert reached(policy, BUCKET_ARN) == PLACES - {f"{BASE}/clusters/*"}
    assert not any(allowed(policy, Wish("s3:PutObject", f"{BASE}/{kept}/a")) for kept in ("code", "deps", "jars"))
    foreign, of_the_bucket = statements(INSTANCES, names("staging", PREFIX, BUCKET)), "s3:ListBucketMultipartUploads"
    assert [wish for wish in wishes if allowed(foreign, wish) and wish.action != of_the_bucket] == []


@pytest.mark.parametrize("rest", ["{}", "{}/production", "a/{}"])
@pytest.mark.parametrize("folder", [*FOLDERS, "doctor-1"])
def test_no_deployment_is_in_a_folder_of_another(folder: str, rest: str) -> None:
    """Of one that is called `team` and has no prefix. What is below its folders its roles may write, so nothing else
    may be there, by the package's word and by the template's."""
    policy, parameters = statements([*DAGSTER, *INSTANCES], names("team", "", BUCKET)), template()["Parameters"]

    def reached_and_refused(base: str) -> tuple[bool, bool, bool]:
        prefix, _, deployment = base.rpartition("/")
        given = {"Prefix": f"{prefix}/", "Deployment": deployment}
        try:
            by_package = base_uri(f"{BUCKET}/{prefix}", deployment, {}) != f"s3://{BUCKET}/{base}"
        except InvalidValue as refused:
            by_package = folder.removesuffix("1") in str(refused)
        by_template = not all(re.fullmatch(parameters[name]["AllowedPattern"], text) for name, text in given.items())
        return allowed(policy, Wish("s3:PutObject", f"{BUCKET_ARN}/{base}/data/x")), by_package, by_template

    inside = f"team/{rest.format(folder)}"
    assert reached_and_refused(inside) == (not rest.startswith("a/"), True, True)
    assert reached_and_refused(inside.replace(folder, "my-" + folder)) == (False, False, False)


def test_every_call_in_the_code_is_allowed_by_name() -> None:
    """Those too that no run made while this was tested."""
    called = set()
    for path in PACKAGE.rglob("*.py"):
        if "emulator" not in path.parts:
            for service, operation in CALL.findall(path.read_text()):
                if service != "s3":
                    called.add(f"{'elasticmapreduce' if service == 'emr' else service}:{action_of(operation)}")
    actions = {action for statement in statements(DAGSTER, NAMES) for action in statement["Action"]}
    of_s3 = {action for action in actions if action.startswith("s3:")}
    assert actions - of_s3 == (called - NEEDS_NO_PERMISSION) | WITH_RUN_JOB_FLOW | CALLED_BY_NAME


def test_the_folders_are_those_that_are_written() -> None:
    folders = re.compile(r'join\((?:base|self\._folder|self\.base), "(\w+)"|\.of\(["\'](\w+)["\']\)|put_file\("(\w+)"')
    texts = [
        path.read_text() for name in ("aws", "backends", "job", "runners") for path in (PACKAGE / name).rglob("*.py")
    ]
    written = {folder for text in texts for found in folders.findall(text) for folder in found if folder}
    table = page("security").partition("## What is written where")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)/", table, re.MULTILINE))
    assert told == written | {"data"}
    assert set(FOLDERS) == told
