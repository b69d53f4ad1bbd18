"""new_text_sensor starts one run for all new files, and gives a reason for each tick without a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emr_pipelines.automation.jobs import REASON_TAG
from emr_pipelines.automation.sensors import Cursor, new_text_sensor
from emr_pipelines.storage import Storage


class Sensor:
    """The sensor, with its cursor kept between ticks."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None
        self.run_keys: list[str] = []

    def tick(self) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result: Any = new_text_sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor or self.cursor
        for request in result.run_requests or []:
            assert request.run_key not in self.run_keys  # Dagster would skip it silently
            self.run_keys.append(str(request.run_key))
        return result

    def skip_reason(self) -> str:
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)

    def request(self) -> dg.RunRequest:
        result = self.tick()
        assert result.run_requests is not None
        (request,) = result.run_requests
        return request


@pytest.fixture
def sensor(instance: dg.DagsterInstance, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    monkeypatch.setenv("EMR_PIPELINES_SOURCE", str(tree))
    return Sensor(instance)


def test_one_run_for_all_that_is_new_since_the_last_tick(sensor: Sensor, tree: Path) -> None:
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("x")
    request = sensor.request()
    assert request.tags["new_files"] == "3"
    assert request.tags[REASON_TAG] == f"3 new or changed: a.txt, b.txt, sub/c.txt; of 3 files under {tree}."
    assert request.run_config == {"ops": {"input_text": {"config": {"sources": [str(tree)]}}}}
    assert "No new or changed file among 3 under " in sensor.skip_reason()
    (tree / "d.txt").write_text("x")
    assert sensor.request().tags["new_files"] == "1"


def test_a_changed_file_is_new_even_when_its_size_is_the_same(sensor: Sensor, tree: Path) -> None:
    (tree / "a.txt").write_text("x")
    sensor.request()
    (tree / "a.txt").write_text("y")
    os.utime(tree / "a.txt", ns=(1, 1))  # and even when it is older than what was seen
    assert sensor.request().tags["new_files"] == "1"


def test_a_file_that_went_away_starts_nothing_and_is_new_when_it_comes_back(sensor: Sensor, tree: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tree / name).write_text("x")
    sensor.request()
    stat = (tree / "b.txt").stat()
    (tree / "b.txt").unlink()
    assert sensor.skip_reason().endswith("; 1 went away, which starts no run.")
    (tree / "b.txt").write_text("x")
    os.utime(tree / "b.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sensor.request().tags["new_files"] == "1"


def test_an_empty_or_missing_folder_is_a_reason(sensor: Sensor, tree: Path) -> None:
    assert f"The source {str(tree)!r} matches no file" in sensor.skip_reason()
    tree.rmdir()
    assert f"The source {str(tree)!r} matches no file" in sensor.skip_reason()
    tree.mkdir()
    (tree / "a.txt").write_text("x")
    assert sensor.request().tags["new_files"] == "1"


def test_an_empty_folder_does_not_forget_what_was_seen(sensor: Sensor, tree: Path) -> None:
    (tree / "a.txt").write_text("x")
    sensor.request()
    (tree / "a.txt").rename(tree.parent / "a.txt")
    sensor.skip_reason()
    (tree.parent / "a.txt").rename(tree / "a.txt")
    assert "No new or changed file" in sensor.skip_reason()


def test_a_cursor_that_was_reset_asks_for_a_run_that_dagster_has_not_seen(sensor: Sensor, tree: Path) -> None:
    (tree / "a.txt").write_text("x")
    sensor.request()
    sensor.cursor = None
    assert sensor.request().tags["new_files"] == "1"


@pytest.mark.parametrize("cursor", ["garbage", "{}", "null", '{"runs": 1}', '{"began": 1, "runs": 1, "seen": 7}'])
def test_a_cursor_that_cannot_be_read_starts_anew(sensor: Sensor, tree: Path, cursor: str) -> None:
    (tree / "a.txt").write_text("x")
    sensor.cursor = cursor
    request = sensor.request()
    assert request.tags["new_files"] == "1"
    assert "All count as new, for the cursor cannot be read (" in request.tags[REASON_TAG]
    assert "No new or changed file" in sensor.skip_reason()


@pytest.mark.parametrize("source", ["http://example.com/x", "   ", "a\0b"])
def test_a_source_that_is_not_allowed_is_a_reason(sensor: Sensor, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr("emr_pipelines.automation.sensors.configured_sources", lambda: [source])
    assert repr(source) in sensor.skip_reason()


def test_what_the_assets_wrote_is_not_new_text(sensor: Sensor, tree: Path) -> None:
    (tree / "a.txt").write_text("x")
    key = dg.AssetKey("input_text")
    with Storage(uri=f"{tree}/data").new_version(key, "run") as version:
        folder = Path(version.uri.removeprefix("file://"))
        folder.mkdir()
        (folder / "part-00000.txt").write_text("x")
        assert sensor.request().tags["new_files"] == "1"


def test_the_cursor_of_many_files_is_small() -> None:
    marks = frozenset(number.to_bytes(6, "big") for number in range(100_000))
    text = str(Cursor(1, 3, marks))
    assert len(text) < 800_000
    assert Cursor.parse(text) == Cursor(1, 3, marks)
