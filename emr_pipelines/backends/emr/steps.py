"""Make steps of EMR's usual kinds; add, list, describe and cancel steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from emr_pipelines.aws.client import Aws, call_once
from emr_pipelines.aws.redaction import reject_known_secrets, reject_secrets
from emr_pipelines.backends.emr.states import STEP_UNFINISHED, StepState
from emr_pipelines.clock import poll
from emr_pipelines.errors import InvalidValue, ResponseLost

COMMAND_RUNNER = "command-runner.jar"
MAX_CHARACTERS = 10_240  # of all strings of a HadoopJarStep together
LONGEST_NAME = 256
EMR_TEXT = re.compile("[\\t\\r\\n\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]*")  # EMR's XmlString
SEEN_WITHIN_SECONDS = 30.0  # within which ListSteps shows a new step

DeployMode = Literal["client", "cluster"]


@dataclass(frozen=True)
class Step:
    """A step: a jar with its arguments, usually EMR's command-runner.

    Raises InvalidValue for a step that EMR would refuse (more than 10,240 characters, control characters), and for
    values that are named like secrets, because EMR shows them to everyone who may describe the cluster.
    """

    name: str
    args: tuple[str, ...]
    jar: str = COMMAND_RUNNER
    main_class: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > LONGEST_NAME:
            raise InvalidValue("The name of a step", self.name, f"1 to {LONGEST_NAME} characters")
        reject_secrets(f"An argument of the step {self.name!r}", self.args)
        reject_secrets(f"The properties of the step {self.name!r}", self.properties)
        strings = [self.jar, self.main_class, *self.args, *self.properties, *self.properties.values()]
        for text in (self.name, *strings):
            if not EMR_TEXT.fullmatch(text):
                allowed = "characters of text, and no control characters but tabs and line ends: EMR takes no others"
                raise InvalidValue(f"In the step {self.name!r}, a name or argument", text, allowed)
        characters = sum(map(len, strings))
        if characters > MAX_CHARACTERS:
            raise InvalidValue(
                f"The length of the arguments of the step {self.name!r}",
                characters,
                f"up to {MAX_CHARACTERS:,} characters; put what is longer into a file on S3",
            )

    def request(self) -> dict[str, Any]:
        """Return the step for AddJobFlowSteps. Its failure ends neither the cluster nor other steps."""
        jar_step: dict[str, Any] = {"Jar": self.jar, "Args": list(self.args)}
        if self.main_class:
            jar_step["MainClass"] = self.main_class
        if self.properties:
            jar_step["Properties"] = [{"Key": key, "Value": value} for key, value in self.properties.items()]
        return {"Name": self.name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar_step}


def spark_submit(
    name: str,
    program: str,
    *args: str,
    main_class: str = "",
    deploy_mode: DeployMode = "client",
    queue: str = "",
    conf: Mapping[str, str] | None = None,
    py_files: Sequence[str] = (),
    jars: Sequence[str] = (),
    files: Sequence[str] = (),
    archives: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Step:
    """Return a step for a Spark program: a .py or .jar file on S3 with its arguments.

    deploy_mode: `client` runs the driver on the primary node, with its output in the step's own logs; `cluster` in a
        YARN container. queue: YARN's. options: more of spark-submit's own, as they stand.
    """
    words = ["spark-submit", "--deploy-mode", deploy_mode]
    words += ["--queue", queue] if queue else []
    words += ["--class", main_class] if main_class else []
    for option, uris in (("--py-files", py_files), ("--jars", jars), ("--files", files), ("--archives", archives)):
        words += [option, ",".join(uris)] if uris else []
    for key, value in (conf or {}).items():
        words += ["--conf", f"{key}={value}"]
    return Step(name, (*words, *options, program, *args))


def spark_jar(name: str, jar: str, main_class: str, *args: str, **options: Any) -> Step:
    """Return a step for a Spark program in Java or Scala; options: as for `spark_submit`."""
    return spark_submit(name, jar, *args, main_class=main_class, **options)


def hive_script(name: str, script: str, variables: Mapping[str, str] | None = None, *args: str) -> Step:
    """Return a step for a Hive script on S3; variables: its `${name}`s."""
    given = [word for key, value in (variables or {}).items() for word in ("-d", f"{key}={value}")]
    return Step(name, ("hive-script", "--run-hive-script", "--args", "-f", script, *given, *args))


def pig_script(name: str, script: str, parameters: Mapping[str, str] | None = None, *args: str) -> Step:
    """Return a step for a Pig script on S3; parameters: its `$name`s."""
    given = [word for key, value in (parameters or {}).items() for word in ("-p", f"{key}={value}")]
    return Step(name, ("pig-script", "--run-pig-script", "--args", "-f", script, *given, *args))


def hadoop_streaming(
    name: str, mapper: str, reducer: str, inputs: Sequence[str], output: str, files: Sequence[str] = ()
) -> Step:
    """Return a Hadoop streaming step: two commands that read and write lines; files: on S3, copied to where they
    run."""
    words = ["hadoop-streaming", *(("-files", ",".join(files)) if files else ())]
    words += ["-mapper", mapper, "-reducer", reducer]
    words += [word for uri in inputs for word in ("-input", uri)]
    return Step(name, (*words, "-output", output))


def shell_command(name: str, command: str) -> Step:
    """Return a step that runs a bash command on the primary node."""
    return Step(name, ("bash", "-c", command))


def s3_dist_cp(name: str, source: str, destination: str, *options: str) -> Step:
    """Return a distributed copy between S3 and HDFS; options: such as `--groupBy=...`."""
    return Step(name, ("s3-dist-cp", f"--src={source}", f"--dest={destination}", *options))


@dataclass(frozen=True)
class AddedStep:
    """A step as EMR describes it. Times are UTC."""

    id: str
    name: str
    state: StepState
    reason_code: str = ""
    reason: str = ""
    failure_reason: str = ""
    failure_message: str = ""
    failure_log: str = ""
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None


class Steps:
    """The steps of clusters. Each call may raise the AwsErrors."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def add(self, cluster_id: str, step: Step, role: str = "") -> str:
        """Add a step and return its id. role: the step's runtime role.

        AddJobFlowSteps has no client token. When its response is lost, the step is looked for by its name, which must
        be unique on this cluster, and added again only if it is not found, for a quarter of an hour; then ResponseLost
        is raised. Raises RequestRefused when the cluster takes no more steps, and PackagingError for a step with a
        secret.
        """
        request: dict[str, Any] = {"JobFlowId": cluster_id, "Steps": [step.request()]}
        request |= {"ExecutionRoleArn": role} if role else {}
        reject_known_secrets(f"The step {step.name!r}", request)

        def call() -> str:
            added: str = self._aws.call(
                "emr", "add_job_flow_steps", once=True, read=lambda answer: answer["StepIds"][0], **request
            )
            return added

        def find() -> str | None:
            return next((added.id for added in self.each(cluster_id) if added.name == step.name), None)

        def look(_: ResponseLost) -> str | None:
            return poll(self._aws.clock, find, SEEN_WITHIN_SECONDS, interval=SEEN_WITHIN_SECONDS / 6)

        return call_once(self._aws.clock, call, look)

    def all(self, cluster_id: str) -> list[AddedStep]:
        """List all steps of a cluster, newest first."""
        return list(self.each(cluster_id))

    def each(
        self,
        cluster_id: str,
        states: frozenset[StepState] = frozenset(),
        patience_seconds: float | None = None,
    ) -> Iterator[AddedStep]:
        """Yield the steps in one of these states (by default any), newest first.

        Requests pages of 50 on demand, because a pool's cluster may have had thousands of steps. patience_seconds: as
        for `Aws.call`.
        """
        filters = {"StepStates": sorted(map(str, states - {StepState.UNKNOWN}))} if states else {}
        how = {"patience_seconds": patience_seconds, "ClusterId": cluster_id, **filters}
        for page in self._aws.pages("emr", "list_steps", **how):
            yield from map(_step, page.get("Steps", ()))

    def before(self, cluster_id: str, step_id: str) -> int:
        """Return how many unfinished steps were added before this one."""
        unfinished = [step.id for step in self.each(cluster_id, STEP_UNFINISHED)]
        return len(unfinished) - 1 - unfinished.index(step_id) if step_id in unfinished else 0

    def describe(self, cluster_id: str, step_id: str) -> AddedStep:
        def read(answer: Any) -> AddedStep:
            found = _step(answer["Step"])
            if found.id != step_id:
                raise ValueError(f"it is about step {found.id}")
            return found

        described: AddedStep = self._aws.call("emr", "describe_step", read=read, ClusterId=cluster_id, StepId=step_id)
        return described

    def cancel(
        self, cluster_id: str, step_id: str, *, kill: bool = False, patience_seconds: float | None = None
    ) -> None:
        """Interrupt a step (SIGTERM), or kill it (SIGKILL). Does nothing to a step that has ended."""
        option = "TERMINATE_PROCESS" if kill else "SEND_INTERRUPT"
        self._aws.call(
            "emr",
            "cancel_steps",
            patience_seconds=patience_seconds,
            ClusterId=cluster_id,
            StepIds=[step_id],
            StepCancellationOption=option,
        )


def step_of(steps: Iterable[AddedStep], prefix: str) -> AddedStep | None:
    """Return the first step whose name begins with a prefix."""
    return next((step for step in steps if step.name.startswith(prefix)), None)


def _step(entry: Mapping[str, Any]) -> AddedStep:
    status = entry.get("Status", {})
    reason, times = status.get("StateChangeReason", {}), status.get("Timeline", {})
    failure = status.get("FailureDetails", {})
    return AddedStep(
        id=entry["Id"],
        name=entry.get("Name", ""),
        state=StepState(status.get("State", "")),
        reason_code=reason.get("Code", ""),
        reason=reason.get("Message", ""),
        failure_reason=failure.get("Reason", ""),
        failure_message=failure.get("Message", ""),
        failure_log=failure.get("LogFile", ""),
        created=times.get("CreationDateTime"),
        started=times.get("StartDateTime"),
        ended=times.get("EndDateTime"),
    )
