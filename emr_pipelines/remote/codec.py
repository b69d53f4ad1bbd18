"""Encode and decode a program's name, its parameters and its result.

Parameters and results are JSON, which people and other versions of Python can read. Annotations and values that JSON
would change are refused before anything starts, with the path of the field.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import reprlib
import sys
import types
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from emr_pipelines.errors import PackagingError, ProgramExited
from emr_pipelines.remote.annotations import (
    ALLOWED,
    called_by,
    hints_of,
    instead_of,
    refused_annotation,
    resolved,
    shown,
    travelling,
)

MAX_BYTES = 64 << 20  # as JSON; the process that waits for it holds several copies
DEEPEST = 100  # levels; a structure may contain itself

Program = Callable[..., Any]


def encode(value: object, name: str = "params") -> Any:
    """Convert a dataclass instance, or None, to JSON values. Raises PackagingError, which names the field."""
    if value is not None and not _is_instance_of_dataclass(value):
        raise _refused(name, value, "a dataclass, or None")
    return _encoded(value, name, 0)


def decode(annotation: Any, data: object, name: str = "params") -> Any:
    """Rebuild an encoded value by its annotation: a dataclass, or None. Raises PackagingError."""
    return _decoded(annotation, data, name)


def dumps(value: object, name: str = "params") -> str:
    """Return a dataclass instance, or None, as JSON text in ASCII.

    Raises PackagingError, which names the invalid field, or says that the text is too long.
    """
    text = json.dumps(encode(value, name), allow_nan=False)
    if len(text) > MAX_BYTES:
        raise PackagingError(
            f"{name} is {len(text):,} bytes of JSON; allowed: up to {MAX_BYTES:,}. Write data to files, and let "
            f"{name} say where they are."
        )
    return text


def loads(annotation: Any, text: str | bytes, name: str = "params") -> Any:
    """Parse JSON text and decode the value. Raises PackagingError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise PackagingError(f"{name} is not JSON: {error}: {_short(text)}") from error
    return decode(annotation, data, name)


def round_trip(annotation: Any, value: object, name: str = "params") -> Any:
    """Return the value as it would arrive. Raises PackagingError, which names the field, if it would differ."""
    arrived = loads(annotation, dumps(value, name), name)
    changed = _first_difference(value, arrived, name)
    if changed:
        path, sent, received = changed
        raise PackagingError(
            f"{path} is {_short(sent)} and would arrive as {_short(received)}; make the value and its annotation agree."
        )
    return arrived


def name_of(program: Program) -> str:
    """Return `package.module:function`, by which `load` finds the program on a cluster. Raises PackagingError.

    For a function of the main script, the module is the script's name.
    """
    called = called_by(program)
    function = getattr(program, "__qualname__", "")
    module = sys.modules.get(getattr(program, "__module__", None) or "")
    if not inspect.isroutine(program) or module is None:
        raise PackagingError(
            f"{called} is no function of a module; a program is a function (spark, params) of a module."
        )
    if not function.isidentifier():  # <lambda>, outer.<locals>.inner, Class.method
        raise PackagingError(
            f"{called} is a lambda, a method or a function within another; a program stands at the top of its module."
        )
    if getattr(module, function, None) is not program:
        raise PackagingError(
            f"{called} is not what {module.__name__}.{function} is now; a program must be found by its name."
        )
    return f"{_importable_name(module, called)}:{function}"


def load(name: str) -> Program:
    """Import the program with this name. Raises PackagingError; an error of the imported module passes through."""
    module_name, _, function = name.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise PackagingError(f"The program is {name!r}; allowed: package.module:function.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise PackagingError(f"The program {name} cannot be loaded: there is no module {error.name} here.") from error
    program = getattr(module, function, None)
    if not callable(program):
        raise PackagingError(f"The program {name} cannot be loaded: {module_name} has no function {function}.")
    loaded: Program = program
    return loaded


def call(program: Program, spark: Any, params: Any) -> Any:
    """Run a program and return its result. Raises ProgramExited if it calls sys.exit, with any code."""
    try:
        return program(spark, params)
    except SystemExit as left:
        raise ProgramExited(
            f"{called_by(program)} called sys.exit({'' if left.code is None else repr(left.code)}) and returned no "
            "result. Return the result to succeed, and raise an exception to fail."
        ) from left


def _importable_name(module: types.ModuleType, called: str) -> str:
    if module.__name__ != "__main__":
        return module.__name__
    if module.__spec__ is not None:  # python -m package.module
        return module.__spec__.name
    script = Path(getattr(module, "__file__", None) or "")
    if script.suffix != ".py" or not script.stem.isidentifier():
        raise PackagingError(f"{called} belongs to an interactive session; put it in a module, which can be sent.")
    return script.stem


def _encoded(value: object, path: str, depth: int) -> Any:
    if depth > DEEPEST:
        raise PackagingError(f"{path[:80]}... is nested more than {DEEPEST} levels deep, or contains itself.")
    value = plain(value)
    # an Enum may be an int or str besides, and would arrive as that; Spark's Row is a tuple, and would lose its names
    if isinstance(value, Enum) or (isinstance(value, tuple) and hasattr(value, "__fields__")):
        raise _refused(path, value, ALLOWED)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if value.bit_length() > 10_000:  # noqa: PLR2004 (above 4,300 digits Python does not read a number)
            raise _refused(path, f"a number of {value.bit_length():,} bits", "whole numbers of up to 10,000 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(path, value, ALLOWED)
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_encoded(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or isinstance(key, Enum):
                raise _refused(f"A key of {path}", key, "text")
        return {key: _encoded(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items()}
    if _is_instance_of_dataclass(value):
        return {
            field.name: _encoded(getattr(value, field.name), f"{path}.{field.name}", depth + 1)
            for field in travelling(value)
        }
    raise _refused(path, value, ALLOWED)


def _decoded(annotation: Any, data: object, path: str) -> Any:  # noqa: PLR0911 (a table: one line for a kind)
    annotation = resolved(annotation)
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if annotation is Any or annotation is object:
        return data
    if origin is Literal:
        if any(type(data) is type(choice) and data == choice for choice in arguments):
            return data
        raise _refused(path, data, " or ".join(map(repr, arguments)))
    if origin is Union or origin is types.UnionType:
        return _decoded_union(annotation, arguments, data, path)
    if annotation is float and type(data) is int and abs(data) <= sys.float_info.max:
        data = float(data)
    if annotation in (None, type(None), bool, int, float, str):
        if type(data) is not (annotation or type(None)) or (isinstance(data, float) and not math.isfinite(data)):
            raise _refused(path, data, shown(annotation))
        return data
    if origin in (list, tuple):
        return _decoded_sequence(origin, arguments, data, path)
    if origin in (dict, Mapping):
        if not isinstance(data, dict) or (arguments and resolved(arguments[0]) is not str):
            raise _refused(path, data, "a mapping with text keys, annotated as dict[str, ...]")
        values = arguments[1] if arguments else Any
        return {key: _decoded(values, item, f"{path}[{key!r}]") for key, item in data.items()}
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _decoded_dataclass(annotation, data, path)
    raise refused_annotation(annotation, path)


def _decoded_union(annotation: Any, members: tuple[Any, ...], data: object, path: str) -> Any:
    problems: dict[Any, PackagingError] = {}
    for member in sorted(members, key=lambda member: member is float):  # a whole number is an int first
        try:
            return _decoded(member, data, path)
        except PackagingError as problem:  # noqa: PERF203 (to try each is what is meant)
            problems[member] = problem
    problems.pop(type(None), None)
    if len(problems) == 1 and data is not None:
        raise problems.popitem()[1]  # of X | None, what X says is the better sentence
    raise _refused(path, data, shown(annotation))


def _decoded_sequence(kind: type, arguments: tuple[Any, ...], data: object, path: str) -> Any:
    if not isinstance(data, list):
        raise _refused(path, data, f"a {kind.__name__}")
    if kind is tuple and arguments and arguments[1:] != (...,):
        annotations = list(arguments)
    else:
        annotations = [arguments[0] if arguments else Any] * len(data)
    if len(annotations) != len(data):
        raise _refused(path, data, f"{len(annotations)} items")
    return kind(
        _decoded(annotation, item, f"{path}[{i}]")
        for i, (annotation, item) in enumerate(zip(annotations, data, strict=True))
    )


def _decoded_dataclass(kind: type, data: object, path: str) -> Any:
    if not isinstance(data, dict):
        raise _refused(path, data, f"the members of {kind.__name__}")
    hints = hints_of(kind)
    names = [field.name for field in travelling(kind)]
    for name in names:
        if name not in data:
            raise PackagingError(f"{path}.{name} is missing; {kind.__name__} has {', '.join(names)}.")
    for name in data:
        if name not in names:
            raise PackagingError(f"{path}.{name} is unknown; {kind.__name__} has {', '.join(names) or 'no members'}.")
    members = {name: _decoded(hints[name], data[name], f"{path}.{name}") for name in names}
    try:
        return kind(**members)
    except Exception as error:
        raise PackagingError(f"{path} cannot be made a {kind.__name__}: {error}") from error


def _first_difference(sent: Any, arrived: Any, path: str) -> tuple[str, object, object] | None:
    """Return where two values differ. A list is not a tuple, True is not 1, but a whole number may have become a
    float."""
    inner: list[tuple[str, Any, Any]] = []
    sent = plain(sent)
    if _is_instance_of_dataclass(sent) and type(sent) is type(arrived):
        names = [field.name for field in travelling(sent)]
        inner = [(f"{path}.{name}", getattr(sent, name), getattr(arrived, name)) for name in names]
    elif any(isinstance(sent, kind) and isinstance(arrived, kind) for kind in (list, tuple)):
        inner = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(sent, arrived, strict=True))]
    elif isinstance(sent, dict) and isinstance(arrived, dict):
        inner = [(f"{path}[{key!r}]", item, arrived[key]) for key, item in sent.items()]
    elif sent != arrived or isinstance(sent, bool) != isinstance(arrived, bool):
        return path, sent, arrived
    return next((found for at, one, other in inner if (found := _first_difference(one, other, at))), None)


def plain(value: Any) -> Any:
    """Convert a NumPy whole number, float or boolean to Python's equal value; return any other value as it is."""
    if any(base.__module__ == "numpy" and base.__name__ == "generic" for base in type(value).__mro__):
        item = value.item()
        return item if type(item) in (bool, int, float) else value
    return value


def _is_instance_of_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _refused(path: str, value: object, allowed: str) -> PackagingError:
    instead = instead_of(type(value)) if allowed == ALLOWED else ""
    return PackagingError(f"{path} is {_short(value)}; allowed: {allowed}. {instead}".rstrip())


def _short(value: object) -> str:
    text = reprlib.Repr()
    text.maxstring = text.maxother = 200
    return text.repr(value)
