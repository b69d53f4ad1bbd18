"""Writes the parts of the pages that the code knows: `python -m docs.generate`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. `tests/docs` fails when a page is not what the code
gives, when a page wants a part that there is not, and when no page has a part that there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs import commands, failures, permissions, settings

ROOT = Path(__file__).parent.parent
PART = re.compile(r"^<!-- generated: (?P<name>.+?) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
PARTS: dict[str, Callable[[], str]] = {
    **settings.parts(),
    **commands.parts(),
    **failures.parts(),
    **permissions.parts(),
}


def pages() -> list[Path]:
    """README.md, and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def generated(text: str) -> str:
    """A page's text with all its parts as the code gives them. Raises KeyError for a part that there is not."""
    return PART.sub(lambda found: f"<!-- generated: {found['name']} -->\n{PARTS[found['name']]()}\n<!-- end -->", text)


def main() -> None:
    for page in pages():
        before = page.read_text()
        after = generated(before)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)} is new.")


if __name__ == "__main__":
    main()
