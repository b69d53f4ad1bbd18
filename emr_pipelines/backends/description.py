"""Descriptions of what a backend makes on AWS, from Python or from plain mappings (YAML, Dagster's run config).

A description is checked before anything is made; each mistake is one sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from emr_pipelines.backends.forms import refused
from emr_pipelines.errors import InvalidValue, nearest, quoted

if TYPE_CHECKING:
    from typing_extensions import Self


class Part(BaseModel):
    """A description, or a part of one. It is immutable and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        for name, value in data.items():
            if name not in cls.model_fields:
                field = str(name).encode(errors="backslashreplace").decode()  # pydantic encodes its reports
                context = {"field": field, "fields": list(cls.model_fields)}
                raise PydanticCustomError("unknown_field", "there is no field {field}; allowed: {fields}", context)
            if variable := _variable_in(value):
                raise refused(
                    "a value; a variable is looked up in a mapping only, as in EmrSparkRunner(cluster={...})",
                    value={"env": variable},
                )
        return dict(data)


def _variable_in(value: Any) -> str:
    """Return the name of the first `dagster.EnvVar` in a value, which would otherwise pass as a text or a number."""
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_variable_in, value)), "")
    if isinstance(value, Mapping):
        return _variable_in(list(value.values()))
    return str(getattr(value, "env_var_name", ""))


class Description(Part):
    """A whole description. called: the name of the setting that has it, for messages."""

    called: ClassVar[str]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Build a description from plain values. Raises InvalidValue for the first invalid one."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise as_sentence(cls.called, error.errors()[0]) from None  # pydantic's error shows all input, secrets too

    @classmethod
    def check(cls, data: Mapping[str, Any], is_open: Callable[[object], bool]) -> None:
        """Raise InvalidValue for the first mistake in a description of which some values are not known yet.

        is_open: whether a value stands for one that is known later, such as a variable. A choice cannot be open.
        """
        try:
            cls.model_validate(data)
        except ValidationError as error:
            for found in error.errors():
                kind, told = found["type"], found["input"]
                opened = any(map(is_open, told)) if kind == "too_short" else is_open(told)  # pydantic counts the valid
                if not opened or kind == "literal_error":
                    raise as_sentence(cls.called, found) from None


@dataclass(frozen=True)
class Preset:
    """Members of a description, by a name. about: what they are for, for people."""

    about: str
    members: dict[str, Any]


def plain(member: Any) -> Any:
    """Convert a part to the mapping that overrides a preset's."""
    return member.model_dump(exclude_unset=True) if isinstance(member, Part) else member


def with_preset(presets: Mapping[str, Preset], data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a description with the members of its preset, which its own override; a dumped description is complete."""
    preset = presets.get(str(data.get("preset")))
    if preset is None:
        return data
    return merged(preset.members, {name: plain(member) for name, member in data.items() if name != "preset"})


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings deeply into a new one; other values of the second replace those of the first."""
    result = copy.deepcopy(dict(base))
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


LIMITS = {
    "not_allowed": "{allowed}", "literal_error": "{expected}", "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge} or more", "less_than_equal": "{le} or less", "too_short": "{min_length} or more",
    "too_long": "{max_length} or fewer", "string_too_short": "a text that is not empty",
    "string_too_long": "{max_length} characters or fewer",
}  # fmt: skip
EXPECTED = {
    "int": "a whole number", "float": "a number", "finite": "a number", "string": "a text", "dict": "a mapping",
    "model": "a mapping", "tuple": "a list", "missing": "a value; it has no default",
    "invalid-json-value": "text, numbers, true, false, null, and lists and mappings of them",
}  # fmt: skip


def as_sentence(called: str, error: ErrorDetails) -> InvalidValue:
    """Convert pydantic's error to one of this package."""
    kind, where, context = error["type"], error["loc"], error.get("ctx", {})
    if where[:1] == ("extra",):
        where = ("extra", *where[1::2])  # pydantic adds, between the keys, whether it is in a list or a mapping
    about = ""
    if where[-1:] == ("[key]",):
        where, about = where[:-2], "A key of "
    path = about + called + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    if isinstance(mistake := context.get("error"), InvalidValue):
        name = f"{mistake.name} of {path}" if " " in mistake.name else f"{path}.{mistake.name}"
        return InvalidValue(name, mistake.value, mistake.allowed)
    if kind == "unknown_field":
        return InvalidValue.unknown(f"A field of {path}", context["field"], context["fields"])
    value = context.get("value", None if kind == "missing" else error["input"])
    if kind in LIMITS:
        instead = nearest(value, quoted(context["expected"])) if kind == "literal_error" else ""
        return InvalidValue(path, value, LIMITS[kind].format(**context), instead)
    return InvalidValue(path, value, EXPECTED.get(kind) or EXPECTED.get(kind.split("_")[0]) or error["msg"])
