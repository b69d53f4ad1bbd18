"""Errors of programs, jars and libraries that were written for another line of Spark, and errors that only look so."""

from __future__ import annotations

import pytest

from emr_pipelines.backends.emr.causes import ClusterEvidence, diagnose
from emr_pipelines.diagnosis.exception_parser import Log, RemoteException
from emr_pipelines.diagnosis.kinds import Kind

TRACEBACK = 'Traceback (most recent call last):\n  File "job.py", line 3, in main\n    run()\n'
PY4J = "py4j.protocol.Py4JJavaError: An error occurred while calling o71.load.\n: "
FRAME = "\tat org.apache.spark.sql.DataFrameReader.load(DataFrameReader.scala:1)\n"
NO_CLASS = "java.lang.NoClassDefFoundError: {0}\n" + FRAME + "Caused by: java.lang.ClassNotFoundException: {0}"
JARS = (
    "java.lang.NoSuchMethodError: 'scala.collection.mutable.WrappedArray scala.Predef$.wrapRefArray(Object[])'",
    "java.lang.NoSuchMethodError: scala.Predef$.refArrayOps([Ljava/lang/Object;)[Ljava/lang/Object;",
    NO_CLASS.format("scala/Serializable"),
    NO_CLASS.format("scala.Function1$class"),
    f"java.util.ServiceConfigurationError: com.acme.Source\n{FRAME}Caused by: {NO_CLASS.format('scala/$less')}",
    "java.lang.BootstrapMethodError: java.lang.NoSuchMethodError: scala.runtime.java8.JFunction1$mcII$sp.apply$(I)I",
    "java.lang.NoSuchMethodError: 'org.apache.spark.sql.catalyst.plans.logical.LogicalPlan child()'",
    "java.lang.IncompatibleClassChangeError: com.acme.Rule can not implement org.apache.spark.sql.SparkSession",
    "java.lang.NoClassDefFoundError: org/apache/spark/sql/execution/datasources/FileSourceScanExec",
    "java.lang.NoClassDefFoundError: javax/servlet/Filter",
    "java.lang.UnsupportedClassVersionError: com/acme/Rules has been compiled by a more recent version of the Java",
)
REMOVED = (
    "AttributeError: 'DataFrame' object has no attribute 'append'",
    "AttributeError: 'DataFrame' object has no attribute 'iteritems'",
    "AttributeError: 'Series' object has no attribute 'mad'",
    "AttributeError: 'DatetimeIndex' object has no attribute 'weekofyear'",
    "ImportError: cannot import name 'Int64Index' from 'pandas' (/usr/lib/python3/pandas/__init__.py)",
    "pyspark.errors.exceptions.base.PySparkAttributeError: [ATTRIBUTE_NOT_SUPPORTED] Attribute `to_koalas` is not",
)
TOO_OLD = (
    "pyspark.PySparkImportError: [UNSUPPORTED_PACKAGE_VERSION] Pandas >= 2.2.0 must be installed; however, your",
    "ImportError: PyArrow >= 15.0.0 must be installed; however, your version was 11.0.0.",
)
NO_PANDAS = "PySparkImportError: [PACKAGE_NOT_INSTALLED] Pandas >= 2.2.0 must be installed; however, it was not found."
OTHER_EXCEPTIONS = (
    "AttributeError: 'DataFrame' object has no attribute 'customer'",
    "AttributeError: 'list' object has no attribute 'iteritems'",
    "ZeroDivisionError: division by zero",
    "OverflowError: Python int too large to convert to C long",
    "ValueError: the file says [DIVIDE_BY_ZERO]",
    f"{PY4J}java.lang.ClassNotFoundException: com.mysql.jdbc.Driver",
    f"{PY4J}java.lang.ClassNotFoundException: org.apache.spark.sql.kafka010.KafkaSourceProvider",
    "pyspark.errors.exceptions.captured.AnalysisException: [DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] Cannot",
    "pyspark.errors.exceptions.captured.AnalysisException: [UNRESOLVED_COLUMN.WITH_SUGGESTION] A column `x`",
)
DISCONTINUED = (
    "pyspark.errors.exceptions.captured.ParseException: \n[SYNTAX_DISCONTINUED.BANG_EQUALS_NOT] Support of the"
)
EXPECTED = [
    *((f"{PY4J}{said}\n{FRAME}", Kind.JAR_VERSION) for said in JARS),
    *((said, Kind.REMOVED_API) for said in REMOVED),
    *((said, Kind.LIBRARY_TOO_OLD) for said in TOO_OLD),
    *((said, Kind.USER_EXCEPTION) for said in OTHER_EXCEPTIONS),
    (NO_PANDAS, Kind.MODULE_MISSING),
    ("ImportError: cannot import name 'rules' from 'acme'", Kind.MODULE_MISSING),
    (DISCONTINUED, Kind.SYNTAX_DISCONTINUED),
]


@pytest.mark.parametrize(("said", "kind"), EXPECTED, ids=[said[:60] for said, _ in EXPECTED])
def test_the_kind_is_the_same_in_a_log_and_in_a_report(said: str, kind: Kind) -> None:
    log = Log("s3://b/logs/stdout.gz", tuple(f"{TRACEBACK}{said}".split("\n")))
    assert diagnose(ClusterEvidence(step_state="FAILED", driver=(log,))).kind is kind
    name = said.partition(":")[0].rpartition(".")[2]
    report = RemoteException(name, said, ('  File "job.py", line 3, in main\n    run()\n',))
    assert diagnose(ClusterEvidence(step_state="FAILED", exception=report)).kind is kind


def test_what_a_person_reads_names_the_error_and_what_to_do() -> None:
    log = Log("stdout", tuple(f"{TRACEBACK}{PY4J}{JARS[2]}\n{FRAME}".split("\n")))
    first, hint, *_ = str(diagnose(ClusterEvidence(step_state="FAILED", driver=(log,)))).split("\n")
    assert first == (
        "A jar was built for another version of Scala, Spark or Java: NoClassDefFoundError: scala/Serializable."
    )
    assert "Scala 2.13" in hint
