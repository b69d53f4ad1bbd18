"""The word rule and bulk counting, compared with the regex module."""

from __future__ import annotations

import itertools
import sys
import unicodedata
from collections import Counter

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emr_pipelines.pipelines.word_count import words
from emr_pipelines.pipelines.word_count.words import SAFE, WIDE_SAFE, add_up, count_pieces, hashes, words_in
from tests.pipelines.word_count.words import TELLING, TEXT, expected_words
from tests.tiers import extended

EVERY_CHARACTER = [
    chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) not in {"Cn", "Co", "Cs"}
]
# characters that affect their neighbours: combining marks, joiners, and the final sigma's context
TELLING_CATEGORIES = {"Mn", "Mc", "Me", "Lm", "Sk", "Cf", "Lt"}


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I ❤️ you ☀️sun sun", ["i", "you", "sun", "sun"]),
        ("1️⃣ 2⃣ #️⃣ a⃝", ["1", "2", "a"]),
        ("👩‍👩‍👧‍👦 👍🏽ok ✌️ 🇪🇺 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f e\u200d👍", ["ok", "e"]),
        ("\u0301 \u0301a =\u0338b \u093f", ["a", "b"]),  # marks without a base letter
        ("İçin için i\u0307çin I\u0307çin ISPARTA ısparta", [*["için"] * 4, "isparta", "ısparta"]),
        ("İ\u0323 I\u0323\u0307 ị\u0307 i\u0307\u0307 i\u0301\u0307", ["ị", "ị", "ị", "i", "í\u0307"]),
        ("J\u030c ǰ j\u030c H\u0331", ["ǰ", "ǰ", "ǰ", "ẖ"]),
        ("ǅ Ǆ ẞ ß SS Ω K ΣΑΣ. ΑΣ.Α ΑΣ'Α", ["ǆ", "ǆ", "ß", "ß", "ss", "ω", "k", "σας", "ας", "α", "ασ'α"]),
        ("می\u200cخواهم \u200cمی\u200c \u200fمن\u200e", ["می\u200cخواهم", "می", "من"]),
        ("क्\u200dष क्\u200cष र\u200d্য", ["क्\u200dष", "क्\u200cष", "र\u200d্য"]),
        ("don\u200d't don'\u200dt don\u2060't", ["don't"] * 3),
        ("soft\u00adhyphen so\u00adft\u00ad\u00adhy\u00adphen", ["softhyphen"] * 2),
        ("one\ufefftwo word\u2060joiner zero\u200bwidth", ["onetwo", "wordjoiner", "zero", "width"]),
        ("\u202eabc\u202c \u2066d\u2069 \u3164 \u115f\u1160 a\u034fb", ["abc", "d", "ab"]),
        ("葛\U000e0100 葛 ᠠ\u180b᠎", ["葛", "葛", "ᠠ"]),
        ("\u0600٣ ۝٣", ["٣", "٣"]),  # visible format characters separate words
    ],
)
def test_words_by_hand(text: str, expected: list[str]) -> None:
    assert words_in(text) == expected
    assert expected_words(text) == expected
    assert counted(text.encode()) == Counter(expected)


def test_a_long_run_of_joiners_is_looked_at_once() -> None:
    run = "\u200c\u200d" * 150_000  # 45 billion steps if each joiner could begin a match
    assert words_in(f"a{run}b a{run} {run}b") == [f"a{run}b", "a", "b"]


@pytest.mark.parametrize("length", range(6))
def test_joiners_that_join_nothing_are_dropped(length: int) -> None:
    for characters in itertools.product("a\u200c\u200d\u0301\n", repeat=length):
        text = "".join(characters)
        assert words_in(text) == expected_words(text)


def test_every_letter_and_number_that_is_seen_is_a_word_of_its_own() -> None:
    assert {found for found in EVERY_CHARACTER if words_in(found, case_sensitive=True)} == {
        found
        for found in EVERY_CHARACTER
        if regex.match(
            r"[[\p{L}\p{N}]--\p{Default_Ignorable_Code_Point}]", unicodedata.normalize("NFC", found), regex.V1
        )
    }


def test_what_is_never_seen_neither_makes_nor_breaks_a_word() -> None:
    never_seen = [found for found in EVERY_CHARACTER if regex.fullmatch(r"\p{DI}|\p{Me}", found) and found != "\u200b"]
    assert len(never_seen) > 300
    for character in never_seen:
        assert words_in(f"{character} {character}a {character}1{character} b{character}") == ["a", "1", "b"]
        (word,) = words_in(f"a{character}b")
        assert word == (f"a{character}b" if character in "\u200c\u200d" else "ab")


@pytest.mark.parametrize("case_sensitive", [False, True])
def test_the_words_of_a_word_are_the_word(case_sensitive: bool) -> None:
    after = ["b", "\u0301", "\u0307", "\u0323\u0307", "Σ", "\u200db", "’B"]
    changing = [found for found in EVERY_CHARACTER if unicodedata.category(found) not in {"Lo", "So"}]
    pairs = [found + other for found in changing for other in after] + [
        one + found for one in "aIΣ" for found in changing
    ]
    texts = " ".join([*EVERY_CHARACTER, *pairs])
    words = words_in(texts, case_sensitive)
    assert words_in(" ".join(words), case_sensitive) == words
    assert words_in(unicodedata.normalize("NFD", texts), case_sensitive) == words


@given(TEXT, st.booleans())
@settings(max_examples=500)
@example("J\u030c", False)
@example("İ\u0323\u0307", False)
def test_canonically_equal_texts_have_the_same_words_and_a_word_is_itself(text: str, case_sensitive: bool) -> None:
    words = words_in(text, case_sensitive)
    assert words_in(unicodedata.normalize("NFC", text), case_sensitive) == words
    assert words_in(unicodedata.normalize("NFD", text), case_sensitive) == words
    for word in words:
        assert words_in(word, case_sensitive) == [word]


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


EVERY_SAFE = [bytes([byte]).decode() for byte in SAFE] + [mark.decode() for mark in WIDE_SAFE]


@pytest.mark.parametrize("safe", [one if one in " \n.。" else extended(one) for one in EVERY_SAFE])
def test_a_safe_character_separates_words_whatever_stands_around_it(safe: str) -> None:
    alone = [word for character in EVERY_CHARACTER for word in words_in(character)]
    assert words_in(safe.join(EVERY_CHARACTER)) == alone
    telling = [found for found in EVERY_CHARACTER if unicodedata.category(found) in TELLING_CATEGORIES]
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
