"""A catalog that a migration's statements are played over, to see what it would be after them.

What was there keeps its OID and column number, what is new gets one that is larger than any:
so the difference of the two catalogs tells renames, additions and losses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from postgast import PgQueryError, walk

from taly.model.catalog import Catalog, Column, Enum, Sequence, Table, View
from taly.planning.down.model import Save
from taly.planning.down.names import bare
from taly.planning.migrations.names import strings
from taly.planning.parsing import parse

FRESH_FROM = 10**12
UNKNOWN = "?"
"""A definition that playing does not work out: it differs from every one that is known."""
KINDS = ("tables", "enums", "views", "functions", "sequences", "others")
Name = tuple[str, str]
"""Schema and name."""


@dataclass
class Mirror:
    """The catalog as it was and as it is now."""

    schema: str
    """Where names without a schema lie."""
    assumes: bool
    """Whether the catalog from before is not known, so that what is named was there."""
    was: dict[str, dict[int, Any]]
    now: dict[str, dict[int, Any]]
    schemas: list[str]
    extensions: list[Any]
    gaps: dict[str, None] = field(default_factory=dict)
    saves: dict[Save, None] = field(default_factory=dict)
    concurrent: set[str] = field(default_factory=set)
    """Names of indexes that the migration made or dropped CONCURRENTLY."""
    numbers: Iterator[int] = field(default_factory=lambda: count(FRESH_FROM))

    @classmethod
    def of(cls, before: Catalog | None, schema: str) -> "Mirror":
        """Before the first statement."""
        catalog = before or Catalog(schemas=(schema,))
        parts = {kind: {one.oid: one for one in getattr(catalog, kind)} for kind in KINDS}
        return cls(
            schema=schema,
            assumes=before is None,
            was={kind: dict(found) for kind, found in parts.items()},
            now=parts,
            schemas=list(catalog.schemas),
            extensions=list(catalog.extensions),
        )

    def catalogs(self, before: Catalog | None) -> tuple[Catalog, Catalog]:
        """As it was, with what had to be assumed, and as it is now."""
        base = before or Catalog(schemas=(self.schema,))
        old: Any = {kind: tuple(self.was[kind].values()) for kind in KINDS}
        new: Any = {kind: tuple(self.now[kind].values()) for kind in KINDS}
        after = replace(base, **new, schemas=tuple(self.schemas), extensions=tuple(self.extensions))
        return replace(base, **old), after

    def gap(self, text: str) -> None:
        """Note what cannot be taken back."""
        self.gaps[text] = None

    def save(self, **given: Any) -> None:
        """Note what must be copied beforehand."""
        self.saves[Save(**given)] = None

    def split(self, parts: list[str]) -> Name:
        """Schema and name out of a qualified name's parts."""
        return (parts[-2] if len(parts) > 1 else self.schema, parts[-1])

    def relation(self, node: Any) -> Name:
        """Schema and name of a relation in a statement."""
        return (str(node.schemaname) or self.schema, str(node.relname))

    def find(self, kind: str, name: Name) -> Any:
        """The object of that name now; None when there is none."""
        for one in self.now[kind].values():
            if (one.schema, one.name) == name:
                return one
        return None

    def table(self, name: Name) -> Table | None:
        """The table of that name; one that cannot be known is taken to have been there."""
        found: Table | None = self.find("tables", name)
        if found is None and self.assumes:
            found = self.assume(Table(schema=name[0], name=name[1], oid=next(self.numbers)))
        return found

    def assume(self, one: Any, kind: str = "tables") -> Any:
        """Take it to have been there before."""
        self.was[kind][one.oid] = one
        self.now[kind][one.oid] = one
        return one

    def put(self, kind: str, one: Any) -> None:
        """Add or replace an object."""
        self.now[kind][one.oid] = one

    def drop(self, kind: str, one: Any) -> bool:
        """Remove an object; whether it had been there before the migration."""
        del self.now[kind][one.oid]
        return one.oid in self.was[kind]

    def is_fresh(self, kind: str, one: Any) -> bool:
        """Whether this migration made it."""
        return one.oid not in self.was[kind]

    def column(self, table: Table, name: str) -> Column | None:
        """A column of a table; one that cannot be known is taken to have been there."""
        for column in table.columns:
            if column.name == name:
                return column
        if not self.assumes or self.is_fresh("tables", table):
            return None
        column = Column(name=name, attnum=next(self.numbers), type="")
        for side in (self.was, self.now):
            known = side["tables"][table.oid]
            side["tables"][table.oid] = replace(known, columns=(*known.columns, column))
        return column

    def column_was(self, table: Table, column: Column) -> Column | None:
        """The column before the migration; None when the migration made it."""
        before: Table | None = self.was["tables"].get(table.oid)
        for one in before.columns if before is not None else ():
            if one.attnum == column.attnum:
                return one
        return None

    def change(self, table: Table, part: str, keep: Callable[[Any], Any]) -> None:
        """Replace every column, constraint… by what `keep` makes of it; None removes it."""
        table = self.now["tables"][table.oid]
        kept = tuple(new for one in getattr(table, part) if (new := keep(one)) is not None)
        changed: Any = {part: kept}
        self.now["tables"][table.oid] = replace(table, **changed)

    def add(self, table: Table, part: str, one: Any) -> None:
        """Add a column, constraint, index or trigger to a table."""
        table = self.now["tables"][table.oid]
        changed: Any = {part: (*getattr(table, part), one)}
        self.now["tables"][table.oid] = replace(table, **changed)

    def index(self, name: Name) -> tuple[Table, Any] | None:
        """The table and index of that name."""
        for table in self.now["tables"].values():
            for index in table.indexes:
                if (table.schema, index.name) == name:
                    return table, index
        return None


def columns_in(definition: str) -> frozenset[str]:
    """The columns of its own table that an index's or constraint's definition names."""
    is_index = definition.startswith("CREATE")
    text = definition if is_index else f"ALTER TABLE x ADD CONSTRAINT x {definition}"
    try:
        node = parse(text).stmts[0].stmt
    except (PgQueryError, IndexError):
        return frozenset()
    if not is_index:
        constraint = getattr(node.alter_table_stmt.cmds[0].alter_table_cmd, "def").constraint
        if constraint.fk_attrs:
            return frozenset(strings(constraint.fk_attrs))
    found: set[str] = set()
    for _, part in walk(node):
        kind = type(part).__name__
        if kind == "IndexElem" and part.name:
            found.add(str(part.name))
        elif kind == "ColumnRef":
            found |= set(
                strings([one for one in part.fields if one.WhichOneof("node") == "string"])
            )
        elif kind == "Constraint":
            found |= {*strings(part.keys), *strings(part.including)}
    return frozenset(found)


def columns_named(expression: Any) -> frozenset[str]:
    """The columns that an expression names."""
    return frozenset(
        str(part.fields[-1].string.sval)
        for _, part in walk(expression)
        if type(part).__name__ == "ColumnRef"
    )


def mentions(definition: str, one: Table | Enum | View | Sequence) -> bool:
    """Whether a definition from the catalog names an object, which it does with its schema."""
    return f"{one.schema}.{one.name}" in bare(definition)
