"""The word count pipeline: input_text -> word_counts."""

from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import dagster as dg
from pydantic import Field

from emr_pipelines import charts
from emr_pipelines.assets.publication import (
    OWNERS,
    AssetConfig,
    AssetEvents,
    code_version,
    mistakes_as_failures,
    new_version,
    path_of,
    pictures,
    publish,
)
from emr_pipelines.environment import setting
from emr_pipelines.pipelines.word_count.count import WordCountParams, WordCountResult, count_words
from emr_pipelines.pipelines.word_count.ingest import IngestParams, IngestResult, ingest_text
from emr_pipelines.remote.files import validate_sources
from emr_pipelines.remote.progress import pluralize
from emr_pipelines.runners.base import SparkRunner
from emr_pipelines.runners.staging import named_here, stage_inputs
from emr_pipelines.storage import Storage

GROUP = "word_count"
NAMED_FILES = 5
SHOWN_CHARACTERS = 100  # a word can be as long as a line
WORDS = [
    dg.TableColumn("word", "string", description="The word; no two rows have the same."),
    dg.TableColumn("count", "bigint", description="How often it occurs."),
]
FILES = dg.TableSchema(
    columns=[
        dg.TableColumn("path", "string", description="The file."),
        dg.TableColumn("bytes", "int", description="Its size as stored."),
        dg.TableColumn("lines", "int", description="Lines in it, the last counted without an end too."),
        dg.TableColumn("replaced_bytes", "int", description="Bytes that were not UTF-8, and became U+FFFD."),
    ]
)
SAMPLE_TEXT = Path(__file__).parent / "sample_text"


def configured_sources() -> list[str]:
    """Return the sources when run config gives none: EMR_PIPELINES_SOURCE, or the sample text in this package."""
    return [setting("EMR_PIPELINES_SOURCE") or str(SAMPLE_TEXT)]


class InputTextConfig(AssetConfig):
    """The text to ingest."""

    sources: list[str] = Field(
        default=[],
        description="Files, folders, globs (*, ?, [...], **) or s3://bucket/prefix, of UTF-8 text, plain or in .gz or "
        ".bz2, for instance [books/*.txt, s3://my-bucket/logs/2026-]. Empty: what EMR_PIPELINES_SOURCE says, or else "
        "the sample text.",
    )


class WordCountsConfig(AssetConfig):
    """Which words to keep, and how to tell them apart."""

    min_count: int = Field(
        default=1, ge=1, le=2**63 - 1, description="Leave out words counted fewer times than this; 1 or more."
    )
    stop_words: list[str] = Field(default=[], description="Words to leave out, one each, for instance [the, a, don't].")
    case_sensitive: bool = Field(default=False, description="Count 'The' and 'the' apart.")
    top: int = Field(
        default=20, ge=0, le=1000, description="How many of the most frequent words to show on the page; 0 to 1000."
    )


@dg.asset(
    group_name=GROUP,
    kinds={"pyspark", "text"},
    owners=OWNERS,
    tags={"domain": "text"},
    code_version=code_version(ingest_text.__module__),
    description="One clean snapshot of all source text: UTF-8 lines, with a manifest of the files that went in.",
    check_specs=[
        dg.AssetCheckSpec(
            "not_empty", asset="input_text", blocking=True, description="The snapshot has at least one line."
        ),
        dg.AssetCheckSpec(
            "all_bytes_decoded", asset="input_text", description="Every byte was UTF-8; others became U+FFFD."
        ),
    ],
)
def input_text(
    context: dg.AssetExecutionContext, config: InputTextConfig, spark: SparkRunner, storage: Storage
) -> AssetEvents:
    sources = tuple(config.sources or configured_sources())

    @cache
    def readable() -> tuple[str, ...]:
        validate_sources(sources)  # before a cluster is launched to say so
        return tuple(stage_inputs(context, spark, sources))

    def params_at(output: str) -> IngestParams:
        return IngestParams(readable(), output)

    with mistakes_as_failures(), new_version(context, spark, storage, ingest_text, params_at) as version:
        result = _named_here(spark.run(context, ingest_text, params_at(version.uri)), spark)
        metadata = {
            "sources": dg.MetadataValue.json(list(sources)),
            "dagster/row_count": result.lines,
            "files": result.files,
            "empty_files": result.empty_files,
            "bytes": result.bytes,
            "replaced_bytes": result.replaced_bytes,
            "seconds": round(result.seconds, 3),
            "bytes_per_second": round(result.bytes / result.seconds),
            "largest_files": dg.MetadataValue.table(
                [dg.TableRecord(asdict(file)) for file in result.largest_files], schema=FILES
            ),
            "manifest": path_of(result.manifest),
        }
        for sentence in _not_utf8(result):
            context.log.warning(sentence)
        yield from publish(context, storage, version, result.digest, check_input_text(result), metadata)


def _named_here(result: IngestResult, spark: SparkRunner) -> IngestResult:
    """Replace the URIs of files that were copied to S3 in the result by their paths on this machine."""
    return replace(
        result,
        replaced_by_file={named_here(spark, path): count for path, count in result.replaced_by_file.items()},
        largest_files=tuple(replace(file, path=named_here(spark, file.path)) for file in result.largest_files),
    )


def check_input_text(result: IngestResult) -> list[dg.AssetCheckResult]:
    """Check that there is text, and that all of it was UTF-8."""
    return [
        dg.AssetCheckResult(
            check_name="not_empty",
            passed=result.lines > 0,
            description=f"{pluralize(result.lines, 'line')} in {pluralize(result.files, 'file')}",
        ),
        dg.AssetCheckResult(
            check_name="all_bytes_decoded",
            passed=result.replaced_bytes == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(_not_utf8(result)) or "All bytes were UTF-8.",
        ),
    ]


@dg.asset(
    deps=[input_text],
    group_name=GROUP,
    kinds={"pyspark", "parquet"},
    owners=OWNERS,
    tags={"domain": "text"},
    description="How often each word occurs in input_text, as a parquet table. A word starts with a letter or a number "
    "and goes on with letters, combining marks and numbers, with single apostrophes inside, after NFC and "
    "lower-casing. Characters that are never seen, such as soft hyphens, are dropped.",
    code_version=code_version(count_words.__module__),
    metadata={"dagster/column_schema": dg.TableSchema(columns=WORDS)},
    check_specs=[
        dg.AssetCheckSpec(
            "counts_add_up",
            asset="word_counts",
            blocking=True,
            description="The counts, with those left out on purpose, sum to the number of words in the text.",
        ),
        dg.AssetCheckSpec(
            "no_empty_word", asset="word_counts", blocking=True, description="Every row of the table has a word."
        ),
    ],
)
def word_counts(
    context: dg.AssetExecutionContext, config: WordCountsConfig, spark: SparkRunner, storage: Storage
) -> AssetEvents:
    snapshot = cache(lambda: storage.require(input_text.key))

    def params_at(output: str) -> WordCountParams:
        return WordCountParams(
            text=snapshot().uri,
            output=output,
            min_count=config.min_count,
            stop_words=tuple(config.stop_words),
            case_sensitive=config.case_sensitive,
            top=config.top,
        )

    with mistakes_as_failures(), new_version(context, spark, storage, count_words, params_at) as version:
        result = spark.run(context, count_words, params_at(version.uri))
        top_words = dg.MetadataValue.table(
            records=[
                dg.TableRecord({"word": word[:SHOWN_CHARACTERS], "count": count})
                for word, count in result.top_words.items()
            ],
            schema=dg.TableSchema(columns=WORDS),
        )
        metadata = {
            **pictures(
                context,
                most_frequent=lambda: charts.top_words(result.top_words),
                rank_frequency=lambda: charts.rank_frequency(result.rank_counts),
            ),
            "top_words": top_words,
            "dagster/row_count": result.rows,
            "distinct_words": result.distinct_words,
            "total_words": result.total_words,
            "left_out_words": result.left_out_words,
            "lines": result.lines,
            "input_version": snapshot().version,
            "bytes_read": result.bytes_read,
            "seconds": round(result.seconds, 3),
            "bytes_per_second": round(result.bytes_read / result.seconds),
        }
        yield from publish(context, storage, version, result.digest, check_word_counts(result), metadata)


def check_word_counts(result: WordCountResult) -> list[dg.AssetCheckResult]:
    """Check that the table, as it was read back, accounts for every word of the text."""
    accounted_for = result.counted_words + result.left_out_words
    return [
        dg.AssetCheckResult(
            check_name="counts_add_up",
            passed=accounted_for == result.total_words,
            description=f"{result.counted_words:,} counted and {result.left_out_words:,} left out, "
            f"of {result.total_words:,} words",
        ),
        dg.AssetCheckResult(
            check_name="no_empty_word",
            passed=result.empty_words == 0,
            description=f"{result.empty_words:,} of {result.rows:,} rows have no word",
        ),
    ]


def _not_utf8(result: IngestResult) -> list[str]:
    """Return a sentence for each of the first files that were not UTF-8, and one with the number of other files."""
    shown = list(result.replaced_by_file.items())[:NAMED_FILES]
    sentences = [
        f"{path}: {pluralize(replaced, 'byte')} not in UTF-8 became U+FFFD. Find out its encoding, as with file -i, "
        "uchardet or a browser, then convert it: iconv -f THAT -t UTF-8."
        for path, replaced in shown
    ]
    if result.replaced_files > len(shown):
        sentences.append(f"And {result.replaced_files - len(shown):,} more files, which the manifest lists.")
    return sentences
