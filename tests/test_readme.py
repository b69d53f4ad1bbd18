"""The README agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import blocks

README = Path(__file__).parent.parent / "README.md"
BENCHMARKS = README.parent / "docs" / "benchmarks.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="the built package is tested without the README")


def project_files(package: str = "my_project") -> dict[str, str]:
    """Return the files of "Your own program", or of another package in docs/programs.md, by path."""
    found = {}
    pages = [README, README.parent / "docs" / "programs.md"]
    text = "\n".join(page.read_text() for page in pages if page.exists())
    for block in blocks(text, "python"):
        path = re.match(rf"# ({package}/\w+\.py)\n", block)
        if path:
            found[path.group(1)] = block
    return found


def test_your_own_program_is_20_lines() -> None:
    files = project_files()
    lines = [line for text in files.values() for line in text.splitlines()[1:] if line.strip()]  # without the path
    assert set(files) == {"my_project/squares.py", "my_project/definitions.py"}
    assert len(lines) < 20
    assert "checks=" in files["my_project/definitions.py"]
    assert "retry_policy=" in files["my_project/definitions.py"]


def test_it_can_be_read_in_six_minutes() -> None:
    text = README.read_text()
    prose = re.sub(r"^```.*?^```|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) < 1_400  # at 230 words a minute
    assert len(text.splitlines()) <= 200


RATIOS = {  # the README's lower bound of a ratio, and where docs/benchmarks.md has the ratio
    6: r"\| Spark's wordcount\.py \|[^|]*\|[^|]*\| +([\d.]+)",
    1.3: r"\| (?:Polars|DuckDB) +\|[^|]*\|[^|]*\| +([\d.]+)",
    500: r"\| this program on Spark / Spark's pi\.py +\| +([\d.]+)",
    7: r"Ours, warm: .*, ([\d.]+) times less than the next",
    1.5: r"Ours adds .*, ([\d.]+) times less than the next",
}


def test_its_ratios_are_less_than_the_last_benchmark_printed() -> None:
    section = README.read_text().partition("## How fast it is")[2].partition("\n## ")[0]
    assert [float(bound) for bound in re.findall(r"more than ([\d.]+) times", section)] == list(RATIOS)
    for bound, where in RATIOS.items():
        printed = [float(ratio) for ratio in re.findall(where, BENCHMARKS.read_text())]
        assert printed, where
        assert min(printed) > bound
    table = BENCHMARKS.read_text().partition("## Orchestration")[2].partition("\n## ")[0]
    (ours,) = re.findall(r"\| ours +\|[^|]*\| +([\d.]+)", table)
    assert f"| orchestration adds to a run | {ours} s |" in README.read_text()
