"""A revert's rescue bundle put back when its migration is applied again: a three-way merge.

What a row held when it was rescued comes back. Where a value reads otherwise now than right after
the revert, somebody wrote it since: then the newer one stays, as the migration makes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from taly.database.rescue.bundle import Reader, RescuedRow
from taly.database.rescue.manifest import TableFacts
from taly.database.revert import references
from taly.database.revert.back import Quiet, orphans, positions
from taly.database.revert.keyless import array
from taly.database.revert.session import attended, exact, patiently
from taly.database.revert.staged import as_text
from taly.model.catalog import Catalog, Table
from taly.model.ports import Say

Shape = tuple[str, tuple[str, ...], tuple[str, ...] | None]
"""Kind, columns, and the columns of its base."""


@dataclass(slots=True, kw_only=True)
class Part:
    """Rows of one table and shape, in a temporary table: v0, v1… and b0, b1…, all text."""

    number: int
    facts: TableFacts
    before: Table
    """The table as the migration makes it."""
    kind: str
    columns: tuple[str, ...]
    base: tuple[str, ...]
    rows: int = 0
    put_back: int = 0

    @property
    def temporary(self) -> Identifier:
        """Where its rows are."""
        return Identifier("pg_temp", f"taly_rescued_{self.number}")

    @property
    def place(self) -> Identifier:
        """Their table."""
        return Identifier(self.facts.table_schema, self.facts.name)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns whose values right after the revert are known, beside the key."""
        return tuple(name for name in self.base if name not in self.facts.key)

    def value(self, name: str) -> Composable:
        """SQL: a rescued value, in its type."""
        kind = dict(zip(self.facts.columns, self.facts.types, strict=True))[name]
        number = self.columns.index(name)
        return SQL("s.{}::{}").format(Identifier(f"v{number}"), SQL(kind))

    def same_key(self) -> Composable:
        """SQL: the row `t` of the table that the rescued row `s` is of."""
        return SQL(" AND ").join(
            SQL("t.{} = {}").format(Identifier(name), self.value(name)) for name in self.facts.key
        )


@dataclass(slots=True, kw_only=True)
class Merge:
    """A bundle on its way back."""

    connection: psycopg.Connection
    say: Say
    parts: list[Part] = field(default_factory=list)

    def load(self, reader: Reader, wanted: Catalog) -> None:
        """Read it into temporary tables, in bounded memory."""
        tables = {(table.schema, table.name): table for table in wanted.tables}
        for facts in reader.tables:
            table = tables.get((facts.table_schema, facts.name))
            if table is not None:
                for shape, rows in _runs(reader.rows(facts)):
                    self._add(facts, table, shape, rows)

    def compare(self, names: Sequence[Mapping[str, Any]], live: Catalog) -> None:
        """Before the migration runs: mark the rows that read as right after the revert."""
        called = {tuple(one["live"]): one for one in names}
        tables = {(table.schema, table.name): table for table in live.tables}
        for part in self.parts:
            place = (part.facts.table_schema, part.facts.name)
            one = called.get(place)
            name = (str(one["before"][0]), str(one["before"][1])) if one is not None else place
            table = tables.get(name)
            if (
                not part.compared
                or table is None
                or (part.kind == "columns" and not part.facts.key)
            ):
                continue
            columns = one["columns"] if one is not None else {}
            with exact(self.connection):
                if part.facts.key:
                    query = _marking(part, table, columns)
                else:  # out of the way, or the migration would change them as well
                    self._set_aside(part, table, columns)
                    query = SQL("UPDATE {} SET same = NOT same").format(part.temporary)
                patiently(self.connection, query, self.say, f"compares {table.name}")

    def _set_aside(self, part: Part, table: Table, called: Mapping[str, str]) -> None:
        """Take rows that are as they were out of the table; in the rest `same` stays true."""
        known = {column.name for column in table.columns}
        names = [called.get(name, name) for name in part.base]
        if not set(names) <= known:
            return
        place = Identifier(table.schema, table.name)
        rows = SQL(
            "SELECT x.tableoid AS part, x.ctid AS at, {} AS taly_all, row_number() OVER"
            " (PARTITION BY {}) AS taly_number FROM {} x"
        )
        here = array([as_text("x", name) for name in names])
        kept = array([SQL("x.{}").format(Identifier(f"b{n}")) for n in range(len(names))])
        pairs = SQL("({}) s JOIN ({}) t USING (taly_all, taly_number)").format(
            rows.format(kept, kept, part.temporary), rows.format(here, here, place)
        )
        both = SQL(
            "WITH found AS MATERIALIZED (SELECT s.at AS mark, t.part, t.at FROM {}),"
            " marked AS (UPDATE {} b SET same = false FROM found f WHERE b.ctid = f.mark)"
            " DELETE FROM {} t USING found f WHERE t.tableoid = f.part AND t.ctid = f.at"
        ).format(pairs, part.temporary, place)
        with Quiet(self.connection, table):
            patiently(self.connection, both, self.say, f"sets rows of {table.name} aside")

    def put_back(self) -> None:
        """After the migration ran."""
        for part in references.parents_first(self.parts):
            note = f"puts rescued rows of {part.facts.name} back"
            with Quiet(self.connection, part.before):
                if part.kind == "row":
                    self._rows(part, note)
                elif part.facts.key:
                    part.put_back += patiently(self.connection, _update(part), self.say, note)
                else:
                    with exact(self.connection):
                        query = _update_keyless(part)
                        part.put_back += patiently(self.connection, query, self.say, note)
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _add(
        self, facts: TableFacts, table: Table, shape: Shape, rows: Iterator[RescuedRow]
    ) -> None:
        kind, columns, base = shape
        known = [one for one in self.parts if one.facts is facts]
        part = next(
            (
                one
                for one in known
                if (one.kind, one.columns, one.base) == (kind, columns, base or ())
            ),
            None,
        )
        if part is None:
            part = Part(
                number=len(self.parts),
                facts=facts,
                before=table,
                kind=kind,
                columns=columns,
                base=base or (),
            )
            self.parts.append(part)
            self._create(part)
        self._copy(part, rows)

    def _create(self, part: Part) -> None:
        names = [*(f"v{n}" for n in range(len(part.columns)))]
        names += [f"b{n}" for n in range(len(part.base))]
        listed = SQL(", ").join(SQL("{} text").format(Identifier(name)) for name in names)
        self.connection.execute(
            SQL("CREATE TEMP TABLE {} ({}, same boolean DEFAULT true) ON COMMIT DROP").format(
                Identifier(f"taly_rescued_{part.number}"), listed
            )
        )

    def _copy(self, part: Part, rows: Iterator[RescuedRow]) -> None:
        names = [*(f"v{n}" for n in range(len(part.columns)))]
        names += [f"b{n}" for n in range(len(part.base))]
        query = SQL("COPY {} ({}) FROM STDIN").format(
            part.temporary, SQL(", ").join(map(Identifier, names))
        )

        def fill() -> int:
            count = 0
            with self.connection.cursor() as cursor, cursor.copy(query) as copy:
                for row in rows:
                    copy.write_row((*row.values, *(row.base or {}).values()))
                    count += 1
            return count

        note = f"reads rescued rows of {part.facts.name}"
        part.rows += attended(self.connection, fill, self.say, note)

    def _rows(self, part: Part, note: str) -> None:
        found = [ref for ref in references.of(part.before) if set(ref.columns) <= set(part.columns)]
        while sum(self._orphans(part, reference, note) for reference in found):
            pass
        query = _insert(part) if part.facts.key else _insert_keyless(part)
        with exact(self.connection):
            part.put_back += patiently(self.connection, query, self.say, note)
        positions(self.connection, part.place, part.columns)

    def _orphans(self, part: Part, reference: references.Reference, note: str) -> int:
        itself = reference.table == (part.before.schema, part.before.name)
        here = [part.value(name) for name in reference.columns]
        there = [
            SQL("p.{}").format(Identifier(f"v{part.columns.index(name)}"))
            for name in reference.to
            if itself and name in part.columns
        ]
        query = orphans(part.temporary, reference, here, there if itself else None)
        return patiently(self.connection, query, self.say, note)


def _runs(rows: Iterator[RescuedRow]) -> Iterator[tuple[Shape, Iterator[RescuedRow]]]:
    """Rows in stretches of one shape; each must be read to its end before the next."""
    first = next(rows, None)
    while first is not None:
        shape = _shape(first)
        rest: list[RescuedRow] = []
        yield shape, chain([first], _while(rows, shape, rest))
        first = rest[0] if rest else None


def _while(
    rows: Iterator[RescuedRow], shape: Shape, rest: list[RescuedRow]
) -> Iterator[RescuedRow]:
    for row in rows:
        if _shape(row) != shape:
            rest.append(row)
            return
        yield row


def _shape(row: RescuedRow) -> Shape:
    return (row.kind, row.columns, None if row.base is None else tuple(row.base))


def _marking(part: Part, table: Table, called: Mapping[str, str]) -> Composed:
    """The row must be there, with the values of right after the revert."""
    types = {column.name: column.type for column in table.columns}
    tests = []
    for number, name in enumerate(part.base):
        old, text = called.get(name, name), Identifier(f"b{number}")
        if old not in types:
            return SQL("UPDATE {} SET same = false").format(part.temporary)
        if name in part.facts.key:
            test = SQL("t.{} = s.{}::{}").format(Identifier(old), text, SQL(types[old]))
        else:
            test = SQL("{} IS NOT DISTINCT FROM s.{}").format(as_text("t", old), text)
        tests.append(test)
    return SQL("UPDATE {} s SET same = EXISTS (SELECT FROM {} t WHERE {})").format(
        part.temporary, Identifier(table.schema, table.name), SQL(" AND ").join(tests)
    )


def _update(part: Part) -> Composed:
    names = [name for name in part.columns if name not in part.facts.key]
    return SQL("UPDATE {} t SET {} FROM {} s WHERE s.same AND {}").format(
        part.place,
        SQL(", ").join(SQL("{} = {}").format(Identifier(n), part.value(n)) for n in names),
        part.temporary,
        part.same_key(),
    )


def _update_keyless(part: Part) -> Composed:
    """Each rescued row finds one that is equal in all columns that had stayed."""
    names = [name for name in part.columns if name not in part.base]
    kept = array([SQL("b.{}").format(Identifier(f"b{n}")) for n in range(len(part.base))])
    live = array([as_text("x", name) for name in part.base])
    return SQL(
        "UPDATE {} t SET {} FROM (SELECT b.*, {} AS taly_all,"
        " row_number() OVER (PARTITION BY {}) AS taly_number FROM {} b) s,"
        " (SELECT x.tableoid AS taly_table, x.ctid AS taly_at, {} AS taly_all,"
        " row_number() OVER (PARTITION BY {}) AS taly_number FROM {} x) f"
        " WHERE f.taly_all = s.taly_all AND f.taly_number = s.taly_number"
        " AND t.tableoid = f.taly_table AND t.ctid = f.taly_at"
    ).format(
        part.place,
        SQL(", ").join(SQL("{} = {}").format(Identifier(n), part.value(n)) for n in names),
        kept,
        kept,
        part.temporary,
        live,
        live,
        part.place,
    )


def _insert(part: Part) -> Composed:
    return SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s WHERE s.same"
        " ON CONFLICT DO NOTHING"
    ).format(
        part.place,
        SQL(", ").join(map(Identifier, part.columns)),
        SQL(", ").join(part.value(name) for name in part.columns),
        part.temporary,
    )


def _insert_keyless(part: Part) -> Composed:
    """Those of which there are not as many already."""
    saved = array([SQL("b.{}").format(Identifier(f"v{n}")) for n in range(len(part.columns))])
    live = array([as_text("x", name) for name in part.columns])
    return SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM (SELECT b.*, {} AS taly_all,"
        " row_number() OVER (PARTITION BY {}) AS taly_number FROM {} b WHERE b.same) s LEFT JOIN"
        " (SELECT {} AS taly_all, count(*) AS n FROM {} x GROUP BY 1) f USING (taly_all)"
        " WHERE s.taly_number > {}"
    ).format(
        part.place,
        SQL(", ").join(map(Identifier, part.columns)),
        SQL(", ").join(part.value(name) for name in part.columns),
        saved,
        saved,
        part.temporary,
        live,
        part.place,
        # What was set aside comes back whatever else is there.
        SQL("0" if part.compared else "coalesce(f.n, 0)"),
    )
