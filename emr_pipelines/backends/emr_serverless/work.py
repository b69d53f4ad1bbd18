"""What a job run does: a job of ours, or a user's own spark-submit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emr_pipelines.aws.objects import join
from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.package import Job

SPARK_SUBMIT = "spark-submit"
NOT_ALLOWED = {  # options of spark-submit that EMR Serverless has no place for
    "--master": "EMR Serverless is the master",
    "--queue": "there is no YARN; application.queue says how job runs wait",
    "--principal": "there is no Kerberos",
    "--keytab": "there is no Kerberos",
}
WITHOUT_VALUE = frozenset({"--verbose", "-v", "--supervise"})


@dataclass(frozen=True)
class Work:
    """What a job run does.

    label, identity: as a Job has them. folder: on S3, for what is known of each attempt. options: spark-submit's,
    besides `conf`.
    """

    label: str
    identity: str
    folder: str
    entry_point: str
    arguments: tuple[str, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    @property
    def attempt_folders(self) -> str:
        """The prefix of the URIs of all attempts' folders."""
        return join(self.folder, "attempt-")

    @classmethod
    def of_job(cls, job: Job) -> Work:
        brought = {"spark.archives": job.archives, "spark.jars": job.jars, "spark.files": job.files}
        conf = {**job.conf, **{name: ",".join(uris) for name, uris in brought.items() if uris}}
        return cls(job.label, job.identity, job.folder, job.entrypoint, job.arguments, conf)

    @classmethod
    def of_spark_submit(
        cls, label: str, identity: str, folder: str, words: tuple[str, ...], conf: Mapping[str, str]
    ) -> Work:
        """Read a command line of spark-submit. conf: settings that its own override.

        Raises InvalidValue for another command, and for options that EMR Serverless has no place for.
        """
        command, *rest = words or ("",)
        if command != SPARK_SUBMIT:
            raise InvalidValue("The command of a step", command, f"{SPARK_SUBMIT}: EMR Serverless runs nothing else")
        options: list[str] = []
        while rest and rest[0].startswith("-"):
            option, *rest = rest
            if option in NOT_ALLOWED:
                raise InvalidValue("An option of spark-submit", option, f"others: {NOT_ALLOWED[option]}")
            value = [] if option in WITHOUT_VALUE else rest[:1]
            rest = rest[len(value) :]
            if option != "--deploy-mode":  # a driver has a worker of its own in any case
                options += [option, *value]
        if not rest:
            raise InvalidValue(
                "A command of spark-submit", " ".join(words), "one with a program: a URI, s3://bucket/key"
            )
        return cls(label, identity, folder, rest[0], tuple(rest[1:]), conf, tuple(options))
