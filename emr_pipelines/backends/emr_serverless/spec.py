"""The description of an application, checked before anything is made.

The limits are those of CreateApplication in the EMR Serverless API Reference, and of the EMR Serverless User Guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from emr_pipelines.aws.redaction import reject_secrets, without_secrets
from emr_pipelines.backends.description import Description, Part, merged, with_preset
from emr_pipelines.backends.emr_serverless.presets import PRESETS
from emr_pipelines.backends.emr_serverless.workers import Worker
from emr_pipelines.backends.forms import ReleaseLabel, SecurityGroupId, SubnetId, Text, matching
from emr_pipelines.backends.tags import check_ascii_tags
from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.package import digest_of
from emr_pipelines.spark_lines import LINES, PYTHON_3_11, default_label, has, without_python

MAX_TAGS, MAX_TAGS_OF_OURS = 200, 6  # five of a job run, or two of an application
NAME_FORM = r"[A-Za-z0-9._/#-]{1,64}"
IMAGE_FORM = r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.[a-z0-9._-]+/[a-z0-9._/-]+(:[\w.-]+|@sha256:[0-9a-f]{64})"
Image = Annotated[str, matching(IMAGE_FORM, "<account>.dkr.ecr.<region>.amazonaws.com/<name>:<tag>")]
KmsKey = Annotated[
    str, matching(r"arn:aws[\w-]*:kms:[\w-]+:\d{12}:key/[\w-]+", "arn:aws:kms:<region>:<account>:key/<id>")
]

# members that `extra` must not set, and why
NOT_IN_EXTRA = {
    "name": "the application is found again by its name; `name` says it",
    "clientToken": "it is made from the description, so that a lost answer makes no second application",
    "type": "programs are Spark's",
    "tags": "they would replace those that it is found by; `tags` adds to them",
    "releaseLabel": "`release_label` says it",
    "architecture": "`architecture` says it",
    "autoStopConfiguration": "a forgotten application would not stop; `idle_timeout_minutes` says when it does",
}


class Capacity(Part):
    """The most that all workers of an application have together."""

    cpu: int = Field(default=64, ge=1, description="vCPU of all workers at once.")
    memory_gb: int = Field(default=256, ge=1, description="Memory of all workers at once, in GB.")
    disk_gb: int = Field(default=2000, ge=1, description="Disk of all workers at once, in GB.")

    def request(self) -> dict[str, str]:
        return {"cpu": f"{self.cpu} vCPU", "memory": f"{self.memory_gb} GB", "disk": f"{self.disk_gb} GB"}


class WarmWorkers(Part):
    """Workers that wait for job runs while the application is started, and are paid for meanwhile."""

    drivers: int = Field(default=1, ge=1, description="Warm drivers.")
    executors: int = Field(default=1, ge=1, description="Warm executors.")


class Queue(Part):
    """What happens to job runs beyond the number that may run at once."""

    concurrent: int = Field(default=15, ge=1, le=1000, description="Job runs at once; 1 to 1000.")
    minutes: int = Field(default=360, ge=15, le=720, description="The longest wait for a turn; 15 to 720.")


class ApplicationSpec(Description):
    """The description of an application, as `application` of EmrServerlessSparkRunner or in run config. For example:

        ApplicationSpec.parse({"preset": "small", "release_label": "emr-7.14.0"})

    `parse` raises InvalidValue for what EMR Serverless would refuse, before anything is made.
    """

    called: ClassVar[str] = "application"

    preset: Literal["standard", "small", "large", "arm"] | None = Field(
        default=None,
        description="A base description: standard, small, large or arm; other fields override it, member by member. "
        + " ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items()),
    )
    id: Annotated[str, matching(r"[0-9a-z]{1,64}", "an application's id, such as 00f1abcdefgh1234")] | None = Field(
        default=None,
        description="An application that exists, which is used as it is: only workers, python, image and "
        "release_label of this description count then. By default EMR_PIPELINES_APPLICATION, else one is made.",
    )
    name: Annotated[str, matching(NAME_FORM, "1 to 64 letters, digits and . _ / # -")] | None = Field(
        default=None,
        description="The application's name. A changed description changes the application of that name once it is "
        "stopped. By default a name for this deployment and description, so that another description makes another "
        "application.",
    )
    release_label: ReleaseLabel = Field(
        default_factory=default_label,
        description="The EMR release; by default the newest known one that runs the installed line of Spark: "
        + ", ".join(f"{line.newest} for pyspark {line.spark}" for line in LINES)
        + ".",
    )
    architecture: Literal["x86_64", "arm64"] = Field(default="x86_64", description="The workers' architecture.")
    driver: Worker = Field(default=Worker(), description="The size of the driver.")
    executor: Worker = Field(default=Worker(), description="The size of each executor.")
    executors: int = Field(
        default=3, ge=1, description="Executors to begin with; EMR Serverless adds more while there are tasks."
    )
    maximum: Capacity = Field(default=Capacity(), description="The most that all job runs may use at once.")
    warm: WarmWorkers | None = Field(
        default=None, description="Workers that are kept ready, and paid for, while it is started; by default none."
    )
    queue: Queue | None = Field(
        default=None, description="Concurrency and queueing, from emr-7.0.0 on; by default 15 at once, 360 minutes."
    )
    idle_timeout_minutes: int = Field(
        default=15, ge=1, le=10_080, description="How long it may be idle before it stops itself; 1 to 10080."
    )
    auto_start: bool = Field(default=True, description="Whether a job run starts it.")
    subnets: tuple[SubnetId, ...] = Field(
        default=(), max_length=16, description="Subnets, for access to a VPC; by default none. At most 16."
    )
    security_groups: tuple[SecurityGroupId, ...] = Field(
        default=(), max_length=5, description="Security groups in the subnets' VPC; at most 5."
    )
    image: Image | None = Field(
        default=None, description="An image of your own in ECR, <account>.dkr.ecr.<region>.amazonaws.com/<name>:<tag>."
    )
    disk_key: KmsKey | None = Field(default=None, description="The ARN of the KMS key for the workers' disks.")
    managed_logs: bool = Field(
        default=True, description="Whether AWS keeps logs for the Spark UI too, for 30 days and at no charge."
    )
    tags: dict[str, str] = Field(default={}, description="Additional tags of the application and its job runs.")
    python: Text = Field(default=PYTHON_3_11, description="The Python of driver and executors.")
    extra: dict[str, JsonValue] = Field(
        default={},
        description="Additional members of CreateApplication's request: mappings are merged, other values replace.",
    )

    @model_validator(mode="before")
    @classmethod
    def _begun(cls, data: Any) -> Any:
        return with_preset(PRESETS, data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _checked(self) -> ApplicationSpec:
        if not has(self.release_label, "EMR Serverless"):
            raise InvalidValue("release_label", self.release_label, "emr-6.9.0 or later for EMR Serverless")
        if self.queue and not has(self.release_label, "queues"):
            raise InvalidValue("release_label", self.release_label, "emr-7.0.0 or later with queue")
        without = without_python(self.release_label, self.python)
        if without and not self.image:
            raise InvalidValue("release_label", self.release_label, without)
        if self.security_groups and not self.subnets:
            raise InvalidValue("subnets", [], "subnets, as there are security_groups")
        reject_secrets("tags", self.tags)
        check_ascii_tags(self.tags, MAX_TAGS - MAX_TAGS_OF_OURS)
        for name, why in NOT_IN_EXTRA.items():
            if name in self.extra:
                raise InvalidValue(f"extra.{name}", self.extra[name], f"nothing: {why}")
        limits = self.maximum.model_dump()
        for what in ("cpu", "memory_gb", "disk_gb"):
            needed = sum(getattr(worker, "cores" if what == "cpu" else what) for worker in (self.driver, self.executor))
            if needed > limits[what]:
                allowed = f"{needed} or more, for a driver and an executor"
                raise InvalidValue(f"maximum.{what}", limits[what], allowed)
        return self

    def conf(self) -> dict[str, str]:
        """Return Spark's settings for the workers."""
        executors = {"spark.dynamicAllocation.initialExecutors": str(self.executors)}
        return {**self.driver.conf("driver"), **self.executor.conf("executor"), **executors}

    def request(self) -> dict[str, Any]:
        """Return CreateApplication's request, without name, client token and tags."""
        found: dict[str, Any] = {
            "releaseLabel": self.release_label,
            "type": "SPARK",
            "architecture": "ARM64" if self.architecture == "arm64" else "X86_64",
            "maximumCapacity": self.maximum.request(),
            "autoStartConfiguration": {"enabled": self.auto_start},
            "autoStopConfiguration": {"enabled": True, "idleTimeoutMinutes": self.idle_timeout_minutes},
            "monitoringConfiguration": {"managedPersistenceMonitoringConfiguration": {"enabled": self.managed_logs}},
        }
        if self.warm:
            found["initialCapacity"] = {
                "DRIVER": _warm(self.warm.drivers, self.driver),
                "EXECUTOR": _warm(self.warm.executors, self.executor),
            }
        if self.queue:
            found["schedulerConfiguration"] = {
                "maxConcurrentRuns": self.queue.concurrent,
                "queueTimeoutMinutes": self.queue.minutes,
            }
        if self.subnets:
            groups = {"securityGroupIds": list(self.security_groups)} if self.security_groups else {}
            found["networkConfiguration"] = {"subnetIds": list(self.subnets), **groups}
        if self.image:
            found["imageConfiguration"] = {"imageUri": self.image}
        if self.disk_key:
            found["diskEncryptionConfiguration"] = {"encryptionKeyArn": self.disk_key}
        return merged(found, self.extra)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits, equal for descriptions of the same application."""
        return digest_of([self.id, self.name, without_secrets(self.request()), self.tags])[:12]


def _warm(count: int, worker: Worker) -> dict[str, Any]:
    configuration = {"cpu": f"{worker.cores} vCPU", "memory": f"{worker.memory_gb} GB", "disk": f"{worker.disk_gb} GB"}
    return {"workerCount": count, "workerConfiguration": configuration}
