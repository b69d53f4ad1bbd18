"""Descriptions of a cluster or an application as settings of a runner: their schema, and their values in a run.

The Launchpad completes the names of fields and the choices, and shows their descriptions. Dagster itself checks only
choices, lists and mappings: its answer to an unknown field would be the type of the whole description, and its types
know neither a variable nor every form of a value that a description accepts, which checks the rest, in sentences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import GenericAlias, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from emr_pipelines.aws.redaction import REFER, reject_secrets
from emr_pipelines.backends.description import Description
from emr_pipelines.errors import InvalidValue
from emr_pipelines.runners.variables import is_variable, looked_up, plain, reject_whole_numbers, without_values

DescriptionT = TypeVar("DescriptionT", bound=Description)


class Described(dg.PermissiveConfig):
    """A config class that is only read for its schema, so pydantic need not build validators."""

    model_config = ConfigDict(defer_build=True)


@cache
def config_of(part: type[BaseModel]) -> type[dg.Config]:
    """Return a config class with a part's fields and their descriptions.

    Only `preset` has a default. Dagster fills defaults in, so explicit values, which override a preset, could not be
    told from defaults. The descriptions say the defaults instead. Every field may be null.
    """
    fields: dict[str, Any] = {}
    for name, field in part.model_fields.items():
        hint, said = _type_of(field.rebuild_annotation()) | None, _said(field)
        known = Field("standard", description=said) if name == "preset" else Field(description=said)
        fields[name] = (hint, known)
    found: type[dg.Config] = create_model(part.__name__, __base__=Described, __doc__=part.__doc__, **fields)
    return found


def _type_of(hint: Any) -> Any:
    """Return the type for Dagster's config schema."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and any(isinstance(found, BeforeValidator) for found in arguments[1:]):
        return Any
    if origin in (Annotated, Union, UnionType):
        return _type_of(arguments[0])  # the only other member of a union here is None
    if origin is Literal:
        # Dagster knows no Literal in a list or beside null, and names the Enum in its error message
        return Enum(" | ".join(arguments), {found: found for found in arguments})
    if origin is tuple:
        return GenericAlias(list, (_type_of(arguments[0]),))
    # a mapping of any content is Any too: Dagster fails on null within a mapping
    return config_of(hint) if isinstance(hint, type) and issubclass(hint, BaseModel) else Any


def _said(field: FieldInfo) -> str:
    if field.is_required():
        return f"{field.description} Required."
    told = field.get_default(call_default_factory=True)
    default = told.model_dump(exclude_unset=True) if isinstance(told, BaseModel) else told
    return f"{field.description} Default: {json.dumps(default)}." if default else str(field.description)


def checked(description: type[Description], told: Any) -> Any:
    """Check a description, except for values from environment variables, and return it as plain data.

    Raises InvalidValue.
    """
    name = description.called
    if not isinstance(told, (Mapping, description)) or is_variable(described := plain(told)):
        raise InvalidValue(name, plain(told), "a mapping")
    reject_secrets(f"{name}.extra", described.get("extra"), REFER)
    if isinstance(told, Mapping):
        reject_whole_numbers(told.get("extra"), f"{name}.extra")
    description.check(described, is_variable)
    return described


def parsed(description: type[DescriptionT], told: Any, defaults: Mapping[str, str]) -> DescriptionT:
    """Return a description with the current values of its variables.

    defaults: members from the environment, used where they are set and the description has none. Raises InvalidValue.
    """
    values, names = looked_up(plain(told), description.called)
    try:
        return description.parse({**{name: value for name, value in defaults.items() if value}, **values})
    except InvalidValue as mistake:
        raise without_values(mistake, names) from None
