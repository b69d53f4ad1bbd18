"""What a person sees in a browser, with `dagster dev` and an emulated EMR. The tests are one journey, in
this order."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from rehearsal import until

from tests.browser.conftest import BUCKET, House
from tests.browser.visitor import Visitor
from tests.pipelines.word_count.words import expected_words

pytestmark = pytest.mark.extended


def test_the_graph_shows_all_assets(visitor: Visitor) -> None:
    visitor.opens_the_graph()
    for asset in ("input_text", "word_counts", "pi_estimates", "spark_costs"):
        visitor.sees(asset)
    visitor.sees("Never materialized")


def test_the_launchpad_says_what_can_be_set(visitor: Visitor) -> None:
    visitor.opens_the_launchpad("word_count_job")
    editor = visitor.page.locator(".CodeMirror")
    for setting, description in (("sources", "Files, folders, globs"), ("scope", "Who shares a cluster")):
        help_text = visitor.page.get_by_text(re.compile(description)).first

        def helps(setting: str = setting, help_text: Any = help_text) -> bool:
            editor.get_by_text(setting, exact=True).click()  # before the schema has come it shows no help
            return bool(help_text.is_visible())

        until(helps)


def test_two_assets_are_materialized_on_one_cluster_and_their_programs_are_heard(
    visitor: Visitor, house: House
) -> None:
    visitor.opens_the_graph()
    visitor.materializes("input_text", "word_counts")
    launched = visitor.sees_event("Launched", "Launched cluster")
    (cluster_id,) = house.clusters()
    assert launched.count(cluster_id) >= 2  # itself, and links to where it can be looked at
    visitor.sees_event("Reading", "Reading 2 files")
    visitor.sees("Started")
    visitor.sees_event("Counting", "Counting the words of 2 files")
    visitor.sees_event("Spark:", "Spark: 2 jobs")
    visitor.sees_the_run("Success")
    visitor.sees_event("TERMINATED", f"Cluster {cluster_id} is TERMINATED.")
    assert house.clusters() == {cluster_id: "TERMINATED"}
    assert house.step_states(cluster_id) == ["COMPLETED", "COMPLETED"]
    visitor.opens_the_graph()
    visitor.sees("2 / 2 Passed")
    visitor.picture("graph")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_of_an_asset_has_its_words_and_pictures(
    visitor: Visitor, house: House, theme: Literal["light", "dark"], tmp_path: Path
) -> None:
    folder = None if theme == "light" else tmp_path  # the documentation is light
    visitor.page.emulate_media(color_scheme=theme)
    visitor.goes_to("/assets/word_counts")
    counts = Counter(word for path in house.text.iterdir() for word in expected_words(path.read_text()))
    visitor.sees(f"{len(counts):,}")  # rows
    visitor.sees("How often it occurs.")  # the columns come last
    assert visitor.is_dark() == (theme == "dark")
    visitor.picture("asset", folder)
    for name in ("most_frequent", "rank_frequency"):
        width, height = visitor.opens_picture(name)
        assert min(width, height) > 200
        visitor.picture(name, folder)
        visitor.closes()
    visitor.plots("dagster/row_count")
    table = visitor.sees(visitor.page.get_by_role("table").filter(has_text=re.compile("^wordcount")))
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]
    assert [line.split() for line in table.inner_text().splitlines()] == [
        ["word", "count"],
        *([word, str(count)] for word, count in top),
    ]
    table.scroll_into_view_if_needed()
    visitor.picture("top_words", folder)
    visitor.goes_to("/assets/word_counts?view=events")
    visitor.sees("Observed")
    width, height = visitor.opens_picture("timeline")
    assert min(width, height) > 100
    visitor.picture("timeline", folder)


def test_a_failure_says_why_and_what_to_do_and_where_to_look(visitor: Visitor, house: House) -> None:
    before = set(house.clusters())
    folder = house.text.parent / "holiday"
    folder.mkdir()
    (folder / "beach.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00")
    visitor.launches("word_count_job", f'{{ops: {{input_text: {{config: {{sources: ["{folder}"]}}}}}}}}')
    visitor.sees_the_run("Failure")
    visitor.picture("failure")
    said = visitor.sees_event("type:STEP_FAILURE", f"{folder}/beach.jpg is a JPEG picture")
    (cluster_id,) = set(house.clusters()) - before
    assert "the error comes from your program" in said
    assert "... 1 frame of Spark and of libraries" in said
    assert 'File "emr_pipelines/pipelines/word_count/ingest.py"' in said
    assert f"Logs: s3://{BUCKET}/default/logs/{cluster_id}/steps/" in said
    assert house.clusters()[cluster_id] == "TERMINATED"


def test_the_ledger_has_what_all_of_them_cost(visitor: Visitor, house: House) -> None:
    visitor.launches("spark_costs_job", "{ops: {spark_costs: {config: {daily_budget_usd: 25}}}}")
    visitor.sees_the_run("Success")
    visitor.goes_to("/assets/spark_costs")
    width, height = visitor.opens_picture("by_day")
    assert min(width, height) > 200
    visitor.picture("costs")
    visitor.closes()
    table = visitor.sees(visitor.page.get_by_role("table").filter(has_text=re.compile("^asset.*billed_id", re.DOTALL)))
    assert all(cluster_id in table.inner_text() for cluster_id in house.clusters())
    assert "word_count_job" in table.inner_text()


def test_a_run_that_is_terminated_takes_its_cluster_along(visitor: Visitor, house: House) -> None:
    before = set(house.clusters())
    visitor.launches("pi_job", "{ops: {pi_estimates: {config: {samples: [1000000, 200000000000], partitions: 64}}}}")
    visitor.sees(re.compile("monte_carlo with 1,000,000 samples"))
    visitor.sees(re.compile("Spark: .* % of stage .* of 64 tasks"))
    visitor.sees_the_run("Started")
    (cluster_id,) = set(house.clusters()) - before
    assert house.step_states(cluster_id) == ["RUNNING"]
    visitor.picture("run")
    visitor.terminates_the_run()
    visitor.sees_event("TERMINATED", f"Cluster {cluster_id} is TERMINATED.")
    assert house.clusters()[cluster_id] == "TERMINATED"
    assert house.step_states(cluster_id)[0] in ("CANCELLED", "INTERRUPTED")


def test_sensors_tell_what_they_saw_and_start_a_run(visitor: Visitor, house: House) -> None:
    before = set(house.clusters())
    house.plan(fault="provisioning_hangs")  # so that the run is still there when it is looked at
    for sensor in ("orphaned_clusters_sensor", "new_text_sensor"):  # both first, because ticks come together
        visitor.opens_the_sensor(sensor)
        visitor.page.locator("label", has=visitor.page.get_by_role("checkbox")).click()
        visitor.sees("Reset sensor status")  # it is on now
    visitor.opens_the_sensor("orphaned_clusters_sensor")
    visitor.sees_tick("0 runs requested").get_by_role("button", name="0 runs requested").click()
    visitor.sees(re.compile("eployment 'default'"))
    visitor.opens_the_sensor("new_text_sensor")
    tick = visitor.sees_tick("1 run requested")
    tick.get_by_role("button", name="View logs").click()
    visitor.sees(re.compile("Asked for a run: 2 new or changed: ARCHITECTURE.md, README.md; of 2 files"))
    visitor.closes()
    visitor.follows(tick.locator('a[href^="/runs/"]'))
    visitor.sees_event("Launched", "Launched cluster")
    (cluster_id,) = set(house.clusters()) - before
    assert house.clusters()[cluster_id] == "STARTING"
    visitor.terminates_the_run()
    visitor.sees_event("TERMINATED", f"Cluster {cluster_id} is TERMINATED.")
    assert set(house.clusters().values()) == {"TERMINATED"}
