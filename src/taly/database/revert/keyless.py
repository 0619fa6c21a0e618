"""Tables without a key: rows are told apart by all of their values, as multisets."""

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from taly.database.rescue.bundle import Bundle
from taly.database.revert.back import Return, copy_in
from taly.database.revert.fates import Fate
from taly.database.revert.out import rescued_table, stream
from taly.database.revert.rows import Window
from taly.database.revert.session import attended, exact, patiently
from taly.database.revert.staged import as_text
from taly.model.catalog import Table
from taly.model.ports import Say


def make_room(
    connection: psycopg.Connection,
    bundle: Bundle,
    one: Return,
    window: Window,
    say: Say,
    why: str,
) -> None:
    """Rows that nobody wrote since the migration give way to those that were saved.

    Those of which no equal was saved go to the bundle first.
    """
    assert one.live is not None, "else the whole table comes back"
    table = one.live
    file = bundle.table(rescued_table(Fate(live=table, before=one.before)))
    _read_text(connection, one, say)
    said = f"{why}: the row as {table.name} had it, which has no key to find it by"
    with exact(connection):
        for values in stream(connection, _unlike(one, table, window), say, f"saves {table.name}"):
            file.add("row", values, why=said)
        rescue_since(connection, bundle, one, window, say, why)
    query = SQL("DELETE FROM {} t WHERE {}").format(
        Identifier(table.schema, table.name), SQL(window.before_end("t"))
    )
    patiently(connection, query, say, f"makes room in {table.name}")


def rescue_since(
    connection: psycopg.Connection,
    bundle: Bundle,
    one: Return,
    window: Window,
    say: Say,
    why: str,
) -> None:
    """Rows that were written since and stay: the migration, run again, would not spare them."""
    assert one.live is not None, "else the whole table comes back"
    table = one.live
    file = bundle.table(rescued_table(Fate(live=table, before=one.before)))
    stays = {column.attnum: column.type for column in one.before.columns}
    base = [
        name
        for name in file.table.columns
        if any(c.name == name and stays.get(c.attnum) == c.type for c in table.columns)
    ]
    columns = SQL(", ").join(map(Identifier, file.table.columns))
    query = SQL("SELECT {} FROM {} t WHERE NOT ({})").format(
        columns, Identifier(table.schema, table.name), SQL(window.before_end("t"))
    )
    said = f"{why}: the row was written since, and stays"
    for values in stream(connection, query, say, f"saves {table.name}"):
        row = dict(zip(file.table.columns, values, strict=True))
        file.add("row", values, why=said, base={name: row[name] for name in base})


def _temporary(one: Return) -> Identifier:
    return Identifier("pg_temp", f"taly_text_{one.number}")


def _read_text(connection: psycopg.Connection, one: Return, say: Say) -> None:
    columns = SQL(", ").join(
        SQL("{} text").format(Identifier(f"c{number}")) for number in range(len(one.columns))
    )
    name = Identifier(f"taly_text_{one.number}")
    connection.execute(SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(name, columns))
    copy = SQL("COPY {} FROM STDIN").format(_temporary(one))
    attended(connection, lambda: copy_in(connection, copy, one.path), say, f"reads {one.path.name}")


def _unlike(one: Return, table: Table, window: Window) -> Composable:
    numbers = {column.name: column.attnum for column in one.before.columns}
    now = {column.attnum: column.name for column in table.columns}
    pairs = [
        (now[numbers[name]], number)
        for number, name in enumerate(one.columns)
        if name is not None and numbers[name] in now
    ]
    live = array([as_text("t", name) for name, _ in pairs])
    saved = array([SQL("{}").format(Identifier(f"c{number}")) for _, number in pairs])
    columns = [column.name for column in table.columns if not column.generated]
    return SQL(
        "SELECT {} FROM (SELECT t.*, {} AS taly_all,"
        " row_number() OVER (PARTITION BY {}) AS taly_number FROM {} t WHERE {}) d"
        " LEFT JOIN (SELECT {} AS taly_all, count(*) AS n FROM {} GROUP BY 1) s USING (taly_all)"
        " WHERE d.taly_number > coalesce(s.n, 0)"
    ).format(
        SQL(", ").join(SQL("d.{}").format(Identifier(name)) for name in columns),
        live,
        live,
        Identifier(table.schema, table.name),
        SQL(window.before_end("t")),
        saved,
        _temporary(one),
    )


def array(texts: list[Composable]) -> Composable:
    """SQL: values as one that can be compared, whatever their types; NULL equals NULL in it."""
    return SQL("ARRAY[{}]::text[]").format(SQL(", ").join(texts))
