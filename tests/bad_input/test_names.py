"""Arbitrary names and arguments stay in their folder, within EMR's limits, and reach no shell."""

from __future__ import annotations

import json
import os
import re
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rehearsal import Rehearsal, until, with_spark

from emr_pipelines.aws.deployment import DEPLOYMENT, base_uri, bucket_fault, deployment_name
from emr_pipelines.backends.emr.spec import ClusterSpec
from emr_pipelines.backends.emr.steps import MAX_CHARACTERS, Step, spark_submit
from emr_pipelines.backends.names import ClusterName, Scope
from emr_pipelines.errors import InvalidValue, SourceError, StorageUnusable
from emr_pipelines.remote.files import find_text_files
from emr_pipelines.runners.lineage import MAX_LABEL, OP
from emr_pipelines.storage import Storage
from emr_pipelines.storage.address import resolve
from emr_pipelines.storage.versions import VERSION_NAME
from emr_pipelines.storage.versions import name_of as version_name_of

__all__ = ["with_spark"]

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
# EMR's pattern for names and arguments, as botocore has it for XmlStringMaxLen256 and XmlString
EMR_TEXT = re.compile("[\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\r\n\t]*")

ways_out = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "//",
        "\\",
        "%2e",
        "%2F",
        "\0",
        "‥",
        "．．",
        "／",
        "~",
        "*",
        "{a}",
        "\n",
        "\udce9",
        "..\u200d",
        "C:",
        " ",
        "",
    ]
)
any_text = st.text(st.characters(codec=None), max_size=12)
parts = st.one_of(ways_out, any_text, st.lists(ways_out, max_size=4).map("".join))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)


@given(path=st.lists(parts, min_size=1, max_size=3), partition=st.none() | parts, run_id=parts)
@example(path=["..", "x"], partition=None, run_id="../../..")
@example(path=["words"], partition="../../..", run_id="a/b/../c")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_asset_s_data_lies_below_the_storage_and_beside_no_other(
    tmp_path_factory: pytest.TempPathFactory, path: list[str], partition: str | None, run_id: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "prefix"
    for storage, home in (
        (Storage(uri=str(root)), f"file://{root}/"),
        (Storage(uri="s3://bucket/prefix"), "s3://bucket/prefix/"),
    ):
        key = dg.AssetKey(path)
        try:
            folder = storage._folder(key, partition)
        except InvalidValue as refusal:
            assert "A part of the key" in str(refusal)  # noqa: PT017 (most are refused, and some are not)
            assert set(path) & {"", ".", ".."} or re.search(
                "[/*?\\[\\]{}\\\\\x00-\x1f\x7f\ud800-\udfff]", "".join(path)
            )
            continue
        name = version_name_of(NOON, run_id)
        uri = folder.uri(name)
        inner = uri.removeprefix(home)
        assert uri.startswith(home)
        assert os.path.normpath(inner) == inner
        # one folder per part of the key, so that no two keys share one
        assert len(inner.split("/")) == len(path) + (partition is not None) + 1
        assert not re.search("[*?{}\\[\\]\\\\\x00-\x1f\x7f\ud800-\udfff]", inner.rpartition("/")[0])
        assert run_id == "" or VERSION_NAME.fullmatch(name)


@given(version=parts, name=parts)
@example(version="20260101T120000000000Z-run1", name="../latest.json")
@example(version="..", name="latest.json")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_file_of_a_version_lies_in_it(tmp_path_factory: pytest.TempPathFactory, version: str, name: str) -> None:
    root = tmp_path_factory.mktemp("files", numbered=True)
    storage, key = Storage(uri=str(root / "data")), dg.AssetKey("words")
    with storage.new_version(key, "run") as there:
        (root / "data" / "words" / there.name).mkdir()
        before = sorted(root.rglob("*"))
        try:
            storage.write(key, there, name, b"x")
        except (InvalidValue, StorageUnusable) as refusal:
            assert str(root / "data") in str(refusal) or "The name of a file" in str(refusal)  # noqa: PT017
        new = [path for path in sorted(root.rglob("*")) if path not in before]
        assert all(path.is_relative_to(root / "data" / "words" / there.name) for path in new)
        with pytest.raises((InvalidValue, StorageUnusable)):
            storage.read(key, version, name)


@given(st.lists(parts, max_size=4).map("/".join), st.sampled_from(["", "s3://", "file://", "file:///", "s3a://", "/"]))
@settings(max_examples=200)
def test_an_address_is_a_place_or_refused(rest: str, scheme: str) -> None:
    try:
        root = resolve(scheme + rest)
    except StorageUnusable:
        return
    if root.startswith("s3://"):
        assert bucket_fault(root[5:].split("/")[0]) is None
        assert os.path.normpath(root[5:]) == root[5:]
    else:
        assert Path(root).is_absolute()
        assert ".." not in Path(root).parts
    root.encode()


@given(
    st.lists(parts, max_size=3).map("/".join),
    st.sampled_from(["/no-such-folder/", "file:///no/", "file://", "x://", "~"]),
)
@settings(max_examples=100)
def test_a_source_is_found_or_refused_in_a_sentence(rest: str, beginning: str) -> None:
    try:
        found = find_text_files([f"{beginning}{rest}/nothing-there.txt"])
    except (SourceError, InvalidValue):
        return
    assert found == []


@given(bucket=parts | st.just("my-bucket/a/../b"), deployment=parts)
@settings(max_examples=200)
def test_a_deployment_s_folder_is_its_own(bucket: str, deployment: str) -> None:
    try:
        uri = base_uri(bucket, deployment, environ={})
    except InvalidValue:
        return
    assert os.path.normpath(uri[5:]) == uri[5:]
    assert uri.endswith("/" + deployment_name(deployment, environ={}))
    assert re.fullmatch(r"s3://[A-Za-z0-9._=@+/-]+", uri)


@given(
    deployment=st.from_regex(DEPLOYMENT, fullmatch=True),
    kind=st.sampled_from(["run", "asset", "pool"]),
    most=st.integers(1, 100),
)
@settings(max_examples=50)
def test_names_of_clusters_are_within_emr_s_limits(deployment: str, kind: Any, most: int) -> None:
    keys = {"run": f"{uuid.UUID(int=0)}-{'f' * 12}", "asset": f"{uuid.UUID(int=0)}-{'f' * 20}", "pool": "f" * 12}
    for key in Scope(kind, keys[kind], most).keys():  # noqa: SIM118 (no mapping)
        name = str(ClusterName(deployment_name(deployment), kind, key))
        assert EMR_TEXT.fullmatch(name)
        request = ClusterSpec().request(name, "s3://bucket/logs/", {"emr_pipelines:deployment": deployment})
        assert len(request["Name"]) <= 256


@given(name=any_text, args=st.lists(any_text, max_size=4).map(tuple), long=st.integers(0, 2 * MAX_CHARACTERS))
@example(name="x" * 257, args=(), long=0)
@example(name="x", args=("a\x00b",), long=0)
@settings(max_examples=200)
def test_a_step_is_within_emr_s_limits_or_refused(name: str, args: tuple[str, ...], long: int) -> None:
    try:
        request = Step(name, (*args, "x" * long)).request()
    except InvalidValue:
        assert not (0 < len(name) <= 256 and long < 9000 and all(map(EMR_TEXT.fullmatch, (name, *args))))
        return
    jar = request["HadoopJarStep"]
    assert 1 <= len(request["Name"]) <= 256
    assert sum(map(len, [jar["Jar"], *jar["Args"]])) <= 10_240
    assert all(map(EMR_TEXT.fullmatch, [request["Name"], *jar["Args"]]))


def test_the_longest_names_of_ours_fit() -> None:
    label = f"{OP}{'x' * MAX_LABEL}"
    assert Step(f"{label} {'f' * 20}.9999 {uuid.uuid4()}", ()).request()["Name"].startswith(label)


@given(json_values)
@example({"configurations": {"a": {"b": 10**5000}}})
@example({"extra": {"a": 10**5000}})
@example({"tags": {"a": "\ud800"}})
@example({"extra": {"a": json.loads("[" * 300 + "]" * 300)}})
@settings(max_examples=300)
def test_any_json_is_a_cluster_or_one_sentence(data: Any) -> None:
    _parse(data)


FIELDS = st.sampled_from(sorted(ClusterSpec.model_fields))
INNER = st.sampled_from(
    ["type", "count", "types", "market", "size_gib", "primary", "core", "minimum", "maximum", "name", "path"]
)


@given(
    st.dictionaries(
        FIELDS, st.recursive(json_values, lambda inner: st.dictionaries(INNER, inner, max_size=4), max_leaves=6)
    )
)
@settings(max_examples=300)
def test_any_values_of_its_fields_are_a_cluster_or_one_sentence(data: Any) -> None:
    _parse(data)


def _parse(data: Any) -> None:
    try:
        spec = ClusterSpec.parse(data)
    except InvalidValue as refusal:
        said = str(refusal)
        assert "allowed: " in said.lower()
        assert len(said) < 5000
        return
    assert len(spec.digest) == 12


# no shell interprets the arguments of a step

NASTY = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned", "| cat", "&& true", "> out", "a b", " ", "", "'", '"', "\\",
    "\\n", "it's", '"quoted"', "*", "?", "[a]", "{a,b}", "~", "~root", "$HOME", "${IFS}", "!!", "#", "line\nline",
    "tab\tx", "\r", "-", "--", "-c", "--conf", "%s", "%2e", "größe", "👩‍👩‍👧", "e\u0301", "é", "\u202ex", "\ufeff",
    "x" * 2000,
]  # fmt: skip
words = st.lists(
    st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)),
    max_size=20,
)
TELLS = 'import os, sys; open(sys.argv[1], "wb").write(b"\\0".join(map(os.fsencode, sys.argv[2:])) + b"\\0")'


@given(args=words)
@example(args=NASTY)
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
def test_the_words_of_a_step_arrive_as_they_are(
    with_spark: Rehearsal,
    tmp_path_factory: pytest.TempPathFactory,
    args: list[str],
) -> None:
    """command-runner passes arguments to a process, not to a shell."""
    found = tmp_path_factory.mktemp("words") / "argv"
    run(with_spark, Step("words", ("bash", "-c", 'printf "%s\\0" "$@" > "$0"', str(found), *args)))
    assert found.read_bytes() == b"".join(os.fsencode(word) + b"\0" for word in args or [""])


@pytest.mark.extended
def test_the_words_of_a_spark_program_arrive_as_they_are(with_spark: Rehearsal, tmp_path: Path) -> None:
    """Through command-runner, spark-submit, its bash scripts, and the JVM that starts Python."""
    args = [word for word in NASTY if word != "\r"]  # Spark's scripts drop it, because of Windows
    bucket, found = "words", tmp_path / "argv"
    with_spark.emulator.create_bucket(bucket)
    with_spark.s3.put_object(Bucket=bucket, Key="main.py", Body=TELLS.encode())
    conf = {"spark.x": "$(touch pwned) `y` 'z' \"w\"\n*", "spark.y": "a=b c"}
    run(with_spark, spark_submit("words", f"s3://{bucket}/main.py", str(found), *args, conf=conf))
    assert found.read_bytes() == b"".join(os.fsencode(word) + b"\0" for word in args)
    assert not list(with_spark.emulator.root.rglob("pwned"))


def run(rehearsal: Rehearsal, asked: Step) -> None:
    cluster_id = rehearsal.launch(asked.request())
    until(lambda: rehearsal.step_states(cluster_id) not in (["PENDING"], ["RUNNING"]))
    assert rehearsal.step_states(cluster_id) == ["COMPLETED"]
    rehearsal.emr.terminate_job_flows(JobFlowIds=[cluster_id])
