"""Dataclasses as Dagster shows them: parameters as settings, results as metadata, rows and files as tables."""

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import dagster as dg

from emr_pipelines.errors import PackagingError
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import hints_of, resolved
from emr_pipelines.remote.files import is_visible, locate

SETTINGS: dict[Any, Any] = {
    bool: dg.Bool, int: dg.Int, float: dg.Float, str: dg.String, Any: dg.Any, object: dg.Any, type(None): dg.Any,
}  # fmt: skip
COLUMNS = {bool: "bool", int: "int", float: "float", str: "string"}  # other values are shown as JSON
SCALARS = (bool, int, float, str, type(None))
MAX_ROWS = 500  # of a table, and
MAX_CHARACTERS = 10_000  # of a text in metadata, which people read and the event log keeps for ever
SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"  # in a parquet file's footer; has the columns' comments


@dataclasses.dataclass(frozen=True)
class _Field:
    """One field of a result, for `dataclasses.asdict`."""

    value: Any


class Member(NamedTuple):
    """A field of a dataclass. `description` is the text in its annotation, as in `Annotated[int, "In days."]`."""

    field: dataclasses.Field[Any]
    hint: Any
    description: str | None

    @property
    def name(self) -> str:
        return self.field.name


def members_of(kind: type[Any]) -> dict[str, Member]:
    """Return the fields of a dataclass by name; NoneType has none. Raises PackagingError for unusable annotations."""
    if kind is type(None):
        return {}
    hints, annotated = hints_of(kind), hints_of(kind, with_extras=True)
    return {
        field.name: Member(field, hints[field.name], _text_of(annotated[field.name]))
        for field in dataclasses.fields(kind)
    }


def settings_of(
    kind: type[Any], given: frozenset[str] = frozenset(), path: str = "", within: tuple[type[Any], ...] = ()
) -> dict[str, dg.Field]:
    """Return the fields of the parameters, except those in `given`, as settings of an asset with defaults and
    descriptions. Their values are what `codec.decode` reads. Raises PackagingError.

    within: the dataclasses around this one, which must not contain itself.
    """
    path = path or kind.__name__
    if kind in within:
        raise PackagingError(
            f"{path} is a {kind.__name__} within a {kind.__name__}, so its settings would have no end; annotate the "
            "field as list[Any] or dict[str, Any], or read such data from a file."
        )
    return {
        name: dg.Field(
            _setting(member.hint, f"{path}.{name}", (*within, kind)),
            description=member.description,
            **_default(member, path),
        )
        for name, member in members_of(kind).items()
        if member.field.init and name not in given
    }


def metadata_of(result: Any) -> dict[str, Any]:
    """Return the fields of a result as Dagster metadata: numbers are plotted, rows are tables, `row_count` becomes
    `dagster/row_count`. Long values are cut; `<field>_rows` then has the number of rows of a table."""
    found: dict[str, Any] = {}
    for name, member in members_of(type(result)).items():
        value, row = getattr(result, name), _row_of(member.hint)
        if row is not None and value is not None:
            records = [dg.TableRecord(_cells(item)) for item in value[:MAX_ROWS]]
            found[name] = dg.MetadataValue.table(records, schema=table_schema(row))
            if len(value) > MAX_ROWS:
                found[f"{name}_rows"] = len(value)
        elif name == "row_count" and isinstance(value, int):
            found["dagster/row_count"] = value
        elif isinstance(value, SCALARS):
            found[name] = _beginning(value) if isinstance(value, str) else value
        else:
            plain = dataclasses.asdict(_Field(value))["value"]
            whole = json.dumps(plain)
            shown = _beginning(whole)
            found[name] = dg.MetadataValue.json(plain) if shown == whole else dg.MetadataValue.text(shown)
    return found


def table_schema(row: type[Any]) -> dg.TableSchema:
    """Return the columns of a table whose rows are instances of a dataclass."""
    columns = []
    for name, member in members_of(row).items():
        plain = [hint for hint in _choices(member.hint) if hint is not type(None)]
        kind = COLUMNS.get(plain[0], "json") if len(plain) == 1 else "json"
        constraints = dg.TableColumnConstraints(nullable=len(plain) < len(_choices(member.hint)))
        columns.append(dg.TableColumn(name, kind, member.description, constraints))
    return dg.TableSchema(columns)


def parquet_schema(uri: str) -> dg.TableSchema | None:
    """Read the columns of the parquet files in a folder, local or on S3, from the first file that Spark would read. A
    file in `_delta_log` or `_temporary` does not count. None when there is no file.

    Descriptions are Spark's comments, as `frame.withMetadata(column, {"comment": "..."})` makes them.
    """
    from pyarrow import fs, parquet  # a quarter of a second

    filesystem, root = locate(uri)
    below = filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    files = [entry.path for entry in below if entry.type == fs.FileType.File and entry.path.endswith(".parquet")]
    inner = sorted(path[len(root) :].strip("/") for path in files)
    visible = [path for path in inner if all(map(is_visible, path.split("/")))]
    if not visible:
        return None
    schema = parquet.read_schema(f"{root.rstrip('/')}/{visible[0]}", filesystem=filesystem)
    told = json.loads((schema.metadata or {}).get(SPARK_SCHEMA, b'{"fields": []}'))["fields"]
    comments = {field["name"]: field["metadata"].get("comment") for field in told}
    columns = [dg.TableColumn(field.name, str(field.type), comments.get(field.name)) for field in schema]
    columns += [
        dg.TableColumn(folder.partition("=")[0], "string", "From the names of the folders.")
        for folder in visible[0].split("/")[:-1]
        if "=" in folder
    ]
    return dg.TableSchema(columns)


def _text_of(annotated: Any) -> str | None:
    """Return the first text in an Annotated, also behind a NewType or an alias."""
    texts = [text for text in getattr(annotated, "__metadata__", ()) if isinstance(text, str)]
    inner = getattr(annotated, "__supertype__", None) or getattr(annotated, "__value__", None)
    return texts[0] if texts else _text_of(inner) if inner else None


def _setting(hint: Any, path: str, within: tuple[type[Any], ...]) -> Any:
    """Return Dagster's type for an annotation that `annotations.check_annotation` accepts."""
    hint = resolved(hint)
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if hint in SETTINGS:
        return SETTINGS[hint]
    if origin is Literal:
        words = all(isinstance(choice, str) for choice in arguments)
        # named by its choices, because Dagster treats enums with one name as the same
        return dg.Enum(" or ".join(map(repr, arguments)), list(map(dg.EnumValue, arguments))) if words else dg.Any
    if origin in (Union, types.UnionType):
        choices = [_setting(choice, path, within) for choice in arguments if choice is not type(None)]
        one = choices[0] if len(choices) == 1 else dg.Any
        return dg.Noneable(one) if len(choices) < len(arguments) else one
    if origin in (list, tuple):
        items = [_setting(item, path, within) for item in arguments if item is not ...]
        return dg.Array(items[0] if len(items) == 1 else dg.Any)
    if origin in (dict, Mapping):
        return dg.Map(str, _setting(arguments[1], path, within) if arguments else dg.Any)  # type: ignore[no-untyped-call]
    return dg.Shape(settings_of(hint, path=path, within=within))  # type: ignore[no-untyped-call]


def _default(member: Member, path: str) -> dict[str, Any]:
    """Return the default of a field, if any, in the form of run config.

    Raises PackagingError for a default that does not match the annotation.
    """
    field = member.field
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    elif field.default is not dataclasses.MISSING:
        default = field.default
    else:
        return {}
    holder = dataclasses.make_dataclass("Default", [(field.name, Any)])
    plain = codec.encode(holder(default), path)[field.name]
    read = codec.decode(member.hint, plain, f"{path}.{field.name}")
    return {"default_value": codec.encode(holder(read), path)[field.name], "is_required": False}


def _row_of(hint: Any) -> type[Any] | None:
    """Return the dataclass of the rows if the annotation is a list or tuple of dataclasses, else None."""
    for choice in _choices(hint):
        arguments = get_args(choice)
        if get_origin(choice) in (list, tuple) and arguments[1:] in ((), (...,)):
            row = resolved(arguments[0])
            return row if isinstance(row, type) and dataclasses.is_dataclass(row) else None
    return None


def _choices(hint: Any) -> tuple[Any, ...]:
    hint = resolved(hint)
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return tuple(map(resolved, choices))


def _cells(row: Any) -> dict[str, Any]:
    cells = dataclasses.asdict(row)
    shown = {name: cell if isinstance(cell, SCALARS) else json.dumps(cell) for name, cell in cells.items()}
    return {name: _beginning(cell) if isinstance(cell, str) else cell for name, cell in shown.items()}


def _beginning(text: str) -> str:
    """Cut a long text for metadata, and add how much was left out."""
    left_out = len(text) - MAX_CHARACTERS
    return f"{text[:MAX_CHARACTERS]} ... and {left_out:,} characters more" if left_out > 0 else text
