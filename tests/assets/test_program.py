"""program_asset: assets made from programs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, cast

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emr_pipelines.assets.program import program_asset
from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.job.imports import walk
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Square:
    number: Annotated[int, "Any whole number."]
    square: int
    note: str | None = None


@dataclass(frozen=True)
class SquaresParams:
    output: str
    upto: Annotated[int, "The last number."] = 3
    without: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.upto < 0:
            raise ValueError(f"upto is {self.upto}; allowed: 0 or more.")


@dataclass(frozen=True)
class SquaresResult:
    rows: tuple[Square, ...]
    row_count: int
    total: int
    digest: str


@dataclass(frozen=True)
class SumParams:
    table: str
    factor: float = 1


@dataclass(frozen=True)
class SumResult:
    total: float
    of: dict[str, int]


@dataclass(frozen=True)
class DayParams:
    day: str
    output: str
    factor: int = 1


@dataclass(frozen=True)
class WindowParams:
    window: tuple[str, str]
    days: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    words: tuple[str, ...]


def squares(spark: SparkSession, params: SquaresParams) -> SquaresResult:
    """The squares of the first numbers."""
    found = [Square(n, n * n) for n in range(params.upto + 1) if n not in params.without]
    frame = spark.createDataFrame([(row.number, row.square) for row in found], "number int, square int")
    frame = frame.withMetadata("square", {"comment": "Number times number."})
    frame.write.mode("overwrite").parquet(params.output)
    total = sum(row.square for row in found)
    return SquaresResult(tuple(found), len(found), total, f"d{total}")


def scaled_sum(spark: SparkSession, params: SumParams) -> SumResult:
    rows = spark.read.parquet(params.table).collect()
    return SumResult(params.factor * sum(row["square"] for row in rows), {"rows": len(rows)})


def write_day(spark: Any, params: DayParams) -> Found:  # noqa: ARG001
    Path(params.output.removeprefix("file://")).mkdir(parents=True)
    pq.write_table(pa.table({"day": [params.day]}), f"{params.output.removeprefix('file://')}/part-0.parquet")
    return Found((params.day,))


def read_days(spark: Any, params: WindowParams) -> Found:  # noqa: ARG001
    days = [pq.read_table(uri.removeprefix("file://"))["day"].to_pylist() for uri in params.days]
    return Found((*params.window, *(day for found in days for day in found)))


def read_uri(spark: Any, params: SumParams) -> Found:  # noqa: ARG001
    return Found((params.table,))


def even(result: SquaresResult) -> bool:
    """The total is even."""
    return result.total % 2 == 0


class Here(SparkRunner):
    """Runs programs that need no session."""

    brought: str = "brought:"

    def run(self, context: dg.AssetExecutionContext, program: Callable[..., Any], params: Any) -> Any:  # noqa: ARG002
        return program(None, params)

    def stage_inputs(self, context: dg.AssetExecutionContext, sources: Sequence[str]) -> list[str]:
        context.log.info(f"stages {sources}")
        return [f"{self.brought}{source}" for source in sources]

    def named_here(self, text: str) -> str:
        return text


def run(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    instance: dg.DagsterInstance,
    storage: Path | None = None,
    spark: SparkRunner | None = None,
    partition: str | None = None,
    only: Sequence[str] | None = None,
    **config: Any,
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        assets,
        resources={"spark": spark or Here(), **({"storage": Storage(uri=str(storage))} if storage else {})},
        run_config={"ops": {name: {"config": settings} for name, settings in config.items()}},
        instance=instance,
        raise_on_error=False,
        partition_key=partition,
        selection=only,
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the failed step's message."""
    (event,) = (event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE)
    assert event.step_failure_data.error is not None
    assert event.step_failure_data.user_failure_data is not None, event.step_failure_data.error
    return str(event.step_failure_data.user_failure_data.description)


@pytest.fixture
def dagster() -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_programs_become_assets_that_read_and_write_data(
    spark: SparkSession,  # noqa: ARG001
    dagster: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    first = program_asset(squares, writes="output", checks=[even], group_name="numbers")
    second = program_asset(scaled_sum, reads={"table": first}, name="double")
    here = LocalSparkRunner()
    config: dict[str, Any] = {"squares": {"upto": 4, "without": [1, 3]}, "double": {"factor": 2}}
    result = run([first, second], dagster, tmp_path, here, **config)
    assert result.success
    (of_first,), (of_second,) = (result.asset_materializations_for_node(name) for name in ("squares", "double"))
    assert of_first.metadata["total"].value == 20
    assert of_first.metadata["dagster/row_count"].value == 3
    rows = of_first.metadata["rows"]
    assert isinstance(rows, dg.TableMetadataValue)
    assert dict(rows.records[1].data) == {"number": 2, "square": 4, "note": None}
    shown = [
        (column.name, column.type, column.description, column.constraints.nullable) for column in rows.schema.columns
    ]
    assert shown == [
        ("number", "int", "Any whole number.", False), ("square", "int", None, False), ("note", "string", None, True),
    ]  # fmt: skip
    schema = of_first.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert [(column.name, column.type, column.description) for column in schema.columns] == [
        ("number", "int32", None), ("square", "int32", "Number times number."),
    ]  # fmt: skip
    assert (of_first.tags or {})["dagster/data_version"] == "d20"
    assert of_second.metadata["total"].value == 40.0
    assert of_second.metadata["of"].value == {"rows": 3}
    assert "dagster/column_schema" not in of_second.metadata
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("even", True)

    kept = Storage(uri=str(tmp_path)).require(dg.AssetKey("squares"))
    odd = run([first, second], dagster, tmp_path, here, squares={"upto": 1})
    assert not odd.success
    assert failure(odd).startswith("squares was not published because it failed: even: The total is even. row_count=2,")
    assert [check.passed for check in odd.get_asset_check_evaluations()] == [False]
    assert Storage(uri=str(tmp_path)).require(dg.AssetKey("squares")) == kept


def test_an_asset_is_what_dagster_s_options_say() -> None:
    asset = program_asset(
        squares, writes="output", checks=[even], key=["a", "b"], owners=["team:numbers"], kinds={"parquet"},
        deps=["c"], required_resource_keys={"more"}, retry_policy=dg.RetryPolicy(max_retries=3), metadata={"is": "so"},
    )  # fmt: skip
    spec = asset.get_asset_spec()
    assert spec.key == dg.AssetKey(["a", "b"])
    assert spec.description == "The squares of the first numbers."
    assert (spec.owners, spec.kinds, bool(spec.code_version)) == (["team:numbers"], {"parquet"}, True)
    assert ([dep.asset_key for dep in spec.deps], spec.metadata["is"]) == ([dg.AssetKey("c")], "so")
    assert asset.required_resource_keys >= {"spark", "storage", "more"}
    (check,) = asset.check_specs
    assert (check.name, check.blocking, check.description) == ("even", True, "The total is even.")
    prefixed = program_asset(read_uri, reads={"table": "t"}, checks=[is_fine], key_prefix="a", name="b")
    assert (prefixed.key, [check.asset_key for check in prefixed.check_specs]) == (spec.key, [spec.key])


def test_an_option_that_is_none_is_as_if_left_out() -> None:
    nothing: dict[str, Any] = dict.fromkeys(["deps", "name", "key", "key_prefix", "required_resource_keys", "owners"])
    asset = program_asset(read_uri, reads={"table": "t"}, **nothing)
    assert (asset.key, asset.op.name) == (dg.AssetKey("read_uri"), "read_uri")
    assert [dep.asset_key for dep in asset.get_asset_spec().deps] == [dg.AssetKey("t")]
    assert asset.get_asset_spec().code_version
    without = program_asset(read_uri, reads={"table": "t"}, code_version=None, description=None).get_asset_spec()
    assert (without.code_version, without.description) == (None, None)


def is_fine(result: object) -> bool:
    return bool(result)


@dataclass(frozen=True)
class Window:
    days: Annotated[int, "How many."]
    from_day: str = "2026-01-01"


@dataclass(frozen=True)
class Settings:
    mode: Annotated[Literal["append", "over-write"], "What to do."]
    window: Window
    ratio: float = 1
    limit: int | None = None
    also: Optional[Literal["x"]] = None  # noqa: UP045 (both are written)
    names: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=lambda: {"a": 0.5})
    pair: tuple[int, str] = (1, "one")
    windows: tuple[Window, ...] = (Window(7),)
    either: int | str = 3
    derived: str = field(init=False, default="not a setting")


def show(spark: Any, params: Settings) -> Found:  # noqa: ARG001
    return Found((repr(params),))


@dataclass(frozen=True)
class Empty:
    pass


def empty(spark: Any, params: Empty) -> Empty:  # noqa: ARG001
    return params


def nothing(spark: Any, params: None) -> None: ...


def test_parameters_are_described_settings(dagster: dg.DagsterInstance) -> None:
    asset = program_asset(show)
    schema: Any = asset.op.config_schema.config_type
    assert {name: setting.is_required for name, setting in schema.fields.items()} == {
        "mode": True, "window": True, "ratio": False, "limit": False, "also": False, "names": False, "weights": False,
        "pair": False, "windows": False, "either": False,
    }  # fmt: skip
    assert schema.fields["mode"].description == "What to do."
    assert schema.fields["window"].config_type.fields["days"].description == "How many."
    assert schema.fields["windows"].default_value == [{"days": 7, "from_day": "2026-01-01"}]

    def read(**settings: Any) -> str:
        result = run([asset], dagster, show=settings)
        words: Any = result.asset_materializations_for_node("show")[0].metadata["words"].value
        return str(words[0])

    expected = Settings("append", Window(2), 1.0)
    assert read(mode="append", window={"days": 2}) == repr(expected)
    told = Settings(
        "over-write", Window(1, "d"), 2.5, 9, "x", ["n"], {}, (2, "two"), (Window(3), Window(4)), "text",
    )  # fmt: skip
    settings = {
        "mode": "over-write", "window": {"days": 1, "from_day": "d"}, "ratio": 2.5, "limit": 9, "also": "x",
        "names": ["n"], "weights": {}, "pair": [2, "two"], "windows": [{"days": 3}, {"days": 4}], "either": "text",
    }  # fmt: skip
    assert read(**settings) == repr(told)
    assert read(mode="append", window={"days": 2}, limit=None, ratio=1) == repr(expected)


def test_a_program_may_have_neither_parameters_nor_result(dagster: dg.DagsterInstance) -> None:
    asset = program_asset(nothing)
    result = run([asset], dagster)
    assert result.success
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "more"'):
        run([asset], dagster, nothing={"more": 1})
    assert len(result.asset_materializations_for_node("nothing")) == 1
    assert run([program_asset(empty)], dagster).success


def test_wrong_settings_are_said_in_a_sentence(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    asset = program_asset(show)
    for settings, said in (
        ({"mode": "delete"}, "not in enum type 'append' or 'over-write' got delete"),
        ({"mode": "append", "sauce": 1}, 'unexpected config entry "sauce" at path root:ops:show:config'),
    ):
        with pytest.raises(dg.DagsterInvalidConfigError, match=said):
            run([asset], dagster, show={"window": {"days": 1}, **settings})
    result = run([asset], dagster, show={"mode": "append", "window": {"days": 1}, "pair": [1, 2]})
    assert failure(result) == "config.pair[1] is 2; allowed: str."
    refused = run([program_asset(squares, writes="output")], dagster, tmp_path, squares={"upto": -1})
    assert failure(refused) == "config cannot be made a SquaresParams: upto is -1; allowed: 0 or more."


@dataclass
class Thawed:
    output: str


@dataclass(frozen=True)
class Dated:
    day: Decimal


@dataclass(frozen=True)
class Disagrees:
    upto: int = "three"  # type: ignore[assignment]


@dataclass(frozen=True)
class Unknown:
    value: Nowhere  # type: ignore[name-defined]  # noqa: F821


def no_parameters(spark: Any) -> None: ...
def three(spark: Any, params: SumParams, more: int) -> None: ...
def number(spark: Any, params: int) -> None: ...
def silent(spark, params) -> None: ...  # type: ignore[no-untyped-def]
def gives_dict(spark: Any, params: SumParams) -> dict[str, int]: ...  # type: ignore[empty-body]
def gives_nothing_said(spark: Any, params: SumParams): ...  # type: ignore[no-untyped-def]
def thawed(spark: Any, params: Thawed) -> None: ...
def dated(spark: Any, params: Dated) -> None: ...
def disagrees(spark: Any, params: Disagrees) -> None: ...
def unknown(spark: Any, params: Unknown) -> None: ...


@dataclass(frozen=True)
class Numbered:
    digest: int


@dataclass(frozen=True)
class Placed:
    path: str


def numbered(spark: Any, params: DayParams) -> Numbered: ...  # type: ignore[empty-body]
def placed(spark: Any, params: DayParams) -> Placed: ...  # type: ignore[empty-body]


class Holder:
    @staticmethod
    def method(spark: Any, params: SumParams) -> None: ...


DAILY = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-03-01")
COLOURS = dg.StaticPartitionsDefinition(["red", "a/b:c"])


@pytest.mark.parametrize(
    ("program", "options", "said"),
    [
        (no_parameters, {}, r"no_parameters cannot be called with \(spark, params\)"),
        (three, {}, r"three cannot be called with \(spark, params\)"),
        (number, {}, "number takes int; allowed: a dataclass of JSON types"),
        (silent, {}, "silent says nothing of what it takes; annotate it with a dataclass, or None"),
        (gives_dict, {}, r"gives_dict returns dict\[str, int\]; allowed: a dataclass of JSON types"),
        (gives_nothing_said, {}, "gives_nothing_said says nothing of what it returns"),
        (lambda spark, params: None, {}, "is a lambda, a method or a function within another"),  # noqa: ARG005
        (Holder.method, {}, "is a lambda, a method or a function within another"),
        (thawed, {}, r"parameters, Thawed, is 'not frozen'; allowed: @dataclass\(frozen=True\)"),
        (dated, {}, r"Dated.day is annotated Decimal; allowed: str, int, .* Write a Decimal as text: str\(value\)"),
        (disagrees, {}, "Disagrees.upto is 'three'; allowed: int"),
        (unknown, {}, "annotations of Unknown cannot be resolved: name 'Nowhere' is not defined; import"),
        (nothing, {"writes": "output"}, "writes is 'output'; allowed: a parameter of NoneType: it has none"),
        (squares, {"writes": "outptu"}, "writes is 'outptu'; allowed: a parameter of SquaresParams: output, upto, wit"),
        (squares, {"writes": "upto"}, "The type of SquaresParams.upto, in writes, is <class 'int'>; allowed: str"),
        (squares, {"reads": {"tabel": "t"}}, "reads is 'tabel'; allowed: a parameter of SquaresParams"),
        (squares, {"reads": {"without": "t"}}, r"without, in reads, .* allowed: str or tuple\[str, \.\.\.\]"),
        (squares, {"reads": {"output": "t"}, "writes": "output"}, "writes is 'output'; allowed: .* that is not also"),
        (write_day, {"writes": "output", "partition": "day"}, "partition is 'day'; allowed: .* have a partitions_def"),
        (write_day, {"partitions_def": DAILY}, "partition is ''; allowed: the parameter that becomes the partition's"),
        (write_day, {"partitions_def": DAILY, "partition": "factor"}, r"factor, in partition, .* or tuple\[str, str\]"),
        (read_days, {"partitions_def": COLOURS, "partition": "window"}, r"window is 'tuple\[str, str\]'; allowed: str"),
        (
            write_day,
            {"partitions_def": DAILY, "partition": "day", "backfill_policy": dg.BackfillPolicy.single_run()},
            r"backfill_policy is .*; allowed: BackfillPolicy.multi_run\(1\), for a run publishes one partition",
        ),
        (numbered, {}, "The type of Numbered.digest is <class 'int'>; allowed: str, for it is the data version"),
        (placed, {"writes": "output"}, "A field of Placed is 'path'; allowed: any other name, for path, unch"),
        (squares, {"reads": {"output": even}}, "An asset that is read is 'the function even'; allowed: its asset"),
        (squares, {"group": "g"}, "An option of program_asset is 'group'; allowed: .*, group_name, .*"),
        (squares, {"ins": {}}, "An option of program_asset is 'ins'; allowed: "),
        (squares, {"key": "a", "name": "b"}, "key is 'a'; allowed: a key, or a name and a key_prefix"),
        (squares, {"checks": [even, even]}, "A check is 'even'; allowed: .* each with a name of its own"),
        (squares, {"checks": [lambda result: True]}, "A check is '<lambda>'; allowed: "),  # noqa: ARG005
    ],
)  # fmt: skip
def test_mistakes_are_said_in_a_sentence(program: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidValue, PackagingError), match=said):
        program_asset(program, **options)


def says_so(result: Found) -> tuple[bool, str]:
    return len(result.words) == 1, f"{len(result.words)} words"


def warns(result: Found) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=False, severity=dg.AssetCheckSeverity.WARN, description="so so", metadata={"n": len(result.words)}
    )


def raises(result: Found) -> bool:
    return len(result.words) / 0 > 1


def forgets(result: Found) -> None: ...


def test_checks_say_more_than_yes_or_no(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    config: dict[str, Any] = {"write_day": {"day": "x"}}
    good = run([program_asset(write_day, writes="output", checks=[says_so, warns])], dagster, tmp_path, **config)
    assert good.success
    said = {check.check_name: check for check in good.get_asset_check_evaluations()}
    assert (said["says_so"].passed, said["says_so"].description) == (True, "1 words")
    assert (said["warns"].passed, said["warns"].severity, said["warns"].metadata["n"].value) == (
        False,
        dg.AssetCheckSeverity.WARN,
        1,
    )
    kept = Storage(uri=str(tmp_path)).require(dg.AssetKey("write_day"))
    for check, because in (
        (raises, "raises: It raised ZeroDivisionError: division by zero"),
        (forgets, "forgets: It returned None; allowed: a bool, (bool, description), or an AssetCheckResult."),
    ):
        asset = program_asset(write_day, writes="output", checks=[check, says_so])  # type: ignore[list-item]
        bad = run([asset], dagster, tmp_path, **config)
        assert f"write_day was not published because it failed: {because}" in failure(bad)
        assert [check.passed for check in bad.get_asset_check_evaluations()] == [False, True]
        assert Storage(uri=str(tmp_path)).require(dg.AssetKey("write_day")) == kept


@pytest.mark.parametrize("yes", [True, np.bool_(True), (np.bool_(True), "fine"), (np.bool_(True), np.str_("fine"))])
def test_numpy_s_booleans_are_answers(dagster: dg.DagsterInstance, yes: Any) -> None:
    def says_yes(_: Any) -> Any:
        return yes

    def says_no(_: Any) -> Any:
        return np.bool_(False)

    spec = dg.AssetSpec("table", metadata={"dagster/uri": "s3://a/b"})
    result = run([program_asset(read_uri, reads={"table": spec}, checks=[says_yes, says_no])], dagster)
    assert failure(result).startswith("read_uri was not published because it failed: says_no: ")
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True, False]


def test_a_result_that_fails_its_check_is_not_materialized(dagster: dg.DagsterInstance) -> None:
    spec = dg.AssetSpec("table", metadata={"dagster/uri": "s3://a/b"})
    result = run([program_asset(read_uri, reads={"table": spec}, checks=[raises])], dagster)
    assert failure(result).startswith("read_uri was not published because it failed: raises: ")
    assert result.asset_materializations_for_node("read_uri") == []


def test_data_of_others_is_read_where_they_say(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    """Local files are copied to where the program runs."""
    spec = dg.AssetSpec(["lake", "table"], metadata={"dagster/uri": dg.MetadataValue.path("file:///in/*.csv")})
    asset = program_asset(read_uri, reads={"table": spec})
    assert "storage" not in asset.required_resource_keys
    assert [dep.asset_key for dep in asset.get_asset_spec().deps] == [spec.key]
    (event,) = run([asset, spec], dagster).asset_materializations_for_node("read_uri")
    assert event.metadata["words"].value == ["brought:/in/*.csv"]
    nowhere = run([program_asset(read_uri, reads={"table": "other"})], dagster, tmp_path)
    assert failure(nowhere) == (
        f"other has no published version in {tmp_path}; materialize it first. If it is not a program's, name it by an "
        "AssetSpec with 'dagster/uri' in its metadata."
    )


def test_a_partition_is_published_on_its_own(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    day = program_asset(write_day, writes="output", partition="day", partitions_def=DAILY)
    month = program_asset(
        read_days,
        reads={"days": day},
        partition="window",
        partitions_def=dg.MonthlyPartitionsDefinition("2026-01-01", end_date="2026-03-01"),
    )
    plain = program_asset(write_day, name="plain", writes="output")
    assets = [day, month, plain]
    for number in range(1, 28):
        assert run(assets, dagster, tmp_path, partition=f"2026-02-{number:02}", only=["write_day"]).success
    partly = run(assets, dagster, tmp_path, partition="2026-02-01", only=["read_days"])
    (event,) = partly.asset_materializations_for_node("read_days")
    assert event.metadata["absent_partitions"].value == 1
    both = run(assets, dagster, tmp_path, partition="2026-02-28", only=["write_day", "plain"], plain={"day": "x"})
    assert both.success  # an unpartitioned asset may be materialized with a partitioned one
    (whole,) = run(
        assets, dagster, tmp_path, partition="2026-02-01", only=["read_days"]
    ).asset_materializations_for_node("read_days")
    assert whole.metadata["words"].value == [
        "2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00", *(f"2026-02-{n:02}" for n in range(1, 29)),
    ]  # fmt: skip
    storage = Storage(uri=str(tmp_path))
    first, second = (
        storage.require(dg.AssetKey(["write_day", f"partition=2026-02-{number}"])).uri for number in ("01", "02")
    )
    assert [pq.read_table(uri.removeprefix("file://"))["day"].to_pylist() for uri in (first, second)] == [
        ["2026-02-01"],
        ["2026-02-02"],
    ]
    assert storage.latest(dg.AssetKey("write_day")) is None
    assert storage.latest(dg.AssetKey("plain")) is not None
    assert failure(run([day], dagster, tmp_path)).startswith("The partition of write_day is None; allowed: exactly one")


@pytest.mark.extended
def test_a_partition_may_be_of_two_dimensions(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    both = dg.MultiPartitionsDefinition({"colour": COLOURS, "day": DAILY})
    asset = program_asset(write_day, writes="output", partition="day", partitions_def=both)
    key = dg.MultiPartitionKey({"colour": "red", "day": "2026-01-02"})
    result = run([asset], dagster, tmp_path, partition=key)
    (event,) = result.asset_materializations_for_node("write_day")
    assert event.metadata["words"].value == ["red|2026-01-02"]


def test_one_parameter_takes_one_partition(dagster: dg.DagsterInstance, tmp_path: Path) -> None:
    colour = program_asset(write_day, writes="output", partition="day", partitions_def=COLOURS)
    one = program_asset(read_uri, reads={"table": colour}, name="one")
    mapping = dg.SpecificPartitionsPartitionMapping(["a/b:c"])
    said = program_asset(read_uri, reads={"table": dg.AssetDep(colour, partition_mapping=mapping)}, name="said")
    each = program_asset(
        write_day, name="each", writes="output", partition="day", partitions_def=COLOURS, deps=[colour]
    )
    assert run([colour, one, each], dagster, tmp_path, partition="a/b:c", only=["write_day", "each"]).success
    assert (tmp_path / "each" / "partition=a%2Fb%3Ac" / "latest.json").exists()
    (event,) = run([colour, said], dagster, tmp_path, only=["said"]).asset_materializations_for_node("said")
    assert f"{tmp_path}/write_day/partition=a%2Fb%3Ac/" in str(event.metadata["words"].value)
    refused = run([colour, one, each], dagster, tmp_path, only=["one"])
    assert failure(refused).startswith("The number of partitions of write_day is 2; allowed: one; a parameter of type")


def spark_writes_day(spark: SparkSession, params: DayParams) -> Found:
    spark.createDataFrame([(params.day,)], "day string").write.parquet(params.output)
    return Found((params.day,))


def spark_reads_days(spark: SparkSession, params: WindowParams) -> Found:
    frame = spark.read.parquet(*params.days)
    return Found((*frame.columns, *sorted(row["day"] for row in frame.collect())))


@pytest.mark.extended
def test_spark_reads_and_writes_partitions_with_any_key(
    spark: SparkSession,  # noqa: ARG001
    dagster: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    first = program_asset(spark_writes_day, name="first", writes="output", partition="day", partitions_def=COLOURS)
    whole = program_asset(spark_reads_days, name="whole", reads={"days": first})
    for colour in ("red", "a/b:c"):
        assert run([first], dagster, tmp_path, LocalSparkRunner(), partition=colour).success
    config = {"window": ["", ""]}
    result = run([first, whole], dagster, tmp_path, LocalSparkRunner(), only=["whole"], whole=config)
    (event,) = result.asset_materializations_for_node("whole")
    assert event.metadata["words"].value == ["day", "a/b:c", "red"]


ATTEMPTS: list[str] = []


@dataclass(frozen=True)
class Total:
    total: float


def fails_once(spark: Any, params: SumParams) -> Total:  # noqa: ARG001
    ATTEMPTS.append(params.table)
    if len(ATTEMPTS) == 1:
        raise ConnectionError("not now")
    return Total(4)


def sums_decimals(spark: Any, params: None) -> Total:  # noqa: ARG001
    return Total(cast("float", Decimal("3.5")))


def test_a_retry_policy_is_dagster_s(dagster: dg.DagsterInstance) -> None:
    spec = dg.AssetSpec("t", metadata={"dagster/uri": "s3://a/b"})
    asset = program_asset(fails_once, reads={"table": spec}, retry_policy=dg.RetryPolicy(max_retries=1))
    ATTEMPTS.clear()
    (event,) = run([asset], dagster).asset_materializations_for_node("fails_once")
    assert event.metadata["total"].value == 4.0
    assert ATTEMPTS == ["brought:s3://a/b"] * 2


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Write modules into a folder on sys.path; unload them afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        invalidate_caches()

    yield write
    for name in [name for name in set(sys.modules) - before if name.startswith("versioned")]:
        del sys.modules[name]


PROGRAM = "def run(spark, params: None) -> None: ...\n"


def test_a_code_version_changes_with_what_the_program_imports(write: Callable[[dict[str, str]], None]) -> None:
    write({
        "versioned/__init__.py": "",
        "versioned/job.py": f"from versioned import near\nimport dagster_pipes\n{PROGRAM}",
        "versioned/near.py": "def f():\n    import versioned_far\n",
        "versioned/other.py": "",
        "versioned_far.py": "",
    })  # fmt: skip
    program = import_module("versioned.job").run

    def version() -> str:
        (spec,) = program_asset(program).specs
        return str(spec.code_version)

    first = version()
    assert first == version()
    write({"versioned/other.py": "# of no concern\n"})
    assert version() == first
    seen = {first}
    for name in ("versioned_far.py", "versioned/near.py", "versioned/__init__.py", "versioned/job.py"):
        write({name: f"{PROGRAM}# changed\n" if name.endswith("job.py") else "# changed, and longer\n"})
        seen.add(version())
        if name == "versioned/near.py":
            write({name: "import versioned_far\n"})
    assert len(seen) == 5
    assert "versioned_far" not in sys.modules


def test_the_assets_of_this_package_are_versioned_by_all_that_their_programs_import() -> None:
    reached = set(walk("emr_pipelines.pipelines.word_count.count").own)
    assert {
        f"emr_pipelines.{name}" for name in ("pipelines.word_count.words", "remote.files", "remote.progress")
    } <= reached
    reached = set(walk("emr_pipelines.assets.costs").own)  # no program: its own source counts
    assert reached >= {"emr_pipelines.assets.costs"}
    assert "emr_pipelines.runners.base" not in reached


def test_a_program_that_no_cluster_can_import_is_warned_of(write: Callable[[dict[str, str]], None]) -> None:
    write({
        "versioned/__init__.py": "import dagster\n",
        "versioned/job.py": PROGRAM,
        "versioned_alone.py": PROGRAM,
    })  # fmt: skip
    with pytest.warns(
        UserWarning, match=r"versioned\.job:run cannot run on a cluster: .*__init__\.py, line 1, imports d"
    ) as all_told:
        program_asset(import_module("versioned.job").run)
    assert [Path(told.filename).name for told in all_told] == [Path(__file__).name]  # where the asset is made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program_asset(import_module("versioned_alone").run)


@dataclass(frozen=True)
class Node:
    children: tuple[Node, ...] = ()


def tree(spark: Any, params: Node) -> None: ...
def grows(spark: Any, params: None) -> Node: ...  # type: ignore[empty-body]
def dates(spark: Any, params: None) -> Dated: ...  # type: ignore[empty-body]
async def later(spark: Any, params: None) -> None: ...


def test_what_a_program_returns_is_judged_at_load() -> None:
    with pytest.raises(PackagingError, match=r"Dated\.day is annotated Decimal; allowed: .* Write a Decimal as text"):
        program_asset(dates)
    with pytest.raises(PackagingError, match=r"later is a coroutine function \(async def\)"):
        program_asset(later)
    with pytest.raises(
        PackagingError, match=r"Node\.children is a Node within a Node, so its settings would have no end"
    ):
        program_asset(tree)
    program_asset(grows)


def test_what_could_not_come_from_a_cluster_is_refused_here(dagster: dg.DagsterInstance) -> None:
    result = run([program_asset(sums_decimals)], dagster)
    assert failure(result).startswith("result.total is Decimal('3.5'); allowed: JSON types")
