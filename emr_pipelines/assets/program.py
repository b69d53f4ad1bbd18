"""Make an asset of a program: its settings are the program's parameters, its metadata and checks use the result."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import dagster as dg

from emr_pipelines.assets.checks import CheckResult, check_specs
from emr_pipelines.assets.fields import members_of, settings_of
from emr_pipelines.assets.program_work import ProgramWork, is_tuple
from emr_pipelines.assets.publication import OF_PUBLICATION, AssetEvents, code_version
from emr_pipelines.assets.reads import Upstream, source_of
from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.imports import needs_dagster
from emr_pipelines.job.modules import module_name
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.storage.address import validate_ways_out

ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")
OURS = {"compute_fn", "kwargs", "ins", "config_schema", "check_specs", "dagster_type", "output_required", "is_virtual"}
OPTIONS = set(inspect.signature(dg.asset).parameters) - OURS
MAY_BE_NONE = {"kinds", "description", "code_version"}  # which None leaves out; for all other options it is the default


def program_asset(
    program: Callable[[Any, ParamsT], ResultT],
    *,
    reads: Mapping[str, Upstream] | None = None,
    writes: str = "",
    may_be_empty: bool = False,
    partition: str = "",
    spark: str = "spark",
    storage: str = "storage",
    checks: Sequence[Callable[[ResultT], CheckResult]] = (),
    **options: Any,
) -> dg.AssetsDefinition:
    """Return the asset that a program materializes.

    It is named after the function, unless `options` has a `name` or `key`. For example, an asset whose data another one
    reads:

        orders = program_asset(load_orders, writes="output", partitions_def=days, partition="day")
        report = program_asset(sum_up, reads={"orders": orders}, writes="output", checks=[not_empty])

    reads: by parameter, the asset whose data it reads; the parameter becomes the data's URI, and the asset a
        dependency. An asset that no program of this package writes is given as an AssetSpec with "dagster/uri" in its
        metadata; files of this machine are copied to where the program runs. A parameter of type `tuple[str, ...]`
        becomes the URIs of the published partitions that Dagster maps to the asset's own (an AssetDep can set the
        mapping). Unpublished ones are logged, and `absent_partitions` in the metadata counts them.
    writes: the parameter that becomes the URI of a new version of this asset's data. The version is published if the
        program succeeds, has written a file there, and no check fails. Without it, the asset has only a result.
    may_be_empty: whether a version without files may be published (default: no). Its readers get the URI of a folder
        without files.
    partition: with `partitions_def` in the options, the parameter that becomes the partition's key; or, if its type is
        `tuple[str, str]`, the start and end of its time window in ISO 8601. Partitions are published each on their own.
    spark, storage: the keys of the resources that run the program, a SparkRunner, and that keep data, a Storage. The
        latter is needed to write data, or to read what another program wrote.
    checks: functions of the result that return a bool, (bool, description), or an AssetCheckResult.
        Each is an asset check with the function's name and docstring. If one fails, or raises, the data is not
        published, and downstream assets are blocked.
    options: of dagster's `asset`, such as `group_name`, `owners`, `retry_policy`, `partitions_def` and more `deps`.

    Every other parameter is a setting of the asset, with its default, and the description that `Annotated[int, "..."]`
    has. The fields of the result are metadata: numbers are plotted, tuples of dataclasses are tables, `row_count` and
    the columns of parquet files are Dagster's own. A `digest` in the result is the data version.

    Warns if the program's module imports Dagster, which clusters do not have. Raises PackagingError for a function that
    is not a program, and InvalidValue for any other invalid argument.
    """
    codec.name_of(program)  # it must be importable on a cluster, and this machine is as strict
    params_type, result_type = annotation_of(program, "params"), annotation_of(program, "return")
    sources = {name: source_of(asset) for name, asset in (reads or {}).items()}
    given = _given(params_type, list(sources), writes, partition)
    _refuse_results(result_type, bool(writes))
    _refuse_options(options, partition, given)
    options = {name: option for name, option in options.items() if option is not None or name in MAY_BE_NONE}
    settings = settings_of(params_type, frozenset(given))
    if sentence := needs_dagster(program):
        warnings.warn(sentence, stacklevel=2)
    prefix = dg.AssetKey.from_coercible(options.get("key_prefix") or []).path
    key = dg.AssetKey.from_coercible(options.get("key") or [*prefix, options.get("name") or program.__name__])
    if writes:
        validate_ways_out(key)
    elif may_be_empty:
        raise InvalidValue("may_be_empty", may_be_empty, "False, unless `writes` names a parameter")
    work = ProgramWork(program, sources, given, writes, may_be_empty, partition, spark, storage, tuple(checks))
    asset: Callable[[Callable[..., AssetEvents]], dg.AssetsDefinition] = dg.asset(
        **{
            "kinds": {"pyspark"},
            "description": inspect.getdoc(program),
            "code_version": code_version(module_name(program)),
            **({} if "key" in options else {"name": program.__name__}),
            **options,
            "deps": [*(source.dep for source in sources.values()), *options.get("deps", [])],
            "required_resource_keys": {*work.resource_keys, *options.get("required_resource_keys", [])},
            "config_schema": settings,
            "check_specs": check_specs(checks, key),
        }
    )

    @asset
    def materialize(context: dg.AssetExecutionContext) -> AssetEvents:
        yield from work.materialize(context)

    return materialize


def _given(params_type: type[Any], reads: list[str], writes: str, partition: str) -> dict[str, Any]:
    """Return the types of the parameters that are not settings, by name. Raises InvalidValue."""
    parameters = getattr(params_type, "__dataclass_params__", None)
    if parameters is not None and not parameters.frozen:
        allowed = "@dataclass(frozen=True), for the result is known by what the program was told"
        raise InvalidValue(f"The dataclass of the parameters, {params_type.__name__},", "not frozen", allowed)
    members = {name: member for name, member in members_of(params_type).items() if member.field.init}
    given: dict[str, Any] = {}
    for option, name, kinds in (
        *(("reads", name, (str, tuple[str, ...])) for name in reads),
        *([("writes", writes, (str,))] if writes else []),
        *([("partition", partition, (str, tuple[str, str]))] if partition else []),
    ):
        if name not in members:
            allowed = f"a parameter of {params_type.__name__}: {', '.join(members) or 'it has none'}"
            raise InvalidValue(option, name, allowed)
        if name in given:
            raise InvalidValue(option, name, "a parameter that is not also another asset, the output or the partition")
        hint = members[name].hint
        if hint not in kinds:
            shown = " or ".join(kind.__name__ if kind is str else str(kind) for kind in kinds)
            raise InvalidValue(f"The type of {params_type.__name__}.{name}, in {option},", hint, shown)
        given[name] = hint
    return given


def _refuse_results(result_type: type[Any], stored: bool) -> None:
    """Raise InvalidValue for fields of the result that cannot be metadata."""
    members = members_of(result_type)
    for name in sorted(OF_PUBLICATION & set(members) if stored else ()):
        allowed = f"any other name, for {', '.join(sorted(OF_PUBLICATION))} are metadata of what is published"
        raise InvalidValue(f"A field of {result_type.__name__}", name, allowed)
    if "digest" in members and members["digest"].hint not in (str, str | None):
        allowed = "str, for it is the data version"
        raise InvalidValue(f"The type of {result_type.__name__}.digest", members["digest"].hint, allowed)


def _refuse_options(options: Mapping[str, Any], partition: str, given: Mapping[str, Any]) -> None:
    """Raise InvalidValue for options that are unknown or contradict each other."""
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise InvalidValue("An option of program_asset", unknown[0], ", ".join(sorted(OPTIONS)))
    if options.get("key") and (options.get("name") or options.get("key_prefix")):
        raise InvalidValue("key", options["key"], "a key, or a name and a key_prefix")
    partitions, policy = options.get("partitions_def"), options.get("backfill_policy")
    if partition and partitions is None:
        raise InvalidValue("partition", partition, "a parameter when the options have a partitions_def, else nothing")
    if partitions is not None and not partition:
        allowed = "the parameter that becomes the partition's key, or all partitions would be made of the same data"
        raise InvalidValue("partition", partition, allowed)
    if is_tuple(given.get(partition)) and not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        raise InvalidValue(
            f"The type of {partition}", "tuple[str, str]", "str, for these partitions are no time windows"
        )
    if policy is not None and policy.max_partitions_per_run != 1:
        allowed = "BackfillPolicy.multi_run(1), for a run publishes one partition"
        raise InvalidValue("backfill_policy", policy, allowed)
