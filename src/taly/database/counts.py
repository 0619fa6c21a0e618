"""How many rows were written since a moment, table by table, within a few seconds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg.sql import SQL, Identifier

from taly.database.misfits import Misfit
from taly.model.plan import TableCount
from taly.planning.down.names import quoted

LIMIT_S = 5.0
"""For all tables together; those that there is no time for are estimated."""
LEAST_S = 0.05
SHARE = 0.6
"""Of the time that is left, for one table: one that is slow leaves some for the others."""
TABLES = """
SELECT n.nspname, c.relname,
  least(coalesce(t.n_tup_ins + t.n_tup_upd, 0),
        greatest(coalesce(t.n_live_tup, 0), c.reltuples::bigint, 0))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_user_tables t ON t.relid = c.oid
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.relname <> '_prisma_migrations'
  AND has_table_privilege(c.oid, 'SELECT')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relpages, n.nspname, c.relname
"""
LEDGER = "SELECT max(xmin::text::bigint) FROM {} WHERE migration_name = ANY (%s)"
CIRCLE = 1 << 32
"""Transaction ids of rows have 32 bits and begin again: they are compared on the circle."""
SCAN = """
SELECT count(*), count(*) FILTER (WHERE {misfit}) FROM ONLY {table} AS s
WHERE s.xmin::text::bigint >= 3
  AND ((s.xmin::text::bigint - {since}) & 4294967295) < 2147483648
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to count."""

    since: int
    """Rows of a transaction from this one on were written since."""
    misfits: Mapping[tuple[str, str], Misfit]
    known: bool
    """Whether `misfits` is all that does not fit; else rescued rows are not counted."""


def counts(connection: psycopg.Connection, question: Question) -> tuple[TableCount, ...]:
    """The tables in which anything was written since, most rows first. Read only.

    The connection is in a REPEATABLE READ transaction: all counts are of one moment. Small tables
    come first, so that what there is no time for is estimated from the server's statistics.
    """
    ends = time.monotonic() + LIMIT_S
    found = []
    todo = connection.execute(TABLES).fetchall()
    for number, (schema, name, estimate) in enumerate(todo, start=1):
        table = (str(schema), str(name))
        left_s = ends - time.monotonic()
        one = _count(connection, table, question, left_s if number == len(todo) else left_s * SHARE)
        found.append(one or _estimated(table, int(estimate)))
    found.sort(key=lambda count: (-count.written, count.table))
    return tuple(one for one in found if one.written)


def since_ledger(
    connection: psycopg.Connection, ledger: tuple[str, str], names: Sequence[str]
) -> int | None:
    """The first transaction after these migrations, told by the rows that Prisma finished."""
    query = SQL(LEDGER).format(Identifier(*ledger))
    row = connection.execute(query, (list(names),)).fetchone()
    return None if row is None or row[0] is None else int(row[0]) + 1


def _count(
    connection: psycopg.Connection, table: tuple[str, str], question: Question, left_s: float
) -> TableCount | None:
    """Exactly; None when the time does not allow it, or it cannot be read."""
    if left_s < LEAST_S:
        return None
    misfit = question.misfits.get(table)
    query = SCAN.format(
        misfit=misfit.condition if misfit else "false",
        table=quoted(*table),
        since=question.since % CIRCLE,
    )
    try:
        with connection.transaction():
            limit = str(max(1, int(left_s * 1000)))
            connection.execute("SELECT set_config('statement_timeout', %s, true)", (limit,))
            row = connection.execute(query.encode()).fetchone()
    except (psycopg.errors.QueryCanceled, psycopg.errors.InsufficientPrivilege):
        return None
    except (psycopg.DataError, psycopg.ProgrammingError):
        if misfit is None:
            return None
        # A hint's expression may fail on some row; how many were written can still be told.
        return _count(connection, table, replace(question, misfits={}, known=False), left_s)
    assert row is not None, "an aggregate gives a row"
    written, rescued = int(row[0]), int(row[1])
    return TableCount(
        table=".".join(table),
        written=written,
        exact=True,
        rescued=rescued if question.known else None,
        why=misfit.why if misfit and rescued else "",
    )


def _estimated(table: tuple[str, str], rows: int) -> TableCount:
    return TableCount(table=".".join(table), written=rows, exact=False)
