"""What changes from Spark 3.5 to 4.1, as rows: `tests/docs/test_spark4.py` runs each on the installed line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from docs.tables import code, table
from emr_pipelines.diagnosis.kinds import Kind
from emr_pipelines.spark_lines import FEATURES, LINES, RELEASES


class Break(NamedTuple):
    """An expression that fails in Spark 4: its value in 3.5, Spark 4's condition, and what both accept instead."""

    sql: str
    before: object
    condition: str
    kind: Kind
    instead: str
    result: object


class Change(NamedTuple):
    """An expression with another value in Spark 4, and what gives the value of 3.5 in both."""

    sql: str
    before: object
    after: object
    instead: str


CAST, TYPES = Kind.CAST_INVALID_INPUT, Kind.CAST_NOT_ALLOWED
ZERO, OVERFLOW, INDEX = Kind.DIVIDE_BY_ZERO, Kind.ARITHMETIC_OVERFLOW, Kind.INVALID_ARRAY_INDEX
TIME, TEXT = Kind.INVALID_DATETIME, Kind.INVALID_TEXT
TWO = "FROM VALUES (9223372036854775807L), (1L) AS t(n)"
BREAKS = (
    Break("CAST('n/a' AS INT)", None, "CAST_INVALID_INPUT", CAST, "try_cast('n/a' AS INT)", None),
    Break("'n/a' + 1", None, "CAST_INVALID_INPUT", CAST, "try_cast('n/a' AS INT) + 1", None),
    Break("'n/a' = 1", None, "CAST_INVALID_INPUT", CAST, "'n/a' = CAST(1 AS STRING)", False),
    Break("array(1, 'a')", ["1", "a"], "CAST_INVALID_INPUT", CAST, "array(CAST(1 AS STRING), 'a')", ["1", "a"]),
    Break("hour('noon')", None, "CAST_INVALID_INPUT", CAST, "hour(try_cast('noon' AS TIMESTAMP))", None),
    Break("to_date('2026-13-01')", None, "CAST_INVALID_INPUT", CAST, "try_cast('2026-13-01' AS DATE)", None),
    Break("CAST(3000000000 AS INT)", -1294967296, "CAST_OVERFLOW", CAST, "try_cast(3000000000 AS INT)", None),
    Break("CAST(300 AS TINYINT)", 44, "CAST_OVERFLOW", CAST, "try_cast(300 AS TINYINT)", None),
    Break(
        "CAST(1234567 AS DECIMAL(3,1))", None, "NUMERIC_VALUE_OUT_OF_RANGE", CAST,
        "try_cast(1234567 AS DECIMAL(3,1))", None,
    ),
    Break("CAST(date'2026-01-01' AS INT)", None, "DATATYPE_MISMATCH", TYPES, "unix_date(date'2026-01-01')", 20454),
    Break(
        "CAST(1 AS BINARY)", bytearray(b"\0\0\0\1"), "DATATYPE_MISMATCH", TYPES, "CAST('1' AS BINARY)", bytearray(b"1")
    ),
    Break("1 / 0", None, "DIVIDE_BY_ZERO", ZERO, "try_divide(1, 0)", None),
    Break("7 div 0", None, "DIVIDE_BY_ZERO", ZERO, "7 div nullif(0, 0)", None),
    Break("5 % 0", None, "REMAINDER_BY_ZERO", ZERO, "5 % nullif(0, 0)", None),
    Break("2147483647 + 1", -2147483648, "ARITHMETIC_OVERFLOW", OVERFLOW, "2147483647L + 1", 2147483648),
    Break(
        "9223372036854775807L * 2", -2, "ARITHMETIC_OVERFLOW", OVERFLOW, "try_multiply(9223372036854775807L, 2)", None
    ),
    Break("abs(-2147483648)", -2147483648, "ARITHMETIC_OVERFLOW", OVERFLOW, "abs(-2147483648L)", 2147483648),
    Break(f"sum(n) {TWO}", -9223372036854775808, "ARITHMETIC_OVERFLOW", OVERFLOW, f"try_sum(n) {TWO}", None),
    Break("array(1, 2)[5]", None, "INVALID_ARRAY_INDEX", INDEX, "get(array(1, 2), 5)", None),
    Break("element_at(array(1, 2), 5)", None, "INVALID_ARRAY_INDEX", INDEX, "try_element_at(array(1, 2), 5)", None),
    Break("elt(5, 'a', 'b')", None, "INVALID_ARRAY_INDEX", INDEX, "try_element_at(array('a', 'b'), 5)", None),
    Break(
        "to_date('26/11/2026', 'yyyy-MM-dd')", None, "CANNOT_PARSE_TIMESTAMP", TIME,
        "to_date(try_to_timestamp('26/11/2026', 'yyyy-MM-dd'))", None,
    ),
    Break(
        "unix_timestamp('soon', 'yyyy')", None, "CANNOT_PARSE_TIMESTAMP", TIME,
        "unix_timestamp(try_to_timestamp('soon', 'yyyy'))", None,
    ),
    Break(
        "make_date(2026, 13, 1)", None, "DATETIME_FIELD_OUT_OF_BOUNDS", TIME,
        "try_cast(concat_ws('-', 2026, 13, 1) AS DATE)", None,
    ),
    Break("next_day('2026-01-01', 'xx')", None, "ILLEGAL_DAY_OF_WEEK", TIME, "next_day('2026-01-01', NULL)", None),
    Break(
        "decode(X'E9', 'UTF-8')", "�", "MALFORMED_CHARACTER_CODING", TEXT, "decode(X'E9', 'ISO-8859-1')", "é"
    ),
    Break(
        "encode('a', 'WINDOWS-1252')", bytearray(b"a"), "CHARSET", TEXT, "encode('a', 'ISO-8859-1')", bytearray(b"a")
    ),
    Break("parse_url('http://a b', 'HOST')", None, "INVALID_URL", TEXT, "regexp_substr('http://a b', '^x')", None),
    Break("1 ! IN (1)", False, "SYNTAX_DISCONTINUED", Kind.SYNTAX_DISCONTINUED, "1 NOT IN (1)", False),
)  # fmt: skip
CHANGES = (
    Change("size(CAST(NULL AS ARRAY<INT>))", -1, None, "coalesce(size(CAST(NULL AS ARRAY<INT>)), -1)"),
    Change("coalesce(1, '2')", "1", 1, "coalesce(CAST(1 AS STRING), '2')"),
    Change("if(true, 1, '2')", "1", 1, "if(true, CAST(1 AS STRING), '2')"),
)


def parts() -> dict[str, Callable[[], str]]:
    return {"spark lines": lines, "spark releases": releases, "spark features": features, "spark 4 breaks": breaks,
            "spark 4 changes": changes}  # fmt: skip


def lines() -> str:
    rows = [
        (line.spark, code(f"pip install '{line.pyspark}'"), code(line.newest), "{} to {}".format(*line.javas),
         f"[documentation]({line.source})")
        for line in reversed(LINES)
    ]  # fmt: skip
    return table(("Spark", "installed by", "a cluster's default release", "Java on this machine", "source"), rows)


def releases() -> str:
    rows = [
        (code(row.first), row.spark, ", ".join(row.pythons), str(row.java), f"[guide]({row.source})")
        for row in reversed(RELEASES)
    ]
    return table(("from", "Spark", "Python in /usr/bin", "Java", "source"), rows)


def features() -> str:
    rows = [
        (name, code(f"emr-{_dotted(found.emr)}"), code(f"emr-spark-{_dotted(found.emr_spark)}"),
         f"[guide]({found.source})")
        for name, found in FEATURES.items()
    ]  # fmt: skip
    return table(("feature", "from", "and from", "source"), rows)


def breaks() -> str:
    rows = [
        (code(row.sql), _value(row.before), code(row.condition),
         f"[{code(str(row.kind))}](troubleshooting.md#{str(row.kind).lower()})", code(row.instead), _value(row.result))
        for row in BREAKS
    ]  # fmt: skip
    return table(("expression", "in 3.5", "condition in 4", "kind", "write in both", "which gives"), rows)


def changes() -> str:
    rows = [(code(row.sql), _value(row.before), _value(row.after), code(row.instead)) for row in CHANGES]
    return table(("expression", "in 3.5", "in 4", "for the value of 3.5 in both"), rows)


def _value(value: object) -> str:
    if value is None:
        return "NULL"
    return code(f"X'{value.hex()}'" if isinstance(value, bytearray) else repr(value))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
