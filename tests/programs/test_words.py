"""The word rule and counting in bulk, held against the regex module."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emr_pipelines.programs import words
from emr_pipelines.programs.words import SAFE, WIDE_SAFE, add_up, count_pieces, hashes, words_in
from tests.programs.words import TELLING, TEXT, expected_words

EVERY_CHARACTER = [
    chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) not in {"Cn", "Co", "Cs"}
]
# what changes its neighbours: marks that join the character before them, and what tells a Greek word's end
TELLING_CATEGORIES = {"Mn", "Mc", "Lm", "Sk", "Cf", "Lt"}


def counted(*texts: bytes, case_sensitive: bool = False) -> Counter[str]:
    counts: Counter[str] = Counter()
    for table in count_pieces(texts, case_sensitive):
        found = dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True))
        assert len(found) == len(table)
        counts.update(found)
    return counts


@given(TEXT, st.booleans())
@settings(max_examples=500)
@example("Don't 'quote' rock'n'roll a''b O’Brien", False)
@example("ΟΔΟΣ ΟΔΟΣ. ΣΑΣ'Α", False)
@example("snake_case_word", False)
def test_words_are_those_of_the_rule(text: str, case_sensitive: bool) -> None:
    assert words_in(text, case_sensitive) == expected_words(text, case_sensitive)


def test_every_letter_mark_and_number_is_a_word_of_its_own() -> None:
    wordlike = {
        found
        for found in EVERY_CHARACTER
        if any(unicodedata.category(part)[0] in "LMN" for part in unicodedata.normalize("NFC", found))
    }
    assert {found for found in EVERY_CHARACTER if words_in(found, case_sensitive=True)} == wordlike


@given(st.lists(st.one_of(TEXT, st.text(TELLING, max_size=60)), max_size=5), st.booleans())
@settings(max_examples=1000)
@example(["'a' b'' ''c d'e'f g''h i' 'j", "'"], False)
@example(["=\u0338 a=\u0338b <\u0338 `\u0301 H\u0331,h\u0331 I\u0307"], False)
@example(["ΑΣ,Α ΑΣ.Α ΑΣ:Α ΑΣ-Α ΑΣ^Α"], False)
def test_pieces_are_counted_as_the_words_of_the_rule(texts: list[str], case_sensitive: bool) -> None:
    expected = Counter(word for text in texts for word in expected_words(text, case_sensitive))
    assert counted(*(text.encode() for text in texts), case_sensitive=case_sensitive) == expected


@given(st.text(st.characters(max_codepoint=127), max_size=80), st.booleans())
@settings(max_examples=1000)
def test_ascii_is_counted_as_the_words_of_the_rule(text: str, case_sensitive: bool) -> None:
    expected = Counter(expected_words(text, case_sensitive))
    assert counted(text.encode(), case_sensitive=case_sensitive) == expected


@pytest.mark.parametrize("safe", [bytes([byte]).decode() for byte in SAFE] + [mark.decode() for mark in WIDE_SAFE])
def test_a_safe_character_separates_words_whatever_stands_around_it(safe: str) -> None:
    alone = [word for character in EVERY_CHARACTER for word in words_in(character)]
    assert words_in(safe.join(EVERY_CHARACTER)) == alone
    # what changes its neighbours: marks that join the character before them, and what tells a Greek word's end
    telling = [
        found for found in EVERY_CHARACTER if unicodedata.category(found) in {"Mn", "Mc", "Lm", "Sk", "Cf", "Lt"}
    ]
    for before, after in (("ΑΣ", ""), ("", "Σ"), ("ΑΣ", "Α"), ("e", "e")):
        pairs = [(before + one, other + after) for one, other in zip(["", *telling], [*telling, ""], strict=True)]
        apart = [word for one, other in pairs for text in (one, other) for word in words_in(text)]
        assert words_in("\n".join(one + safe + other for one, other in pairs)) == apart


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xe2\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_bytes_that_are_not_utf_8_separate_words(bad: bytes) -> None:
    assert counted(b"one" + bad + b"two " + bad + b" \xc3\xa9" + bad) == {"one": 1, "two": 1, "é": 1}


def test_much_text_is_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(f"w{number % 50}é" for number in range(start, start + 1000)).encode() for start in range(20)]
    expected = Counter(word for text in texts for word in text.decode().split())
    monkeypatch.setattr(words, "TOGETHER_BYTES", 3 * len(texts[0]))
    assert len(list(count_pieces(texts))) == 1
    assert counted(*texts) == expected
    monkeypatch.setattr(words, "ROWS_BYTES", 1000)
    tables = list(count_pieces(texts))
    assert len(tables) > 2
    assert counted(*texts) == expected
    together = add_up(iter(tables * 10))
    assert dict(zip(*together.to_pydict().values(), strict=True)) == {word: 10 * n for word, n in expected.items()}


@given(st.lists(st.text(max_size=12), max_size=20))
def test_a_hash_is_of_the_string_alone(strings: list[str]) -> None:
    import pyarrow as pa

    together = hashes(pa.chunked_array([strings], pa.string())).tolist()
    one_by_one = [hashes(pa.chunked_array([["before"], [string]], pa.string())).tolist()[1] for string in strings]
    assert together == one_by_one
    assert len(set(together)) == len(set(strings))


def test_hashes_are_those_of_every_machine() -> None:
    import pyarrow as pa

    def by_hand(text: str) -> int:
        power, total = 1, 0
        for byte in text.encode():
            power = power * 0x9E3779B97F4A7C15 % 2**64
            total = (total + (byte + 1) * power) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            total = (total ^ total >> shift) * factor % 2**64
        return total

    strings = ["", "a", "the", "don't", "café", "x" * 100]
    assert hashes(pa.chunked_array([strings], pa.string())).tolist() == [by_hand(text) for text in strings]
