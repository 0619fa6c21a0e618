"""What a replay did: numbers, the first few examples, and all of it in a file beside the bundle."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from taly.database.rescue.table_file import append

Fate = Literal["inserted", "updated", "deleted", "nothing", "newer", "gone", "kept", "left"]
EXAMPLES = 5
CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """A value that stays because it was written since the rollback."""

    table: str
    key: dict[str, str | None]
    column: str
    rescued: str | None
    now: str | None


@dataclass(slots=True, kw_only=True)
class TableOutcome:
    """What became of one table's rows."""

    table: str
    rows: int
    already: int = 0
    """Were put back by an earlier replay."""
    fates: Counter[Fate] = field(default_factory=Counter)
    values: int = 0
    """That were set in rows that were there."""
    newer_values: int = 0
    """That stay as they are now, because they were written since."""
    left: Counter[str] = field(default_factory=Counter)
    """Why rows stay in the bundle → how many."""
    missing: Counter[str] = field(default_factory=Counter)
    """Column that is not there → how many values of rows that were put back stay in the bundle."""

    @property
    def put_back(self) -> int:
        """Rows that were inserted or had values set."""
        return self.fates["inserted"] + self.fates["updated"]


@dataclass(slots=True, kw_only=True)
class Merged:
    """What a replay of one bundle did."""

    step: str
    tables: list[TableOutcome]
    examples: list[Newer]
    notes: list[str]
    report: Path | None
    """The file with each row that was not simply put back; None = all was."""

    @property
    def left(self) -> int:
        """Rows of which something stays in the bundle only."""
        return sum(sum(one.left.values()) for one in self.tables)


class Told:
    """Writes the report, and remembers its beginning."""

    def __init__(self, path: Path) -> None:
        """Nothing is written before there is something to say."""
        self.examples: list[Newer] = []
        self._path = path
        self._lines: list[str] = []
        self._written = False

    def newer(self, one: Newer) -> None:
        """A value stays."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(one)
        self._add(
            {
                "what": "newer",
                "table": one.table,
                "key": one.key,
                "column": one.column,
                "rescued": one.rescued,
                "now": one.now,
            }
        )

    def row(self, what: Fate, table: str, row: dict[str, str | None], why: str) -> None:
        """A row was not put back."""
        self._add({"what": what, "table": table, "why": why, "row": row})

    def end(self) -> Path | None:
        """Bring the rest to the file."""
        self._flush()
        return self._path if self._written else None

    def _add(self, line: dict[str, Any]) -> None:
        self._lines.append(json.dumps(line))
        if len(self._lines) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            append(self._path, "".join(f"{line}\n" for line in self._lines).encode())
            self._written = True
            self._lines.clear()
