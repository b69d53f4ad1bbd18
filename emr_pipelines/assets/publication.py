"""What all assets share: settings with bounds, errors in a sentence, and checks before anything is published."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from types import ModuleType
from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError, model_validator

from emr_pipelines.errors import AuditFailed, EmrPipelinesError, InvalidValue, StorageUnusable
from emr_pipelines.programs.progress import many
from emr_pipelines.resource import refuse_unknown
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


@contextmanager
def mistakes_as_failures() -> Iterator[None]:
    """Turn this package's errors into a Dagster Failure: its sentence leads the event, and nothing is retried."""
    try:
        yield
    except EmrPipelinesError as error:
        raise_failure(error)


def path_of(uri: str) -> dg.PathMetadataValue:
    """Where something is, as metadata that can be pasted into a shell: a path on this machine, or an s3:// URI."""
    return dg.MetadataValue.path(uri.removeprefix("file://"))


def pictures(context: dg.AssetExecutionContext, **drawn: Callable[[], str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Metadata from functions that draw Markdown. What cannot be drawn is left out: it is worth no failure."""
    found: dict[str, dg.MarkdownMetadataValue] = {}
    for name, draw in drawn.items():
        try:
            found[name] = dg.MetadataValue.md(draw())
        except Exception as error:  # noqa: BLE001, PERF203 (whatever a drawing library raises, the data is good)
            context.log.warning(f"The picture {name} could not be drawn: {error}")
    return found


def code_version(*modules: ModuleType) -> str:
    """A version that changes exactly when the source of a program's modules does."""
    digest = blake2b(digest_size=6)
    for module in modules:
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()


@contextmanager
def new_version(
    context: dg.AssetExecutionContext,
    spark: SparkRunner,
    storage: Storage,
    program: Callable[[Any, ParamsT], Any],
    params_at: Callable[[str], ParamsT],
    place: dg.AssetKey | None = None,
) -> Iterator[Version]:
    """A version for a program to write and `publish` to publish; where an attempt was killed when its program had
    written it, that one again, even if it was published, so that the program need not run again.

    params_at: the program's parameters, for a URI to write to; whatever else is in them must not change meanwhile.
    place: where in the storage, if not at the asset's key.
    """

    def done(uri: str) -> bool:
        return spark.has_result(context, program, params_at(uri))

    place = place or context.asset_key
    with storage.new_version(place, context.run.run_id, lineage(context), done=done) as version:
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
    place: dg.AssetKey | None = None,
) -> AssetEvents:
    """Report the checks and, if none failed with severity ERROR, make the version the published one.

    data_version: equal for equal data; None where nobody knows, and each version counts as another. place: where in the
        storage the version was begun, if that is not the asset's key.

    Raises AuditFailed, with the pointer unmoved, when one did.
    """
    shown = dg.DataVersion(data_version or version.name)
    yield from audited(context, checks)
    place = place or context.asset_key
    before = storage.latest(place)
    published = storage.publish(place, version, shown.value)
    same_as = before.version if before is not None and before.data_version == data_version else None
    if same_as:
        context.log.info(f"Unchanged: the data is the same as in version {same_as}.")
    try:
        pruned = storage.prune(place)
    except StorageUnusable as error:  # the new version is published; a leftover must not make this run a failure
        context.log.warning(f"Old versions could not be deleted and will be tried again next time: {error}")
    else:
        if pruned:
            context.log.info(f"Deleted {len(pruned)} old versions: {', '.join(pruned)}.")
    context.log.info(f"Published {_summary(context, metadata)}{path_of(published.uri).path}")
    yield dg.MaterializeResult(
        data_version=shown,
        metadata={
            **metadata,
            **({"unchanged": same_as is not None} if data_version else {}),
            "version": published.version,
            "path": path_of(published.uri),  # OF_PUBLICATION are these three
        },
    )


def _summary(context: dg.AssetExecutionContext, metadata: Mapping[str, Any]) -> str:
    """The start of the line that a materialization ends with: `word_counts: 66 rows, `."""
    partition = f" [{context.partition_key}]" if context.has_partition_key else ""
    rows = metadata.get("dagster/row_count")
    counted = f"{many(rows, 'row')}, " if isinstance(rows, int) else ""
    return f"{context.asset_key.to_user_string()}{partition}: {counted}"
