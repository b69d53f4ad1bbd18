"""Follow the imports of a program through the user's own code, from source file to source file.

Nothing is imported on the way, so the walk may run when definitions load. It stops at libraries, Spark and Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from emr_pipelines.errors import InvalidValue
from emr_pipelines.job.modules import (
    THIS_PACKAGE,
    Home,
    Location,
    distributions_of,
    find,
    home_of,
    is_within,
    module_name,
    modules_of,
    unit_of,
)
from emr_pipelines.job.source import Certainty, ModuleSource, Statement, source_of


@dataclass(frozen=True)
class Import:
    """A module and the line that imports it; the root of a walk has none."""

    name: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, imports {self.name}" if self.file else self.name


@dataclass(frozen=True)
class OwnModule:
    """A module of the user's own. `source` is None where there is no source file to read."""

    found: Import
    place: Location
    source: ModuleSource | None

    @property
    def name(self) -> str:
        return self.found.name


@dataclass
class Walk:
    """The user's own modules that a program reaches, by name, and its imports of other modules. named: units that
    count as own code even if they are installed."""

    named: set[str]
    own: dict[str, OwnModule] = field(default_factory=dict)
    elsewhere: dict[str, tuple[Import, Home]] = field(default_factory=dict)

    def leading_to(self, *homes: Home) -> list[Import]:
        """Return the first import of each module with this home."""
        return [
            found for found, home in self.elsewhere.values() if home in homes and not is_within(found.name, self.named)
        ]


def walk(root: str, least: Certainty = Certainty.MAYBE) -> Walk:
    """Follow the import statements that run with at least this certainty, from the module `root`.

    A module brings the `__init__` of the packages that it is in. The packages that PACKAGES names are followed into all
    their modules. Raises InvalidValue for PACKAGES that cannot be read or found.
    """
    unit = unit_of(root)
    found = Walk({unit}.union(*distributions_of(unit).values()))
    queue = [Import(root)]
    while queue:
        wanted = queue.pop(0)
        parts = wanted.name.split(".")
        for depth in range(1, len(parts) + 1):
            module = Import(".".join(parts[:depth]), wanted.file, wanted.line)
            if module.name in found.own:
                continue
            around_root = f"{root}.".startswith(f"{module.name}.")
            home = Home.OWN if around_root else home_of(module.name, found.named)
            place = find(module.name)
            if home is not Home.OWN or place is None:
                if home is not Home.PROVIDED:
                    found.elsewhere.setdefault(module.name, (module, Home.ABSENT if home is Home.OWN else home))
                break
            source = source_of(place.file, module.name, place.folders is not None)
            found.own[module.name] = OwnModule(module, place, source)
            queue += _next(source, place.file or "", least, found.named) if source else []
    return found


def _next(source: ModuleSource, file: str, least: Certainty, named: set[str]) -> Iterator[Import]:
    for statement in source.imports:
        if statement.certainty >= least:
            yield Import(statement.module, file, statement.line)
            for part in _parts(statement):
                name = f"{statement.module}.{part}"
                if _is_module(name, named):
                    yield Import(name, file, statement.line)
    if least <= Certainty.LATER:
        for package in source.named_in("PACKAGES"):
            named.add(unit_of(package))
            modules = sorted(modules_of(package))
            if not modules:
                allowed = "packages and modules that can be imported here, such as ('plugins',)"
                raise InvalidValue(f"PACKAGES of {file}", package, allowed)
            yield from (Import(name, file, source.lines.get("PACKAGES", 0)) for name in modules)


def _parts(statement: Statement) -> Iterable[str]:
    """Return the names that a `from` statement imports; `*` means the module's `__all__`."""
    if statement.names != ("*",):
        return statement.names
    place = find(statement.module)
    source = source_of(place.file, statement.module, place.folders is not None) if place else None
    return (source.constants.get("__all__") or ()) if source else ()


def _is_module(name: str, named: Iterable[str]) -> bool:
    """Whether `from package import name` imports a module of own code."""
    if name.partition(".")[0] == THIS_PACKAGE:
        return home_of(name, named) is Home.DAGSTER or find(name) is not None
    parent = name.rpartition(".")[0]
    return home_of(parent, named) is Home.OWN and find(name) is not None


def without_files(found: Walk) -> list[str]:
    """Return a sentence for each own module that uses `__file__` and is sent without the files beside it."""
    return [
        f"{module.source.file} uses __file__ and is in no package with an __init__.py, so files beside it do not "
        "travel: move it into such a package, or name the files in the runner's `files`."
        for module in found.own.values()
        if module.source
        and module.source.knows_its_file
        and not module.place.folders
        and unit_of(module.name) == module.name
    ]


def needs_dagster(program: Callable[..., Any]) -> str | None:
    """Return a sentence if a program's module imports Dagster, directly or not, so that no cluster can import it; else
    None. Raises InvalidValue as `walk` does."""
    module = module_name(program)
    found = walk(module, Certainty.ALWAYS).leading_to(Home.DAGSTER)
    if not found:
        return None
    return (
        f"The program {module}:{program.__name__} cannot run on a cluster: {found[0]}, and clusters have no Dagster. "
        "Keep the program, and what its module imports, in modules without Dagster."
    )
