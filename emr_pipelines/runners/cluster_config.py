"""A cluster's description as Dagster's run config knows it: made from ClusterSpec, so that nothing is written twice."""

from __future__ import annotations

import json
from enum import Enum
from functools import cache
from types import GenericAlias, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo


class Described(dg.Config):
    """What is made here is read by Dagster, and never filled: pydantic need not prepare for it."""

    model_config = ConfigDict(defer_build=True)


@cache
def config_of(part: type[BaseModel]) -> type[dg.Config]:
    """A config class with a part's fields and their descriptions, with parts and choices within.

    Nothing in it has a default, and nothing is required: Dagster would fill defaults in, and then nobody could tell
    what was told, which goes over a preset, from what was not. So they are said in words, and null can be said.
    """
    fields: dict[str, Any] = {
        name: (_type_of(field.rebuild_annotation(), f"{part.__name__}.{name}") | None, Field(description=_said(field)))
        for name, field in part.model_fields.items()
    }
    found: type[dg.Config] = create_model(part.__name__, __base__=Described, __doc__=part.__doc__, **fields)
    return found


def _type_of(hint: Any, name: str) -> Any:
    """What Dagster's config has in place of a type; Any for what can be written in several ways."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and any(isinstance(found, BeforeValidator) for found in arguments[1:]):
        return Any
    if origin in (Annotated, Union, UnionType):
        return _type_of(arguments[0], name)  # what else a union has here is None
    if origin is Literal:
        return Enum(name, {found: found for found in arguments})  # in a list or beside null, Dagster knows no Literal
    if origin is tuple:
        return GenericAlias(list, (_type_of(arguments[0], name),))
    if origin is dict:
        return dict[str, str] if arguments[1] is str else dict[str, Any]
    return config_of(hint) if isinstance(hint, type) and issubclass(hint, BaseModel) else hint


def _said(field: FieldInfo) -> str:
    if field.is_required():
        return f"{field.description} Required."
    default = field.default.model_dump(exclude_unset=True) if isinstance(field.default, BaseModel) else field.default
    return f"{field.description} Default: {json.dumps(default)}." if default else str(field.description)
