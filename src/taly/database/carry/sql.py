"""SQL as text: quoting, and running it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from taly.model.ports import Say

BLOCK = 1 << 16
"""Bytes that are sent on at once while one COPY feeds another."""


def q(*names: str) -> str:
    """A name, qualified and quoted."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def lit(text: str) -> str:
    """A string constant; standard_conforming_strings is on in our sessions."""
    return "'" + text.replace("'", "''") + "'"


def array(items: Iterable[str], of: str = "text") -> str:
    """An array constructor over expressions."""
    return f"ARRAY[{', '.join(items)}]::{of}[]"


def run(
    connection: psycopg.Connection, sql: str, parameters: Sequence[Any] | None = None
) -> psycopg.Cursor:
    """Execute text that was put together here."""
    return connection.execute(sql, parameters)


def rows(
    connection: psycopg.Connection, sql: str, parameters: Sequence[Any] | None = None
) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return run(connection, sql, parameters).fetchall()


def number(connection: psycopg.Connection, sql: str) -> int:
    """The one number that a query gives."""
    row = run(connection, sql).fetchone()
    return int(row[0] or 0) if row else 0


def pour(
    out: psycopg.Connection,
    query: str,
    into: psycopg.Connection,
    place: str,
    tell: Callable[[int], None],
) -> int:
    """Send a query's rows from one database into a table of another; returns how many.

    PostgreSQL's own COPY text is handed on as it comes, so memory does not grow with the rows.
    """
    count, held = 0, bytearray()
    source = out.cursor()
    with (
        source.copy(f"COPY ({query}) TO STDOUT") as reading,
        into.cursor().copy(f"COPY {place} FROM STDIN") as writing,
    ):
        for block in reading:
            held += block
            count += 1
            if len(held) >= BLOCK:
                writing.write(bytes(held))
                held.clear()
                tell(count)
        writing.write(bytes(held))
    return count


def telling(say: Say, what: str) -> Callable[[int], None]:
    """A counter that tells how many rows of something have been read."""

    def tell(count: int) -> None:
        say(f"{what}: {count:,} rows")

    return tell
