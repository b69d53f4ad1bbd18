"""A reported exception is read from its parts, and shown as a log would show it."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from emr_pipelines.diagnosis.exception_parser import (
    DIRECT_CAUSE,
    Error,
    Log,
    RemoteException,
    last_raised,
    raised_remotely,
)
from emr_pipelines.diagnosis.kinds import Kind

PY4J = "py4j.protocol.Py4JJavaError: An error occurred while calling o1.collect.\n"
JAVA = "java.lang.OutOfMemoryError: Java heap space"
OUT_OF_MEMORY = RemoteException(
    "Py4JJavaError",
    f"{PY4J}: org.apache.spark.SparkException: Job aborted\n\tat org.apache.spark.A.b(A.scala:1)\nCaused by: {JAVA}\n",
    ('  File "job.py", line 3, in main\n    frame.collect()\n',),
)
WORKER = (
    "pyspark.errors.exceptions.captured.PythonException: \n  An exception was thrown from the Python worker.\n"
    'Traceback (most recent call last):\n  File "job.py", line 7, in ratio\n    return 1 / n\n'
    "ZeroDivisionError: division by zero\n"
)


class Nested:
    class TooShortError(Exception):
        pass


def plain() -> None:
    raise ValueError("no: not 7")


def without_message() -> None:
    raise KeyError


def of_several_lines() -> None:
    raise RuntimeError("one\ntwo: 2\nthree")


def of_a_class_in_a_class() -> None:
    raise Nested.TooShortError("3 < 4")


def wrapped() -> None:
    try:
        plain()
    except ValueError as error:
        raise OSError("disk") from error


def caused() -> None:
    try:
        wrapped()
    except OSError as error:
        raise RuntimeError("gave up") from error


def of_syntax() -> None:
    compile("1 +", "job.py", "exec")


def raised_by(program: Callable[[], None]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (whatever the program raises)
        program()
    return caught.value


def reported(error: BaseException) -> RemoteException:
    cause = error.__cause__
    return RemoteException(
        type(error).__name__,
        "".join(traceback.format_exception_only(type(error), error)),
        tuple(traceback.format_tb(error.__traceback__)),
        reported(cause) if cause else None,
    )


@pytest.mark.parametrize(
    "program", [plain, without_message, of_several_lines, of_a_class_in_a_class, caused, of_syntax]
)
def test_it_tells_what_python_would_print(program: Callable[[], None]) -> None:
    error = raised_by(program)
    raised = raised_remotely(reported(error))
    printed = traceback.format_exception(type(error), error, error.__traceback__)
    log = last_raised(Log("", tuple("".join(printed).splitlines())))
    assert log is not None
    assert raised.errors == log.errors
    assert raised.text == "".join(printed).rstrip()


def test_causes_keep_their_order() -> None:
    raised = raised_remotely(reported(raised_by(caused)))
    assert [str(error) for error in raised.errors] == [
        "RuntimeError: gave up",
        "OSError: disk",
        "ValueError: no: not 7",
    ]
    assert raised.text.count(DIRECT_CAUSE) == 2


def test_a_message_without_the_name_gets_it() -> None:
    raised = raised_remotely(RemoteException("ValueError", "no", ('  File "job.py", line 1, in f',)))
    assert raised.errors == (Error("ValueError", "no"),)
    assert raised.text.splitlines()[1:] == ['  File "job.py", line 1, in f', "ValueError: no"]


def test_a_message_may_look_like_another_error() -> None:
    raised = raised_remotely(RemoteException("JobFailed", "app.JobFailed: step 3\nKeyError: 'id'\n"))
    assert raised.errors == (Error("JobFailed", "step 3"),)


@pytest.mark.parametrize("as_cause", [False, True])
def test_errors_of_the_jvm_count_wherever_they_stand_in_the_chain(as_cause: bool) -> None:
    exception = RemoteException("ReportError", "app.ReportError: no report\n", (), OUT_OF_MEMORY)
    raised = raised_remotely(exception if as_cause else OUT_OF_MEMORY)
    kind, error = raised.verdict
    assert kind is Kind.OUT_OF_MEMORY
    assert str(error).startswith("OutOfMemoryError")
    assert "\tat " not in raised.text
    assert JAVA in raised.text


def test_a_worker_s_traceback_in_spark_s_message_is_what_was_raised() -> None:
    raised = raised_remotely(RemoteException("PythonException", WORKER, ('  File "pyspark.py", line 1, in x\n',)))
    assert raised.errors == (Error("ZeroDivisionError", "division by zero"),)
    assert raised.text.splitlines()[1] == '  File "job.py", line 7, in ratio'
