"""The page that maps facts to tests names only tests that there are, and leaves no fact without."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "facts-and-tests.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(\w+\.py)::(\w+)`")

LINES = {
    "App Runner": 14,
    "Netlify and Vercel": 18,
    "PostgreSQL: restoring and carrying over": 14,
    "The engine": 6 + 14,
}
"""How many facts a section has, where they are numbered."""


def named_in(name: str) -> set[str]:
    """Every test function of the one file of that name, those within classes too."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name == name]
    assert len(files) == 1, f"{name}: {files}"
    tree = ast.parse(files[0].read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def sections() -> dict[str, list[list[str]]]:
    """Heading → the rows of its tables, by cell, without the tables' heads."""
    found = {}
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        heads = {i for i, line in enumerate(lines) if re.fullmatch(r"[|-]+", line)}
        body = [line for i, line in enumerate(lines) if not {i, i + 1} & heads]
        found[heading] = [[cell.strip() for cell in line.split("|")[1:-1]] for line in body]
    return found


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED.findall(PAGE)}))
def test_every_test_that_is_named_exists(file: str) -> None:
    named = {test for name, test in NAMED.findall(PAGE) if name == file}
    assert named <= named_in(file)


def test_no_fact_is_without_a_test() -> None:
    rows = [(heading, row) for heading, rows in sections().items() for row in rows]
    assert len(rows) > 100
    for heading, row in rows:
        assert all(row), f"{heading}: an empty cell in {row}"
        tested = row[2:] if heading == "Netlify and Vercel" else row[-1:]
        assert all(NAMED.search(cell) for cell in tested), f"{heading}: {row}"


@pytest.mark.parametrize("heading", LINES)
def test_no_fact_is_left_out(heading: str) -> None:
    numbers = [int(found[0]) for row in sections()[heading] if (found := re.match(r"\d+", row[0]))]
    if heading == "The engine":
        assert numbers == [*range(1, 7), *range(1, 15)]
    else:
        assert numbers == list(range(1, LINES[heading] + 1))
    assert len(numbers) == LINES[heading]


def test_suites_that_are_named_are_run() -> None:
    """A test of a suite counts only where somebody inherits the suite."""
    used = " ".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert "(ProviderContract)" in used
    assert "(StoreContract)" in used
