"""Which errors show which kind of failure, by class and message. Codes of a service are in its backend."""

from __future__ import annotations

import re

from emr_pipelines.diagnosis.kinds import Kind

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
NO_WAY = (  # Java's messages for an unreachable host; not for a node that another node cannot reach
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
# What Spark 4.0 dropped from PySpark and its pandas API, and pandas 2 from pandas.
# Source: "Upgrading PySpark" in Spark's documentation, 3.5 to 4.0.
REMOVED_FROM_FRAMES = (
    "append|iteritems|mad|to_koalas|to_pandas_on_spark|to_spark_io|get_dtype_counts|is_monotonic|is_type_compatible"
    "|asi8|week|weekofyear"
)
# by an error's class (without its package) and message, in Python or Java; the first match counts
KINDS_BY_ERROR = tuple(
    (kind, re.compile(error), re.compile(message))
    for kind, error, message in (
        (Kind.LIBRARY_TOO_OLD, r"(PySpark)?ImportError", r"UNSUPPORTED_PACKAGE_VERSION|installed; however, your"),
        (Kind.REMOVED_API, "ImportError", r"cannot import name '\w+' from 'pyspark|'(Int|UInt|Float)64Index' from"),
        (Kind.REMOVED_API, r"(PySpark)?AttributeError", rf"'(\w*Index|DataFrame|Series)'.* '({REMOVED_FROM_FRAMES})'"),
        (Kind.REMOVED_API, r"(PySpark)?AttributeError", rf"ATTRIBUTE_NOT_SUPPORTED.*`({REMOVED_FROM_FRAMES})`"),
        (Kind.MODULE_MISSING, "ModuleNotFoundError|(PySpark)?ImportError", ""),
        # Spark's own conditions; sources: "Error Conditions" and "Upgrading from Spark SQL 3.5 to 4.0"
        (Kind.CAST_INVALID_INPUT, r"\w+", r"^\[(CAST_INVALID_INPUT|CAST_OVERFLOW|NUMERIC_VALUE_OUT_OF_RANGE)\b"),
        (Kind.CAST_NOT_ALLOWED, r"\w+", r"^\[DATATYPE_MISMATCH\.CAST_WITH_\w+_SUGGESTION\]"),
        (Kind.DIVIDE_BY_ZERO, r"\w+", r"^\[(DIVIDE|REMAINDER|INTERVAL_DIVIDED)_BY_ZERO\b"),
        (Kind.ARITHMETIC_OVERFLOW, r"\w+", r"^\[(BINARY_|INTERVAL_)?ARITHMETIC_OVERFLOW\b"),
        (Kind.INVALID_ARRAY_INDEX, r"\w+", r"^\[INVALID_ARRAY_INDEX"),
        (
            Kind.INVALID_DATETIME,
            r"\w+",
            (
                r"^\[(CANNOT_PARSE_TIMESTAMP|DATETIME_FIELD_OUT_OF_BOUNDS|ILLEGAL_DAY_OF_WEEK|INVALID_TIMEZONE"
                r"|INCONSISTENT_BEHAVIOR_CROSS_VERSION\.(PARSE_DATETIME|DATETIME))"
            ),
        ),
        (
            Kind.INVALID_TEXT,
            r"\w+",
            r"^\[(MALFORMED_CHARACTER_CODING|INVALID_PARAMETER_VALUE\.CHARSET|INVALID_URL)\b",
        ),
        (Kind.SYNTAX_DISCONTINUED, r"\w+", r"^\[SYNTAX_DISCONTINUED\b"),
        (
            Kind.JAR_VERSION,
            "(NoSuchMethod|NoSuchField|NoClassDefFound|AbstractMethod|IncompatibleClassChange|IllegalAccess|BootstrapMethod)Error",
            r"\bscala[./]|org[./]apache[./]spark[./]|javax[./]servlet[./]",
        ),
        (Kind.JAR_VERSION, "ClassNotFoundException", r"^(scala|javax\.servlet)\."),
        (Kind.JAR_VERSION, "UnsupportedClassVersionError", ""),
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
