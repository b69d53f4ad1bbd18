"""An asset from a program: its settings are the program's parameters, its metadata and checks are of the result."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin
from urllib.parse import quote

import dagster as dg

from emr_pipelines.assets.checks import Verdict, check_specs, outcome_of
from emr_pipelines.assets.fields import members_of, metadata_of, parquet_schema, settings_of
from emr_pipelines.assets.publication import (
    OF_PUBLICATION,
    AssetEvents,
    audited,
    code_version,
    mistakes_as_failures,
    new_version,
    publish,
)
from emr_pipelines.emr.imports import needs_dagster
from emr_pipelines.emr.modules import module_name
from emr_pipelines.errors import InvalidValue, NotMaterialized
from emr_pipelines.programs import text, wire
from emr_pipelines.programs.annotations import annotation_of
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.storage import Storage

ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")
Upstream = dg.AssetKey | str | Sequence[str] | dg.AssetSpec | dg.AssetsDefinition | dg.AssetDep

URI = "dagster/uri"  # in an asset's metadata: where its data is, when this package does not keep it
OURS = {"compute_fn", "kwargs", "ins", "config_schema", "check_specs", "dagster_type", "output_required", "is_virtual"}
OPTIONS = set(inspect.signature(dg.asset).parameters) - OURS


def program_asset(
    program: Callable[[Any, ParamsT], ResultT],
    *,
    reads: Mapping[str, Upstream] | None = None,
    writes: str = "",
    partition: str = "",
    checks: Sequence[Callable[[ResultT], Verdict]] = (),
    **options: Any,
) -> dg.AssetsDefinition:
    """The asset that a program materializes, named as its function unless `options` have a `name` or `key`.

    reads: by parameter, the asset whose data it reads; the parameter becomes the data's URI, and the asset a
        dependency. An asset that is no program's is given as an AssetSpec with "dagster/uri" in its metadata; files of
        this machine are copied to where the program runs. A parameter of type `tuple[str, ...]` becomes the URIs of
        all partitions that Dagster maps to the asset's own, as an AssetDep can say.
    writes: the parameter that becomes the URI of a new version of this asset's data, which is published when the
        program has ended well and no check failed. Without it, the result is all there is.
    partition: with `partitions_def` in the options, the parameter that becomes the partition's key; or, if its type is
        `tuple[str, str]`, the start and end of its time window in ISO 8601. Partitions are published each on their own.
    checks: functions of the result that say whether it is good: a bool, (bool, description), or an AssetCheckResult.
        Each is an asset check by its name, described by its docstring; one that says no, or raises, keeps the data
        from being published, and blocks what is downstream.
    options: of dagster's `asset`, such as `group_name`, `owners`, `retry_policy`, `partitions_def` and more `deps`.

    Every other parameter is a setting of the asset, with its default, and the description that `Annotated[int, "..."]`
    has. The fields of the result are metadata: numbers are plotted, tuples of dataclasses are tables, `row_count` and
    the columns of parquet files are Dagster's own. A `digest` in the result is the data version. The asset needs the
    resources `spark` and, to write data or read what another program wrote, `storage`.

    Warns of a program whose module imports Dagster, which no cluster has. Raises CannotTravel for what is no program,
    InvalidValue for anything else that cannot be.
    """
    wire.name_of(program)  # it must be found on a cluster, and here it is to be as there
    params_type, result_type = annotation_of(program, "params"), annotation_of(program, "return")
    sources = {name: _source(asset) for name, asset in (reads or {}).items()}
    given = _given(params_type, list(sources), writes, partition)
    _refuse_results(result_type, bool(writes))
    _refuse_options(options, partition, given)
    stored = bool(writes) or any(not source.uri for source in sources.values())
    settings = settings_of(params_type, frozenset(given))
    if sentence := needs_dagster(program):
        warnings.warn(sentence, stacklevel=2)
    prefix = dg.AssetKey.from_coercible(options.get("key_prefix") or []).path
    key = dg.AssetKey.from_coercible(options.get("key") or [*prefix, options.get("name") or program.__name__])
    asset: Callable[[Callable[..., AssetEvents]], dg.AssetsDefinition] = dg.asset(
        **{
            "kinds": {"pyspark"},
            "description": inspect.getdoc(program),
            "code_version": code_version(module_name(program)),
            **({} if "key" in options else {"name": program.__name__}),
            **options,
            "deps": [*(source.dep for source in sources.values()), *options.get("deps", [])],
            "required_resource_keys": {
                "spark",
                *(["storage"] if stored else []),
                *options.get("required_resource_keys", []),
            },
            "config_schema": settings,
            "check_specs": check_specs(checks, key),
        }
    )

    @asset
    def materialize(context: dg.AssetExecutionContext) -> AssetEvents:
        spark: SparkRunner = context.resources.spark
        storage: Storage | None = context.resources.storage if stored else None
        with mistakes_as_failures():
            asset_key = context.asset_key
            place = _place(asset_key, context.partition_key) if _partitioned(context) else asset_key

            @cache
            def members() -> dict[str, Any]:
                found: dict[str, Any] = dict(context.op_execution_context.op_config or {})
                for name, source in sources.items():
                    found[name] = _read(context, spark, storage, source, many=_is_tuple(given[name]))
                if partition:
                    key_alone = str.__str__(context.partition_key)  # of several dimensions, it is of a class of its own
                    found[partition] = _window(context) if _is_tuple(given[partition]) else key_alone
                return found

            def params_at(output: str) -> ParamsT:
                told = {**members(), **({writes: output} if writes else {})}
                return cast("ParamsT", wire.decode(params_type, None if params_type is type(None) else told, "config"))

            written = (
                new_version(context, spark, storage, program, params_at, place)
                if writes and storage
                else nullcontext(None)
            )
            with written as version:
                params = params_at(version.uri if version else "")
                # as it would come from a cluster, so that what cannot come from there is refused here too
                result = wire.round_trip(result_type, spark.run(context, program, params), "result")
                outcomes = [outcome_of(context, check, result) for check in checks]
                metadata = metadata_of(result)
                digest = getattr(result, "digest", None)
                if version and storage:
                    metadata |= _columns(context, version.uri)
                    yield from publish(context, storage, version, digest or None, outcomes, metadata, place)
                else:
                    yield from audited(context, outcomes)
                    yield dg.MaterializeResult(
                        metadata=metadata, data_version=dg.DataVersion(digest) if digest else None
                    )

    return materialize


@dataclass(frozen=True)
class _Source:
    """An asset that is read. `uri` is where its data is, or empty when the storage knows."""

    dep: dg.AssetDep
    uri: str = ""

    @property
    def key(self) -> dg.AssetKey:
        return self.dep.asset_key


def _source(asset: Upstream) -> _Source:
    if isinstance(asset, dg.AssetDep):
        return _Source(asset)
    if isinstance(asset, dg.AssetsDefinition):
        asset = asset.get_asset_spec()
    if callable(asset):
        name = getattr(asset, "__name__", repr(asset))
        raise InvalidValue("An asset that is read", f"the function {name}", f"its asset, program_asset({name}, ...)")
    if isinstance(asset, dg.AssetSpec):
        uri = asset.metadata.get(URI, "")
        return _Source(dg.AssetDep(asset.key), str(getattr(uri, "value", uri)))
    return _Source(dg.AssetDep(dg.AssetKey.from_coercible(asset)))


def _given(params_type: type[Any], reads: list[str], writes: str, partition: str) -> dict[str, Any]:
    """The parameters that are no settings, with their types. Raises InvalidValue."""
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
    """Raises InvalidValue."""
    members = members_of(result_type)
    for name in sorted(OF_PUBLICATION & set(members) if stored else ()):
        allowed = f"any other name, for {', '.join(sorted(OF_PUBLICATION))} are metadata of what is published"
        raise InvalidValue(f"A field of {result_type.__name__}", name, allowed)
    if "digest" in members and members["digest"].hint not in (str, str | None):
        allowed = "str, for it is the data version"
        raise InvalidValue(f"The type of {result_type.__name__}.digest", members["digest"].hint, allowed)


def _refuse_options(options: Mapping[str, Any], partition: str, given: Mapping[str, Any]) -> None:
    """Raises InvalidValue."""
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise InvalidValue("An option of program_asset", unknown[0], ", ".join(sorted(OPTIONS)))
    if "key" in options and {"name", "key_prefix"} & set(options):
        raise InvalidValue("key", options["key"], "a key, or a name and a key_prefix")
    partitions, policy = options.get("partitions_def"), options.get("backfill_policy")
    if partition and partitions is None:
        raise InvalidValue("partition", partition, "a parameter when the options have a partitions_def, else nothing")
    if partitions is not None and not partition:
        allowed = "the parameter that becomes the partition's key, or all partitions would be made of the same data"
        raise InvalidValue("partition", partition, allowed)
    if _is_tuple(given.get(partition)) and not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        raise InvalidValue(
            f"The type of {partition}", "tuple[str, str]", "str, for these partitions are no time windows"
        )
    if policy is not None and policy.max_partitions_per_run != 1:
        allowed = "BackfillPolicy.multi_run(1), for a run publishes one partition"
        raise InvalidValue("backfill_policy", policy, allowed)


def _partitioned(context: dg.AssetExecutionContext) -> bool:
    """A run with a partition may have assets without. Raises InvalidValue for a run with none, or with several."""
    if context.assets_def.partitions_def is None:
        return False
    if not context.has_partition_key:
        allowed = "exactly one, as in --partition; several are runs of their own, as a backfill starts them"
        raise InvalidValue(f"The partition of {context.asset_key.to_user_string()}", None, allowed)
    return True


def _place(asset: dg.AssetKey, partition: str) -> dg.AssetKey:
    """Where a partition's data lives: beside the others, in a folder that can belong to no other asset."""
    return dg.AssetKey([*asset.path, f"partition={quote(partition, safe='', errors='surrogatepass')}"])


def _window(context: dg.AssetExecutionContext) -> list[str]:
    window = context.partition_time_window
    return [window.start.isoformat(), window.end.isoformat()]


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple and bool(get_args(hint))


def _read(
    context: dg.AssetExecutionContext, spark: SparkRunner, storage: Storage | None, source: _Source, many: bool
) -> str | list[str]:
    """The URI of an asset's data, or those of its partitions."""
    if source.uri or storage is None:
        (uri,) = spark.bring(context, [source.uri.removeprefix("file://")], _files)
        return [uri] if many else uri
    (name,) = (name for name, key in context.assets_def.keys_by_input_name.items() if key == source.key)
    places = [source.key]
    if context.get_step_execution_context().has_asset_partitions_for_input(name):
        partitions = context.op_execution_context.asset_partition_keys_for_input(name)
        places = [_place(source.key, partition) for partition in partitions]
        if not many and len(places) != 1:
            allowed = "one; a parameter of type tuple[str, ...] takes any number"
            raise InvalidValue(f"The number of partitions of {source.key.to_user_string()}", len(places), allowed)
    try:
        uris = [storage.require(place).uri for place in places]
    except NotMaterialized as error:
        raise NotMaterialized(
            f"{error} If it is not a program's, name it by an AssetSpec with {URI!r} in its metadata."
        ) from error
    return uris if many else uris[0]


def _files(sources: Sequence[str]) -> list[str]:
    return [file.path for file in text.find_text_files(sources)]


def _columns(context: dg.AssetExecutionContext, uri: str) -> dict[str, dg.TableSchema]:
    try:
        schema = parquet_schema(uri)
    except Exception as error:  # noqa: BLE001 (whatever pyarrow raises, the data is good)
        context.log.warning(f"The columns of {uri} could not be read: {error}")
        return {}
    return {"dagster/column_schema": schema} if schema else {}
