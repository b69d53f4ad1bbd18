"""Every fault of the emulator at every stage and scope, with a program that succeeds and one that fails."""

import itertools
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from boto3 import Session
from dagster_pipes import decode_param
from rehearsal import DURATIONS

from emr_emulator import Emulator, ManualClock, Scripted
from emr_emulator.faults import KINDS, ExpiredToken
from emr_pipelines.assets.publication import AssetEvents, mistakes_as_failures, publish
from emr_pipelines.aws import client
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.names import ScopeKind
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.lineage import lineage
from emr_pipelines.storage import Storage
from tests.account import BUCKET, Account, ended
from tests.emr_env import Clock
from tests.reliability.matrix import ASKED_FROM_THE_START, MATRIX, Cell, Stage, cells, fault_of
from tests.runners.programs import Numbers, add_up

KEY = dg.AssetKey("answer")
RAISED = (
    'Traceback (most recent call last):\n  File "/x/mine.py", line 1, in add_up\n    raise ValueError\nValueError: no\n'
)
GOOD, BAD = Scripted(seconds=30), Scripted(seconds=30, exit_code=1, stdout=RAISED)
IDLE_SECONDS = 900
WHEN_SPOKEN = frozenset({"RUNNING", "COMPLETED"})
# the other scopes triple the time
SCOPES: list[ScopeKind] = ["asset", "run", "pool"] if os.environ.get("WHOLE_MATRIX") else ["run"]
CELLS = list(cells())
# the fast tests, each at its first stage: one fault each of EMR's API, S3, nodes, steps and logs
FAST = {"lost_response", "s3_error SlowDown", "objects_late", "primary_lost", "step_fails", "logs_late"}


def _case(number: int, program: str, scope: ScopeKind) -> Any:
    """Return a test parameter: a cell, with one program in one scope."""
    fault, stage, for_ever, _ = CELLS[number]
    first = next(n for n, (name, *_) in enumerate(CELLS) if name == fault)
    wanted = "bad" if stage is Stage.LOGS else "good"
    fast = fault in FAST and (number, program, scope) == (first, wanted, "run")
    name = f"{fault}-{stage.value}{'-for_ever' * for_ever}-{program}-{scope}".replace(" ", "_")
    return pytest.param(program == "good", *CELLS[number], scope, marks=() if fast else pytest.mark.extended, id=name)


class StagedClock(Clock):
    """Plans a fault when the stage comes at which it is to strike. What programs leave goes through S3, which may show
    it late: a message when they begin and another when they are done, and the result just before."""

    stage: Stage | None = None
    fault: dict[str, Any] | None = None
    objects: Objects
    result_when = frozenset({"COMPLETED"})

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        of_the_run = threading.current_thread() is threading.main_thread()
        if of_the_run:
            self._plan()
        super().pause(seconds, until)
        if of_the_run:
            self._plan()
            self._leave_results()

    def _plan(self) -> None:
        if self.fault and self.stage in self._stages():
            self.emulator.faults.add([self.fault])
            self.fault = None

    def _leave_results(self) -> None:
        if self.result is not None:
            super()._leave_results()
        for cluster in self.emulator.clusters():
            for step in cluster.steps.values():
                if str(step.state) in WHEN_SPOKEN:
                    self._speak(step.args, str(step.state))

    def _speak(self, args: Sequence[str], state: str) -> None:
        folder = decode_param(args[args.index("--dagster-pipes-messages") + 1])["folder"]
        self._leave(f"{folder}/1.json", _message("opened"))
        if state == "COMPLETED":  # a failing program was killed before it could report, so its logs count
            self._leave(f"{folder}/2.json", _message("closed"))

    def _leave(self, uri: str, text: str) -> None:
        if not self._path(uri).exists():
            self.objects.write(uri, text.encode())

    def _stages(self) -> set[Stage]:
        clusters = self.emulator.clusters()
        of_clusters = {"STARTING": {Stage.PROVISION}, "BOOTSTRAPPING": {Stage.BOOTSTRAP}}
        of_steps = {
            "RUNNING": {Stage.RUN},
            "COMPLETED": {Stage.PUBLISH, Stage.TERMINATE},
            "FAILED": {Stage.LOGS, Stage.TERMINATE},
        }
        found = [of_clusters.get(str(cluster.state), set()) for cluster in clusters]
        found += [of_steps.get(str(step.state), set()) for cluster in clusters for step in cluster.steps.values()]
        return set().union(*found)


def _message(method: str) -> str:
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": {}})


def _write_credentials(file: Path, access_key: str) -> None:
    file.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = any\n")


def _of_the_cluster(clock: StagedClock) -> Aws:
    """Return an Aws with the credentials of a cluster's role, which do not expire with the run's."""
    aws = Aws(clock=clock)
    aws._session = Session(aws_access_key_id="CLUSTER", aws_secret_access_key="any", region_name=aws.region)  # noqa: S106
    return aws


@dg.asset
def answer(context: dg.AssetExecutionContext, spark: SparkRunner, storage: Storage) -> AssetEvents:
    with (
        mistakes_as_failures(),
        storage.new_version(context.asset_key, context.run.run_id, lineage(context)) as version,
    ):
        total = spark.run(context, add_up, Numbers((1, 2, 3)))
        storage.write(context.asset_key, version, "total", str(total.total).encode())
        yield from publish(context, storage, version, str(total.total), [], {})


class EmrEnv:
    """An emulated account with a published version, in which a test runs one asset."""

    def __init__(
        self,
        emulator: Emulator,
        clock: StagedClock,
        instance: dg.DagsterInstance,
        monkeypatch: pytest.MonkeyPatch,
        credentials: Path,
    ) -> None:
        self.monkeypatch, self.credentials = monkeypatch, credentials
        self.account, self.clock, self.instance = Account(emulator, clock), clock, instance
        clock.objects = Objects(_of_the_cluster(clock))
        self.storage = Storage(uri=f"s3://{BUCKET}/default/data")
        with self.storage.new_version(KEY, "before", "before") as version:
            self.storage.write(KEY, version, "total", b"before")
            self.before = self.storage.publish(KEY, version, "before")

    def run(self, scope: ScopeKind) -> tuple[str, str]:
        """Run; return the kind of the failure, and its message."""
        runner = EmrSparkRunner(
            bucket=BUCKET, ship_dependencies=False, scope=scope, retries=1, retry_delay_seconds=0,
            log_wait_seconds=600, provisioning_minutes=20,
            cluster={
                "bootstrap_actions": [{"name": "install", "path": "s3://b/i.sh"}],
                "idle_timeout_seconds": IDLE_SECONDS,
            },
        )  # fmt: skip
        resources = {"spark": runner, "storage": self.storage}
        run = dg.materialize([answer], resources=resources, instance=self.instance, raise_on_error=False)
        said, kind = "", ""
        if not run.success:
            (event,) = run.get_step_failure_events()
            failure = event.step_failure_data.user_failure_data
            assert failure is not None, event.step_failure_data.error
            said = failure.description or ""
            kind = str(failure.metadata["kind"].value) if "kind" in failure.metadata else ""
        return kind, said

    def expire(self, access_key: str, rotated: bool) -> None:
        """Take the credentials from a file, where there are others as soon as the first are refused, if `rotated`."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            self.monkeypatch.delenv(name, raising=False)
        self.monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self.credentials))
        _write_credentials(self.credentials, access_key)
        self.storage = Storage(uri=self.storage.uri)  # with a session of its own
        if rotated:
            said = f"fault {ExpiredToken.model_fields['fault'].default}"
            faults, say = self.account.emulator.faults, self.account.emulator.faults._say

            def rotate(line: str) -> None:
                if line.startswith(said):
                    _write_credentials(self.credentials, "NEW")
                say(line)

            self.monkeypatch.setattr(faults, "_say", rotate)

    def published(self) -> str:
        found = self.storage.require(KEY)
        text = self.storage.read(KEY, found.version, "total").decode()
        assert text == found.data_version
        return text


@pytest.fixture
def emr_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[EmrEnv]:
    script = GOOD if request.param else BAD
    folder = tmp_path / "emulator"
    with (
        Emulator(folder, clock=ManualClock(), durations=DURATIONS, scripted={"spark-submit": script}) as emulator,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        emulator.create_bucket(BUCKET)
        clock = StagedClock(emulator)
        clock.result = {"total": 6} if request.param else None
        monkeypatch.setattr(client, "SystemClock", lambda: clock)
        yield EmrEnv(emulator, clock, instance, monkeypatch, tmp_path / "credentials")


@pytest.mark.parametrize(
    ("emr_env", "fault", "stage", "for_ever", "cell", "scope"),
    [_case(*which) for which in itertools.product(range(len(CELLS)), ("good", "bad"), SCOPES)],
    indirect=["emr_env"],
)
def test_what_becomes_of_a_run(
    emr_env: EmrEnv, fault: str, stage: Stage, for_ever: bool, cell: Cell, scope: ScopeKind
) -> None:
    program = "bad" if emr_env.clock.result is None else "good"
    expected = cell.outcome(program, scope)
    planned = fault_of(fault, cell, for_ever)
    if "access_key" in planned:
        emr_env.expire(planned["access_key"], rotated=not for_ever)
    by_call = {"operation", "key", "access_key"} & set(planned)
    if stage in ASKED_FROM_THE_START or not by_call or planned["fault"] == "objects_late":
        emr_env.account.emulator.faults.add([planned])
    else:
        emr_env.clock.stage, emr_env.clock.fault = stage, planned
    kind, said = emr_env.run(scope)
    struck = emr_env.account.emulator.faults.struck(planned["fault"])
    assert bool(struck) != bool(cell.misses.keys() & {program, scope}), f"{struck} strikes"
    clusters = emr_env.account.emulator.clusters()
    assert (not said) == expected.succeeds, said
    assert expected.reads in said
    assert kind == expected.kind, said
    assert len(clusters) == expected.clusters
    assert sum(len(cluster.steps) for cluster in clusters) == expected.steps
    if scope != "pool" and not cell.idles:
        assert ended(emr_env.account), emr_env.account.states()
    emr_env.account.emulator.faults.clear()
    assert emr_env.published() == ("6" if expected.succeeds else "before")
    emr_env.account.emulator.advance(2 * IDLE_SECONDS + DURATIONS.termination)
    assert ended(emr_env.account)


OF_SERVERLESS = {"job_run_fails", "job_run_hangs"}  # tests/runners/test_emr_serverless.py has them


def test_no_fault_and_no_stage_is_forgotten() -> None:
    assert {name.partition(" ")[0] for name in MATRIX} == set(KINDS) - OF_SERVERLESS
    for row in MATRIX.values():
        assert set(row) == set(Stage)
