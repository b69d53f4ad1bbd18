"""Different work has different digests, and equal work has equal digests."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from emr_pipelines.errors import PackagingError
from emr_pipelines.job.package import StagingArea, Submission, digest_of, package
from emr_pipelines.remote import codec
from tests.account import Account
from tests.runners.programs import Anything, Numbers, add_up, fails

ONE = Numbers((1,))
texts = st.text(st.sampled_from("ab 1,\"'[]{}:\\\0\né\u0301e\ud800\udc00\U00010000"), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.sampled_from([-0.0, 1e16, 10**16]) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal: 1, 1.0 and true differ, the order of members does not count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)  # -0.0 is not 0.0


@given(values, values)
@example(["ab", "c"], ["a", "bc"])
@example(["a", ["b"]], ["a", "b"])
@example([["a"], "b"], [["a", "b"]])
@example(["a,b"], ["a", "b"])
@example(['a", "b'], ["a", "b"])
@example([1], ["1"])
@example([1], [1.0])
@example([1], [True])
@example([0], [False])
@example([0.0], [-0.0])
@example([None], ["null"])
@example([None], [])
@example([{"a": None}], [{}])
@example([{}], [[]])
@example(["é"], ["e\u0301"])  # the file system and S3 distinguish them
@example(["\U00010000"], ["\ud800\udc00"])
@example(["\\u00e9"], ["é"])
@example([1e16], [10**16])
def test_two_values_have_two_digests(one: Any, other: Any) -> None:
    assert (digest_of([one]) == digest_of([other])) == same(one, other)


@given(values)
def test_equal_values_have_equal_digests(value: Any) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else copy.deepcopy(value)

    assert digest_of(value) == digest_of(turned(value))


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3), values)
def test_who_asks_is_never_taken_for_what_is_asked_for(asked_by: list[str], other: list[str], params: Any) -> None:
    """The caller's name may have any length, and the digest after it has a fixed length."""
    assume(asked_by != other)
    assert digest_of([*asked_by, "m:f", params, "code"]) != digest_of([*other, "m:f", params, "code"])


def test_each_part_of_a_job_tells_it_from_others(account: Account) -> None:
    place = StagingArea.at(account.aws, account.base)

    def digest(program: Any = add_up, params: Any = ONE, by: Any = ("run", "step"), **changes: Any) -> str:
        how = Submission(ship_dependencies=False, **changes)
        return package(program, params, asked_by=by, label="words", staging=place, how=how).job.identity

    others = [
        digest(by=("run partition", "step")),
        digest(by=("run", "step[1]")),
        digest(by=("run", "other")),
        digest(program=fails),
        digest(params=Numbers((1, 1))),
        digest(params=Numbers((11,))),
        digest(params=Numbers((1,), note="1")),
        digest(params=Numbers((1,), note="é")),
        digest(params=Numbers((1,), note="e\u0301")),
        digest(details=("cluster", "")),
        digest(details=("client", "q")),
        digest(conf={"a": "1"}),
        digest(conf={"a": "1", "b": ""}),
        digest(jars=("s3://b/a.jar",)),
        digest(files=("s3://b/a.jar",)),
        digest(jars=("s3://b/a.jar", "s3://b/b.jar")),
        digest(jars=("s3://b/a.jar,s3://b/b.jar",)),
    ]
    assert len({digest(), *others}) == 1 + len(others)
    assert digest() == digest()
    assert digest(conf={"a": "1", "b": "2"}) == digest(conf={"b": "2", "a": "1"})


def test_a_requirement_and_its_archive_are_part_of_it(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    place = StagingArea.at(account.aws, account.base)
    monkeypatch.setattr("emr_pipelines.job.package.requirements_of", lambda _: ("x==1",))
    found = set()
    for archive in ("s3://b/deps/1.zip", "s3://b/deps/2.zip"):
        monkeypatch.setattr(type(place.dependencies), "uri", lambda *_, archive=archive: archive)
        job = package(add_up, Numbers((1,)), asked_by=("run",), label="x", staging=place, how=Submission()).job
        found.add(job.identity)
    assert len(found) == 2


def test_what_would_arrive_as_another_is_not_sent() -> None:
    """In ASCII JSON, two halves of a surrogate pair look like the character."""
    with pytest.raises(PackagingError, match="would arrive as"):
        codec.round_trip(Anything, Anything("\ud800\udc00"))
    assert codec.round_trip(Anything, Anything("\ud800")).value == "\ud800"
