"""The secrets of the Dagster process go nowhere: not to EMR, not to S3, not into the event log, not to a terminal."""

import uuid
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from emr_pipelines.cli import main
from emr_pipelines.emr import client
from emr_pipelines.emr.steps import hive_script, shell_command
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from tests.emr.conftest import BUCKET
from tests.runners.bed import PARAMS, Bed, Failed
from tests.runners.programs import Numbers, Total, add_up

SENTINEL = uuid.uuid4().hex  # not written here, for the tests travel as a program's package
SECRETS = {
    name: f"{SENTINEL}{number}"
    for number, name in enumerate(("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DB_PASSWORD"))
}
IN_ERRORS = f"Could not connect to postgres://me:{SECRETS['DB_PASSWORD']}@db/x"


class Watched:
    """What was sent and told in a bed, with secrets in the environment."""

    def __init__(self, bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bed = bed
        self.sent: list[str] = []
        self.printed: list[str] = []
        attempt = client.Aws._attempt

        def recording(aws: client.Aws, service: str, operation: str, *rest: Any) -> Any:
            self.sent.append(f"{service}.{operation} {rest!r}")
            return attempt(aws, service, operation, *rest)

        monkeypatch.setattr(client.Aws, "_attempt", recording)
        monkeypatch.setenv("EMR_PIPELINES_BUCKET", BUCKET)
        for name, value in SECRETS.items():
            monkeypatch.setenv(name, value)

    def command(self, *words: str) -> None:
        self.printed.append(CliRunner().invoke(main, words).output)

    def places(self) -> dict[str, list[str]]:
        """All that others may read, by where it is."""
        instance, root = self.bed.instance, self.bed.account.emulator.root / "buckets"
        runs = instance.get_runs()
        return {
            "a request": self.sent,
            "the terminal": self.printed,
            "a run": [repr(run) for run in runs],
            "an event": [repr(entry) for run in runs for entry in instance.all_logs(run.run_id)],
            "a cluster": [repr(cluster.request) for cluster in self.bed.account.emulator.clusters()],
            "an object": [repr(path.read_bytes()) for path in root.rglob("*") if path.is_file()],
            "a key": [str(path) for path in root.rglob("*")],
        }

    def leaks(self) -> list[str]:
        """Where a secret was found."""
        return [f"{place}: {text}" for place, texts in self.places().items() for text in texts if SENTINEL in text]


@pytest.fixture
def watched(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(bed, monkeypatch)


def test_runs_that_go_well_and_badly_and_the_command_line_tell_no_secret(watched: Watched) -> None:
    bed = watched.bed

    def badly(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        assert spark.run(context, add_up, PARAMS) == Total(6)
        bed.account.fault("s3_error", operation="PutObject", code="AccessDenied", times=1)
        with pytest.raises(dg.Failure):
            spark.run(context, add_up, Numbers((4,)))
        bed.account.fault("step_fails", message=IN_ERRORS, stderr="")
        spark.run_step(context, shell_command("load", "true"))

    with pytest.raises(Failed, match=r"postgres://\*\*\*@db/x"):  # what EMR says is shown without it
        bed.materialize(badly)
    for words in (["doctor"], ["clusters", "list"], ["clusters", "terminate", "--yes", "j-NONE"]):
        watched.command(*words)
    assert [place for place, texts in watched.places().items() if not texts] == []
    assert watched.leaks() == []


@pytest.mark.parametrize(
    "work",
    [
        lambda context, spark: spark.run(context, add_up, Numbers((1,), SECRETS["DB_PASSWORD"])),
        lambda context, spark: spark.run_step(context, shell_command("load", f"psql {SECRETS['DB_PASSWORD']}")),
        lambda context, spark: spark.run_step(
            context, hive_script("query", "s3://b/q.hql", {"x": SECRETS["AWS_SESSION_TOKEN"]})
        ),
        lambda context, spark: spark.run_step(context, shell_command(SECRETS["DB_PASSWORD"], "true")),
    ],
    ids=["a parameter", "a command", "a variable", "a name"],
)
def test_what_a_run_would_send_is_refused_before_there_is_a_cluster(
    watched: Watched, work: Callable[[dg.AssetExecutionContext, EmrSparkRunner], Any]
) -> None:
    with pytest.raises(
        Failed, match=r"would hold the value of the environment variable (DB_PASSWORD|AWS_SESSION_TOKEN)"
    ):
        watched.bed.materialize(work)
    assert watched.bed.account.emulator.clusters() == []
    assert watched.leaks() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"spark_config": {"spark.innocent": SECRETS["DB_PASSWORD"]}},
        {"cluster": {"tags": {"innocent": SECRETS["DB_PASSWORD"]}}},
        {"cluster": {"configurations": {"spark-defaults": {"spark.innocent": SECRETS["DB_PASSWORD"]}}}},
        {"cluster": {"extra": {"AdditionalInfo": SECRETS["DB_PASSWORD"]}}},
    ],
    ids=["spark_config", "tags", "configurations", "extra"],
)
def test_so_is_what_was_set_by_another_name(watched: Watched, settings: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="would hold the value of the environment variable DB_PASSWORD"):
        watched.bed.run(**settings)
    assert watched.bed.account.emulator.clusters() == []
    assert watched.leaks() == []


def test_run_config_with_one_by_its_name_fails_in_one_sentence_without_it(watched: Watched) -> None:
    @dg.asset
    def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        spark.run(context, add_up, PARAMS)

    result = dg.materialize(
        [answer],
        resources={"spark": EmrSparkRunner.configure_at_launch()},
        run_config={
            "resources": {"spark": {"config": {"spark_config": {"fs.s3a.secret.key": {"env": "DB_PASSWORD"}}}}}
        },
        instance=watched.bed.instance,
        raise_on_error=False,
    )
    assert not result.success
    events = [repr(entry) for entry in watched.bed.instance.all_logs(result.run_id)]
    assert any("spark_config.fs.s3a.secret.key is '***'; allowed: nothing that is called" in event for event in events)
    assert watched.leaks() == []
