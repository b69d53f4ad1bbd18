"""Tables of the kinds of failure: what each means, and which errors show it. Codes of a service are in its backend."""

from __future__ import annotations

import re
from typing import NamedTuple

from emr_pipelines.aws.quotas import MORE_QUOTA
from emr_pipelines.enums import TextEnum


class Kind(TextEnum):
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
    NAME_RESOLUTION = "NAME_RESOLUTION"
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
    """How the sentence about a kind begins, what to do, and whether a retry may succeed.

    A retry may succeed where time or AWS fixes the problem. Only then the hint begins with "Try again".
    """

    sentence: str
    hint: str
    retryable: bool = False


MEANINGS = {
    Kind.USER_EXCEPTION: Meaning("The program raised", "Retrying will not help: the error comes from your program."),
    Kind.MODULE_MISSING: Meaning(
        "A Python module is missing:",
        "If it is a library, add its project to REQUIREMENTS in the program's module, and make sure that the project "
        "of that name in the package index is the one you mean. If it is your own code, add its package to PACKAGES "
        "there. For programs on this machine, install it.",
    ),
    Kind.INPUT_MISSING: Meaning(
        "The program's input does not exist:", "Check the path, and whether the job that writes it has run."
    ),
    Kind.SCHEME_UNKNOWN: Meaning(
        "Spark has no file system for this URI scheme:",
        "Spark on this machine reads and writes local paths. For s3://, run on EMR (EMR_PIPELINES_TARGET=emr), store "
        "assets in a local folder (EMR_PIPELINES_STORAGE), or add a file system to the runner's spark_config "
        "(spark.jars.packages and spark.hadoop.fs.s3.impl).",
    ),
    Kind.INPUT_CHANGED: Meaning(
        "The program's input changed:",
        "Try again; if it persists, have writers write elsewhere and move finished files into place, or begin the "
        "names of unfinished files with an underscore (_).",
        retryable=True,
    ),
    Kind.BUCKET_MISSING: Meaning("The bucket does not exist:", "Check the bucket's name, or create it."),
    Kind.S3_ACCESS_DENIED: Meaning(
        "S3 denied the program access:",
        "Allow it in the policy of the cluster's EC2 instance profile (on this machine: of your credentials), and in "
        "the bucket policy and the policy of the KMS key, if there are any. If a policy requires encryption headers on "
        "writes, set EMR_PIPELINES_ENCRYPTION, and EMR_PIPELINES_KMS_KEY for your own key.",
    ),
    Kind.OUT_OF_MEMORY: Meaning(
        "The program ran out of memory:",
        "Collect and cache less, use more partitions, raise spark.driver.memory, spark.executor.memory or "
        "spark.executor.memoryOverhead, or use larger instances.",
    ),
    Kind.SPARK_SUBMIT_USAGE: Meaning(
        "spark-submit could not start the program:", "Check the program's file, its arguments and its Spark settings."
    ),
    Kind.PACKAGE_MISSING: Meaning(
        "No repository has a package of spark.jars.packages:",
        "Check its group, name and version, the Scala version at the end of its name, and spark.jars.repositories.",
    ),
    Kind.NETWORK: Meaning(
        "The program could not reach a host:",
        "Check the host's name and whether the cluster can reach it. A private subnet needs a NAT gateway, or a VPC "
        "endpoint for each AWS service. Security groups or a proxy may block the connection.",
    ),
    Kind.NAME_RESOLUTION: Meaning(
        "The DNS server did not answer for a host:",
        "Try again; if it persists, check the VPC's DNS settings, and whether the program looks up too many names.",
        retryable=True,
    ),
    Kind.THROTTLED: Meaning(
        "S3 throttled the program, or failed temporarily:",
        "Try again; if it persists, write fewer and larger files, or spread them over several prefixes.",
        retryable=True,
    ),
    Kind.CAPACITY: Meaning(
        "EC2 did not have enough capacity for the cluster:",
        "Try again, or allow more instance types, more subnets, or On-Demand instead of Spot.",
        retryable=True,
    ),
    Kind.QUOTA: Meaning("A quota is full, so the cluster could not be launched:", MORE_QUOTA, retryable=True),
    Kind.SPOT_LOST: Meaning(
        "EC2 reclaimed Spot instances:",
        "Try again; keep the primary and core nodes On-Demand, and use Spot for task nodes only.",
        retryable=True,
    ),
    Kind.INSTANCE_LOST: Meaning(
        "The cluster lost an instance:",
        "Try again; if it persists, check whether nodes run out of disk or memory, and whether the VPC has DNS "
        "hostnames enabled.",
        retryable=True,
    ),
    Kind.BOOTSTRAP: Meaning(
        "The cluster could not be set up:",
        "Fix the bootstrap action's script; its log says what went wrong. Have it retry downloads that may fail.",
    ),
    Kind.VALIDATION: Meaning(
        "EMR rejected the description of the cluster:", "Correct the `cluster` setting of the runner."
    ),
    Kind.INTERNAL: Meaning(
        "EMR failed to run the cluster:", "Try again; if it persists, contact AWS Support.", retryable=True
    ),
}

KILLED_SAID = r"(?i:exit(?:ed with)? ?(?:status|code)(?: is)?:?) *(?:137|-104|-103)\b"  # SIGKILL; YARN: over the limit
# A node's private DNS name, by IP address or by resource, short or with its domain. Programs take such names from Spark
# and Hadoop; an unknown one, or one without a route, is a node that has gone.
NODE = r"(?:ip(?:-\d{1,3}){4}\b|i-[0-9a-f]{17}\b|[\w-]+\.(?:ec2|[\w-]+\.compute)\.internal\b)"
CLUSTER_PORTS = "(?:7337|8020|9866)"  # of the shuffle service, the NameNode and a DataNode
NODE_GONE = (
    rf"UnknownHostException: {NODE}|destination host is: \"{NODE}|(?i:no route to host)(?:: | from .* to +){NODE}"
    rf"|(?i:failed to connect to|timed out:|refused:|remote=|call from .* to) ?{NODE}[\w./-]*:{CLUSTER_PORTS}\b"
    rf"|FetchFailed\(BlockManagerId\([^,]*, {NODE}, {CLUSTER_PORTS}|Failed to resolve '{NODE}'"
)
NO_WAY = (  # Java's words for a host that cannot be reached; not for a node that another node cannot reach
    r"^(?!.*(?:FetchFailed|Failed to connect to)).*"
    r"(?:UnknownHostException|NoRouteToHostException|(?i:connect(?:ion)? timed out)|Could not connect to meta ?store"
    r"|(?i:unable to execute http request.*(?:failed|refused|unknown host|timed? ?out))|Network is unreachable)"
)
NO_ANSWER_OF_DNS = r"(?i:temporary failure in name resolution)|\bEAI_AGAIN\b"
NO_WAY_IN_PYTHON = (  # the same of Python, pip, uv, curl and the AWS CLI
    rf"Name or service not known|{NO_ANSWER_OF_DNS}|getaddrinfo failed|Network is unreachable"
    r"|No route to host|(?i:connection timed out|connect timeout|could not resolve host|tcp connect error|dns error)"
    r"|Failed to establish a new connection|Could not connect to the endpoint URL"
)
NETWORK_SAID = re.compile(NO_WAY_IN_PYTHON)
# what an error's class (without its package) and message show, whether Python or Java raised it; the first match counts
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
        (Kind.THROTTLED, "(Amazon)?S3Exception", r"Status Code: 50[03]\b"),
        (Kind.THROTTLED, "OSError", "AWS Error (SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE)"),
        # S3A, the default from EMR 7.10 on; it wraps any answer of S3 that has no class of its own in the last one
        (Kind.THROTTLED, "AWSServiceThrottledException|AWSStatus500Exception", ""),
        (Kind.THROTTLED, "AWSServiceIOException", r"Status Code: 50[03]\b|Slow ?Down|Throttl"),
        (Kind.INSTANCE_LOST, "UnknownHostException", rf"^{NODE}"),
        (Kind.INSTANCE_LOST, r"SparkException|.*(IO|Socket|Connect|Host|FetchFailed)\w*Exception", NODE_GONE),
        (Kind.INSTANCE_LOST, r"(\w*Connection|MaxRetry|NameResolution)Error", NODE_GONE),
        (Kind.NAME_RESOLUTION, r"gaierror|\w*(Error|Exception)", NO_ANSWER_OF_DNS),
        # unknown hosts, and hosts that do not answer: package repositories, S3, Glue, STS, a metastore
        (Kind.NETWORK, "UnknownHostException|NoRouteToHostException|ConnectTimeoutException", ""),
        (Kind.NETWORK, r"(Sdk|Amazon)ClientException|.*(IO|Socket|Connect)\w*Exception", NO_WAY),
        (Kind.NETWORK, "SparkException|MetaException|HiveException|TTransportException|AnalysisException", NO_WAY),
        (Kind.NETWORK, "gaierror|EndpointConnectionError|ConnectTimeout(Error)?|NewConnectionError", ""),
        (Kind.NETWORK, r"(\w*Connection|MaxRetry|URL|OS|Timeout|Proxy)Error", NO_WAY_IN_PYTHON),
    )
)  # fmt: skip
# these only show that the JVM was lost, or that somebody stopped the program
SYMPTOMS = re.compile("Py4JNetworkError|ConnectionRefusedError|ConnectionResetError|KeyboardInterrupt")
SYMPTOMS_SAID = re.compile("SparkContext (was|has been) shut ?down|stopped SparkContext|Answer from Java side is empty")
