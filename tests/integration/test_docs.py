"""The pages, the configurations that are shipped, and the doors belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.door_sections import Doors

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = ROOT / "configs" / "switches"
PAGES = ROOT / "docs" / "switches"
_NOT_OURS = {"node_modules", "var", "build"}


def every_page() -> Iterator[Path]:
    """Every Markdown file of the repository, in whatever folder."""
    for file in sorted(ROOT.rglob("*.md")):
        folders = file.relative_to(ROOT).parts[:-1]
        if not any(folder.startswith(".") or folder in _NOT_OURS for folder in folders):
            yield file


def links(file: Path) -> list[str]:
    """Where the links and pictures of a page lead, within the repository."""
    text = re.sub(r"^( {4}|\t).*$|^```.*?^```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", text) if "://" not in link and link[0] != "#"]


@pytest.mark.parametrize("file", list(every_page()), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_of_every_page_leads_somewhere(file: Path) -> None:
    broken = [link for link in links(file) if not (file.parent / link.partition("#")[0]).exists()]
    assert not broken


def told() -> str:
    """All that the pages about switches say."""
    return "\n".join(page.read_text() for page in PAGES.glob("*.md"))


def test_every_configuration_is_told_of_in_a_page() -> None:
    """By its name or that of a folder that it lies in."""
    text = told()
    for file in CONFIGURATIONS.rglob("*"):
        if file.is_file():
            places = [file, *file.parents]
            named = [str(place.relative_to(ROOT)) for place in places if CONFIGURATIONS in place.parents]
            assert any(re.search(rf"{re.escape(name)}(?![\w.-])", text) for name in named), named[0]


def test_every_configuration_that_a_page_tells_of_is_there() -> None:
    named = set(re.findall(r"configs/switches/[\w./-]*[\w]", told()))
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("door", Doors.__struct_fields__)
def test_every_door_has_a_page_that_tells_how_to_open_it(door: str) -> None:
    pages = [page for page in PAGES.glob("*.md") if re.search(rf"doors\.{door}\b", page.read_text())]
    assert pages
    overview = ROOT / "docs" / "switch-engineer.md"
    assert f"`{door}`" in overview.read_text()
    assert {f"switches/{page.name}" for page in pages} & set(links(overview))


def test_every_page_about_a_switch_is_found_from_the_overview() -> None:
    overview = links(ROOT / "docs" / "switch-engineer.md")
    for page in PAGES.glob("*.md"):
        assert f"switches/{page.name}" in overview, page.name
