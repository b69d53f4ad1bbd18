"""The probable cause of each kind of failure, from logs as Spark, YARN and EMR write them; and which cause wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emr_pipelines.aws.quotas import QUOTAS
from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose
from emr_pipelines.backends.emr.codes import HINTS_BY_CODE, NOT_PROVISIONED
from emr_pipelines.diagnosis.evidence import ProbableCause, Reason
from emr_pipelines.diagnosis.exception_parser import Log, RemoteException
from emr_pipelines.diagnosis.kinds import MEANINGS, Kind

FOLDER = "s3://b/logs/j-1/steps/s-1"
CONTAINER = "s3://b/logs/j-1/containers/application_1_0001/container_1_0001_01_000001"
NOISE = (
    "26/11/22 15:09:54 WARN NativeCodeLoader: Unable to load native-hadoop library for your platform\n"
    "26/11/22 15:09:55 INFO SparkContext: Running Spark version 3.5.6-amzn-0\n"
    "26/11/22 15:10:02 WARN TaskSetManager: Lost task 0.0 in stage 0.0 (TID 0) (ip-10-0-0-7 executor 1): "
    "ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: Container from a bad node: "
    "container_1_0001_01_000002 on host: ip-10-0-0-7. Exit status: 137. Diagnostics: Container killed on request.\n"
    "26/11/22 15:10:09 INFO TaskSetManager: Finished task 0.1 in stage 0.0 (TID 4) in 7004 ms on ip-10-0-0-8 (1/1)\n"
    "26/11/22 15:10:11 ERROR TransportClient: Failed to send RPC RPC 5180 to /10.0.0.8:41100\n"
    "java.nio.channels.ClosedChannelException\n"
    "26/11/22 15:10:11 ERROR Utils: java.lang.OutOfMemoryError: only words here\n"
    + "26/11/22 15:10:12 ERROR TaskSchedulerImpl: Lost executor 3 on 10.0.0.8: Command exited with code 137\n" * 1000
    + "26/11/22 15:10:13 ERROR ShutdownHookManager: Exception while deleting Spark temp dir\n"
)
USER_ERROR = """\
Traceback (most recent call last):
  File "/mnt/tmp/spark-1/main.py", line 8, in <module>
    total(rows)
  File "/mnt/tmp/spark-1/main.py", line 4, in total
    raise ValueError("no such luck")
ValueError: no such luck
"""
CHAINED = """\
Traceback (most recent call last):
  File "main.py", line 4, in load
    open("/nowhere")
FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "main.py", line 8, in <module>
    load("s3://b/in")
emr_pipelines.errors.SourceNotFound: The source 's3://b/in' matches no file.
"""
IN_WORKER = """\
Traceback (most recent call last):
  File "f.py", line 5, in f
    raise KeyError("missing 6")
KeyError: 'missing 6'"""
JAVA_FRAMES = """\
\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)
\tat java.base/java.lang.Thread.run(Unknown Source)
"""


def py4j(said: str, then: str = "") -> str:
    """Return the traceback of a driver whose call into the JVM failed."""
    return f"""\
Traceback (most recent call last):
  File "main.py", line 7, in <module>
    spark.sparkContext.parallelize(range(10)).map(f).collect()
  File "/usr/lib/spark/python/lib/py4j-src.zip/py4j/protocol.py", line 326, in get_return_value
py4j.protocol.Py4JJavaError: An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: {said}
{JAVA_FRAMES}{then}
"""


def captured(name: str, said: str) -> str:
    return f"""\
Traceback (most recent call last):
  File "main.py", line 3, in <module>
    spark.read.parquet("s3://b/in").count()
  File "/usr/lib/spark/python/lib/pyspark.zip/pyspark/errors/exceptions/captured.py", line 185, in deco
pyspark.errors.exceptions.captured.{name}: {said}
"""


ABORTED = (
    "org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 0.0 failed 4 times, most "
    "recent failure: Lost task 1.3 in stage 0.0 (TID 7) (ip-10-0-0-7.ec2.internal executor 2): "
)
LOST_BY = "ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: "
WORKER = py4j(
    f"{ABORTED}org.apache.spark.api.python.PythonException: {IN_WORKER}\n",
    f"\nDriver stacktrace:\n{JAVA_FRAMES}Caused by: org.apache.spark.api.python.PythonException: {IN_WORKER}\n"
    f"\n{JAVA_FRAMES}\t... 1 more\n",
)
UDF = captured(
    "PythonException",
    f"\n  An exception was thrown from the Python worker. Please see the stack trace below.\n{IN_WORKER}\n",
)
S3_DENIED = (
    "com.amazon.ws.emr.hadoop.fs.shaded.com.amazonaws.services.s3.model.AmazonS3Exception: Access Denied (Service: "
    "Amazon S3; Status Code: 403; Error Code: AccessDenied; Request ID: 1; Proxy: null), S3 Extended Request ID: 2"
)
NO_BUCKET = S3_DENIED.replace("Access Denied", "The specified bucket does not exist").replace(
    "Status Code: 403; Error Code: AccessDenied", "Status Code: 404; Error Code: NoSuchBucket"
)
SLOW_DOWN = S3_DENIED.replace("Access Denied", "Please reduce your request rate.").replace(
    "Status Code: 403; Error Code: AccessDenied", "Status Code: 503; Error Code: SlowDown"
)
CLIENT_OF_CLUSTER_MODE = """\
26/11/22 15:10:02 INFO Client: Application report for application_1_0001 (state: RUNNING)
26/11/22 15:10:09 INFO Client: Application report for application_1_0001 (state: FINISHED)
26/11/22 15:10:09 ERROR Client: Application diagnostics message: User application exited with status 1
Exception in thread "main" org.apache.spark.SparkException: Application application_1_0001 finished with failed status
\tat org.apache.spark.deploy.yarn.Client.run(Client.scala:1309)
\tat org.apache.spark.deploy.SparkSubmit.main(SparkSubmit.scala)
"""


def log(name: str, text: str, folder: str = FOLDER) -> Log:
    return Log(f"{folder}/{name}.gz", tuple(text.removesuffix("\n").split("\n")))


def failed(stdout: str = "", stderr: str = NOISE, **more: Any) -> ClusterEvidence:
    """Return the evidence of a step that failed in client mode."""
    defaults: dict[str, Any] = {
        "step_state": "FAILED",
        "failure_reason": "Unknown Error.",
        "failure_log": f"{FOLDER}/stderr.gz",
        "driver": (log("stderr", stderr), log("stdout", stdout)),
        "log_uri": f"{FOLDER}/",
    }
    return ClusterEvidence(**{**defaults, **more})


def ended(code: str, message: str = "", *details: Reason, **more: Any) -> ClusterEvidence:
    """Return the evidence of a cluster that EMR terminated."""
    defaults: dict[str, Any] = {"step_state": "CANCELLED", "cluster_state": "TERMINATED_WITH_ERRORS"}
    return ClusterEvidence(
        **{**defaults, **more},
        cluster_change_code=code,
        cluster_change_message=message,
        cluster_error_details=details,
    )


@pytest.mark.parametrize(
    ("stdout", "kind", "said"),
    [
        (USER_ERROR, "USER_EXCEPTION", "The program raised ValueError: no such luck."),
        (CHAINED, "USER_EXCEPTION", "The program raised SourceNotFound: The source 's3://b/in' matches no file."),
        (WORKER, "USER_EXCEPTION", "The program raised KeyError: 'missing 6'."),
        (UDF, "USER_EXCEPTION", "The program raised KeyError: 'missing 6'."),
        (
            '  File "main.py", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax\n',
            "USER_EXCEPTION",
            "SyntaxError",
        ),
        (
            captured("AnalysisException", "[UNRESOLVED_COLUMN] No column `a`.;\n'Project"),
            "USER_EXCEPTION",
            "No column `a`.",
        ),
        (
            py4j(
                "java.lang.RuntimeException: outer", "Caused by: java.lang.IllegalStateException: inner\n\t... 9 more"
            ),
            "USER_EXCEPTION",
            "raised IllegalStateException: inner.",
        ),
        (USER_ERROR.replace("ValueError: no", "ModuleNotFoundError: No"), "MODULE_MISSING", "ModuleNotFoundError: No"),
        (WORKER.replace("KeyError: ", "ModuleNotFoundError: "), "MODULE_MISSING", "module is missing: ModuleNotFound"),
        (CHAINED.replace("FileNotFoundError", "ImportError"), "MODULE_MISSING", "ImportError: [Errno 2]"),
        (
            captured("AnalysisException", "[PATH_NOT_FOUND] Path does not exist: s3://b/in."),
            "INPUT_MISSING",
            "s3://b/in.",
        ),
        (
            py4j("org.apache.hadoop.mapred.InvalidInputException: Input path does not exist: s3://b/in"),
            "INPUT_MISSING",
            "does not exist: InvalidInputException: Input path does not exist: s3://b/in.",
        ),
        (
            py4j('org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"'),
            "SCHEME_UNKNOWN",
            "for this URI scheme: UnsupportedFileSystemException: No FileSystem for scheme",
        ),
        (
            USER_ERROR.replace("ValueError: no", "emr_pipelines.errors.SourceChanged: no"),
            "INPUT_CHANGED",
            "The program's input changed: SourceChanged: no",
        ),
        (py4j(NO_BUCKET), "BUCKET_MISSING", "The bucket does not exist: AmazonS3Exception: The specified bucket"),
        (
            py4j("java.io.IOException: x", f"Caused by: {S3_DENIED}"),
            "S3_ACCESS_DENIED",
            "AmazonS3Exception: Access Denied",
        ),
        (
            USER_ERROR.replace(
                "ValueError: no", "OSError: When opening 'b/k': AWS Error ACCESS_DENIED during GetObject: no"
            ),
            "S3_ACCESS_DENIED",
            "AWS Error ACCESS_DENIED during GetObject",
        ),
        (
            py4j("java.nio.file.AccessDeniedException: s3a://b/k: getFileStatus on s3a://b/k: 403"),
            "S3_ACCESS_DENIED",
            "AccessDeniedException: s3a://b/k",
        ),
        (py4j(SLOW_DOWN), "THROTTLED", "Please reduce your request rate."),
        (py4j("java.lang.OutOfMemoryError: Java heap space"), "OUT_OF_MEMORY", "OutOfMemoryError: Java heap space."),
        (
            USER_ERROR.replace("ValueError: no such luck", "MemoryError"),
            "OUT_OF_MEMORY",
            "ran out of memory: MemoryError.",
        ),
        (
            USER_ERROR.replace("ValueError", "numpy.core._exceptions._ArrayMemoryError"),
            "OUT_OF_MEMORY",
            "_ArrayMemoryError: no such luck",
        ),
        (
            py4j(
                f"{ABORTED}Total size of serialized results (34 MiB) is bigger than spark.driver.maxResultSize (1 MiB)"
            ),
            "OUT_OF_MEMORY",
            "spark.driver.maxResultSize",
        ),
        (
            py4j(
                f"{ABORTED}{LOST_BY}Container killed by YARN for exceeding physical memory limits. 6 GB of 5 GB used."
            ),
            "OUT_OF_MEMORY",
            "exceeding physical memory limits",
        ),
        (
            py4j(f"{ABORTED}{LOST_BY}Container from a bad node: container_1 on host: ip-10-0-0-7. Exit status: 137."),
            "OUT_OF_MEMORY",
            "Exit status: 137",
        ),
        (py4j(f"{ABORTED}{LOST_BY}Command exited with code 137"), "OUT_OF_MEMORY", "Command exited with code 137."),
        (
            py4j(f"{ABORTED}{LOST_BY}Container marked as failed: c. Exit status: -100. Diagnostics: on a *lost* node."),
            "INSTANCE_LOST",
            "The cluster lost an instance: SparkException",
        ),
        ("python3.11: can't open file '/mnt/main.py': [Errno 2] No such file", "SPARK_SUBMIT_USAGE", "can't open file"),
    ],
)
def test_what_a_python_driver_prints(stdout: str, kind: str, said: str) -> None:
    cause = diagnose(failed("so far so good\n" + stdout))
    assert cause.kind == kind
    assert said in cause.message
    assert cause.log_uri == f"{FOLDER}/stdout.gz"
    assert cause.retryable is (kind in ("THROTTLED", "INSTANCE_LOST", "INPUT_CHANGED"))
    assert "\tat " not in cause.traceback


@pytest.mark.parametrize(
    ("stderr", "kind", "said"),
    [
        (
            "Error: Unrecognized option: --nonsense\n\nUsage: spark-submit [options]\n",
            "SPARK_SUBMIT_USAGE",
            "--nonsense",
        ),
        ("Error: Missing application resource.\n", "SPARK_SUBMIT_USAGE", "program: Missing application resource."),
        ("Error: Failed to load class No.Such.\n", "SPARK_SUBMIT_USAGE", "No.Such"),
        (
            (
                'Exception in thread "main" java.lang.IllegalArgumentException: Executor memory must be positive'
                "\n\tat org.apache.spark.deploy.SparkSubmitArguments.error(SparkSubmitArguments.scala:650)\n"
            ),
            "SPARK_SUBMIT_USAGE",
            "program: IllegalArgumentException: Executor memory must be positive.",
        ),
        (
            (
                "Exception in thread \"main\" java.io.FileNotFoundException: No such file or directory 's3://b/main.py'\n"
                "\tat org.apache.spark.deploy.SparkSubmit.prepareSubmitEnvironment(SparkSubmit.scala:409)\n"
            ),
            "SPARK_SUBMIT_USAGE",
            "s3://b/main.py",
        ),
        (f'{NOISE}Exception in thread "main" {S3_DENIED}\n{JAVA_FRAMES}', "S3_ACCESS_DENIED", "Access Denied"),
        (
            f'{NOISE}Exception in thread "main" java.lang.Error: bad\n{JAVA_FRAMES}',
            "USER_EXCEPTION",
            "raised Error: bad.",
        ),
        (f"{NOISE}# java.lang.OutOfMemoryError: Java heap space\n", "OUT_OF_MEMORY", "Java heap space"),
        (
            (
                f"{NOISE}\t diagnostics: Application application_1_0001 failed 2 times due to AM Container for "
                f"appattempt_1_0001_000002 exited with  exitCode: -104\n{CLIENT_OF_CLUSTER_MODE}"
            ),
            "OUT_OF_MEMORY",
            "exitCode: -104",
        ),
        (
            f"{NOISE}26/11/22 15:10:14 INFO DAGScheduler: Job 0 failed: {ABORTED}{LOST_BY}Exit status: 137\n",
            "OUT_OF_MEMORY",
            "137",
        ),
        (
            f"{NOISE}26/11/22 15:10:14 ERROR A: {ABORTED}org.apache.spark.api.python.PythonException: {IN_WORKER}\n\n",
            "USER_EXCEPTION",
            "KeyError",
        ),
    ],
)
def test_what_the_jvm_logs_when_the_program_says_nothing(stderr: str, kind: str, said: str) -> None:
    cause = diagnose(failed("so far so good\n", stderr))
    assert (cause.kind, cause.retryable) == (kind, False)
    assert said in cause.message
    assert cause.log_uri == f"{FOLDER}/stderr.gz"


SPOT_PRICE = Reason("INTERNAL_ERROR_SPOT_PRICE_INCREASE_PRIMARY", "The Spot price rose.")
NO_CAPACITY = Reason("INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", "No m5.xlarge in us-east-1a.")
NON_ZERO = Reason(
    "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE",
    "A bootstrap action failed.",
    ({"bootstrap-action": "2"}, {"return-code": "7"}, {"amazon-s3-path": "s3://b/two.sh"}),
)


@pytest.mark.parametrize(
    ("evidence", "kind", "said"),
    [
        (ended("INTERNAL_ERROR", "", NO_CAPACITY), "CAPACITY", "m5.xlarge in us-east-1a (INTERNAL_ERROR_EC2_INSUFF"),
        (ended("VALIDATION_ERROR", "", NO_CAPACITY), "CAPACITY", "enough capacity for the cluster"),
        (
            ended("INTERNAL_ERROR", "None.", Reason("INTERNAL_ERROR_SPOT_NO_CAPACITY_PRIMARY", "")),
            "CAPACITY",
            "None",
        ),
        (ended("INSTANCE_FLEET_TIMEOUT", "Too late."), "CAPACITY", "Too late (INSTANCE_FLEET_TIMEOUT)."),
        (ended("INSTANCE_FAILURE", "", SPOT_PRICE), "SPOT_LOST", "The Spot price rose"),
        (ended("INSTANCE_FAILURE", "All gone", lost_spot_instances=("i-1", "i-2")), "SPOT_LOST", "i-1, i-2; All gone"),
        (ended("INSTANCE_FAILURE", "All gone"), "INSTANCE_LOST", "lost an instance: All gone (INSTANCE_FAILURE)."),
        (ended("INTERNAL_ERROR"), "INTERNAL", "EMR failed to run the cluster: no reason given (INTERNAL_ERROR)."),
        (
            ended("BOOTSTRAP_FAILURE", "", NON_ZERO),
            "BOOTSTRAP",
            "bootstrap action 2 s3://b/two.sh ended with exit code 7",
        ),
        (ended("BOOTSTRAP_FAILURE", "Setup failed."), "BOOTSTRAP", "set up: Setup failed (BOOTSTRAP_FAILURE)."),
        (
            ended("VALIDATION_ERROR", "Not here."),
            "VALIDATION",
            "description of the cluster: Not here (VALIDATION_ERROR).",
        ),
        (ended("VALIDATION_ERROR", "", Reason("NEW_CODE", "?")), "VALIDATION", "(VALIDATION_ERROR)"),
        (ended("USER_REQUEST", "Terminated by user request"), "CANCELLED", "terminated from outside this run"),
        (ended("USER_REQUEST", step_state="RUNNING"), "CANCELLED", "before the program finished"),
        (ended("STEP_FAILURE"), "CANCELLED", "because another step failed"),
        (ClusterEvidence(step_state="CANCELLED"), "CANCELLED", "The step was cancelled from outside this run."),
        (
            ClusterEvidence(timed_out_phase="provisioning", timed_out_seconds=1800),
            "TIMED_OUT",
            "not ready after 30 minutes.",
        ),
        (ClusterEvidence(timed_out_phase="queueing", timed_out_seconds=90), "TIMED_OUT", "not begun after 90 seconds."),
        (
            ClusterEvidence(timed_out_phase="running", timed_out_seconds=90_000),
            "TIMED_OUT",
            "not done after 1,500 minutes.",
        ),
        (ClusterEvidence(step_state="COMPLETED"), "UNKNOWN", "COMPLETED, but the program left no result."),
        (
            ClusterEvidence(step_state="FAILED", failure_reason="Unknown Error"),
            "UNKNOWN",
            "neither EMR nor the logs say why.",
        ),
        (
            ClusterEvidence(step_state="FAILED", failure_reason="Jar missing."),
            "UNKNOWN",
            "failed. EMR says: Jar missing.",
        ),
        (ClusterEvidence(), "UNKNOWN", "neither EMR nor the logs say why."),
    ],
)
def test_what_emr_says_by_its_codes(evidence: ClusterEvidence, kind: str, said: str) -> None:
    cause = diagnose(evidence)
    assert cause.kind == kind
    assert said in cause.message
    assert cause.retryable is cause.hint.startswith("Try again")
    retried = {"CAPACITY", "SPOT_LOST", "INSTANCE_LOST", "INTERNAL", "QUOTA"}
    assert cause.retryable is (kind in retried or evidence.timed_out_phase == "provisioning")


VCPUS = (
    "The request to create the EMR cluster or add EC2 instances to it failed. The number of vCPUs for instance type "
    "m5.xlarge exceeds the EC2 service quota for that type."
)
SUBNET = "The subnet is not large enough: the default subnet in your VPC is not large enough."


@pytest.mark.parametrize(
    ("evidence", "code", "hint"),
    [
        (ended("INTERNAL_ERROR", VCPUS), "L-1216C47A", "higher quota from AWS"),
        (ended("VALIDATION_ERROR", "The EBS volume limit was exceeded"), "L-7A658B76", "(gp3) volumes"),
        (ended("VALIDATION_ERROR", SUBNET), "", "larger subnets"),
        (ended("VALIDATION_ERROR", "", Reason("VcpuLimitExceeded", "")), "L-1216C47A", "Running On-Demand"),
        (ended("INTERNAL_ERROR", "", Reason("MaxSpotInstanceCountExceeded", "")), "L-34B43A08", "Spot"),
        (ended("VALIDATION_ERROR", "", Reason("VALIDATION_ERROR_VOLUME_LIMIT_EXCEEDED", "")), "", "higher quota"),
        (ended("VALIDATION_ERROR", "", Reason("InsufficientFreeAddressesInSubnet", "")), "", "larger subnets"),
    ],
)
def test_a_full_quota_is_no_mistake_in_the_description(evidence: ClusterEvidence, code: str, hint: str) -> None:
    cause = diagnose(evidence)
    assert cause.kind is Kind.QUOTA
    assert cause.retryable
    assert hint in cause.hint
    assert (cause.quota.code if cause.quota else "") == code
    assert "description" not in str(cause)


def test_a_lack_of_capacity_for_which_emr_gives_no_code() -> None:
    said = "EC2 is out of capacity for r5.24xlarge in availability zone us-east-1a."
    assert diagnose(ended("INTERNAL_ERROR", said)).kind is Kind.CAPACITY


PROVISIONING = "On the master instance (i-1), application provisioning failed"


@pytest.mark.parametrize(
    ("evidence", "retryable", "hint"),
    [
        (ended("BOOTSTRAP_FAILURE", "", NON_ZERO), False, "Fix the bootstrap action's script"),
        (
            ended("BOOTSTRAP_FAILURE", "On the master instance (i-1), bootstrap action 1 failed"),
            False,
            "Fix the bootstrap",
        ),
        (ended("BOOTSTRAP_FAILURE", PROVISIONING), True, "check the cluster's configurations"),
        (
            ended("BOOTSTRAP_FAILURE", "It failed.", has_bootstrap_actions=False),
            True,
            "check the cluster's configurations",
        ),
        *(
            (ended("BOOTSTRAP_FAILURE", "", Reason(f"BOOTSTRAP_FAILURE_{code}", "It failed.")), False, hint)
            for code, hint in (
                ("FILE_NOT_FOUND_PRIMARY", "Check the paths of"),
                ("BA_DOWNLOAD_FAILED_PRIMARY", "the instance profile may read it"),
                ("INSUFFICIENT_DISK_SPACE_WORKER", "larger root volume"),
                ("HIVE_METASTORE_CONNECTION_ERROR_PRIMARY", "metastore's address and password"),
            )
        ),
    ],
)
def test_what_the_user_has_to_fix_is_not_retried(evidence: ClusterEvidence, retryable: bool, hint: str) -> None:
    cause = diagnose(evidence)
    assert cause.kind is Kind.BOOTSTRAP
    assert cause.retryable is retryable
    assert hint in cause.hint


def test_retries_agree_with_hints_in_the_whole_table() -> None:
    """A failure is retried if and only if its hint begins with "Try again"; else a person must act."""
    for meaning in (*MEANINGS.values(), NOT_PROVISIONED):
        assert meaning.retryable is meaning.hint.startswith("Try again"), meaning.hint
    assert not any(hint.startswith("Try again") for hint in HINTS_BY_CODE.values())  # of kinds that are not retried
    for code in HINTS_BY_CODE:
        assert not diagnose(ended("X", "", Reason(code, ""))).retryable
    assert all("Try again" in quota.hint for quota in QUOTAS)


def late(phase: str, **more: Any) -> ClusterEvidence:
    return ClusterEvidence(timed_out_phase=phase, timed_out_seconds=3600, **more)


@pytest.mark.parametrize(
    ("evidence", "retryable", "said", "hint"),
    [
        (late("provisioning", cluster_state="STARTING"), True, "it was still STARTING", "more instance types"),
        (late("provisioning", cluster_state="BOOTSTRAPPING"), False, "a bootstrap action may hang", "Fix the boot"),
        (
            late("provisioning", cluster_state="BOOTSTRAPPING", has_bootstrap_actions=False),
            True,
            "EMR was still installing applications",
            "check the cluster's configurations",
        ),
        (late("queueing", steps_before=12), False, "12 unfinished steps were ahead of it.", "step_concurrency"),
        (late("queueing", steps_before=1), False, "1 unfinished step was ahead of it.", "queueing_minutes"),
        (late("queueing", steps_before=0), True, "no step was ahead of it.", "the cluster's page"),
        (late("running"), False, "not done after 60 minutes.", "running_minutes"),
    ],
)
def test_a_deadline_names_what_was_waited_for(evidence: ClusterEvidence, retryable: bool, said: str, hint: str) -> None:
    cause = diagnose(evidence)
    assert cause.kind is Kind.TIMED_OUT
    assert said in cause.message
    assert hint in cause.hint
    assert cause.retryable is retryable is cause.hint.startswith("Try again")


def test_a_bootstrap_action_that_hangs_or_fails_without_a_network() -> None:
    folder = "s3://b/logs/j-1/node/i-1/bootstrap-actions/1"
    logs = (log("stderr", "curl: (6) Could not resolve host: example.org\n", folder),)
    for evidence in (
        late("provisioning", cluster_state="BOOTSTRAPPING", bootstrap=logs),
        ended("BOOTSTRAP_FAILURE", "", NON_ZERO, bootstrap=logs),
    ):
        cause = diagnose(evidence)
        assert "NAT gateway" in cause.hint
        assert cause.last_lines == ("curl: (6) Could not resolve host: example.org",)
        assert cause.log_uri == f"{folder}/stderr.gz"


# what spark-submit 3.5.9 prints with --packages com.example:missing:1.0, without a network and with a repository
IVY = """com.example#missing added as a dependency
You probably access the destination server through a proxy server that is not well configured.
:: problems summary ::
:::: WARNINGS
{warning}
\t\tmodule not found: com.example#missing;1.0

\t==== central: tried

\t  https://repo1.maven.org/maven2/com/example/missing/1.0/missing-1.0.pom

\t\t::          UNRESOLVED DEPENDENCIES         ::
{error}
:: USE VERBOSE OR DEBUG MESSAGE LEVEL FOR MORE DETAILS
Exception in thread "main" java.lang.RuntimeException: [unresolved dependency: com.example#missing;1.0: not found]
\tat org.apache.spark.deploy.SparkSubmitUtils$.resolveMavenCoordinates(SparkSubmit.scala:1613)
\tat org.apache.spark.deploy.SparkSubmit.prepareSubmitEnvironment(SparkSubmit.scala:339)
"""
NO_HOST = "\tHost repo1.maven.org not found. url=https://repo1.maven.org/maven2/com/example/missing/1.0/missing-1.0.pom"
NO_SERVER = (
    "\tServer access error at url https://repo1.maven.org/maven2/com/example/missing/1.0/missing-1.0.pom "
    "(java.net.ConnectException: Connection timed out)"
)


@pytest.mark.parametrize(
    ("stderr", "kind", "said", "hint"),
    [
        (
            IVY.format(warning="", error=""),
            "PACKAGE_MISSING",
            "No repository has a package of spark.jars.packages: [unresolved",
            "Scala version",
        ),
        (IVY.format(warning=NO_HOST, error=""), "NETWORK", "Host repo1.maven.org not found", "NAT gateway"),
        (IVY.format(warning="", error=NO_SERVER), "NETWORK", "Connection timed out", "NAT gateway"),
    ],
)
def test_a_package_that_is_missing_and_a_repository_that_is_not_reached(
    stderr: str, kind: str, said: str, hint: str
) -> None:
    cause = diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stderr", stderr),)))
    assert cause.kind == kind
    assert said in cause.message
    assert hint in cause.hint
    assert not cause.retryable


def java(error: str) -> str:
    return f"py4j.protocol.Py4JJavaError: An error occurred while calling o1.sql.\n: {error}"


TO = "Unable to execute HTTP request: Connect to"
UNREACHED = {
    "S3": java(f"com.amazonaws.SdkClientException: {TO} b.s3.eu-central-1.amazonaws.com:443 failed: connect timed out"),
    "Glue": java(f"com.amazonaws.SdkClientException: {TO} glue.us-east-1.amazonaws.com:443 failed: connect timed out"),
    "KMS": java(
        "software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: Connect to "
        "kms.us-east-1.amazonaws.com:443 [kms.us-east-1.amazonaws.com/10.0.0.1] failed: Connect timed out"
    ),
    "STS": 'botocore.exceptions.ConnectTimeoutError: Connect timeout on endpoint URL: "https://sts.amazonaws.com/"',
    "S3 in Python": 'botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "https://b.s3"',
    "metastore": java(
        "org.apache.hadoop.hive.metastore.api.MetaException: Could not connect to meta store using any of the URIs "
        "provided. Most recent failure: java.net.ConnectException: Connection timed out"
    ),
    "host": java("java.net.UnknownHostException: db.example.org"),
    "index": "urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>",
    "requests": (
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='pypi.org', port=443): Max retries exceeded "
        "with url: / (Caused by NewConnectionError(': Failed to establish a new connection: [Errno 110] Timed out'))"
    ),
    "task": java(
        "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most "
        "recent failure: Lost task 0.3 in stage 1.0 (TID 3) (ip-10-0-0-7 executor 2): java.net.UnknownHostException: x"
    ),
}


@pytest.mark.parametrize("what", UNREACHED)
def test_what_is_not_reached_from_a_private_subnet(what: str) -> None:
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{UNREACHED[what]}\n'
    cause = diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),)))
    assert cause.kind is Kind.NETWORK, cause.message
    assert "VPC endpoint" in cause.hint


GONE = {
    "by address": java("java.net.UnknownHostException: ip-10-0-0-8.eu-central-1.compute.internal"),
    "by address, short": java("java.net.UnknownHostException: ip-10-0-0-8: Name or service not known"),
    "for a moment": java("java.net.UnknownHostException: ip-10-0-0-8: Temporary failure in name resolution"),
    "by resource": java("java.net.UnknownHostException: i-0123456789abcdef0.us-west-2.compute.internal"),
    "HDFS": java(
        "java.io.IOException: Failed on local exception: Invalid host name: local host is: (unknown); destination host "
        'is: "ip-10-0-0-8.ec2.internal":8020; java.net.UnknownHostException'
    ),
    "no route": java(
        "java.net.NoRouteToHostException: No Route to Host from  ip-10-0-0-7/10.0.0.7 to ip-10-0-0-8:8020 failed on "
        "socket timeout exception: java.net.NoRouteToHostException: No route to host"
    ),
    "a timeout of HDFS": java(
        "org.apache.hadoop.net.ConnectTimeoutException: Call From ip-10-0-0-7/10.0.0.7 to ip-10-0-0-8:8020 "
        "failed on socket timeout exception: 20000 millis timeout while waiting for channel to be ready for connect"
    ),
    "task": java(
        "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most "
        "recent failure: Lost task 0.3 in stage 1.0 (TID 3) (ip-10-0-0-7 executor 2): java.net.UnknownHostException: "
        "ip-10-0-0-8.ec2.internal"
    ),
    "shuffle": java(
        "org.apache.spark.SparkException: Job aborted due to stage failure: ShuffleMapStage 3 (count at a.py:1) has "
        "failed the maximum allowable number of times: 4. Most recent failure reason: org.apache.spark.shuffle."
        "FetchFailedException: Failed to connect to ip-10-0-0-8.ec2.internal/10.0.0.8:7337"
    ),
    "Python": (
        "requests.exceptions.ConnectionError: HTTPConnectionPool(host='ip-10-0-0-8', port=8088): Max retries "
        "exceeded with url: / (Caused by NameResolutionError(\"Failed to resolve 'ip-10-0-0-8' ([Errno -2] "
        'Name or service not known)"))'
    ),
    "shuffle, and its cause": java(
        "java.io.IOException: Failed to connect to ip-10-0-0-8/10.0.0.8:7337\nCaused by: io.netty.channel."
        "AbstractChannel$AnnotatedConnectException: Connection timed out: ip-10-0-0-8/10.0.0.8:7337"
    ),
}


@pytest.mark.parametrize("what", GONE)
def test_a_node_that_its_neighbours_cannot_reach_is_lost(what: str) -> None:
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{GONE[what]}\n'
    lost = ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),))
    assert (diagnose(lost).kind, diagnose(lost).retryable) == (Kind.INSTANCE_LOST, True), diagnose(lost).message
    assert diagnose(replace(lost, lost_spot_instances=("i-1",))).kind is Kind.SPOT_LOST


@pytest.mark.parametrize(
    "error",
    [
        java("java.net.UnknownHostException: b.s3.eu-central-1.amazonaws.com: Temporary failure in name resolution"),
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
        "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
    ],
)
def test_a_name_that_dns_does_not_answer_for_is_tried_again(error: str) -> None:
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{error}\n'
    cause = diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),)))
    assert (cause.kind, cause.retryable) == (Kind.NAME_RESOLUTION, True)


@pytest.mark.parametrize(
    "error",
    [
        # a database on an instance of one's own, behind a security group
        java("java.net.ConnectException: Connection timed out: ip-10-1-2-3.ec2.internal/10.1.2.3:5432"),
        java("java.net.UnknownHostException: db.example.internal"),
        java("java.net.UnknownHostException: ip-10-0-0.example.org"),
    ],
)
def test_a_host_that_is_no_node_is_a_matter_of_the_network(error: str) -> None:
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{error}\n'
    cause = diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),)))
    assert (cause.kind, cause.retryable) == (Kind.NETWORK, False)


S3A = "org.apache.hadoop.fs.s3a"
BUSY = {
    "v1 and 503": java(f"{S3A}.AWSServiceThrottledException: PUT on k: Please reduce your request rate. (Service: S3)"),
    "500": java(f"{S3A}.AWSStatus500Exception: getFileStatus on s3a://b/k: We encountered an internal error."),
    "wrapped": java(f"{S3A}.AWSServiceIOException: PUT on s3a://b/k: (Service: S3, Status Code: 503, Request ID: 1)"),
    "by code": java(f"{S3A}.AWSServiceIOException: PUT on s3a://b/k: Please reduce your request rate.:SlowDown"),
    "EMRFS": java("com.amazonaws.services.s3.model.AmazonS3Exception: Internal (Service: S3; Status Code: 500; E: I)"),
    "pyarrow": "OSError: When reading 'k' in bucket 'b': AWS Error SERVICE_UNAVAILABLE during GetObject operation: no",
}


@pytest.mark.parametrize("what", BUSY)
def test_what_s3_may_do_better_later(what: str) -> None:
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{BUSY[what]}\n'
    cause = diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),)))
    assert (cause.kind, cause.retryable) == (Kind.THROTTLED, True)


def test_not_every_answer_of_s3_is_a_temporary_one() -> None:
    wrong = java(
        f"{S3A}.AWSServiceIOException: PUT on s3a://b/503: software.amazon.awssdk.services.s3.model.S3Exception: "
        "The metadata is too large (Service: S3, Status Code: 400, Request ID: 503A):MetadataTooLarge"
    )
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{wrong}\n'
    cause = diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),)))
    assert (cause.kind, cause.retryable) == (Kind.USER_EXCEPTION, False)


@pytest.mark.parametrize(
    "error",
    [
        "TimeoutError: the lock was not free",
        "OSError: [Errno 28] No space left on device",
        java(
            "org.apache.spark.SparkException: Job aborted due to stage failure: FetchFailed(BlockManagerId(1, ip-10, "
            "7337, None), message= java.io.IOException: Failed to connect to ip-10: Connection timed out"
        ),
    ],
)
def test_what_is_no_matter_of_the_network(error: str) -> None:
    stdout = f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    x()\n{error}\n'
    assert diagnose(ClusterEvidence(step_state="FAILED", driver=(log("stdout", stdout),))).kind is Kind.USER_EXCEPTION


def test_messages_of_emr_decide_nothing() -> None:
    said = "VALIDATION_ERROR: insufficient capacity, Spot reclaimed, bootstrap action failed"
    assert diagnose(ended("INSTANCE_FAILURE", said)).kind is Kind.INSTANCE_LOST
    assert diagnose(ClusterEvidence(step_state="FAILED", cluster_change_message=said)).kind is Kind.UNKNOWN


def test_every_kind_is_explained_or_explains_itself() -> None:
    assert set(Kind) - set(MEANINGS) == {Kind.TIMED_OUT, Kind.CANCELLED, Kind.UNKNOWN}


REMOTE = RemoteException(
    "ValueError", "ValueError: no such luck\n", ('  File "main.py", line 4, in total\n    total()\n',)
)
STOPPED = RemoteException("Py4JNetworkError", "py4j.protocol.Py4JNetworkError: Answer from Java side is empty\n")
BAD_WORDS = (
    "OutOfMemoryError: Java heap space\nAmazonS3Exception: Access Denied\nError: Missing application resource.\n"
)


@pytest.mark.parametrize(
    ("evidence", "kind"),
    [
        # a traceback in stdout, and what the JVM logs besides
        (failed(USER_ERROR + "bye\n", NOISE + "# java.lang.OutOfMemoryError: Java heap space\n"), "USER_EXCEPTION"),
        (failed(USER_ERROR, driver=(log("stdout", USER_ERROR), log("stderr", NOISE))), "USER_EXCEPTION"),
        # a program's output is no evidence
        (failed(BAD_WORDS + USER_ERROR), "USER_EXCEPTION"),
        (failed(USER_ERROR.replace("no such luck\n", "no\n" + BAD_WORDS)), "USER_EXCEPTION"),
        (failed(BAD_WORDS, driver=(log("stdout", BAD_WORDS),)), "UNKNOWN"),
        # a survived error: the program went on, and then the JVM ended
        (failed(USER_ERROR + "going on\n" * 100, "# java.lang.OutOfMemoryError: Java heap space\n"), "OUT_OF_MEMORY"),
        (failed(USER_ERROR + "going on\n" * 100), "USER_EXCEPTION"),  # no better evidence
        # raised while another one was handled
        (
            failed(
                CHAINED.replace("FileNotFoundError", "ImportError").replace(
                    "The above exception was the direct cause of the following exception:",
                    "During handling of the above exception, another exception occurred:",
                )
            ),
            "USER_EXCEPTION",
        ),
        # the exception from Pipes, and the other evidence
        (failed(py4j(S3_DENIED), exception=REMOTE), "USER_EXCEPTION"),
        (ended("INSTANCE_FAILURE", exception=REMOTE), "USER_EXCEPTION"),
        (failed(exception=REMOTE, timed_out_phase="running"), "USER_EXCEPTION"),
        # consequences of a lost JVM or cluster
        (ended("INSTANCE_FAILURE", exception=STOPPED), "INSTANCE_LOST"),
        (failed(exception=STOPPED, stderr="# java.lang.OutOfMemoryError: Java heap space\n"), "OUT_OF_MEMORY"),
        (
            failed(
                py4j("java.lang.IllegalStateException: SparkContext was shut down"), "# java.lang.OutOfMemoryError: x\n"
            ),
            "OUT_OF_MEMORY",
        ),
        (failed(exception=STOPPED, timed_out_phase="running"), "TIMED_OUT"),
        (failed(exception=STOPPED), "USER_EXCEPTION"),
        # the primary was lost: earlier logs are outdated
        (ended("INSTANCE_FAILURE", driver=(log("stdout", USER_ERROR),)), "INSTANCE_LOST"),
        (ended("INSTANCE_FAILURE", driver=(log("stdout", USER_ERROR),), step_state="FAILED"), "INSTANCE_LOST"),
        # the cluster was terminated because the step had failed
        (failed(USER_ERROR, cluster_state="TERMINATED", cluster_change_code="USER_REQUEST"), "USER_EXCEPTION"),
        (failed(USER_ERROR, cluster_state="TERMINATED", cluster_change_code="ALL_STEPS_COMPLETED"), "USER_EXCEPTION"),
        # the log of a cancelled step
        (failed(USER_ERROR, step_state="CANCELLED"), "CANCELLED"),
        (failed(USER_ERROR, timed_out_phase="running"), "TIMED_OUT"),
        (ended("INTERNAL_ERROR", "", NO_CAPACITY, timed_out_phase="provisioning"), "CAPACITY"),
        # a lost executor's node was Spot
        (failed(py4j(f"{ABORTED}{LOST_BY}Exit status: -100."), lost_spot_instances=("i-1",)), "SPOT_LOST"),
        # EMR's excerpt of a log, without the log
        (
            ClusterEvidence(step_state="FAILED", failure_message=f'Exception in thread "main" {S3_DENIED}'),
            "S3_ACCESS_DENIED",
        ),
        # its controller log, and output that says nothing
        (
            failed(
                "1\n", driver=(log("controller", "INFO waitProcessCompletion ended with exit code 137 : hadoop jar"),)
            ),
            "OUT_OF_MEMORY",
        ),
    ],
)
def test_which_evidence_decides(evidence: ClusterEvidence, kind: str) -> None:
    assert diagnose(evidence).kind == kind


def test_in_cluster_mode_the_container_has_the_traceback() -> None:
    driver = (
        log("stderr", CLIENT_OF_CLUSTER_MODE),
        log("stdout", USER_ERROR, CONTAINER),
        log("stderr", NOISE, CONTAINER),
    )
    message = CLIENT_OF_CLUSTER_MODE.splitlines()[3]
    cause = diagnose(failed(driver=driver, failure_message=message))
    assert (cause.kind, cause.log_uri) == (Kind.USER_EXCEPTION, f"{CONTAINER}/stdout.gz")
    assert diagnose(failed(driver=driver[:1], failure_message=message)).kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    ("stdout", "traceback"),
    [
        (USER_ERROR, USER_ERROR),
        (CHAINED, CHAINED),
        (WORKER, IN_WORKER),
        (UDF, IN_WORKER),
        (py4j("java.lang.Error: x"), py4j("java.lang.Error: x").replace(JAVA_FRAMES, "")),
        (
            USER_ERROR.replace("no such luck\n", "two\n\nlines\n26/11/22 15:10:13 INFO A: b\n"),
            USER_ERROR.replace("no such luck\n", "two\n\nlines"),
        ),
        ("\n".join(f"    {line}" for line in USER_ERROR.splitlines()), USER_ERROR),  # an indented traceback
    ],
)
def test_a_traceback_is_shown_as_it_is_without_java_frames(stdout: str, traceback: str) -> None:
    assert diagnose(failed(stdout)).traceback == traceback.rstrip()


def test_an_exception_by_message_with_its_cause() -> None:
    cause = RemoteException("ModuleNotFoundError", "No module named 'x'", ('  File "a.py", line 1, in <module>',))
    found = diagnose(ClusterEvidence(exception=RemoteException("RuntimeError", "cannot", (), cause), log_uri="s3://b/"))
    assert (found.kind, found.log_uri) == (Kind.MODULE_MISSING, "s3://b/")
    assert found.traceback.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in <module>',
        "ModuleNotFoundError: No module named 'x'",
    ]
    assert found.traceback.endswith("Traceback (most recent call last):\nRuntimeError: cannot")
    strange = diagnose(ClusterEvidence(exception=RemoteException("", "what? no", ())))
    assert strange.message == "The program raised what? no."
    worker = RemoteException("Py4JJavaError", WORKER[WORKER.index("py4j.protocol.Py4JJavaError") :])
    assert diagnose(ClusterEvidence(exception=worker)).traceback == IN_WORKER


def test_the_log_of_a_bootstrap_action_says_which_one_failed() -> None:
    folder = "s3://b/logs/j-1/node/i-1/bootstrap-actions/2"
    logs = (
        log("controller", "INFO waitProcessCompletion ended with exit code 7 : s3://b/two.sh", folder),
        log("stderr", "pip: no such package\n", folder),
    )
    assert str(diagnose(ended("BOOTSTRAP_FAILURE", "Failed.", bootstrap=logs))) == (
        "The cluster could not be set up: bootstrap action 2 ended with exit code 7 (BOOTSTRAP_FAILURE).\n"
        "Fix the bootstrap action's script; its log says what went wrong. Have it retry downloads that may fail.\n"
        "\n"
        "pip: no such package\n"
        "\n"
        f"Logs: {folder}/stderr.gz"
    )


def test_what_a_person_reads_of_a_programs_error() -> None:
    assert str(diagnose(failed(USER_ERROR))) == (
        "The program raised ValueError: no such luck.\n"
        "Retrying will not help: the error comes from your program.\n"
        f"\n{USER_ERROR.rstrip()}\n"
        f"\nLogs: {FOLDER}/stdout.gz"
    )


def test_what_a_person_reads_when_nothing_is_known() -> None:
    output = "\n".join(map(str, range(30))) + "\n\n"
    controller = log("controller", "INFO waitProcessCompletion ended with exit code 3 : hadoop jar command-runner.jar")
    cause = diagnose(failed(driver=(controller, log("stdout", output))))
    assert str(cause) == (
        "The program ended with exit code 3, and its logs show no exception.\n"
        "The last lines of its output follow.\n"
        "\n" + "\n".join(map(str, range(10, 30))) + f"\n\nLogs: {FOLDER}/stdout.gz"
    )
    nothing = diagnose(failed(driver=(), failure_log="", log_uri=""))
    assert str(nothing) == (
        "The step failed, and neither EMR nor the logs say why.\nNo driver log was available; one may still come."
    )


def test_a_message_is_one_line_of_bounded_length() -> None:
    cause = diagnose(failed(USER_ERROR.replace("ValueError: no such luck", "ValueError: " + "long " * 1000)))
    assert len(cause.message) < 600
    assert cause.message.endswith("…")
    assert "\n" not in cause.message


def test_no_log_is_too_strange_to_be_read() -> None:
    for text in (
        "",
        "\n",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\n  File",
        "\x00\n: :\n",
    ):
        assert isinstance(diagnose(failed(text, text)), ProbableCause)
