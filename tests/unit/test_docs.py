"""The documentation says what the code does: commands, settings, findings, errors."""

import re
from pathlib import Path

import pytest
from tools.write_reference import DOCS, PAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_reference_is_what_the_program_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def test_every_error_reference_is_explained() -> None:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    missing = sorted(ref for ref in references() if f"`{ref}`" not in page)
    assert not missing


def references() -> set[str]:
    """Every literal error reference in the code."""
    found: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        found |= set(re.findall(r'reference="([a-z0-9-]+)"', path.read_text(encoding="utf-8")))
    return found


def test_every_error_has_a_kebab_case_reference() -> None:
    assert len(references()) > 20
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", ref) for ref in references())


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"])
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
