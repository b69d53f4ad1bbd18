"""Materialize the asset of a program: find what it reads, run it, check its result, and publish what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

import dagster as dg

from emr_pipelines.assets.checks import CheckResult, outcome_of
from emr_pipelines.assets.fields import metadata_of, parquet_schema
from emr_pipelines.assets.publication import (
    AssetEvents,
    audited,
    check_storage,
    mistakes_as_failures,
    new_version,
    publish,
    resource_of,
)
from emr_pipelines.assets.reads import Data, ReadSource, find
from emr_pipelines.errors import InvalidValue, NothingWritten
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.storage import Storage


@dataclass(frozen=True)
class ProgramWork:
    """What one materialization does; see `program_asset` for the members that are its arguments.

    given: the types of the parameters that are not settings, by name.
    """

    program: Callable[[Any, Any], Any]
    sources: Mapping[str, ReadSource]
    given: Mapping[str, Any]
    writes: str
    may_be_empty: bool
    partition: str
    spark: str
    storage: str
    checks: tuple[Callable[[Any], CheckResult], ...]

    @property
    def resource_keys(self) -> set[str]:
        stored = bool(self.writes) or any(not source.uri for source in self.sources.values())
        return {self.spark, *([self.storage] if stored else [])}

    def materialize(self, context: dg.AssetExecutionContext) -> AssetEvents:
        """Yield the checks and the materialization. Raises Failure."""
        with mistakes_as_failures():
            runner: SparkRunner = resource_of(context, "spark", self.spark, SparkRunner)
            kept: Storage | None = None
            if self.storage in self.resource_keys:
                kept = resource_of(context, "storage", self.storage, Storage)
                check_storage(runner, kept)
            # a plain str: the key of several dimensions is a subclass
            own_partition = str.__str__(context.partition_key) if _partitioned(context) else None

            @cache
            def read() -> dict[str, Data]:
                return {
                    name: find(context, runner, kept, source, many=is_tuple(self.given[name]))
                    for name, source in self.sources.items()
                }

            def params_at(output: str) -> Any:
                return self._params(context, read(), own_partition, output)

            written = (
                new_version(context, runner, kept, self.program, params_at, own_partition)
                if self.writes and kept
                else nullcontext(None)
            )
            with written as version:
                params = params_at(version.uri if version else "")
                # encoded and decoded as from a cluster, so that results which cannot be sent fail here too
                result_type = annotation_of(self.program, "return")
                result = codec.round_trip(result_type, runner.run(context, self.program, params), "result")
                outcomes = [outcome_of(context, check, result) for check in self.checks]
                metadata = {**self._absent(read()), **metadata_of(result)}
                digest = getattr(result, "digest", None)
                if version and kept:
                    metadata |= _columns(context, version.uri)
                    rows = getattr(result, "row_count", None) or 0
                    with _named(self.writes, rows):
                        yield from publish(
                            context, kept, version, digest or None, outcomes, metadata, own_partition,
                            may_be_empty=self.may_be_empty and not rows,
                        )  # fmt: skip
                else:
                    yield from audited(context, outcomes)
                    data_version = dg.DataVersion(digest) if digest else None
                    yield dg.MaterializeResult(metadata=metadata, data_version=data_version)

    def _params(
        self, context: dg.AssetExecutionContext, read: Mapping[str, Data], own_partition: str | None, output: str
    ) -> Any:
        """Return the program's parameters: settings, URIs that it reads, its partition, its output."""
        params_type = annotation_of(self.program, "params")
        if params_type is type(None):
            return codec.decode(params_type, None, "config")
        told: dict[str, Any] = dict(context.op_execution_context.op_config or {})
        for name, data in read.items():
            told[name] = list(data.uris) if is_tuple(self.given[name]) else data.uris[0]
        if self.partition:
            told[self.partition] = _window(context) if is_tuple(self.given[self.partition]) else own_partition
        if self.writes:
            told[self.writes] = output
        return codec.decode(params_type, told, "config")

    def _absent(self, read: Mapping[str, Data]) -> dict[str, int]:
        """Count the unpublished partitions, if the program reads several."""
        counted = [len(data.absent) for name, data in read.items() if is_tuple(self.given[name])]
        return {"absent_partitions": sum(counted)} if counted else {}


def _partitioned(context: dg.AssetExecutionContext) -> bool:
    """Whether the asset has partitions; other assets of the run may have none. Raises InvalidValue for a run that does
    not have exactly one partition."""
    if context.assets_def.partitions_def is None:
        return False
    if not context.has_partition_key:
        allowed = "exactly one, as in --partition; several are runs of their own, as a backfill starts them"
        raise InvalidValue(f"The partition of {context.asset_key.to_user_string()}", None, allowed)
    return True


@contextmanager
def _named(writes: str, rows: object) -> Iterator[None]:
    """Add to NothingWritten the parameter that tells the program where to write."""
    try:
        yield
    except NothingWritten as error:
        though = f", though its result says row_count={rows}" if rows else ""
        raise NothingWritten(
            f"The program ended well and wrote nothing to `{writes}`{though}. {error} Write into the folder at that "
            "URI; a lazy DataFrame is written by an action, such as .write.parquet(...). For a program that may write "
            "nothing there is program_asset(..., may_be_empty=True)."
        ) from error


def _window(context: dg.AssetExecutionContext) -> list[str]:
    window = context.partition_time_window
    return [window.start.isoformat(), window.end.isoformat()]


def is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple and bool(get_args(hint))


def _columns(context: dg.AssetExecutionContext, uri: str) -> dict[str, dg.TableSchema]:
    try:
        schema = parquet_schema(uri)
    except Exception as error:  # noqa: BLE001 (whatever pyarrow raises, the data is good)
        context.log.warning(f"The columns of {uri} could not be read: {error}")
        return {}
    return {"dagster/column_schema": schema} if schema else {}
