"""The libraries that a program requires: collected from its modules, and compared with what is installed here."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from emr_pipelines.aws.redaction import masked
from emr_pipelines.errors import InvalidValue, RequirementsMissing
from emr_pipelines.job.imports import Walk, walk
from emr_pipelines.job.modules import Home, loaded, module_name, projects_of

BROUGHT_BY_SPARK = ("pyspark", "py4j")  # the cluster's own must be used; and PyPI has no wheel of pyspark


def requirements_of(program: Callable[..., Any]) -> tuple[str, ...]:
    """Return the REQUIREMENTS of a program's module and of the user's own modules that it imports; each line once.

    Raises InvalidValue.
    """
    found: dict[str, None] = {}
    for module in walk(module_name(program)).own.values():
        lines: Any = getattr(loaded(module.name), "REQUIREMENTS", None)
        if lines is not None:
            if not isinstance(lines, (tuple, list)) or not all(isinstance(line, str) for line in lines):
                allowed = "a tuple of requirements, such as ('numpy>=2', 'polars==1.31.0')"
                raise InvalidValue(f"REQUIREMENTS of {module.name}", lines, allowed)
        else:
            lines = module.source.named_in("REQUIREMENTS") if module.source else ()
        found |= dict.fromkeys(lines)
    return tuple(found)


def normalized(requirements: Iterable[str]) -> list[str]:
    """Normalize and sort requirements, without those that Spark brings.
    Raises InvalidValue."""
    return sorted({str(requirement) for requirement in _parsed(requirements)})


def reject_missing(program: Callable[..., Any]) -> None:
    """Raise RequirementsMissing, with the command that installs them, if this Python lacks a requirement."""
    lines = requirements_of(program)
    wrong = {}
    for requirement in _parsed(lines):
        if requirement.marker is None or requirement.marker.evaluate():
            version = _version(requirement.name)
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                requirement.marker = None
                wrong[str(requirement)] = version
    if wrong:
        found = " and ".join(
            f"{name} ({f'{version} is installed' if version else 'not installed'})" for name, version in wrong.items()
        )
        command = f"pip install {' '.join(map(shlex.quote, wrong))}"
        raise RequirementsMissing(f"{program.__module__} requires {masked(found)}. Run: {masked(command)}")


def undeclared(found: Walk, requirements: Iterable[str]) -> list[str]:
    """Return a sentence for each library that a program certainly imports and no requirement provides.

    found: the walk of at least Certainty.LATER, without the imports whose failure is caught.
    """
    declared = _parsed(requirements)
    brought = _with_what_they_require(declared)
    unknown = any(_version(requirement.name) is None for requirement in declared)  # so is what it brings
    said: dict[str, str] = {}
    for missing in found.leading_to(Home.LIBRARY):
        # Python 3.10 does not know the modules of every project; most projects are named as their module
        names = projects_of(missing.name) or ([missing.name] if _version(missing.name) else [])
        projects = [canonicalize_name(name) for name in names]
        if not brought & {*projects, canonicalize_name(missing.name)}:
            project = f" of the project {projects[0]}" if projects else ""
            said.setdefault(missing.name, f"{missing}{project}, which no REQUIREMENTS name: a cluster may not have it.")
    for missing in found.leading_to(Home.ABSENT) if not unknown else ():
        said.setdefault(missing.name, f"{missing}, which is not on this machine, and which no REQUIREMENTS name.")
    return list(said.values())


def _parsed(requirements: Iterable[str]) -> list[Requirement]:
    found = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            allowed = (
                "a name with versions, extras and markers, such as 'polars[pyarrow]>=1.31,<2'; no paths, no options"
            )
            raise InvalidValue("A requirement", masked(text), allowed) from error
        if requirement.url and requirement.url.startswith("file:"):
            raise InvalidValue(
                "A requirement", text, "a package of an index or of the web, for a file can change unseen"
            )
        requirement.name = canonicalize_name(requirement.name)
        if requirement.name not in BROUGHT_BY_SPARK:
            found.append(requirement)
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _with_what_they_require(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of projects and of all that they require, as far as they are installed here."""
    found: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(requirement.name), set(requirement.extras)) for requirement in requirements]
    while waiting:
        name, extras = waiting.pop()
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | extras
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            lines = []
        for inner in map(Requirement, lines):
            asked = inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in {"", *extras})
            if asked:
                waiting.append((canonicalize_name(inner.name), set(inner.extras)))
    return set(found)
