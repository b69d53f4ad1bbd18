"""Where steps run: for real, in processes of this machine, or by a script that says how they end."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from emr_pipelines.emulator.clock import Agenda
from emr_pipelines.emulator.commands import CannotRun, Command, Spark, command_of, local_path
from emr_pipelines.emulator.faults import Faults, StepFails
from emr_pipelines.emulator.lifecycle import KILLED, Exit
from emr_pipelines.emulator.logs import Logs
from emr_pipelines.emulator.processes import Supervised, written_files
from emr_pipelines.emulator.records import Cluster, Failure, Running, Step

INTERRUPTED = 143  # 128 + SIGTERM, as a shell reports it
TAIL_BYTES = 16_384
EXCEPTION = re.compile(r"^(?:Exception in thread \S+ )?(?:[\w$]+\.)*\w*(?:Error|Exception|Exit|Interrupt)\b.*")
# of the emulator's own environment, what a step is to see
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "TZ", "USER")


@dataclass(frozen=True)
class Scripted:
    """How a step ends whose program is not run: after so many seconds, with this exit code and output."""

    seconds: float = 0
    exit_code: int = 0
    stdout: str = ""
    stderr: str = ""
    failure: Failure | None = None
    details: bool = True


class Steps:
    """Runs steps. `scripted` gives, for commands such as `hive-script` or a jar's name, how they end."""

    def __init__(
        self,
        root: Path,
        agenda: Agenda,
        logs: Logs,
        faults: Faults,
        spark: Spark | None,
        scripted: Mapping[str, Scripted],
        buckets: Callable[[], dict[str, Path]],
        environment: Callable[[], dict[str, str]],
    ) -> None:
        self._root = root
        self._agenda = agenda
        self._logs = logs
        self._faults = faults
        self._spark = spark
        self._scripted = scripted
        self._buckets = buckets
        self._environment = environment
        self._running: dict[str, Supervised] = {}

    def start(self, cluster: Cluster, step: Step, ended: Callable[[Exit], None]) -> Running:
        fails = self._faults.strike(StepFails, cluster=(cluster.id, cluster.name), step=(step.id, step.name))
        if fails:
            failure = Failure(fails.reason, fails.message)
            script = Scripted(fails.after_seconds, 1, stderr=fails.stderr, failure=failure, details=fails.details)
            return ScriptedStep(self._agenda, self._logs, cluster, step, script, ended)
        scripted = self._scripted.get(step.command.rpartition("/")[2])
        if scripted is not None:
            return ScriptedStep(self._agenda, self._logs, cluster, step, scripted, ended)
        folder = self._root / step.id
        try:
            return self._start_process(cluster, step, folder, ended)
        except (CannotRun, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            failure = Failure("The emulator could not run this step.", str(error))
            script = Scripted(0, 1, stderr=f"{error}\n", failure=failure)
            return ScriptedStep(self._agenda, self._logs, cluster, step, script, ended)

    def lose_executor(self, step: Step) -> None:
        process = self._running.get(step.id)
        if process is not None:
            process.tell("kill CoarseGrainedExecutorBackend")

    def stop(self) -> None:
        """End all processes of all steps."""
        running = list(self._running.values())
        for process in running:
            process.kill()
        for process in running:
            process.join()

    def written_files(self, below: Path) -> set[str]:
        """The files below a folder that processes of steps have open for writing."""
        sessions = {process.pid for process in list(self._running.values())}
        return set(written_files(sessions, f"{below}/")) if sessions else set()

    def _start_process(self, cluster: Cluster, step: Step, folder: Path, ended: Callable[[Exit], None]) -> Supervised:
        if self._spark is None:
            raise CannotRun("This emulator was started without Spark; it runs scripted steps only.")
        buckets = self._buckets()
        command = command_of(cluster, step, self._spark, folder / "spark", buckets)
        work = folder / "work"
        work.mkdir(parents=True)
        (folder / "tmp").mkdir()
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= self._environment() | {"EMR_STEP_ID": step.id, "EMR_CLUSTER_ID": cluster.id}
        environment |= {"TMPDIR": str(folder / "tmp"), **command.environment}
        logs = self._logs.of_step(cluster, step)
        output = logs
        if command.spark:
            environment |= _spark_environment(self._spark, folder, command)
            step.application_id = cluster.next_application_id()
            if command.cluster_mode:
                output = self._logs.of_container(cluster, step.application_id, 1)
            for uri in command.archives + command.files if command.cluster_mode else []:
                _place(uri, work, buckets, unpack=uri in command.archives)
        text = f"INFO startExec 'hadoop jar {step.jar} {' '.join(step.args)}'\n"
        text += f"INFO the emulator runs {' '.join(command.argv)}\nINFO working dir {work}\n"
        self._logs.write(logs, controller=text, stdout="", stderr="")
        self._logs.write(output, stdout="", stderr="")

        def over(code: int) -> None:
            _collect(self._logs, cluster, step, command, folder, code)
            with self._agenda.lock:
                del self._running[step.id]
                ended(_judge(self._logs, cluster, step, code))

        process = Supervised(command.argv, environment, work, output, over)
        self._running[step.id] = process
        process.start()
        return process


class ScriptedStep:
    """A step without processes."""

    def __init__(
        self, agenda: Agenda, logs: Logs, cluster: Cluster, step: Step, script: Scripted, ended: Callable[[Exit], None]
    ) -> None:
        self._ended: Callable[[Exit], None] | None = ended
        self._agenda = agenda
        self._write = cluster.log_uri is not None
        self._logs, self._cluster, self._step, self._script = logs, cluster, step, script
        agenda.after(script.seconds, lambda: self._end(script.exit_code))

    def interrupt(self) -> None:
        self._agenda.after(0, lambda: self._end(INTERRUPTED))

    def kill(self) -> None:
        self._agenda.after(0, lambda: self._end(KILLED))

    def _end(self, code: int) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._write:
            controller = f"INFO startExec 'hadoop jar {self._step.jar} {' '.join(self._step.args)}'\n"
            controller += f"INFO no program was run\nINFO waitProcessCompletion ended with exit code {code}\n"
            folder = self._logs.of_step(self._cluster, self._step)
            self._logs.write(folder, controller=controller, stdout=self._script.stdout, stderr=self._script.stderr)
        planned = code == self._script.exit_code
        ended(Exit(code, self._script.failure if planned else None, self._script.details))


def _spark_environment(spark: Spark, folder: Path, command: Command) -> dict[str, str]:
    """A Spark home of the step's own, so that what Spark writes beside itself is the step's too."""
    home = folder / "spark"
    home.mkdir()
    for entry in spark.home.iterdir():
        if entry.name not in ("conf", "work", "logs"):
            (home / entry.name).symlink_to(entry)
    (home / "conf").mkdir()
    lines = [f"{name} {value}\n" for name, value in command.defaults.items()]
    (home / "conf" / "spark-defaults.conf").write_text("".join(lines))
    environment = {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(home / "conf"),
        "SPARK_LOCAL_DIRS": str(folder / "tmp"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={folder / 'tmp'}",
        "PYSPARK_PYTHON": command.environment.get("PYSPARK_PYTHON", spark.python),
    }
    return environment | ({"JAVA_HOME": spark.java_home} if spark.java_home else {})


def _place(uri: str, work: Path, buckets: Mapping[str, Path], unpack: bool) -> None:
    """What YARN does for a driver in cluster mode: archives unpacked, files copied, to where the driver starts."""
    address, _, name = uri.partition("#")
    source = local_path(address, buckets) if "://" in address else Path(address)
    target = work / (name or source.name)
    if unpack:
        shutil.unpack_archive(source, target)
        for binary in target.glob("bin/*"):  # zip files lose the permission to execute
            binary.chmod(binary.stat().st_mode | 0o111)
    else:
        shutil.copyfile(source, target)


def _collect(logs: Logs, cluster: Cluster, step: Step, command: Command, folder: Path, code: int) -> None:
    """Write the logs that EMR would have, and remove what the step no longer needs."""
    if command.spark and step.application_id is not None:
        for number, executor in enumerate(sorted(folder.glob("spark/work/app-*/*")), 2):
            container = logs.of_container(cluster, step.application_id, number)
            container.mkdir(parents=True, exist_ok=True)
            for name in ("stdout", "stderr"):
                if (executor / name).is_file():
                    shutil.copyfile(executor / name, container / name)
        status = "SUCCEEDED" if code == 0 else "FAILED"
        if command.cluster_mode:
            client = f"INFO Client: Application report for {step.application_id} (state: FINISHED)\n"
            client += f"\t final status: {status}\n"
            if code:
                client += 'Exception in thread "main" org.apache.spark.SparkException: Application '
                client += f"{step.application_id} finished with failed status\n"
            logs.write(logs.of_step(cluster, step), stderr=client)
        else:
            master = f"INFO ApplicationMaster: Final app status: {status}, exitCode: {code}\n"
            logs.write(logs.of_container(cluster, step.application_id, 1), stdout="", stderr=master)
    with (logs.of_step(cluster, step) / "controller").open("a") as controller:
        controller.write(f"INFO waitProcessCompletion ended with exit code {code} : hadoop jar {step.jar}\n")
        if code:
            controller.write(f"WARN Step failed with exitCode {code}\n")
    shutil.rmtree(folder, ignore_errors=True)


def _judge(logs: Logs, cluster: Cluster, step: Step, code: int) -> Exit:
    """What EMR says of a failed step: the last exception in its stderr, if it finds one."""
    if code == 0:
        return Exit(0)
    with (logs.of_step(cluster, step) / "stderr").open("rb") as stderr:
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = stderr.read().decode(errors="replace").splitlines()
    message = next((line for line in reversed(lines) if EXCEPTION.match(line)), None)
    return Exit(code, Failure("Unknown Error.", message))
