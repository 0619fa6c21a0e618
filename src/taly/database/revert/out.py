"""Rows and columns that the way down drops, streamed into the rescue bundle as exact text."""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from taly.database.rescue.bundle import Bundle, RescuedTable, TableFile
from taly.database.revert.fates import Fate
from taly.database.revert.session import exact
from taly.model.ports import Say

SAY_EVERY = 500
Values = tuple[str | None, ...]


def rescue(
    connection: psycopg.Connection, bundle: Bundle, fates: Sequence[Fate], say: Say, why: str
) -> None:
    """Copy what goes of every table; the tables must be locked against writers."""
    with exact(connection):
        for fate in fates:
            if fate.before is None:
                _whole(connection, bundle, fate, say, why)
            elif fate.lost:
                _columns(connection, bundle, fate, say, why)


def rescued_table(fate: Fate) -> RescuedTable:
    """The table as it is called live."""
    columns = [one for one in fate.live.columns if not one.generated]
    return RescuedTable(
        schema=fate.live.schema,
        name=fate.live.name,
        columns=tuple(one.name for one in columns),
        types=tuple(one.type for one in columns),
        key=fate.key,
    )


def _whole(connection: psycopg.Connection, bundle: Bundle, fate: Fate, say: Say, why: str) -> None:
    file = bundle.table(rescued_table(fate))
    if not file.table.columns:
        return
    said = f"{why}: the table {fate.live.name} goes"
    for values in _rows(connection, fate, file.table.columns, SQL(""), say):
        file.add("row", values, why=said)


def _columns(
    connection: psycopg.Connection, bundle: Bundle, fate: Fate, say: Say, why: str
) -> None:
    file: TableFile = bundle.table(rescued_table(fate))
    lost = [one.name for one in fate.lost]
    stays = fate.key or tuple(name for name in file.table.columns if name not in lost)
    stays = tuple(name for name in stays if name not in lost)
    columns = (*stays, *(name for name in lost if name not in stays))
    # IS NOT NULL is false for a composite value of which one field is NULL.
    some = SQL(" OR ").join(SQL("{} IS DISTINCT FROM NULL").format(Identifier(x)) for x in lost)
    said = f"{why}: {', '.join(lost)} of {fate.live.name} {'goes' if len(lost) == 1 else 'go'}"
    for values in _rows(connection, fate, columns, SQL("WHERE ") + some, say):
        base = dict(zip(stays, values, strict=False))
        file.add("columns", values, why=said, base=base, columns=columns)


def _rows(
    connection: psycopg.Connection,
    fate: Fate,
    columns: Sequence[str],
    where: Composable,
    say: Say,
) -> Iterator[Values]:
    only = SQL("ONLY ") if fate.live.kind == "table" else SQL("")
    query = SQL("SELECT {} FROM {}{} {}").format(
        SQL(", ").join(map(Identifier, columns)), only, Identifier(*fate.name), where
    )
    yield from stream(connection, query, say, f"saves {fate.live.name}")


def stream(
    connection: psycopg.Connection, query: Composable, say: Say, note: str
) -> Iterator[Values]:
    """The rows of a query as PostgreSQL's text; never held in memory together."""
    number = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(SQL("COPY ({}) TO STDOUT").format(query)) as copy,
    ):
        for number, values in enumerate(copy.rows(), start=1):
            if number % SAY_EVERY == 1:
                say(f"{note}: {number - 1:,} rows")
            yield tuple(values)
    say(f"{note}: {number:,} rows")
