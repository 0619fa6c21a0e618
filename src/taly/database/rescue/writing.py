"""The statements of a replay: find rows by key, insert, set, delete; all values as text."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import psycopg
from psycopg.sql import SQL, Composable, Composed

from taly.database.rescue.deciding import Value
from taly.database.rescue.present import Present, Reference, escaped, texts
from taly.database.rescue.table_file import RescuedRow

PARAMETERS = 60_000
"""Of one statement; the protocol allows 65,535."""
PADDED = "character("
CUT_OFF = ("character", "bpchar", "bit")
"""Types that an explicit cast cuts off silently, and an insert does not."""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A rescued row on its way back."""

    number: int
    """Its place in the file."""
    whole: RescuedRow
    """As it was rescued."""
    row: RescuedRow
    """As far as it fits the table of today."""
    values: dict[str, Value]
    """What is to be written."""


def joined(parts: Iterable[Composable], by: str = ", ") -> Composed:
    """Parts of SQL with a comma between them."""
    return SQL(by).join(parts)


def unnested(types: Sequence[str]) -> Composed:
    """`unnest(%s::text[]::int[], …) WITH ORDINALITY u (k0, …, n)`: rows of keys as a parameter."""
    arrays = joined(SQL("%s::text[]::{}[]").format(SQL(kind.replace("%", "%%"))) for kind in types)
    names = joined(escaped(f"k{number}") for number in range(len(types)))
    return SQL("unnest({}) WITH ORDINALITY AS u ({}, n)").format(arrays, names)


def by_key(table: Present, key: Sequence[str], alias: str = "t") -> Composed:
    """The condition that finds the rows of `unnested` in a table."""
    return joined(
        (
            SQL("{} = u.{}").format(escaped(alias, column), escaped(f"k{number}"))
            for number, column in enumerate(key)
        ),
        " AND ",
    )


def columns_of(rows: Sequence[Mapping[str, Value]], names: Sequence[str]) -> list[list[Value]]:
    """Rows turned into one list a column."""
    return [[row[name] for row in rows] for name in names]


def find(
    connection: psycopg.Connection,
    table: Present,
    key: Sequence[str],
    rows: Sequence[Mapping[str, Value]],
    columns: Sequence[str],
    *,
    lock: bool,
) -> dict[int, list[dict[str, Value]]]:
    """Number of a row → the rows of the table that have its key now."""
    types = [table.bare_types[name] for name in key]
    query = SQL("SELECT {} FROM {} JOIN {} t ON {}{}").format(
        joined([SQL("u.n"), *(escaped("t", name) for name in columns)]),
        unnested(types),
        table.escaped,
        by_key(table, key),
        # Nobody changes them until we have; who only refers to them need not wait.
        SQL(" FOR NO KEY UPDATE OF t" if lock else ""),
    )
    found: dict[int, list[dict[str, Value]]] = defaultdict(list)
    for number, *values in texts(connection.execute(query, columns_of(rows, key))):
        found[int(number or 0) - 1].append(dict(zip(columns, values, strict=True)))
    return found


def insert(connection: psycopg.Connection, table: Present, rows: Sequence[Candidate]) -> None:
    """Insert rows: in as few statements as can be, so that rows may refer to each other."""
    for columns, some in grouped(rows).items():
        most = PARAMETERS // max(len(columns), 1)
        for start in range(0, len(some), most):
            query, values = insertion(table, columns, some[start : start + most])
            connection.execute(query, values)


def insert_free(
    connection: psycopg.Connection, table: Present, key: Sequence[str], rows: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """Insert rows unless another one has a value of theirs that must be unique; both kinds."""
    returned = SQL(" ON CONFLICT DO NOTHING RETURNING {}").format(joined(map(escaped, key)))
    came: set[tuple[Value, ...]] = set()
    for columns, some in grouped(rows).items():
        most = PARAMETERS // max(len(columns), 1)
        for start in range(0, len(some), most):
            query, values = insertion(table, columns, some[start : start + most])
            came.update(map(tuple, texts(connection.execute(query + returned, values))))
    if len(came) == len(rows):
        return list(rows), []
    written = [
        canonical(connection, table, name, [row.values[name] for row in rows]) for name in key
    ]
    found = [values in came for values in zip(*written, strict=True)]
    assert sum(found) == len(came), "each row that came in is one of these"
    pairs = list(zip(rows, found, strict=True))
    return [row for row, there in pairs if there], [row for row, there in pairs if not there]


def insertion(
    table: Present, columns: Sequence[str], rows: Sequence[Candidate]
) -> tuple[Composed, list[Value]]:
    """An INSERT and its parameters; identity columns get the values that they had."""
    if not columns:
        return SQL("INSERT INTO {} SELECT FROM generate_series(1, {})").format(
            table.escaped, len(rows)
        ), []
    one = SQL("({})").format(joined([SQL("%s")] * len(columns)))
    query = SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES {}").format(
        table.escaped, joined(escaped(name) for name in columns), joined([one] * len(rows))
    )
    return query, [row.values[name] for row in rows for name in columns]


def grouped(rows: Sequence[Candidate]) -> dict[tuple[str, ...], list[Candidate]]:
    """Rows by the columns that they write."""
    found: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    for row in rows:
        found[tuple(row.values)].append(row)
    return found


def update(
    connection: psycopg.Connection, table: Present, key: Sequence[str], rows: Sequence[Candidate]
) -> None:
    """Set some columns of rows that are there."""
    for columns, some in grouped(rows).items():
        query = SQL("UPDATE {} SET {} WHERE {}").format(
            table.escaped,
            joined(SQL("{} = %s").format(escaped(name)) for name in columns),
            joined((SQL("{} = %s").format(escaped(name)) for name in key), " AND "),
        )
        values = [[*row.values.values(), *(row.row.row[name] for name in key)] for row in some]
        connection.cursor().executemany(query, values)


def delete(
    connection: psycopg.Connection, table: Present, key: Sequence[str], rows: Sequence[Candidate]
) -> None:
    """Delete rows."""
    query = SQL("DELETE FROM {} t USING {} WHERE {}").format(
        table.escaped, unnested([table.bare_types[name] for name in key]), by_key(table, key)
    )
    connection.execute(query, columns_of([row.row.row for row in rows], key))


def without_parent(
    connection: psycopg.Connection, reference: Reference, rows: Sequence[Candidate]
) -> list[Candidate]:
    """Those that refer to a row that is not there."""
    bound = [
        row for row in rows if all(row.values.get(name) is not None for name in reference.columns)
    ]
    if not bound:
        return []
    query = SQL("SELECT u.n FROM {} WHERE NOT EXISTS (SELECT FROM {} p WHERE {})").format(
        unnested(reference.to_types),
        reference.parent_place,
        joined(
            (
                SQL("p.{} = u.{}").format(escaped(column), escaped(f"k{number}"))
                for number, column in enumerate(reference.to)
            ),
            " AND ",
        ),
    )
    cursor = connection.execute(query, columns_of([row.values for row in bound], reference.columns))
    return [bound[int(number or 0) - 1] for (number,) in texts(cursor)]


def is_referred_to(
    connection: psycopg.Connection, reference: Reference, now: Mapping[str, Value]
) -> bool:
    """Whether a row refers to this one: deleting it might take others along."""
    if any(now.get(name) is None for name in reference.to):
        return False
    query = SQL("SELECT FROM {} c WHERE {} LIMIT 1").format(
        reference.child_place,
        joined((SQL("c.{} = %s").format(escaped(name)) for name in reference.columns), " AND "),
    )
    return bool(connection.execute(query, [now[name] for name in reference.to]).rowcount)


def canonical(
    connection: psycopg.Connection, table: Present, column: str, values: Sequence[Value]
) -> list[Value]:
    """Values as the column's present type writes them: `1.5` is `1.50` in a numeric(4,2)."""
    kind = table.types[column]
    if kind.startswith(CUT_OFF) and not kind.startswith(PADDED):
        kind = table.bare_types[column]
    query = SQL("SELECT CAST(v AS {}) FROM unnest(%s::text[]) WITH ORDINALITY u (v, n) ORDER BY n")
    written = query.format(SQL(kind.replace("%", "%%")))
    found = [row[0] for row in texts(connection.execute(written, [list(values)]))]
    if not kind.startswith(PADDED):
        return found
    # What is too long stays so, for an insert to refuse; spaces at the end mean nothing.
    return [
        new if (new or "").rstrip(" ") == (old or "").rstrip(" ") else old
        for old, new in zip(values, found, strict=True)
    ]


def canonical_where_it_can(
    connection: psycopg.Connection, table: Present, column: str, values: Sequence[Value]
) -> list[Value]:
    """The same; a value that the present type does not know stays as it is."""
    try:
        with connection.transaction():
            return canonical(connection, table, column, values)
    except psycopg.DataError:
        if len(values) == 1:
            return list(values)
    half = len(values) // 2
    return [
        *canonical_where_it_can(connection, table, column, values[:half]),
        *canonical_where_it_can(connection, table, column, values[half:]),
    ]


def is_rounded(before: Value, after: Value) -> bool:
    """Whether a number is another one in the present type."""
    try:
        if before == after or before is None or after is None:
            return False
        return Decimal(before) != Decimal(after)
    except InvalidOperation:
        return False
