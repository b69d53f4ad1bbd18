"""The word rule by an independent implementation, and texts that are about it."""

from __future__ import annotations

import unicodedata

import regex
from hypothesis import strategies as st

WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*")

# characters that this Python and the regex module, whose Unicode tables are newer, must agree on, with those that the
# rule is about made frequent
ASSIGNED = st.characters(exclude_categories=["Cn", "Cs", "Co"])
TELLING = st.sampled_from("aB'’_ .ΣσςİıßéÉ\u0301\u0308\u093fक٣²Ⅷ中\u200d\ufeff-\t")
TEXT = st.text(st.one_of(TELLING, ASSIGNED), max_size=40)


def expected_words(text: str, case_sensitive: bool = False) -> list[str]:
    """The rule, by an independent implementation."""
    text = unicodedata.normalize("NFC", text)
    return [word.replace("’", "'") for word in WORD.findall(text if case_sensitive else text.lower())]
