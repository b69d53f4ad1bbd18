"""Tell where a module comes from, without importing it: the user's own code, a library, or neither.

Own code is what lies outside site-packages and the standard library. Dagster, and the parts of this package that need
it, are told apart because no cluster has them.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

THIS_PACKAGE = "emr_pipelines"
SHIPPED_PARTS = ("errors", "remote")  # of this package, besides its __init__: every program needs them
EXAMPLES = "pipelines"  # the part of this package that is like a user's own code
PROVIDED = frozenset({"pyspark", "py4j", "dagster_pipes"})  # by Spark, or by this package
LIBRARIES = re.compile(r"[/\\](?:site|dist)-packages(?:[/\\]|$)")
STANDARD_LIBRARY = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


class Home(Enum):
    """Where a module comes from."""

    OWN = "own"
    PROVIDED = "provided"  # every Python that runs a program has it
    LIBRARY = "library"  # installed here
    DAGSTER = "dagster"  # Dagster, and the parts of this package that need it
    ABSENT = "absent"  # not on this machine


class Location(NamedTuple):
    """Where the import system finds a module. `folders` are where a package's parts are; None for a plain module."""

    file: str | None
    folders: tuple[str, ...] | None


def home_of(name: str, named: Iterable[str] = ()) -> Home:
    """Return where a module comes from. named: units (see `unit_of`) that are own code even if they are installed."""
    top = name.partition(".")[0]
    if top == THIS_PACKAGE:
        return _home_in_this_package(name)
    if top in PROVIDED:
        return Home.PROVIDED
    if top == "dagster" or top.startswith("dagster_"):
        return Home.DAGSTER
    standard = top in sys.stdlib_module_names
    place = find(name)
    if place is None:
        return Home.PROVIDED if standard else Home.ABSENT
    files = [place.file] if place.file else list(place.folders or ())
    if standard and all(is_library(file) or file.startswith(STANDARD_LIBRARY) for file in files):
        return Home.PROVIDED
    installed = files and all(is_library(file) or _is_recorded(_container(name, file), name) for file in files)
    return Home.LIBRARY if installed and not is_within(name, named) else Home.OWN


def _home_in_this_package(name: str) -> Home:
    _, _, rest = name.partition(".")
    if not rest or rest.partition(".")[0] in (*SHIPPED_PARTS, EXAMPLES):
        return Home.OWN
    needs_dagster = rest in sys.modules[THIS_PACKAGE].__all__ or find(".".join(name.split(".")[:2])) is not None
    return Home.DAGSTER if needs_dagster else Home.ABSENT


def find(name: str) -> Location | None:
    """Find a module among the imported ones, or else with the import system."""
    module = loaded(name)
    if module is not None:
        folders = getattr(module, "__path__", None)
        return Location(getattr(module, "__file__", None), None if folders is None else tuple(folders))
    parent, _, last = name.rpartition(".")
    path = None
    if parent:
        above = find(parent)
        if above is None or above.folders is None:
            return None
        path = list(above.folders)
    for finder in sys.meta_path:
        # of a folder's part PathFinder needs the last name alone; with the whole it wants the parent to be imported
        wanted = last if finder is PathFinder else name
        spec = finder.find_spec(wanted, path) if hasattr(finder, "find_spec") else None
        if spec is not None:
            inner = spec.submodule_search_locations
            inner = getattr(inner, "_path", inner)  # a namespace's would look for its parent among what is imported
            return Location(spec.origin if spec.has_location else None, None if inner is None else tuple(inner))
    return None


def loaded(name: str) -> ModuleType | None:
    """Return the module of that name if it has been imported. A script that was started counts under its importable
    name."""
    main = sys.modules.get("__main__")
    return main if name == _name_of_main(main) else sys.modules.get(name)


def module_name(program: Callable[..., Any]) -> str:
    """Return the name by which another Python process imports the module of a program."""
    main = sys.modules.get("__main__")
    return _name_of_main(main) if program.__module__ == "__main__" else program.__module__


def _name_of_main(main: ModuleType | None) -> str:
    spec = getattr(main, "__spec__", None)
    file = Path(getattr(main, "__file__", None) or "")
    # a console script such as bin/pytest has no suffix, and is not the module of that name
    return spec.name if spec else file.stem if file.suffix == ".py" else "__main__"


def modules_of(package: str) -> Iterator[str]:
    """Yield a module and all modules below it; nothing if it does not exist."""
    place = find(package)
    if place is None:
        return
    yield package
    for folder in map(Path, place.folders or ()):
        for file in folder.glob("*.py") if folder.is_dir() else ():
            if file.stem.isidentifier() and file.stem != "__init__":
                yield f"{package}.{file.stem}"
        for inner in folder.iterdir() if folder.is_dir() else ():
            if inner.is_dir() and inner.name.isidentifier() and inner.name != "__pycache__":
                yield from modules_of(f"{package}.{inner.name}")


def is_library(file: str) -> bool:
    return LIBRARIES.search(file) is not None


def unit_of(name: str) -> str:
    """Return the unit that is installed, and sent, as a whole: the outermost package with an `__init__` around a
    module, or the module itself, but not a namespace package."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        unit = ".".join(parts[:depth])
        place = find(unit)
        if place is None or place.file is not None:
            return unit
    return name


def is_within(name: str, units: Iterable[str]) -> bool:
    """Whether a module is one of these units, in one of them, or a namespace package around one."""
    return any(f"{name}.".startswith(f"{unit}.") or unit.startswith(f"{name}.") for unit in units)


def _container(name: str, file: str) -> Path:
    """Return the folder on sys.path that contains a module with this file, or a namespace package with this folder."""
    path = Path(file)
    folders = name.count(".") + (path.stem == "__init__")
    return path.parents[min(folders, len(path.parents) - 1)]


def _is_recorded(folder: Path, name: str) -> bool:
    """Whether an installer has put a module there, as `pip install --target` does."""
    return any(is_within(name, units) for units in _distributions(folder).values())


def distributions_of(name: str) -> dict[str, frozenset[str]]:
    """Return the projects that installed a module, with all units of each; empty for code that was not installed."""
    unit = unit_of(name)
    place = find(unit)
    where = next((file for file in (place.file, *(place.folders or ())) if file), None) if place else None
    if where is None or unit == THIS_PACKAGE:
        return {}
    found = _distributions(_container(unit, where))
    return {project: units for project, units in found.items() if is_within(unit, units)}


def projects_of(name: str) -> list[str]:
    """Return the names of the projects that installed a module here, as far as known."""
    top = name.partition(".")[0]
    return list(distributions_of(name)) or list(metadata.packages_distributions().get(top, ()))


@cache
def _distributions(folder: Path) -> dict[str, frozenset[str]]:
    """Return the units of each project that is installed in a folder."""
    found = {}
    for record in folder.glob("*.dist-info/RECORD"):
        rows = record.read_text(encoding="utf-8", errors="replace").splitlines()
        paths = [row.partition(",")[0].strip('"') for row in rows]
        found[record.parent.name.partition("-")[0]] = frozenset(
            _units([path for path in paths if path.endswith(".py")])
        )
    return found


def _units(paths: Iterable[str]) -> Iterator[str]:
    """Return the units of Python files, which are given by their paths below a folder on sys.path."""
    packages = {path.rpartition("/")[0] for path in paths if path.endswith("/__init__.py")}
    for path in paths:
        parts = path.removesuffix(".py").split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        unit = next((folder for folder in above if folder in packages), "/".join(parts)).split("/")
        if all(part.isidentifier() for part in unit):
            yield ".".join(unit)
