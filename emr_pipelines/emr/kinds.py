"""The kinds of failure: what each means, and which codes and errors show it. Tables, and nothing that reads a log."""

from __future__ import annotations

import re
from typing import NamedTuple

from emr_pipelines.emr.states import Word


class Kind(Word):
    """What kind of thing went wrong."""

    USER_EXCEPTION = "USER_EXCEPTION"
    MODULE_MISSING = "MODULE_MISSING"
    INPUT_MISSING = "INPUT_MISSING"
    BUCKET_MISSING = "BUCKET_MISSING"
    S3_ACCESS_DENIED = "S3_ACCESS_DENIED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    SPARK_SUBMIT_USAGE = "SPARK_SUBMIT_USAGE"
    THROTTLED = "THROTTLED"
    CAPACITY = "CAPACITY"
    SPOT_LOST = "SPOT_LOST"
    INSTANCE_LOST = "INSTANCE_LOST"
    BOOTSTRAP = "BOOTSTRAP"
    VALIDATION = "VALIDATION"
    INTERNAL = "INTERNAL"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


class Meaning(NamedTuple):
    """What is said of a kind: how its sentence begins, what to do, and whether the same again may go well."""

    sentence: str
    hint: str
    retryable: bool = False


MEANINGS = {
    Kind.USER_EXCEPTION: Meaning("The program raised", "It is the program's own error; the same again will not help."),
    Kind.MODULE_MISSING: Meaning(
        "The program needs a Python module that is not there:",
        "Declare it in REQUIREMENTS of the program's module, so that it travels to the cluster; on this machine, "
        "install it.",
    ),
    Kind.INPUT_MISSING: Meaning(
        "The program's input is not there:", "Check the path, and that what should have written it has run."
    ),
    Kind.BUCKET_MISSING: Meaning("There is no such bucket:", "Check the bucket's name, or create it."),
    Kind.S3_ACCESS_DENIED: Meaning(
        "S3 denied the program access:",
        "Allow it in the policy of the cluster's EC2 instance profile (on this machine, of your credentials), and in "
        "the bucket's policy and KMS key, if any. Where the policy demands encryption headers of each write, set "
        "EMR_PIPELINES_ENCRYPTION, and EMR_PIPELINES_KMS_KEY for a key of yours.",
    ),
    Kind.OUT_OF_MEMORY: Meaning(
        "Memory ran out:",
        "Collect and cache less, use more partitions, raise spark.driver.memory, spark.executor.memory or "
        "spark.executor.memoryOverhead, or take larger instances.",
    ),
    Kind.SPARK_SUBMIT_USAGE: Meaning(
        "spark-submit could not start the program:", "Check the program's file, its arguments and its Spark settings."
    ),
    Kind.THROTTLED: Meaning(
        "S3 asked the program to slow down:",
        "Try again; if it goes on, write fewer and larger files, or spread them over prefixes.",
        retryable=True,
    ),
    Kind.CAPACITY: Meaning(
        "EC2 had too little capacity for the cluster:",
        "Try again, or allow more instance types, more subnets, or On-Demand in place of Spot.",
        retryable=True,
    ),
    Kind.SPOT_LOST: Meaning(
        "Spot instances were reclaimed:",
        "Try again; keep the primary and core nodes On-Demand, and Spot for task nodes.",
        retryable=True,
    ),
    Kind.INSTANCE_LOST: Meaning("The cluster lost an instance:", "Try again.", retryable=True),
    Kind.BOOTSTRAP: Meaning(
        "The cluster could not be set up:", "Look at the bootstrap action's log, and mend its script.", retryable=True
    ),
    Kind.VALIDATION: Meaning("EMR does not accept the cluster as described:", "Change the cluster's description."),
    Kind.INTERNAL: Meaning("EMR failed to run the cluster:", "Try again.", retryable=True),
}
HINTS_BY_CODE = {  # where one is better than its kind's
    "BOOTSTRAP_FAILURE_FILE_NOT_FOUND": "Check the path of the bootstrap action's script.",
    "BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED": "Check the script's path, and that the instance profile may read it.",
    "BOOTSTRAP_FAILURE_INSUFFICIENT_DISK_SPACE": "Give the instances a larger root volume.",
    "BOOTSTRAP_FAILURE_HIVE_METASTORE_CONNECTION_ERROR": "Check the address, network and password of the metastore.",
    "VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED": "Take an instance type that the Availability Zone has.",
    "VALIDATION_ERROR_INVALID_SSH_KEY_NAME": "Name an EC2 key pair that there is, or none.",
    "VALIDATION_ERROR_SUBNET_NOT_FROM_ONE_VPC": "Name subnets of one VPC.",
    "VALIDATION_ERROR_SECURITY_GROUP_NOT_FROM_ONE_VPC": "Name security groups of the subnet's VPC.",
}

# codes of Status.ErrorDetails and Status.StateChangeReason by family; the first that matches
# Sources: EMR Management Guide, "Error codes with ErrorDetail information"; API Reference, ClusterStateChangeReason
KINDS_BY_CODE = (
    (re.compile(r".*(INSUFFICIENT|NO)_CAPACITY|INSTANCE_FLEET_TIMEOUT"), Kind.CAPACITY),
    (re.compile(r".*SPOT"), Kind.SPOT_LOST),
    (re.compile(r"BOOTSTRAP_FAILURE"), Kind.BOOTSTRAP),
    (re.compile(r"VALIDATION_ERROR"), Kind.VALIDATION),
    (re.compile(r"INSTANCE_FAILURE"), Kind.INSTANCE_LOST),
    (re.compile(r"INTERNAL_ERROR"), Kind.INTERNAL),
)

KILLED_SAID = r"(?i:exit(?:ed with)? ?(?:status|code)(?: is)?:?) *(?:137|-104|-103)\b"  # SIGKILL; YARN: over the limit
# what an error's class (without its package) and message show, whether Python or Java raised it
KINDS_BY_ERROR = tuple(
    (kind, re.compile(error), re.compile(message))
    for kind, error, message in (
        (Kind.MODULE_MISSING, "ModuleNotFoundError|ImportError", ""),
        (Kind.OUT_OF_MEMORY, r"_?(Array)?MemoryError|OutOfMemoryError|SparkOutOfMemoryError", ""),
        (
            Kind.OUT_OF_MEMORY,
            "SparkException|Container",
            rf"{KILLED_SAID}|spark\.driver\.maxResultSize|(exceeding|beyond).* memory limit|OutOfMemoryError",
        ),
        (Kind.INSTANCE_LOST, "SparkException|Container", r"(?i:status|code): *-100\b|\*lost\* node|decommission"),
        (Kind.INPUT_MISSING, "AnalysisException", r"PATH_NOT_FOUND|Path does not exist"),
        (Kind.INPUT_MISSING, "InvalidInputException", ""),
        (Kind.INPUT_MISSING, "FileNotFoundException", r"s3[an]?://"),
        (Kind.BUCKET_MISSING, "(Amazon)?S3Exception|ClientError", "NoSuchBucket|bucket does not exist"),
        (Kind.BUCKET_MISSING, "NoSuchBucket(Exception)?|UnknownStoreException", ""),
        (Kind.BUCKET_MISSING, "OSError|FileNotFoundError", r"AWS Error NO_SUCH_BUCKET"),
        (Kind.S3_ACCESS_DENIED, "(Amazon)?S3Exception|ClientError", r"Access ?Denied|Status Code: 403"),
        (Kind.S3_ACCESS_DENIED, "AccessDeniedException", r"(?i:s3)"),
        (Kind.S3_ACCESS_DENIED, "OSError|PermissionError", "AWS Error ACCESS_DENIED"),
        (Kind.THROTTLED, "(Amazon)?S3Exception|ClientError", r"Slow ?Down|reduce your request rate"),
        (Kind.THROTTLED, "OSError", "AWS Error SLOW_DOWN"),
        # of S3A, which EMR has from 7.10 on
        (Kind.THROTTLED, "AWSServiceThrottledException|AWSStatus500Exception|AWSServiceIOException", "(?i:s3|slow)"),
    )
)  # fmt: skip
# these only show that the JVM was lost, or that somebody wanted the program to end
SYMPTOMS = re.compile("Py4JNetworkError|ConnectionRefusedError|ConnectionResetError|KeyboardInterrupt")
SYMPTOMS_SAID = re.compile("SparkContext (was|has been) shut ?down|stopped SparkContext|Answer from Java side is empty")
