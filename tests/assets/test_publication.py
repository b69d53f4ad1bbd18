"""What prevents a publication, and which resources are accepted."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from emr_pipelines.assets.program import program_asset
from emr_pipelines.assets.publication import AssetEvents, mistakes_as_failures, publish
from emr_pipelines.errors import InvalidValue
from emr_pipelines.pipelines.pi.assets import pi_estimates
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.emr import EmrSparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage
from tests.account import BUCKET
from tests.assets.test_program import Here, failure, run
from tests.emr_env import EmrEnv, emr_env

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["emr_env"]


@dataclass(frozen=True)
class Out:
    output: str
    how: str = "well"


@dataclass(frozen=True)
class Rows:
    row_count: int


@dataclass(frozen=True)
class Total:
    total: int


def folder_of(params: Out) -> Path:
    return Path(params.output.removeprefix("file://"))


def well(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "part-0.txt").write_text("x")


def nothing(_: Path) -> None: ...


def elsewhere(folder: Path) -> None:
    well(folder.with_name("elsewhere"))


def only_temporary(folder: Path) -> None:
    well(folder / "_temporary" / "0")
    (folder / "_SUCCESS").write_text("")


def deleted(folder: Path) -> None:
    well(folder)
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    folder.write_text("x")


def a_subfolder(folder: Path) -> None:
    well(folder / "day=1" / "hour=2")


def no_rows(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "part-0.txt").write_text("")


WAYS: dict[str, Callable[[Path], None]] = {
    way.__name__: way for way in (well, nothing, elsewhere, only_temporary, deleted, a_file, a_subfolder, no_rows)
}


def write(spark: Any, params: Out) -> Rows:  # noqa: ARG001
    """Write, or do not write, in one of several ways."""
    WAYS[params.how](folder_of(params))
    return Rows(3)


def find_nothing(spark: Any, params: Out) -> Rows:  # noqa: ARG001
    return Rows(0)


def add_up(spark: Any, params: Out) -> Total: ...  # type: ignore[empty-body]


def lazy(spark: "SparkSession", params: Out) -> Total:  # noqa: ARG001
    frame = spark.range(9).selectExpr("id * 2 AS twice")
    frame.filter("twice > 3")
    return Total(3)


def is_published(storage: Path, name: str = "write") -> bool:
    return Storage(uri=str(storage)).latest(dg.AssetKey(name)) is not None


@pytest.fixture
def dagster() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("how", ["nothing", "elsewhere", "only_temporary", "deleted", "a_file"])
def test_a_program_that_wrote_nothing_publishes_nothing(dagster: dg.DagsterInstance, tmp_path: Path, how: str) -> None:
    asset = program_asset(write, writes="output")
    assert run([asset], dagster, tmp_path, write={}).success
    kept = Storage(uri=str(tmp_path)).require(asset.key)
    failed = run([asset], dagster, tmp_path, write={"how": how})
    assert failure(failed).startswith(
        "The program ended well and wrote nothing to `output`, though its result says row_count=3. write was not "
        f"published: there is no file in {tmp_path}/write/"
    )
    assert "program_asset(..., may_be_empty=True)" in failure(failed)
    assert Storage(uri=str(tmp_path)).require(asset.key) == kept
    assert Path(kept.uri.removeprefix("file://"), "part-0.txt").exists()


@pytest.mark.parametrize("how", ["a_subfolder", "no_rows"])
def test_a_file_at_any_depth_and_of_any_size_is_data(dagster: dg.DagsterInstance, tmp_path: Path, how: str) -> None:
    assert run([program_asset(write, writes="output")], dagster, tmp_path, write={"how": how}).success
    assert is_published(tmp_path)


def test_a_lazy_frame_is_no_data(
    spark: "SparkSession",  # noqa: ARG001
    dagster: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    failed = run([program_asset(lazy, writes="output")], dagster, tmp_path, LocalSparkRunner())
    assert failure(failed).startswith("The program ended well and wrote nothing to `output`. lazy was not published")
    assert "a lazy DataFrame is written by an action, such as .write.parquet(...)" in failure(failed)


def eager(spark: "SparkSession", params: Out) -> Total:
    spark.range(9).write.parquet(params.output)
    return Total(9)


@pytest.mark.extended
def test_spark_here_has_no_s3_and_says_so(
    spark: "SparkSession",  # noqa: ARG001
    s3: Any,
    dagster: dg.DagsterInstance,
) -> None:
    s3.create_bucket(Bucket="no-spark-here")
    storage = Storage(uri="s3://no-spark-here/data")
    resources = {"spark": LocalSparkRunner(), "storage": storage}
    failed = dg.materialize(
        [program_asset(eager, writes="output")], resources=resources, instance=dagster, raise_on_error=False
    )
    said = failure(failed)
    assert said.startswith("Spark has no file system for this URI scheme: UnsupportedFileSystemException: No FileSys")
    assert "Spark on this machine reads and writes local paths. For s3://, run on EMR" in said
    assert storage.latest(dg.AssetKey("eager")) is None


def test_a_program_that_may_find_nothing_says_so(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    asset = program_asset(find_nothing, writes="output", may_be_empty=True)
    assert run([asset], dagster, tmp_path).success
    assert Storage(uri=str(tmp_path)).require(asset.key).uri.startswith(f"file://{tmp_path}/find_nothing/")


def test_rows_without_a_file_are_refused_all_the_same(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    asset = program_asset(write, writes="output", may_be_empty=True)
    failed = run([asset], dagster, tmp_path, write={"how": "nothing"})
    assert "wrote nothing to `output`, though its result says row_count=3." in failure(failed)


def test_an_option_that_nothing_would_read_is_refused() -> None:
    with pytest.raises(InvalidValue, match="may_be_empty is True; allowed: False, unless `writes` names a parameter"):
        program_asset(find_nothing, may_be_empty=True)


def test_an_empty_partition_names_itself(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    days = dg.StaticPartitionsDefinition(["nothing", "well"])
    asset = program_asset(write, writes="output", partition="how", partitions_def=days)
    assert run([asset], dagster, tmp_path, partition="well").success
    failed = run([asset], dagster, tmp_path, partition="nothing")
    assert "partition 'nothing' of write was not published: there is no file in" in failure(failed)
    assert Storage(uri=str(tmp_path)).latest(asset.key, "nothing") is None
    assert Storage(uri=str(tmp_path)).latest(asset.key, "well") is not None


def test_an_asset_of_one_s_own_is_held_to_it_too(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    @dg.asset
    def mine(context: dg.AssetExecutionContext, storage: Storage) -> AssetEvents:
        with mistakes_as_failures(), storage.new_version(context.asset_key, context.run.run_id) as version:
            yield from publish(context, storage, version, None, [], {})

    failed = dg.materialize(
        [mine], resources={"storage": Storage(uri=str(tmp_path))}, instance=dagster, raise_on_error=False
    )
    assert failure(failed).startswith(f"mine was not published: there is no file in {tmp_path}/mine/")


def on_emr(emr_env: EmrEnv, asset: dg.AssetsDefinition, **settings: Any) -> dg.ExecuteInProcessResult:
    runner = EmrSparkRunner(bucket=BUCKET, ship_dependencies=False, retries=0, log_wait_seconds=0, **settings)
    return dg.materialize(
        [asset],
        resources={"spark": runner, "storage": Storage(uri=f"s3://{BUCKET}/data")},
        instance=emr_env.instance,
        raise_on_error=False,
    )


def test_on_emr_a_program_that_wrote_nothing_publishes_nothing(emr_env: EmrEnv) -> None:
    failed = on_emr(emr_env, program_asset(add_up, writes="output", retry_policy=dg.RetryPolicy(max_retries=3)))
    assert failure(failed).startswith(
        "The program ended well and wrote nothing to `output`. add_up was not published: there is no file in "
        f"s3://{BUCKET}/data/add_up/"
    )
    (cluster,) = emr_env.account.emulator.clusters()
    assert [str(step.state) for step in cluster.steps.values()] == ["COMPLETED"]  # and was not tried again
    assert Storage(uri=f"s3://{BUCKET}/data").latest(dg.AssetKey("add_up")) is None


def test_on_emr_a_program_may_find_nothing(emr_env: EmrEnv) -> None:
    assert on_emr(emr_env, program_asset(add_up, writes="output", may_be_empty=True)).success
    assert Storage(uri=f"s3://{BUCKET}/data").require(dg.AssetKey("add_up")).run_id


class OldSpark(dg.ConfigurableResource[None]):
    """A project's own resource with the same key."""

    master: str = "local"


def test_resources_may_have_other_keys(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    asset = program_asset(write, writes="output", spark="emr", storage="lake")
    assert asset.required_resource_keys >= {"emr", "lake"}
    assert not asset.required_resource_keys & {"spark", "storage"}
    resources = {"emr": Here(), "lake": Storage(uri=str(tmp_path)), "spark": OldSpark(), "storage": object()}
    assert dg.materialize([asset], resources=resources, instance=dagster).success
    assert is_published(tmp_path)
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="resource with key 'emr' required by op 'write' was"):
        dg.Definitions(assets=[asset], resources={"spark": Here(), "lake": Storage()}).resolve_all_job_defs()


@pytest.mark.parametrize(
    ("key", "found", "says"),
    [
        ("spark", OldSpark(), ("The resource 'spark' of write is 'tests.assets.test_publication.OldSpark'; allowed: a "
         "SparkRunner; if yours has another key, say program_asset(..., spark='<key>').")),
        ("storage", "s3://bucket", ("The resource 'storage' of write is 'builtins.str'; allowed: a Storage; if yours "
         "has another key, say program_asset(..., storage='<key>').")),
    ],
)  # fmt: skip
def test_a_resource_of_another_kind_is_named(
    dagster: dg.DagsterInstance, tmp_path: Path, key: str, found: object, says: str
) -> None:
    asset = program_asset(write, writes="output")
    resources = {"spark": Here(), "storage": Storage(uri=str(tmp_path)), key: found}
    failed = dg.materialize([asset], resources=resources, instance=dagster, raise_on_error=False)
    assert failure(failed) == says
    assert list(tmp_path.iterdir()) == []  # before anything else


def test_assets_of_this_package_name_it_too(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    resources = {"spark": OldSpark(), "storage": Storage(uri=str(tmp_path))}
    failed = dg.materialize([pi_estimates], resources=resources, instance=dagster, raise_on_error=False)
    assert failure(failed) == (
        "The resource 'spark' of pi_estimates is 'tests.assets.test_publication.OldSpark'; allowed: a SparkRunner."
    )


def test_a_runner_may_be_anybody_s(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    """A subclass, or a resource that a function creates."""

    @dg.resource
    def made(_: object) -> SparkRunner:
        return Here()

    asset = program_asset(write, writes="output")
    resources = {"spark": made, "storage": Storage(uri=str(tmp_path))}
    assert dg.materialize([asset], resources=resources, instance=dagster).success


@dataclass(frozen=True)
class Keyed:
    output: str
    key: str


def write_key(spark: Any, params: Keyed) -> None:  # noqa: ARG001
    folder = Path(params.output.removeprefix("file://"))
    folder.mkdir(parents=True)
    (folder / "key.txt").write_text(params.key)


@pytest.mark.parametrize("key", ["日" * 40, "x" * 300])
def test_a_partition_with_a_long_key_is_published_and_found(
    dagster: dg.DagsterInstance, tmp_path: Path, key: str
) -> None:
    keys = dg.StaticPartitionsDefinition(["a", key])
    asset = program_asset(write_key, writes="output", partition="key", partitions_def=keys)
    assert run([asset], dagster, tmp_path, partition=key).success
    published = Storage(uri=str(tmp_path)).require(asset.key, key)
    assert Path(published.path, "key.txt").read_text() == key
