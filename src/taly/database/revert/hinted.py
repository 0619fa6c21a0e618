"""Values that column hints read, set in the revert's own transaction.

They are worked out from the live rows before anything is touched. A value that the old type could
not take steps aside (the column is empty for a moment), and the hint's comes when the column is as
it was. What was live is in the rescue bundle, as after every conversion.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from taly.database.revert.back import Quiet
from taly.database.revert.fates import key_of
from taly.database.revert.rows import Window
from taly.database.revert.session import attended, exact, patiently
from taly.database.revert.staged import as_text
from taly.model.catalog import Catalog, Column, Table
from taly.model.ports import Say
from taly.planning.adapting import Adapted, adapted
from taly.planning.carry import pairs, read_hints
from taly.planning.down import Down

LENGTH = re.compile(r"\(\s*\d+(\s*,\s*-?\d+)?\s*\)")
"""A cast to a type with a length cuts off without a word; an assignment does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hinted:
    """The hinted columns of one table."""

    live: Table
    before: Table
    key: tuple[tuple[Column, Column], ...]
    """Live and before."""
    columns: tuple[Adapted, ...]

    @property
    def temporary(self) -> Identifier:
        """Holds k0, k1…, h0, h1… (values as text), f0, f1… (whether it is to be set), and since."""
        return Identifier("pg_temp", f"taly_hint_{self.live.oid}")

    def same_key(self, row: str, *, live: bool) -> Composable:
        """SQL: the row of the table that `l` is about."""
        return SQL(" AND ").join(
            SQL("{}.{} = l.{}::{}").format(
                SQL(row),
                Identifier((now if live else old).name),
                Identifier(f"k{number}"),
                SQL((now if live else old).type),
            )
            for number, (now, old) in enumerate(self.key)
        )


def hinted(
    hints: str, live: Catalog, before: Catalog, script: tuple[str, str], schema: str
) -> tuple[Hinted, ...]:
    """Table by table what the hints say; `script` is the migration's name and text."""
    wanted = read_hints(hints)
    if not wanted:
        return ()
    matched = pairs(before, live, same_database=True, texts=[script], schema=schema)
    tables: dict[int, list[Adapted]] = {}
    for one in adapted(wanted, live, before, matched):
        tables.setdefault(one.live.oid, []).append(one)
    return tuple(_of_table(columns) for columns in tables.values())


def _of_table(columns: Sequence[Adapted]) -> Hinted:
    live, before = columns[0].live, columns[0].before
    now = {column.name: column for column in live.columns}
    old = {column.attnum: column for column in before.columns}
    key = tuple((now[name], old[now[name].attnum]) for name in key_of(live))
    return Hinted(live=live, before=before, key=key, columns=tuple(columns))


def prepare(connection: psycopg.Connection, one: Hinted, window: Window, say: Say) -> None:
    """Work the values out, and move those that the old type may not take out of the way."""
    parts: list[Composable] = [
        SQL("s.{} AS {}").format(Identifier(now.name), Identifier(f"k{number}"))
        for number, (now, _) in enumerate(one.key)
    ]
    for number, column in enumerate(one.columns):
        parts.append(SQL("v.{}").format(Identifier(f"h{number}")))
        parts.append(SQL("({}) AS {}").format(_is_set(column, number), Identifier(f"f{number}")))
    parts.append(SQL("NOT ({}) AS since").format(SQL(window.before_end("s"))))
    values = SQL(", ").join(
        SQL("({})::text AS {}").format(SQL(column.expression), Identifier(f"h{number}"))
        for number, column in enumerate(one.columns)
    )
    place = Identifier(one.live.schema, one.live.name)
    query = SQL(
        "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} s"
        " CROSS JOIN LATERAL (SELECT {}) v"
    ).format(Identifier(f"taly_hint_{one.live.oid}"), SQL(", ").join(parts), place, values)
    with exact(connection):
        attended(connection, lambda: connection.execute(query), say, f"reads {one.live.name}")
    with Quiet(connection, one.live):
        for number, column in enumerate(one.columns):
            if column.now is not None and column.converts:
                _empty(connection, one, column.now, number, say)
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _is_set(column: Adapted, number: int) -> Composable:
    if column.now is None or not (column.converts or column.only_empty):
        return SQL("true")
    return SQL("v.{} IS DISTINCT FROM {}").format(
        Identifier(f"h{number}"), as_text("s", column.now.name)
    )


def _empty(connection: psycopg.Connection, one: Hinted, now: Column, number: int, say: Say) -> None:
    place, name = Identifier(one.live.schema, one.live.name), Identifier(now.name)
    if now.not_null:
        drop = SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(place, name)
        connection.execute(drop)
    query = SQL("UPDATE {} s SET {} = NULL FROM {} l WHERE {} AND l.{}").format(
        place, name, one.temporary, one.same_key("s", live=True), Identifier(f"f{number}")
    )
    patiently(connection, query, say, f"reads {one.live.name} by your hints")


def convert(connection: psycopg.Connection, one: Hinted, down: Down, say: Say) -> None:
    """Set what was live, read by the hint; the columns have their old types by now."""
    for number, column in enumerate(one.columns):
        if column.now is not None:
            if any(column.mends(gap) for gap in down.gaps):
                _retype(connection, one, column)
            since = "" if column.converts or column.only_empty else " AND l.since"
            _set(connection, one, number, f"l.f{number}{since}", say)


def fill(connection: psycopg.Connection, one: Hinted, say: Say) -> None:
    """Set what nobody had saved of columns that were dropped; saved values are back by now."""
    for number, column in enumerate(one.columns):
        if column.now is None:
            empty = SQL("t.{} IS NULL").format(Identifier(column.column.name)).as_string(None)
            wanted = "true" if column.column.not_null else "l.since"
            if not column.only_empty:
                _set(connection, one, number, f"(l.since OR ({empty} AND {wanted}))", say)
            else:
                _set(connection, one, number, f"({empty} AND {wanted})", say)


def require(connection: psycopg.Connection, found: Sequence[Hinted]) -> None:
    """NOT NULL, where the column was so before and only we had lifted it."""
    for one in found:
        for column in one.columns:
            if column.converts and column.now and column.now.not_null and column.column.not_null:
                query = SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
                name = Identifier(column.column.name)
                connection.execute(query.format(_place(one), name))


def _retype(connection: psycopg.Connection, one: Hinted, column: Adapted) -> None:
    """No cast leads back for sure; all values have stepped aside, so none is needed."""
    name, old = Identifier(column.column.name), column.column
    alter = SQL("ALTER TABLE {} ALTER COLUMN {} ").format(_place(one), name)
    connection.execute(alter + SQL("DROP DEFAULT"))
    connection.execute(alter + SQL("TYPE {} USING NULL").format(SQL(old.type)))
    if old.default:
        connection.execute(alter + SQL("SET DEFAULT {}").format(SQL(old.default)))


def _set(connection: psycopg.Connection, one: Hinted, number: int, where: str, say: Say) -> None:
    column = one.columns[number].column
    value = SQL("l.{}::{}").format(Identifier(f"h{number}"), SQL(LENGTH.sub("", column.type)))
    query: Composed = SQL("UPDATE {} t SET {} = {} FROM {} l WHERE {} AND {}").format(
        _place(one),
        Identifier(column.name),
        value,
        one.temporary,
        one.same_key("t", live=False),
        SQL(where),
    )
    with Quiet(connection, one.before):
        patiently(connection, query, say, f"reads {one.before.name} by your hints")
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _place(one: Hinted) -> Identifier:
    return Identifier(one.before.schema, one.before.name)


def staged_columns(found: Sequence[Hinted]) -> Iterator[tuple[Hinted, Mapping[int, Adapted]]]:
    """The live columns whose values the hints replace, by number: they are saved before."""
    for one in found:
        columns = {column.now.attnum: column for column in one.columns if column.now is not None}
        if columns:
            yield one, columns
