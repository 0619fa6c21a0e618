"""Every finding's code is in the table, and the table is the reference page."""

import re
from pathlib import Path

from taly.planning.codes import CODES

ROOT = Path(__file__).parent.parent.parent
CALL = re.compile(r'(?:\bfinding\(\s*|\bFinding\(\s*code=)"([a-z-]+)"')


def test_the_page_has_every_code_with_its_severity_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert {code: (severity, meaning) for code, severity, meaning, _ in rows} == {
        code: (entry.severity.value, entry.meaning) for code, entry in CODES.items()
    }


def test_every_code_that_is_raised_is_in_the_table() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    raised = {code for text in sources for code in CALL.findall(text)}
    assert len(raised) > 20
    assert raised <= CODES.keys()
