"""The word count assets: what is published, and their metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from emr_pipelines.pipelines.word_count.assets import (
    SAMPLE_TEXT,
    InputTextConfig,
    _named_here,
    check_input_text,
    check_word_counts,
    configured_sources,
    input_text,
    word_counts,
)
from emr_pipelines.pipelines.word_count.count import WordCountResult
from emr_pipelines.pipelines.word_count.ingest import FileEntry, IngestResult
from emr_pipelines.runners.local import LocalSparkRunner
from emr_pipelines.storage import Published, Storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("spark")


class Pipeline:
    """The two assets with a storage, and the result of a run."""

    def __init__(self, instance: dg.DagsterInstance, storage: Storage) -> None:
        self.instance = instance
        self.storage = storage

    def materialize(self, *assets: dg.AssetsDefinition, **config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        selected = assets or (input_text, word_counts)
        return dg.materialize(
            [input_text, word_counts],
            selection=list(selected),
            instance=self.instance,
            resources={"spark": LocalSparkRunner(), "storage": self.storage},
            run_config={"ops": {name: {"config": settings} for name, settings in config.items()}},
            raise_on_error=False,
        )

    def failure(self, **config: dict[str, Any]) -> str:
        """Return the message of a failed run."""
        result = self.materialize(**config)
        assert not result.success
        (failed,) = [event for event in result.all_events if event.is_step_failure]
        error = failed.step_failure_data.error
        assert error is not None
        assert error.cls_name == "Failure"
        assert failed.step_failure_data.user_failure_data.label == "intentional-failure"  # type: ignore[union-attr]
        return error.message.removeprefix("dagster._core.definitions.events.Failure: ").strip()


@pytest.fixture
def pipeline(instance: dg.DagsterInstance, storage: Storage) -> Pipeline:
    return Pipeline(instance, storage)


def metadata(result: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition) -> dict[str, Any]:
    (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key == asset.key]
    return {key: entry.value for key, entry in event.materialization.metadata.items()}


def table(spark: SparkSession, published: Published) -> dict[str, int]:
    return {row["word"]: row["count"] for row in spark.read.parquet(published.uri).collect()}


def test_the_sample_text_is_counted_without_any_configuration(
    pipeline: Pipeline, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMR_PIPELINES_SOURCE", raising=False)
    result = pipeline.materialize()
    assert result.success
    published = pipeline.storage.require(word_counts.key)
    assert table(spark, published)["café"] == 4
    shown = metadata(result, word_counts)
    assert f"file://{shown['path']}" == published.uri
    assert shown["total_words"] == 85
    assert shown["distinct_words"] == shown["dagster/row_count"] == 66
    assert [record.data for record in shown["top_words"].records[:2]] == [
        {"word": "the", "count": 7},
        {"word": "café", "count": 4},
    ]
    assert shown["bytes_per_second"] > 0
    ingested = metadata(result, input_text)
    assert (ingested["files"], ingested["dagster/row_count"], ingested["replaced_bytes"]) == (1, 9, 0)
    assert Path(ingested["manifest"]).exists()
    (sample,) = [record.data for record in ingested["largest_files"].records]
    assert (sample["bytes"], sample["lines"], sample["replaced_bytes"]) == (ingested["bytes"], 9, 0)
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {"not_empty": True, "all_bytes_decoded": True, "counts_add_up": True, "no_empty_word": True}


@pytest.mark.extended
def test_the_source_comes_from_the_environment_and_run_config_comes_first(
    pipeline: Pipeline, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.txt").write_text("one\n")
    (tree / "b.txt").write_text("two\n")
    monkeypatch.setenv("EMR_PIPELINES_SOURCE", str(tree / "a.txt"))
    result = pipeline.materialize()
    assert metadata(result, input_text)["sources"] == [str(tree / "a.txt")]
    result = pipeline.materialize(input_text={"sources": [str(tree / "b.txt")]})
    assert metadata(result, input_text)["sources"] == [str(tree / "b.txt")]


def test_a_blank_source_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like every other variable of this package."""
    for value, sources in ((" ", [str(SAMPLE_TEXT)]), (" /in ", ["/in"])):
        monkeypatch.setenv("EMR_PIPELINES_SOURCE", value)
        assert configured_sources() == sources


def test_materializing_unchanged_text_again_says_so(pipeline: Pipeline, tree: Path) -> None:
    (tree / "a.txt").write_text("one two\n")
    config = {"input_text": {"sources": [str(tree)]}}
    first = pipeline.materialize(**config)
    again = pipeline.materialize(**config)
    (tree / "a.txt").write_text("one three\n")
    changed = pipeline.materialize(**config)
    for asset in (input_text, word_counts):
        assert [metadata(result, asset)["unchanged"] for result in (first, again, changed)] == [False, True, False]
        versions = [
            event.materialization.tags["dagster/data_version"]  # type: ignore[index]
            for result in (first, again, changed)
            for event in result.get_asset_materialization_events()
            if event.asset_key == asset.key
        ]
        assert versions[0] == versions[1] != versions[2]
    messages = [entry.user_message for entry in pipeline.instance.all_logs(again.run_id)]
    assert any(message.startswith("Unchanged: the data is the same as in version ") for message in messages)


@pytest.mark.extended
def test_options_reach_the_program(pipeline: Pipeline, tree: Path, spark: SparkSession) -> None:
    (tree / "a.txt").write_text("The cat the CAT sat\n")
    result = pipeline.materialize(
        input_text={"sources": [str(tree)]},
        word_counts={"min_count": 1, "stop_words": ["sat"], "case_sensitive": True, "top": 1},
    )
    assert table(spark, pipeline.storage.require(word_counts.key)) == {"The": 1, "the": 1, "cat": 1, "CAT": 1}
    assert metadata(result, word_counts)["left_out_words"] == 1
    assert len(metadata(result, word_counts)["top_words"].records) == 1


def test_latin1_is_counted_shown_and_said_but_stops_nothing(pipeline: Pipeline, tree: Path) -> None:
    (tree / "old.txt").write_bytes("café\n".encode("latin-1"))
    result = pipeline.materialize(input_text={"sources": [str(tree)]})
    assert result.success
    (check,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "all_bytes_decoded"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    sentence = (
        f"{tree}/old.txt: 1 byte not in UTF-8 became U+FFFD. Find out its encoding, as with file -i, uchardet or a "
        "browser, then convert it: iconv -f THAT -t UTF-8."
    )
    assert check.description == sentence
    assert sentence in [entry.user_message for entry in pipeline.instance.all_logs(result.run_id)]


@pytest.fixture
def published(pipeline: Pipeline, tree: Path) -> Published:
    """Publish a version, and check afterwards that it is unchanged."""
    (tree / "a.txt").write_text("good\n")
    assert pipeline.materialize(input_text={"sources": [str(tree)]}).success
    return pipeline.storage.require(input_text.key)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("empty.txt", b"", "input_text was not published because it failed: not_empty: 0 lines in 1 file."),
        ("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "photo.jpg is a JPEG picture; allowed: UTF-8 text"),
        ("cut.gz", b"\x1f\x8b\x08\0", "cut.gz is a damaged compressed file"),
        ("*.csv", None, "*.csv' matches no file; a source is a file, a folder or a glob on this machine"),
    ],
)
def test_bad_input_is_one_sentence_and_what_was_published_stays(
    pipeline: Pipeline, published: Published, tmp_path: Path, file: str, content: bytes | None, says: str
) -> None:
    source = tmp_path / "bad"
    source.mkdir()
    if content is not None:
        (source / file).write_bytes(content)
    sentence = pipeline.failure(input_text={"sources": [f"{source}/{file}"]})
    assert says in sentence
    assert "\n" not in sentence
    assert pipeline.storage.require(input_text.key) == published
    folders = [path.name for path in Path(published.uri.removeprefix("file://")).parent.iterdir() if path.is_dir()]
    assert folders == [published.version]  # no half-written version is left
    assert Path(published.uri.removeprefix("file://"), "part-00000.txt").read_text() == "good\n"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"min_count": 0}, "min_count is 0; allowed: greater than or equal to 1."),
        ({"top": -1}, "top is -1; allowed: greater than or equal to 0."),
        ({"stop_words": ["of the"]}, "stop_words is 'of the'; allowed: one word each, such as 'the' or 'don't'."),
    ],
)
def test_a_setting_out_of_bounds_is_one_sentence(
    pipeline: Pipeline, tree: Path, settings: dict[str, Any], says: str
) -> None:
    (tree / "a.txt").write_text("x\n")
    assert pipeline.failure(input_text={"sources": [str(tree)]}, word_counts=settings) == says


def test_counting_before_ingesting_says_what_to_do(pipeline: Pipeline) -> None:
    result = pipeline.materialize(word_counts)
    assert not result.success
    message = result.failure_data_for_node("word_counts").error.message  # type: ignore[union-attr]
    assert "input_text has no published version in " in message
    assert "materialize it first" in message


def test_a_storage_that_cannot_be_written_is_said_before_any_work(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()

    def no_work(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(LocalSparkRunner, "run", no_work)
    assert "cannot be written" in Pipeline(instance, Storage(uri=f"{tmp_path}/file")).failure()


@pytest.mark.extended
def test_the_snapshot_can_be_on_s3(instance: dg.DagsterInstance, s3: Any, tree: Path) -> None:
    s3.create_bucket(Bucket="snapshots")
    (tree / "a.txt").write_text("one\n")
    pipeline = Pipeline(instance, Storage(uri="s3://snapshots/data", keep_versions=1))
    for _ in range(2):
        result = pipeline.materialize(input_text, input_text={"sources": [str(tree)]})
        published = pipeline.storage.require(input_text.key)
        assert metadata(result, input_text)["path"] == published.uri
        assert metadata(result, input_text)["manifest"] == f"{published.uri}/_manifest.json"
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="snapshots")["Contents"]]
        folder = published.uri.removeprefix("s3://snapshots/")
        assert keys == [
            "data/.emr_pipelines_storage",
            f"{folder}/_manifest.json",
            f"{folder}/_published.json",
            f"{folder}/part-00000.txt",
            "data/input_text/latest.json",
        ]
    sentence = Pipeline(instance, Storage(uri="s3://never-made")).failure()
    assert sentence.endswith("Create the bucket, or set EMR_PIPELINES_STORAGE to one that is there.")


def test_an_unknown_setting_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "sauces"'):
        pipeline.materialize(input_text={"sauces": []})


def test_files_that_were_copied_to_a_cluster_are_named_as_they_are_here() -> None:
    class Elsewhere(LocalSparkRunner):
        def stage_inputs(self, context: dg.AssetExecutionContext, sources: Sequence[str]) -> list[str]:
            raise NotImplementedError

        def named_here(self, text: str) -> str:
            return text.replace("s3://bucket/inputs/0123", "/home/me")

    copied = replace(
        GOOD_INGEST,
        replaced_by_file={"s3://bucket/inputs/0123/old.txt": 3, "s3://theirs/b.txt": 1},
        largest_files=(FileEntry("s3://bucket/inputs/0123/old.txt", 10),),
    )
    result = _named_here(copied, Elsewhere())
    assert result.replaced_by_file == {"/home/me/old.txt": 3, "s3://theirs/b.txt": 1}
    assert result.largest_files == (FileEntry("/home/me/old.txt", 10),)


def test_many_files_that_are_not_utf8_are_summed_up() -> None:
    damaged = {f"/text/{number}.txt": 1 for number in range(100)}
    check = check_input_text(replace(GOOD_INGEST, replaced_bytes=5000, replaced_files=5000, replaced_by_file=damaged))[
        1
    ]
    assert check.description is not None
    assert check.description.count("iconv") == 5
    assert check.description.endswith("And 4,995 more files, which the manifest lists.")


GOOD_INGEST = IngestResult(2, 0, 10, 3, 0, 0, {}, (), "manifest", "digest", 1.0)
GOOD_COUNT = WordCountResult(10, 8, 2, 7, 5, 0, 3, 100, {"a": 4}, ((1, 4),), "digest", 1.0)


@pytest.mark.parametrize(
    ("results", "failing"),
    [
        (check_input_text(GOOD_INGEST), set()),
        (check_input_text(replace(GOOD_INGEST, lines=0)), {"not_empty"}),
        (check_input_text(replace(GOOD_INGEST, replaced_bytes=1)), {"all_bytes_decoded"}),
        (check_word_counts(GOOD_COUNT), set()),
        (check_word_counts(replace(GOOD_COUNT, counted_words=7)), {"counts_add_up"}),
        (check_word_counts(replace(GOOD_COUNT, left_out_words=3)), {"counts_add_up"}),
        (check_word_counts(replace(GOOD_COUNT, empty_words=1)), {"no_empty_word"}),
    ],
)
def test_checks_fail_when_they_should(results: list[dg.AssetCheckResult], failing: set[str]) -> None:
    assert {result.check_name for result in results if not result.passed} == failing


@pytest.mark.usefixtures("published")
def test_counts_that_do_not_add_up_are_not_published(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> None:
    before = pipeline.storage.require(word_counts.key)

    def lose_a_word(session: SparkSession, params: Any) -> WordCountResult:
        from emr_pipelines.pipelines.word_count.count import count_words

        result = count_words(session, params)
        return replace(result, counted_words=result.counted_words - 1)

    monkeypatch.setattr("emr_pipelines.pipelines.word_count.assets.count_words", lose_a_word)
    result = pipeline.materialize(word_counts)
    assert not result.success
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {"counts_add_up": False, "no_empty_word": True}
    assert "word_counts was not published because it failed: counts_add_up: 0 counted" in str(
        result.failure_data_for_node("word_counts").error.message  # type: ignore[union-attr]
    )
    assert pipeline.storage.require(word_counts.key) == before
    assert table(spark, before) == {"good": 1}


def test_config_out_of_bounds_fails_in_python_too() -> None:
    with pytest.raises(dg.Failure, match="sources is 'a'; allowed: a valid list"):
        InputTextConfig(sources="a")  # type: ignore[arg-type]
