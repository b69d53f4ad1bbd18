"""Checks of a program's result: functions that say yes or no, as asset checks of what it was to publish."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from emr_pipelines.errors import InvalidValue

Verdict = bool | tuple[bool, str] | dg.AssetCheckResult

ALLOWED = "a bool, (bool, description), or an AssetCheckResult"
SHOWN_CHARACTERS = 300


def check_specs(checks: Sequence[Callable[..., Any]], key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """A check by each function's name, described by its docstring. Raises InvalidValue for one without a name."""
    names = [getattr(check, "__name__", "") for check in checks]
    for name, check in zip(names, checks, strict=True):
        if not name.isidentifier() or names.count(name) > 1:
            raise InvalidValue("A check", name or check, "functions (result) -> bool, each with a name of its own")
    return [
        dg.AssetCheckSpec(name, asset=key, blocking=True, description=inspect.getdoc(check))
        for name, check in zip(names, checks, strict=True)
    ]


def outcome_of(context: dg.AssetExecutionContext, check: Callable[..., Any], result: object) -> dg.AssetCheckResult:
    """What a check says of a result; one that raises, or says neither yes nor no, says no."""
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
    if isinstance(said, bool):
        wanted = inspect.getdoc(check) if not said else ""
        said = said, " ".join(part for part in (wanted, _figures(result)) if part)
    if not (isinstance(said, tuple) and [type(part) for part in said] == [bool, str]):
        said = False, f"It returned {_short(said)}; allowed: {ALLOWED}."
    return dg.AssetCheckResult(check_name=name, passed=said[0], description=said[1])


def _figures(result: object) -> str:
    """What is short and has a value, of the fields of a result."""
    members = vars(result) if hasattr(result, "__dict__") else {}
    return _short(
        ", ".join(f"{name}={value!r}" for name, value in members.items() if isinstance(value, (int, float, str)))
    )


def _short(value: object) -> str:
    shown = str(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
