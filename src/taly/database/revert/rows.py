"""Which rows are as the migration left them, told by the transaction that wrote them last."""

from dataclasses import dataclass

import psycopg

from taly.database.checkpoint.folder import Checkpoint
from taly.database.revert.standing import Standing

HERE = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
VISIBLE = "SELECT pg_visible_in_snapshot(%s::text::xid8, %s::pg_snapshot)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time in which the migration wrote: from the checkpoint to its row in the ledger.

    Prisma writes the ledger's row right behind the migration, in a transaction of its own, so the
    transaction that wrote that row bounds the migration's.
    """

    here: int
    """A transaction number of now, in 64 bits."""
    end: int
    """The one that wrote the ledger's row."""
    begin: str = ""
    """The checkpoint's snapshot: what it saw was there before the migration."""
    after: str = ""
    """The snapshot of the window's recorded end, if one was recorded for this attempt."""
    own: tuple[int, ...] = ()
    """Those that took later migrations back: they wrote rows again without changing them."""

    def ours(self, alias: str) -> str:
        """SQL: whether a row was written by the migration and by nobody since."""
        number = whole_number(self.here, alias)
        parts = [f"{number} <= {self.end}"]
        if self.after:
            parts.append(f"pg_visible_in_snapshot({number}::text::xid8, '{self.after}')")
        test = " AND ".join(parts)
        if self.own:
            listed = ", ".join(map(str, self.own))
            test = f"({test} OR {alias}.xmin::text::bigint IN ({listed}))"
        if self.begin:
            test += f" AND NOT pg_visible_in_snapshot({number}::text::xid8, '{self.begin}')"
        return test

    def before_end(self, alias: str) -> str:
        """SQL: whether nobody wrote a row since the migration, whoever wrote it before."""
        return Window(here=self.here, end=self.end, after=self.after, own=self.own).ours(alias)


def whole_number(here: int, alias: str) -> str:
    """SQL: the 64-bit number of the transaction in a row's `xmin`, which has 32 bits and wraps."""
    return (
        f"(CASE WHEN {alias}.xmin::text::bigint < 3 THEN 3"
        f" ELSE {here} - mod({here} - {alias}.xmin::text::bigint, 4294967296) END)"
    )


def window(
    connection: psycopg.Connection, standing: Standing, checkpoint: Checkpoint | None
) -> Window:
    """The window of the migration that is to be taken back."""
    here, end = _here(connection), end_of(connection, standing)
    if checkpoint is None:
        return Window(here=here, end=end)
    pending = set(checkpoint.manifest.pending)
    own = tuple(
        one.xmin
        for one in standing.rows
        if one.name in pending and one.finished_at is not None and not one.is_live
    )
    # Later migrations of the same deploy wrote rows too, and no user did in between.
    after = checkpoint.after.instant.snapshot if checkpoint.after is not None else ""
    if after and not is_visible(connection, end, after):
        after = ""  # it was recorded for an earlier attempt
    if after:
        end = here
    begin = checkpoint.manifest.instant.snapshot
    return Window(here=here, end=end, begin=begin, after=after, own=own)


def end_of(connection: psycopg.Connection, standing: Standing) -> int:
    """The transaction that wrote the migration's row in the ledger, in 64 bits."""
    here = _here(connection)
    return here - (here - standing.row.xmin) % (1 << 32)


def _here(connection: psycopg.Connection) -> int:
    row = connection.execute(HERE).fetchone()
    assert row is not None, "SELECT without FROM gives a row"
    return int(row[0])


def is_visible(connection: psycopg.Connection, number: int, snapshot: str) -> bool:
    """Whether a snapshot saw what a transaction wrote."""
    row = connection.execute(VISIBLE, (str(number), snapshot)).fetchone()
    return row == (True,)
