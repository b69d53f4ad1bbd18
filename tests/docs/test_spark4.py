"""The rows of docs/spark4.md, run on the installed line of Spark. CI runs them on both."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from docs.spark4 import BREAKS, CHANGES, Break, Change
from emr_pipelines.diagnosis.cause import diagnose
from emr_pipelines.diagnosis.evidence import Evidence
from emr_pipelines.diagnosis.exception_parser import Log
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.spark_lines import installed_spark
from tests.diagnosis.reported import kind_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ON_4 = not installed_spark().startswith("3.")


def value(spark: SparkSession, sql: str) -> object:
    (row,) = spark.sql(f"SELECT {sql}").collect()
    found = row[0]
    return bytearray(found) if isinstance(found, bytes) else found


@pytest.mark.parametrize("row", BREAKS, ids=lambda row: row.sql)
def test_what_fails_in_spark_4(spark: SparkSession, row: Break) -> None:
    assert value(spark, row.instead) == row.result
    if not ON_4:
        assert value(spark, row.sql) == row.before
        return
    with pytest.raises(Exception, match=row.condition) as raised:
        value(spark, row.sql)
    assert kind_of(raised.value) is row.kind


@pytest.mark.extended
@pytest.mark.skipif(not ON_4, reason="Spark 3.5 fails for none")
@pytest.mark.parametrize("row", BREAKS, ids=lambda row: row.sql)
def test_the_kind_is_the_same_when_a_task_fails_and_in_a_driver_s_log(spark: SparkSession, row: Break) -> None:
    """Without the optimizer's rules that compute constants, tasks do it."""
    lazy = spark.newSession()
    rules = ("ConstantFolding", "ConvertToLocalRelation", "NullPropagation", "SimplifyExtractValueOps")
    names = ",".join(f"org.apache.spark.sql.catalyst.optimizer.{rule}" for rule in rules)
    lazy.conf.set("spark.sql.optimizer.excludedRules", names)
    rows = row.sql if " FROM " in row.sql else f"{row.sql} FROM range(3)"
    with pytest.raises(Exception, match=row.condition) as raised:
        lazy.sql(f"SELECT {rows}").collect()
    assert kind_of(raised.value) is row.kind
    log = Log("stdout", tuple("".join(traceback.format_exception(raised.value)).split("\n")))
    assert diagnose(Evidence(driver=(log,))).kind is row.kind


@pytest.mark.skipif(not ON_4, reason="Spark 3.5 fails for none")
@pytest.mark.parametrize("row", BREAKS, ids=lambda row: row.sql)
def test_what_brings_the_rules_of_3_5_back(spark: SparkSession, row: Break) -> None:
    relaxed = spark.newSession()
    own = {"decode(": "codingErrorAction", "encode(": "javaCharsets", "1 ! ": "bangEqualsNot"}
    setting = next((f"spark.sql.legacy.{name}" for begin, name in own.items() if row.sql.startswith(begin)), "")
    relaxed.conf.set(setting or "spark.sql.ansi.enabled", "true" if setting else "false")
    assert value(relaxed, row.sql) == row.before


@pytest.mark.parametrize("row", CHANGES, ids=lambda row: row.sql)
def test_what_changes_without_an_error(spark: SparkSession, row: Change) -> None:
    assert value(spark, row.sql) == (row.after if ON_4 else row.before)
    assert value(spark, row.instead) == row.before


def test_each_kind_of_spark_4_is_in_the_table() -> None:
    shown = {row.kind for row in BREAKS}
    assert shown == set(list(Kind)[list(Kind).index(Kind.CAST_INVALID_INPUT) : list(Kind).index(Kind.REMOVED_API)])
