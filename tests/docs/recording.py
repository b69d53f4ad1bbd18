"""Record every kind of AWS call of the Dagster process, and the permissions that each needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from emr_pipelines.automation.orphans import orphaned_clusters_sensor
from emr_pipelines.aws import client
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.deployment import base_uri
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.cli import main
from emr_pipelines.costs.pricing import PriceList
from emr_pipelines.job import wheels as dependencies
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.ledger import CostLedger
from emr_pipelines.storage import Storage
from tests.account import BUCKET
from tests.docs.policies import ACCOUNT, KEY, Wish, names
from tests.emr_env import PARAMS, EmrEnv, Failed, made
from tests.runners.programs import add_up

NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
DEPLOYMENT, PREFIX = "production", "team/"
NAMES = names(DEPLOYMENT, PREFIX, BUCKET)
TAG = "emr_pipelines:deployment"
REQUESTED, TAGGED = f"elasticmapreduce:RequestTag/{TAG}", f"elasticmapreduce:ResourceTag/{TAG}"


@dataclass(frozen=True)
class Call:
    """A call to AWS, and the deployment in the tag of its cluster."""

    service: str
    operation: str
    positional: tuple[Any, ...]
    request: dict[str, Any]
    tag: str

    def wishes(self) -> list[Wish]:
        """Return the permissions that it needs. Raises KeyError for a call without an entry here."""
        if self.service == "s3":
            return self._of_s3()
        if self.operation == "run_job_flow":
            return self._of_launch()
        prefix = "elasticmapreduce" if self.service == "emr" else self.service
        action = f"{prefix}:{action_of(self.operation)}"
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


def action_of(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


def _cluster(request: dict[str, Any]) -> str:
    cluster_id = request.get("ClusterId") or request.get("JobFlowId") or request["JobFlowIds"][0]
    return f"arn:aws:elasticmapreduce:us-east-1:{ACCOUNT}:cluster/{cluster_id}"


@dataclass(frozen=True)
class Recorded:
    """All calls to AWS, and what a cluster received: the arguments of a step and its task."""

    calls: list[Call]
    arguments: tuple[str, ...]
    task: dict[str, Any]

    def wishes(self) -> list[Wish]:
        return [wish for call in self.calls for wish in call.wishes()]


def record(folder: Path) -> Recorded:
    """Do everything that the Dagster process and the command line do with AWS, in the emulator."""
    calls: list[Call] = []
    with pytest.MonkeyPatch.context() as monkeypatch, made(folder / "emulator", monkeypatch) as emr_env:
        emulator, attempt = emr_env.account.emulator, client.Aws._attempt

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
            "KMS_KEY": KEY,
        }.items():  # fmt: skip
            monkeypatch.setenv(f"EMR_PIPELINES_{name}", value)
        emr_env.settings = {"bucket": ""}
        _run_programs(emr_env, folder)
        step = next(iter(emulator.clusters()[0].steps.values()))
        (uri,) = (word for word in step.args if word.endswith("/task.json"))
        task = json.loads(emr_env.account.objects.read(uri) or b"")
        _pack_dependencies(monkeypatch, folder)
        _store()
        _look_after(emr_env)
        return Recorded(calls, tuple(step.args), task)


def _run_programs(emr_env: EmrEnv, folder: Path) -> None:
    for name in ("a.jar", "a.conf", "a.txt"):
        (folder / name).write_text(name)

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        if context.retry_number == 0:
            spark.stage_inputs(context, [str(folder / "a.txt")])
            spark.run(context, add_up, PARAMS)
            raise dg.RetryRequested(1)  # which gets another result, so that the first one is deleted
        spark.run(context, add_up, PARAMS)
        with pytest.raises(dg.Failure) as failed:
            spark.run_step(context, Step("long", ("hour",)))
        assert "was not done after 20 minutes" in str(failed.value.description)  # and was cancelled
        emr_env.account.fault("step_fails", stderr="ValueError: no")
        spark.run_step(context, Step("fails", ("bash",)))

    with pytest.raises(Failed, match="ValueError: no"):
        emr_env.materialize(
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
        with storage.new_version(key, run_id, work="mine") as version:
            storage.write(key, version, "a.json", b"{}")
            storage.read(key, version.name, "a.json")
            storage.publish(key, version, "v")
    assert storage.require(key).run_id == "2" * 8
    assert len(storage.prune(key)) == 1


def _look_after(emr_env: EmrEnv) -> None:
    """Use the ledger, prices, the sensor, the command line and the doctor."""
    CostLedger().entries([])
    prices, now = PriceList(Aws()), datetime.fromtimestamp(emr_env.clock.now(), timezone.utc)
    prices.usd_per_hour("m5.xlarge", "on demand", "", now)
    prices._spot("m5.xlarge", "", now)  # which is not asked for where there is no price list
    roles = {"service_role": _name("ServiceRole"), "instance_profile": _name("InstanceProfile")}
    request = ClusterSpec.parse(roles).request(
        f"emr-pipelines/{DEPLOYMENT}/run/a", f"{base_uri()}/logs/", {TAG: DEPLOYMENT}
    )
    emr_env.account.clusters.launch(request)
    emr_env.account.emulator.advance(700)
    ticked: Any = orphaned_clusters_sensor(dg.build_sensor_context(instance=emr_env.instance))
    assert "Ended cluster" in ticked.skip_message
    cluster_id = emr_env.account.clusters.launch(request)
    assert cluster_id in CliRunner().invoke(main, ["clusters", "list"]).output
    # as a person may do; the protection must be removed before the termination
    emr_env.account.aws.call("emr", "set_termination_protection", JobFlowIds=[cluster_id], TerminationProtected=True)
    ended = CliRunner().invoke(main, ["clusters", "terminate", "--yes", cluster_id])
    assert ended.exit_code == 0, ended.output
    examined = CliRunner().invoke(main, ["doctor"])
    assert examined.exit_code == 0, examined.output


def _name(resource: str) -> str:
    return NAMES[f"{resource}.Arn"].rpartition("/")[2]
