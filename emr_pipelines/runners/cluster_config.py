"""Derive Dagster's config schema of a cluster from ClusterSpec.

The Launchpad completes the names of fields and the choices, and shows their descriptions. Dagster itself checks only
choices, lists and mappings: its answer to an unknown field would be the type of the whole description, and its types
know neither a variable nor every form of a value that ClusterSpec accepts. ClusterSpec checks the rest, in sentences.
"""

from __future__ import annotations

import json
from enum import Enum
from functools import cache
from types import GenericAlias, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from emr_pipelines.backends.emr.presets import DEFAULT_PRESET


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
        known = Field(DEFAULT_PRESET, description=said) if name == "preset" else Field(description=said)
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
