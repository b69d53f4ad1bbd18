"""The commands `emr-pipelines emulator | clusters | doctor`."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result
from rehearsal import UP, EmulatedClock, Rehearsal, rehearsing, until

import emr_pipelines
from emr_pipelines import cli
from tests.patience import HUNG_SECONDS
from tests.terminals import Screen

COMMAND = [sys.executable, "-c", "from emr_pipelines.cli import main; main()", "emulator"]


@contextmanager
def emulator(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command in its own process, and wait until it has printed its address."""
    command = [*COMMAND, "--port", "0", "--spark-master", "local[1]", "--env-file", str(folder / "env"), *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("EMR, EMR Serverless, S3 and STS are at http://127.0.0.1:")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.extended),
        pytest.param(signal.SIGHUP, marks=pytest.mark.extended),
    ],
)
def test_from_start_to_end(tmp_path: Path, number: signal.Signals) -> None:
    with emulator(tmp_path, "--bucket", "mine", "--speed", "1000000") as process:
        lines = (tmp_path / "env").read_text().splitlines()
        environment = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        session = boto3.session.Session(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_REGION"],
        )
        s3, emr = (session.client(name, endpoint_url=environment["AWS_ENDPOINT_URL"]) for name in ("s3", "emr"))
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["mine"]
        args = ["bash", "-c", f"exec sleep 1{process.pid}"]
        emr.run_job_flow(
            Name="by hand",
            ReleaseLabel="emr-7.10.0",
            ServiceRole="a",
            JobFlowRole="b",
            Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1},
            Steps=[{"Name": "sleeps", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": args}}],
        )
        until(lambda: sleepers(process.pid) == 1)
        process.send_signal(number)
        assert process.stdout is not None
        said = process.stdout.read()
        assert "sleeps  RUNNING" in said
        assert "Ending what runs." in said
        assert process.wait(HUNG_SECONDS) == 0
    assert sleepers(process.pid) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["env"]  # its temporary folder was deleted


def sleepers(pid: int) -> int:
    return subprocess.run(["pgrep", "-f", f"^sleep 1{pid}$"], capture_output=True, check=False).stdout.count(b"\n")


def fails(*options: str) -> str:
    answer = CliRunner().invoke(cli.main, ["emulator", "--port", "0", *options])
    assert answer.exit_code != 0
    lines = answer.output.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert "Traceback" not in answer.output
    return lines[-1]


def test_a_port_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert fails("--port", str(port)) == f"Error: Port {port} of 127.0.0.1 cannot be used: Address already in use."
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "root"
    assert fails("--root", str(root)) == f"Error: {root} cannot be used for the emulator's files: Not a directory."


def test_no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert fails().startswith("Error: There is no pyspark to run steps with; install it with pip install")


def test_a_java_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert fails().startswith("Error: JAVA_HOME is '/nowhere', where there is no bin/java;")


@pytest.mark.parametrize("master", ["yarn", "local-cluster[2]", "local[]", "spark://there"])
def test_a_master_that_there_is_not(master: str) -> None:
    assert fails("--spark-master", master).startswith(f"Error: The master is {master!r}; allowed are local, local[n]")


def test_a_python_that_is_none() -> None:
    assert fails("--python", "/etc/passwd").startswith("Error: /etc/passwd cannot be run as a Python:")


@pytest.mark.parametrize("bucket", ["My_Bucket", "b", "a..b"])
def test_a_bucket_that_cannot_be(bucket: str) -> None:
    assert fails("--bucket", bucket).startswith(f"Error: A bucket cannot be called {bucket!r}: 3 to 63 small letters")


def test_a_root_in_use(tmp_path: Path) -> None:
    with emulator(tmp_path, "--root", str(tmp_path / "root")):
        assert (
            fails("--root", str(tmp_path / "root")) == f"Error: {tmp_path}/root is used by another emulator that runs."
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- fault: flood\n", "There is no fault 'flood'; there are throttle,"),
        ("- {fault: throttle, cluster: a}\n", "The fault 'throttle' has no member 'cluster'"),
        ("[", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_bad_file_of_faults(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "faults.yaml").write_text(text)
    answer = CliRunner().invoke(cli.main, ["emulator", "--port", "0", "--faults", str(tmp_path / "faults.yaml")])
    assert answer.exit_code == 1
    assert says in answer.output


def test_the_emulator_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(emr_pipelines, "emulator", raising=False)
    for name in [name for name in sys.modules if name.startswith("emr_emulator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    assert fails() == (
        "Error: The emulator needs the package 'botocore'; install it with pip install 'emr-pipelines[emulator]'."
    )


# clusters and doctor


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    with rehearsing(tmp_path / "emulator", monkeypatch) as rehearsal:
        monkeypatch.setattr("emr_pipelines.aws.client.SystemClock", lambda: EmulatedClock(rehearsal.emulator))
        yield rehearsal


def run(*words: str, answer: str | None = None) -> Result:
    result = CliRunner().invoke(cli.main, words, input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_list_of_clusters(rehearsal: Rehearsal) -> None:
    assert run("clusters", "list").output == "No cluster of deployment 'default' is active.\n"
    assert run("clusters", "list", "--all").output == "No cluster of any deployment is active.\n"
    old = rehearsal.up(Name="emr-pipelines/default/run/0a1b")
    rehearsal.advance(25 * 3600)
    new = rehearsal.launch(Name="emr-pipelines/other/pool/2c3d-0")
    rehearsal.launch(Name="theirs")
    answer = run("clusters", "list")
    assert answer.exit_code == 0
    assert [line.split() for line in answer.output.splitlines()] == [
        ["ID", "STATE", "AGE", "DEPLOYMENT", "SCOPE", "KEY", "NORMALIZED", "HOURS"],
        [old, "WAITING", "1", "d", "1", "h", "default", "run", "0a1b", "624"],
    ]
    assert [line.split()[0] for line in run("clusters", "list", "--all").output.splitlines()[1:]] == [new, old]
    assert new in run("clusters", "list", "--deployment", "other").output


def test_a_list_for_programs(rehearsal: Rehearsal) -> None:
    cluster_id = rehearsal.up(Name="emr-pipelines/default/run/0a1b")
    (row,) = json.loads(run("clusters", "list", "--json").stdout)
    assert (row["id"], row["age_seconds"], row["scope"]) == (cluster_id, UP, "run")
    assert json.loads(run("clusters", "list", "--json", "--deployment", "other").stdout) == []


def test_the_end_of_clusters_is_asked_for_and_waited_for(rehearsal: Rehearsal) -> None:
    one, two = (rehearsal.up(Name=f"emr-pipelines/default/run/{key}") for key in "ab")
    answer = run("clusters", "terminate", one, two, answer="n\n")
    assert answer.exit_code == 1
    assert "End 2 clusters? [y/N]" in answer.output
    assert rehearsal.state(one) == "WAITING"
    answer = run("clusters", "terminate", one, two, answer="y\n")
    assert answer.exit_code == 0
    assert answer.output.splitlines()[-2:] == [f"Cluster {found} is TERMINATED." for found in (one, two)]
    waiting = [line for line in answer.stderr.splitlines() if line.startswith("Waiting for ")]
    assert waiting[0] == f"Waiting for cluster {one} to end: TERMINATING, 5 s so far, at most 15 min."
    assert len(waiting) <= 5  # it takes 90 s
    assert "\x1b" not in answer.output
    assert "\r" not in answer.output
    assert [rehearsal.state(found) for found in (one, two)] == ["TERMINATED", "TERMINATED"]
    answer = run("clusters", "terminate", one, "--yes")
    assert (answer.exit_code, answer.output.splitlines()[0]) == (0, f"Cluster {one} is TERMINATED already.")


def test_in_a_terminal_there_is_a_bar(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = rehearsal.up(Name="emr-pipelines/default/run/a")
    with Screen(monkeypatch) as screen:
        monkeypatch.setattr(sys, "stderr", screen.stream)
        cli.main(["clusters", "terminate", one, "--yes"], standalone_mode=False)
    assert f"Waiting for cluster {one} to end" in screen.text
    assert capsys.readouterr().out.splitlines()[-1] == f"Cluster {one} is TERMINATED."


def test_without_waiting(rehearsal: Rehearsal) -> None:
    one = rehearsal.up(Name="emr-pipelines/default/run/a")
    answer = run("clusters", "terminate", one, "--yes", "--no-wait")
    assert answer.exit_code == 0
    assert f"Cluster {one} was told to end." in answer.output
    assert rehearsal.state(one) == "TERMINATING"


def test_others_clusters_are_left_alone_unless_forced(rehearsal: Rehearsal) -> None:
    ours, theirs = rehearsal.up(Name="emr-pipelines/default/run/a"), rehearsal.up(Name="theirs")
    answer = run("clusters", "terminate", ours, theirs, "--yes")
    assert answer.exit_code == 1
    assert f"Cluster {theirs} was left alone" in answer.stderr
    assert [rehearsal.state(found) for found in (ours, theirs)] == ["TERMINATED", "WAITING"]
    assert run("clusters", "terminate", theirs, "--yes", "--force").exit_code == 0
    assert rehearsal.state(theirs) == "TERMINATED"


def test_old_clusters_of_a_deployment(rehearsal: Rehearsal) -> None:
    old, elsewhere = (rehearsal.up(Name=f"emr-pipelines/{of}/pool/a-0") for of in ("default", "other"))
    rehearsal.advance(7200)
    new = rehearsal.up(Name="emr-pipelines/default/pool/b-0")
    answer = run("clusters", "terminate", "--older-than", "2", "--yes")
    assert answer.exit_code == 0
    states = [rehearsal.state(found) for found in (old, elsewhere, new)]
    assert states == ["TERMINATED", "WAITING", "WAITING"]
    assert run("clusters", "terminate", "--older-than", "2", "--yes").output == "There is no cluster to end.\n"


def test_no_such_cluster(rehearsal: Rehearsal) -> None:  # noqa: ARG001 (its environment is used)
    answer = run("clusters", "terminate", "j-NONE", "--yes")
    assert answer.exit_code == 1
    assert answer.output.startswith("Cluster j-NONE cannot be ended: emr.describe_cluster (ClusterId 'j-NONE') was")


def test_no_cluster_is_named() -> None:
    answer = run("clusters", "terminate")
    assert answer.exit_code == 2
    assert "Give the IDS of clusters" in answer.output


def test_aws_that_refuses_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    answer = run("clusters", "list", "--region", "us-east-1")
    assert answer.exit_code == 1
    assert answer.output.startswith("Error: emr.list_clusters needs AWS credentials: ")


def test_the_doctor(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_PIPELINES_TARGET", "emr")
    answer = run("doctor")
    lines = {line.split(":")[0].split(maxsplit=1)[1]: line.split()[0] for line in answer.output.splitlines()}
    assert answer.exit_code == 1
    assert lines["bucket"] == "MISSING"
    assert lines["storage"] == "WRONG"
    rehearsal.emulator.create_bucket("mine")
    monkeypatch.setenv("EMR_PIPELINES_BUCKET", "mine")
    answer = run("doctor")
    assert answer.exit_code == 0, answer.output
    assert {line.split()[0] for line in answer.output.splitlines()} == {"OK", "UNCHECKED"}
    assert "s3://mine/default/data is writable" in answer.output
