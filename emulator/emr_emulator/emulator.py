"""The emulator as an object: start it, get its address, stop it."""

from __future__ import annotations

import fcntl
import itertools
import shutil
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import localtime, strftime
from typing import IO, TYPE_CHECKING, Any

from emr_emulator.buckets import Buckets, InvalidBucket
from emr_emulator.clock import Agenda, Clock, ManualClock, SystemClock
from emr_emulator.faults import Fault, Faults
from emr_emulator.lifecycle import Lifecycle
from emr_emulator.logs import Logs
from emr_emulator.operations import Operations
from emr_emulator.page import Page
from emr_emulator.provisioning import Durations
from emr_emulator.records import Cluster
from emr_emulator.server import HOST, AddressInUse, Application, Server
from emr_emulator.serverless.lifecycle import ServerlessLifecycle
from emr_emulator.serverless.operations import ServerlessOperations
from emr_emulator.serverless.records import Application as ServerlessApplication
from emr_emulator.serverless.submission import JobLogs
from emr_emulator.sparks import Spark
from emr_emulator.steps import Scripted, Steps

if TYPE_CHECKING:
    from typing_extensions import Self

# each emulator of a process has its own account and buckets; as on AWS, a bucket's name is unique across accounts
_accounts = itertools.count(111_122_223_333)


class RootUnusable(Exception):
    """The emulator's root folder cannot be written or is in use."""


class Emulator:
    """An EMR, EMR Serverless, S3 and STS endpoint on this machine; a context manager, or `start()` and `stop()`.

    root: the folder for its files; S3's objects are in `root/buckets`. By default a temporary folder, which is
        deleted at the end.
    port: 0 chooses a free one.
    durations: how long provisioning and the like take, in seconds; by default EMR's, divided by `speed`.
    spark: the Spark that runs steps (see `find_spark`), or several, of which a release's line chooses (see
        `find_sparks`); without one only `scripted` steps run.
    scripted: commands (`hive-script`, `spark-submit`, a jar's name) whose programs are not run, and how they end.
    clock: by default the system's. A ManualClock moves only with `advance`.
    faults: failures to inject (see faults.py), as mappings or Fault objects; `emulator.faults.add` adds more.
    say: called with a line for each event of a cluster or a step.

    Raises RootUnusable, InvalidFault, and AddressInUse if the port is in use.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        port: int = 0,
        speed: float = 60.0,
        durations: Durations | None = None,
        spark: Spark | Sequence[Spark] | None = None,
        scripted: Mapping[str, Scripted] | None = None,
        faults: Sequence[Fault | Mapping[str, Any]] = (),
        clock: Clock | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say = say
        self.faults = Faults(faults, say=self._note)  # first, while there is nothing to clean up
        self._temporary = None if root is not None else tempfile.mkdtemp(prefix="emr-emulator-")
        self.root = Path(root if root is not None else self._temporary or "").absolute()
        account = str(next(_accounts))
        self._agenda = Agenda(clock or SystemClock(), None if isinstance(clock, ManualClock) else self._report)
        durations = durations or Durations().divided_by(speed)
        sparks = (spark,) if isinstance(spark, Spark) else tuple(spark or ())
        try:
            for folder in ("buckets", "logs", "steps"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.root)
            self._buckets = Buckets(self.root / "buckets", account, self.faults, self._agenda.now, self)
            for left in (self.root / "steps").iterdir():  # left by an emulator that was killed
                shutil.rmtree(left, ignore_errors=True)
            of_logs = (
                self.root / "logs",
                self._buckets,
                self._agenda,
                self.faults,
                durations.log_push_interval,
                self._tell,
                self._report,
            )
            logs, job_logs = Logs(*of_logs), JobLogs(*of_logs)

            def steps_with(logs: Logs) -> Steps:
                return Steps(
                    self.root / "steps",
                    self._agenda,
                    logs,
                    self.faults,
                    sparks,
                    scripted or {},
                    self.root / "buckets",
                    lambda: self.environment,
                )

            self._steps, self._job_steps = steps_with(logs), steps_with(job_logs)
            self._lifecycle = Lifecycle(self._agenda, durations, self.faults, self._steps, logs, self._tell)
            self._serverless = ServerlessLifecycle(
                self._agenda, durations, self.faults, self._job_steps, job_logs, self._note
            )
            serverless = ServerlessOperations(self._serverless, self._agenda, account, lambda: self.url)
            page = Page(
                self._lifecycle.clusters,
                self._serverless.applications,
                self.root / "logs",
                self.faults,
                self._agenda,
                sparks,
            )
            operations = Operations(self._lifecycle, self._agenda, account)
            self._server = Server(
                Application(operations, serverless, self._buckets, self.faults, page, self._report, self._agenda.now),
                port,
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
        """Environment variables that make boto3, the AWS CLI, pyarrow and Dagster use this endpoint."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def create_bucket(self, name: str) -> Path:
        """Create a bucket if it does not exist; return the folder with its objects.

        Raises InvalidBucket if S3 would refuse the name, or another emulator of this process has the bucket.
        """
        self._buckets.create(name)
        return self._buckets.folders()[name]

    def clusters(self) -> list[Cluster]:
        """Return all clusters, ended ones included, oldest first."""
        with self._agenda.lock:
            return list(self._lifecycle.clusters.values())

    def applications(self) -> list[ServerlessApplication]:
        """The applications of EMR Serverless with their job runs, oldest first."""
        with self._agenda.lock:
            return list(self._serverless.applications.values())

    def advance(self, seconds: float) -> None:
        """Move a ManualClock forward, and do everything that is due until then."""
        self._agenda.advance(seconds)

    def start(self) -> Self:
        self._agenda.start()
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop the endpoint, and end all processes of all steps."""
        self._server.stop()
        with self._agenda.lock:
            self._lifecycle.stop()
            self._serverless.stop_all()
        try:
            self._steps.stop()
            self._job_steps.stop()
            self._agenda.stop()
        finally:
            self._tidy_up()

    def _tidy_up(self) -> None:
        if hasattr(self, "_buckets"):  # not created if the folder could not be used
            self._buckets.close()
        if hasattr(self, "_lock"):
            self._lock.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # buckets ask what steps do, but steps need buckets and are created later

    def busy(self) -> bool:
        return self._steps.busy() or self._job_steps.busy()

    def written_files(self, below: Path) -> set[str]:
        return self._steps.written_files(below) | self._job_steps.written_files(below)

    def _tell(self, cluster: Cluster, what: str) -> None:
        self._note(f"{cluster.id} {cluster.name}  {what}")

    def _note(self, what: str) -> None:
        self._speak(f"{strftime('%H:%M:%S', localtime(self._agenda.now()))}  {what}")

    def _report(self, error: BaseException) -> None:
        self._speak("".join(traceback.format_exception(error)))

    def _speak(self, text: str) -> None:
        with suppress(Exception):  # a closed terminal must not stop clusters
            self._say(text)


def _lock(root: Path) -> IO[str]:
    """Lock the folder: two emulators on it would overwrite each other's objects. Raises RootUnusable."""
    file = (root / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise RootUnusable(f"{root} is used by another emulator that runs.") from error
    return file
