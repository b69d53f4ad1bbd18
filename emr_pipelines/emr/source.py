"""Read a source file for what it imports and declares, without running it."""

from __future__ import annotations

import ast
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from emr_pipelines.errors import InvalidValue

DECLARED = ("REQUIREMENTS", "PACKAGES", "__all__")
IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
OF_THE_MACHINE = {"version_info", "platform", "hexversion", "implementation"}  # sys.version_info and its like
BY_NAME = (b"import_module", b"__import__")


class Certainty(IntEnum):
    """How certain it is that an import statement runs where its module is imported."""

    MAYBE = 0  # an ImportError is caught, or the version of Python decides
    LATER = 1  # inside a function
    ALWAYS = 2  # with the module


@dataclass(frozen=True)
class Statement:
    """`import module`, or `from module import names`, with the module's absolute name."""

    module: str
    names: tuple[str, ...]
    line: int
    certainty: Certainty


@dataclass(frozen=True)
class Source:
    """What a source file says of itself. `constants` are the literal values of REQUIREMENTS and PACKAGES, or None for
    a value that is computed; `lines` is where they are. `knows_its_file` says that it uses `__file__`."""

    file: str
    digest: str
    imports: tuple[Statement, ...]
    constants: Mapping[str, Any]
    lines: Mapping[str, int]
    knows_its_file: bool

    def named_in(self, name: str) -> tuple[str, ...]:
        """The texts in a constant; none when there is no such constant. Raises InvalidValue for anything else."""
        value = self.constants.get(name, ())
        if not isinstance(value, (tuple, list)) or not all(isinstance(text, str) and text for text in value):
            allowed = "a tuple of names, written out, such as ('plugins',)"
            raise InvalidValue(f"{name} of {self.file}", "computed" if value is None else value, allowed)
        return tuple(value)


def source_of(file: str | None, module: str, is_package: bool) -> Source | None:
    """What a module's source says, or None where there is no source that can be read."""
    if not file or not file.endswith(".py"):
        return None
    try:
        entry = os.stat(file)  # noqa: PTH116 (Path.stat costs three times as much)
        package = module if is_package else module.rpartition(".")[0]
        return _read(file, package, entry.st_mtime_ns, entry.st_size)
    except (OSError, SyntaxError, ValueError):  # of a file that is no Python, its import will tell
        return None


@lru_cache(maxsize=4096)
def _read(file: str, package: str, modified: int, size: int) -> Source:  # noqa: ARG001 (of a cache's key)
    data = Path(file).read_bytes()
    tree = ast.parse(data)
    with_import = [number for number, line in enumerate(data.splitlines(), 1) if b"import" in line]
    imports = list(_statements(tree.body, package, Certainty.ALWAYS, with_import))
    if any(name in data for name in BY_NAME):
        imports += _by_name(tree)
    constants: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and target.id in DECLARED:
                    constants[target.id] = _literal(node.value)
                    lines[target.id] = node.lineno
    return Source(file, sha256(data).hexdigest(), tuple(imports), constants, lines, b"__file__" in data)


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError):
        return None


def _statements(body: list[Any], package: str, certainty: Certainty, lines: list[int]) -> Iterator[Statement]:
    """The import statements in a block and in its inner blocks. lines: where the file has the word `import`."""
    for node in body:
        if bisect_left(lines, node.lineno) == bisect_right(lines, node.end_lineno):
            continue
        if isinstance(node, ast.Import):
            yield from (Statement(alias.name, (), node.lineno, certainty) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = node.module or ""
            if node.level:
                try:
                    module = resolve_name("." * node.level + module, package)
                except ImportError:  # beyond the top-level package, where it would fail, too
                    continue
            if module != "__future__":
                yield Statement(module, names, node.lineno, certainty)
        else:
            for inner, certain in _within(node, certainty):
                yield from _statements(inner, package, certain, lines)


def _within(node: Any, certainty: Certainty) -> Iterator[tuple[list[Any], Certainty]]:
    """The blocks of statements within a statement, and how certain it is that they run."""
    maybe = Certainty.MAYBE
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.body, min(certainty, Certainty.LATER)
    elif isinstance(node, ast.If):
        runs, does_not = _judged(node.test)
        by_machine = any(
            getattr(part, "attr", getattr(part, "id", "")) in OF_THE_MACHINE for part in ast.walk(node.test)
        )
        inner = maybe if by_machine else certainty
        yield ([] if does_not else node.body), inner
        yield ([] if runs else node.orelse), inner
    elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
        caught = any(_catches(handler.type) for handler in node.handlers)
        yield node.body, maybe if caught else certainty
        yield node.orelse, maybe if caught else certainty
        yield [statement for handler in node.handlers for statement in handler.body], maybe
        yield node.finalbody, certainty
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        caught = any("suppress" in ast.dump(call.func) and any(map(_catches, call.args)) for call in calls)
        yield node.body, maybe if caught else certainty
    elif isinstance(node, ast.Match):
        yield from ((case.body, certainty) for case in node.cases)
    elif isinstance(node, (ast.ClassDef, ast.For, ast.AsyncFor, ast.While)):
        yield node.body, certainty
        yield getattr(node, "orelse", []), certainty


def _judged(test: ast.expr) -> tuple[bool, bool]:
    """Whether a condition is known to hold, or not to hold, where a program runs: no type checker reads it there, and
    its module is not the main one."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        holds, fails = _judged(test.operand)
        return fails, holds
    name = getattr(test, "attr", getattr(test, "id", ""))
    of_main = isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__"
    return False, name == "TYPE_CHECKING" or of_main


def _catches(errors: ast.expr | None) -> bool:
    """Whether an `except` clause catches an ImportError."""
    if errors is None:
        return True
    parts = errors.elts if isinstance(errors, ast.Tuple) else [errors]
    return any(getattr(part, "attr", getattr(part, "id", "")) in IMPORT_ERRORS for part in parts)


def _by_name(tree: ast.AST) -> Iterator[Statement]:
    """`importlib.import_module("shop.plugins")`, where the name is written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
            called, name = getattr(node.func, "attr", getattr(node.func, "id", "")), node.args[0].value
            if called.encode() in BY_NAME and isinstance(name, str) and name and not name.startswith("."):
                yield Statement(name, (), node.lineno, Certainty.MAYBE)
