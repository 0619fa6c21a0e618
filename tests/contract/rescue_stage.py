"""Bundles made by hand, and a database to put them back into."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from taly.database.rescue.bundle import Bundle, Reader, RescuedTable, open_bundle
from taly.database.rescue.merge import merge
from taly.database.rescue.outcome import Merged, TableOutcome
from taly.database.rescue.record import settle
from taly.database.rescue.work import Options

NOW = datetime(2026, 11, 23, 14, 5, tzinfo=UTC)
RUN = "run-1abcde"

Value = str | None


def begin(base: Path, *, run: str = RUN, step: str = "revert:database:20250505_x") -> Bundle:
    """Start a bundle."""
    return Bundle.begin(
        base,
        run=run,
        step=step,
        component="database",
        environment="production",
        place="localhost:5432/app",
        now=NOW,
    )


def table(name: str, columns: dict[str, str], *key: str, schema: str = "public") -> RescuedTable:
    """A table of a bundle: columns with their types, and the key's names."""
    return RescuedTable(
        schema=schema, name=name, columns=tuple(columns), types=tuple(columns.values()), key=key
    )


@dataclass
class Stage:
    """One database, and bundles of it."""

    base: Path
    url: str
    made: list[Bundle] = field(default_factory=list)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL by hand; values come as text."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def bundle(
        self, *tables: tuple[RescuedTable, Sequence[dict[str, Any]]], step: str = "s"
    ) -> Reader:
        """A bundle that is done: tables, each with what `add` is given for each row."""
        bundle = begin(self.base, step=step)
        for rescued, rows in tables:
            for row in rows:
                bundle.table(rescued).add(**{"kind": "row", "why": "its table goes", **row})
        bundle.finish()
        bundle.confirm()
        return open_bundle(self.base, RUN, "database", step=step)

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A session."""
        with psycopg.connect(self.url, prepare_threshold=None) as connection:
            yield connection

    def merge(self, reader: Reader, *, dry_run: bool = False, **options: Any) -> Merged:
        """Put a bundle back, and commit."""
        with self.connected() as connection:
            merged = merge(
                connection,
                reader,
                now=NOW,
                place="here",
                options=Options(**options),
                dry_run=dry_run,
            )
            if dry_run:
                connection.rollback()
        if not dry_run:
            settle(reader.path, committed=True)
        return merged

    def one(self, reader: Reader, **options: Any) -> TableOutcome:
        """Put a bundle of one table back."""
        [outcome] = self.merge(reader, **options).tables
        return outcome


def lines(path: Path) -> list[dict[str, Any]]:
    """A report."""
    return [json.loads(line) for line in path.read_text().splitlines()]
