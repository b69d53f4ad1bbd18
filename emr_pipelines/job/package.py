"""A shipment: a program with its parameters, packed so that a cluster can run it, and known by what it would do."""

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
from emr_pipelines.backends.emr.steps import DeployMode, Step, spark_submit
from emr_pipelines.errors import PackagingError
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
DAGSTER = re.compile(r"dagster\b(?!-)")  # and not dagster-pipes, which every step has
LONGEST_ASKED_BY = "-" * (36 + 4)  # a UUID, and the number of a retry
LONGEST_PIPES = "-" * 1000  # Dagster Pipes' arguments, which hold two URIs
ARCHIVES = ("spark.archives", "spark.yarn.dist.archives")
ONE_ATTEMPT = {"spark.yarn.maxAppAttempts": "1"}  # else YARN runs a driver that failed a second time


@dataclass(frozen=True)
class Place:
    """AWS as a deployment has it: its folder on S3, and what lies there."""

    aws: Aws
    objects: Objects
    base: str
    artifacts: Artifacts
    dependencies: Dependencies

    @classmethod
    def at(cls, aws: Aws, base: str) -> Place:
        objects = Objects(aws)
        return cls(aws, objects, base, Artifacts(objects, base), Dependencies(objects, base))

    def of(self, name: str) -> str:
        return join(self.base, name)


@dataclass(frozen=True)
class Submission:
    """How programs are submitted: see `spark_submit`. Jars and files may be of this machine."""

    deploy_mode: DeployMode = "client"
    queue: str = ""
    conf: Mapping[str, str] = field(default_factory=dict)
    jars: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    architecture: str = "x86_64"
    python: str = "/usr/bin/python3.11"
    ship_dependencies: bool = True

    @property
    def python_version(self) -> str:
        """What packages have to be built for. Raises PackagingError."""
        found = re.search(r"python(3\.\d+)$", self.python)
        if not found:
            raise PackagingError(
                f"cluster.python is {self.python!r}, which does not say for which Python the packages in REQUIREMENTS "
                "have to be; name its version, as in /usr/bin/python3.11, or set ship_dependencies to false."
            )
        return found.group(1)


@dataclass(frozen=True)
class Shipment:
    """A program that is ready to be submitted.

    digest: identifies the program, all that its result depends on, and who asks for it, so that a later attempt finds
    what an earlier one has begun or finished. folder: its own folder on S3.
    """

    label: str
    digest: str
    folder: str
    task: Task
    entrypoint: str
    how: Submission
    jars: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # logged before a cluster is launched

    @property
    def result(self) -> str:
        return self.task.result

    @property
    def package(self) -> str:
        """The top-level package, or module, of the program."""
        return re.split("[.:]", self.task.program)[0]

    @property
    def taken(self) -> str:
        """The URI where the attempt that returned the result to its asset is noted."""
        return join(self.folder, "taken")

    @property
    def prefix(self) -> str:
        """The prefix of the names of all its steps."""
        return f"{self.label} {self.digest}."

    def step(self, attempt: int, asked_by: str, arguments: Mapping[str, str]) -> Step:
        """The step that runs the program.

        asked_by: the Dagster run and its retry number. They are in the step's name, for a person who looks at the
        cluster, and because no other step may have that name: it finds a step whose response was lost. arguments:
        those of Dagster Pipes.
        """
        conf = dict(self.how.conf)
        theirs = [conf.pop(name) for name in ARCHIVES if name in conf]  # spark-submit's option overrules them
        ours = [f"{self.task.code}#{CODE}", *([f"{self.task.archive}#{LIBRARIES}"] if self.task.archive else [])]
        return spark_submit(
            f"{self.prefix}{attempt} {asked_by}",
            self.entrypoint,
            self.task_uri,
            *(word for pair in arguments.items() for word in pair),
            deploy_mode=self.how.deploy_mode,
            queue=self.how.queue,
            conf={**ONE_ATTEMPT, **conf} if self.how.deploy_mode == "cluster" else conf,
            jars=self.jars,
            files=self.task.files,
            archives=(*ours, *filter(None, theirs)),
        )

    @property
    def task_uri(self) -> str:
        return join(self.folder, "task.json")

    @property
    def attempt_folders(self) -> str:
        """The prefix of the URIs of all attempts' folders."""
        return join(self.folder, "attempt-")

    def attempt_folder(self, attempt: int) -> str:
        return f"{self.attempt_folders}{attempt}"

    def attempt_of(self, step_name: str) -> int:
        """The number in a step's name."""
        number = step_name.removeprefix(self.prefix).partition(" ")[0]
        return int(number) if number.isdigit() else 0


def pack(
    program: Callable[..., Any],
    params: Any,
    *,
    asked_by: Sequence[str],
    label: str,
    place: Place,
    how: Submission,
    say: Callable[[str], None],
    report: Reporter = no_report,
) -> Shipment:
    """Upload what a program needs and is not on S3 yet, and return how to run it.

    asked_by: tells this work from the same work requested elsewhere: a run, a step of it, a partition.

    Raises, before a cluster is launched, PackagingError for a program, parameters or requirements that cannot be sent,
    InvalidValue for settings with which EMR would refuse the step, and the AwsErrors.
    """
    name = codec.name_of(program)
    takes = annotation_of(program, "params")
    annotation_of(program, "return")
    codec.round_trip(takes, params)
    encoded = codec.encode(params)
    reject_known_secrets(f"The parameters of {name}", encoded)
    reject_known_secrets(f"The submission of {name}", [dict(how.conf), how.jars, how.files, how.queue])
    requirements = requirements_of(program)
    reached = walk(module_name(program), Certainty.LATER)
    warnings = without_files(reached)
    if how.ship_dependencies:
        if not any(map(DAGSTER.match, requirements)) and (sentence := needs_dagster(program)):
            raise PackagingError(sentence)
        warnings += undeclared(reached, requirements)
    code = place.artifacts.put(".zip", code_archive(program, requirements).data, report)
    main = place.artifacts.put(".py", inspect.getsource(entrypoint).encode())
    archive = (
        place.dependencies.archive(requirements, how.architecture, how.python_version, say, report)
        if requirements and how.ship_dependencies
        else None
    )
    jars = tuple(place.artifacts.put_file("jars", jar, report) for jar in how.jars)
    files = tuple(place.artifacts.put_file("files", file, report) for file in how.files)
    identity = [*asked_by, name, encoded, code, main, archive, jars, files, how.deploy_mode, how.queue, dict(how.conf)]
    digest = digest_of(identity)
    folder = join(place.of("steps"), digest)
    shipment = Shipment(
        label=label,
        digest=digest,
        folder=folder,
        task=Task(
            name,
            encoded,
            join(folder, "result.json"),
            code,
            archive or "",
            how.python_version if archive else "",
            files,
        ),
        entrypoint=main,
        how=how,
        jars=jars,
        warnings=tuple(warnings),
    )
    shipment.step(1, LONGEST_ASKED_BY, {"--pipes": LONGEST_PIPES})  # raises before a cluster is launched in vain
    return shipment


def digest_of(identity: object) -> str:
    """A digest of JSON values that identify a piece of work.

    Different values have different texts, because JSON quotes strings and tells 1 from 1.0, "1" and true. The text is
    not in ASCII, where two halves of a surrogate pair would be written like the character.
    """
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]


def next_attempt(objects: Objects, shipment: Shipment) -> int:
    """Begin an attempt by writing its task, and return its number, which no attempt with a folder has."""
    names = objects.names(shipment.folder)
    numbers = [int(name.removeprefix("attempt-")) for name in names if name.removeprefix("attempt-").isdigit()]
    attempt = max(numbers, default=0) + 1
    objects.write(shipment.task_uri, shipment.task.to_json())
    return attempt
