"""A step's folders on this machine: what YARN would place there, and its logs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from emr_emulator import filesystem
from emr_emulator.commands import WORKER_PYTHON, Command
from emr_emulator.java_homes import make_java_home
from emr_emulator.logs import Logs
from emr_emulator.placement import link_all, make_worker_python, place
from emr_emulator.records import Cluster, Exit, Failure, Step
from emr_emulator.sparks import Spark

if TYPE_CHECKING:
    from typing_extensions import Self

INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "TZ",
    "USER",
)  # the variables of the emulator's environment that a step sees
TAIL_BYTES = 16_384
EXCEPTION = 'Exception in thread "main" '  # spark-submit's line with the exit code


class Workplace:
    """The folder of a step. It is deleted at the end of the step; the logs stay with the cluster's."""

    def __init__(self, folder: Path, logs: Logs, cluster: Cluster, step: Step) -> None:
        self.spark_home = folder / "spark"
        self.work = folder / "work"
        self._temporary = folder / "tmp"
        self._placed = folder / "placed"  # YARN would link its files into the working directory of each container
        self._folder = folder
        self._all_logs, self._cluster, self._step = logs, cluster, step
        self._logs = self.output = logs.of_step(cluster, step)

    def __enter__(self) -> Self:
        self.work.mkdir(parents=True)
        self._temporary.mkdir()
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if error is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            _append(self._logs / "stderr", f"{error}\n")
            _append(self._logs / "controller", f"WARN Step failed: {error}\n")

    def prepare(self, command: Command, spark: Spark, buckets: Path, environment: Mapping[str, str]) -> dict[str, str]:
        """Place the command's files; return its whole environment. Raises CannotRun."""
        whole = {name: os.environ[name] for name in INHERITED if name in os.environ}
        whole |= {**environment, "TMPDIR": str(self._temporary), **command.environment}
        if command.spark:
            self._make_spark_home(spark, command)
            whole |= {
                "SPARK_HOME": str(self.spark_home),
                "SPARK_CONF_DIR": str(self.spark_home / "conf"),
                "SPARK_LOCAL_DIRS": str(self._temporary),
                "SPARK_LOCAL_IP": "127.0.0.1",
                "SPARK_SUBMIT_OPTS": command.java_options,
                "PYSPARK_PYTHON": command.environment.get("PYSPARK_PYTHON", spark.python),
            }
            if command.cluster_mode:
                self.output = self._container(1)
                self.output.mkdir(parents=True)
            if command.archives + command.files:
                self._place(command, buckets)
            whole["JAVA_HOME"] = self._java_home(spark, command)
            _append(
                self._logs / "stderr", _line("YarnClientImpl", f"Submitted application {self._step.application_id}")
            )
        text = f"INFO startExec 'hadoop jar {self._step.jar} {' '.join(self._step.args)}'\n"
        text += f"INFO the emulator runs {' '.join(command.argv)}\nINFO working dir {self.work}\n"
        if command.spark and (other := spark.stands_in_for(self._cluster.release)):
            text += f"WARN {other}\n"
        _append(self._logs / "controller", text)
        return whole

    def _place(self, command: Command, buckets: Path) -> None:
        """Place files and archives where executors, and a driver in cluster mode, start; YARN does the same."""
        self._placed.mkdir()
        for uri in command.archives + command.files:
            place(uri, self._placed, buckets, unpack=uri in command.archives)
        if command.cluster_mode:
            link_all(self._placed, self.work)
        if command.worker_python:
            make_worker_python(self._folder / WORKER_PYTHON, command.worker_python, self._placed)

    def _java_home(self, spark: Spark, command: Command) -> str:
        placed = self._placed if command.archives + command.files and not command.worker_python else None
        if placed is None and not spark.drops_vector_module:
            return spark.java_home
        return str(make_java_home(self._folder / "java", spark.java_home, placed, spark.drops_vector_module))

    def judge(self, command: Command, code: int) -> Exit:
        """Write the last lines of the logs, and turn the exit code into EMR's outcome."""
        if command.spark:
            self._collect_executors()
            self._report_end(command.cluster_mode, code)
        controller = f"INFO waitProcessCompletion ended with exit code {code} : hadoop jar {self._step.jar}\n"
        controller += f"WARN Step failed with exitCode {code}\n" if code else ""
        _append(self._logs / "controller", controller)
        if code == 0:
            return Exit(0)
        with (self._logs / "stderr").open("rb") as stderr:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = stderr.read().decode(errors="replace").splitlines()
        message = next((line for line in reversed(lines) if line.startswith(EXCEPTION)), None)
        return Exit(code, Failure("Unknown Error.", message))

    def _make_spark_home(self, spark: Spark, command: Command) -> None:
        """Create a Spark home for the step, because Spark writes into its own folder."""
        self.spark_home.mkdir()
        for entry in spark.home.iterdir():
            if entry.name not in ("conf", "work", "logs", "jars"):
                (self.spark_home / entry.name).symlink_to(entry)
        (self.spark_home / "jars").mkdir()
        for jar in [*(spark.home / "jars").iterdir(), filesystem.JAR]:
            (self.spark_home / "jars" / jar.name).symlink_to(jar)
        (self.spark_home / "conf").mkdir()
        lines = [f"{name} {value}\n" for name, value in command.defaults.items()]
        (self.spark_home / "conf" / "spark-defaults.conf").write_text("".join(lines))

    def _container(self, number: int) -> Path:
        return self._all_logs.of_container(self._cluster, self._step.application_id or "", number)

    def _collect_executors(self) -> None:
        started = [folder for folder in self.spark_home.glob("work/app-*/*") if _has_started(folder)]
        for number, executor in enumerate(sorted(started, key=lambda folder: int(folder.name)), 2):
            container = self._container(number)
            container.mkdir(parents=True, exist_ok=True)
            for name in ("stdout", "stderr"):
                shutil.copyfile(executor / name, container / name)

    def _report_end(self, cluster_mode: bool, code: int) -> None:
        """Log the end as YARN's client and application master do, with the lines that log parsers look for."""
        application_id = self._step.application_id
        status = "FAILED" if code else "SUCCEEDED"
        reason = f"User application exited with status {code}"
        master = _line("ApplicationMaster", reason, "ERROR") if code else ""
        reason = f", (reason: {reason})" if code else ""
        master += _line("ApplicationMaster", f"Final app status: {status}, exitCode: {code}{reason}")
        container = self._container(1)
        container.mkdir(parents=True, exist_ok=True)
        _append(container / "stderr", master)
        if cluster_mode:
            client = _line("Client", f"Application report for {application_id} (state: FINISHED)")
            client += f"\t final status: {status}\n"
            if code:
                client += 'Exception in thread "main" org.apache.spark.SparkException: Application '
                client += f"{application_id} finished with failed status\n"
            _append(self._logs / "stderr", client)


def _has_started(executor: Path) -> bool:
    """Tell whether an executor has really started: a local cluster creates some while its driver ends."""
    stdout, stderr = executor / "stdout", executor / "stderr"
    if not (stdout.is_file() and stderr.is_file()):
        return False
    with stderr.open(errors="replace") as lines:
        return any(" INFO " in line for line in lines)


def _line(logger: str, message: str, level: str = "INFO") -> str:
    """Return a line in the format of Spark's log."""
    return f"{datetime.now().astimezone():%y/%m/%d %H:%M:%S} {level} {logger}: {message}\n"


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
