"""Statements that no transaction may hold: indexes dropped and made CONCURRENTLY.

They go first, each by itself; what else the way down does, and the ledger, follow in one
transaction. Whoever is stopped in between begins again: what is done is seen in the catalog.
"""

import re
from collections.abc import Sequence

import psycopg
from psycopg.sql import SQL, Identifier

from taly.database.revert.session import patiently
from taly.database.snapshot import read_catalog
from taly.errors import VendorRefused
from taly.model.catalog import Index
from taly.model.ports import Say
from taly.planning.down.names import quoted

WORD = re.compile(r"\bCONCURRENTLY\s+", re.IGNORECASE)
WAIT_MS = 60_000
"""For transactions that are older than the index."""
MADE = re.compile(r"^\s*CREATE\s+(UNIQUE\s+)?INDEX\b", re.IGNORECASE)
GONE = (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable)
NOT_YET = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


def ahead(connection: psycopg.Connection, statements: Sequence[str], say: Say) -> tuple[str, ...]:
    """Run those that are CONCURRENTLY; what is left for the transaction, in its order.

    An index on a column that only the transaction brings back is made in it, as its table is
    locked there anyway. Raises VendorRefused when rows bar an index: an INVALID one is not left.
    """
    left = []
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(WAIT_MS),))
    try:
        for statement in statements:
            if not WORD.search(statement):
                left.append(statement)
            elif not MADE.match(statement):
                _drop(connection, statement, say)
            elif not _make(connection, statement, say):
                left.append(WORD.sub("", statement, count=1))
    finally:
        if not connection.closed:
            connection.execute("SELECT set_config('lock_timeout', '0', false)")
    return tuple(left)


def _drop(connection: psycopg.Connection, statement: str, say: Say) -> None:
    try:
        patiently(connection, statement, say, _short(statement))
    except GONE:
        say("it is gone already")


def _make(connection: psycopg.Connection, statement: str, say: Say) -> bool:
    """False when what it stands on is not there yet."""
    before = _indexes(connection)
    known = {index.name: index for index in before.values()}
    again = WORD.sub("", statement, count=1)
    if any(one.valid and _plain(one.definition) == _plain(again) for one in known.values()):
        return True  # an earlier attempt made it
    try:
        patiently(connection, statement, say, _short(statement))
    except NOT_YET:
        return False
    except psycopg.errors.UniqueViolation as error:
        _clear(connection, before, say)
        raise VendorRefused(
            f"rows written since bar the way: {error.diag.message_primary}"
            f" ({error.diag.message_detail}); no index was left behind",
            reference="revert-barred",
            hint="change these rows, then: taly plan",
        ) from None
    except BaseException:
        if not connection.closed:
            _clear(connection, before, say)
        raise
    return True


def _clear(connection: psycopg.Connection, before: dict[int, Index], say: Say) -> None:
    """Drop the INVALID index that a failed attempt has just left."""
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return
    for key, (schema, index) in _all(connection).items():
        if key not in before and not index.valid:
            query = SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
            connection.execute(query.format(Identifier(schema, index.name)))


def _indexes(connection: psycopg.Connection) -> dict[int, Index]:
    return {key: index for key, (_, index) in _all(connection).items()}


def _all(connection: psycopg.Connection) -> dict[int, tuple[str, Index]]:
    catalog = read_catalog(connection)
    return {index.oid: (table.schema, index) for table in catalog.tables for index in table.indexes}


def _plain(definition: str) -> str:
    return " ".join(definition.replace('"', "").split()).lower().rstrip(";")


def _short(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def invalid_first(connection: psycopg.Connection, names: Sequence[str], say: Say) -> None:
    """Drop INVALID indexes of these names: a build that failed left them."""
    for schema, index in _all(connection).values():
        if not index.valid and index.name in names:
            drop = f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(schema, index.name)}"
            patiently(connection, drop, say, f"drops the INVALID index {index.name}")
