"""`emr-pipelines emulator`, as it is typed."""

from __future__ import annotations

import importlib.util
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
from click.testing import CliRunner

import emr_pipelines
from emr_pipelines import cli
from tests.emulator.conftest import until

COMMAND = [sys.executable, "-c", "from emr_pipelines.cli import main; main()", "emulator"]


@contextmanager
def emulator(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, when it has said where it is."""
    command = [*COMMAND, "--port", "0", "--spark-master", "local[1]", "--env-file", str(folder / "env"), *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("EMR, S3 and STS are at http://127.0.0.1:")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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
        assert process.wait(30) == 0
    assert sleepers(process.pid) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["env"]  # its temporary folder is gone


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
    for name in [name for name in sys.modules if name.startswith("emr_pipelines.emulator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    assert fails() == (
        "Error: The emulator needs the package 'botocore'; install it with pip install 'emr-pipelines[emulator]'."
    )
