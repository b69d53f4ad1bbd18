"""Generates parts of the pages from the code: `python -m docs.generate`.

A part is between `<!-- generated: NAME -->` and `<!-- end -->`. `tests/docs` fails if a page is out of date, if it uses
an unknown part, and if no page uses a part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs import commands, failures, permissions, settings, spark4

ROOT = Path(__file__).parent.parent
PART = re.compile(r"^<!-- generated: (?P<name>.+?) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
PARTS: dict[str, Callable[[], str]] = {
    **settings.parts(),
    **commands.parts(),
    **failures.parts(),
    **permissions.parts(),
    **spark4.parts(),
}


def pages() -> list[Path]:
    """Return README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def generated(text: str) -> str:
    """Return a page's text with all parts generated anew. Raises KeyError for an unknown part."""
    return PART.sub(lambda found: f"<!-- generated: {found['name']} -->\n{PARTS[found['name']]()}\n<!-- end -->", text)


def main() -> None:
    for page in pages():
        before = page.read_text()
        after = generated(before)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)} was updated.")


if __name__ == "__main__":
    main()
