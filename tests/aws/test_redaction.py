"""Secrets are refused where others could read them, and masked in messages."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from botocore import exceptions as boto
from hypothesis import given
from hypothesis import strategies as st

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.redaction import (
    HIDDEN,
    SHORTEST_SECRET,
    is_called_secret,
    masked,
    reject_known_secrets,
    reject_secrets,
)
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.steps import Step, hive_script, pig_script, shell_command, spark_submit
from emr_pipelines.errors import InvalidValue, PackagingError, Unreachable
from emr_pipelines.runners.emr import EmrSparkRunner

SECRET = "correct-horse-battery-staple"  # noqa: S105 (nobody's)
# No stars, because masks consist of stars.
SECRETS = st.text(string.ascii_letters + string.digits + "+/\"'\\ \n%é漢😀", min_size=SHORTEST_SECRET, max_size=60)
WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "repr beside other quotes": lambda text: repr(f"'{text}\""),
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "URL's path": quote,
    "URL's query": quote_plus,
    "URL's part": lambda text: quote(text, safe=""),
    "URL's part in small letters": lambda text: re.sub("%..", lambda code: code[0].lower(), quote(text, safe="")),
    "JSON within JSON": lambda text: json.dumps({"Args": [json.dumps({"a": text})]}),
    "repr of JSON": lambda text: repr(json.dumps(f"'{text}")),
}


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
    with pytest.raises(InvalidValue, match=r"is '\*\*\*'; allowed: no secrets, because EMR shows") as refused:
        reject_secrets("spark_config", {name: SECRET})
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
    reject_secrets("spark_config", {name: value})


@pytest.mark.parametrize(
    "text",
    [
        f"-Djavax.net.ssl.keyStorePassword={SECRET}", f"jdbc:postgresql://db/x?user=me&password={SECRET}",
        f"https://me:{SECRET}@host/x", f"PGPASSWORD={SECRET} psql", f"fs.s3a.secret.key={SECRET}",
        f"export PGPASSWORD='{SECRET}'", f'export PGPASSWORD = "{SECRET}"',
        f"bash -c \"PGPASSWORD=\\\"{SECRET}\\\" psql\"",
        f"password: {SECRET}", f"password:'{SECRET}'", f"{{'Password' : '{SECRET}'}}", json.dumps({"password": SECRET}),
        f'{{"api_key":"{SECRET}"}}', json.dumps({"Env": json.dumps({"DB_TOKEN": SECRET})}),
        f"load --password {SECRET}", f"load --db.password '{SECRET}'", f"load -password \\\n  {SECRET}",
        f"load --quiet --auth-token \"{SECRET}\"", "password=/Kx3/q9+Zr/AbCdEf", f"password=truely-{SECRET}",
        f"postgres://me:p@{SECRET}@db/x", f"postgres://me:pa/{SECRET}@db/x",
    ],
)  # fmt: skip
def test_secrets_within_a_text(text: str) -> None:
    for make in (
        lambda: reject_secrets("It", text),
        lambda: reject_secrets("spark_config", {"spark.x": text}),
        lambda: shell_command("load", text),
        lambda: spark_submit("job", "s3://b/x.py", text),
        lambda: hive_script("query", "s3://b/q.hql", {"url": text}),
        lambda: pig_script("query", "s3://b/q.pig", {"url": text}),
        lambda: Step("jar", (), jar="s3://b/x.jar", properties={"url": text}),
        lambda: ClusterSpec.parse({"bootstrap_actions": [{"name": "a", "path": "s3://b/a.sh", "args": [text]}]}),
        lambda: ClusterSpec.parse({"tags": {"how": text}}),
    ):
        with pytest.raises(InvalidValue, match=r"is '\*\*\*'; allowed: no secrets") as refused:
            make()
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ("--password", SECRET), ("-password", SECRET), ("load", "--quiet", "--db.password", f"'{SECRET}'"),
        ("--api-key", f";{SECRET}", "--quiet"), ("--auth_token", f"/{SECRET.upper()}/x"), ("--PASSWORD", f"a {SECRET}"),
    ],
)  # fmt: skip
def test_secrets_as_words_of_their_own(words: tuple[str, ...]) -> None:
    for make in (
        lambda: reject_secrets("It", words),
        lambda: Step("load", words),
        lambda: spark_submit("job", "s3://b/x.py", *words),
        lambda: ClusterSpec.parse({"bootstrap_actions": [{"name": "a", "path": "s3://b/a.sh", "args": words}]}),
    ):
        with pytest.raises(InvalidValue, match=r"is '\*\*\*'; allowed: no secrets") as refused:
            make()
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ("--password", "$PGPASSWORD"), ("--password", '"${PGPASSWORD}"'), ("--password", "{{resolve:ssm:db}}"),
        ("--password", ""), ("--password", "''"), ("--password",), ("--password", "--quiet"), ("--use-token", "true"),
        ("--password-file", "/etc/db"), ("--secret-id", "prod/db"), ("--secret", "/prod/db/password"),
        ("--secret", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:Db"), ("--secret", "s3://b/db.json"),
        ("--secret", "secretsmanager://prod/Db"), ("--password", "/aws/reference/secretsmanager/Db"),
        ("--name=token", "numbers"), ("grep", "password", "log.txt"), ("--tokens", "2"),
    ],
)  # fmt: skip
def test_words_that_only_refer_to_one(words: tuple[str, ...]) -> None:
    assert Step("load", words).args == words
    assert shell_command("load", " ".join(words)).args[-1] == " ".join(words)


@pytest.mark.parametrize(
    "text",
    [
        "PGPASSWORD='$(cat db)' psql", 'PGPASSWORD="${DB}" psql', "PGPASSWORD=`cat db` psql", "PGPASSWORD='' psql",
        "PGPASSWORD=\npsql", "url?password=&user=me", '{"password": "", "user": "me"}', '{"password": null}',
        '{"use_token":true}', '{"token": {"kind": "none"}}', '{\\"password\\": \\"${DB}\\"}', "password: ${DB}",
        "password:\n  file: db", '{"secret": "arn:aws:ssm:eu-west-1:111122223333:parameter/Db"}',
        "password=/run/secrets/db",
        "secret=arn:aws:secretsmanager:eu-west-1:111122223333:secret:db", "x --print-token | wc", "x --token > file",
        "x --token && y", "x --token\ny", '{"kind": "token", "n": 1}', "a.token == b.token",
        "resolve:Db:SecretString:x",
        "http://host:8080/path@2", "http://[::1]:8080/path@2", "https://host/a:b@2", "kafka://a:9092,b:9092/x@2",
        "http://host:$PORT/x@2", "s3://bucket/a@b",
    ],
)  # fmt: skip
def test_texts_that_only_refer_to_one(text: str) -> None:
    reject_secrets("It", text)


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
    assert str(refused.value).startswith(f"{name} is '{HIDDEN}'; allowed: no secrets, because EMR shows")
    assert refused.value.__cause__ is None  # pydantic's error contains the input
    assert refused.value.__suppress_context__


def assert_only_hidden(shown: str, write: Callable[[str], str]) -> None:
    """Check that only the surroundings of the secret are left; an adjacent quote may be masked too."""
    assert HIDDEN in shown
    assert len(shown) <= len(f"<{write('x')}>".replace("x", HIDDEN))


@given(SECRETS, SECRETS, st.sampled_from(sorted(WRITTEN)))
def test_no_known_secret_gets_through_wherever_it_stands(secret: str, rest: str, way: str) -> None:
    longer, write = secret + rest, WRITTEN[way]
    environ = {"A_PASSWORD": secret, "B_TOKEN": longer, "C_SECRET": rest, "HOME": "/root"}
    for told in (secret, longer, rest + secret):
        text = write(told)
        for values in (text, [{"a": f"x{text}y"}], {"Args": ["--conf", f"spark.x={text}"]}, {text: 1}):
            with pytest.raises(PackagingError, match="the value of the environment variable") as refused:
                reject_known_secrets(f"The step {text}", values, environ)
            assert secret not in str(refused.value)
        assert_only_hidden(masked(f"<{text}>", environ), write)


@pytest.mark.parametrize("way", sorted(WRITTEN))
def test_a_secret_of_everything_that_is_escaped(way: str) -> None:
    write, secret = WRITTEN[way], 'it\'s\n "é\\漢/😀%+" \tJ'
    environ = {"DB_PASSWORD": secret}
    with pytest.raises(PackagingError, match="DB_PASSWORD"):
        reject_known_secrets("The step", write(secret), environ)
    assert_only_hidden(masked(f"<{write(secret)}>", environ), write)


def test_of_secrets_that_share_a_part_none_shows_its_rest() -> None:
    environ = {"A_PASSWORD": "abcdefghijkl", "B_TOKEN": "abcdefghijkl-the-rest", "C_SECRET": "the-rest-of-it"}
    assert masked("(abcdefghijkl-the-rest) (abcdefghijkl)", environ) == "(***) (***)"
    assert masked("(abcdefghijkl-the-rest-of-it)", environ) == "(***)"


def test_short_ones_may_be_words() -> None:
    reject_known_secrets("The step", ["emulator"], {"AWS_SECRET_ACCESS_KEY": "emulator"})
    assert masked("the emulator", {"AWS_SECRET_ACCESS_KEY": "emulator"}) == "the emulator"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at http://me:pass@host/x and s3://bucket/key", "at http://***@host/x and s3://bucket/key"),
        ("at postgres://me:p@ssw0rd@db/x@2", "at postgres://***@db/x@2"),
        ("at postgres://me:pa/ss@db, where", "at postgres://***@db, where"),
        ("at postgres://me:pa?ss@db,http://me:pa/ss@b", "at postgres://***@db,http://***@b"),
        ("git+https://token@host/x@v1 http://host:8080/x@2", "git+https://***@host/x@v1 http://host:8080/x@2"),
        ('{"at":"http://host:8080/x","to":"me@host"}', '{"at":"http://host:8080/x","to":"me@host"}'),
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
