"""Generated tables are up to date, and no setting, kind or link is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import failures, settings
from docs.generate import PART, PARTS, generated, pages
from docs.tables import fields
from emr_pipelines.assets.publication import AssetConfig
from emr_pipelines.diagnosis.kinds import Kind
from tests.docs.blocks import ROOT, page


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_page_is_what_the_code_gives(path: Path) -> None:
    text = path.read_text()
    assert generated(text) == text, f"{path.name} is old; run python -m docs.generate"


def test_every_part_is_in_a_page() -> None:
    wanted = {found["name"] for path in pages() for found in PART.finditer(path.read_text())}
    assert wanted == set(PARTS)


def test_every_variable_that_the_package_reads_has_its_line_and_no_other_has() -> None:
    assert settings.read_by_the_package() == settings.VARIABLES.keys() | settings.OTHERS.keys()


def test_every_assets_config_has_its_table() -> None:
    ours = {config for config in AssetConfig.__subclasses__() if config.__module__.startswith("emr_pipelines.")}
    assert ours
    assert ours <= set(settings.configs().values())


def test_a_field_without_a_description_is_refused() -> None:
    class Forgotten(AssetConfig):
        much: int = 1

    with pytest.raises(ValueError, match=r"Forgotten\.much has no description"):
        fields(Forgotten)


def test_every_kind_has_its_section_and_every_section_a_kind() -> None:
    by_kind = page("troubleshooting").partition("## By kind")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.+)$", by_kind, re.MULTILINE) == [str(kind) for kind in Kind]


@pytest.mark.parametrize("kind", Kind)
def test_the_evidence_shows_the_kind_and_says_where_to_look(kind: Kind) -> None:
    causes = failures.causes(kind)
    assert {cause.kind for cause in causes} == {kind}
    assert all(cause.log_uri.startswith("s3://my-bucket/default/logs/") for cause in causes)


def slug(title: str) -> str:
    """Return GitHub's anchor of a title."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def dead_links(path: Path, text: str) -> list[str]:
    """Return a page's broken links to pages, titles and pictures."""
    dead = []
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        there = (path.parent / target).resolve() if target else path
        titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE) if anchor and there.exists() else []
        if not there.exists() or (anchor and anchor not in map(slug, titles)):
            dead.append(f"{target}#{anchor}" if anchor else target)
    return dead


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    assert dead_links(path, text) == []
    more = "[a](../no/page.md), ![b](no.png), [c](#no-title) and [d](https://example.org)"
    assert dead_links(path, text + more) == ["../no/page.md", "no.png", "#no-title"]


def test_every_page_is_in_the_readmes_list() -> None:
    listed = set(re.findall(r"\[docs/(\w+\.md)\]", (ROOT / "README.md").read_text()))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}
