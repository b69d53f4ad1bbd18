"""Generates an example of each kind of failure, by diagnosing evidence of the form that EMR and Spark produce."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError, NoCredentialsError

from docs.tables import code, table
from emr_pipelines.aws.error_map import mapped_error
from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose
from emr_pipelines.backends.emr_serverless.causes import JobRunEvidence
from emr_pipelines.backends.emr_serverless.causes import diagnose as of_job_run
from emr_pipelines.diagnosis.evidence import ProbableCause, Reason
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.diagnosis.kinds import MEANINGS, Kind
from emr_pipelines.errors import JavaNotUsable
from emr_pipelines.runners.java import find_java
from emr_pipelines.spark_lines import LINES

FOLDER = "s3://my-bucket/default/logs/j-2AXXXXXXGAPLF/steps/s-3AXXXXXXQ1VPE"
JOB_RUN = "s3://my-bucket/default/logs/applications/00f1XXXXXXGAPLF/jobs/00f2XXXXXXQ1VPE/SPARK_DRIVER/"
BOOTSTRAP = "s3://my-bucket/default/logs/j-2AXXXXXXGAPLF/node/i-0abc/bootstrap-actions/1"
ABORTED = "org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 1.0 failed 4 times, "
LOST = (
    f"{ABORTED}most recent failure: Lost task 3.3 in stage 1.0 (TID 19) (ip-10-0-0-7 executor 2): ExecutorLostFailure "
)


def _log(name: str, text: str, folder: str = FOLDER) -> Log:
    return Log(f"{folder}/{name}.gz", tuple(text.strip("\n").split("\n")))


def _printed(last_line: str, frame: str = "rows = load(params.text)") -> ClusterEvidence:
    """A program in client mode that ended with a traceback."""
    begin = 'Traceback (most recent call last):\n  File "my_project/orders.py", line 21, in count'
    traceback = f"{begin}\n    {frame}\n{last_line}"
    return _failed(stdout=traceback)


def _in_the_jvm(said: str) -> ClusterEvidence:
    """The same, with an error that Spark's JVM raised."""
    begin = "py4j.protocol.Py4JJavaError: An error occurred while calling o71.collectToPython.\n: "
    return _printed(f"{begin}{said}", "rows = table.collect()")


def _captured(said: str) -> ClusterEvidence:
    """The same, with an error of Spark that pyspark raised."""
    return _printed(f"pyspark.errors.exceptions.captured.{said}", "rows = table.collect()")


def _failed(stdout: str = "", stderr: str = "") -> ClusterEvidence:
    logs = tuple(_log(name, text) for name, text in (("stderr", stderr), ("stdout", stdout)) if text)
    return ClusterEvidence(step_state="FAILED", failure_reason="Unknown Error.", driver=logs, log_uri=f"{FOLDER}/")


def _failed_job_run(details: str) -> JobRunEvidence:
    """A job run on EMR Serverless that did not begin, or was ended."""
    return JobRunEvidence(state="FAILED", details=details, log_uri=JOB_RUN)


def _ended(code: str, message: str, *details: Reason, **more: Any) -> ClusterEvidence:
    """A cluster that EMR ended."""
    return ClusterEvidence(
        step_state="CANCELLED", cluster_state="TERMINATED_WITH_ERRORS", cluster_change_code=code,
        cluster_change_message=message, cluster_error_details=details, log_uri=f"{FOLDER}/", **more,
    )  # fmt: skip


def _late(phase: str, minutes: float, **more: Any) -> ClusterEvidence:
    return ClusterEvidence(timed_out_phase=phase, timed_out_seconds=60 * minutes, log_uri=f"{FOLDER}/", **more)


S3 = "com.amazonaws.services.s3.model.AmazonS3Exception: {said} (Service: Amazon S3; Status Code: {code})"
SLOWER = "Please reduce your request rate."
POM = "https://repo1.maven.org/maven2/org/example/orders_2.12/1.0/orders_2.12-1.0.pom"
UNRESOLVED = (
    'Exception in thread "main" java.lang.RuntimeException: [unresolved dependency: org.example#orders_2.12;1.0'
)
VCPUS = "The number of vCPUs for instance type m5.xlarge exceeds the EC2 service quota for that type."
NO_BUCKET = "The specified bucket does not exist"
EVIDENCE: dict[Kind, tuple[ClusterEvidence | JobRunEvidence, ...]] = {
    Kind.USER_EXCEPTION: (_printed("KeyError: 'customer_id'"),),
    Kind.MODULE_MISSING: (_printed("ModuleNotFoundError: No module named 'polars'", "import polars"),),
    Kind.INPUT_MISSING: (
        _printed(
            "pyspark.errors.exceptions.captured.AnalysisException: [PATH_NOT_FOUND] Path does not exist: "
            "s3://my-bucket/orders/2026-11-22."
        ),
    ),
    Kind.SCHEME_UNKNOWN: (
        _in_the_jvm('org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"'),
    ),
    Kind.INPUT_CHANGED: (
        _printed(
            "emr_pipelines.errors.SourceChanged: s3://my-bucket/texts/app.log changed while it was read: it had 81,920"
            " bytes when it was listed and has 98,304 now. Retry when nothing writes to it.",
            "for block in read_split(split):",
        ),
    ),
    Kind.BUCKET_MISSING: (_in_the_jvm(S3.format(said=NO_BUCKET, code="404; Error Code: NoSuchBucket")),),
    Kind.S3_ACCESS_DENIED: (_in_the_jvm(S3.format(said="Access Denied", code="403; Error Code: AccessDenied")),),
    Kind.OUT_OF_MEMORY: (
        _in_the_jvm(
            f"{LOST}(executor 2 exited caused by one of the running tasks) Reason: Container killed by YARN for "
            "exceeding physical memory limits. 6.1 GB of 6 GB physical memory used."
        ),
    ),
    Kind.CAST_INVALID_INPUT: (
        _captured(
            "NumberFormatException: [CAST_INVALID_INPUT] The value 'n/a' of the type \"STRING\" cannot be cast to "
            '"INT" because it is malformed.'
        ),
    ),
    Kind.CAST_NOT_ALLOWED: (
        _captured(
            'AnalysisException: [DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION] Cannot resolve "CAST(day AS INT)" due to '
            'data type mismatch: cannot cast "DATE" to "INT".'
        ),
    ),
    Kind.DIVIDE_BY_ZERO: (_captured("ArithmeticException: [DIVIDE_BY_ZERO] Division by zero."),),
    Kind.ARITHMETIC_OVERFLOW: (_captured("ArithmeticException: [ARITHMETIC_OVERFLOW] integer overflow."),),
    Kind.INVALID_ARRAY_INDEX: (
        _captured(
            "ArrayIndexOutOfBoundsException: [INVALID_ARRAY_INDEX] The index 5 is out of bounds. The array has 2 "
            "elements."
        ),
    ),
    Kind.INVALID_DATETIME: (
        _captured("DateTimeException: [CANNOT_PARSE_TIMESTAMP] Text '26/11/2026' could not be parsed at index 0."),
    ),
    Kind.INVALID_TEXT: (
        _captured(
            "SparkRuntimeException: [MALFORMED_CHARACTER_CODING] Invalid value found when performing `decode` with "
            "UTF-8"
        ),
    ),
    Kind.SYNTAX_DISCONTINUED: (
        _captured(
            "ParseException: [SYNTAX_DISCONTINUED.BANG_EQUALS_NOT] Support of the clause or keyword: ! has been "
            "discontinued in this context."
        ),
    ),
    Kind.REMOVED_API: (
        _printed("AttributeError: 'Series' object has no attribute 'iteritems'", "pairs = column.iteritems()"),
    ),
    Kind.LIBRARY_TOO_OLD: (
        _printed(
            "pyspark.errors.exceptions.base.PySparkImportError: [UNSUPPORTED_PACKAGE_VERSION] Pandas >= 2.2.0 must be "
            "installed; however, your version is 1.5.3.",
            "table.toPandas()",
        ),
    ),
    Kind.JAR_VERSION: (
        _in_the_jvm("java.lang.NoSuchMethodError: 'scala.collection.mutable.WrappedArray scala.Predef$.wrapRefArray'"),
    ),
    Kind.SPARK_SUBMIT_USAGE: (_failed(stderr="Error: Unrecognized option: --executor-memroy"),),
    Kind.PACKAGE_MISSING: (_failed(stderr=f"{UNRESOLVED}: not found]"),),
    Kind.NETWORK: (
        _failed(stderr=f"\tHost repo1.maven.org not found. url={POM}\n{UNRESOLVED}: not found]"),
        _in_the_jvm(
            "com.amazonaws.SdkClientException: Unable to execute HTTP request: Connect to "
            "glue.eu-central-1.amazonaws.com:443 failed: connect timed out"
        ),
    ),
    Kind.NAME_RESOLUTION: (
        _in_the_jvm(
            "java.net.UnknownHostException: glue.eu-central-1.amazonaws.com: Temporary failure in name resolution"
        ),
    ),
    Kind.THROTTLED: (_in_the_jvm(S3.format(said=SLOWER, code="503; Error Code: SlowDown")),),
    Kind.CAPACITY: (
        _ended(
            "INTERNAL_ERROR", "",
            Reason("INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", "EC2 has no m5.xlarge in eu-central-1a."),
        ),
    ),
    Kind.QUOTA: (
        _ended("INTERNAL_ERROR", VCPUS),
        _ended("VALIDATION_ERROR", "The subnet is not large enough: available IP address count 3 less than 5"),
    ),
    Kind.SPOT_LOST: (
        _ended("INSTANCE_FAILURE", "All instances in the job flow are terminated", lost_spot_instances=("i-0abc",)),
    ),
    Kind.INSTANCE_LOST: (
        _ended("INSTANCE_FAILURE", "All instances in the job flow are terminated"),
        _in_the_jvm("java.net.UnknownHostException: ip-10-0-0-8.eu-central-1.compute.internal"),
    ),
    Kind.BOOTSTRAP: (
        _ended(
            "BOOTSTRAP_FAILURE", "",
            Reason(
                "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE", "A bootstrap action failed.",
                ({"bootstrap-action": "1"}, {"return-code": "7"}, {"amazon-s3-path": "s3://my-bucket/setup.sh"}),
            ),
            bootstrap=(_log("stderr", "ERROR: No matching distribution found for polras", BOOTSTRAP),),
        ),
    ),
    Kind.ROLE: (_failed_job_run("Could not assume the execution role arn:aws:iam::111122223333:role/jobs."),),
    Kind.VALIDATION: (
        _failed_job_run(
            "ApplicationMaxCapacityExceededException: Worker could not be allocated as the application has exceeded "
            "maximumCapacity settings: [cpu: 8 vCPU]"
        ),
        _ended(
            "VALIDATION_ERROR", "",
            Reason("VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED", "m7i.xlarge is not in eu-central-1c."),
        ),
    ),
    Kind.INTERNAL: (_ended("INTERNAL_ERROR", "The cluster could not be started"),),
    Kind.TIMED_OUT: (
        _late("provisioning", 60, cluster_state="STARTING"),
        _late("provisioning", 60, cluster_state="BOOTSTRAPPING"),
        _late("queueing", 1440, steps_before=12),
        _late("running", 120),
    ),
    Kind.CANCELLED: (ClusterEvidence(step_state="CANCELLED", log_uri=f"{FOLDER}/"), _ended("USER_REQUEST", "")),
    Kind.UNKNOWN: (_failed(),),
}  # fmt: skip


def parts() -> dict[str, Callable[[], str]]:
    said = {"java": no_java, "credentials": no_credentials, "expired": expired, "throttled": throttled}
    return {
        "kinds": kinds,
        **{f"kind {kind}": _shown(kind) for kind in Kind},
        **{f"what is said: {name}": _block(message) for name, message in said.items()},
    }


def causes(kind: Kind) -> list[ProbableCause]:
    """Diagnose the evidence for a kind. Raises ValueError when the diagnosis is another kind."""
    found = [
        of_job_run(evidence) if isinstance(evidence, JobRunEvidence) else diagnose(evidence)
        for evidence in EVIDENCE[kind]
    ]
    if others := [str(cause.kind) for cause in found if cause.kind is not kind]:
        raise ValueError(f"The evidence for {kind} is diagnosed as {', '.join(others)}.")
    return found


def kinds() -> str:
    rows = []
    for kind in Kind:
        found = causes(kind)
        begin = MEANINGS[kind].sentence.rstrip(":") if kind in MEANINGS else found[0].message
        rows.append((f"[{code(str(kind))}](#{str(kind).lower()})", begin, _again(found)))
    return table(("kind", "message begins with", "retried automatically"), rows)


def _shown(kind: Kind) -> Callable[[], str]:
    def made() -> str:
        blocks = [f"```text\n{cause}\n```" for cause in causes(kind)]
        return "\n\n".join([*blocks, f"Retried automatically: {_again(causes(kind))}."])

    return made


def _again(found: list[ProbableCause]) -> str:
    answers = dict.fromkeys(cause.retryable for cause in found)
    if len(answers) == 1:
        return "yes" if found[0].retryable else "no"
    retried = "; ".join(cause.message.rstrip(".") for cause in found if cause.retryable)
    return f"no, except: {retried}"


def _block(message: Callable[[], str]) -> Callable[[], str]:
    return lambda: f"```text\n{message()}\n```"


def no_java() -> str:
    with patch.dict(os.environ, {"JAVA_HOME": "/opt/no-such-java"}):
        try:
            find_java(print, LINES[-1])
        except JavaNotUsable as error:
            return str(error)
    raise ValueError("There is a Java in /opt/no-such-java, and it is taken.")


def no_credentials() -> str:
    return str(mapped_error(NoCredentialsError(), "s3.head_object", {"Bucket": "my-bucket"}))


def expired() -> str:
    said = {"Code": "ExpiredTokenException", "Message": "The security token included in the request is expired"}
    with patch.dict(os.environ, {"AWS_PROFILE": "my-team"}):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_DEFAULT_PROFILE"):  # they would win
            os.environ.pop(name, None)
        return str(mapped_error(ClientError({"Error": said}, "DescribeStep"), "emr.describe_step", {}))


def throttled() -> str:
    answer = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
    return str(mapped_error(ClientError(answer, "ListSteps"), "emr.list_steps", {"ClusterId": "j-2AXXXXXXGAPLF"}))
