"""Where a migration stands in the ledger, and whether its turn has come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier

from taly.database.connection import Target
from taly.errors import VendorRefused

ROWS = """
SELECT id, migration_name AS name, checksum, started_at, finished_at, rolled_back_at,
  xmin::text::bigint AS xmin
FROM {} ORDER BY started_at, finished_at NULLS LAST, migration_name
"""
TAKE_BACK = """
UPDATE {} SET rolled_back_at = greatest(%s, started_at, finished_at)
WHERE id = %s AND rolled_back_at IS NULL AND (finished_at IS NULL) = %s
"""
APPLIED = """
INSERT INTO {} (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
VALUES (%s, %s, %s, %s, %s, 1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One row of the ledger: one attempt to apply one migration."""

    id: str
    name: str
    checksum: str
    started_at: datetime
    finished_at: datetime | None
    rolled_back_at: datetime | None
    xmin: int
    """The transaction that wrote the row last: the first one after the migration."""

    @property
    def is_live(self) -> bool:
        """Whether it counts: applied, failed or running."""
        return self.rolled_back_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A migration that can be taken back now, as far as the ledger tells."""

    rows: tuple[Attempt, ...]
    """The whole ledger."""
    row: Attempt
    earlier: tuple[Attempt, ...]
    """Those that were applied before it, in order."""

    @property
    def state(self) -> Literal["applied", "failed"]:
        """Failed: it did not finish, and part of it may be there."""
        return "failed" if self.row.finished_at is None else "applied"


def read_rows(connection: psycopg.Connection, target: Target) -> tuple[Attempt, ...]:
    """The ledger with its ids."""
    query = SQL(ROWS).format(_ledger(target))
    with connection.cursor(row_factory=class_row(Attempt)) as cursor:
        return tuple(cursor.execute(query))


def live_names(rows: Sequence[Attempt]) -> list[str]:
    """Of the migrations that are applied, in the order in which they were."""
    return [row.name for row in rows if row.is_live and row.finished_at is not None]


def standing(rows: Sequence[Attempt], name: str, *, last: bool = True) -> Standing:
    """Where a migration that is to be taken back stands.

    Raises VendorRefused unless exactly one row of it counts and, with `last`, none came after it.
    """
    live = [row for row in rows if row.is_live]
    own = [row for row in live if row.name == name]
    if len(own) != 1:
        said = "is not applied" if not own else f"is applied {len(own)} times at once"
        raise VendorRefused(
            f"{name} {said}, as _prisma_migrations has it: nothing is taken back",
            reference="revert-ledger",
            hint="prisma migrate status",
        )
    later = [row for row in live if row.name != name and _is_after(row, own[0])]
    if later and last:
        raise VendorRefused(
            f"{later[-1].name} was applied after {name} and stays: a migration in the middle is"
            " not taken back",
            reference="revert-later-applied",
            hint="taly plan",
        )
    after = {row.id for row in later}
    earlier = tuple(row for row in live if row.name != name and row.id not in after)
    return Standing(rows=tuple(rows), row=own[0], earlier=earlier)


def _is_after(row: Attempt, own: Attempt) -> bool:
    if row.finished_at is None or own.finished_at is None:
        return row.finished_at is None or (row.started_at, row.name) > (own.started_at, own.name)
    one = (row.started_at, row.finished_at, row.name)
    return one > (own.started_at, own.finished_at, own.name)


def take_back(connection: psycopg.Connection, target: Target, row: Attempt, now: datetime) -> None:
    """Set `rolled_back_at`: from now on `migrate deploy` applies the migration again.

    `migrate resolve --rolled-back` does the same, and only for one that failed (P3012).
    """
    query = SQL(TAKE_BACK).format(_ledger(target))
    done = connection.execute(query, (now, row.id, row.finished_at is None))
    if done.rowcount != 1:
        raise VendorRefused(
            f"the row of {row.name} in _prisma_migrations was changed meanwhile",
            reference="revert-ledger",
            hint="prisma migrate status",
        )


def write_applied(
    connection: psycopg.Connection,
    target: Target,
    *,
    row_id: str,
    name: str,
    checksum: str,
    started: datetime,
    finished: datetime,
) -> None:
    """A row as `migrate deploy` leaves it behind."""
    query = SQL(APPLIED).format(_ledger(target))
    connection.execute(query, (row_id, checksum, name, started, finished))


def _ledger(target: Target) -> Identifier:
    return Identifier(target.schema, "_prisma_migrations")
