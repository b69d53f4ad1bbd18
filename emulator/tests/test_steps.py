"""Steps that Spark runs: their reads and writes, their logs, and how they are stopped."""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rehearsal import Rehearsal, step, until

from emr_emulator import Emulator, Scripted, find_spark
from emr_emulator.faults import read_faults

BUCKET = "steps"

# reads and writes s3://, prints where it runs, and waits for an object
PROGRAM = """
import os, sys
from pyspark.sql import SparkSession
import helper

bucket = sys.argv[1]
spark = SparkSession.builder.getOrCreate()
counts = spark.read.text(f"s3://{bucket}/text/").groupBy("value").count()
assert spark.sparkContext.textFile(f"s3://{bucket}/text/").collect() == ["one", "two", "two"]
counts.coalesce(1).write.mode("overwrite").csv(f"s3://{bucket}/out/{helper.NAME}")
print("master", spark.sparkContext.master, flush=True)
path = spark._jvm.org.apache.hadoop.fs.Path(f"s3://{bucket}/go/{helper.NAME}")
system = path.getFileSystem(spark._jsc.hadoopConfiguration())
while "wait" in sys.argv and not system.exists(path):
    spark._jvm.java.lang.Thread.sleep(100)
if os.path.exists("placed.txt"):
    print("placed", open("placed.txt").read(), open("environment/inside.txt").read(), flush=True)
if "fail" in sys.argv:
    raise ValueError("no such luck")
"""


def prepare(rehearsal: Rehearsal, name: str, bucket: str = BUCKET) -> list[str]:
    """Write a program's files; return the arguments of spark-submit before the program's own."""
    folder = rehearsal.emulator.create_bucket(bucket)
    for sub in ("text", "code", "go"):
        (folder / sub).mkdir(exist_ok=True)
    rehearsal.s3.put_object(Bucket=bucket, Key="text/a.txt", Body=b"one\ntwo\ntwo\n")
    rehearsal.s3.put_object(Bucket=bucket, Key="code/main.py", Body=PROGRAM.encode())
    with zipfile.ZipFile(folder / "code" / f"{name}.zip", "w") as package:
        package.writestr("helper.py", f"NAME = {name!r}")
    return ["spark-submit", "--master", "yarn", "--py-files", f"s3://{bucket}/code/{name}.zip"]


@pytest.mark.extended
def test_a_step_in_client_mode_is_seen_while_it_runs(with_spark: Rehearsal) -> None:
    submit = [*prepare(with_spark, "live"), f"s3://{BUCKET}/code/main.py", BUCKET, "wait", "fail"]
    cluster_id = with_spark.launch(step(*submit), LogUri=f"s3://{BUCKET}/logs")
    (step_id,) = (found["Id"] for found in with_spark.steps(cluster_id))
    until(lambda: with_spark.keys(BUCKET, "out/live/_SUCCESS"))
    assert with_spark.step_states(cluster_id) == ["RUNNING"]
    _, part = with_spark.keys(BUCKET, "out/live/")  # and no .crc files
    assert sorted(with_spark.read(BUCKET, part).split()) == [b"one,1", b"two,2"]
    logs = f"logs/{cluster_id}/steps/{step_id}"
    until(lambda: with_spark.keys(BUCKET, f"{logs}/stdout.gz"))  # pushed while the step runs
    assert with_spark.log(BUCKET, f"{logs}/stdout.gz") == "master local[2]\n"
    with_spark.s3.put_object(Bucket=BUCKET, Key="go/live", Body=b"")
    until(lambda: with_spark.step_states(cluster_id) == ["FAILED"])
    (found,) = with_spark.steps(cluster_id)
    details = {"Reason": "Unknown Error.", "LogFile": f"s3://{BUCKET}/{logs}/stderr.gz"}
    assert found["Status"]["FailureDetails"] == details
    with_spark.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    until(lambda: with_spark.state(cluster_id) == "TERMINATED")
    keys = [f"{logs}/{name}.gz" for name in ("controller", "stderr", "stdout")]
    assert with_spark.keys(BUCKET, f"logs/{cluster_id}/steps/") == keys
    # spark-submit writes a Python driver's stderr to its own stdout
    assert with_spark.log(BUCKET, f"{logs}/stdout.gz").endswith("ValueError: no such luck\n")
    assert "exit code 1" in with_spark.log(BUCKET, f"{logs}/controller.gz")
    assert not (with_spark.emulator.root / "steps" / step_id).exists()


@pytest.mark.extended
def test_a_step_in_cluster_mode_leaves_its_output_to_its_container(with_spark: Rehearsal) -> None:
    folder = with_spark.emulator.create_bucket(BUCKET)
    submit = prepare(with_spark, "container")
    with zipfile.ZipFile(folder / "code" / "environment.zip", "w") as archive:
        archive.writestr("inside.txt", "inside")
    (folder / "code" / "placed.txt").write_text("beside")
    submit += ["--deploy-mode", "cluster", "--archives", f"s3://{BUCKET}/code/environment.zip#environment"]
    submit += ["--files", f"s3://{BUCKET}/code/placed.txt", f"s3://{BUCKET}/code/main.py", BUCKET, "fail"]
    cluster_id = with_spark.launch(step(*submit), LogUri=f"s3://{BUCKET}/logs", KeepJobFlowAliveWhenNoSteps=False)
    until(lambda: with_spark.state(cluster_id) == "TERMINATED")
    (found,) = with_spark.steps(cluster_id)
    assert found["Status"]["State"] == "FAILED"
    application = with_spark.emulator.clusters()[-1].steps[found["Id"]].application_id or ""
    container = f"containers/{application}/{application.replace('application', 'container')}_01_000001"
    driver = with_spark.log(BUCKET, f"logs/{cluster_id}/{container}/stdout.gz")
    assert driver.startswith("master local[2]\nplaced beside inside\nTraceback")
    assert driver.endswith("ValueError: no such luck\n")
    client = with_spark.log(BUCKET, f"logs/{cluster_id}/steps/{found['Id']}/stderr.gz")
    assert "no such luck" not in client
    assert found["Status"]["FailureDetails"]["Message"] == client.splitlines()[-1]
    assert client.endswith("finished with failed status\n")


def sessions(emulator: Emulator) -> set[int]:
    return {running.pid for running in emulator._steps._running.values() if running.pid is not None}


def processes(session: int) -> list[str]:
    """Return the command lines of a session's processes."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, ProcessLookupError, FileNotFoundError):
            if os.getsid(int(entry.name)) == session:
                found.append((entry / "cmdline").read_text())
    return [line for line in found if line]


@pytest.mark.extended
def test_cancelling_and_terminating_end_the_process_tree(with_spark: Rehearsal) -> None:
    submit = [*prepare(with_spark, "ended"), f"s3://{BUCKET}/code/main.py", BUCKET, "wait"]
    cluster_id = with_spark.launch(step(*submit), step("bash", "-c", "sleep 1000 & sleep 1001"))
    until(lambda: with_spark.keys(BUCKET, "out/ended/_SUCCESS"))
    (session,) = sessions(with_spark.emulator)
    assert any("SparkSubmit" in line for line in processes(session))
    (running, _) = (found["Id"] for found in with_spark.steps(cluster_id))
    with_spark.emr.cancel_steps(ClusterId=cluster_id, StepIds=[running])
    until(lambda: with_spark.step_states(cluster_id) == ["CANCELLED", "RUNNING"])
    assert processes(session) == []
    (session,) = until(lambda: sessions(with_spark.emulator))
    until(lambda: len([line for line in processes(session) if line.startswith("sleep")]) == 2)
    with_spark.emr.terminate_job_flows(JobFlowIds=[cluster_id])
    until(lambda: with_spark.state(cluster_id) == "TERMINATED")
    assert processes(session) == []
    assert with_spark.step_states(cluster_id) == ["CANCELLED", "INTERRUPTED"]


def test_terminating_its_process_ends_a_step_that_does_not_listen(with_spark: Rehearsal) -> None:
    with_spark.emulator.create_bucket(BUCKET)
    script = "trap 'echo asked' TERM; echo started; while true; do sleep 1000; done"
    cluster_id = with_spark.launch(step("bash", "-c", script), LogUri=f"s3://{BUCKET}/logs")
    (found,) = with_spark.steps(cluster_id)
    log = f"logs/{cluster_id}/steps/{found['Id']}/stdout.gz"
    until(lambda: with_spark.keys(BUCKET, log))
    with_spark.emr.cancel_steps(ClusterId=cluster_id, StepIds=[found["Id"]])
    until(lambda: "asked" in with_spark.log(BUCKET, log))
    assert with_spark.step_states(cluster_id) == ["CANCEL_PENDING"]
    with_spark.emr.cancel_steps(ClusterId=cluster_id, StepIds=[found["Id"]], StepCancellationOption="TERMINATE_PROCESS")
    until(lambda: with_spark.step_states(cluster_id) == ["CANCELLED"])
    with_spark.emr.terminate_job_flows(JobFlowIds=[cluster_id])


@pytest.mark.extended
def test_separate_executors_and_another_python(tmp_path: Path) -> None:
    """With `--master`, a relative path to Python, and a program that fails without stopping Spark."""
    python = os.path.relpath(sys.executable)
    spark = find_spark("local-cluster[2,1,1024]", python=python)
    with Emulator(tmp_path, speed=1e6, spark=spark) as emulator:
        rehearsal = Rehearsal(emulator, [])
        submit = [*prepare(rehearsal, "executors", "executors"), "s3://executors/code/main.py", "executors", "fail"]
        cluster_id = rehearsal.launch(step(*submit), LogUri="s3://executors/logs", KeepJobFlowAliveWhenNoSteps=False)
        until(lambda: rehearsal.state(cluster_id) == "TERMINATED")
        (found,) = rehearsal.steps(cluster_id)
        assert found["Status"]["State"] == "FAILED"
        assert "Message" not in found["Status"]["FailureDetails"]  # not Spark's messages while it shuts down
        containers = {key.split("/")[4] for key in rehearsal.keys("executors", f"logs/{cluster_id}/containers/")}
        assert sorted(name[-6:] for name in containers)[:3] == ["000001", "000002", "000003"]
        assert len(containers) < 6
        stdout = rehearsal.log("executors", f"logs/{cluster_id}/steps/{found['Id']}/stdout.gz")
        assert stdout.startswith("master local-cluster[2,1,1024]\n")
        assert stdout.endswith("ValueError: no such luck\n")


def test_stopping_the_emulator_ends_what_runs(tmp_path: Path) -> None:
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]")) as emulator:
        rehearsal = Rehearsal(emulator, [])
        rehearsal.launch(
            step("bash", "-c", "sleep 1000 & echo $EMR_STEP_ID; sleep 1000"), step("bash", "-c", "sleep 1")
        )
        (session,) = until(lambda: sessions(emulator))
        until(lambda: len(processes(session)) >= 3)
    assert processes(session) == []
    assert list((tmp_path / "steps").iterdir()) == []
    assert [str(found.state) for found in emulator.clusters()[0].steps.values()] == ["FAILED", "PENDING"]


def test_a_killed_step_fails_with_137(tmp_path: Path) -> None:
    faults = read_faults({"fault": "step_killed", "after_seconds": 0})
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]"), faults=faults) as emulator:
        rehearsal = Rehearsal(emulator, [])
        cluster_id = rehearsal.launch(step("bash", "-c", "sleep 1000"))
        until(lambda: rehearsal.step_states(cluster_id) == ["FAILED"])
        assert emulator.clusters()[0].steps.popitem()[1].exit_code == 137


@pytest.mark.extended
def test_a_lost_core_node_takes_an_executor_with_it(tmp_path: Path) -> None:
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]")) as emulator:
        rehearsal = Rehearsal(emulator, [])
        script = emulator.create_bucket("executors") / "script.sh"
        # Spark's name of an executor, then the driver's message about its end
        script.write_text("(exec -a CoarseGrainedExecutorBackend sleep 1000) & wait $!; exit $?")
        config = {"Jar": "s3://elasticmapreduce/libs/script-runner/script-runner.jar"}
        config["Args"] = ["s3://executors/script.sh"]  # type: ignore[assignment]
        cluster_id = rehearsal.launch({"Name": "s", "ActionOnFailure": "CONTINUE", "HadoopJarStep": config})
        (session,) = until(lambda: sessions(emulator))
        until(lambda: any(line.startswith("CoarseGrained") for line in processes(session)))
        (cluster,) = emulator.clusters()
        (running,) = cluster.steps.values()
        with emulator._agenda.lock:
            emulator._lifecycle._lose_core(cluster, running)
        until(lambda: rehearsal.step_states(cluster_id) == ["FAILED"])
        assert running.exit_code == 137


def test_what_cannot_be_run_fails_and_says_so_unless_it_is_registered(tmp_path: Path) -> None:
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]"), scripted={"hive-script": Scripted()}) as emulator:
        rehearsal = Rehearsal(emulator, [])
        cluster_id = rehearsal.launch(step("hive-script"), step("pig-script"))
        until(lambda: rehearsal.step_states(cluster_id) == ["COMPLETED", "FAILED"])
        details = rehearsal.steps(cluster_id)[1]["Status"]["FailureDetails"]
        assert details["Reason"] == "The emulator could not run this step."
        assert details["Message"].startswith("The emulator cannot run 'pig-script'; it runs spark-submit, bash,")


@pytest.mark.parametrize(
    "broken",
    [
        step("spark-submit", "--deploy-mode", "cluster", "--archives", "s3://broken/no.zip", "s3://broken/main.py"),
        step("bash", "-c", 'rm -rf "$(dirname "$(readlink /proc/self/fd/2)")"'),  # its own logs
    ],
)
def test_a_step_that_goes_wrong_in_another_way_is_over_too(tmp_path: Path, broken: dict[str, Any]) -> None:
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]")) as emulator:
        rehearsal = Rehearsal(emulator, [])
        (emulator.create_bucket("broken") / "no.zip").write_bytes(b"PK not really")
        cluster_id = rehearsal.launch(broken, KeepJobFlowAliveWhenNoSteps=False)
        until(lambda: rehearsal.state(cluster_id) == "TERMINATED")
        (found,) = rehearsal.steps(cluster_id)
        assert found["Status"]["State"] == "FAILED"
        assert found["Status"]["FailureDetails"]["Reason"] == "The emulator could not run this step."


def test_logs_that_cannot_be_written_do_not_keep_a_cluster(tmp_path: Path) -> None:
    lines: list[str] = []
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]"), say=lines.append) as emulator:
        rehearsal = Rehearsal(emulator, lines)
        (emulator.create_bucket("blocked") / "file").touch()
        cluster_id = rehearsal.launch(
            step("bash", "-c", "exit 0"), LogUri="s3://blocked/file", KeepJobFlowAliveWhenNoSteps=False
        )
        until(lambda: rehearsal.state(cluster_id) == "TERMINATED")
    assert any("cannot be written" in line for line in lines)


def test_who_prints_cannot_stop_the_clusters(tmp_path: Path) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]"), say=broken) as emulator:
        rehearsal = Rehearsal(emulator, [])
        cluster_id = rehearsal.launch(step("bash", "-c", "exit 0"), KeepJobFlowAliveWhenNoSteps=False)
        until(lambda: rehearsal.state(cluster_id) == "TERMINATED")


# the files that an executor's Python and the driver find
WHERE = """
import json, os
from pyspark import SparkFiles
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
NAMES = ["file.txt", "renamed.txt", "env/inside.txt"]

def look(_):
    return [[os.path.exists(name), os.path.exists(SparkFiles.get(name))] for name in NAMES]

answer = {"driver": look(0), "executor": spark.sparkContext.parallelize([0], 1).map(look).collect()[0]}
print(json.dumps(answer))
"""


@pytest.mark.parametrize(
    ("master", "mode"),
    [
        pytest.param("local[1]", "client", marks=pytest.mark.extended),
        pytest.param("local[1]", "cluster", marks=pytest.mark.extended),
        pytest.param("local-cluster[1,1,1024]", "client", marks=pytest.mark.extended),
    ],
)
def test_files_and_archives_are_where_yarn_places_them(tmp_path: Path, master: str, mode: str) -> None:
    """In client mode executors have them in their working directory, the driver does not (SPARK-21859, SPARK-36088)."""
    with Emulator(tmp_path, speed=1e6, spark=find_spark(master)) as emulator:
        rehearsal = Rehearsal(emulator, [])
        folder = emulator.create_bucket("placed")
        (folder / "main.py").write_text(WHERE)
        for name in ("file.txt", "other.txt"):
            (folder / name).write_text(name)
        with zipfile.ZipFile(folder / "env.zip", "w") as archive:
            archive.writestr("inside.txt", "inside")
        submit = [
            "spark-submit",
            "--deploy-mode",
            mode,
            "--files",
            "s3://placed/file.txt,s3a://placed/other.txt#renamed.txt",
        ]
        submit += ["--conf", "spark.archives=s3://placed/env.zip#env", "s3://placed/main.py"]
        cluster_id = rehearsal.launch(step(*submit), LogUri="s3://placed/logs", KeepJobFlowAliveWhenNoSteps=False)
        until(lambda: rehearsal.state(cluster_id) == "TERMINATED")
        (log,) = [
            rehearsal.log("placed", key)
            for key in rehearsal.keys("placed", "logs/")
            if key.endswith("stdout.gz") and "executor" in rehearsal.log("placed", key)
        ]
    found = json.loads(log.splitlines()[-1])
    in_container = master.startswith("local-cluster")  # if an executor's SparkFiles directory is its working directory
    assert found["executor"] == [[True, in_container]] * 3
    assert found["driver"] == [[mode == "cluster", False]] * 3


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://absent/file.txt", "There is no object 's3://absent/file.txt': the specified bucket does not exist."),
        ("hdfs:///file.txt", "The emulator has files of S3 and of this machine, not 'hdfs:///file.txt'."),
        ("/no/such/file", "File /no/such/file does not exist."),
        ("file:///no/such%20file", "File file:///no/such%20file does not exist."),
    ],
)
def test_a_file_that_is_not_there_fails_the_step(tmp_path: Path, uri: str, says: str) -> None:
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local[1]")) as emulator:
        rehearsal = Rehearsal(emulator, [])
        cluster_id = rehearsal.launch(step("spark-submit", "--files", uri, "s3://placed/main.py"))
        until(lambda: rehearsal.step_states(cluster_id) == ["FAILED"])
        (found,) = rehearsal.steps(cluster_id)
    assert found["Status"]["FailureDetails"]["Message"] == says


# a task whose Python uses far more memory than its executor's container
GREEDY = """
import time
from pyspark.sql import SparkSession

def take(_):
    taken = bytearray(b"x") * (700 << 20)
    while True:
        time.sleep(0.1)

SparkSession.builder.getOrCreate().sparkContext.parallelize([0], 1).map(take).collect()
"""


@pytest.mark.extended
def test_an_executor_with_too_much_memory_is_killed(tmp_path: Path) -> None:
    """YARN would kill its container. The real limit of an executor of 480 MiB would be 864 MiB."""
    with Emulator(tmp_path, speed=1e6, spark=find_spark("local-cluster[1,1,1024]")) as emulator:
        rehearsal = Rehearsal(emulator, [])
        (emulator.create_bucket("greedy") / "main.py").write_text(GREEDY)
        submit = [
            "spark-submit",
            "--executor-memory",
            "480m",
            "--conf",
            "spark.task.maxFailures=2",
            "s3://greedy/main.py",
        ]
        cluster_id = rehearsal.launch(step(*submit), LogUri="s3://greedy/logs", KeepJobFlowAliveWhenNoSteps=False)
        until(lambda: rehearsal.state(cluster_id) == "TERMINATED")
        (found,) = rehearsal.steps(cluster_id)
        assert found["Status"]["State"] == "FAILED"
        logs = f"logs/{cluster_id}/steps/{found['Id']}"
        killed = (
            r"Container killed by YARN for exceeding physical memory limits\. \d\.\d GB of 0\.8 GB physical memory used"
        )
        assert re.search(killed, rehearsal.log("greedy", f"{logs}/stderr.gz"))
        said = rehearsal.log("greedy", f"{logs}/stdout.gz")
        assert "exited with code 137" in said
