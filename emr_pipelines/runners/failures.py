"""Reports a program's failure to Dagster: the probable cause first, facts and links as metadata."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, NoReturn

import dagster as dg

from emr_pipelines.aws.redaction import masked
from emr_pipelines.diagnosis.cause import diagnose
from emr_pipelines.diagnosis.evidence import Evidence, ProbableCause
from emr_pipelines.diagnosis.exception_parser import RemoteException
from emr_pipelines.errors import EmrPipelinesError, RunFailed, StepFailed
from emr_pipelines.job.modules import Home, find, home_of, projects_of, unit_of

NO_MODULE = re.compile(r"No module named '([\w.]+)'")
LONGEST_TRACE = 50_000  # characters; Spark puts whole query plans into its errors
PASSED_ON = (EmrPipelinesError, dg.Failure, dg.RetryRequested)  # they explain themselves


@contextmanager
def failures(context: dg.AssetExecutionContext, retries: int, delay_seconds: float) -> Iterator[None]:
    """Turn this package's errors into a Failure that explains them, or into a retry where one may help."""
    try:
        yield
    except EmrPipelinesError as error:
        if error.retryable and context.retry_number < retries:
            said = masked(str(error))
            number = f"retry {context.retry_number + 1} of {retries}"
            why = "the error does not come from your program"
            context.log.warning(f"{said}\nRetrying in {delay_seconds:g} s ({number}): {why}.")
            raise dg.RetryRequested(retries, delay_seconds) from EmrPipelinesError(said)  # Dagster records the cause
        raise_failure(error)


def raise_failure(error: EmrPipelinesError) -> NoReturn:
    """Raise an error of this package as a Failure that explains it.

    Dagster prints an error, its own stack trace and then the error's cause. The cause is the first line of the
    explanation, which names the probable cause, so that line is also the last one in a terminal.

    The complete chain of exceptions, often hundreds of lines of Java, is in the metadata. The asset's retry policy
    applies to exceptions of the program and to infrastructure failures, not to mistakes in settings.
    """
    whole = masked("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    shown = (
        whole if len(whole) <= LONGEST_TRACE else f"{whole[: LONGEST_TRACE // 2]}\n...\n{whole[-LONGEST_TRACE // 2 :]}"
    )
    facts = error.facts if isinstance(error, RunFailed) else {}
    explanation = masked(str(error))
    raise dg.Failure(
        explanation,
        metadata={
            **{name: _as_metadata(masked(fact)) for name, fact in facts.items() if fact},
            "stack_trace": dg.MetadataValue.md(f"```text\n{shown}\n```"),  # shown on demand
        },
        allow_retries=error.retryable or isinstance(error, RunFailed),
    ) from EmrPipelinesError(explanation.partition("\n")[0])


def explained(error: Exception, program: Callable[..., Any]) -> StepFailed:
    """Explain an exception of a program in this process as on a cluster."""
    whole = error.__traceback__
    evidence = Evidence(
        exception=_as_remote(error.with_traceback(_of_program(whole, program))), package=package_of(program)
    )
    error.__traceback__ = whole
    cause = advised(diagnose(evidence))
    failed = StepFailed(str(cause), cause.retryable, {"kind": str(cause.kind), "hint": cause.hint})
    failed.__cause__ = error
    return failed


def advised(cause: ProbableCause) -> ProbableCause:
    """Return the cause, with a better hint if this machine has the module that is missing on the cluster.

    The name of one's own module must not become a requirement: the package index may have a stranger's project of that
    name.
    """
    missing = NO_MODULE.search(cause.message) if cause.kind == "MODULE_MISSING" else None
    if missing is None:
        return cause
    name, unit = missing[1], unit_of(missing[1])
    home = home_of(unit)
    if home is Home.OWN and find(name) is None:
        hint = f"{unit} is your own code, and has no module {name} on this machine either. Check the name."
    elif home is Home.OWN:
        hint = (
            f"{unit} is your own code on this machine, but the program reaches it by no import statement. Add "
            f'PACKAGES = ("{unit}",) to the program\'s module, so that it is sent to the cluster. Do not add it to '
            "REQUIREMENTS: it is no library."
        )
    elif home is Home.LIBRARY and (projects := projects_of(unit)):
        hint = (
            f"On this machine {unit} belongs to the project {projects[0]}. Add that to REQUIREMENTS in the module that "
            "imports it, so that it is sent to the cluster."
        )
    elif home is Home.DAGSTER:
        hint = (
            "Clusters have no Dagster. Keep the program, and all that its module imports, in modules that do not use "
            "it."
        )
    else:
        return cause
    return replace(cause, hint=hint)


def _of_program(trace: TracebackType | None, program: Callable[..., Any]) -> TracebackType | None:
    """Return the traceback from the program on, without this package's frames; all of it if none is the program's."""
    code = getattr(inspect.unwrap(program), "__code__", None)
    inner = trace
    while inner and inner.tb_frame.f_code is not code:
        inner = inner.tb_next
    return inner or trace


def package_of(program: Callable[..., Any]) -> str:
    """Return the top-level package, or module, of a program."""
    return program.__module__.partition(".")[0]


def _as_remote(error: BaseException, seen: tuple[BaseException, ...] = ()) -> RemoteException:
    cause = error.__cause__ if error.__cause__ not in (error, *seen) else None  # a chain of causes can be a loop
    stack = tuple(traceback.format_tb(error.__traceback__))
    return RemoteException(
        name=type(error).__name__,
        message="".join(traceback.format_exception_only(type(error), error)),
        stack=stack,
        cause=_as_remote(cause, (error, *seen)) if cause else None,
    )


def _as_metadata(fact: str) -> dg.MetadataValue[Any]:
    if fact.startswith(("https://", "http://")):
        return dg.MetadataValue.url(fact)
    return dg.MetadataValue.path(fact) if fact.startswith("s3") else dg.MetadataValue.text(fact)
