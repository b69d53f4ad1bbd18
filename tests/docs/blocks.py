"""The code blocks of a page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """Return a page's blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def file_blocks(text: str, language: str) -> dict[str, str]:
    """Return the blocks whose first line names a file (`# path` or `# name, remark`), by that line."""
    found = (block.partition("\n") for block in blocks(text, language) if block.startswith("# "))
    return {first.removeprefix("# "): rest for first, _, rest in found}


def commands(text: str) -> list[list[str]]:
    """Return the simple commands of a page's sh and console blocks, split into words, without substitutions."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    found = []
    for line in lines:
        words: list[str] = []
        for word in [*shlex.split(line.replace("$(", "'$('").replace(")", "')'")), "&&"]:
            if word in ("&&", "|", ";"):
                found.append(words)
                words = []
            elif words or not re.match(r"[A-Z_]+=", word):  # an assignment before a command is not part of it
                words.append(word)
    return [words for words in found if words]
