"""Steps: the request of each constructor; a step is added once even if the response is lost."""

from __future__ import annotations

import pytest
from rehearsal import UP

from emr_pipelines.backends.emr import steps
from emr_pipelines.backends.emr.states import StepState
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.errors import InvalidValue, RequestRefused, ResponseLost
from tests.account import Account

CONSTRUCTED = {
    "spark": (
        steps.spark_submit(
            "n", "s3://b/p.py", "a", "b c", deploy_mode="cluster", queue="q", conf={"k": "v w"},
            py_files=("s3://b/z.zip",), jars=("s3://b/1.jar", "s3://b/2.jar"),
            files=("s3://b/f",), archives=("s3://b/d.zip#d",), options=("--verbose",),
        ),
        ("spark-submit|--deploy-mode|cluster|--queue|q|--py-files|s3://b/z.zip|--jars|s3://b/1.jar,s3://b/2.jar"
         "|--files|s3://b/f|--archives|s3://b/d.zip#d|--conf|k=v w|--verbose|s3://b/p.py|a|b c"),
    ),
    "spark jar": (
        steps.spark_jar("n", "s3://b/p.jar", "org.Main", "x"),
        "spark-submit|--deploy-mode|client|--class|org.Main|s3://b/p.jar|x",
    ),
    "hive": (
        steps.hive_script("n", "s3://b/q.hql", {"day": "2026-01-01"}, "--hiveconf", "a=b"),
        "hive-script|--run-hive-script|--args|-f|s3://b/q.hql|-d|day=2026-01-01|--hiveconf|a=b",
    ),
    "pig": (
        steps.pig_script("n", "s3://b/q.pig", {"day": "1"}),
        "pig-script|--run-pig-script|--args|-f|s3://b/q.pig|-p|day=1",
    ),
    "streaming": (
        steps.hadoop_streaming("n", "cat", "wc -l", ["s3://b/i", "s3://b/j"], "s3://b/o", ["s3://b/m.py"]),
        "hadoop-streaming|-files|s3://b/m.py|-mapper|cat|-reducer|wc -l|-input|s3://b/i|-input|s3://b/j|-output|s3://b/o",
    ),
    "shell": (steps.shell_command("n", "echo a | wc"), "bash|-c|echo a | wc"),
    "copy": (
        steps.s3_dist_cp("n", "s3://b/i", "hdfs:///o", "--groupBy=.*(a).*"),
        "s3-dist-cp|--src=s3://b/i|--dest=hdfs:///o|--groupBy=.*(a).*",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONSTRUCTED)
def test_constructors(kind: str) -> None:
    step, words = CONSTRUCTED[kind]
    assert "|".join(step.args) == words
    assert step.request()["ActionOnFailure"] == "CONTINUE"
    assert step.request()["HadoopJarStep"]["Jar"] == "command-runner.jar"


def test_a_jar_with_a_main_class_and_properties(account: Account) -> None:
    step = Step("n", ("x",), jar="s3://b/j.jar", main_class="Main", properties={"k": "v"})
    assert step.request()["HadoopJarStep"] == {
        "Jar": "s3://b/j.jar", "Args": ["x"], "MainClass": "Main", "Properties": [{"Key": "k", "Value": "v"}],
    }  # fmt: skip
    assert account.steps.add(account.launch(), step).startswith("s-")


def test_12_kb_of_arguments_are_refused_before_anything_is_launched() -> None:
    with pytest.raises(InvalidValue, match=r"is 12\d\d\d; allowed: up to 10,240 characters"):
        steps.shell_command("long", "x" * 12_000)


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_names_that_emr_refuses(name: str) -> None:
    with pytest.raises(InvalidValue, match="The name of a step"):
        Step(name, ())


@pytest.mark.parametrize("fault", ["lost_response", "server_error"])
def test_a_lost_answer_adds_no_second_step(account: Account, fault: str) -> None:
    cluster_id = account.launch()
    account.fault(fault, operation="AddJobFlowSteps")
    step_id = account.steps.add(cluster_id, Step("once", ("bash",)))
    assert [step.id for step in account.steps.all(cluster_id)] == [step_id]


def test_a_step_whose_adding_is_never_answered_is_given_up(account: Account) -> None:
    cluster_id = account.launch()
    account.fault("server_error", operation="AddJobFlowSteps", times=None)
    began = account.clock.now()
    with pytest.raises(ResponseLost):
        account.steps.add(cluster_id, Step("never", ("bash",)))
    assert 900 <= account.clock.now() - began < 1000
    assert account.steps.all(cluster_id) == []


def test_a_cluster_that_has_ended_takes_no_step(account: Account) -> None:
    cluster_id = account.launch()
    account.clusters.terminate(cluster_id)
    with pytest.raises(RequestRefused):
        account.steps.add(cluster_id, Step("late", ("bash",)))


def test_all_goes_through_all_pages(account: Account) -> None:
    cluster_id = account.launch()
    ids = [account.steps.add(cluster_id, Step(f"step {number}", ("bash",))) for number in range(60)]
    assert [step.id for step in account.steps.all(cluster_id)] == ids[::-1]


def test_a_step_is_described_with_its_times_and_its_failure(account: Account) -> None:
    cluster_id = account.launch()
    account.fault("step_fails", reason="Unknown Error.", message="Exception in thread main", after_seconds=5)
    step_id = account.steps.add(cluster_id, Step("fails", ("fails",)))
    account.clock.pause(UP + 20)
    step = account.steps.describe(cluster_id, step_id)
    assert (step.state, step.failure_reason, step.failure_message) == (
        StepState.FAILED, "Unknown Error.", "Exception in thread main",
    )  # fmt: skip
    assert step.started is not None
    assert step.ended is not None
    assert (step.ended - step.started).total_seconds() == 5
