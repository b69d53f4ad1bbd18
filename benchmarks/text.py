"""Generate English-like text from a seed: Zipf's law over an invented vocabulary, with sentences and apostrophes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 7
DISTINCT_WORDS = 230_000
ZIPF_EXPONENT = 1.05
ZIPF_SHIFT = 2.7  # Mandelbrot's, which flattens the head as in real text
BLOCK_WORDS = 1 << 18
LINE_WORDS = 12
COMMON_WORDS = 1000  # the most frequent words, short and without accents
ACCENTED, WITH_APOSTROPHE, NUMBERS = 0.02, 0.01, 0.01  # shares of the others
# letters, about as frequent as in English
LETTERS = list("eeeeeeetttttaaaaooooiiiinnnnssssrrrhhhlldddccuummffppggwwyybbvkxjqz")
ACCENTS = str.maketrans("eaouncs", "éàöüñçß")
DECOMPOSED = str.maketrans({"é": "e\u0301", "ö": "o\u0308", "'": "\u2019"})  # the same characters in other encodings
FORMS = (0.8, 0.07, 0.06, 0.05, 0.01, 0.01)  # how often a word has each of its forms, in the order of `forms`


def vocabulary(rng: np.random.Generator, size: int) -> list[str]:
    """Return distinct words in lower case, short and plain ones first."""
    found: dict[str, None] = {}
    while len(found) < size:
        common = len(found) < COMMON_WORDS
        lengths = np.clip(rng.poisson(4 if common else 6.5, COMMON_WORDS), 1, 20).tolist()
        letters = iter(rng.choice(LETTERS, sum(lengths)).tolist())
        for length, kind in zip(lengths, rng.random(COMMON_WORDS).tolist(), strict=True):
            word = "".join(itertools.islice(letters, length))
            if not common:
                if kind < ACCENTED:
                    word = word.translate(ACCENTS)
                elif kind < ACCENTED + WITH_APOSTROPHE:
                    word += "'s"
                elif kind < ACCENTED + WITH_APOSTROPHE + NUMBERS:
                    word = str(len(found))
            found[word] = None
    return list(found)[:size]


def forms(word: str) -> tuple[str, ...]:
    """A word as it stands within a sentence, at its beginning, before a comma, at the end, in quotes, and in other
    characters that mean the same."""
    return (word, word.capitalize(), f"{word},", f"{word}.", f"\u201c{word}\u201d", word.translate(DECOMPOSED))


def write_text(path: Path, megabytes: int, seed: int = SEED, distinct: int = DISTINCT_WORDS) -> None:
    """Write this many MB (10^6 bytes), minus at most a line. A larger text begins with a smaller one."""
    rng = np.random.default_rng(seed)
    vocabulary_forms = np.array([forms(word) for word in vocabulary(rng, distinct)], dtype=object)
    weights = (np.arange(distinct) + ZIPF_SHIFT) ** -ZIPF_EXPONENT
    cumulative = np.cumsum(weights / weights.sum())
    left = megabytes * 1_000_000
    with path.open("wb") as file:
        while left > 0:
            block = _block(rng, vocabulary_forms, cumulative)
            if len(block) > left:
                block = block[: block.rfind(b"\n", 0, left) + 1]
                left = 0
            left -= file.write(block)


def _block(rng: np.random.Generator, vocabulary_forms: NDArray[np.object_], cumulative: NDArray[np.float64]) -> bytes:
    chosen = cumulative.searchsorted(rng.random(BLOCK_WORDS)).clip(max=len(cumulative) - 1)
    words = vocabulary_forms[chosen, rng.choice(len(FORMS), BLOCK_WORDS, p=FORMS)].tolist()
    lines = [" ".join(words[start : start + LINE_WORDS]) for start in range(0, BLOCK_WORDS, LINE_WORDS)]
    return ("\n".join(lines) + "\n").encode()
