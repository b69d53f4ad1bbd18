"""The remote runner needs only a Backend; here it has one in memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest
from pydantic import PrivateAttr

from emr_pipelines.aws.objects import Objects
from emr_pipelines.backends.base import Backend, End, Handle, JobState, JobStatus
from emr_pipelines.diagnosis.cause import diagnose
from emr_pipelines.diagnosis.evidence import Evidence, ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import AwsError
from emr_pipelines.job.package import Job, Submission
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.remote.entrypoint import Task
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.remote import RemoteSparkRunner
from tests.account import BUCKET
from tests.emr_env import EmrEnv, emr_env
from tests.runners.programs import Numbers, Total, add_here, fails

__all__ = ["emr_env"]

LIFE = (JobState.PROVISIONING, JobState.QUEUEING, JobState.RUNNING, JobState.SUCCEEDED)


@dataclass
class InMemory:
    """A backend that runs programs in this process, one state per poll. stuck_in: a state that never ends."""

    objects: Objects
    jobs: dict[str, tuple[Job, list[JobState]]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    raised: str = ""
    stuck_in: JobState | None = None

    def check(self, job: Job) -> None:
        self.calls.append(f"check {job.label}")

    def find(self, job: Job) -> Handle | None:
        self.calls.append("find")
        return next((Handle(id_) for id_, (known, left) in self.jobs.items() if known == job and left), None)

    def submit(self, job: Job, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Handle:  # noqa: ARG002
        self.calls.append(f"submit {attempt}")
        self.jobs[f"job-{len(self.jobs)}"] = (job, list(LIFE))
        return Handle(f"job-{len(self.jobs) - 1}", attempt)

    def poll(self, handle: Handle) -> JobStatus:
        job, left = self.jobs[handle.id]
        state = left[0] if left[0] is self.stuck_in else left.pop(0)
        self.calls.append(str(state))
        if state is JobState.RUNNING and state is not self.stuck_in:
            self._run(job.task, job.result)
        return JobStatus(JobState.FAILED if self.raised else state, str(state), f"Waiting for {handle.id}")

    def _run(self, task: Task, result: str) -> None:
        program = codec.load(task.program)
        try:
            found = program(None, codec.decode(annotation_of(program, "params"), task.params, "params"))
        except Exception as error:  # noqa: BLE001 (whatever a program raises)
            self.raised = f"{type(error).__name__}: {error}"
        else:
            self.objects.write(result, json.dumps({"result": codec.encode(found, "result")}).encode())

    def cancel(self, handle: Handle, *, hurry: bool = False) -> None:
        self.calls.append(f"cancel {handle.id}{' in a hurry' * hurry}")

    def explain(
        self, handle: Handle, end: End, exception: RemoteException | None, package: str, *, alone: bool
    ) -> ProbableCause:
        self.calls.append(f"explain {handle.id}, {end.timed_out}, {exception}, {package}, {alone}")
        name = self.raised.partition(":")[0]
        return diagnose(Evidence(exception=RemoteException(name, self.raised, ()) if name else None))


class InMemoryRunner(RemoteSparkRunner):
    _backend: InMemory | None = PrivateAttr(default=None)

    @contextmanager
    def backend(self, context: dg.AssetExecutionContext, identity: str) -> Iterator[Backend]:  # noqa: ARG002
        assert self._backend is not None
        yield self._backend

    def submission(self) -> Submission:
        return Submission(ship_dependencies=False)

    def sought_on(self) -> Sequence[Any]:
        return ("memory",)


@dataclass
class Outcome:
    success: bool
    results: list[Any]
    failure: str


def materialize(emr_env: EmrEnv, backend: InMemory, program: Any = add_here, **settings: Any) -> Outcome:
    results: list[Any] = []

    @dg.asset
    def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        assert isinstance(spark, InMemoryRunner)
        spark._backend = backend
        results.append(spark.run(context, program, Numbers((1, 2, 3))))

    runner = InMemoryRunner(bucket=BUCKET, retries=0, **settings)
    run = dg.materialize([answer], resources={"spark": runner}, instance=emr_env.instance, raise_on_error=False)
    data = None if run.success else run.get_step_failure_events()[-1].step_failure_data
    described = data.user_failure_data.description if data and data.user_failure_data else ""
    return Outcome(run.success, results, described or "")


@pytest.fixture
def backend(emr_env: EmrEnv) -> InMemory:
    return InMemory(emr_env.account.objects)


def test_a_program_runs_and_its_result_comes_back(emr_env: EmrEnv, backend: InMemory) -> None:
    outcome = materialize(emr_env, backend)
    assert (outcome.success, outcome.results) == (True, [Total(6)])
    assert backend.calls == [
        "check answer", "find", "submit 1", "provisioning", "queueing", "running", "succeeded"
    ]  # fmt: skip
    assert emr_env.account.emr_calls() == 0


def test_an_exception_is_explained(emr_env: EmrEnv, backend: InMemory) -> None:
    outcome = materialize(emr_env, backend, fails)
    assert outcome.failure.startswith("The program raised ")
    assert backend.calls[-1] == "explain job-0, None, None, tests, False"


def test_a_deadline_cancels_the_job(emr_env: EmrEnv, backend: InMemory) -> None:
    backend.stuck_in = JobState.RUNNING
    assert not materialize(emr_env, backend, running_minutes=2).success
    assert backend.calls[-2:] == ["cancel job-0", "explain job-0, running, None, tests, False"]


@pytest.mark.parametrize(("error", "hurry"), [(AwsError("AWS is ill."), ""), (KeyboardInterrupt(), " in a hurry")])
def test_a_wait_that_breaks_off_cancels_the_job(
    emr_env: EmrEnv, backend: InMemory, monkeypatch: pytest.MonkeyPatch, error: BaseException, hurry: str
) -> None:
    def breaks(*_: object) -> JobStatus:
        raise error

    monkeypatch.setattr(InMemory, "poll", breaks)
    try:
        assert not materialize(emr_env, backend).success
    except KeyboardInterrupt:
        assert hurry
    assert backend.calls[-1] == f"cancel job-0{hurry}"
