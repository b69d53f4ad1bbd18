"""Run steps, either in processes of this machine or as scripted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emr_emulator.clock import Agenda
from emr_emulator.commands import CannotRun, command_of
from emr_emulator.faults import Faults, StepFails
from emr_emulator.logs import Logs
from emr_emulator.processes import KILLED, Supervised, written_files
from emr_emulator.records import Cluster, Exit, Failure, Running, Step
from emr_emulator.sparks import Spark, choose
from emr_emulator.workplace import Workplace

INTERRUPTED = 143  # 128 + SIGTERM, as a shell reports it
NOT_RUN = "The emulator could not run this step."


@dataclass(frozen=True)
class Scripted:
    """The duration in seconds, exit code and output of a step whose program is not run."""

    seconds: float = 0
    exit_code: int = 0
    stdout: str = ""
    stderr: str = ""
    failure: Failure | None = None
    details: bool = True


class Steps:
    """Runs steps. `scripted` maps commands, such as `hive-script` or the name of a jar, to their outcomes."""

    def __init__(
        self,
        root: Path,
        agenda: Agenda,
        logs: Logs,
        faults: Faults,
        sparks: Sequence[Spark],
        scripted: Mapping[str, Scripted],
        buckets: Path,
        environment: Callable[[], dict[str, str]],
    ) -> None:
        self._root = root
        self._agenda = agenda
        self._logs = logs
        self._faults = faults
        self._sparks = sparks
        self._scripted = scripted
        self._buckets = buckets
        self._environment = environment
        self._running: dict[str, RealStep] = {}

    def start(self, cluster: Cluster, step: Step, ended: Callable[[Exit], None]) -> Running:
        script = self._script_of(cluster, step)
        if script is not None:
            return ScriptedStep(self._agenda, self._logs, cluster, step, script, ended)

        def over(how: Exit) -> None:
            with self._agenda.lock:
                del self._running[step.id]
                ended(how)

        running = RealStep(lambda real: self._run(cluster, step, real), over)
        self._running[step.id] = running
        running.start()
        return running

    def lose_executor(self, step: Step) -> None:
        running = self._running.get(step.id)
        if running is not None:
            running.tell("kill CoarseGrainedExecutorBackend")

    def stop(self) -> None:
        """End all processes of all steps."""
        while running := list(self._running.values()):
            for step in running:
                step.kill()
            for step in running:
                step.join()

    def busy(self) -> bool:
        """Tell whether a process of a step may be about to write."""
        return bool(self._running)

    def written_files(self, below: Path) -> set[str]:
        """Return the files below a folder that processes of steps have open for writing."""
        supervisors = {step.pid for step in list(self._running.values()) if step.pid is not None}
        return set(written_files(supervisors, f"{below}/")) if supervisors else set()

    def _script_of(self, cluster: Cluster, step: Step) -> Scripted | None:
        fails = self._faults.strike(StepFails, cluster=(cluster.id, cluster.name), step=(step.id, step.name))
        if fails:
            failure = Failure(fails.reason, fails.message)
            return Scripted(fails.after_seconds, 1, stderr=fails.stderr, failure=failure, details=fails.details)
        script = self._scripted.get(step.command.rpartition("/")[2])
        if script is None and not self._sparks:
            failure = Failure(NOT_RUN, "It was started without Spark, and runs scripted steps only.")
            return Scripted(exit_code=1, failure=failure)
        return script

    def _run(self, cluster: Cluster, step: Step, real: RealStep) -> Exit:
        """Prepare, run and clean up, without the agenda's lock because this may take long."""
        if not self._sparks:
            raise CannotRun("There is no Spark.")
        spark = choose(self._sparks, cluster.release)
        with Workplace(self._root / step.id, self._logs, cluster, step) as workplace:
            command = command_of(cluster, step, spark, workplace.spark_home, self._buckets)
            environment = self._environment() | {"EMR_STEP_ID": step.id, "EMR_CLUSTER_ID": cluster.id}
            if command.spark:
                with self._agenda.lock:
                    step.application_id = cluster.next_application_id()
            environment = workplace.prepare(command, spark, self._buckets, environment)
            process = Supervised(command.argv, environment, workplace.work, workplace.output, command.executor_mib)
            return workplace.judge(command, real.wait_for(process))


class RealStep:
    """A step in its own thread. `run` runs it and returns its Exit; `over` is always called at the end."""

    def __init__(self, run: Callable[[RealStep], Exit], over: Callable[[Exit], None]) -> None:
        self._run = run
        self._over = over
        self._lock = threading.Lock()
        self._told: list[str] = []  # before the process was started
        self._process: Supervised | None = None
        self._thread = threading.Thread(target=self._work, name="step", daemon=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def interrupt(self) -> None:
        self.tell("interrupt")

    def kill(self) -> None:
        self.tell("kill")

    def tell(self, word: str) -> None:
        with self._lock:
            if self._process is None:
                self._told.append(word)
            else:
                self._process.tell(word)

    def wait_for(self, process: Supervised) -> int:
        """Wait for a process and forward interrupts and kills to it; return its exit code."""
        with self._lock:
            self._process = process
            for word in self._told:
                process.tell(word)
        return process.wait()

    def _work(self) -> None:
        try:
            how = self._run(self)
        except Exception as error:  # noqa: BLE001 (a step that is never over would keep its cluster for ever)
            said = str(error) if isinstance(error, CannotRun) else f"{type(error).__name__}: {error}"
            how = Exit(1, Failure(NOT_RUN, said))
        self._over(how)


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
            self._logs.write(folder, controller=controller)
            outputs = self._logs.of_driver(self._cluster, self._step)
            self._logs.write(outputs, stdout=self._script.stdout, stderr=self._script.stderr)
        planned = code == self._script.exit_code
        ended(Exit(code, self._script.failure if planned else None, self._script.details))
