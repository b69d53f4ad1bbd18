"""What the template allows, and the security page says, is what the code does, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

import emr_pipelines
from docs.permissions import DAGSTER, INSTANCES, statements
from emr_pipelines.automation.orphans import orphaned_clusters_sensor
from emr_pipelines.cli import main
from emr_pipelines.emr import client, dependencies
from emr_pipelines.emr.client import Aws
from emr_pipelines.emr.objects import Objects
from emr_pipelines.emr.place import base_uri
from emr_pipelines.emr.pricing import PriceList
from emr_pipelines.emr.spec import ClusterSpec
from emr_pipelines.emr.steps import Step
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.storage import Storage
from tests.docs.blocks import page
from tests.docs.policies import ACCOUNT, Wish, allowed, names
from tests.emr.conftest import BUCKET
from tests.runners.bed import PARAMS, Bed, Failed, made
from tests.runners.programs import add_up

PACKAGE = Path(emr_pipelines.__file__).parent
CALL = re.compile(r'\.(?:call|_pages)\(\s*"(\w+)",\s*"(\w+)"')
EMR_PAGES = re.compile(r'emr_pages\(\w+(?:\._aws)?, "(\w+)"')
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
WITH_RUN_JOB_FLOW = {
    "elasticmapreduce:AddTags", "elasticmapreduce:PutAutoTerminationPolicy",
    "elasticmapreduce:PutManagedScalingPolicy", "iam:PassRole",
}  # fmt: skip
CALLED_BY_NAME = {"iam:GetRole", "iam:GetInstanceProfile"}
OF_NO_DEPLOYMENT = {  # AWS has no condition for these that would tell one deployment's calls from another's
    "elasticmapreduce:ListClusters", "elasticmapreduce:DescribeReleaseLabel", "pricing:GetProducts",
    "ec2:DescribeSpotPriceHistory",
}  # fmt: skip
DEPLOYMENT, PREFIX = "production", "team/"
TAG = "emr_pipelines:deployment"
REQUESTED, TAGGED = f"elasticmapreduce:RequestTag/{TAG}", f"elasticmapreduce:ResourceTag/{TAG}"
NAMES = names(DEPLOYMENT, PREFIX, BUCKET)


@dataclass(frozen=True)
class Call:
    """A call to AWS, and the deployment whose tag the cluster had that it was about."""

    service: str
    operation: str
    positional: tuple[Any, ...]
    request: dict[str, Any]
    tag: str

    def wishes(self) -> list[Wish]:
        """What it needs to be allowed. Raises KeyError for a call that nobody has thought about."""
        if self.service == "s3":
            return self._of_s3()
        if self.operation == "run_job_flow":
            return self._of_launch()
        prefix = "elasticmapreduce" if self.service == "emr" else self.service
        action = f"{prefix}:{_action(self.operation)}"
        if self.service == "iam":
            kind, name = next(
                ("role" if key == "RoleName" else "instance-profile", v) for key, v in self.request.items()
            )
            return [Wish(action, f"arn:aws:iam::{ACCOUNT}:{kind}/{name}")]
        if self.tag:
            return [Wish(action, _cluster(self.request), {TAGGED: self.tag})]
        return [] if action in NEEDS_NO_PERMISSION else [Wish(action)]

    def _of_s3(self) -> list[Wish]:
        bucket, key = self.request.get("Bucket"), self.request.get("Key")
        if self.operation == "upload_file":
            _, bucket, key = self.positional
        keys = [key] if key else [found["Key"] for found in self.request.get("Delete", {}).get("Objects", [])]
        found = [
            Wish(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}")
            for action in {
                "get_object": ["GetObject"], "head_object": ["GetObject"], "put_object": ["PutObject"],
                "upload_file": ["PutObject", "AbortMultipartUpload"], "delete_object": ["DeleteObject"],
                "delete_objects": ["DeleteObject"], "list_objects_v2": [],
            }[self.operation]
            for key in keys
        ]  # fmt: skip
        # that an object is not there S3 tells those alone who may list it: what is asked then has s3:prefix too, as
        # https://github.com/ceph/ceph/pull/68577 found
        listed = {"list_objects_v2": self.request.get("Prefix"), "get_object": key, "head_object": key}
        if (prefix := listed.get(self.operation)) is not None:
            found.append(Wish("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": prefix}))
        return found

    def _of_launch(self) -> list[Wish]:
        """Besides RunJobFlow, what EMR does in the caller's name; whether it looks at the tags before or after it has
        set them is not documented, so that both are wanted."""
        requested = {REQUESTED: {tag["Key"]: tag["Value"] for tag in self.request["Tags"]}[TAG]}
        new = f"arn:aws:elasticmapreduce:us-east-1:{ACCOUNT}:cluster/j-NEW"
        found = [Wish("elasticmapreduce:RunJobFlow", "*", requested)]
        for tagged in ({}, {TAGGED: requested[REQUESTED]}):
            found.append(Wish("elasticmapreduce:AddTags", new, {**requested, **tagged}))
            put = [member for member in ("AutoTerminationPolicy", "ManagedScalingPolicy") if member in self.request]
            found += [Wish(f"elasticmapreduce:Put{member}", new, tagged) for member in put]
        for role, service in (("ServiceRole", "elasticmapreduce"), ("JobFlowRole", "ec2")):
            arn = f"arn:aws:iam::{ACCOUNT}:role/{self.request[role]}"
            found.append(Wish("iam:PassRole", arn, {"iam:PassedToService": f"{service}.amazonaws.com"}))
        return found


def _action(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


def _cluster(request: dict[str, Any]) -> str:
    cluster_id = request.get("ClusterId") or request.get("JobFlowId") or request["JobFlowIds"][0]
    return f"arn:aws:elasticmapreduce:us-east-1:{ACCOUNT}:cluster/{cluster_id}"


@dataclass(frozen=True)
class Recorded:
    """All that was called of AWS, and what a cluster was given: the arguments of a step and its task."""

    calls: list[Call]
    arguments: tuple[str, ...]
    task: dict[str, Any]

    def wishes(self) -> list[Wish]:
        return [wish for call in self.calls for wish in call.wishes()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Everything that the Dagster process and the command line do with AWS, done once in the emulator."""
    folder = tmp_path_factory.mktemp("recorded")
    calls: list[Call] = []
    with pytest.MonkeyPatch.context() as monkeypatch, made(folder / "emulator", monkeypatch) as bed:
        emulator, attempt = bed.account.emulator, client.Aws._attempt

        def recording(
            self: Aws, service: str, operation: str, positional: tuple[Any, ...], once: bool, request: dict[str, Any]
        ) -> Any:
            asked = {*request.get("JobFlowIds", []), request.get("ClusterId"), request.get("JobFlowId")}
            found = [cluster for cluster in emulator.clusters() if cluster.id in asked]
            tags = [tag["Value"] for cluster in found for tag in cluster.request["Tags"] if tag["Key"] == TAG]
            calls.append(Call(service, operation, positional, request, "".join(tags)))
            return attempt(self, service, operation, positional, once, request)

        monkeypatch.setattr(client.Aws, "_attempt", recording)
        for name, value in {
            "TARGET": "emr", "BUCKET": f"{BUCKET}/team", "DEPLOYMENT": DEPLOYMENT,
            "SERVICE_ROLE": _name("ServiceRole"), "INSTANCE_PROFILE": _name("InstanceProfile"),
        }.items():  # fmt: skip
            monkeypatch.setenv(f"EMR_PIPELINES_{name}", value)
        bed.settings = {"bucket": ""}
        _run_programs(bed, folder)
        step = next(iter(emulator.clusters()[0].steps.values()))
        (uri,) = (word for word in step.args if word.endswith("/task.json"))
        task = json.loads(bed.account.objects.read(uri) or b"")
        _pack_dependencies(monkeypatch, folder)
        _store()
        _look_after(bed)
        yield Recorded(calls, tuple(step.args), task)


def _run_programs(bed: Bed, folder: Path) -> None:
    for name in ("a.jar", "a.conf", "a.txt"):
        (folder / name).write_text(name)

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        if context.retry_number == 0:
            spark.bring(context, [str(folder)], lambda _: [str(folder / "a.txt")])
            spark.run(context, add_up, PARAMS)
            raise dg.RetryRequested(1)  # which gets another result, so that the first one is deleted
        spark.run(context, add_up, PARAMS)
        with pytest.raises(dg.Failure) as failed:
            spark.run_step(context, Step("long", ("hour",)))
        assert "was not done after 20 minutes" in str(failed.value.description)  # and was cancelled
        bed.account.fault("step_fails", stderr="ValueError: no")
        spark.run_step(context, Step("fails", ("bash",)))

    with pytest.raises(Failed, match="ValueError: no"):
        bed.materialize(
            work,
            cluster={"managed_scaling": {"minimum": 2, "maximum": 4}},
            jars=[str(folder / "a.jar")],
            files=[str(folder / "a.conf")],
            running_minutes=20,
        )


def _pack_dependencies(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    archive = folder / "deps.zip"
    archive.write_bytes(b"")
    monkeypatch.setattr(dependencies, "build", lambda *_: archive)
    dependencies.Dependencies(Objects(Aws()), base_uri()).archive(["any"])


def _store() -> None:
    storage, key = Storage(keep_versions=1), dg.AssetKey("words")
    for run_id in ("1" * 8, "2" * 8):
        with storage.new_version(key, run_id, lineage="mine") as version:
            storage.write(key, version, "a.json", b"{}")
            storage.read(key, version.name, "a.json")
            storage.publish(key, version, "v")
    assert storage.require(key).run_id == "2" * 8
    assert len(storage.prune(key)) == 1


def _look_after(bed: Bed) -> None:
    """The ledger, prices, the sensor, the command line and the doctor."""
    EmrSparkRunner().ledger([])
    prices, now = PriceList(Aws()), datetime.fromtimestamp(bed.clock.now(), timezone.utc)
    prices.usd_per_hour("m5.xlarge", "on demand", "", now)
    prices._spot("m5.xlarge", "", now)  # which is not asked for where there is no price list
    roles = {"service_role": _name("ServiceRole"), "instance_profile": _name("InstanceProfile")}
    request = ClusterSpec.parse(roles).request(
        f"emr-pipelines/{DEPLOYMENT}/run/a", f"{base_uri()}/logs/", {TAG: DEPLOYMENT}
    )
    bed.account.clusters.launch(request)
    ticked: Any = orphaned_clusters_sensor(dg.build_sensor_context(instance=bed.instance))
    assert "Ended cluster" in ticked.skip_message  # by this machine's clock it is old
    cluster_id = bed.account.clusters.launch(request)
    assert cluster_id in CliRunner().invoke(main, ["clusters", "list"]).output
    # as a person may; what is to end it has to switch that off
    bed.account.aws.call("emr", "set_termination_protection", JobFlowIds=[cluster_id], TerminationProtected=True)
    ended = CliRunner().invoke(main, ["clusters", "terminate", "--yes", cluster_id])
    assert ended.exit_code == 0, ended.output
    examined = CliRunner().invoke(main, ["doctor"])
    assert examined.exit_code == 0, examined.output


def _name(resource: str) -> str:
    return NAMES[f"{resource}.Arn"].rpartition("/")[2]


def test_what_was_called_is_allowed(recorded: Recorded) -> None:
    policy = statements(DAGSTER, NAMES)
    assert [wish for wish in recorded.wishes() if not allowed(policy, wish)] == []


def test_nothing_is_allowed_that_was_not_called(recorded: Recorded) -> None:
    policy = statements(DAGSTER, NAMES)
    used = {wish.action for wish in recorded.wishes()}
    assert {action for statement in policy for action in statement["Action"]} == used
    idle = [
        (statement["Sid"], resource)
        for statement in policy
        for resource in statement["Resource"]
        if not any(allowed([{**statement, "Resource": [resource]}], wish) for wish in recorded.wishes())
    ]
    assert idle == []


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


def test_the_instances_may_do_what_a_step_does_and_not_change_what_is_run(recorded: Recorded) -> None:
    policy = statements(INSTANCES, NAMES)
    words = [part for word in recorded.arguments for part in word.split(",") if part.startswith("s3://")]
    sent = [word for word in words if not word.endswith("/task.json")]
    (task,) = set(words) - set(sent)
    attempt = f"{task.rpartition('/')[0]}/attempt-1"
    base = f"s3://{BUCKET}/{PREFIX}{DEPLOYMENT}"
    output, logs = f"{base}/data/words/v/part-0.parquet", f"{base}/logs/j-1/x"
    assert {word.split("/")[5] for word in sent} == {"code", "jars", "files"}
    reads = [*sent, task, f"{attempt}/context.json", output]
    writes = [recorded.task["result"], f"{attempt}/1.json", output, logs]
    assert [uri for uri in reads if not allowed(policy, Wish("s3:GetObject", _arn(uri)))] == []
    assert [uri for uri in writes if not allowed(policy, Wish("s3:PutObject", _arn(uri)))] == []
    kept = [*sent, f"{base}/clusters/a.json", f"{base}/deps/a.zip", f"{base}/inputs/a/a.txt"]
    assert [uri for uri in kept if allowed(policy, Wish("s3:PutObject", _arn(uri)))] == []
    foreign = statements(INSTANCES, names("staging", PREFIX, BUCKET))
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert [uri for uri in [*reads, *writes] if allowed(foreign, Wish(action, _arn(uri)))] == []


def _arn(uri: str) -> str:
    return f"arn:aws:s3:::{uri.removeprefix('s3://')}"


def test_every_call_in_the_code_is_allowed_by_name() -> None:
    """Those too that no run made while this was tested."""
    called = set()
    for path in PACKAGE.rglob("*.py"):
        if "emulator" not in path.parts:
            found = [("emr", operation) for operation in EMR_PAGES.findall(path.read_text())]
            for service, operation in found + CALL.findall(path.read_text()):
                if service != "s3":
                    called.add(f"{'elasticmapreduce' if service == 'emr' else service}:{_action(operation)}")
    actions = {action for statement in statements(DAGSTER, NAMES) for action in statement["Action"]}
    of_s3 = {action for action in actions if action.startswith("s3:")}
    assert actions - of_s3 == (called - NEEDS_NO_PERMISSION) | WITH_RUN_JOB_FLOW | CALLED_BY_NAME


def test_the_folders_are_those_that_are_written() -> None:
    folders = re.compile(r'join\((?:base|self\._folder|self\.base), "(\w+)"|\.of\(["\'](\w+)["\']\)|put_file\("(\w+)"')
    texts = [path.read_text() for name in ("emr", "runners") for path in (PACKAGE / name).rglob("*.py")]
    written = {folder for text in texts for found in folders.findall(text) for folder in found if folder}
    table = page("security").partition("## What is written where")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)/", table, re.MULTILINE))
    assert told == written | {"data"}
