"""Local paths in a cluster's settings, and settings that a run checks with the doctor's checks."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.assets.program import program_asset
from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.findings import DoctorContext
from emr_pipelines.backends.emr.steps import Step
from emr_pipelines.doctor import BAD, run_checks
from emr_pipelines.errors import StorageUnusable
from emr_pipelines.pipelines.pi.assets import pi_estimates
from emr_pipelines.pipelines.word_count.assets import input_text, word_counts
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.locations import check_locations
from emr_pipelines.storage import Storage
from emr_pipelines.storage.address import resolve
from tests.account import BUCKET
from tests.assets.test_program import failure
from tests.emr_env import EmrEnv, Failed
from tests.runners.programs import Total


@dataclass(frozen=True)
class Places:
    output: str
    table: str = ""
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Table:
    table: str


def go(spark: Any, params: Places) -> Total: ...  # type: ignore[empty-body]


def look_at(spark: Any, params: Table) -> Total: ...  # type: ignore[empty-body]


def materialize(
    emr_env: EmrEnv, assets: list[Any], storage: Storage, only: str, **runner: Any
) -> dg.ExecuteInProcessResult:
    spark = EmrSparkRunner(**{"bucket": BUCKET, "ship_dependencies": False, "retries": 0, **runner})
    return dg.materialize(
        assets,
        resources={"spark": spark, "storage": storage},
        instance=emr_env.instance,
        raise_on_error=False,
        selection=[only],
    )


def untouched(emr_env: EmrEnv) -> bool:
    """Whether nothing was launched, and nothing uploaded."""
    return not emr_env.account.emulator.clusters() and not list(emr_env.account.objects.entries(f"s3://{BUCKET}/"))


def doctor_says(check: str) -> str:
    """Return the message of a finding in the current environment."""
    aws = Aws(within_seconds=0)
    findings = run_checks(DoctorContext(aws, os.environ, lambda: resolve("")))
    (finding,) = (finding for finding in findings if finding.check == check)
    assert finding.verdict in BAD
    return finding.found


@pytest.mark.parametrize("asset", [input_text, pi_estimates, program_asset(go, writes="output")])
def test_a_storage_on_this_machine_is_refused_as_the_doctor_says(
    emr_env: EmrEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asset: dg.AssetsDefinition
) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    monkeypatch.setenv("EMR_PIPELINES_BUCKET", BUCKET)
    monkeypatch.setenv("EMR_PIPELINES_STORAGE", "data")
    monkeypatch.chdir(tmp_path)
    refused = failure(materialize(emr_env, [asset], Storage(), asset.key.to_user_string()))
    assert refused == doctor_says("storage")
    assert refused.startswith(f"The storage {tmp_path}/data is a folder of this machine, which a cluster cannot reach")
    assert untouched(emr_env)
    assert list(tmp_path.glob("data")) == []


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_storage_set_in_python_is_refused_too(emr_env: EmrEnv, tmp_path: Path, form: str) -> None:
    """Written by one, and read by another, that has no output."""
    storage = Storage(uri=form.format(tmp_path / "data"))
    with storage.new_version(dg.AssetKey("go"), "run") as version:
        storage.write(dg.AssetKey("go"), version, "part-0.txt", b"x")
        storage.publish(dg.AssetKey("go"), version, "data")
    assets = [program_asset(go, writes="output"), program_asset(look_at, reads={"table": "go"}), word_counts]
    for name in ("go", "look_at", "word_counts"):
        refused = failure(materialize(emr_env, assets, storage, name))
        assert refused.startswith(f"The storage {tmp_path}/data is a folder of this machine, which a cluster cannot")
    assert untouched(emr_env)


def test_an_asset_of_one_s_own_is_refused_by_what_its_program_is_told(emr_env: EmrEnv, tmp_path: Path) -> None:
    storage = Storage(uri=str(tmp_path / "data"))

    def work(context: dg.AssetExecutionContext, spark: EmrSparkRunner) -> None:
        with storage.new_version(context.asset_key, context.run.run_id) as version:
            spark.run(context, go, Places(version.uri))

    says = rf"The storage {tmp_path}/data is a folder of this machine, which a cluster cannot reach"
    with pytest.raises(Failed, match=says):
        emr_env.materialize(work)
    assert untouched(emr_env)


def test_a_step_is_refused_by_it_too(emr_env: EmrEnv, tmp_path: Path) -> None:
    storage = Storage(uri=str(tmp_path / "data"))
    with storage.new_version(dg.AssetKey("go"), "run") as version:
        with pytest.raises(Failed, match="is a folder of this machine, which a cluster cannot reach"):
            emr_env.step(Step("copy", ("bash", f"{version.uri}/part-0.txt")))
        emr_env.step(Step("list", ("bash", "/usr/bin/env")))  # of the cluster's own
    assert [line for line in emr_env.log if "If this is a path on this machine" in line] == []


@pytest.mark.parametrize(
    ("params", "field", "value"),
    [
        (Places("s3://b/out", "file:///home/me/in.csv"), "table", "file:///home/me/in.csv"),
        pytest.param(
            Places("s3://b/out", "file:/home/me/in.csv"), "table", "file:/home/me/in.csv", marks=pytest.mark.extended
        ),
        pytest.param(Places("s3://b/out", "/home/me/in.csv"), "table", "/home/me/in.csv", marks=pytest.mark.extended),
        pytest.param(Places("s3://b/out", "~/in.csv"), "table", "~/in.csv", marks=pytest.mark.extended),
        pytest.param(Places("/mnt/out"), "output", "/mnt/out", marks=pytest.mark.extended),
        (Places("s3://b/out", options={"more": ["x", "/mnt/more"]}), "options.more[1]", "/mnt/more"),
    ],
)
def test_other_places_of_this_machine_are_named_in_the_log(
    emr_env: EmrEnv, params: Places, field: str, value: str
) -> None:
    emr_env.materialize(lambda context, spark: spark.run(context, go, params))
    (line,) = (line for line in emr_env.log if "If this is a path on this machine" in line)
    assert line.startswith(f"go: params.{field} is {value!r}. If this is a path on this machine, the cluster does not")


def test_the_warning_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged before the parameters are refused for the secret in them."""
    monkeypatch.setenv("DB_PASSWORD", "/Kq9w+2Lr/xY7zPm")
    said: list[str] = []
    told = {"in": ["/Kq9w+2Lr/xY7zPm"], "within": "file:///mnt/Kq9w", "access_key": "/another/of-nobody"}
    check_locations("params", told, said.append)
    assert [line.partition(". If this")[0] for line in said] == [
        "params.in[0] is '***'",
        "params.within is 'file:///mnt/Kq9w'",
        "params.access_key is ***",
    ]


@pytest.mark.parametrize(
    "text", ["", "/", "s3://bucket/key", "hdfs:///tmp/x", "a/b", "~nobody/x", "5 / 3", "http://x/y", "x" * 5000]
)
def test_other_texts_are_none(text: str) -> None:
    said: list[str] = []
    check_locations("params", {"text": text, "number": 5, "none": None}, said.append)
    assert said == []


def test_what_the_cluster_may_have_at_the_same_path_is_not_refused(tmp_path: Path) -> None:
    """A path below a storage that is none of its versions."""
    with Storage(uri=str(tmp_path)).new_version(dg.AssetKey("go"), "run") as version:
        said: list[str] = []
        check_locations("params", {"text": f"{tmp_path}/other"}, said.append)
        assert len(said) == 1
        with pytest.raises(StorageUnusable):
            check_locations("params", {"text": f"{version.uri}/part-0"}, said.append)


@pytest.mark.parametrize(
    ("variables", "check"),
    [
        ({"EMR_PIPELINES_BUCKET": ""}, "bucket"),
        pytest.param({"EMR_PIPELINES_BUCKET": "s3a://bucket"}, "bucket", marks=pytest.mark.extended),
        pytest.param(
            {"EMR_PIPELINES_BUCKET": BUCKET, "EMR_PIPELINES_DEPLOYMENT": "data"}, "bucket", marks=pytest.mark.extended
        ),
        ({"EMR_PIPELINES_BUCKET": BUCKET, "AWS_REGION": "", "AWS_CONFIG_FILE": "/nowhere"}, "region"),
    ],
)
def test_settings_are_refused_as_the_doctor_says(
    emr_env: EmrEnv, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], check: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if check == "region":
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    works: list[Callable[[dg.AssetExecutionContext, EmrSparkRunner], Any]] = [
        lambda context, spark: spark.run(context, go, Places("s3://b/out")),
        lambda context, spark: spark.stage_inputs(context, [__file__]),
        lambda context, spark: spark.run_step(context, Step("s", ("bash",))),
    ]
    said = set()
    for work in works:
        with pytest.raises(Failed) as failed:
            emr_env.materialize(work, bucket="")
        said.add(str(failed.value))
    assert said == {doctor_says(check)}
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert untouched(emr_env)


@pytest.mark.parametrize(
    "form",
    [
        "file://{}/in",
        "~/in",
        *(pytest.param(form, marks=pytest.mark.extended) for form in ("{}/in", "in", "./in/*.txt", "~/in/a.txt")),
    ],
)
def test_sources_of_this_machine_are_copied_in_any_form(
    emr_env: EmrEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    source = form.format(tmp_path)
    uris = emr_env.materialize(lambda context, spark: spark.stage_inputs(context, [source]))
    (uri,) = uris
    assert [entry.uri for entry in emr_env.account.objects.entries(uri)] == [f"{uri}/a.txt"]


def test_a_source_that_no_program_reads_is_refused_before_a_launch(emr_env: EmrEnv) -> None:
    for source in ("s3a://bucket/in", "hdfs:///in"):
        spark = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, retries=0)
        failed = dg.materialize(
            [input_text],
            resources={"spark": spark, "storage": Storage(uri=f"s3://{BUCKET}/data")},
            run_config={"ops": {"input_text": {"config": {"sources": [source]}}}},
            instance=emr_env.instance,
            raise_on_error=False,
        )
        assert failure(failed).startswith(f"A source is '{source}'; allowed: a file, a folder or a glob on this mach")
    assert emr_env.account.emulator.clusters() == []
