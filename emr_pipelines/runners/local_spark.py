"""Spark in this process: one JVM and context, and a new session for each program."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emr_pipelines.errors import InvalidValue, SparkNotUsable
from emr_pipelines.remote import progress
from emr_pipelines.runners.java import java_for_spark
from emr_pipelines.spark_lines import installed_spark, line_of

if TYPE_CHECKING:  # pyspark takes a second to import
    from pyspark.sql import SparkSession

# Hadoop's configuration is the context's: a session accepts such a setting and ignores it.
NOT_OF_A_SESSION = ("spark.hadoop.", "spark.master", "spark.remote")
CONNECT_VARIABLES = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED")


def running_session() -> SparkSession | None:
    """Return the session of the Spark in this process; None if none answers."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if progress.answers(SparkContext._active_spark_context):  # noqa: SLF001 (pyspark has no call for this)
        return SparkSession.builder.getOrCreate()
    return None


def start(settings: Mapping[str, str], warn: Callable[[str], None]) -> SparkSession:
    """Start Spark with these properties. Raises JavaNotUsable and SparkNotUsable."""
    import pyspark
    from dagster_pyspark import LazyPySparkResource

    _forget_dead_jvm()
    _reject_without_distutils()
    # this Python, its sys.path and its Spark, regardless of another installation's settings
    os.environ |= {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
    }
    for name in CONNECT_VARIABLES:
        os.environ.pop(name, None)  # they would turn the session into a client of a remote Spark
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # a laptop's own name often cannot be looked up
    if os.environ.get("LC_ALL") in {"C", "POSIX"}:
        os.environ["LC_ALL"] = "C.UTF-8"  # else Java cannot open a path that is not ASCII
    with java_for_spark(warn):
        session: SparkSession = LazyPySparkResource(spark_config=dict(settings)).spark_session
    return session


@contextmanager
def program_session(
    spark: SparkSession, settings: Mapping[str, str], warn: Callable[[str], None]
) -> Iterator[SparkSession]:
    """Make a new session of the shared context the current one of this thread, within the block.

    On a cluster each program has a Spark of its own. Here programs share the context, so that only the first one waits
    for it to start; SQL settings, temporary views, functions and cached tables do not outlive the program. What a
    program changes in the context itself or in this Python process stays.

    settings: properties of the program's runner. Raises InvalidValue for one that takes effect only when Spark starts
    and differs from what this Spark was started with.
    """
    session = spark.newSession()
    _apply(session, settings)
    tables = _saved_tables(session)
    _make_current(session)
    try:
        yield session
    finally:
        if progress.answers(session.sparkContext):
            session._jsparkSession.sharedState().globalTempViewManager().clear()  # noqa: SLF001 (else a job a view)
            session.catalog.clearCache()  # another program would read cached data in place of changed files
            if left := sorted(_saved_tables(session) - tables):
                warn(
                    f"The program left tables in the catalog of this process: {', '.join(left)}. On a cluster without "
                    "a metastore the next program does not find them; read and write them by their paths."
                )
            _make_current(spark)


def _apply(session: SparkSession, settings: Mapping[str, str]) -> None:
    from pyspark.errors import PySparkException

    started_with = session.sparkContext.getConf()
    for name, value in settings.items():
        if started_with.get(name) == value:
            continue
        try:
            if name.startswith(NOT_OF_A_SESSION):
                raise _not_now(name, value, started_with.get(name))
            session.conf.set(name, value)
        except PySparkException as error:
            raise _not_now(name, value, started_with.get(name)) from error


def _not_now(name: str, value: str, running: str | None) -> InvalidValue:
    has = "Spark's default" if running is None else repr(running)
    return InvalidValue(
        f"spark_config.{name}",
        value,
        f"{has}, which the Spark of this process was started with, since this property cannot change while Spark "
        "runs; give it to every runner of the run, or use the multiprocess executor",
    )


def _saved_tables(session: SparkSession) -> set[str]:
    """List the tables of Spark's in-memory catalog; empty for another catalog, such as a metastore."""
    if session.conf.get("spark.sql.catalogImplementation") != "in-memory":
        return set()
    if session.conf.get("spark.sql.catalog.spark_catalog", "builtin") != "builtin":
        return set()
    # pyspark's own lists are queries, which start jobs
    catalog = session._jsparkSession.sharedState().externalCatalog()  # noqa: SLF001
    return {
        f"{database}.{table}"
        for database in catalog.listDatabases().mkString("\n").splitlines()
        for table in catalog.listTables(database).mkString("\n").splitlines()
    }


def _make_current(session: SparkSession) -> None:
    """Make it the one that `SparkSession.builder.getOrCreate()` and `getActiveSession()` return, as on a cluster."""
    from pyspark.sql import SparkSession

    jvm: Any = session._jvm  # noqa: SLF001 (pyspark has no public call for this)
    of_jvm = jvm.SparkSession
    of_jvm.setDefaultSession(session._jsparkSession)  # noqa: SLF001
    of_jvm.setActiveSession(session._jsparkSession)  # noqa: SLF001
    SparkSession._instantiatedSession = SparkSession._activeSession = session  # noqa: SLF001


def _forget_dead_jvm() -> None:
    """Let pyspark start a new JVM if the one of this process has died; otherwise pyspark keeps calling it."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    gateway = SparkContext._gateway  # noqa: SLF001 (pyspark has no call for this)
    if gateway is not None and gateway.proc.poll() is not None:
        SparkContext._active_spark_context = None  # noqa: SLF001
        SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
        SparkSession._instantiatedSession = None  # noqa: SLF001


def _reject_without_distutils() -> None:
    """Raise SparkNotUsable if pyspark 3.5 would fail in the middle of a program."""
    spark = installed_spark()
    if line_of(spark).spark == "3.5" and importlib.util.find_spec("distutils") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise SparkNotUsable(
            f"pyspark {spark} needs distutils, which Python {version} does not have; install it with "
            "pip install 'emr-pipelines[spark35]', or pyspark 4 with pip install 'pyspark>=4'."
        )
