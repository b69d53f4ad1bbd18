"""Find what a source file imports and declares, without running it."""

from __future__ import annotations

import ast
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
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
BY_NAME = ("import_module", "__import__")


class Certainty(IntEnum):
    """How certain it is that an import statement runs when its module is imported."""

    MAYBE = 0  # a condition decides, or an ImportError is caught
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
class ModuleSource:
    """What a source file imports and declares.

    constants: the literal values of the names in DECLARED; None for one that is computed or conditional. lines: where
    they are. knows_its_file: whether it uses `__file__`."""

    file: str
    digest: str
    imports: tuple[Statement, ...]
    constants: Mapping[str, Any]
    lines: Mapping[str, int]
    knows_its_file: bool

    def named_in(self, name: str) -> tuple[str, ...]:
        """Return the texts in a constant; empty without one. Raises InvalidValue for anything else."""
        value = self.constants.get(name, ())
        if not isinstance(value, (tuple, list)) or not all(isinstance(text, str) and text for text in value):
            allowed = "a tuple of names, written out, such as ('plugins',)"
            raise InvalidValue(f"{name} of {self.file}", "computed" if value is None else value, allowed)
        return tuple(value)


def source_of(file: str | None, module: str, is_package: bool) -> ModuleSource | None:
    """Read a module's source; None if there is none to read."""
    if not file or not file.endswith(".py"):
        return None
    try:
        entry = os.stat(file)  # noqa: PTH116 (Path.stat costs three times as much)
        package = module if is_package else module.rpartition(".")[0]
        return _read(file, package, entry.st_mtime_ns, entry.st_size)
    except (OSError, SyntaxError, ValueError):  # importing a file that is not Python reports it
        return None


@lru_cache(maxsize=4096)
def _read(file: str, package: str, modified: int, size: int) -> ModuleSource:  # noqa: ARG001 (of a cache's key)
    data = Path(file).read_bytes()
    tree = ast.parse(data)
    with_import = [number for number, line in enumerate(data.splitlines(), 1) if b"import" in line]
    imports = list(_statements(tree.body, package, Certainty.ALWAYS, with_import))
    if any(name.encode() in data for name in BY_NAME):
        imports += _by_name(tree, package)
    constants: dict[str, Any] = {}
    lines: dict[str, int] = {}
    if any(name.encode() in data for name in DECLARED):
        for name, value, line in _declared(tree.body, Certainty.ALWAYS, constants):
            constants[name] = value
            lines[name] = line
    return ModuleSource(file, sha256(data).hexdigest(), tuple(imports), constants, lines, b"__file__" in data)


def _declared(body: list[Any], certainty: Certainty, before: Mapping[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Yield each assignment to a name in DECLARED: the name, its value afterwards, and the line.

    before: the values so far, which the caller updates."""
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id in DECLARED:
                        value = _literal(node.value) if part is target else None
                        yield part.id, _value_after(node, part.id, value, certainty, before.get(part.id)), node.lineno
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for inner, certain in _within(node, certainty):
                yield from _declared(inner, certain, before)


def _value_after(node: ast.stmt, name: str, value: Any, certainty: Certainty, before: Any) -> Any:
    """Return a name's value after an assignment; None if unknown. `__all__` is the union of what may be in it."""
    both = None
    if isinstance(before, (tuple, list)) and isinstance(value, (tuple, list)):
        both = (*before, *value)
    after = both if isinstance(node, ast.AugAssign) else value
    if certainty is not Certainty.ALWAYS and after != before:
        after = None
    return after or both or before or value if name == "__all__" else after


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError):
        return None


def _statements(body: list[Any], package: str, certainty: Certainty, lines: list[int]) -> Iterator[Statement]:
    """Yield the import statements in a block and its inner blocks. lines: those with the word `import`."""
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
    """Yield the blocks within a statement, and how certain it is that they run."""
    maybe = Certainty.MAYBE
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.body, min(certainty, Certainty.LATER)
    elif isinstance(node, (ast.If, ast.While)):
        holds = _holds(node.test)
        yield ([] if holds is False else node.body), (certainty if holds else maybe)
        yield ([] if holds else node.orelse), (certainty if holds is False else maybe)
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
        yield from ((case.body, maybe) for case in node.cases)
    elif isinstance(node, (ast.For, ast.AsyncFor)):
        yield node.body, maybe
        yield node.orelse, maybe
    elif isinstance(node, ast.ClassDef):
        yield node.body, certainty


def _holds(test: ast.expr) -> bool | None:
    """Whether a condition holds where a program runs; None if unknown. TYPE_CHECKING is false there, and the module is
    not the main one."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if _called(test) == "TYPE_CHECKING":
        return False
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        holds = _holds(test.operand)
        return None if holds is None else not holds
    if isinstance(test, ast.BoolOp):
        decides = isinstance(test.op, ast.Or)  # one true part decides an `or`, one false part an `and`
        parts = [_holds(part) for part in test.values]
        return decides if decides in parts else None if None in parts else not decides
    if isinstance(test, ast.Compare) and _is_about_main(test):
        return isinstance(test.ops[0], (ast.NotEq, ast.NotIn, ast.IsNot))
    return None


def _is_about_main(test: ast.Compare) -> bool:
    """Whether an expression compares `__name__` with "__main__"."""
    parts = list(ast.walk(test))
    names = any(isinstance(part, ast.Name) and part.id == "__name__" for part in parts)
    return names and any(isinstance(part, ast.Constant) and part.value == "__main__" for part in parts)


def _catches(errors: ast.expr | None) -> bool:
    """Whether an `except` clause catches an ImportError."""
    if errors is None:
        return True
    parts = errors.elts if isinstance(errors, ast.Tuple) else [errors]
    return any(getattr(part, "attr", getattr(part, "id", "")) in IMPORT_ERRORS for part in parts)


def _by_name(tree: ast.AST, package: str) -> Iterator[Statement]:
    """Return the import made by `importlib.import_module("shop.plugins")`, if its argument is a literal."""
    functions = set(BY_NAME)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            functions |= {alias.asname for alias in node.names if alias.name in BY_NAME and alias.asname}
        elif isinstance(node, ast.Assign) and _called(node.value) in BY_NAME:
            functions |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _called(node.func) not in functions:
            continue
        given: dict[str | None, ast.expr] = dict(zip(("name", "package"), node.args, strict=False))
        given |= {word.arg: word.value for word in node.keywords}
        name = getattr(given.get("name"), "value", None)
        if isinstance(name, str) and name.startswith(".") and _called(given.get("package")) == "__package__":
            with suppress(ImportError):  # beyond the top-level package, where it would fail, too
                name = resolve_name(name, package)
        if isinstance(name, str) and name and not name.startswith("."):
            yield Statement(name, (), node.lineno, Certainty.MAYBE)


def _called(node: Any) -> str:
    """Return the last part of a dotted name such as `importlib.import_module`; empty for another expression."""
    return str(getattr(node, "attr", getattr(node, "id", "")))
