"""Secrets of the Dagster process reach neither EMR, S3, the event log nor a terminal."""

import logging
import traceback
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from emr_pipelines.aws import client
from emr_pipelines.aws import redaction as disclosure
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.steps import hive_script, shell_command
from emr_pipelines.cli import main
from emr_pipelines.errors import InvalidValue, Throttled
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.failures import failures
from tests.account import BUCKET
from tests.emr_env import PARAMS, EmrEnv, Failed
from tests.runners.programs import Numbers, Total, add_up

SENTINEL = uuid.uuid4().hex  # not literal, because these tests are sent as a program's package
SECRETS = {
    name: f"{SENTINEL}{number}"
    for number, name in enumerate(("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DB_PASSWORD"))
}
IN_ERRORS = f"Could not connect to postgres://me:{SECRETS['DB_PASSWORD']}@db/x"


class Watched:
    """Everything that was sent and logged in an emulated account, with secrets in the environment."""

    def __init__(self, emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> None:
        self.emr_env = emr_env
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
        """Return everything that others may read, by place."""
        instance, root = self.emr_env.instance, self.emr_env.account.emulator.root / "buckets"
        runs = instance.get_runs()
        return {
            "a request": self.sent,
            "the terminal": self.printed,
            "a run": [repr(run) for run in runs],
            "an event": [repr(entry) for run in runs for entry in instance.all_logs(run.run_id)],
            "a cluster": [repr(cluster.request) for cluster in self.emr_env.account.emulator.clusters()],
            "an object": [repr(path.read_bytes()) for path in root.rglob("*") if path.is_file()],
            "a key": [str(path) for path in root.rglob("*")],
        }

    def leaks(self) -> list[str]:
        """Return the places that contain a secret."""
        return [f"{place}: {text}" for place, texts in self.places().items() for text in texts if SENTINEL in text]


@pytest.fixture
def watched(emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(emr_env, monkeypatch)


def test_runs_that_go_well_and_badly_and_the_command_line_tell_no_secret(watched: Watched) -> None:
    emr_env = watched.emr_env

    def badly(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        assert spark.run(context, add_up, PARAMS) == Total(6)
        emr_env.account.fault("s3_error", operation="PutObject", code="AccessDenied", times=1)
        with pytest.raises(dg.Failure):
            spark.run(context, add_up, Numbers((4,)))
        emr_env.account.fault("step_fails", message=IN_ERRORS, stderr="")
        spark.run_step(context, shell_command("load", "true"))

    with pytest.raises(Failed, match=r"postgres://\*\*\*@db/x"):  # EMR's messages are shown without it
        emr_env.materialize(badly)
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
        Failed, match=r"would contain the value of the environment variable (DB_PASSWORD|AWS_SESSION_TOKEN)"
    ):
        watched.emr_env.materialize(work)
    assert watched.emr_env.account.emulator.clusters() == []
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
    with pytest.raises(Failed, match="would contain the value of the environment variable DB_PASSWORD"):
        watched.emr_env.run(**settings)
    assert watched.emr_env.account.emulator.clusters() == []
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
        instance=watched.emr_env.instance,
        raise_on_error=False,
    )
    assert not result.success
    events = [repr(entry) for entry in watched.emr_env.instance.all_logs(result.run_id)]
    assert any("spark_config.fs.s3a.secret.key is '***'; allowed: no secrets, because" in event for event in events)
    assert watched.leaks() == []


KERBEROS = {"Realm": "EC2.INTERNAL"}
LITERALS: dict[str, tuple[dict[str, Any], str]] = {
    "the password of the KDC": ({"KerberosAttributes": {**KERBEROS, "KdcAdminPassword": SENTINEL}},
                                "KerberosAttributes.KdcAdminPassword"),
    "of a domain": ({"KerberosAttributes": {**KERBEROS, "ADDomainJoinPassword": SENTINEL}},
                    "KerberosAttributes.ADDomainJoinPassword"),
    "a short one": ({"KerberosAttributes": {"KdcAdminPassword": "pw"}}, "KerberosAttributes.KdcAdminPassword"),
    "digits": ({"KerberosAttributes": {"KdcAdminPassword": 123456}}, "KerberosAttributes.KdcAdminPassword"),
    "a list": ({"Any": [{"api_key": [SENTINEL]}]}, "Any.0.api_key"),
    "in a text": ({"AdditionalInfo": f'{{"password": "{SENTINEL}"}}'}, "AdditionalInfo"),
    "words of a list": ({"NewSupportedProducts": [{"Name": "x", "Args": ["--password", SENTINEL]}]},
                        "NewSupportedProducts.0.Args"),
}  # fmt: skip


@pytest.mark.parametrize("form", [dict, lambda told: ClusterSpec(extra=told["extra"])], ids=["a mapping", "a spec"])
@pytest.mark.parametrize("literal", LITERALS)
def test_a_literal_in_extra_is_refused_when_the_runner_is_made(literal: str, form: Callable[[Any], Any]) -> None:
    extra, where = LITERALS[literal]
    with pytest.raises(InvalidValue) as refused:
        EmrSparkRunner(bucket=BUCKET, cluster=form({"extra": extra}))
    assert str(refused.value) == (
        f"cluster.extra.{where} is '***'; allowed: a reference to an environment variable: "
        "dg.EnvVar('NAME') in Python, {env: NAME} in run config and YAML."
    )
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_literal_in_extra_in_run_config_fails_before_there_is_a_cluster(watched: Watched) -> None:
    @dg.asset
    def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        spark.run(context, add_up, PARAMS)

    result = dg.materialize(
        [answer],
        resources={"spark": EmrSparkRunner.configure_at_launch()},
        run_config={"resources": {"spark": {"config": {"cluster": {"extra": LITERALS["a short one"][0]}}}}},
        instance=watched.emr_env.instance,
        raise_on_error=False,
    )
    assert not result.success
    events = [repr(entry) for entry in watched.emr_env.instance.all_logs(result.run_id)]
    assert any("KdcAdminPassword is '***'; allowed: a reference to an environment variable" in said for said in events)
    assert watched.emr_env.account.emulator.clusters() == []


@pytest.fixture
def no_references(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = {}
    monkeypatch.setattr(disclosure, "_REFERENCES", found)
    return found


REFERENCES: dict[str, Any] = {"in Python": dg.EnvVar("KDC"), "in YAML": {"env": "KDC"}}


@pytest.mark.parametrize(
    "way",
    ["in Python", *(pytest.param(way, marks=pytest.mark.extended) for way in ("in YAML", "in run config"))],
)
@pytest.mark.usefixtures("no_references")
def test_a_reference_is_looked_up_at_launch_and_hidden_everywhere(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Only EMR gets the value; if EMR's messages contain it, it is masked."""
    emr_env, password = watched.emr_env, f"{SENTINEL}kdc"
    monkeypatch.setenv("KDC", password)
    emr_env.account.fault("step_fails", message=f"kadmin refused {password}", stderr=f"kadmin: {password}\n")

    @dg.asset
    def answer(context: dg.AssetExecutionContext, spark: SparkRunner) -> None:
        assert isinstance(spark, EmrSparkRunner)
        spark.run_step(context, shell_command("load", "true"))

    cluster = {
        "security_configuration": "kerberos",
        "extra": {"KerberosAttributes": {**KERBEROS, "KdcAdminPassword": REFERENCES.get(way, {"env": "KDC"})}},
    }
    late = way == "in run config"
    settings: dict[str, Any] = {"bucket": BUCKET, "retries": 0, "log_wait_seconds": 600}
    if not late:
        settings["cluster"] = cluster
    result = dg.materialize(
        [answer],
        resources={"spark": EmrSparkRunner(**settings)},
        run_config={"resources": {"spark": {"config": {"cluster": cluster}}}} if late else None,
        instance=emr_env.instance,
        raise_on_error=False,
    )
    assert not result.success
    (launched,) = emr_env.account.emulator.clusters()
    assert launched.request["KerberosAttributes"]["KdcAdminPassword"] == password
    for command in (["doctor"], ["clusters", "list"]):
        watched.command(*command)
    leaks = {leak.partition(":")[0] for leak in watched.leaks() if "KerberosAttributes" not in leak}
    assert leaks <= {"an object"}  # EMR's log of the step, with the step's output
    events = watched.places()["an event"]
    assert any("kadmin refused ***" in event or "kadmin: ***" in event for event in events)


@pytest.mark.usefixtures("no_references")
def test_what_is_referred_to_goes_nowhere_else(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused in a program's parameters, although its variable has no secret-like name."""
    monkeypatch.setenv("KDC", "hunter2")
    cluster = {
        "security_configuration": "kerberos",
        "extra": {"KerberosAttributes": {**KERBEROS, "KdcAdminPassword": dg.EnvVar("KDC")}},
    }
    with pytest.raises(Failed, match="would contain the value of the environment variable KDC"):
        watched.emr_env.materialize(
            lambda context, spark: spark.run(context, add_up, Numbers((1,), "hunter2")), cluster=cluster
        )
    assert watched.emr_env.account.emulator.clusters() == []


@pytest.mark.usefixtures("no_references")
def test_one_that_is_too_short_to_be_hidden_is_refused(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDC", "kdc")
    cluster = {"extra": {"KerberosAttributes": {**KERBEROS, "KdcAdminPassword": dg.EnvVar("KDC")}}}
    with pytest.raises(Failed, match=r"KdcAdminPassword is {'env': 'KDC'}; allowed: a secret of at least 6 characters"):
        watched.emr_env.run(cluster=cluster)


@pytest.mark.usefixtures("no_references")
def test_the_digest_of_a_cluster_tells_nothing_of_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"extra": {"KerberosAttributes": {**KERBEROS, "KdcAdminPassword": dg.EnvVar("KDC")}}}
    digests = set()
    for password in ("the first one", "another one"):
        monkeypatch.setenv("KDC", password)
        digests.add(EmrSparkRunner(bucket=BUCKET, cluster=cluster).spec().digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"spark_config": {"fs.s3a.secret.key": dg.EnvVar("KDC")}},
        {"cluster": {"tags": {"token": SENTINEL}}},
        {"cluster": {"configurations": {"hive-site": {"a.password": SENTINEL}}}},
        {"cluster": {"bootstrap_actions": [{"name": "a", "path": "s3://b/a", "args": ["--password", SENTINEL]}]}},
    ],
)
def test_what_emr_shows_to_everybody_takes_no_secret_at_all(settings: dict[str, Any]) -> None:
    """A reference would end up in the same place."""
    with pytest.raises(InvalidValue, match=r"is '\*\*\*'; allowed: no secrets, because EMR shows"):
        EmrSparkRunner(bucket=BUCKET, **settings)


def test_nor_by_reference_when_it_is_looked_up(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDC", SENTINEL)
    for where in (
        {"configurations": [{"Classification": "hive-site", "Properties": {"a.password": SENTINEL}}]},
        {"bootstrap_actions": [{"name": "a", "path": "s3://b/a", "args": ["--password", dg.EnvVar("KDC")]}]},
    ):
        with pytest.raises((Failed, InvalidValue), match=r"is '\*\*\*'; allowed: no secrets, because EMR shows"):
            watched.emr_env.run(cluster=where)
    assert watched.emr_env.account.emulator.clusters() == []
    assert watched.leaks() == []


def test_a_retry_records_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", SECRETS["DB_PASSWORD"])
    context: Any = SimpleNamespace(retry_number=0, log=logging.getLogger("test"))
    with pytest.raises(dg.RetryRequested) as asked, failures(context, 1, 0):
        raise Throttled(IN_ERRORS)
    recorded = "".join(traceback.format_exception(asked.value))
    assert "Could not connect to postgres://" in recorded
    assert SECRETS["DB_PASSWORD"] not in recorded
