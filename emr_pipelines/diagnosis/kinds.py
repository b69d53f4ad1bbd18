"""The kinds of failure, and what each means to a person. known_errors.py says which errors show them."""

from __future__ import annotations

from typing import NamedTuple

from emr_pipelines.aws.quotas import MORE_QUOTA
from emr_pipelines.enums import TextEnum


class Kind(TextEnum):
    """The kind of a failure."""

    USER_EXCEPTION = "USER_EXCEPTION"
    MODULE_MISSING = "MODULE_MISSING"
    INPUT_MISSING = "INPUT_MISSING"
    INPUT_CHANGED = "INPUT_CHANGED"
    SCHEME_UNKNOWN = "SCHEME_UNKNOWN"
    BUCKET_MISSING = "BUCKET_MISSING"
    S3_ACCESS_DENIED = "S3_ACCESS_DENIED"
    ROLE = "ROLE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CAST_INVALID_INPUT = "CAST_INVALID_INPUT"
    CAST_NOT_ALLOWED = "CAST_NOT_ALLOWED"
    DIVIDE_BY_ZERO = "DIVIDE_BY_ZERO"
    ARITHMETIC_OVERFLOW = "ARITHMETIC_OVERFLOW"
    INVALID_ARRAY_INDEX = "INVALID_ARRAY_INDEX"
    INVALID_DATETIME = "INVALID_DATETIME"
    INVALID_TEXT = "INVALID_TEXT"
    SYNTAX_DISCONTINUED = "SYNTAX_DISCONTINUED"
    REMOVED_API = "REMOVED_API"
    LIBRARY_TOO_OLD = "LIBRARY_TOO_OLD"
    JAR_VERSION = "JAR_VERSION"
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
    """The beginning of the message about a kind, the hint, and whether a retry may succeed.

    A retry may succeed where time or AWS fixes the problem. Only then the hint begins with "Try again".
    """

    sentence: str
    hint: str
    retryable: bool = False


# Spark 4 has ANSI mode on by default; Spark 3.5 gives NULL or a wrong number instead
ANSI = (
    "This is an error in ANSI mode, Spark 4's default. To have Spark 3.5's rules everywhere, set "
    "spark.sql.ansi.enabled to false in the runner's spark_config. See docs/spark4.md."
)

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
        "Allow it in the policy of the cluster's EC2 instance profile (on EMR Serverless: of the execution role; on "
        "this machine: of your credentials), and in the bucket policy and the policy of the KMS key, if there are any. "
        "If a policy requires encryption headers on "
        "writes, set EMR_PIPELINES_ENCRYPTION, and EMR_PIPELINES_KMS_KEY for your own key.",
    ),
    Kind.ROLE: Meaning(
        "The execution role cannot be used:",
        "Have the role's trust policy allow emr-serverless.amazonaws.com to assume it, and your own policy allow "
        "iam:PassRole on it.",
    ),
    Kind.OUT_OF_MEMORY: Meaning(
        "The program ran out of memory:",
        "Collect and cache less, use more partitions, raise spark.driver.memory, spark.executor.memory or "
        "spark.executor.memoryOverhead, or use larger instances.",
    ),
    Kind.CAST_INVALID_INPUT: Meaning(
        "A value cannot be converted to a column's type:",
        f"Use try_cast(value AS type), which gives NULL instead, or correct the data. {ANSI}",
    ),
    Kind.CAST_NOT_ALLOWED: Meaning(
        "Spark does not convert between these types:",
        f"Use a function that says what is meant, such as unix_date or timestamp_seconds. {ANSI}",
    ),
    Kind.DIVIDE_BY_ZERO: Meaning(
        "The program divided by zero:",
        f"Use try_divide(a, b), or a % nullif(b, 0), which give NULL instead. {ANSI}",
    ),
    Kind.ARITHMETIC_OVERFLOW: Meaning(
        "A number is too large for its type:",
        "Cast to a larger type first, such as BIGINT or DECIMAL(38, 0), or use try_add, try_subtract, try_multiply, "
        f"try_sum or try_avg, which give NULL instead. {ANSI}",
    ),
    Kind.INVALID_ARRAY_INDEX: Meaning(
        "An array has no element at this index:",
        f"Use get(array, index), which counts from 0, or try_element_at, which counts from 1; both give NULL. {ANSI}",
    ),
    Kind.INVALID_DATETIME: Meaning(
        "A date or time is invalid:",
        "Use try_to_timestamp(text, format), or try_cast(text AS DATE), which give NULL instead, or correct the data "
        f"or the format. For formats of Spark 2, set spark.sql.legacy.timeParserPolicy to LEGACY. {ANSI}",
    ),
    Kind.INVALID_TEXT: Meaning(
        "A text cannot be encoded, decoded or parsed:",
        "Spark 4 refuses characters that a charset does not have, charsets other than US-ASCII, ISO-8859-1, UTF-8, "
        "UTF-16 and UTF-32, and invalid URLs. Correct the data, use try_parse_url, or set "
        "spark.sql.legacy.codingErrorAction or spark.sql.legacy.javaCharsets to true. See docs/spark4.md.",
    ),
    Kind.SYNTAX_DISCONTINUED: Meaning(
        "Spark 4 does not read this SQL any more:",
        "Write NOT in place of !, as in a NOT IN (1, 2), or set spark.sql.legacy.bangEqualsNot to true. "
        "See docs/spark4.md.",
    ),
    Kind.REMOVED_API: Meaning(
        "The program calls what this version of Spark or pandas does not have:",
        "Spark 4 and pandas 2 removed names that they had deprecated; docs/spark4.md lists them with what to call "
        "instead.",
    ),
    Kind.LIBRARY_TOO_OLD: Meaning(
        "A library is too old for this Spark:",
        "Require a newer version in REQUIREMENTS of the program's module. For programs on this machine, upgrade it.",
    ),
    Kind.JAR_VERSION: Meaning(
        "A jar was built for another version of Scala, Spark or Java:",
        "Spark 4 has Scala 2.13 and Java 17, Spark 3.5 on EMR 7 has Scala 2.12. Use the jar whose name ends with that "
        "Scala version (orders_2.13), built for this line of Spark.",
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
