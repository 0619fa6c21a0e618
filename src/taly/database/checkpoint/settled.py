"""Rows that nobody touched while a backup was made: what it must hold exactly as it was.

RDS makes a backup of a moment of its own, somewhat later than the instant at which a checkpoint
counts and sums up. But it copies the server's files: every row keeps the transaction that wrote
it. So of a backup the rows older than the instant, without those that were changed, deleted or
locked meanwhile, are the same rows as at the instant without these. What was touched can be told
from the instant's snapshot as long as that is held: such a row has an `xmax`.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from taly.database.checkpoint.contents import HASH_RECORDS_SINCE, Report, Table, summed, tables
from taly.database.checkpoint.folder import write_file
from taly.database.checkpoint.manifest import SettledContent, Sums

FOLDER = "touched"
TOUCHED = """
SELECT DISTINCT h FROM (SELECT {} AS h FROM ONLY {} t WHERE t.xmax <> '0'::xid) r
"""
# `age` tells old from new modulo 2³², as a plain comparison of the 32 bits would not.
SETTLED = """
SELECT count(*), coalesce(sum({}), 0)::text FROM (
  SELECT {} AS h FROM ONLY {} t WHERE age(t.xmin) > age({}::xid) OFFSET 0) r
WHERE NOT EXISTS (SELECT FROM unnest({}::bigint[]) u (x) WHERE u.x = r.h)
"""


def settle(
    connection: psycopg.Connection, xmin: int, folder: Path, report: Report
) -> tuple[SettledContent, ...]:
    """Note them, in the instant's own snapshot, when the backup has been made.

    `xmin`: the oldest transaction that was not over at the instant, of 64 bits.
    """
    found, done = [], 0
    every = tables(connection)
    whole = sum(table.bytes for table in every)
    for number, table in enumerate(every):
        rows = connection.execute(SQL(TOUCHED).format(_hash(connection, table), _place(table)))
        touched = sorted(int(h) for (h,) in rows.fetchall())
        file = f"{FOLDER}/{number}.gz" if touched else ""
        if touched:
            write_file(folder / file, gzip.compress("\n".join(map(str, touched)).encode(), 1))
        found.append(_settled(connection, table, xmin, file, touched, "mixed"))
        done += table.bytes
        report("rows untouched meanwhile", done, whole)
    return tuple(found)


def unsettled(
    connection: psycopg.Connection,
    xmin: int,
    expected: tuple[SettledContent, ...],
    folder: Path,
    report: Report,
    sums: Sums,
) -> Iterator[str]:
    """What a physical copy does not hold as it should."""
    there = {(table.schema, table.name): table for table in tables(connection)}
    for number, one in enumerate(expected, 1):
        place = f"{one.table_schema}.{one.name}"
        table = there.pop((one.table_schema, one.name), None)
        if table is None:
            yield f"table {place} is not in it"
            continue
        touched = _read(folder / one.touched) if one.touched else []
        found = _settled(connection, table, xmin, one.touched, touched, sums)
        if found.rows != one.rows:
            yield f"table {place}: {found.rows} rows that were settled, and there were {one.rows}"
        elif found.checksum != one.checksum:
            yield f"table {place}: as many settled rows, with other values"
        report("checksums", number, len(expected))
    yield from (f"table {schema}.{name} was not there" for schema, name in there)


def _settled(
    connection: psycopg.Connection,
    table: Table,
    xmin: int,
    file: str,
    touched: list[int],
    sums: Sums,
) -> SettledContent:
    query = SQL(SETTLED).format(
        SQL(summed(sums)),
        _hash(connection, table),
        _place(table),
        Literal(str(xmin % 2**32)),
        Literal("{" + ",".join(map(str, touched)) + "}"),
    )
    row = connection.execute(query).fetchone()
    assert row is not None, "an aggregate gives a row"
    return SettledContent(
        table_schema=table.schema,
        name=table.name,
        rows=row[0],
        checksum=str(row[1]),
        touched=file,
    )


def _hash(connection: psycopg.Connection, table: Table) -> Composed:
    if not table.columns:
        return SQL("{}::bigint").format(Literal(0))
    values = SQL(", ").join(
        Identifier("t", name) if plain else SQL("({}::text)").format(Identifier("t", name))
        for name, plain in table.columns
    )
    if connection.info.server_version >= HASH_RECORDS_SINCE:
        return SQL("hash_record_extended(ROW({}), 0)").format(values)
    return SQL("hashtextextended(ROW({})::text, 0)").format(values)


def _place(table: Table) -> Identifier:
    return Identifier(table.schema, table.name)


def _read(path: Path) -> list[int]:
    return [int(line) for line in gzip.decompress(path.read_bytes()).split()]
