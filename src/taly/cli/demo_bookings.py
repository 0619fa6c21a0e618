"""What the demo's customers were told, against what there is: in the database, or rescued."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEXTS = ("remarks", "note")
"""What a booking's text is called, by the age of the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The last that a customer was told of one row."""

    table: str
    id: int
    values: Mapping[str, str]
    """By the names of the newer schema; a booking's text is `text`."""
    sure: bool = True
    """False when a later change was not answered: then it may read otherwise."""


@dataclass(slots=True, kw_only=True)
class Account:
    """Where the acknowledged rows are."""

    told: int
    in_database: int = 0
    rescued: int = 0
    missing: list[Told] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing that was acknowledged is missing."""
        return not self.missing and self.told > 0

    def __str__(self) -> str:
        rescued = f", {self.rescued:,} in the rescue bundle" if self.rescued else ""
        missing = f", {len(self.missing):,} MISSING" if self.missing else ""
        return f"of {self.told:,}: {self.in_database:,} in the database{rescued}{missing}"


def told(requests: Iterable[Mapping[str, Any]]) -> list[Told]:
    """The rows that were acknowledged, each as it was acknowledged last."""
    rows: dict[tuple[str, int], Told] = {}
    for one in sorted(requests, key=lambda one: one["number"]):
        key = (one["table"], one["id"])
        if one["outcome"] == "acknowledged":
            before = rows[key].values if key in rows else {}
            values = {**before, **_values(one["wrote"])}
            rows[key] = Told(table=key[0], id=key[1], values=values)
        elif one["outcome"] == "failed" and key in rows:
            was = rows[key]
            rows[key] = Told(table=was.table, id=was.id, values=was.values, sure=False)
    return list(rows.values())


def account(rows: Sequence[Told], database_url: str, rescue: Path) -> Account:
    """Look for each of them in the database, and in the rescue bundles if it is not there."""
    live = _live(database_url)
    found = Account(told=len(rows))
    saved: Mapping[tuple[str, int], list[Mapping[str, str]]] | None = None
    for row in rows:
        if _is_among(row, live.get((row.table, row.id), [])):
            found.in_database += 1
            continue
        saved = _rescued(rescue) if saved is None else saved
        if _is_among(row, saved.get((row.table, row.id), [])):
            found.rescued += 1
        else:
            found.missing.append(row)
    return found


def _is_among(row: Told, copies: Iterable[Mapping[str, str]]) -> bool:
    """Whether one of the copies holds what was told; of what is not sure, that it is there."""
    return any(
        not row.sure or all(copy.get(name) == value for name, value in row.values.items())
        for copy in copies
    )


def _values(wrote: Mapping[str, Any]) -> dict[str, str]:
    names = {"note": "text"}
    return {
        names.get(name, name): str(value) for name, value in wrote.items() if name != "waitlist"
    }


def _plain(row: Mapping[str, Any]) -> dict[str, str]:
    named = {("text" if name in TEXTS else name): value for name, value in row.items()}
    return {name: str(value) for name, value in named.items() if value is not None}


def _live(database_url: str) -> dict[tuple[str, int], list[Mapping[str, str]]]:
    import psycopg
    from psycopg.rows import dict_row
    from psycopg.sql import SQL, Identifier

    found: dict[tuple[str, int], list[Mapping[str, str]]] = {}
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        for table in ("bookings", "refunds"):
            there = connection.execute("SELECT to_regclass(%s) AS it", (table,)).fetchone()
            if there is None or there["it"] is None:
                continue
            for row in connection.execute(SQL("SELECT * FROM {}").format(Identifier(table))):
                found[table, int(row["id"])] = [_plain(row)]
    return found


def _rescued(base: Path) -> dict[tuple[str, int], list[Mapping[str, str]]]:
    from taly.database.rescue.bundle import Reader, every

    found: dict[tuple[str, int], list[Mapping[str, str]]] = {}
    for bundle in every(base):
        if not isinstance(bundle, Reader):
            raise bundle
        if bundle.manifest.state != "done":
            continue
        for table in bundle.tables:
            for rescued in bundle.rows(table):
                row = _plain(rescued.row)
                if rescued.kind == "row" and row.get("id", "").isdigit():
                    found.setdefault((table.name, int(row["id"])), []).append(row)
    return found
