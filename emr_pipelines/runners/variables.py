"""Environment variables within a cluster's description, looked up each time a run needs the cluster.

A variable is `dg.EnvVar("NAME")` in Python and `{env: NAME}` in run config. Dagster looks up variables only where its
config schema says text, whole number or boolean, and a description has values that it has no schema for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dagster._config.field_utils import IntEnvVar, is_dagster_env_var
from pydantic import BaseModel

from emr_pipelines.aws.redaction import HIDDEN, is_called_secret, refer_to
from emr_pipelines.errors import InvalidValue

Path = tuple[object, ...]

# A mapping under one of these names has keys of its own, so {"env": "prod"} is a tag or a property there.
OWN_KEYS = {"tags", "properties", "Properties"}
CLASSIFICATIONS = {"configurations", "Configurations"}
NESTED = {"export", "docker"}  # the classifications that EMR has within others, as {spark-env: {export: {...}}}


def plain(told: Any) -> Any:
    """Convert a description to run config's types: parts of a ClusterSpec become mappings, tuples become lists, and an
    EnvVar becomes {"env": NAME}."""
    if isinstance(told, BaseModel):
        return told.model_dump(mode="json", exclude_unset=True)
    if isinstance(told, Mapping):
        return {key: plain(member) for key, member in told.items()}
    if isinstance(told, (list, tuple)):
        return [plain(member) for member in told]
    return {"env": told.env_var_name} if is_dagster_env_var(told) else told


def reject_whole_numbers(told: Any, root: str) -> None:
    """Raise InvalidValue for an EnvVar.int where any type is allowed: run config has one way to write a variable, so
    its value would be a text."""
    if isinstance(told, IntEnvVar):
        raise InvalidValue(root, {"env": told.env_var_name}, "EnvVar, for a text, or a number written here")
    members = told.items() if isinstance(told, Mapping) else enumerate(told) if isinstance(told, (list, tuple)) else ()
    for key, member in members:
        reject_whole_numbers(member, f"{root}.{key}")


def is_variable(told: object) -> bool:
    """Whether a value is a variable, at a place where a mapping has no free keys."""
    return isinstance(told, Mapping) and set(told) == {"env"} and isinstance(told["env"], str)


def looked_up(told: Any, root: str, environ: Mapping[str, str] = os.environ) -> tuple[Any, dict[str, str]]:
    """Return plain data with all variables replaced by their values, and the variables' names by value.

    root: what the data is called in a message. Raises InvalidValue for a variable that is not set.
    """
    names: dict[str, str] = {}

    def resolve(found: Any, path: Path) -> Any:
        if is_variable(found) and not _has_own_keys(path):
            name = found["env"]
            where = ".".join(map(str, (root, *path)))
            if name not in environ:
                raise InvalidValue(where, found, f"a variable that is set in the run's environment, and {name} is not")
            if is_called_secret(where):
                refer_to(where, name, environ[name])
            names[environ[name]] = name
            return environ[name]
        if isinstance(found, Mapping):
            return {key: resolve(member, (*path, key)) for key, member in found.items()}
        if isinstance(found, list):
            return [resolve(member, (*path, index)) for index, member in enumerate(found)]
        return found

    return resolve(told, ()), names


def without_values(mistake: InvalidValue, names: Mapping[str, str]) -> InvalidValue:
    """Return the error with the variable's name instead of its value, which may be a secret."""
    if isinstance(mistake.value, str) and mistake.value in names:
        return InvalidValue(mistake.name, {"env": names[mistake.value]}, mistake.allowed, mistake.instead)
    if any(value and value in str(mistake.value) for value in names):
        return InvalidValue(mistake.name, HIDDEN, mistake.allowed, mistake.instead)
    return mistake


def _has_own_keys(path: Path) -> bool:
    if not path or path[-1] in OWN_KEYS or path == ("extra",):
        return True
    if not CLASSIFICATIONS.intersection(path) or not isinstance(path[-1], str):
        return False
    return path[-2] in CLASSIFICATIONS or path[-1] in NESTED
