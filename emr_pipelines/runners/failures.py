"""How a program's failure reaches Dagster: its probable cause leads, and the facts and links are metadata."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import dagster as dg

from emr_pipelines.emr.disclosure import masked
from emr_pipelines.emr.modules import Home, find, home_of, projects_of, unit_of
from emr_pipelines.errors import EmrPipelinesError, RunFailed, StepFailed

if TYPE_CHECKING:
    from emr_pipelines.emr.evidence import ProbableCause

NO_MODULE = re.compile(r"No module named '([\w.]+)'")
LONGEST_TRACE = 50_000  # characters; Spark puts whole query plans into its errors
PASSED_ON = (EmrPipelinesError, dg.Failure, dg.RetryRequested)  # they say what they mean


@contextmanager
def failures(context: dg.AssetExecutionContext, retries: int, delay_seconds: float) -> Iterator[None]:
    """This package's errors as a Failure, with the cause first; where the same again may go well, a retry."""
    try:
        yield
    except EmrPipelinesError as error:
        if error.retryable and context.retry_number < retries:
            said = masked(str(error))
            context.log.warning(f"{said}\nThe step is tried again, for this was none of its own.")
            raise dg.RetryRequested(retries, delay_seconds) from EmrPipelinesError(said)  # Dagster records the cause
        raise_failure(error)


def raise_failure(error: EmrPipelinesError) -> NoReturn:
    """Raise an error of this package as a Failure that explains it.

    Dagster prints an error, its own stack trace and then the cause of the error: the first line of the explanation,
    which names the probable cause, is therefore also the last line in a terminal.

    The whole chain of exceptions, often hundreds of lines of Java, is in the metadata. A retry policy applies to what a
    program raises and to infrastructure failures, not to mistakes in settings.
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
    """What a program raised in this process, explained as it would be on a cluster."""
    from emr_pipelines.emr.diagnosis import diagnose  # it brings boto3, which takes half a second
    from emr_pipelines.emr.evidence import Evidence

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
    """A cause with a better hint, where this machine knows the module that is missing elsewhere.

    The name of one's own module must not be declared as a requirement: the package index may have a stranger's project
    of that name.
    """
    missing = NO_MODULE.search(cause.message) if cause.kind == "MODULE_MISSING" else None
    if missing is None:
        return cause
    name, unit = missing[1], unit_of(missing[1])
    home = home_of(unit)
    if home is Home.OWN and find(name) is None:
        hint = f"{unit} is your own code, and it has no module {name} on this machine either: check the name."
    elif home is Home.OWN:
        hint = (
            f"{unit} is your own code on this machine, and no import statement that the program reaches names it. "
            f'Write PACKAGES = ("{unit}",) in the program\'s module, so that it travels. It is no library: do not name '
            "it in REQUIREMENTS."
        )
    elif home is Home.LIBRARY and (projects := projects_of(unit)):
        hint = (
            f"On this machine {unit} belongs to the project {projects[0]}: name that in REQUIREMENTS of the module "
            "that imports it, so that it travels."
        )
    elif home is Home.DAGSTER:
        hint = "Clusters have no Dagster: keep the program, and what its module imports, in modules without it."
    else:
        return cause
    return replace(cause, hint=hint)


def _of_program(trace: TracebackType | None, program: Callable[..., Any]) -> TracebackType | None:
    """A traceback without what called the program, which is this package's; the whole where that cannot be told."""
    code = getattr(inspect.unwrap(program), "__code__", None)
    inner = trace
    while inner and inner.tb_frame.f_code is not code:
        inner = inner.tb_next
    return inner or trace


def package_of(program: Callable[..., Any]) -> str:
    """The top-level package, or module, that a program is in."""
    return program.__module__.partition(".")[0]


def _as_remote(error: BaseException, seen: tuple[BaseException, ...] = ()) -> Any:
    from emr_pipelines.emr.raised import RemoteException

    cause = error.__cause__ if error.__cause__ not in (error, *seen) else None  # causes can go in circles
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
