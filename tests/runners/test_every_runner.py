"""What every runner promises: the same programs give the same results, log lines and failures in every place.

Local Spark runs them in this process. EMR and EMR Serverless are emulated, and really run spark-submit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from emr_emulator import Durations, Emulator
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.emr_serverless import EmrServerlessSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from tests.runners.programs import (
    Anything,
    Numbers,
    Total,
    add_here,
    add_up,
    asks_for_a_setting,
    exits,
    fails,
    fails_in_a_worker,
    leaves_things_behind,
    lists_files_beside_the_code,
    reads_what_is_missing,
    returns_no_json,
    returns_the_wrong_kind,
    talks,
)
from tests.serverless_env import ROLE
from tests.test_on_emr import with_spark
from tests.tiers import extended

BUCKET = "every-runner"
SETTINGS = {"spark.sql.shuffle.partitions": "17"}
NUMBERS = Numbers((1, 2, 3), note="two")
MOMENT = Durations(
    provisioning=0, bootstrapping=0, termination=0, application_creation=0, application_start=0, application_stop=0,
    worker_start=0, log_push_interval=0.5,
)  # fmt: skip
AWS: dict[str, Any] = {"bucket": BUCKET, "ship_dependencies": False, "retries": 0, "log_wait_seconds": 30}


def on_emr() -> SparkRunner:
    return EmrSparkRunner(**AWS, cluster={"python": "python3"}, spark_config=SETTINGS)


def on_emr_serverless() -> SparkRunner:
    application = {"preset": "small", "python": "python3"}
    return EmrServerlessSparkRunner(**AWS, application=application, execution_role=ROLE, spark_config=SETTINGS)


def on_this_machine() -> SparkRunner:
    return LocalSparkRunner(spark_config=SETTINGS)


PLACES = {"local": on_this_machine, "emr": on_emr, "emr-serverless": on_emr_serverless}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with with_spark(tmp_path_factory.mktemp("emulator"), MOMENT) as emulator:
        emulator.create_bucket(BUCKET)
        yield emulator


@pytest.fixture(params=["local", extended("emr"), extended("emr-serverless")])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], SparkRunner]]:
    """The runner of a place. Afterwards nothing runs there."""
    if request.param == "local":
        request.getfixturevalue("spark")
        yield PLACES[request.param]
        return
    account: Emulator = request.getfixturevalue("account")
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    yield PLACES[request.param]
    assert {str(cluster.state) for cluster in account.clusters()} <= {"TERMINATED"}
    runs = [run for application in account.applications() for run in application.runs.values()]
    assert {str(run.state) for run in runs} <= {"SUCCESS", "FAILED"}


@dataclass(frozen=True)
class Story:
    """A program, and how it ends everywhere. fails, told: parts of the failure's message.

    runs_here: local Spark runs it all the same, and warns of what it would say elsewhere.
    """

    program: Callable[..., Any]
    params: Numbers = NUMBERS
    result: Any = None
    logs: tuple[str, ...] = ()
    fails: str = ""
    kind: str = ""
    told: tuple[str, ...] = ()
    runs_here: bool = False


STORIES = {
    "a result": Story(add_up, result=Total(6), logs=("adding 3 numbers",)),
    "lines": Story(talks, result=Total(12), logs=("first", "second half", "naïve — 12")),
    "a setting": Story(asks_for_a_setting, result=Anything("17")),
    "files beside the code": Story(lists_files_beside_the_code, result=Anything(["naïve words\n"] * 2)),
    "an exception": Story(
        fails,
        logs=("about to fail on (1, 2, 3)",),
        fails="The program raised ValueError: no good: two.\nRetrying will not help",
        kind="USER_EXCEPTION",
        told=('raise ValueError(f"no good: {params.note}")', "programs.py"),
    ),
    "an exception in a worker": Story(
        fails_in_a_worker,
        fails="The program raised ValueError: invalid literal for int() with base 10: 'two'.\n",
        kind="USER_EXCEPTION",
        told=("return int(word)",),
    ),
    "input that is missing": Story(
        reads_what_is_missing,
        fails="The program's input does not exist: AnalysisException: [PATH_NOT_FOUND]",
        kind="INPUT_MISSING",
    ),
    "an exit with a code": Story(
        exits, Numbers((3,)), fails="exits called sys.exit(3) and returned no result. Return the result to succeed"
    ),
    "an exit that says all is well": Story(
        exits, Numbers((0,)), fails="exits called sys.exit(0) and returned no result. Return the result to succeed"
    ),
    "a result that is no JSON": Story(returns_no_json, fails="result.value is {1, 2}", runs_here=True),
    "a result of another kind": Story(returns_the_wrong_kind, fails="result.total is 'six'", runs_here=True),
    "parameters that are no JSON": Story(
        add_here, Numbers((1, True)), fails="params.values[1] is True", runs_here=True
    ),
    "a lambda": Story(lambda spark, params: Total(0), fails="<lambda> is a lambda", runs_here=True),  # noqa: ARG005
}


@dataclass
class Outcome:
    """How a run ended. failure: the message that a user reads."""

    results: list[Any] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    failure: str = ""
    kind: str = ""


def run(instance: dg.DagsterInstance, place: Callable[[], SparkRunner], *stories: Story) -> Outcome:
    outcome = Outcome()

    @dg.asset
    def probe(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        for story in stories:
            outcome.results.append(spark.run(context, story.program, story.params))

    ended = dg.materialize([probe], instance=instance, resources={"spark": place()}, raise_on_error=False)
    outcome.lines = [line for entry in instance.all_logs(ended.run_id) for line in entry.user_message.splitlines()]
    if not ended.success:
        data = ended.get_step_failure_events()[-1].step_failure_data
        assert data.error
        outcome.failure = str(data.error.cause or data.error)
        if data.user_failure_data:
            outcome.failure = data.user_failure_data.description or ""
            if "kind" in data.user_failure_data.metadata:
                outcome.kind = str(data.user_failure_data.metadata["kind"].value)
    return outcome


@pytest.mark.parametrize("name", STORIES)
def test_a_program_ends_everywhere_as_it_does_here(
    name: str, place: Callable[[], SparkRunner], instance: dg.DagsterInstance
) -> None:
    story = STORIES[name]
    outcome = run(instance, place, story)
    if story.runs_here and place is on_this_machine:
        assert outcome.failure == ""
        assert [line for line in outcome.lines if line.startswith("This program runs with local Spark only: ")]
        assert [line for line in outcome.lines if story.fails in line]
        return
    if story.fails:
        assert story.fails in outcome.failure
        assert outcome.results == []
    else:
        assert (outcome.failure, outcome.results) == ("", [story.result])
    assert outcome.kind == story.kind or not story.kind
    assert [part for part in story.told if part not in outcome.failure] == []
    assert [line for line in outcome.lines if line in story.logs] == list(story.logs)


def test_a_program_leaves_nothing_to_the_next(place: Callable[[], SparkRunner], instance: dg.DagsterInstance) -> None:
    first, second = Story(leaves_things_behind), Story(leaves_things_behind, Numbers((4,)))
    clean = Anything([[], False])
    assert run(instance, place, first, second).results == [clean, clean]
