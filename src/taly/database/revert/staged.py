"""What rows held before the way down, kept beside them in temporary tables of the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from taly.database.rescue.bundle import Bundle
from taly.database.revert.fates import Fate, key_of
from taly.database.revert.out import rescued_table, stream
from taly.database.revert.rows import Window
from taly.database.revert.session import attended, exact
from taly.model.catalog import Column, Table
from taly.model.ports import Say


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A table of which some columns are converted or overwritten on the way down."""

    live: Table
    before: Table
    key: tuple[tuple[Column, Column], ...]
    """Live and before."""
    columns: tuple[tuple[Column, Column], ...]
    """Live and before."""
    hinted: frozenset[int] = frozenset()
    """Numbers of those that only a hint changes."""

    @property
    def is_overwritten(self) -> bool:
        """Whether the migration, run again, changes more than a type."""
        return any(
            now.type == old.type and now.attnum not in self.hinted for now, old in self.columns
        )

    @property
    def temporary(self) -> Identifier:
        """The table that holds them: k0, k1…, c0, c1…, and whether the row is the migration's."""
        return Identifier("pg_temp", f"taly_live_{self.live.oid}")

    def same_key(self, row: str, kept: str) -> Composable:
        """SQL: a row of the table as it was, and what was kept of it."""
        return SQL(" AND ").join(
            SQL("{}.{} = {}.{}::{}").format(
                SQL(row), Identifier(old.name), SQL(kept), Identifier(f"k{number}"), SQL(old.type)
            )
            for number, (_, old) in enumerate(self.key)
        )


def staged(
    live: Table,
    before: Table,
    columns: Sequence[tuple[Column, Column]],
    hinted: frozenset[int] = frozenset(),
) -> Staged | None:
    """None when no key finds a row again, before and after."""
    now = {column.name: column for column in live.columns}
    old = {column.attnum: column for column in before.columns}
    key = [now[name] for name in key_of(live)]
    if not key or any(column.attnum not in old for column in key):
        return None
    pairs = tuple((column, old[column.attnum]) for column in key)
    return Staged(live=live, before=before, key=pairs, columns=tuple(columns), hinted=hinted)


def keep(connection: psycopg.Connection, one: Staged, window: Window, say: Say) -> None:
    """Fill its temporary table, before anything is changed."""
    parts: list[Composable] = [
        SQL("t.{} AS {}").format(Identifier(column.name), Identifier(f"k{number}"))
        for number, (column, _) in enumerate(one.key)
    ]
    parts += [
        SQL("{} AS {}").format(as_text("t", column.name), Identifier(f"c{number}"))
        for number, (column, _) in enumerate(one.columns)
    ]
    parts.append(SQL("({}) AS ours").format(SQL(window.ours("t"))))
    parts.append(SQL("NOT ({}) AS since").format(SQL(window.before_end("t"))))
    query = SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} t").format(
        Identifier(f"taly_live_{one.live.oid}"),
        SQL(", ").join(parts),
        Identifier(one.live.schema, one.live.name),
    )
    with exact(connection):
        attended(connection, lambda: connection.execute(query), say, f"looks at {one.live.name}")
    connection.execute(SQL("ANALYZE {}").format(one.temporary))


def as_text(alias: str, name: str) -> Composable:
    """A value as its type prints it: a cast to text does it otherwise for booleans and char(n)."""
    column = SQL("{}.{}").format(SQL(alias), Identifier(name))
    # IS NOT NULL is false for a composite value of which one field is NULL.
    some = SQL("{} IS DISTINCT FROM NULL").format(column)
    return SQL("CASE WHEN {} THEN format('%s', {}) END").format(some, column)


def rescue_changed(
    connection: psycopg.Connection, bundle: Bundle, one: Staged, say: Say, why: str
) -> int:
    """Into the bundle: what reads otherwise after the way down, with how it reads then.

    Also what was written since the migration and stays: run again, it would change that as well.
    """
    file = bundle.table(rescued_table(Fate(live=one.live, before=one.before)))
    columns = [*(column.name for column, _ in one.key), *(column.name for column, _ in one.columns)]
    before = file.rows
    said = f"{why}: {', '.join(column.name for column, _ in one.columns)} of {one.live.name}"
    said += " as it was before"
    with exact(connection):
        for values in stream(connection, _changed(one), say, f"compares {one.live.name}"):
            kept, now = values[: len(columns)], values[len(columns) :]
            base = dict(zip(columns, (*kept[: len(one.key)], *now), strict=True))
            file.add("columns", kept, why=said, base=base, columns=columns)
    return file.rows - before


def _changed(one: Staged) -> Composable:
    kept = [as_text("l", f"k{number}") for number in range(len(one.key))]
    kept += [SQL("l.{}").format(Identifier(f"c{number}")) for number in range(len(one.columns))]
    now = [as_text("t", old.name) for _, old in one.columns]
    unlike = SQL(" OR ").join(
        SQL("l.{} IS DISTINCT FROM {}").format(Identifier(f"c{number}"), text)
        for number, text in enumerate(now)
    )
    if one.is_overwritten:
        unlike = SQL("l.since OR {}").format(unlike)
    return SQL("SELECT {} FROM {} l JOIN {} t ON {} WHERE {}").format(
        SQL(", ").join([*kept, *now]),
        one.temporary,
        Identifier(one.before.schema, one.before.name),
        one.same_key("t", "l"),
        unlike,
    )
