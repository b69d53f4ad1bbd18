"""Asset checks of a program's result, made of functions that return whether the result is good."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from emr_pipelines.errors import InvalidValue
from emr_pipelines.remote import codec

CheckResult = bool | tuple[bool, str] | dg.AssetCheckResult

ALLOWED = "a bool, (bool, description), or an AssetCheckResult"
SHOWN_CHARACTERS = 300


def check_specs(checks: Sequence[Callable[..., Any]], key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """Specify a check for each function, with its name and docstring. Raises InvalidValue for one without a name."""
    names = [getattr(check, "__name__", "") for check in checks]
    for name, check in zip(names, checks, strict=True):
        if not name.isidentifier() or names.count(name) > 1:
            raise InvalidValue("A check", name or check, "functions (result) -> bool, each with a name of its own")
    return [
        dg.AssetCheckSpec(name, asset=key, blocking=True, description=inspect.getdoc(check))
        for name, check in zip(names, checks, strict=True)
    ]


def outcome_of(context: dg.AssetExecutionContext, check: Callable[..., Any], result: object) -> dg.AssetCheckResult:
    """Run a check on a result. A check that raises, or returns anything that is not ALLOWED, fails."""
    name = check.__name__
    try:
        said = check(result)
    except Exception as error:
        context.log.error(f"The check {name} raised:", exc_info=True)
        said = False, f"It raised {type(error).__name__}: {error}"
    if isinstance(said, dg.AssetCheckResult):
        return dg.AssetCheckResult(
            check_name=name,
            passed=said.passed,
            severity=said.severity,
            description=said.description,
            metadata=said.metadata,
        )
    said = tuple(map(codec.plain, said)) if isinstance(said, tuple) else codec.plain(said)
    if isinstance(said, bool):
        wanted = inspect.getdoc(check) if not said else ""
        said = said, " ".join(part for part in (wanted, _figures(result)) if part)
    match said:
        case (bool(), str()):
            pass
        case _:
            said = False, f"It returned {_short(said)}; allowed: {ALLOWED}."
    return dg.AssetCheckResult(check_name=name, passed=said[0], description=str(said[1]))


def _figures(result: object) -> str:
    """Format the numbers and texts among the fields of a result."""
    members = vars(result) if hasattr(result, "__dict__") else {}
    return _short(
        ", ".join(f"{name}={value!r}" for name, value in members.items() if isinstance(value, (int, float, str)))
    )


def _short(value: object) -> str:
    shown = str(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
