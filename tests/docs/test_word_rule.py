"""The table of the word rule in docs/word_count.md: each row as the program, and an independent program, have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emr_pipelines.pipelines.word_count.words import words_in
from tests.pipelines.word_count.words import expected_words

PAGE = Path(__file__).parents[2] / "docs" / "word_count.md"


def _rows() -> list[tuple[str, list[str]]]:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- word rule")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[3:]]
    return [(_shown(text)[0], _shown(words)) for text, words, _ in rows]


def _shown(cell: str) -> list[str]:
    """What stands between backquotes, with the characters that the page cannot show."""
    return [
        re.sub(r"\\u([0-9A-F]{4})", lambda code: chr(int(code[1], 16)), shown)
        for shown in re.findall("`([^`]+)`", cell)
    ]


@pytest.mark.parametrize(("text", "words"), _rows())
def test_each_row_of_the_table_is_so(text: str, words: list[str]) -> None:
    assert words_in(text) == words
    assert expected_words(text) == words


def test_the_table_is_found() -> None:
    assert len(_rows()) > 15
