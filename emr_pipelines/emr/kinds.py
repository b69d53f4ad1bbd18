"""The kinds of failure: what each means, and which codes and errors show it. Tables, and nothing that reads a log."""

from __future__ import annotations

import re
from typing import NamedTuple

from emr_pipelines.emr.quotas import FULL
from emr_pipelines.emr.states import Word


class Kind(Word):
    """What kind of thing went wrong."""

    USER_EXCEPTION = "USER_EXCEPTION"
    MODULE_MISSING = "MODULE_MISSING"
    INPUT_MISSING = "INPUT_MISSING"
    INPUT_CHANGED = "INPUT_CHANGED"
    SCHEME_UNKNOWN = "SCHEME_UNKNOWN"
    BUCKET_MISSING = "BUCKET_MISSING"
    S3_ACCESS_DENIED = "S3_ACCESS_DENIED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    SPARK_SUBMIT_USAGE = "SPARK_SUBMIT_USAGE"
    PACKAGE_MISSING = "PACKAGE_MISSING"
    NETWORK = "NETWORK"
    THROTTLED = "THROTTLED"
    CAPACITY = "CAPACITY"
    QUOTA = "QUOTA"
    SPOT_LOST = "SPOT_LOST"
    INSTANCE_LOST = "INSTANCE_LOST"
    BOOTSTRAP = "BOOTSTRAP"
    VALIDATION = "VALIDATION"
    INTERNAL = "INTERNAL"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


class Meaning(NamedTuple):
    """What is said of a kind: how its sentence begins, what to do, and whether a retry may succeed. It may where time
    or AWS mends what is wrong, and there alone, the hint begins with "Try again"."""

    sentence: str
    hint: str
    retryable: bool = False


MEANINGS = {
    Kind.USER_EXCEPTION: Meaning("The program raised", "It is the program's own error; the same again will not help."),
    Kind.MODULE_MISSING: Meaning(
        "The program needs a Python module that is not there:",
        "If it is a library, name its project in REQUIREMENTS of the program's module, and make sure that the package "
        "index's project of that name is the one you mean. If it is your own code, name its package in PACKAGES there. "
        "On this machine, install it.",
    ),
    Kind.INPUT_MISSING: Meaning(
        "The program's input is not there:", "Check the path, and that what should have written it has run."
    ),
    Kind.SCHEME_UNKNOWN: Meaning(
        "Spark has no file system for this kind of place:",
        "Spark on this machine reads and writes local paths: for s3://, run on EMR with EMR_PIPELINES_TARGET=emr; or "
        "keep assets in a folder here, by EMR_PIPELINES_STORAGE; or give the runner's spark_config a file system, with "
        "spark.jars.packages and spark.hadoop.fs.s3.impl.",
    ),
    Kind.INPUT_CHANGED: Meaning(
        "The program's input changed:",
        "Try again; if it goes on, let writers write elsewhere and move finished files into place, or begin their "
        "names with _ until then.",
        retryable=True,
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
    Kind.PACKAGE_MISSING: Meaning(
        "A package of spark.jars.packages is in no repository:",
        "Check its group, name and version, the Scala version at the end of its name, and spark.jars.repositories.",
    ),
    Kind.NETWORK: Meaning(
        "The network does not lead where the program has to go:",
        "Check the name of the host, and that the cluster reaches it: a private subnet needs a NAT gateway, or a VPC "
        "endpoint for each service of AWS; security groups and proxies may be in the way.",
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
    Kind.QUOTA: Meaning(
        "A quota is full, so the cluster could not be launched:",
        "Try again when other work has ended, or ask AWS for more.",
        retryable=True,
    ),
    Kind.SPOT_LOST: Meaning(
        "Spot instances were reclaimed:",
        "Try again; keep the primary and core nodes On-Demand, and Spot for task nodes.",
        retryable=True,
    ),
    Kind.INSTANCE_LOST: Meaning("The cluster lost an instance:", "Try again.", retryable=True),
    Kind.BOOTSTRAP: Meaning(
        "The cluster could not be set up:",
        "Mend the bootstrap action's script; its log says what went wrong. Let it repeat downloads that may fail.",
    ),
    Kind.VALIDATION: Meaning("EMR does not accept the cluster as described:", "Change the cluster's description."),
    Kind.INTERNAL: Meaning("EMR failed to run the cluster:", "Try again.", retryable=True),
}
HINTS_BY_CODE = {  # where one is better than its kind's
    "BOOTSTRAP_FAILURE_FILE_NOT_FOUND": "Check the paths of the bootstrap action's script, and of the files it reads.",
    "BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED": "Check the script's path, and that the instance profile may read it.",
    "BOOTSTRAP_FAILURE_INSUFFICIENT_DISK_SPACE": "Give the instances a larger root volume.",
    "BOOTSTRAP_FAILURE_HIVE_METASTORE_CONNECTION_ERROR": "Check the address, network and password of the metastore.",
    "VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED": "Take an instance type that the Availability Zone has.",
    "VALIDATION_ERROR_INVALID_SSH_KEY_NAME": "Name an EC2 key pair that there is, or none.",
    "VALIDATION_ERROR_SUBNET_NOT_FROM_ONE_VPC": "Name subnets of one VPC.",
    "VALIDATION_ERROR_SECURITY_GROUP_NOT_FROM_ONE_VPC": "Name security groups of the subnet's VPC.",
}

# of a bootstrap failure that no bootstrap action is to blame for
NOT_PROVISIONED = Meaning(
    "EMR could not install the cluster's applications:",
    "Try again; if it goes on, check the configurations and applications of the cluster, and the logs under node/.",
    retryable=True,
)
PROVISIONING_SAID = re.compile("application provisioning failed")  # there is no code for it
SCRIPT_RAN = re.compile("BOOTSTRAP_FAILURE(_.*NON_ZERO_CODE)?")  # a code after which a bootstrap action has a log

# codes of Status.ErrorDetails and Status.StateChangeReason by family; the first that matches
# Sources: EMR Management Guide, "Error codes with ErrorDetail information"; API Reference, ClusterStateChangeReason
KINDS_BY_CODE = (
    (re.compile("|".join([*sorted(FULL), ".*(QUOTA|LIMIT)_EXCEEDED"])), Kind.QUOTA),
    (re.compile(r".*(INSUFFICIENT|NO)_CAPACITY|INSTANCE_FLEET_TIMEOUT"), Kind.CAPACITY),
    (re.compile(r".*SPOT"), Kind.SPOT_LOST),
    (re.compile(r"BOOTSTRAP_FAILURE"), Kind.BOOTSTRAP),
    (re.compile(r"VALIDATION_ERROR"), Kind.VALIDATION),
    (re.compile(r"INSTANCE_FAILURE"), Kind.INSTANCE_LOST),
    (re.compile(r"INTERNAL_ERROR"), Kind.INTERNAL),
)
# the families in whose messages EMR names a quota (quotas.py) or a lack of capacity, for which it has no code
NAMES_NO_CODE = frozenset({Kind.VALIDATION, Kind.INTERNAL})
CAPACITY_SAID = re.compile("EC2 is out of capacity")

KILLED_SAID = r"(?i:exit(?:ed with)? ?(?:status|code)(?: is)?:?) *(?:137|-104|-103)\b"  # SIGKILL; YARN: over the limit
NO_WAY = (  # Java's words for a host that is not reached. A node that has gone is told by another node: that is no such
    r"^(?!.*(?:FetchFailed|Failed to connect to)).*"
    r"(?:UnknownHostException|NoRouteToHostException|(?i:connect(?:ion)? timed out)|Could not connect to meta ?store"
    r"|(?i:unable to execute http request.*(?:failed|refused|unknown host|timed? ?out))|Network is unreachable)"
)
NO_WAY_IN_PYTHON = (  # and those of Python, pip, uv, curl and the AWS CLI
    r"Name or service not known|(?i:temporary failure in name resolution)|getaddrinfo failed|Network is unreachable"
    r"|No route to host|(?i:connection timed out|connect timeout|could not resolve host|tcp connect error|dns error)"
    r"|Failed to establish a new connection|Could not connect to the endpoint URL"
)
NETWORK_SAID = re.compile(NO_WAY_IN_PYTHON)
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
        (Kind.SCHEME_UNKNOWN, "UnsupportedFileSystemException|IOException", r"No FileSystem for scheme"),
        (Kind.INPUT_CHANGED, "SourceChanged", ""),
        (Kind.BUCKET_MISSING, "(Amazon)?S3Exception|ClientError", "NoSuchBucket|bucket does not exist"),
        (Kind.BUCKET_MISSING, "NoSuchBucket(Exception)?|UnknownStoreException", ""),
        (Kind.BUCKET_MISSING, "OSError|FileNotFoundError", r"AWS Error NO_SUCH_BUCKET"),
        (Kind.S3_ACCESS_DENIED, "(Amazon)?S3Exception|ClientError", r"Access ?Denied|Status Code: 403"),
        (Kind.S3_ACCESS_DENIED, "AccessDeniedException", r"(?i:s3)"),
        (Kind.S3_ACCESS_DENIED, "OSError|PermissionError", "AWS Error ACCESS_DENIED"),
        (Kind.THROTTLED, "(Amazon)?S3Exception|ClientError", r"Slow ?Down|reduce your request rate"),
        (Kind.THROTTLED, "OSError", "AWS Error SLOW_DOWN"),
        # hosts that a name leads nowhere to, or that do not answer: package repositories, S3, Glue, STS, a metastore
        (Kind.NETWORK, "UnknownHostException|NoRouteToHostException|ConnectTimeoutException", ""),
        (Kind.NETWORK, r"(Sdk|Amazon)ClientException|.*(IO|Socket|Connect)\w*Exception", NO_WAY),
        (Kind.NETWORK, "SparkException|MetaException|HiveException|TTransportException|AnalysisException", NO_WAY),
        (Kind.NETWORK, "gaierror|EndpointConnectionError|ConnectTimeout(Error)?|NewConnectionError", ""),
        (Kind.NETWORK, r"(\w*Connection|MaxRetry|URL|OS|Timeout|Proxy)Error", NO_WAY_IN_PYTHON),
        # of S3A, which EMR has from 7.10 on
        (Kind.THROTTLED, "AWSServiceThrottledException|AWSStatus500Exception|AWSServiceIOException", "(?i:s3|slow)"),
    )
)  # fmt: skip
# these only show that the JVM was lost, or that somebody wanted the program to end
SYMPTOMS = re.compile("Py4JNetworkError|ConnectionRefusedError|ConnectionResetError|KeyboardInterrupt")
SYMPTOMS_SAID = re.compile("SparkContext (was|has been) shut ?down|stopped SparkContext|Answer from Java side is empty")
