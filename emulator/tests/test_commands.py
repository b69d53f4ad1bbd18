"""How EMR's commands are translated for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emr_emulator.commands import CannotRun, Command, command_of, split_options
from emr_emulator.records import Cluster, Step
from emr_emulator.sparks import Spark

SPARK = Spark(Path("/pyspark"), "/java", "/python", "local[2]")
HOME = Path("/step/spark")


def command(*args: str, jar: str = "command-runner.jar", spark: Spark = SPARK, **request: Any) -> Command:
    step = Step("s-1", "step", jar, args, None, {}, "CONTINUE", 0)
    cluster = Cluster(
        "j-1",
        "c",
        {"ReleaseLabel": "emr-7.10.0", "Applications": [{"Name": "Spark"}], **request},
        0,
        [],
        [],
        {},
        True,
        False,
        1,
    )
    return command_of(cluster, step, spark, HOME, Path("/buckets"))


def settings(argv: list[str]) -> dict[str, str]:
    return dict(argv[place + 1].split("=", 1) for place, word in enumerate(argv) if word == "--conf")


@pytest.mark.parametrize(
    ("arguments", "options", "program"),
    [
        ([], [], []),
        (["a.py", "--x"], [], ["a.py", "--x"]),
        (["--conf", "a=b", "--conf=c=d", "a.py"], [("--conf", "a=b"), ("--conf", "c=d")], ["a.py"]),
        (["-v", "--name", "--odd", "a.py", "-v"], [("-v", None), ("--name", "--odd")], ["a.py", "-v"]),
        (["--class"], [("--class", None)], []),
    ],
)
def test_options_and_program(arguments: list[str], options: list[Any], program: list[str]) -> None:
    assert split_options(arguments) == (options, program)


def test_what_yarn_decides_is_left_out() -> None:
    found = command(
        "spark-submit", "--master", "yarn", "--deploy-mode=cluster", "--queue", "q", "--num-executors", "9",
        "--executor-memory", "64g", "--conf", "spark.dynamicAllocation.enabled=true",
        "--conf", "spark.executor.cores=8", "--conf", "spark.sql.shuffle.partitions=7",
        "--name", "n", "s3://b/a.py", "--master", "mine",
    )  # fmt: skip
    assert found.argv[0] == "/step/spark/bin/spark-submit"
    assert found.argv[-5:] == ["--master", "local[2]", "s3://b/a.py", "--master", "mine"]
    assert found.argv[1:3] == ["--name", "n"]
    given = settings(found.argv)
    assert given["spark.sql.shuffle.partitions"] == "7"
    assert not any("dynamicAllocation" in name or "cores" in name for name in given)
    assert found.cluster_mode


def test_s3_is_a_folder_per_bucket() -> None:
    given = settings(command("spark-submit", "a.py").argv)
    assert given["spark.hadoop.fs.emulator.buckets"] == "/buckets"
    for scheme in ("s3", "s3a", "s3n"):
        assert given[f"spark.hadoop.fs.{scheme}.impl"] == "emr_emulator.S3FileSystem"


@pytest.mark.parametrize(
    ("told", "heap"), [("8g", "512m"), ("480m", "480m"), ("481", "481m"), ("nonsense", "512m"), ("", "512m")]
)
def test_executors_of_a_local_cluster_are_no_larger_than_their_worker(told: str, heap: str) -> None:
    local_cluster = Spark(Path("/pyspark"), "/java", "/python", "local-cluster[2, 1, 512]")
    for option in (["--executor-memory", told], ["--conf", f"spark.executor.memory={told}"]) if told else ([],):
        given = settings(command("spark-submit", *option, "a.py", spark=local_cluster).argv)
        assert given["spark.executor.memory"] == heap
    assert "spark.executor.memory" not in settings(command("spark-submit", "a.py").argv)


@pytest.mark.parametrize(
    ("value", "here"),
    [
        ("/usr/bin/python9.99", "/python"),
        ("./environment/bin/python", "./environment/bin/python"),
        ("/bin/sh", "/bin/sh"),
    ],
)
def test_a_python_that_only_a_cluster_has(value: str, here: str) -> None:
    assert (
        settings(command("spark-submit", "--conf", f"spark.pyspark.python={value}", "a.py").argv)[
            "spark.pyspark.python"
        ]
        == here
    )
    export = [{"Classification": "export", "Properties": {"PYSPARK_PYTHON": value, "MINE": value}}]
    spark_env = [{"Classification": "spark-env", "Configurations": export}]
    environment = command("spark-submit", "a.py", Configurations=spark_env).environment
    assert environment == {"PYSPARK_PYTHON": here, "MINE": value}


def test_the_clusters_configurations() -> None:
    properties = {"spark.x": "1", "spark.submit.deployMode": "cluster", "spark.yarn.appMasterEnv.A": "b"}
    found = command(
        "spark-submit", "a.py", Configurations=[{"Classification": "spark-defaults", "Properties": properties}]
    )
    assert found.cluster_mode
    assert found.environment == {"A": "b"}
    assert found.defaults["spark.x"] == "1"
    assert "spark.submit.deployMode" not in found.defaults
    client = command("spark-submit", "--conf", "spark.yarn.appMasterEnv.A=b", "a.py")
    assert (client.cluster_mode, client.environment) == (False, {})  # not the driver's


def test_emrs_folder_of_spark() -> None:
    found = command("/usr/lib/spark/bin/spark-submit", "/usr/lib/spark/examples/src/main/python/pi.py", "10")
    assert found.argv[-2:] == ["/step/spark/examples/src/main/python/pi.py", "10"]


def test_archives_and_files_of_a_driver_in_cluster_mode() -> None:
    found = command(
        "spark-submit", "--deploy-mode", "cluster", "--archives", "s3://b/a.zip#env,x.tgz", "--files=f", "a.py"
    )
    assert (found.archives, found.files) == (["s3://b/a.zip#env", "x.tgz"], ["f"])


def test_archives_named_in_other_ways() -> None:
    dist = {"spark.yarn.dist.archives": "s3://b/d.zip", "spark.files": "s3://b/f"}
    defaults = [{"Classification": "spark-defaults", "Properties": dist}]
    found = command("spark-submit", "--conf", "spark.archives=s3://b/a.zip#env", "a.py", Configurations=defaults)
    assert (found.archives, found.files) == (["s3://b/a.zip#env", "s3://b/d.zip"], ["s3://b/f"])
    assert not {"--archives", "--files"} & set(found.argv)  # Spark would give them to the driver as well
    assert not {"spark.archives", "spark.files"} & settings(found.argv).keys()


@pytest.mark.parametrize(
    ("options", "driver", "worker"),
    [
        ([], "/python", "/python"),
        (["--conf", "spark.pyspark.python=./env/bin/python"], "./env/bin/python", "./env/bin/python"),
        (
            ["--conf", "spark.pyspark.python=./env/bin/python", "--conf", "spark.pyspark.driver.python=python3"],
            "/python",
            "./env/bin/python",
        ),
    ],
)
def test_workers_of_a_local_master_start_where_the_files_are(options: list[str], driver: str, worker: str) -> None:
    found = command("spark-submit", "--files", "s3://b/f", *options, "a.py")
    given = settings(found.argv)
    assert given["spark.pyspark.python"] == "/step/executor-python"
    assert (given["spark.pyspark.driver.python"], found.worker_python) == (driver, worker)
    assert command("spark-submit", *options, "a.py").worker_python == ""


def test_a_cluster_without_spark() -> None:
    with pytest.raises(CannotRun, match="launched without the application Spark"):
        command("spark-submit", "a.py", Applications=[{"Name": "Hadoop"}])


def test_a_shell() -> None:
    assert command("bash", "-c", "exit 3").argv == ["bash", "-c", "exit 3"]


@pytest.mark.parametrize(
    ("args", "jar", "says"),
    [
        (("hive-script", "--run"), "command-runner.jar", "cannot run 'hive-script'; it runs spark-submit, bash, sh"),
        (("s3-dist-cp",), "command-runner.jar", "cannot run 's3-dist-cp'"),
        (("pig-script",), "/var/lib/aws/emr/command-runner.jar", "cannot run 'pig-script'"),
        ((), "command-runner.jar", "cannot run 'command-runner.jar'"),
        (("x",), "s3://b/my.jar", "cannot run 's3://b/my.jar'"),
        (("s3://b/none.sh",), "s3://us-east-1.elasticmapreduce/libs/script-runner/script-runner.jar", "no object"),
        (("s3://b/../../etc/passwd",), "script-runner.jar", "no object"),
    ],
)
def test_what_cannot_be_run(args: tuple[str, ...], jar: str, says: str) -> None:
    with pytest.raises(CannotRun, match=says):
        command(*args, jar=jar)
