"""The page that people look at, and who may look."""

from __future__ import annotations

import pytest

from tests.emulator.conftest import UP, Rehearsal, step


def get(rehearsal: Rehearsal, path: str, **headers: str) -> tuple[int, str]:
    status, answer = rehearsal.fetch(path, headers=headers)
    return status, answer.decode()


def test_clusters_steps_and_logs(rehearsal: Rehearsal) -> None:
    assert "No cluster has been launched yet." in get(rehearsal, "/_emulator/")[1]
    rehearsal.emulator.create_bucket("page")
    cluster_id = rehearsal.up(step(name="good"), step("fails", name="bad"), LogUri="s3://page/")
    rehearsal.advance(20)
    _, clusters = get(rehearsal, "/_emulator/")
    assert f'href="/_emulator/clusters/{cluster_id}"' in clusters
    assert '<span class="state WAITING">WAITING</span>' in clusters
    _, page = get(rehearsal, f"/_emulator/clusters/{cluster_id}")
    for expected in ("good", "bad", "FAILED", "exit code 1", "Unknown Error.", "5 min 0 s", "m5.xlarge", "stderr"):
        assert expected in page
    (bad,) = (found["Id"] for found in rehearsal.steps(cluster_id) if found["Name"] == "bad")
    assert get(rehearsal, f"/_emulator/logs/{cluster_id}/steps/{bad}/stderr") == (200, "ValueError: no\n")


def test_names_are_not_markup(rehearsal: Rehearsal) -> None:
    rehearsal.launch(step(name="<i>step</i>"), Name="<script>alert(1)</script>")
    rehearsal.advance(UP)
    (cluster,) = rehearsal.emulator.clusters()
    for path in ("/_emulator/", f"/_emulator/clusters/{cluster.id}"):
        page = get(rehearsal, path)[1]
        assert "<script>" not in page
        assert "<i>" not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "path", ["x", "clusters/j-1", "logs/x", "logs/../buckets", "logs/%2e%2e/steps", "logs//etc/passwd"]
)
def test_what_is_not_there(rehearsal: Rehearsal, path: str) -> None:
    assert get(rehearsal, f"/_emulator/{path}")[0] == 404


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Origin": "http://evil.example"}]
)
def test_only_programs_of_this_machine_may_ask(rehearsal: Rehearsal, headers: dict[str, str]) -> None:
    """A page on the web can make a browser send requests here, under its own name or origin."""
    for path in ("/_emulator/", "/"):
        assert get(rehearsal, path, **headers) == (403, "The emulator answers to programs of this machine only.\n")


def test_faults_are_shown(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.faults.add([{"fault": "logs_never"}])
    assert "logs_never" in get(rehearsal, "/_emulator/")[1]
