"""Find the data of other assets that a program reads, as URIs that the program can open where it runs."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dagster as dg

from emr_pipelines.errors import InvalidValue, NotMaterialized
from emr_pipelines.remote.file_uris import local_path
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.staging import stage_inputs
from emr_pipelines.storage import Storage
from emr_pipelines.storage.address import shown

Upstream = dg.AssetKey | str | Sequence[str] | dg.AssetSpec | dg.AssetsDefinition | dg.AssetDep

URI = "dagster/uri"  # in an asset's metadata: where its data is, when this package does not keep it
NAMED_PARTITIONS = 5  # in a sentence
READ_AT_ONCE = 8  # partitions; each takes two requests to S3, and boto3 keeps ten connections


@dataclass(frozen=True)
class ReadSource:
    """An asset that is read. `uri` is the location of its data, or empty if the data is in the storage."""

    dep: dg.AssetDep
    uri: str = ""

    @property
    def key(self) -> dg.AssetKey:
        return self.dep.asset_key


@dataclass(frozen=True)
class Data:
    """The data of a source: one URI, or one for each published partition. `absent` are the keys of partitions that
    Dagster maps to the run and that are not published."""

    uris: tuple[str, ...]
    absent: tuple[str, ...] = ()


def source_of(asset: Upstream) -> ReadSource:
    """Normalize an asset that is read. Raises InvalidValue."""
    if isinstance(asset, dg.AssetDep):
        return ReadSource(asset)
    if isinstance(asset, dg.AssetsDefinition):
        asset = asset.get_asset_spec()
    if callable(asset):
        name = getattr(asset, "__name__", repr(asset))
        raise InvalidValue("An asset that is read", f"the function {name}", f"its asset, program_asset({name}, ...)")
    if isinstance(asset, dg.AssetSpec):
        uri = asset.metadata.get(URI, "")
        return ReadSource(dg.AssetDep(asset.key), str(getattr(uri, "value", uri)))
    return ReadSource(dg.AssetDep(dg.AssetKey.from_coercible(asset)))


def find(
    context: dg.AssetExecutionContext, spark: SparkRunner, storage: Storage | None, source: ReadSource, many: bool
) -> Data:
    """Find the data of a source for this run.

    many: whether the program takes any number of partitions. If so, unpublished ones are left out and logged.

    Raises NotMaterialized when nothing is published, InvalidValue when the program takes one partition and Dagster maps
    another number to the run, and StorageUnusable when the storage cannot be read.
    """
    if source.uri or storage is None:
        (uri,) = stage_inputs(context, spark, [_path_of(source.uri)])
        return Data((uri,))
    try:
        (name,) = (name for name, key in context.assets_def.keys_by_input_name.items() if key == source.key)
        if not context.get_step_execution_context().has_asset_partitions_for_input(name):
            return Data((storage.require(source.key).uri,))
        partitions = context.op_execution_context.asset_partition_keys_for_input(name)
        if many:
            return _published(context, storage, source.key, partitions)
        if len(partitions) != 1:
            allowed = "one; a parameter of type tuple[str, ...] takes any number"
            raise InvalidValue(f"The number of partitions of {source.key.to_user_string()}", len(partitions), allowed)
        return Data((storage.require(source.key, partitions[0]).uri,))
    except NotMaterialized as error:
        raise NotMaterialized(
            f"{error} If it is not a program's, name it by an AssetSpec with {URI!r} in its metadata."
        ) from error


def _published(
    context: dg.AssetExecutionContext, storage: Storage, asset: dg.AssetKey, partitions: Sequence[str]
) -> Data:
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        found = list(pool.map(lambda partition: _uri_of(storage, asset, partition), partitions))
    uris = tuple(uri for uri in found if uri is not None)
    absent = tuple(partition for partition, uri in zip(partitions, found, strict=True) if uri is None)
    keys = ", ".join(map(shown, absent[:NAMED_PARTITIONS]))
    if len(absent) > NAMED_PARTITIONS:
        keys += f" and {len(absent) - NAMED_PARTITIONS:,} more"
    asked = f"of the {pluralize(len(partitions), 'partition')} of {asset.to_user_string()} that this run reads"
    if not uris:
        raise NotMaterialized(f"None {asked} is published; materialize one first{f': {keys}' if keys else ''}.")
    if absent:
        context.log.warning(f"Not published, and left out: {len(absent):,} {asked}: {keys}.")
    return Data(uris, absent)


def _path_of(uri: str) -> str:
    """Turn a file: URI in any form, or a path that begins with ~, into an absolute path; return all else as it is."""
    return local_path(uri) or os.path.expanduser(uri)  # noqa: PTH111 (Path raises for a user that is not there)


def _uri_of(storage: Storage, asset: dg.AssetKey, partition: str) -> str | None:
    """Return None for a partition that was never published. Raises NotMaterialized if its data is gone."""
    try:
        return storage.require(asset, partition).uri
    except NotMaterialized:
        if storage.latest(asset, partition) is not None:
            raise
        return None
