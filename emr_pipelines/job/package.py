"""Package a program with its parameters as a job: what any service needs to run it, and its identity."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from emr_pipelines.aws.client import Aws
from emr_pipelines.aws.objects import Objects, join
from emr_pipelines.aws.redaction import reject_known_secrets
from emr_pipelines.errors import PackagingError, SourceChanged
from emr_pipelines.job.artifacts import Artifacts, code_archive
from emr_pipelines.job.imports import needs_dagster, walk, without_files
from emr_pipelines.job.modules import module_name
from emr_pipelines.job.requirements import requirements_of, undeclared
from emr_pipelines.job.source import Certainty
from emr_pipelines.job.wheels import Dependencies
from emr_pipelines.remote import codec, entrypoint
from emr_pipelines.remote.annotations import annotation_of
from emr_pipelines.remote.entrypoint import CODE, LIBRARIES, Task
from emr_pipelines.report import Reporter, no_report

DIGEST_CHARACTERS = 20
DAGSTER = re.compile(r"dagster\b(?!-)")  # and not dagster-pipes, which every job has
ARCHIVES = ("spark.archives", "spark.yarn.dist.archives")


@dataclass(frozen=True)
class StagingArea:
    """The deployment's folder on S3, to which jobs are uploaded."""

    aws: Aws
    objects: Objects
    base: str
    artifacts: Artifacts
    dependencies: Dependencies

    @classmethod
    def at(cls, aws: Aws, base: str) -> StagingArea:
        objects = Objects(aws)
        return cls(aws, objects, base, Artifacts(objects, base), Dependencies(objects, base))

    def of(self, name: str) -> str:
        return join(self.base, name)


@dataclass(frozen=True)
class Submission:
    """How programs are to run. Jars and files may be of this machine.

    details: what else a backend's settings say about how a program runs, such as the deploy mode on a cluster; JSON
    values, which are part of a job's identity.
    """

    conf: Mapping[str, str] = field(default_factory=dict)
    jars: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    architecture: str = "x86_64"
    python: str = "/usr/bin/python3.11"
    ship_dependencies: bool = True
    details: tuple[str, ...] = ()

    @property
    def python_version(self) -> str:
        """Return the Python version to build packages for. Raises PackagingError."""
        found = re.search(r"python(3\.\d+)$", self.python)
        if not found:
            raise PackagingError(
                f"cluster.python is {self.python!r}, which does not say for which Python the packages in REQUIREMENTS "
                "have to be; name its version, as in /usr/bin/python3.11, or set ship_dependencies to false."
            )
        return found.group(1)


@dataclass(frozen=True)
class Job:
    """A program that is ready to run, whichever service runs it.

    label: one word for people: the assets that it is for. identity: a digest of the program, of all that its result
    depends on, and of who asks for it, by which a later attempt finds what an earlier one began or finished. folder:
    its own folder on S3. entrypoint: the URI of the script to run. jars, files: URIs. conf: Spark's properties, without
    archives.
    """

    label: str
    identity: str
    folder: str
    task: Task
    entrypoint: str
    conf: Mapping[str, str] = field(default_factory=dict)
    archives: tuple[str, ...] = ()
    jars: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # logged before anything is paid for

    @property
    def arguments(self) -> tuple[str, ...]:
        """The entrypoint's first arguments."""
        return (self.task_uri,)

    @property
    def files(self) -> tuple[str, ...]:
        return self.task.files

    @property
    def result(self) -> str:
        return self.task.result

    @property
    def package(self) -> str:
        """The top-level package, or module, of the program."""
        return re.split("[.:]", self.task.program)[0]

    @property
    def task_uri(self) -> str:
        return join(self.folder, "task.json")

    @property
    def attempt_folders(self) -> str:
        """The prefix of the URIs of all attempts' folders."""
        return join(self.folder, "attempt-")

    def attempt_folder(self, attempt: int) -> str:
        return f"{self.attempt_folders}{attempt}"


@dataclass(frozen=True)
class Package:
    """A job, and what has to be uploaded before it can run."""

    job: Job
    code: bytes
    entrypoint: bytes
    requirements: tuple[str, ...]
    how: Submission

    def upload(self, staging: StagingArea, log: Callable[[str], None], report: Reporter = no_report) -> Job:
        """Upload the files that S3 does not have yet, and return the job.

        Raises PackagingError for packages that cannot be built, SourceChanged, and the AwsErrors.
        """
        how = self.how
        staging.artifacts.put(".zip", self.code, report)
        staging.artifacts.put(".py", self.entrypoint)
        if self.requirements:
            staging.dependencies.archive(self.requirements, how.architecture, how.python_version, log, report)
        there = [staging.artifacts.put_file("jars", jar, report) for jar in how.jars]
        there += [staging.artifacts.put_file("files", file, report) for file in how.files]
        if there != [*self.job.jars, *self.job.files]:
            raise SourceChanged("A file of the runner's `jars` or `files` changed while it was uploaded. Retry.")
        return self.job


def package(
    program: Callable[..., Any],
    params: Any,
    *,
    asked_by: Sequence[str],
    label: str,
    staging: StagingArea,
    how: Submission,
) -> Package:
    """Describe the job that runs a program. Calls no service, and uploads nothing.

    asked_by: distinguishes the same work of other requesters: the run, its step, the partition.

    Raises PackagingError for a program, parameters or requirements that cannot be sent, and InvalidValue.
    """
    name = codec.name_of(program)
    takes = annotation_of(program, "params")
    annotation_of(program, "return")
    codec.round_trip(takes, params)
    encoded = codec.encode(params)
    reject_known_secrets(f"The parameters of {name}", encoded)
    reject_known_secrets(f"The submission of {name}", [dict(how.conf), how.jars, how.files, how.details])
    requirements = requirements_of(program)
    reached = walk(module_name(program), Certainty.LATER)
    warnings = without_files(reached)
    if how.ship_dependencies:
        if not any(map(DAGSTER.match, requirements)) and (sentence := needs_dagster(program)):
            raise PackagingError(sentence)
        warnings += undeclared(reached, requirements)
    code, main = code_archive(program, requirements).data, inspect.getsource(entrypoint).encode()
    shipped = tuple(requirements) if how.ship_dependencies else ()
    archive = staging.dependencies.uri(shipped, how.architecture, how.python_version) if shipped else None
    code_uri, main_uri = staging.artifacts.uri(".zip", code), staging.artifacts.uri(".py", main)
    jars = tuple(staging.artifacts.file_uri("jars", jar) for jar in how.jars)
    files = tuple(staging.artifacts.file_uri("files", file) for file in how.files)
    identity = digest_of(
        [*asked_by, name, encoded, code_uri, main_uri, archive, jars, files, *how.details, dict(how.conf)]
    )
    folder, conf = join(staging.of("steps"), identity), dict(how.conf)
    theirs = [conf.pop(key) for key in ARCHIVES if key in conf]  # spark-submit's option overrules them
    python_version = how.python_version if archive else ""
    result = join(folder, "result.json")
    job = Job(
        label=label,
        identity=identity,
        folder=folder,
        task=Task(name, encoded, result, code_uri, archive or "", python_version, files),
        entrypoint=main_uri,
        conf=conf,
        archives=tuple(filter(None, (f"{code_uri}#{CODE}", f"{archive}#{LIBRARIES}" if archive else "", *theirs))),
        jars=jars,
        warnings=tuple(warnings),
    )
    return Package(job, code, main, shipped if archive else (), how)


def digest_of(identity: object) -> str:
    """Return a digest of JSON values that identify a piece of work.

    Different values have different JSON texts, which quote strings and distinguish 1 from 1.0, "1" and true. The text
    is not ASCII, in which two halves of a surrogate pair would look like the character.
    """
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]


def attempts_in(objects: Objects, folder: str) -> list[int]:
    """Return the numbers of the attempts that have a folder in a job's folder, the newest first."""
    numbers = [name.removeprefix("attempt-") for name in objects.names(folder)]
    return sorted((int(number) for number in numbers if number.isdigit()), reverse=True)


def next_attempt(objects: Objects, job: Job) -> int:
    """Begin an attempt by writing its task, and return its number, which no attempt with a folder has."""
    attempt = max(attempts_in(objects, job.folder), default=0) + 1
    objects.write(job.task_uri, job.task.to_json())
    return attempt
