"""A retry whose program may still run on a cluster writes the same version, if it is the same work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.assets.program import program_asset
from emr_pipelines.backends.emr.backend import EmrBackend
from emr_pipelines.errors import CredentialsMissing, EmrPipelinesError, StepFailed, Unreachable
from emr_pipelines.job import package as shipment
from emr_pipelines.job.artifacts import Archive
from emr_pipelines.remote.files import _bucket
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.storage import Storage
from tests.account import BUCKET
from tests.assets.test_program import failure
from tests.assets.test_publication import Out, Total
from tests.emr_env import EmrEnv, emr_env

__all__ = ["emr_env"]

KEY = dg.AssetKey("add_up")
URI = f"s3://{BUCKET}/data"


@pytest.fixture(autouse=True)
def buckets_of_this_emulator() -> Iterator[None]:
    """Clear the cache of pyarrow's file systems, which point to an earlier test's emulator."""
    _bucket.cache_clear()
    yield
    _bucket.cache_clear()


class Killed(BaseException):
    """Stands for SIGKILL."""


def add_up(spark: Any, params: Out) -> Total: ...  # type: ignore[empty-body]


@dataclass(frozen=True)
class Digested:
    total: int
    digest: str


def count(spark: Any, params: Out) -> Digested: ...  # type: ignore[empty-body]


def attempt(
    emr_env: EmrEnv, how: str = "well", retry_of: str = "", program: Callable[..., Any] = add_up, **settings: Any
) -> dg.ExecuteInProcessResult:
    tags = {"dagster/parent_run_id": retry_of, "dagster/root_run_id": retry_of, "dagster/is_resume_retry": "true"}
    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, log_wait_seconds=0, **settings)
    return dg.materialize(
        [program_asset(program, writes="output", name="add_up", may_be_empty=True)],
        resources={"spark": runner, "storage": Storage(uri=URI)},
        run_config={"ops": {"add_up": {"config": {"how": how}}}},
        instance=emr_env.instance,
        raise_on_error=False,
        tags=tags if retry_of else {},
    )


def kill_while_the_step_runs(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run until the step exists, then die like a killed process; return the run's id."""

    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(EmrBackend, "poll", killed)
        patch.setattr(EmrBackend, "cancel", lambda *_, **__: None)
        patch.setattr(EmrSparkRunner, "teardown_after_execution", lambda *_: None)
        assert not attempt(emr_env).success
    (run,) = emr_env.instance.get_runs()
    return run.run_id


def written_by(emr_env: EmrEnv) -> list[str]:
    """Return the version that each step writes, oldest step first."""
    steps = [step for cluster in emr_env.account.emulator.clusters() for step in cluster.steps.values()]
    tasks = [next(word for word in step.args if word.endswith("/task.json")) for step in steps]
    texts = [(emr_env.account.objects.read(task) or b"").decode() for task in tasks]
    return [text.split("/data/add_up/")[1].split('"')[0] for text in texts]


def published() -> str:
    return Storage(uri=URI).require(KEY).version


def end_clusters(emr_env: EmrEnv) -> None:
    for cluster in emr_env.account.emulator.clusters():
        emr_env.account.clusters.terminate(cluster.id)
    emr_env.account.emulator.advance(1000)


def test_a_retry_of_the_same_work_takes_the_step_and_its_version_up(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kill_while_the_step_runs(emr_env, monkeypatch)
    assert attempt(emr_env, retry_of=first).success
    assert written_by(emr_env) == [published()]  # one step


@pytest.mark.parametrize(
    "changed",
    [
        {"how": "otherwise"},
        {"spark_config": {"spark.sql.ansi.enabled": "true"}},
        {"cluster": {"core": {"type": "r5.4xlarge", "count": 8}}},  # where the step is not searched
        {"scope": "pool"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_retry_of_other_work_writes_another_version(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    first = kill_while_the_step_runs(emr_env, monkeypatch)
    assert attempt(emr_env, retry_of=first, **changed).success
    orphaned, retried = written_by(emr_env)
    assert orphaned != retried == published()
    end_clusters(emr_env)


def test_a_retry_with_other_code_writes_another_version(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kill_while_the_step_runs(emr_env, monkeypatch)
    monkeypatch.setattr(shipment, "code_archive", lambda *_: Archive(b"a new deployment", "0" * 64))
    assert attempt(emr_env, retry_of=first).success
    orphaned, retried = written_by(emr_env)
    assert orphaned != retried == published()


@pytest.mark.parametrize("error", [Unreachable("AWS is silent."), CredentialsMissing("They expired.", "ExpiredToken")])
def test_a_step_that_was_lost_sight_of_keeps_its_version(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, error: EmrPipelinesError
) -> None:
    """The step could not be cancelled, and the retry finds it."""
    poll, errors = EmrBackend.poll, [error]

    def silent(*_: Any, **__: Any) -> Any:
        raise Unreachable("AWS is silent.")

    def polled(self: EmrBackend, *arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return poll(self, *arguments)

    monkeypatch.setattr(EmrBackend, "poll", polled)
    monkeypatch.setattr(EmrBackend, "cancel", silent)
    assert attempt(emr_env, retries=1, retry_delay_seconds=0).success
    assert written_by(emr_env) == [published()]  # one step


def test_a_step_that_failed_leaves_no_version(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise StepFailed("It failed.")

    monkeypatch.setattr(EmrBackend, "poll", fails)
    assert failure(attempt(emr_env, retries=0)).startswith("It failed.")
    assert emr_env.account.objects.names(f"{URI}/add_up") == []


def test_what_a_retry_finds_published_by_itself_is_not_called_unchanged(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt was killed between the publication and its event."""

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    emr_env.clock.result = {"total": 6, "digest": "equal"}
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "prune", killed)
        assert not attempt(emr_env, program=count).success
    (run,) = emr_env.instance.get_runs()
    first = published()
    retried, again = attempt(emr_env, program=count, retry_of=run.run_id), attempt(emr_env, program=count)
    told = [result.asset_materializations_for_node("add_up")[0].metadata for result in (retried, again)]
    assert [metadata["version"].value for metadata in told] == [first, published()]
    assert [metadata["unchanged"].value for metadata in told] == [False, True]
