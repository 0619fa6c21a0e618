"""The count of kills and writes, kept by the tests and printed at the end of a test run."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KEY = "kill-matrix"


@dataclass(slots=True)
class Tally:
    """What one test of the matrix did."""

    what: str
    store: str
    runs: int = 0
    kills: int = 0
    frozen: int = 0
    outages: int = 0
    """Times that the store or a vendor was away or cut off."""
    writes: int = 0
    """Writes that changed something at a vendor."""
    duplicates: int = field(default=0)
    """Of these, those that were not the first of their step."""
    lost: int = field(default=0)
    """Steps that were done, and whose write is not there."""


def lines(tallies: list[Tally]) -> list[str]:
    """The table, and the sum under it."""
    if not tallies:
        return []
    total = Tally(what="all", store="")
    for one in tallies:
        for part in _COUNTS:
            setattr(total, part, getattr(total, part) + getattr(one, part))
    head = f"{'what':<42} {'store':<9}" + "".join(f"{part:>11}" for part in _COUNTS)
    return [head, *map(_line, [*tallies, total])]


_COUNTS = tuple(one.name for one in fields(Tally) if one.type in (int, "int"))


def _line(one: Tally) -> str:
    return f"{one.what:<42} {one.store:<9}" + "".join(
        f"{getattr(one, part):>11,}" for part in _COUNTS
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests of the matrix counted, whichever worker they ran on."""
    found = [
        Tally(**json.loads(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for key, value in report.user_properties
        if key == KEY
    ]
    if table := lines(found):
        terminalreporter.section("real kills")
        for line in table:
            terminalreporter.write_line(line)


def noted(tally: Tally) -> tuple[str, str]:
    """As pytest's `record_property` wants it."""
    return KEY, json.dumps(asdict(tally))
