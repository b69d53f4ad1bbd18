"""Secrets are refused where others would read them, and are left out of what people are told."""

from __future__ import annotations

import string
from typing import Any

import pytest
from botocore import exceptions as boto
from hypothesis import given
from hypothesis import strategies as st

from emr_pipelines.emr.client import Aws
from emr_pipelines.emr.disclosure import (
    HIDDEN,
    SHORTEST_SECRET,
    is_called_secret,
    masked,
    refuse_known,
    refuse_secret,
    refuse_secrets,
)
from emr_pipelines.emr.spec import ClusterSpec
from emr_pipelines.emr.steps import Step, hive_script, pig_script, shell_command, spark_submit
from emr_pipelines.errors import CannotTravel, InvalidValue, Unreachable
from emr_pipelines.runners.emr import EmrSparkRunner

SECRET = "correct-horse-battery-staple"  # noqa: S105 (nobody's)
SECRETS = st.text(string.ascii_letters + string.digits + '+/"\\', min_size=SHORTEST_SECRET, max_size=60)


@pytest.mark.parametrize(
    "name",
    [
        "fs.s3a.secret.key", "spark.hadoop.fs.s3a.access.key", "fs.s3a.session.token", "spark.ssl.keyStorePassword",
        "javax.jdo.option.ConnectionPassword", "spark.executorEnv.DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD",
        "AWS_SESSION_TOKEN", "spark.authenticate.secret", "SNOWFLAKE_PRIVATE_KEY", "some.api-key", "db.passwd",
    ],
)  # fmt: skip
def test_what_is_called_like_a_secret(name: str) -> None:
    assert is_called_secret(name)
    with pytest.raises(InvalidValue, match=r"is '\*\*\*'; allowed: nothing that is called like a secret") as refused:
        refuse_secrets("spark_config", {name: SECRET})
    assert f"spark_config.{name} " in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spark.executor.memory", "4g"),
        ("spark.redaction.regex", "(?i)secret|password|token"),
        ("spark.authenticate.secretBitLength", "256"),
        ("spark.authenticate.secret.file", "/etc/secret"),
        ("dfs.namenode.delegation.token.max-lifetime", "604800000"),
        ("spark.executorEnv.DB_SECRET_NAME", "prod/db"),
        ("hadoop.security.credential.provider.path", "jceks://s3a@my-bucket/keys.jceks"),
        ("spark.executorEnv.USE_TOKEN", "true"),
        ("fs.s3a.session.token", ""),
        ("EMR.secret@javax.jdo.option.ConnectionPassword", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db"),
        ("spark.driver.extraJavaOptions", "-Dfile.encoding=UTF-8 -Dtokens=2"),
    ],
)
def test_what_is_called_otherwise_or_only_refers_to_one(name: str, value: str) -> None:
    refuse_secrets("spark_config", {name: value})


@pytest.mark.parametrize(
    "text",
    [
        f"-Djavax.net.ssl.keyStorePassword={SECRET}", f"jdbc:postgresql://db/x?user=me&password={SECRET}",
        f"https://me:{SECRET}@host/x", f"PGPASSWORD={SECRET} psql", f"fs.s3a.secret.key={SECRET}",
    ],
)  # fmt: skip
def test_secrets_within_a_text(text: str) -> None:
    for make in (
        lambda: refuse_secret("It", text),
        lambda: refuse_secrets("spark_config", {"spark.x": text}),
        lambda: shell_command("load", text),
        lambda: spark_submit("job", "s3://b/x.py", text),
        lambda: hive_script("query", "s3://b/q.hql", {"url": text}),
        lambda: pig_script("query", "s3://b/q.pig", {"url": text}),
        lambda: Step("jar", (), jar="s3://b/x.jar", properties={"url": text}),
        lambda: ClusterSpec.parse({"bootstrap_actions": [{"name": "a", "path": "s3://b/a.sh", "args": [text]}]}),
        lambda: ClusterSpec.parse({"tags": {"how": text}}),
    ):
        with pytest.raises(InvalidValue, match=r"is '\*\*\*'; allowed: nothing") as refused:
            make()
        assert SECRET not in str(refused.value)


def test_what_a_shell_fills_in_where_it_runs_is_no_secret() -> None:
    command = "PGPASSWORD=$(aws secretsmanager get-secret-value --secret-id db) psql postgres://me@db/x"
    assert shell_command("load", command).args[-1] == command


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"spark_config": {"fs.s3a.secret.key": SECRET}}, "spark_config.fs.s3a.secret.key"),
        (
            {"cluster": {"configurations": {"hive-site": {"javax.jdo.option.ConnectionPassword": SECRET}}}},
            "cluster.configurations[0].properties.javax.jdo.option.ConnectionPassword",
        ),
        (
            {"cluster": {"configurations": {"spark-env": {"export": {"DB_PASSWORD": SECRET}}}}},
            "cluster.configurations[0].configurations[0].properties.DB_PASSWORD",
        ),
        ({"cluster": {"tags": {"token": SECRET}}}, "cluster.tags.token"),
    ],
)
def test_a_runner_with_one_is_not_made(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        EmrSparkRunner(**settings)
    assert str(refused.value).startswith(f"{name} is '{HIDDEN}'; allowed: nothing that is called like a secret")
    assert refused.value.__cause__ is None  # pydantic's error, which has what was told
    assert refused.value.__suppress_context__


@given(SECRETS)
def test_no_known_secret_gets_through_wherever_it_stands(secret: str) -> None:
    environ = {"DB_PASSWORD": secret, "HOME": "/root"}
    for values in (secret, [{"a": f"x{secret}y"}], {"Args": ["--conf", f"spark.x={secret}"]}, {secret: 1}):
        with pytest.raises(CannotTravel, match="the value of the environment variable DB_PASSWORD") as refused:
            refuse_known("The step", values, environ)
        assert secret not in str(refused.value).replace("DB_PASSWORD", "")
    assert secret not in masked(f"before {secret} after", environ)


def test_short_ones_may_be_words() -> None:
    refuse_known("The step", ["emulator"], {"AWS_SECRET_ACCESS_KEY": "emulator"})
    assert masked("the emulator", {"AWS_SECRET_ACCESS_KEY": "emulator"}) == "the emulator"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at http://me:pass@host/x and s3://bucket/key", "at http://***@host/x and s3://bucket/key"),
        ("x?X-Amz-Signature=0a1b&X-Amz-Date=1", "x?X-Amz-Signature=***&X-Amz-Date=1"),
        ("x?AWSAccessKeyId=AKIA&Signature=ab%2B&Expires=1", "x?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("x?X-Amz-Security-Token=IQo&X-Amz-Credential=AKIA%2F1", "x?X-Amz-Security-Token=***&X-Amz-Credential=***"),
    ],
)
def test_what_people_are_told(text: str, told: str) -> None:
    assert masked(text, {}) == told


def test_an_endpoint_s_password_is_in_no_error_nor_behind_one(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{SECRET}@127.0.0.1:{unused_tcp_port}")
    with pytest.raises(Unreachable) as refused:
        Aws().call("emr", "list_clusters", patience_seconds=0)
    assert f"http://{HIDDEN}@127.0.0.1" in str(refused.value)
    assert refused.value.__cause__ is None
    assert isinstance(refused.value.__context__, boto.EndpointConnectionError)
    assert refused.value.__suppress_context__
