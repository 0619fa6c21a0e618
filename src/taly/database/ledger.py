"""`_prisma_migrations`: which migrations are applied, since when, and what stopped half-way."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier

from taly.database.connection import Target
from taly.errors import VendorRefused

LOCK = 72707369
"""The advisory lock that `migrate deploy` and `migrate resolve` hold (prisma-engines)."""
TOGETHER = timedelta(seconds=2)
"""One `migrate deploy` starts the next migration at once: no release lies in between."""

ROWS = """
SELECT migration_name AS name, checksum, started_at, finished_at, rolled_back_at
FROM {} ORDER BY started_at, finished_at NULLS LAST, migration_name
"""
RUNNING = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %s AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
KNOWN = "SELECT to_regclass(%s) IS NOT NULL, to_regclass('prisma_contract.marker') IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attempt to apply one migration."""

    name: str
    checksum: str
    started_at: datetime
    finished_at: datetime | None
    rolled_back_at: datetime | None

    @property
    def unfinished(self) -> bool:
        """Failed or running: no `migrate deploy` goes on before it is resolved (P3009)."""
        return self.finished_at is None and self.rolled_back_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The whole ledger at one instant."""

    rows: tuple[Row, ...]
    running: bool
    """Whether Prisma's lock is held: a deploy or resolve is under way."""

    @property
    def applied(self) -> tuple[Row, ...]:
        """The rows that count now, in the order in which they were finished."""
        live = [row for row in self.rows if row.finished_at and row.rolled_back_at is None]
        newest = {row.name: row for row in live}
        return tuple(newest.values())

    @property
    def unfinished(self) -> tuple[Row, ...]:
        """Rows of migrations that failed or are running."""
        return tuple(row for row in self.rows if row.unfinished)


def read_ledger(connection: psycopg.Connection, target: Target) -> Ledger:
    """The ledger as it stands; VendorRefused when there is none that we know."""
    table = f'"{target.schema}"."_prisma_migrations"'
    row = connection.execute(KNOWN, (table,)).fetchone()
    has_ledger, has_prisma_8 = row or (False, False)
    if has_prisma_8:
        raise prisma_8(f"database {target.place} holds prisma_contract.marker")
    if not has_ledger:
        raise VendorRefused(
            f"database {target.place} has no table _prisma_migrations in schema {target.schema}",
            reference="ledger-missing",
            hint="set `schema` of the component in taly.toml, or deploy with `prisma migrate`",
        )
    query = SQL(ROWS).format(Identifier(target.schema, "_prisma_migrations"))
    with connection.cursor(row_factory=class_row(Row)) as cursor:
        rows = tuple(cursor.execute(query))
    held = connection.execute(RUNNING, (LOCK,)).fetchone()
    return Ledger(rows=rows, running=bool(held and held[0]))


def prisma_8(seen: str) -> VendorRefused:
    """The refusal of a database or checkout that Prisma 8 manages."""
    return VendorRefused(
        f"{seen}: Prisma 8 keeps another ledger, a graph, which taly does not read",
        reference="prisma-8",
        hint="taly plan --skip database",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A time during which the database had one set of migrations."""

    names: tuple[str, ...]
    """In the order in which they were applied; one that is unfinished stands last, after a `!`."""
    start: datetime
    end: datetime | None


def stretches(ledger: Ledger) -> list[Stretch]:
    """What the database had, over time, oldest first; the last one is how it is now."""
    names: list[str] = []
    moments: list[tuple[datetime, tuple[str, ...]]] = []
    for at, started, name, applied in _changes(ledger):
        names = [other for other in names if other != name] + ([name] if applied else [])
        if moments and started - moments[-1][0] <= TOGETHER:
            moments.pop()
        moments.append((at, tuple(names)))
    starts = [at for at, _ in moments]
    return [
        Stretch(names=held, start=at, end=end)
        for (at, held), end in zip_longest(moments, starts[1:])
    ]


def _changes(ledger: Ledger) -> Sequence[tuple[datetime, datetime, str, bool]]:
    """(when it took effect, when it began, name, whether it is applied from then on)."""
    found = []
    for row in ledger.rows:
        if row.finished_at is not None:
            found.append((row.finished_at, row.started_at, row.name, True))
        if row.finished_at is not None and row.rolled_back_at is not None:
            found.append((row.rolled_back_at, row.rolled_back_at, row.name, False))
        if row.unfinished:
            found.append((row.started_at, row.started_at, f"!{row.name}", True))
    return sorted(found, key=lambda change: (change[0], change[1]))


def digest(names: Sequence[str]) -> str:
    """One id for a set of migrations, whatever the order in which they were applied."""
    text = "\n".join(sorted(names))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def short(name: str) -> str:
    """A migration's name without its timestamp, at most 20 characters."""
    bare = re.sub(r"^\d{8,14}_?", "", name) or name
    return bare if len(bare) <= 20 else f"{bare[:19]}…"
