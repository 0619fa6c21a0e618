"""What a database holds, in numbers: rows and a checksum for every table, of one snapshot."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from taly.database.checkpoint.manifest import Sums, TableContent

TABLES = """
SELECT n.nspname, c.relname, pg_table_size(c.oid),
  coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum > 0), '{}'),
  coalesce(array_agg(t.typname = ANY (%(plain)s) AND t.typnamespace = 'pg_catalog'::regnamespace
                     ORDER BY a.attnum) FILTER (WHERE a.attnum > 0), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY c.oid, n.nspname, c.relname ORDER BY n.nspname, c.relname
"""
LARGE_OBJECTS = "SELECT count(*) FROM pg_largeobject_metadata"

PLAIN = (
    *("bool", "int2", "int4", "int8", "text", "varchar", "bpchar", "uuid", "bytea"),
    *("date", "time", "timestamp", "timestamptz", "jsonb"),
)
"""Types whose own hash tells all their values apart and is the same in every database.

Others are hashed as text: an enum's hash uses OIDs that differ from database to database, equal
numerics may differ in scale, and some types (json, xml, points) have no hash at all.
"""
HASH_RECORDS_SINCE = 140_000

Report = Callable[[str, int, int], None]
"""What is being done, how much of it is done, how much there is (0 = not known)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that holds rows itself: a partition, not the table that it is a part of."""

    schema: str
    name: str
    bytes: int
    columns: tuple[tuple[str, bool], ...]
    """Name, and whether its own hash can be used."""


def tables(connection: psycopg.Connection) -> list[Table]:
    """Every table of users, without those that an extension brought."""
    rows = connection.execute(TABLES, {"plain": list(PLAIN)}).fetchall()
    return [
        Table(schema=schema, name=name, bytes=size, columns=tuple(zip(names, plain, strict=True)))
        for schema, name, size, names, plain in rows
    ]


def contents(
    connection: psycopg.Connection, found: list[Table], report: Report, sums: Sums = "mixed"
) -> tuple[TableContent, ...]:
    """Rows and checksum of these tables; the checksum does not depend on the rows' order.

    `sums`: "plain" only to compare with a checkpoint whose checksums were made so.
    """
    all_bytes, done, out = sum(table.bytes for table in found), 0, []
    for table in found:
        query = _query(table, connection.info.server_version >= HASH_RECORDS_SINCE, sums)
        row = connection.execute(query).fetchone()
        assert row is not None, "an aggregate gives a row"
        out.append(
            TableContent(
                table_schema=table.schema, name=table.name, rows=row[0], checksum=str(row[1])
            )
        )
        done += table.bytes
        report("checksums", done, all_bytes)
    return tuple(out)


def large_objects(connection: psycopg.Connection) -> int:
    """How many large objects there are."""
    row = connection.execute(LARGE_OBJECTS).fetchone()
    return int(row[0]) if row else 0


def row_hash(table: Table, hash_records: bool, row: str) -> Composed:
    """Of a row of a table that has columns; the same in every database that holds that row."""
    values = SQL(", ").join(
        Identifier(row, name) if plain else SQL("({}::text)").format(Identifier(row, name))
        for name, plain in table.columns
    )
    hashed = (
        "hash_record_extended(ROW({}), 0)" if hash_records else "hashtextextended(ROW({})::text, 0)"
    )
    return SQL(hashed).format(values)


def summed(sums: Sums, value: str = "h") -> str:
    """What is added up of a row, from its hash, a column.

    PostgreSQL's hash of a record is a polynomial of its columns' hashes. So a plain sum is, modulo
    2⁶⁴, made of one sum for each column, and tells of no values that two rows have exchanged.
    """
    return value if sums == "plain" else f"hashint8extended({value}, {value})"


def _query(table: Table, hash_records: bool, sums: Sums) -> Composed:
    place = Identifier(table.schema, table.name)
    if not table.columns:
        return SQL("SELECT count(*), '0' FROM ONLY {}").format(place)
    return SQL(
        "SELECT count(*), coalesce(sum({}), 0)::text"
        " FROM (SELECT {} AS h FROM ONLY {} t OFFSET 0) t"  # lest each use computes it anew
    ).format(SQL(summed(sums)), row_hash(table, hash_records, "t"), place)
