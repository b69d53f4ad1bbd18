"""An independent implementation of the word rule in docs/word_count.md, and texts that exercise it."""

from __future__ import annotations

import unicodedata

import regex
from hypothesis import strategies as st

NEVER_SEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Me}--[\u200B\u200C\u200D]]", regex.V1)
RUN = r"[\p{L}\p{N}](?:[\u200C\u200D]*[\p{L}\p{M}\p{N}])*"
WORD = regex.compile(rf"{RUN}(?:[\u200C\u200D]*['’][\u200C\u200D]*{RUN})*")
APOSTROPHE = regex.compile(r"[\u200C\u200D]*['’][\u200C\u200D]*")

# characters that this Python and the regex module, whose Unicode tables are newer, must agree on, with those that the
# rule is about made frequent
ASSIGNED = st.characters(exclude_categories=["Cn", "Cs", "Co"])
TELLING = st.sampled_from(
    "aB'’_ .ΣσςİIıiJßéÉ\u0301\u0307\u0308\u030c\u0323\u0338\u0345\u093f\u094dकیم٣²Ⅷ中=\t-1❤👩"
    "\u00ad\u034f\u061c\u115f\u180b\u200b\u200c\u200d\u200f\u2060\u20e3\u3164\ufe0f\ufeff\U000e0061\U000e0100"
)
TEXT = st.text(st.one_of(TELLING, ASSIGNED), max_size=40)


def expected_words(text: str, case_sensitive: bool = False) -> list[str]:
    """Return the words of a text, by an implementation independent of the program's."""
    seen = unicodedata.normalize("NFC", NEVER_SEEN.sub("", text))
    words = [APOSTROPHE.sub("'", word) for word in WORD.findall(seen)]
    return words if case_sensitive else [_lower(word) for word in words]


def _lower(word: str) -> str:
    """Convert to lower case, without a dot above an i."""
    letters: list[str] = []
    dotless = False  # whether a dot above here would stand directly above an i
    for character in unicodedata.normalize("NFD", word.lower()):
        if character == "\N{COMBINING DOT ABOVE}" and dotless:
            continue
        dotless = character == "i" or (dotless and 0 < unicodedata.combining(character) < 230)
        letters.append(character)
    return unicodedata.normalize("NFC", "".join(letters))
