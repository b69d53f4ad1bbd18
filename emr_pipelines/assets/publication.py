"""What all assets share: settings with bounds, errors in a sentence, and checks before anything is published."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError, model_validator

from emr_pipelines.aws import preflight
from emr_pipelines.errors import AuditFailed, EmrPipelinesError, InvalidValue, StorageUnusable
from emr_pipelines.job.imports import walk
from emr_pipelines.remote.file_uris import local_path
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.resource import Refused, reject_unknown
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.failures import raise_failure
from emr_pipelines.runners.remote import RemoteSparkRunner
from emr_pipelines.storage import Storage, Version

ParamsT = TypeVar("ParamsT")

OF_PUBLICATION = frozenset({"unchanged", "version", "path"})  # metadata of all that is published
OWNERS = ["team:data-engineering"]
AssetEvents = Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]


class AssetConfig(dg.Config):
    """Settings of an asset. An invalid value fails the step with one sentence."""

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            with mistakes_as_failures():
                raise InvalidValue.first_of(error.errors()) from error

    @model_validator(mode="before")
    @classmethod
    def _known(cls, settings: Any) -> Any:
        reject_unknown(cls, settings)
        return settings


def resource_of(context: dg.AssetExecutionContext, option: str, key: str, kind: type[Any]) -> Any:
    """Return the resource under a key, which `option` of program_asset sets. Raises InvalidValue for another type."""
    found = getattr(context.resources, key)
    also = f"; if yours has another key, say program_asset(..., {option}='<key>')"
    _refuse_other(context, key, found, kind, also)
    return found


def _refuse_other(context: dg.AssetExecutionContext, key: str, found: object, kind: type[Any], also: str = "") -> None:
    """Raise InvalidValue for a resource of another type: Dagster checks the keys of resources at load, not types."""
    if isinstance(found, Refused):  # its run config is invalid
        found.refuse()
    if not isinstance(found, kind):
        asset, there = context.asset_key.to_user_string(), f"{type(found).__module__}.{type(found).__qualname__}"
        raise InvalidValue(f"The resource {key!r} of {asset}", there, f"a {kind.__name__}{also}")


@contextmanager
def mistakes_as_failures() -> Iterator[None]:
    """Turn this package's errors into a Dagster Failure that leads with their message."""
    try:
        yield
    except EmrPipelinesError as error:
        raise_failure(error)


def path_of(uri: str) -> dg.PathMetadataValue:
    """Metadata with a location that can be pasted into a shell: a path on this machine, or an s3:// URI."""
    return dg.MetadataValue.path(local_path(uri) or uri)


def pictures(context: dg.AssetExecutionContext, **drawn: Callable[[], str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Metadata from functions that draw Markdown. A picture that cannot be drawn is left out and logged."""
    found: dict[str, dg.MarkdownMetadataValue] = {}
    for name, draw in drawn.items():
        try:
            found[name] = dg.MetadataValue.md(draw())
        except Exception as error:  # noqa: BLE001, PERF203 (whatever a drawing library raises, the data is good)
            context.log.warning(f"The picture {name} could not be drawn: {error}")
    return found


def code_version(module: str) -> str:
    """Return a digest of the source of a module and of the user's own modules that it imports, without importing them.
    Libraries do not count.
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
    """Begin a version for a program to write and `publish` to publish.

    The version of an earlier attempt is resumed if that attempt ran the same program with the same parameters, code and
    settings, so that what it has begun, or finished, is used.

    params_at: the program's parameters, for a URI to write to. All else in them must stay the same in the block.
    partition: the key of the partition that is written, if the asset has partitions.
    """

    _refuse_other(context, "spark", spark, SparkRunner)
    _refuse_other(context, "storage", storage, Storage)
    check_storage(spark, storage)
    work, done = "", None
    if isinstance(spark, RemoteSparkRunner):  # in this process, no program outlives the run
        root = storage.root if storage.root.startswith("s3://") else f"file://{storage.root}"
        work = spark.work_id(context, program, params_at(f"{root}/version"))  # the same URI each time: no difference
        remote = spark

        def done(uri: str) -> bool:
            return remote.has_result(context, program, params_at(uri))

    with storage.new_version(context.asset_key, context.run.run_id, work, done=done, partition=partition) as version:
        yield version


def check_storage(spark: SparkRunner, storage: Storage) -> None:
    """Raise StorageUnusable, before any work is done, when programs of the runner cannot reach the storage."""
    if isinstance(spark, RemoteSparkRunner):
        preflight.check_storage(storage.root)


def audited(context: dg.AssetExecutionContext, checks: Sequence[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """Yield the checks to be reported, then raise AuditFailed if one failed with severity ERROR."""
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
    """Report the checks and, if none failed with severity ERROR, publish the version.

    data_version: equal for equal data; None if that is not known, so that each version counts as new data.
    partition: the partition for which the version was begun.
    may_be_empty: whether a version without files may be published.

    Raises AuditFailed when a check failed, and NothingWritten for a version without files. The pointer does not move
    then.
    """
    shown = dg.DataVersion(data_version or version.name)
    yield from audited(context, checks)
    asset = context.asset_key
    before = storage.latest(asset, partition)
    published = storage.publish(asset, version, shown.value, partition, may_be_empty)
    # a retry that resumes a published version finds its own
    other = before if before is not None and before.version != version.name else None
    same_as = other.version if other is not None and other.data_version == data_version else None
    if same_as:
        context.log.info(f"Unchanged: the data is the same as in version {same_as}.")
    try:
        pruned = storage.prune(asset, partition=partition)
    except StorageUnusable as error:  # the new version is published, so a leftover must not fail this run
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
    """Begin the last log line of a materialization: `word_counts: 66 rows, `."""
    of = "" if partition is None else f" [{partition}]"
    rows = metadata.get("dagster/row_count")
    counted = f"{pluralize(rows, 'row')}, " if isinstance(rows, int) else ""
    return f"{context.asset_key.to_user_string()}{of}: {counted}"
