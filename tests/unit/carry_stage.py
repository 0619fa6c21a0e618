"""Two schemas over against each other, written down in a few words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from taly.model.catalog import Catalog, Column, Constraint, Enum, Index, Table
from taly.planning.carry import (
    ColumnPair,
    Correspondence,
    Hint,
    Matched,
    TablePair,
    correspond,
    pairs,
)

KEY = Constraint(name="t_pkey", oid=9, kind="primary", definition="PRIMARY KEY (id)")
ID = Column(name="id", attnum=1, type="integer", not_null=True)
STATUS = Enum(schema="public", name="status", oid=50, labels=("requested", "confirmed"))
RENAMED = Enum(schema="public", name="status", oid=50, labels=("asked", "confirmed"))


def table(
    *columns: Column, name: str = "t", oid: int = 1, constraints: tuple[Constraint, ...] = (KEY,)
) -> Table:
    """A table with a key `id`."""
    return Table(
        schema="public", name=name, oid=oid, columns=(ID, *columns), constraints=constraints
    )


def column(name: str, type_: str = "text", attnum: int = 2, **more: object) -> Column:
    """A column."""
    made = Column(name=name, attnum=attnum, type=type_)
    return replace(made, **more)


def catalog(*tables: Table, enums: Sequence[Enum] = ()) -> Catalog:
    """A schema."""
    return Catalog(schemas=("public",), tables=tables, enums=tuple(enums))


def unique(*columns: str, where: str = "") -> Index:
    """A unique index."""
    listed, tail = ", ".join(columns), f" WHERE {where}" if where else ""
    definition = f"CREATE UNIQUE INDEX u ON public.t USING btree ({listed}){tail}"
    return Index(name="u", oid=8, definition=definition, unique=True, valid=True)


def matched(old: Catalog, new: Catalog, *texts: str) -> Matched:
    """By OIDs, and what these migrations say."""
    named = [(f"m{number}", text) for number, text in enumerate(texts, 1)]
    return pairs(old, new, same_database=True, texts=named, schema="public")


def back(old: Catalog, new: Catalog, *hints: Hint, texts: Sequence[str] = ()) -> Correspondence:
    """How the new schema's rows read in the old one."""
    return correspond(new, old, matched(old, new, *texts), hints)


def forth(old: Catalog, new: Catalog, *hints: Hint, texts: Sequence[str] = ()) -> Correspondence:
    """The same for an undo."""
    return correspond(old, new, matched(old, new, *texts), hints, backwards=True)


def of(there: Correspondence) -> TablePair:
    """The one table."""
    [pair] = there.tables
    return pair


def by_name(there: Correspondence) -> Mapping[str, ColumnPair]:
    """The columns of the one table."""
    return {one.target: one for one in of(there).columns}
