"""Translate a step's command into a command of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emr_emulator import filesystem
from emr_emulator.files import path_below
from emr_emulator.memory import container_mib, heap_mib
from emr_emulator.records import Cluster, Step
from emr_emulator.sparks import Spark

ON_CLUSTER_SPARK = "/usr/lib/spark/"  # Spark's folder on EMR
RUNNABLE = "spark-submit, bash, sh and script-runner.jar"

# spark-submit's options that take no value
SWITCHES = frozenset({"--supervise", "--usage-error", "--verbose", "-v", "--version", "--help", "-h"})
# on a cluster YARN decides these, here the emulator's master does
YARN_OPTIONS = frozenset(
    {
        "--master", "--deploy-mode", "--queue", "--num-executors", "--executor-cores", "--executor-memory",
        "--total-executor-cores", "--driver-cores", "--principal", "--keytab", "--proxy-user",
    }
)  # fmt: skip
YARN_SETTINGS = re.compile(
    r"spark\.(master|archives|files|submit\.deployMode|dynamicAllocation\..*|shuffle\.service\.enabled|yarn\.(?!appMasterEnv).*"
    r"|(executor|driver)\.(cores|instances|memoryOverhead.*)|executor\.memory|eventLog\..*|history\..*)"
)
PLACED = ("--archives", "--files")
EXECUTOR_JAVA_OPTIONS = "spark.executor.extraJavaOptions"
APP_MASTER_ENV = "spark.yarn.appMasterEnv."
EXECUTOR_ENV = "spark.executorEnv."
PYTHON, DRIVER_PYTHON = "spark.pyspark.python", "spark.pyspark.driver.python"
PYTHON_NAMES = (PYTHON, DRIVER_PYTHON, "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
BARE_PYTHON = re.compile(r"python(\d(\.\d+)?)?")
LOCAL_CLUSTER = re.compile(r"local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*(\d+)\s*\]")
WORKER_PYTHON = "executor-python"  # in a Spark home: starts Python workers in the folder with the files


class CannotRun(Exception):
    """The emulator cannot run a step; the message says why."""


@dataclass(frozen=True)
class Command:
    """A command of this machine. With `cluster_mode`, its output goes to the logs of a YARN container."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    spark: bool = False
    cluster_mode: bool = False
    java_options: str = ""  # of spark-submit
    defaults: dict[str, str] = field(default_factory=dict)  # for spark-defaults.conf
    archives: list[str] = field(default_factory=list)  # to unpack in the working directory of YARN's containers
    files: list[str] = field(default_factory=list)  # to copy into the same directory
    worker_python: str = ""  # what WORKER_PYTHON starts if executors share the driver's process
    executor_mib: int | None = None  # memory of an executor's container, if the step or its cluster sets it


def command_of(cluster: Cluster, step: Step, spark: Spark, spark_home: Path, buckets: Path) -> Command:
    """Return the command for a step. Spark is in `spark_home`, and the buckets are folders in `buckets`.

    Raises CannotRun.
    """
    command = step.command.rpartition("/")[2]
    if command == "script-runner.jar" and step.args:
        script = local_path(step.args[0], buckets)
        return Command(["bash", str(script), *step.args[1:]], cluster_environment(cluster, spark))
    name, arguments = command, list(step.args[1:])
    if name in ("bash", "sh"):
        return Command([name, *arguments], cluster_environment(cluster, spark))
    if name == "spark-submit":
        if not any(entry.get("Name", "").lower() == "spark" for entry in cluster.request.get("Applications", [])):
            raise CannotRun(
                'Cannot run program "spark-submit": error=2, No such file or directory. The cluster was launched '
                "without the application Spark."
            )
        return _spark_submit(cluster, arguments, spark, spark_home, buckets)
    raise CannotRun(f"The emulator cannot run {step.command!r}; it runs {RUNNABLE}.")


def local_path(uri: str, buckets: Path) -> Path:
    """Return the file of an S3 object. Raises CannotRun if it does not exist."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not (bucket and path_below(buckets, bucket) and (buckets / bucket).is_dir()):
        raise CannotRun(f"There is no object {uri!r}: the specified bucket does not exist.")
    path = path_below(buckets / bucket, key)
    if path is None or not path.resolve().is_relative_to((buckets / bucket).resolve()) or not path.is_file():
        raise CannotRun(f"There is no object {uri!r}.")
    return path


def _spark_submit(cluster: Cluster, arguments: list[str], spark: Spark, spark_home: Path, buckets: Path) -> Command:
    options, program = split_options(arguments)
    settings = _settings(value for name, value in options if name in ("--conf", "-c"))
    defaults = cluster_settings(cluster, "spark-defaults")
    told = {**defaults, **settings}
    if memory := dict(options).get("--executor-memory"):
        told["spark.executor.memory"] = memory
    cluster_mode = (dict(options).get("--deploy-mode") or told.get("spark.submit.deployMode", "client")) == "cluster"
    environment = cluster_environment(cluster, spark)
    if cluster_mode:
        for name, value in told.items():
            if name.startswith(APP_MASTER_ENV):
                environment[name.removeprefix(APP_MASTER_ENV)] = value
    environment = {name: _usable_python(name, value, spark) for name, value in environment.items()}
    # YARN places these where containers run; Spark itself would give them to the driver (SPARK-21859, SPARK-36088)
    archives, files = (_places(option, options, settings, defaults) for option in PLACED)
    argv = [str(spark_home / "bin" / "spark-submit")]
    for option, given in options:
        if option not in YARN_OPTIONS and option not in PLACED and option not in ("--conf", "-c"):
            argv += [option] if given is None else [option, given]
    temporary = f'"-Djava.io.tmpdir={spark_home.parent / "tmp"}"'
    ours = {
        **_local_settings(settings, spark),
        **filesystem.settings(buckets),
        **_master_settings(spark.master, told),
        EXECUTOR_JAVA_OPTIONS: f"{told.get(EXECUTOR_JAVA_OPTIONS, '')} {temporary}".strip(),
    }
    worker_python = ""
    if archives + files and not LOCAL_CLUSTER.fullmatch(spark.master):
        driver, worker_python = _pythons(_local_settings(told, spark), environment, spark)
        ours |= {DRIVER_PYTHON: driver, PYTHON: str(spark_home.parent / WORKER_PYTHON)}
    for name, value in ours.items():
        argv += ["--conf", f"{name}={value}"]
    argv += ["--master", spark.master]
    argv += [_on_this_machine(word, spark_home) for word in program[:1]] + program[1:]
    return Command(
        argv,
        environment,
        spark=True,
        cluster_mode=cluster_mode,
        java_options=temporary,
        defaults={"spark.ui.enabled": "false", **_local_settings(defaults, spark)},
        archives=archives,
        files=files,
        worker_python=worker_python,
        executor_mib=container_mib(told),
    )


def _pythons(settings: Mapping[str, str], environment: Mapping[str, str], spark: Spark) -> tuple[str, str]:
    """Return the Python of the driver and of the workers, found in Spark's order of precedence."""
    worker = settings.get(PYTHON) or environment.get("PYSPARK_PYTHON") or spark.python
    driver = settings.get(DRIVER_PYTHON) or settings.get(PYTHON) or environment.get("PYSPARK_DRIVER_PYTHON") or worker
    return driver, worker


def _places(
    option: str, options: list[tuple[str, str | None]], settings: Mapping[str, str], defaults: Mapping[str, str]
) -> list[str]:
    """Return the archives or files for the executors' working directory, from options and settings alike."""
    name = option.removeprefix("--")
    given = dict(options).get(option) or settings.get(f"spark.{name}", defaults.get(f"spark.{name}", ""))
    yarns = settings.get(f"spark.yarn.dist.{name}", defaults.get(f"spark.yarn.dist.{name}", ""))
    return [uri for uri in f"{given},{yarns}".split(",") if uri]


def split_options(arguments: list[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Split spark-submit's options from the program and its arguments."""
    options: list[tuple[str, str | None]] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if equals and name.startswith("--"):
            options.append((name, value))
        elif word in SWITCHES:
            options.append((word, None))
        elif rest:
            options.append((word, rest.pop(0)))
        else:
            options.append((word, None))  # spark-submit reports what is missing
    return options, rest


def cluster_settings(cluster: Cluster, classification: str) -> dict[str, str]:
    """Return the properties of a classification in the cluster's Configurations."""
    return {
        name: value
        for entry in cluster.request.get("Configurations", [])
        if entry.get("Classification") == classification
        for name, value in entry.get("Properties", {}).items()
    }


def cluster_environment(cluster: Cluster, spark: Spark) -> dict[str, str]:
    """Return the variables that the classifications spark-env and hadoop-env export."""
    environment: dict[str, str] = {}
    for entry in cluster.request.get("Configurations", []):
        if entry.get("Classification") in ("spark-env", "hadoop-env"):
            for inner in entry.get("Configurations", []):
                if inner.get("Classification") == "export":
                    environment.update(inner.get("Properties", {}))
    return {name: _usable_python(name, value, spark) for name, value in environment.items()}


def _settings(pairs: Iterable[str | None]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in pairs if pair and "=" in pair)


def _local_settings(settings: Mapping[str, Any], spark: Spark) -> dict[str, str]:
    """Drop the settings that only YARN understands."""
    return {
        name: _usable_python(name, str(value), spark)
        for name, value in settings.items()
        if not YARN_SETTINGS.fullmatch(name)
    }


def _master_settings(master: str, told: Mapping[str, str]) -> dict[str, str]:
    """Give an executor of a local cluster the requested memory, at most its worker's."""
    found = LOCAL_CLUSTER.fullmatch(master)
    if found is None:
        return {}
    return {"spark.executor.memory": f"{min(heap_mib(told) or int(found.group(1)), int(found.group(1)))}m"}


def _usable_python(name: str, value: str, spark: Spark) -> str:
    """Use the emulator's Python for `python3` and for a path that this machine does not have (/usr/bin/python3.11)."""
    wanted = name.removeprefix(APP_MASTER_ENV).removeprefix(EXECUTOR_ENV) in PYTHON_NAMES
    on_cluster = BARE_PYTHON.fullmatch(value) or (value.startswith("/") and not Path(value).exists())
    return spark.python if wanted and on_cluster else value


def _on_this_machine(path: str, spark_home: Path) -> str:
    """Replace EMR's Spark folder in a path by the installed one."""
    if path.startswith(ON_CLUSTER_SPARK) and not Path(path).exists():
        return str(spark_home / path.removeprefix(ON_CLUSTER_SPARK))
    return path
