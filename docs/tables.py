"""Writes Markdown tables, with types, defaults and bounds of settings."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, JsonValue, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
PLURALS = {"text": "texts", "number": "numbers", "whole number": "whole numbers", "one of them": "them"}
SHORTEST_DESCRIPTION = 3  # characters; a shorter one is a forgotten description

SECTIONS = {
    "ApplicationSpec": "an-application",
    "ClusterSpec": "a-cluster",
}  # where a part is not described under its own name


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def fields(model: type[BaseModel]) -> str:
    """The table of a model's fields. Raises ValueError for a field without a description."""
    rows = []
    for name, field in model.model_fields.items():
        if len(field.description or "") < SHORTEST_DESCRIPTION:
            raise ValueError(f"{model.__name__}.{name} has no description; give its Field one.")
        annotation: Any = field.annotation
        if isinstance(annotation, ForwardRef):  # of a model that has parts of its own kind
            annotation = vars(sys.modules[model.__module__])[annotation.__forward_arg__]
        if field.metadata:
            annotation = Annotated[(annotation, *field.metadata)]  # pydantic takes it apart
        rows.append(
            (code(name), type_of(annotation), default_of(field), bounds_of(annotation), field.description or "")
        )
    return table(("name", "type", "default", "allowed", "what it is"), rows)


def type_of(annotation: Any) -> str:
    """The name of a type for a reader who writes YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == JsonValue or annotation is Any:
        name = "anything"
    elif origin is Annotated:
        name = type_of(arguments[0])
    elif origin in (Union, types.UnionType):
        name = " or ".join(map(type_of, arguments))
    elif origin is Literal:
        name = "one of them"
    elif origin in (tuple, list):
        name = f"list of {_plural(type_of(arguments[0]))}"
    elif origin is dict:
        name = f"mapping of {_plural(type_of(arguments[0]))} to {_plural(type_of(arguments[1]))}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        section = SECTIONS.get(annotation.__name__, annotation.__name__.lower())
        name = f"[{annotation.__name__}](#{section})"
    else:
        name = NAMES[annotation]
    return name


def _plural(name: str) -> str:
    return PLURALS.get(name, name)


def default_of(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "depends"
    if field.default is PydanticUndefined:
        return "none (required)"
    default = field.default
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json", exclude_defaults=True)
    return code(shown(list(default) if isinstance(default, tuple) else default))


def shown(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    quoted = '"' if isinstance(value, str) and "\n" in value else None
    text: str = yaml.safe_dump(value, default_flow_style=True, default_style=quoted, width=1_000, sort_keys=False)
    return text.strip().removesuffix("...").strip().replace("''", '""')


def bounds_of(annotation: Any) -> str:
    """Return which values of the type are allowed; empty if all are."""
    found = list(dict.fromkeys(_bounds(annotation)))
    return "; ".join(found)


def _bounds(annotation: Any) -> Iterable[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == JsonValue:
        return
    if origin is Literal:
        yield ", ".join(code(str(argument)) for argument in arguments)
    elif origin is Annotated:
        counted = (
            " characters" if arguments[0] is str else " of them" if get_origin(arguments[0]) in (tuple, list) else ""
        )
        told = [
            limit for found in arguments[1:] for limit in getattr(found, "metadata", [found])
        ]  # a Field has several
        limits: Mapping[type, Any] = {type(limit): limit for limit in told}
        if limits.keys() & {Ge, Gt, Le, Lt, MinLen, MaxLen}:
            yield _range(limits, counted)
        if arguments[0] is str and AfterValidator in limits:
            yield _form(annotation)
        yield from _bounds(arguments[0])
    else:
        for argument in arguments:
            yield from _bounds(argument)


def _range(limits: Mapping[type, Any], counted: str) -> str:
    low = limits[Ge].ge if Ge in limits else limits[MinLen].min_length if MinLen in limits else None
    high = limits[Le].le if Le in limits else limits[MaxLen].max_length if MaxLen in limits else None
    if Gt in limits:
        return f"more than {limits[Gt].gt:g}"
    if (low, high, MinLen in limits) == (1, None, True):
        return "not empty"
    if low is None:
        return f"at most {high:,}{counted}"
    return f"{low:,} to {high:,}{counted}" if high is not None else f"{low:,} or more{counted}"


def _form(annotation: Any) -> str:
    """Return the required form of a text, from the error that its validator raises."""
    try:
        TypeAdapter(annotation).validate_python(" ")
    except ValidationError as error:
        return str(error.errors()[0]["ctx"]["allowed"])
    raise ValueError(f"{annotation} takes a blank for an answer.")
