"""The web page, and who can reach it."""

from __future__ import annotations

import inspect
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape
from rehearsal import UP, Rehearsal, step

from emr_emulator import Emulator, ManualClock, Scripted, find_spark
from emr_emulator.cli import main
from emr_emulator.page import name_and_ids

LISTEN = "0A"  # a state in /proc/net/tcp
LOOPBACK = int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder)  # as the kernel writes it


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


def test_how_many_steps_failed_and_what_they_ended_with(rehearsal: Rehearsal) -> None:
    good, ids = "word_counts", "0d41e6a0f1b2.1 6ef5a1c2-0f0e-4d3c-8b1a-9f8e7d6c5b4a"
    cluster_id = rehearsal.up(
        step(name=f"{good} {ids}"), step("fails", name=f"pi {ids}"), step("fails"),
        LogUri="s3://page/", Name="emr_pipelines/default/run/6ef5a1c2-0f0e-4d3c-8b1a-9f8e7d6c5b4a-1b7c2de4",
    )  # fmt: skip
    rehearsal.advance(60)
    _, clusters = get(rehearsal, "/_emulator/")
    assert '<span class="bad">2 of 3 steps failed</span>' in clusters
    assert ">word_counts, pi, step</a>" in clusters
    _, page = get(rehearsal, f"/_emulator/clusters/{cluster_id}")
    assert '<p class="bad">2 of 3 steps failed</p>' in page
    assert f'<b>word_counts</b><br><code class="quiet id">{rehearsal.steps(cluster_id)[0]["Id"]}</code>' in page
    assert page.count('<code class="bad">ValueError: no</code>') == 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("word_counts 0d41e6a0f1b2.1 6ef5a1c2-0f0e-4d3c-8b1a-9f8e7d6c5b4a", "word_counts"),
        ("a,b shell 0d41e6a0f1b2.abcd1234 6ef5a1c2-0f0e-4d3c-8b1a-9f8e7d6c5b4a", "a,b shell"),
        ("count words", "count words"),
        ("facade deadbeef cafe", "facade deadbeef cafe"),
        ("load 20260101", "load"),
        ("20260101", "20260101"),
    ],
)
def test_names_for_people(name: str, shown: str) -> None:
    assert name_and_ids(name)[0] == shown


@pytest.mark.parametrize(
    ("stdout", "stderr", "last"),
    [
        (
            "done\nTraceback (most recent call last):\nValueError: no\n",
            "26/01/01 00:00:00 INFO X: bye\n",
            "ValueError: no",
        ),
        pytest.param(
            "only\n", "26/01/01 00:00:00 INFO X: bye\nno such option\n", "no such option", marks=pytest.mark.extended
        ),
        ("", 'Exception in thread "main" java.lang.X: y\n\tat z\n', 'Exception in thread "main" java.lang.X: y'),
        pytest.param("only output\n", "26/01/01 00:00:00 INFO X: bye\n", None, marks=pytest.mark.extended),
    ],
)
def test_the_last_words_of_a_step(tmp_path: Path, stdout: str, stderr: str, last: str | None) -> None:
    scripted = {"fails": Scripted(exit_code=1, stdout=stdout, stderr=stderr)}
    with Emulator(tmp_path, clock=ManualClock(), scripted=scripted, speed=1e6) as emulator:
        rehearsal = Rehearsal(emulator, [])
        cluster_id = rehearsal.launch(step("fails"), LogUri="s3://page/")
        emulator.advance(0.1)
        page = get(rehearsal, f"/_emulator/clusters/{cluster_id}")[1]
    assert ('class="bad">' + str(escape(last)) in page) if last else ('<code class="bad">' not in page)


OWN = "emr-7.12.0" if find_spark("local").line == "3.5" else "emr-spark-8.1.0"


def test_a_release_with_another_spark(tmp_path: Path) -> None:
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]")) as emulator:
        rehearsal = Rehearsal(emulator, [])
        other, own = (rehearsal.launch(ReleaseLabel=label) for label in ("emr-6.15.0", OWN))
        assert (
            "emr-6.15.0 has Spark 3.4.1; its steps run on the installed"
            in get(rehearsal, f"/_emulator/clusters/{other}")[1]
        )
        assert "instead" not in get(rehearsal, f"/_emulator/clusters/{own}")[1]


def test_two_sparks_of_which_the_release_chooses(tmp_path: Path) -> None:
    installed = find_spark("local[1]")
    sparks = [replace(installed, version="4.1.4"), replace(installed, version="3.5.9")]
    with Emulator(tmp_path, speed=1e6, spark=sparks) as emulator:
        rehearsal = Rehearsal(emulator, [])
        for label in ("emr-7.14.0", "emr-spark-8.1.0"):
            page = get(rehearsal, f"/_emulator/clusters/{rehearsal.launch(ReleaseLabel=label)}")[1]
            assert "instead" not in page
        said = "Steps run on Spark 4.1.4 or 3.5.9, as their release says, with master local[1]."
        assert said in get(rehearsal, "/_emulator/")[1]


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
    """A web page can make a browser send requests here, with its own Host or Origin."""
    for path in ("/_emulator/", "/"):
        assert get(rehearsal, path, **headers) == (403, "The emulator answers to programs of this machine only.\n")


def test_faults_are_shown(rehearsal: Rehearsal) -> None:
    rehearsal.emulator.faults.add([{"fault": "logs_never"}])
    assert "logs_never" in get(rehearsal, "/_emulator/")[1]


def listeners(port: int) -> set[str]:
    """Return the addresses on which this machine listens on a port, from /proc/net/tcp."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            _, local, _, state, *_ = line.split()
            address, _, number = local.rpartition(":")
            if (int(number, 16), state) == (port, LISTEN):
                found.add(address)
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux tells")
def test_nothing_but_this_machine_reaches_it(rehearsal: Rehearsal) -> None:
    port = int(rehearsal.emulator.url.rpartition(":")[2])
    assert listeners(port) == {f"{LOOPBACK:08X}"}
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=10):
        pass  # another address of this machine, which a server on all interfaces would answer


def test_there_is_no_way_to_say_another_address() -> None:
    assert "host" not in inspect.signature(Emulator).parameters
    assert {"--host", "--bind", "--address"} & {option for one in main.params for option in one.opts} == set()
