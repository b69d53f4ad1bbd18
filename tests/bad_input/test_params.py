"""A step's parameters in JSON: NaN, nested wrong types, missing and unknown members. The allowed
types are in tests/remote/test_codec.py."""

from __future__ import annotations

from typing import Any

import pytest

from emr_pipelines.errors import InvalidValue, PackagingError
from emr_pipelines.pipelines.pi.estimate import PiParams
from emr_pipelines.pipelines.word_count.count import WordCountParams
from emr_pipelines.pipelines.word_count.ingest import IngestParams
from emr_pipelines.remote import codec
from emr_pipelines.remote.entrypoint import Task
from tests.bad_input.conftest import validate_sentence

COUNT: dict[str, Any] = {
    "text": "s3://b/x", "output": "s3://b/y", "min_count": 1, "stop_words": [], "case_sensitive": False, "top": 20,
}  # fmt: skip
INGEST: dict[str, Any] = {"sources": ["s3://b/x"], "output": "s3://b/y"}
PI: dict[str, Any] = codec.encode(PiParams(samples=(10,), output="s3://b/y"))

CASES: list[tuple[type, Any, str]] = [
    (WordCountParams, {**COUNT, "min_count": 1.0}, "params.min_count is 1.0; allowed: int."),
    (WordCountParams, {**COUNT, "min_count": True}, "params.min_count is True; allowed: int."),
    (
        WordCountParams,
        {**COUNT, "min_count": 10**30},
        "min_count is 1000000000000000000000000000000; allowed: 1 to 2^63",
    ),
    (WordCountParams, {**COUNT, "top": float("nan")}, "params.top is nan; allowed: int."),
    (WordCountParams, {**COUNT, "stop_words": ["a", ["b"]]}, "params.stop_words[1] is ['b']; allowed: str."),
    (WordCountParams, {**COUNT, "stop_words": {"a": 1}}, "params.stop_words is {'a': 1}; allowed: a tuple."),
    (WordCountParams, {**COUNT, "stop_words": ["\u0301 x y"]}, "allowed: one word each"),
    (WordCountParams, {**COUNT, "case_sensitive": "false"}, "params.case_sensitive is 'false'; allowed: bool."),
    (WordCountParams, {**COUNT, "text": None}, "params.text is None; allowed: str."),
    (WordCountParams, {**COUNT, "count_min": 1}, "params.count_min is unknown; WordCountParams has text, output"),
    (WordCountParams, {"text": "x"}, "params.output is missing; WordCountParams has text, output"),
    (WordCountParams, [], "params is []; allowed: the members of WordCountParams."),
    (IngestParams, {**INGEST, "sources": []}, "sources is []; allowed: at least one of: a file"),
    (IngestParams, {**INGEST, "sources": "s3://b/x"}, "params.sources is 's3://b/x'; allowed: a tuple."),
    (IngestParams, {**INGEST, "sources": ["hdfs:///x"]}, "A source is 'hdfs:///x'; allowed: a file"),
    (PiParams, {**PI, "samples": [1, float("inf")]}, "params.samples[1] is inf; allowed: int."),
    (PiParams, {**PI, "samples": [0]}, "samples is 0; allowed: 1 to 1,000,000,000,000,000 each"),
    (PiParams, {**PI, "seed": -1}, "seed is -1; allowed: "),
    (WordCountParams, {**COUNT, "min_count": 10**5000}, "min_count is a number of thousands of digits; allowed: 1 to"),
    (PiParams, {**PI, "partitions": 0}, "partitions is 0; allowed: "),
]


@pytest.mark.parametrize(("kind", "data", "says"), CASES, ids=[says[:50] for _, _, says in CASES])
def test_parameters(kind: type, data: Any, says: str) -> None:
    with pytest.raises((PackagingError, InvalidValue)) as caught:
        codec.decode(kind, data)
    validate_sentence(str(caught.value), says)


@pytest.mark.parametrize(
    "name", ["", ":", "os", "os:", ":system", "os:system:x", "os.path:a b", "../x:y", "os;x:y", "a:b.c"]
)
def test_names_of_programs(name: str) -> None:
    with pytest.raises(PackagingError) as caught:
        codec.load(name)
    validate_sentence(str(caught.value), f"The program is {name!r}; allowed: package.module:function.")


def test_a_task_says_what_it_was_told_whatever_that_is() -> None:
    odd = Task(
        "m:f", {"a": ["\ud800", "\0", '"', 1e-300, 10**400, None]}, "s3://b/$(x) `y`\n*.json", files=("s3://b/a b#c",)
    )
    assert Task.from_json(odd.to_json()) == odd
