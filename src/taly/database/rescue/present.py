"""How a table is now: its columns, what nobody wrote to them, what it refers to."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

import psycopg
from psycopg.sql import Identifier

OID = """
SELECT c.oid::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')
"""
COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1),
  a.attgenerated <> '', pg_get_expr(d.adbin, d.adrelid),
  CASE WHEN a.atthasmissing AND t.typcategory <> 'A' THEN (a.attmissingval::text::text[])[1] END,
  t.typtype = 'd' OR EXISTS (SELECT FROM pg_cast k WHERE k.castsource = t.oid
    AND k.casttarget = 'pg_catalog.text'::regtype AND k.castmethod = 'f')
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
REFERENCES = """
SELECT f.conname::text, f.conrelid::int8, cn.nspname::text, c.relname::text,
  f.confrelid::int8, n.nspname::text, p.relname::text,
  (SELECT array_agg(a.attname::text ORDER BY k.i) FROM unnest(f.conkey) WITH ORDINALITY k(n, i)
     JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.n),
  (SELECT array_agg(a.attname::text ORDER BY k.i) FROM unnest(f.confkey) WITH ORDINALITY k(n, i)
     JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.n),
  (SELECT array_agg(format_type(a.atttypid, -1) ORDER BY k.i)
     FROM unnest(f.confkey) WITH ORDINALITY k(n, i)
     JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.n)
FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid
  JOIN pg_namespace n ON n.oid = p.relnamespace
  JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0
  AND (f.conrelid = ANY (%(oids)s) OR f.confrelid = ANY (%(oids)s))
ORDER BY f.conrelid, f.conname
"""
# A type's length in brackets is no call; anything else that could be one is not evaluated.
QUOTED = re.compile(r"'(?:[^']|'')*'")
CALL = re.compile(
    r"(?!\b(?:numeric|varying|varchar|bpchar|character|char|bit|timestamp|time|interval)\b)"
    r"\b[\w\"]+\s*\(",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key."""

    name: str
    child: int
    """The referring table's OID."""
    child_place: Identifier
    parent: int
    parent_place: Identifier
    """Both places are for statements with parameters."""
    parent_label: str
    columns: tuple[str, ...]
    to: tuple[str, ...]
    to_types: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Present:
    """A table as it is now."""

    oid: int
    schema: str
    name: str
    types: Mapping[str, str]
    """Column → type with its length; those that are computed are left out."""
    bare_types: Mapping[str, str]
    """The same without lengths."""
    generated: frozenset[str]
    fresh: Mapping[str, frozenset[str]]
    """What a column holds to which nobody wrote, beside NULL."""
    spelled_twice: frozenset[str]
    """Columns whose values a cast to text may write otherwise: `true` and `t`."""
    references: Sequence[Reference] = field(default_factory=list)
    """What this table refers to."""
    referring: Sequence[Reference] = field(default_factory=list)
    """What refers to this table."""

    @property
    def place(self) -> Identifier:
        """As SQL has it, in a statement without parameters."""
        return Identifier(self.schema, self.name)

    @property
    def escaped(self) -> Identifier:
        """The same in a statement with parameters."""
        return escaped(self.schema, self.name)


def escaped(*names: str) -> Identifier:
    """A name in a statement with parameters: there psycopg takes a percent sign for one."""
    return Identifier(*(name.replace("%", "%%") for name in names))


def present(connection: psycopg.Connection, schema: str, name: str) -> Present | None:
    """A table as it is now; None when there is no such one."""
    row = connection.execute(OID, (schema, name)).fetchone()
    if row is None:
        return None
    columns = connection.execute(COLUMNS, (row[0],)).fetchall()
    fresh: dict[str, frozenset[str]] = {}
    for column, kind, _, generated, default, missing, _ in columns:
        constant = None if generated or not default else _constant(connection, default, kind)
        fresh[column] = frozenset(value for value in (constant, missing) if value is not None)
    return Present(
        oid=row[0],
        schema=schema,
        name=name,
        types={column: kind for column, kind, _, generated, *_ in columns if not generated},
        bare_types={column: bare for column, _, bare, generated, *_ in columns if not generated},
        generated=frozenset(column for column, _, _, generated, *_ in columns if generated),
        fresh=fresh,
        spelled_twice=frozenset(column for column, *_, twice in columns if twice),
    )


def _constant(connection: psycopg.Connection, default: str, kind: str) -> str | None:
    """A default's value, unless it calls something: that may count, or differ each time."""
    if CALL.search(QUOTED.sub("''", default)):
        return None
    try:
        with connection.transaction():
            cursor = connection.execute(f"SELECT CAST(({default}) AS {kind})".encode())
    except psycopg.Error:
        return None
    return _text(cursor, 0, 0)


def _text(cursor: psycopg.Cursor, row: int, column: int) -> str | None:
    """What the server said, as its type's own output has it."""
    assert cursor.pgresult is not None, "it was executed"
    value = cursor.pgresult.get_value(row, column)
    return None if value is None else value.decode("utf-8", "surrogateescape")


def texts(cursor: psycopg.Cursor) -> list[list[str | None]]:
    """All rows of a result as exact text, whatever their types."""
    assert cursor.pgresult is not None, "it was executed"
    width = cursor.pgresult.nfields
    return [
        [_text(cursor, row, column) for column in range(width)]
        for row in range(cursor.pgresult.ntuples)
    ]


def refer(connection: psycopg.Connection, tables: Sequence[Present]) -> None:
    """Fill in what the tables refer to, and what refers to them."""
    rows = connection.execute(REFERENCES, {"oids": [table.oid for table in tables]}).fetchall()
    by_child, by_parent = defaultdict(list), defaultdict(list)
    for name, child, c_schema, c_name, parent, p_schema, p_name, columns, to, types in rows:
        reference = Reference(
            name=name,
            child=child,
            child_place=escaped(c_schema, c_name),
            parent=parent,
            parent_place=escaped(p_schema, p_name),
            parent_label=f"{p_schema}.{p_name}",
            columns=tuple(columns),
            to=tuple(to),
            to_types=tuple(types),
        )
        by_child[child].append(reference)
        by_parent[parent].append(reference)
    for table in tables:
        table.references, table.referring = by_child[table.oid], by_parent[table.oid]


def in_order(tables: Sequence[Present]) -> list[Present]:
    """Those that are referred to first; in a cycle, anyhow."""
    by_oid = {table.oid: table for table in tables}
    needs = {
        table.oid: {one.parent for one in table.references if one.parent in by_oid} - {table.oid}
        for table in tables
    }
    while True:
        try:
            return [by_oid[oid] for oid in TopologicalSorter(needs).static_order()]
        except CycleError as error:
            cycle: list[int] = error.args[1]
            # Each in the list stands before the one that needs it.
            needs[cycle[1]].discard(cycle[0])
