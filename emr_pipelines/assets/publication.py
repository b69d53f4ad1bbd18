"""What all assets share: settings with bounds, errors in a sentence, and checks before anything is published."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError, model_validator

from emr_pipelines.emr.imports import walk
from emr_pipelines.errors import AuditFailed, EmrPipelinesError, InvalidValue, StorageUnusable
from emr_pipelines.programs.file_uris import local_path
from emr_pipelines.programs.progress import many
from emr_pipelines.resource import Refused, refuse_unknown
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.failures import raise_failure
from emr_pipelines.runners.lineage import lineage
from emr_pipelines.storage import Storage, Version

ParamsT = TypeVar("ParamsT")

OF_PUBLICATION = frozenset({"unchanged", "version", "path"})  # metadata of all that is published
OWNERS = ["team:data-engineering"]
AssetEvents = Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]


class AssetConfig(dg.Config):
    """Settings of an asset; a value out of bounds fails the step with one sentence."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            with mistakes_as_failures():
                raise InvalidValue.first_of(error.errors()) from error

    @model_validator(mode="before")
    @classmethod
    def _known(cls, settings: Any) -> Any:
        refuse_unknown(cls, settings)
        return settings


def resource_of(context: dg.AssetExecutionContext, option: str, key: str, kind: type[Any]) -> Any:
    """The resource under a key, which `option` of program_asset names. Raises InvalidValue for one of another kind."""
    found = getattr(context.resources, key)
    also = f"; if yours has another key, say program_asset(..., {option}='<key>')"
    _refuse_other(context, key, found, kind, also)
    return found


def _refuse_other(context: dg.AssetExecutionContext, key: str, found: object, kind: type[Any], also: str = "") -> None:
    """A project may have another resource of the name. Dagster checks keys when it loads definitions, and no types."""
    if isinstance(found, Refused):  # its run config is invalid
        found.refuse()
    if not isinstance(found, kind):
        asset, there = context.asset_key.to_user_string(), f"{type(found).__module__}.{type(found).__qualname__}"
        raise InvalidValue(f"The resource {key!r} of {asset}", there, f"a {kind.__name__}{also}")


@contextmanager
def mistakes_as_failures() -> Iterator[None]:
    """Turn this package's errors into a Dagster Failure: its sentence leads the event, and nothing is retried."""
    try:
        yield
    except EmrPipelinesError as error:
        raise_failure(error)


def path_of(uri: str) -> dg.PathMetadataValue:
    """Where something is, as metadata that can be pasted into a shell: a path on this machine, or an s3:// URI."""
    return dg.MetadataValue.path(local_path(uri) or uri)


def pictures(context: dg.AssetExecutionContext, **drawn: Callable[[], str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Metadata from functions that draw Markdown. What cannot be drawn is left out: it is worth no failure."""
    found: dict[str, dg.MarkdownMetadataValue] = {}
    for name, draw in drawn.items():
        try:
            found[name] = dg.MetadataValue.md(draw())
        except Exception as error:  # noqa: BLE001, PERF203 (whatever a drawing library raises, the data is good)
            context.log.warning(f"The picture {name} could not be drawn: {error}")
    return found


def code_version(module: str) -> str:
    """A version that changes when the source of a module does, or of the user's own modules that it imports.

    Libraries do not count. Nothing is imported to find out.
    """
    sources = {name: found.source.digest for name, found in walk(module).own.items() if found.source}
    return blake2b(json.dumps(sources, sort_keys=True).encode(), digest_size=6).hexdigest()


@contextmanager
def new_version(
    context: dg.AssetExecutionContext,
    spark: SparkRunner,
    storage: Storage,
    program: Callable[[Any, ParamsT], Any],
    params_at: Callable[[str], ParamsT],
    partition: str | None = None,
) -> Iterator[Version]:
    """A version for a program to write and `publish` to publish; where an attempt was killed when its program had
    written it, that one again, even if it was published, so that the program need not run again.

    params_at: the program's parameters, for a URI to write to; whatever else is in them must not change meanwhile.
    partition: the key of the partition that is written, if the asset has partitions.
    """

    def done(uri: str) -> bool:
        return spark.has_result(context, program, params_at(uri))

    _refuse_other(context, "spark", spark, SparkRunner)
    _refuse_other(context, "storage", storage, Storage)
    spark.check_storage(storage.root)
    asset, work = context.asset_key, lineage(context)
    with storage.new_version(asset, context.run.run_id, work, done=done, partition=partition) as version:
        yield version


def audited(context: dg.AssetExecutionContext, checks: Sequence[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """The checks, to be reported. Raises AuditFailed behind them when one failed with severity ERROR."""
    yield from checks
    failed = [
        f"{check.check_name}: {check.description}"
        for check in checks
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
    ]
    if failed:
        raise AuditFailed(
            f"{context.asset_key.to_user_string()} was not published because it failed: {'; '.join(failed)}. "
            "The previous version stays in place."
        )


def publish(
    context: dg.AssetExecutionContext,
    storage: Storage,
    version: Version,
    data_version: str | None,
    checks: Sequence[dg.AssetCheckResult],
    metadata: Mapping[str, Any],
    partition: str | None = None,
    may_be_empty: bool = False,
) -> AssetEvents:
    """Report the checks and, if none failed with severity ERROR, make the version the published one.

    data_version: equal for equal data; None where nobody knows, and each version counts as another. partition: the one
        for which the version was begun. may_be_empty: whether a version without files may be published.

    Raises AuditFailed when a check failed, and NothingWritten for a version without files; the pointer is unmoved then.
    """
    shown = dg.DataVersion(data_version or version.name)
    yield from audited(context, checks)
    asset = context.asset_key
    before = storage.latest(asset, partition)
    published = storage.publish(asset, version, shown.value, partition, may_be_empty)
    same_as = before.version if before is not None and before.data_version == data_version else None
    if same_as:
        context.log.info(f"Unchanged: the data is the same as in version {same_as}.")
    try:
        pruned = storage.prune(asset, partition=partition)
    except StorageUnusable as error:  # the new version is published; a leftover must not make this run a failure
        context.log.warning(f"Old versions could not be deleted and will be tried again next time: {error}")
    else:
        if pruned:
            context.log.info(f"Deleted {len(pruned)} old versions: {', '.join(pruned)}.")
    context.log.info(f"Published {_summary(context, partition, metadata)}{published.path}")
    yield dg.MaterializeResult(
        data_version=shown,
        metadata={
            **metadata,
            **({"unchanged": same_as is not None} if data_version else {}),
            "version": published.version,
            "path": dg.MetadataValue.path(published.path),  # OF_PUBLICATION are these three
        },
    )


def _summary(context: dg.AssetExecutionContext, partition: str | None, metadata: Mapping[str, Any]) -> str:
    """The start of the line that a materialization ends with: `word_counts: 66 rows, `."""
    of = "" if partition is None else f" [{partition}]"
    rows = metadata.get("dagster/row_count")
    counted = f"{many(rows, 'row')}, " if isinstance(rows, int) else ""
    return f"{context.asset_key.to_user_string()}{of}: {counted}"
