"""Read the annotations of a program, check that their values can be sent as JSON, and suggest replacements for others.

Imports nothing but the standard library and this package's errors: it is sent with every program.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from emr_pipelines.errors import PackagingError

Program = Callable[..., Any]

ALLOWED_ANNOTATIONS = (
    "str, int, float, bool, None, list[...], tuple[...], dict[str, ...], Literal, Any, unions of these, "
    "and dataclasses of them"
)
ALLOWED = "JSON types (text, finite numbers, booleans, none, lists, mappings with text keys) and dataclasses of them"
IN_A_FILE = "Write the rows to a file, and let the result say where it is."
INSTEAD = {  # by the class, or a class that it inherits from
    "datetime.date": "Write a date or time as text: value.isoformat().",
    "datetime.time": "Write a date or time as text: value.isoformat().",
    "datetime.timedelta": "Write a duration as seconds: value.total_seconds().",
    "decimal.Decimal": "Write a Decimal as text: str(value); or as a float: float(value).",
    "fractions.Fraction": "Write a Fraction as text: str(value); or as a float: float(value).",
    "builtins.complex": "Write a complex number as two floats: (value.real, value.imag).",
    "pathlib.PurePath": "Write a path as text: str(value).",
    "pathlib._local.PurePath": "Write a path as text: str(value).",  # as Python 3.13 has it
    "uuid.UUID": "Write a UUID as text: str(value).",
    "enum.Enum": "Write an Enum as its value: value.value; and annotate it as a Literal.",
    "builtins.set": "Write a set as a list: sorted(value).",
    "builtins.frozenset": "Write a set as a list: sorted(value).",
    "builtins.bytes": "Write bytes as text: base64.b64encode(value).decode().",
    "builtins.bytearray": "Write bytes as text: base64.b64encode(value).decode().",
    "builtins.tuple": "Write a named tuple as a dataclass.",
    "builtins.dict": "Write a TypedDict or another mapping as a dataclass, or as a dict.",
    "collections.abc.Sequence": "Write a sequence as list[...] or tuple[...].",
    "collections.abc.Iterable": "Write what is iterated over as a list: list(value).",
    "builtins.str": "Write text of a class of your own as str(value).",
    "builtins.int": "Write a number of a class of your own as int(value).",
    "builtins.float": "Write a number of a class of your own as float(value).",
    "numpy.ndarray": "Write an array as a list: value.tolist().",
    "numpy.datetime64": "Write a date or time as text: str(value).",
    "numpy.integer": "Annotate a whole number as int.",
    "numpy.bool": "Annotate a truth value as bool.",
    "numpy.bool_": "Annotate a truth value as bool.",
    "numpy.floating": "Write a number as float(value), and annotate it as float.",
    "pandas.core.series.Series": "Write a Series as a list: value.tolist().",
    "pandas.core.frame.DataFrame": IN_A_FILE,
    "pyarrow.lib.Table": IN_A_FILE,
    "pyarrow.lib.Scalar": "Write a scalar of PyArrow as Python's: value.as_py().",
    "pyspark.sql.dataframe.DataFrame": IN_A_FILE,
    "pyspark.sql.types.Row": "Write a Row as a dataclass made of value.asDict().",
}


def annotation_of(program: Program, what: Literal["params", "return"]) -> Any:
    """Return the dataclass, or NoneType, that a program takes or returns. Raises PackagingError.

    Other annotations are not resolved: SparkSession is often imported for type checkers only.
    """
    reject_unfinished(program)
    called = called_by(program)
    if what == "return":
        verb, found = "returns", inspect.signature(program).return_annotation
    else:
        signature = inspect.signature(program)
        try:
            bound = signature.bind(None, None)
        except TypeError as error:
            raise PackagingError(f"{called} cannot be called with (spark, params): {error}.") from error
        parameters = [signature.parameters[parameter] for parameter in bound.arguments]
        verb, found = "takes", parameters[-1].annotation
    if found is inspect.Signature.empty:
        raise PackagingError(f"{called} says nothing of what it {verb}; annotate it with a dataclass, or None.")
    inner = inspect.unwrap(program)
    try:
        annotation = get_type_hints(
            types.SimpleNamespace(__annotations__={"it": found}), globalns=getattr(inner, "__globals__", {})
        )["it"]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise PackagingError(
            f"{called} {verb} {shown(found)}, which its module cannot resolve: {error}; import it at the top of the "
            "module, outside of TYPE_CHECKING."
        ) from error
    if annotation is not type(None) and not (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        instead = instead_of(annotation) if isinstance(annotation, type) else ""
        allowed = f"a dataclass of {ALLOWED}, or None"
        raise PackagingError(f"{called} {verb} {shown(annotation)}; allowed: {allowed}. {instead}".rstrip())
    check_annotation(annotation, shown(annotation))
    return annotation


def reject_unfinished(program: Program) -> None:
    """Raise PackagingError for an `async def` or a generator, whose call returns before any work is done."""
    kinds = {
        "a coroutine function (async def)": inspect.iscoroutinefunction,
        "a generator function (it has a yield)": inspect.isgeneratorfunction,
        "an asynchronous generator function": inspect.isasyncgenfunction,
    }
    for kind, is_one in kinds.items():
        if is_one(program):
            raise PackagingError(
                f"{called_by(program)} is {kind}; a program is a plain function that returns its result."
            )


def check_annotation(annotation: Any, path: str, seen: frozenset[Any] = frozenset()) -> None:
    """Raise PackagingError for an annotation, or a part of it, whose values cannot be sent.

    seen: the dataclasses that are being checked; one may contain itself.
    """
    annotation = resolved(annotation)
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if annotation in (Any, object, None, type(None), bool, int, float, str):
        return
    if origin is Literal:
        if not all(choice is None or type(choice) in (str, int, bool) for choice in arguments):
            raise refused_annotation(annotation, path)
    elif origin in (Union, types.UnionType, list, tuple):
        for number, argument in enumerate(arguments):
            if argument is not ...:
                inner = path if origin in (Union, types.UnionType) else f"{path}[{number if origin is tuple else ''}]"
                check_annotation(argument, inner, seen)
    elif origin in (dict, Mapping):
        if arguments and resolved(arguments[0]) is not str:
            raise refused_annotation(annotation, path, "Make its keys text, or write it as a tuple of pairs.")
        for argument in arguments[1:]:
            check_annotation(argument, f"{path}[...]", seen)
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if annotation not in seen:
            _check_dataclass(annotation, path, seen)
    else:
        raise refused_annotation(annotation, path)


def _check_dataclass(kind: type[Any], path: str, seen: frozenset[Any]) -> None:
    hints = hints_of(kind)
    names = [field.name for field in travelling(kind)]
    for parameter in inspect.signature(kind).parameters.values():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if needed and parameter.name not in names:
            raise PackagingError(
                f"{path} cannot be rebuilt from its fields: {kind.__name__} takes {parameter.name}, which is not one. "
                "Give it a default, or make it a field."
            )
    for name in names:
        check_annotation(hints[name], f"{path}.{name}", seen | {kind})


def hints_of(kind: type[Any], *, with_extras: bool = False) -> dict[str, Any]:
    """Return the annotations of a dataclass by field. Raises PackagingError if one cannot be resolved."""
    try:
        return get_type_hints(kind, include_extras=with_extras)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise PackagingError(
            f"The annotations of {kind.__name__} cannot be resolved: {error}; import what they name at the top of the "
            "module, outside of TYPE_CHECKING."
        ) from error


def refused_annotation(annotation: Any, path: str, instead: str = "") -> PackagingError:
    if isinstance(annotation, TypeVar) or dataclasses.is_dataclass(get_origin(annotation)):
        instead = "A dataclass that travels has fields of fixed types: write one for each type that you need."
    kind = get_origin(annotation) or annotation
    instead = instead or (instead_of(kind) if isinstance(kind, type) else "")
    return PackagingError(
        f"{path} is annotated {shown(annotation)}; allowed: {ALLOWED_ANNOTATIONS}. {instead}".rstrip()
    )


def instead_of(kind: type) -> str:
    """Return a sentence that says what to use instead of a class; empty if unknown."""
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    enums_first = sorted(names, key=lambda name: name != "enum.Enum")  # a StrEnum is a str, too
    return next((INSTEAD[name] for name in enums_first if name in INSTEAD), "")


def called_by(program: object) -> str:
    """Return a program's name for a message."""
    return getattr(program, "__qualname__", None) or repr(program)[:200]


def travelling(kind: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields that the constructor takes; only they are sent."""
    return [field for field in dataclasses.fields(kind) if field.init]


def resolved(annotation: Any) -> Any:
    """Return the type behind a NewType, a `type` alias, or an Annotated within one."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        elif inner := getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None):
            annotation = inner
        else:
            return annotation


def shown(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
