"""The documentation says what the code does: reference pages, errors, and links."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.write_reference import DOCS, PAGES

from taly.planning.codes import CODES
from taly.providers.netlify.api import REFUSALS as NETLIFY
from taly.providers.vercel.checks import REFUSED_READS as VERCEL

ROOT = Path(__file__).parents[2]
SIMULATED = ROOT / "src" / "taly" / "simulate"
"""Its errors are a made-up vendor's: no user ever meets them."""
SOURCES = sorted(one for one in (ROOT / "src").rglob("*.py") if SIMULATED not in one.parents)
MARKDOWN = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]

MADE_AT_RUN_TIME = {
    "f'aws-{_kebab(code)}'": {"aws-<code>"},
    "f'aws-{missing}-missing'": {"aws-credentials-missing", "aws-region-missing"},
    "f'{self.vendor}-unreachable'": {"netlify-unreachable", "vercel-unreachable"},
    "f'{self.vendor}-odd-address'": {"netlify-odd-address", "vercel-odd-address"},
    "f'{self.vendor}-{status}'": {"netlify-<status>", "vercel-<status>"},
    "f'sandbox-{reference}'": {"sandbox-<reference>"},
}
"""References that are put together from parts: what the code says → how the page has it."""
PASSED_ON = re.compile(r"(\w+\.)?reference|first\.code")
"""An error that is told again under the reference that it had."""


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_reference_is_what_the_program_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def expressions() -> Iterator[ast.expr]:
    """What every `reference=` in the code is given."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "reference":
                yield from branches(node.value, path)


def branches(value: ast.expr, path: Path) -> Iterator[ast.expr]:
    """An expression; both sides of a conditional one; what a constant stands for."""
    match value:
        case ast.IfExp(body=body, orelse=orelse):
            yield from branches(body, path)
            yield from branches(orelse, path)
        case ast.Name(id=name) if name.isupper():
            yield from (ast.Constant(literal) for literal in constants(name, path))
        case _:
            yield value


def constants(name: str, path: Path) -> list[str]:
    """The texts that a constant stands for: its module's own, else those of any module."""
    for files in ([path], SOURCES):
        found = [
            literal
            for file in files
            for literal in re.findall(
                rf'^{name} = "([a-z0-9-]+)"$', file.read_text("utf-8"), re.MULTILINE
            )
        ]
        if found:
            return found
    raise AssertionError(f"{path.name}: what is {name}?")


def references() -> set[str]:
    """Every reference that an error, a step or an unknown component can have."""
    found: set[str] = set()
    for value in expressions():
        match value:
            case ast.Constant(value=str(literal)):
                found.add(literal)
            case ast.JoinedStr():
                said = ast.unparse(value)
                assert said in MADE_AT_RUN_TIME, f"new: say in MADE_AT_RUN_TIME what {said} can be"
                found |= MADE_AT_RUN_TIME[said]
            case _:
                assert PASSED_ON.fullmatch(ast.unparse(value)), ast.unparse(value)
    return found


def rows() -> dict[str, list[str]]:
    """Reference → its cells on the errors page."""
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `([a-z0-9<>-]+)` \|(.*)\|$", text, re.MULTILINE)
    names = [name for name, _ in found]
    assert len(names) == len(set(names)), "a reference stands there twice"
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in found}


def test_every_error_reference_is_explained_and_no_other() -> None:
    assert len(references()) > 100
    assert set(rows()) == references()


def test_every_error_says_what_it_means_and_what_to_do() -> None:
    assert all(len(cells) == 2 and all(cells) for cells in rows().values())


def test_every_error_has_a_kebab_case_reference() -> None:
    made = {name for names in MADE_AT_RUN_TIME.values() for name in names}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", ref) for ref in references() - made)


def test_a_vendors_refusal_that_becomes_a_finding_is_on_the_page_of_findings() -> None:
    named = {refusal.reference for refusal in NETLIFY.values()} | VERCEL
    assert named | barred() <= CODES.keys()


def barred() -> set[str]:
    """References of targets that a vendor would not make live: they become findings."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Barred":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                for value in branches(given["reference"], path):
                    assert isinstance(value, ast.Constant)
                    found.add(str(value.value))
    assert len(found) > 4
    return found


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, place in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        if place:
            assert place in anchors(there), f"{page.name}: {target}#{place}"


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_every_page_can_be_reached_from_the_front_page() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop().resolve()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            targets = re.findall(r"\]\(([^)#\s:]+\.md)", page.read_text(encoding="utf-8"))
            todo += [page.parent / target for target in targets]
    assert {page.resolve() for page in (ROOT / "docs").rglob("*.md")} <= seen
