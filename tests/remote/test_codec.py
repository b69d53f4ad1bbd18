"""The codec: allowed values survive a round trip, and others are refused with their path."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import Row
from typing_extensions import TypeAliasType

from emr_pipelines.errors import PackagingError
from emr_pipelines.pipelines.pi.estimate import PiEstimate, PiParams, PiResult, estimate_pi
from emr_pipelines.pipelines.word_count.count import WordCountParams, WordCountResult, count_words
from emr_pipelines.pipelines.word_count.ingest import IngestParams, IngestResult, ingest_text
from emr_pipelines.remote import codec
from emr_pipelines.remote.annotations import annotation_of
from tests.patience import HUNG_SECONDS

if TYPE_CHECKING:
    from fractions import Fraction

    from pyspark.sql import SparkSession

Region = NewType("Region", str)
Days = TypeAliasType("Days", Annotated[int, "In days."])  # what `type Days = Annotated[...]` makes of Python 3.12
Age = NewType("Age", Annotated[int, "In years."])
When = TypeAliasType("When", Annotated[date, "The day."])
T = TypeVar("T")


class Colour(str, Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Everything:
    """A field of each allowed kind."""

    points: tuple[Point, ...]
    pair: tuple[str, int]
    rows: list[dict[str, Optional[float]]]  # noqa: UP045 (both ways of writing it are in use)
    either: Union[int, str, None]  # noqa: UP007
    number: int | float
    nearest: Point | None
    by_name: dict[str, Point]
    mode: Literal["append", "overwrite", 1]
    region: Region
    days: Days
    ages: list[Age]
    flag: bool
    nothing: None = None
    free: Any = None
    length: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.points))


@dataclass(frozen=True)
class Free:
    it: Any


@dataclass(frozen=True)
class Narrow:
    it: tuple[str, ...]


@dataclass(frozen=True)
class Unresolvable:
    price: Fraction


@dataclass(frozen=True)
class Dated:
    when: datetime


@dataclass(frozen=True)
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError("value must be above 0")


texts = st.text(st.characters(codec=None), max_size=20)  # lone surrogates among them
floats = st.floats(allow_nan=False, allow_infinity=False)
points = st.builds(Point, floats, floats)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
word_params = st.builds(
    WordCountParams,
    text=texts,
    output=texts,
    min_count=st.integers(1, 2**63 - 1),
    stop_words=st.lists(st.sampled_from(["the", "don't", "é"])).map(tuple),
    case_sensitive=st.booleans(),
    top=st.integers(0),
)
pi_estimates = st.builds(
    PiEstimate, estimate=floats, abs_error=floats, std_error=st.none() | floats, error_bound=floats, seconds=floats
)
everything = st.builds(
    Everything,
    points=st.lists(points, max_size=3).map(tuple),
    pair=st.tuples(texts, st.integers()),
    rows=st.lists(st.dictionaries(texts, st.none() | floats, max_size=3), max_size=3),
    either=st.none() | st.integers() | texts,
    number=st.integers() | floats,
    nearest=st.none() | points,
    by_name=st.dictionaries(texts, points, max_size=3),
    mode=st.sampled_from(["append", "overwrite", 1]),
    region=texts.map(Region),
    days=st.integers(),
    ages=st.lists(st.integers()),
    flag=st.booleans(),
    free=json_values,
)


def takes(spark: SparkSession, params: WordCountParams) -> WordCountResult:
    raise NotImplementedError


def returns_nothing(spark: SparkSession, params: None) -> None:
    raise NotImplementedError


def says_nothing(spark, params):  # type: ignore[no-untyped-def]
    raise NotImplementedError


def returns_a_number(spark: SparkSession, params: dict[str, int]) -> int:
    raise NotImplementedError


def takes_nothing(spark: SparkSession) -> None:
    raise NotImplementedError


def takes_the_unimported(spark: SparkSession, params: Fraction) -> Fraction:
    raise NotImplementedError


@functools.wraps(takes)
def wrapped(*args: Any) -> Any:
    return takes(*args)


@given(
    st.one_of(
        word_params,
        everything,
        st.builds(PiResult, estimates=st.lists(pi_estimates, max_size=3).map(tuple), seconds=floats),
        st.builds(IngestResult, seconds=floats),
        st.builds(WordCountResult, seconds=floats),
    )
)
def test_what_is_allowed_comes_back_as_it_was(value: Any) -> None:
    text = codec.dumps(value)
    arrived = codec.loads(type(value), text)
    assert text.isascii()
    assert arrived == value
    assert type(arrived) is type(value)
    assert codec.round_trip(type(value), value) == value


def test_programs_of_this_package_travel() -> None:
    estimate = PiEstimate("series", 17, 3.14, 0.1, None, 0.5, 1)
    for value in (
        PiParams("out", samples=(10, 20), partitions=None),
        PiResult((estimate, estimate), "3.14", "d", 2.5),
        IngestParams(("a", "s3://b/c"), "out"),
        None,
    ):
        assert codec.round_trip(type(value), value) == value


def test_a_whole_number_becomes_a_float_where_one_is_wanted() -> None:
    arrived = codec.round_trip(Point, Point(3))
    assert type(arrived.x) is float
    assert type(codec.round_trip(Free, Free(3)).it) is int
    unions = codec.decode(Everything, codec.encode(_everything(number=3)))
    assert type(unions.number) is int


def test_equal_kinds_are_enough() -> None:
    assert codec.round_trip(Free, Free(Counter("aab"))).it == {"a": 2, "b": 1}
    assert codec.round_trip(Point, Point(np.float64(0.5))) == Point(0.5)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Dated(datetime(2026, 1, 2, tzinfo=timezone.utc)), r"params\.when is datetime\.datetime\(2026,.*; allowed: JS"),
        (Free({"a": [1, {2}]}), r"params\.it\['a'\]\[1\] is \{2\}; allowed: JSON types"),
        (Free([Point(math.nan)]), r"params\.it\[0\]\.x is nan; allowed"),
        (Free(-math.inf), r"params\.it is -inf; allowed"),
        (Free({1: "a"}), r"A key of params\.it is 1; allowed: text"),
        (Free(Colour.RED), r"params\.it is <Colour.RED: 'red'>; allowed"),
        (Free(Point), r"params\.it is <class .*Point'>; allowed"),
        (Free(b"bytes"), r"params\.it is b'bytes'; allowed"),
        (Free(np.datetime64("2026-01-02")), r"params\.it is .*2026.*; allowed: .*Write a date or time as text: str"),
        (Free(np.longdouble("0.1")), r"params\.it is .*; allowed: .*Write a number as float\(value\)"),
        (Free(np.array([1])), r"params\.it is array\(\[1\]\); allowed: .*Write an array as a list: value\.tolist\(\)"),
        (Free(1 << 20_000), "params.it is 'a number of 20,001 bits'; allowed"),
        ({"a": 1}, r"params is \{'a': 1\}; allowed: a dataclass, or None"),
        (Point, r"params is <class .*Point'>; allowed: a dataclass, or None"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_by_its_path(value: object, sentence: str) -> None:
    with pytest.raises(PackagingError, match=sentence):
        codec.encode(value)


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(PackagingError, match="contains itself"):
        codec.encode(Free(circle))


@pytest.mark.parametrize(
    ("annotation", "value", "sentence"),
    [
        (Narrow, Narrow(["a"]), r"params\.it is \['a'\] and would arrive as \('a',\)"),  # type: ignore[arg-type]
        (Narrow, Narrow("a"), r"params\.it is 'a'; allowed: a tuple"),  # type: ignore[arg-type]
        (Narrow, Narrow(("a", 1)), r"params\.it\[1\] is 1; allowed: str"),  # type: ignore[arg-type]
        (Free, Free({"a": (1,)}), r"params\.it\['a'\] is \(1,\) and would arrive as \[1\]"),
        (Free, Free(Point(1)), r"params\.it is Point\(x=1, y=0\.0\) and would arrive as \{'x': 1"),
        (Positive, Positive(True), r"params\.value is True; allowed: int"),
        (Point, Point(10**400), r"params\.x is 1000.*; allowed: float"),
        (Dated, Point(1.0), r"params\.when is missing; Dated has when"),
        (Unresolvable, Unresolvable(1), "annotations of Unresolvable cannot be resolved: name 'Fraction'"),  # type: ignore[arg-type]
        (type(None), Point(1.0), r"params is \{'x': 1\.0, 'y': 0\.0\}; allowed: None"),
    ],
)
def test_what_would_not_come_back_is_refused(annotation: Any, value: object, sentence: str) -> None:
    with pytest.raises(PackagingError, match=sentence):
        codec.round_trip(annotation, value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pair": ["a", 1, 2]}, r"result\.pair is \['a', 1, 2\]; allowed: 2 items"),
        ({"pair": ["a", "b"]}, r"result\.pair\[1\] is 'b'; allowed: int"),
        ({"rows": [{"a": "b"}]}, r"result\.rows\[0\]\['a'\] is 'b'; allowed: float"),
        ({"either": 0.5}, r"result\.either is 0\.5; allowed: (Union\[int, str, NoneType\]|int \| str \| None)"),
        ({"mode": True}, "result.mode is True; allowed: 'append' or 'overwrite' or 1"),
        ({"nearest": {"x": 1.0}}, r"result\.nearest\.y is missing; Point has x, y"),
        ({"nearest": {"x": 1.0, "y": 1.0, "z": 1.0}}, r"result\.nearest\.z is unknown; Point has x, y"),
        ({"by_name": []}, r"result\.by_name is \[\]; allowed: a mapping"),
        ({"points": None}, r"result\.points is None; allowed: a tuple"),
        ({"flag": 1}, r"result\.flag is 1; allowed: bool"),
        ({"number": 1e999}, r"result\.number is inf; allowed"),
        ({"extra": 1}, r"result\.extra is unknown; Everything has points"),
    ],
)
def test_json_that_does_not_fit_is_refused(change: dict[str, Any], sentence: str) -> None:
    data = {**codec.encode(_everything()), **change}
    with pytest.raises(PackagingError, match=sentence):
        codec.decode(Everything, data, "result")


def test_text_that_is_not_json_is_refused() -> None:
    for text in ("{", b"\xff", "[" * 100_000):
        with pytest.raises(PackagingError, match="result is not JSON"):
            codec.loads(Point, text, "result")


@dataclass(frozen=True)
class Tree:
    name: str
    children: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Page(Generic[T]):
    rows: tuple[T, ...]


RESOLVES_INIT_VAR = sys.version_info >= (3, 11)  # typing.get_type_hints does; in 3.10 if pydantic has mended InitVar


@dataclass(frozen=True)
class WithInitVar:
    rows: int
    extra: InitVar[int]


@dataclass(frozen=True)
class WithDefaultedInitVar:
    rows: int
    extra: InitVar[int] = 0


class Pair(NamedTuple):
    a: int


class Options(TypedDict):
    a: int


class Level(IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


WRONG: list[tuple[Any, str]] = [  # an annotation, and the message about it
    (date, r"Holder\.it is annotated date; allowed: str, int, .* Write a date or time as text: value\.isoformat\(\)"),
    (datetime, r"Holder\.it is annotated datetime; .* value\.isoformat\(\)"),
    (timedelta, r"Write a duration as seconds: value\.total_seconds\(\)"),
    (Decimal, r"Write a Decimal as text: str\(value\); or as a float"),
    (Path, r"Write a path as text: str\(value\)"),
    (UUID, r"Write a UUID as text: str\(value\)"),
    (Colour, r"annotated Colour; .* Write an Enum as its value: value\.value; and annotate it as a Literal"),
    (Level, "Write an Enum as its value"),
    (Text, r"Write text of a class of your own as str\(value\)"),
    (bytes, r"Write bytes as text: base64"),
    (set[int], r"Holder\.it is annotated set\[int\]; .* Write a set as a list: sorted\(value\)"),
    (complex, "Write a complex number as two floats"),
    (dict[int, int], r"annotated dict\[int, int\]; .* Make its keys text, or write it as a tuple of pairs"),
    (dict[str, Decimal], r"Holder\.it\[\.\.\.\] is annotated Decimal"),
    (list[tuple[int, date]], r"Holder\.it\[\]\[1\] is annotated date"),
    (date | None, r"Holder\.it is annotated date"),
    (int | Path, r"Holder\.it is annotated Path"),
    (Annotated[date, "The day."], r"Holder\.it is annotated date"),
    (NewType("Day", date), r"Holder\.it is annotated date"),
    (When, r"Holder\.it is annotated date"),
    (list[When], r"Holder\.it\[\] is annotated date"),
    (Dated, r"Holder\.it\.when is annotated datetime"),
    (tuple[Dated, ...], r"Holder\.it\[0\]\.when is annotated datetime"),
    (Unresolvable, "annotations of Unresolvable cannot be resolved: name 'Fraction' is not defined"),
    (Sequence[int], r"Write a sequence as list\[\.\.\.\] or tuple"),
    (Pair, "Write a named tuple as a dataclass"),
    (Options, "Write a TypedDict or another mapping as a dataclass"),
    (Page[int], r"annotated .*Page\[int\]; .* fields of fixed types"),
    (Page, r"Holder\.it\.rows\[0\] is annotated ~T; .* fields of fixed types"),
    (Literal[b"a"], "annotated Literal"),
    (
        WithInitVar,
        # the latter in Python 3.10, unless pydantic has mended InitVar
        r"WithInitVar takes extra, which is not one\. Give|The annotations of WithInitVar cannot be resolved",
    ),
    (np.int64, "Annotate a whole number as int"),
    (np.ndarray, r"value\.tolist\(\)"),
    (Callable[[], int], "is annotated"),
]


@pytest.mark.parametrize(("annotation", "said"), WRONG, ids=[str(annotation)[:40] for annotation, _ in WRONG])
@pytest.mark.parametrize("what", ["params", "return"])
def test_annotations_are_judged_before_anything_runs(annotation: Any, said: str, what: Any) -> None:
    holder = make_dataclass("Holder", [("it", annotation)], frozen=True)

    def program(spark: Any, params: Any) -> Any: ...

    program.__annotations__ = {"spark": Any, "params": holder, "return": holder}
    with pytest.raises(PackagingError, match=said):
        annotation_of(program, what)


@pytest.mark.parametrize(
    "annotation", [Everything, Tree, *([WithDefaultedInitVar] if RESOLVES_INIT_VAR else []), type(None), Free]
)
def test_annotations_that_travel(annotation: Any) -> None:
    def program(spark: Any, params: Any) -> Any: ...

    program.__annotations__ = {"spark": Any, "params": annotation, "return": annotation}
    assert annotation_of(program, "return") is annotation
    assert annotation_of(program, "params") is annotation


def test_a_dataclass_may_contain_itself() -> None:
    tree = Tree("a", (Tree("b"), Tree("c", (Tree("d"),))))
    assert codec.round_trip(Tree, tree) == tree


WHATS: tuple[Literal["params", "return"], ...] = ("params", "return")


async def coroutine(spark: Any, params: None) -> None: ...
def generator(spark: Any, params: None) -> Iterator[None]:  # noqa: ARG001
    yield


async def async_generator(spark: Any, params: None) -> AsyncIterator[None]:  # noqa: ARG001
    yield


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (coroutine, r"coroutine is a coroutine function \(async def\); a program is a plain function that returns"),
        (generator, r"generator is a generator function \(it has a yield\)"),
        (async_generator, "async_generator is an asynchronous generator function"),
    ],
)
def test_a_program_is_a_plain_function(program: Any, said: str) -> None:
    for what in WHATS:
        with pytest.raises(PackagingError, match=said):
            annotation_of(program, what)


@dataclass(frozen=True)
class Numbers:
    whole: int
    part: float
    flag: bool
    many: dict[str, tuple[int, ...]]


def test_numbers_of_numpy_arrive_as_python_s() -> None:
    whole: Any = (np.uint8(1), np.int64(-2))
    sent = Numbers(np.int32(3), np.float32(0.5), np.bool_(True), {"a": whole})  # type: ignore[arg-type]
    arrived = codec.round_trip(Numbers, sent)
    assert arrived == Numbers(3, 0.5, True, {"a": (1, -2)})
    assert [type(value) for value in (arrived.whole, arrived.part, arrived.flag)] == [int, float, bool]
    assert codec.dumps(Free([np.int64(2**62), np.float64(0.1)])) == '{"it": [4611686018427387904, 0.1]}'
    with pytest.raises(PackagingError, match=r"whole is 0\.5; allowed: int"):
        codec.round_trip(Numbers, Numbers(np.float64(0.5), 0.0, True, {}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (date(2026, 1, 2), r"value\.isoformat\(\)"),
        (Decimal("1.5"), r"str\(value\); or as a float"),
        (Path("/a"), r"Write a path as text: str\(value\)"),
        ({1}, r"sorted\(value\)"),
        (Colour.RED, r"value\.value"),
        (Level.LOW, r"value\.value"),
        (Row(a=1), "Write a Row as a dataclass"),
    ],
)
def test_a_value_that_does_not_travel_is_refused_with_what_to_write(value: object, said: str) -> None:
    with pytest.raises(PackagingError, match=said):
        codec.encode(Free(value), "result")


def test_annotations_outside_json_are_refused() -> None:
    with pytest.raises(PackagingError, match=r"params\.when is annotated datetime; allowed: str, int"):
        codec.decode(Dated, {"when": "2026-01-02"})
    with pytest.raises(PackagingError, match="params cannot be made a Positive: value must be above 0"):
        codec.decode(Positive, {"value": 0})


@pytest.mark.parametrize(
    ("program", "params", "result"),
    [
        (count_words, WordCountParams, WordCountResult),
        (estimate_pi, PiParams, PiResult),
        (ingest_text, IngestParams, IngestResult),
        (wrapped, WordCountParams, WordCountResult),
        (returns_nothing, type(None), type(None)),
    ],
)
def test_a_program_says_what_it_takes_and_returns(program: Callable[..., Any], params: type, result: type) -> None:
    assert annotation_of(program, "params") is params
    assert annotation_of(program, "return") is result


@pytest.mark.parametrize(
    ("program", "params", "result"),
    [
        (says_nothing, "says_nothing says nothing of what it takes; annotate it", "says nothing of what it returns"),
        (returns_a_number, r"takes dict\[str, int\]; allowed: a dataclass of JSON types", "returns int; allowed"),
        (takes_nothing, r"takes_nothing cannot be called with \(spark, params\): too many positional arguments", None),
        (takes_the_unimported, "takes Fraction, which its module cannot resolve: name 'Fraction'", "returns Fraction"),
    ],
)  # fmt: skip
def test_a_program_that_does_not_say_it_is_refused(program: Any, params: str, result: str | None) -> None:
    with pytest.raises(PackagingError, match=params):
        annotation_of(program, "params")
    if result:
        with pytest.raises(PackagingError, match=result):
            annotation_of(program, "return")


def test_a_name_leads_back_to_its_program() -> None:
    assert codec.name_of(count_words) == "emr_pipelines.pipelines.word_count.count:count_words"
    for program in (count_words, estimate_pi, ingest_text, takes):
        assert codec.load(codec.name_of(program)) is program


def test_what_has_no_name_is_refused() -> None:
    def nested() -> None: ...

    for program, sentence in (
        (lambda _spark, _params: None, "is a lambda, a method or a function within another"),
        (nested, r"nested is a lambda, a method or a function within another"),
        (Path("a").exists, r"Path\w*\.exists is a lambda, a method"),
        (functools.partial(count_words), "is no function of a module"),
        (Point, "Point is no function of a module"),
        (object(), "is no function of a module"),
        (wrapped, "takes is not what tests.remote.test_codec.takes is now"),
    ):
        with pytest.raises(PackagingError, match=sentence):
            codec.name_of(program)  # type: ignore[arg-type]


def test_names_that_lead_nowhere_are_refused() -> None:
    for name, sentence in (
        ("emr_pipelines.pipelines.pi.estimate", "allowed: package.module:function"),
        ("../etc:passwd", "allowed: package.module:function"),
        ("no_such_package.jobs:run", "there is no module no_such_package here"),
        ("emr_pipelines.pipelines.none:run", r"there is no module emr_pipelines\.pipelines\.none here"),
        ("emr_pipelines.pipelines.pi.estimate:tau", "emr_pipelines.pipelines.pi.estimate has no function tau"),
        ("emr_pipelines.pipelines.pi.estimate:MAX_SAMPLES", "has no function MAX_SAMPLES"),
    ):
        with pytest.raises(PackagingError, match=sentence):
            codec.load(name)


def test_an_import_that_fails_within_a_program_is_not_called_a_missing_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        codec.load("needs_more:run")


SCRIPT = """
from emr_pipelines.remote.codec import name_of
def run(spark, params): ...
print(name_of(run))
"""


def test_a_script_is_a_module_and_a_session_is_not(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "night_job.py").write_text(SCRIPT)
    as_script = _python(str(package / "night_job.py"), cwd=tmp_path)
    assert as_script.stdout.strip() == "night_job:run", as_script.stderr
    as_module = _python("-m", "shop.night_job", cwd=tmp_path)
    assert as_module.stdout.strip() == "shop.night_job:run", as_module.stderr
    in_session = _python("-c", SCRIPT, cwd=tmp_path)
    assert "run belongs to an interactive session; put it in a module" in in_session.stderr


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """A cluster's Python may have no dagster, numpy or pyspark to import."""
    code = "import sys, emr_pipelines.remote.codec; print(*{name.split('.')[0] for name in sys.modules})"
    found = _python("-S", "-c", code, cwd=tmp_path)
    brought = set(found.stdout.split()) - set(sys.stdlib_module_names)
    assert {name for name in brought if not name.startswith("_")} == {"emr_pipelines"}


def _everything(**changes: Any) -> Everything:
    values: dict[str, Any] = {
        "points": (Point(1.0, 2.0),),
        "pair": ("a", 1),
        "rows": [{"a": None}],
        "either": None,
        "number": 0.5,
        "nearest": None,
        "by_name": {},
        "mode": 1,
        "region": Region("eu"),
        "days": 3,
        "ages": [4],
        "flag": True,
    }
    return Everything(**{**values, **changes})


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(codec.__file__).parents[2])}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HUNG_SECONDS,
    )
