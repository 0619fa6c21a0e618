"""What becomes of each live table on the way down, as data: the catalogs say so, no text does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taly.model.catalog import Catalog, Column, Table

Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """One live table, and what the schema from before knows of it."""

    live: Table
    before: Table | None
    """The same table, as it was; None = it goes with all of its rows."""
    lost: tuple[Column, ...] = ()
    """Columns that go."""
    retyped: tuple[tuple[Column, Column], ...] = ()
    """Columns that get another type back, as they are and as they were."""

    @property
    def name(self) -> Name:
        """As it is called now."""
        return (self.live.schema, self.live.name)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that find a row again now; empty = none."""
        return key_of(self.live)


def key_of(table: Table) -> tuple[str, ...]:
    """The primary key's columns."""
    for one in table.constraints:
        if one.kind == "primary":
            return key_columns(one.definition)
    return ()


def key_columns(definition: str) -> tuple[str, ...]:
    """Of `PRIMARY KEY (a, "B c")`."""
    inner = definition.partition("(")[2]
    found, part, quoted = [], "", False
    for sign in inner:
        if sign == '"':
            quoted = not quoted
            part += sign
        elif sign in ",)" and not quoted:
            found.append(part.strip())
            part = ""
            if sign == ")":
                break
        else:
            part += sign
    return tuple(
        one[1:-1].replace('""', '"') if one.startswith('"') else one for one in found if one
    )


def fates(live: Catalog, before: Catalog, drift: frozenset[str]) -> tuple[Fate, ...]:
    """Of every live table of which something goes or is converted."""
    return tuple(fate for fate in _all(live, before, drift) if _matters(fate))


def _matters(fate: Fate) -> bool:
    return fate.before is None or bool(fate.lost or fate.retyped)


def _all(live: Catalog, before: Catalog, drift: frozenset[str]) -> Iterator[Fate]:
    old = {table.oid: table for table in before.tables}
    vanishing = {f"{one.schema}.{one.name}" for one in live.tables if one.oid not in old}
    for table in live.tables:
        name = f"{table.schema}.{table.name}"
        was = old.get(table.oid)
        if was is None:
            # A partition's rows are read through its parent.
            through = _is_partition(table) and bool(_parents(table) & vanishing)
            if f"table {name} was not there before" not in drift and not through:
                yield Fate(live=table, before=None)
        elif not _is_partition(table):
            yield _columns(table, was, name, drift)


def _is_partition(table: Table) -> bool:
    return bool(table.parents and table.bound)


def _parents(table: Table) -> set[str]:
    """Qualified, as other tables are; `regclass` leaves out the schema of the search path."""
    return {parent.replace('"', "") for parent in table.parents}


def _columns(table: Table, was: Table, name: str, drift: frozenset[str]) -> Fate:
    numbers = {column.attnum: column for column in was.columns}
    lost = tuple(
        column
        for column in table.columns
        if column.attnum not in numbers
        and not column.generated
        and f"column {name}.{column.name} was not there before" not in drift
    )
    retyped = tuple(
        (column, numbers[column.attnum])
        for column in table.columns
        if column.attnum in numbers
        and column.type != numbers[column.attnum].type
        and not column.generated
    )
    return Fate(live=table, before=was, lost=lost, retyped=retyped)


def unsaved(live: Catalog, now: Catalog, saved: Sequence[Fate]) -> tuple[tuple[Name, str], ...]:
    """What really vanished between two catalogs of this database and was not saved.

    By OID and column number, so that nothing a script does is overlooked: (table, column), with an
    empty column for a whole table.
    """
    whole = {fate.live.oid for fate in saved if fate.before is None}
    parts = {fate.live.oid: {one.attnum for one in fate.lost} for fate in saved}
    after = {table.oid: table for table in now.tables}
    found: list[tuple[Name, str]] = []
    for table in live.tables:
        if table.oid in whole or (_is_partition(table) and table.oid not in after):
            continue
        if table.oid not in after:
            found.append(((table.schema, table.name), ""))
            continue
        left = {column.attnum for column in after[table.oid].columns}
        found += [
            ((table.schema, table.name), column.name)
            for column in table.columns
            if column.attnum not in left | parts.get(table.oid, set()) and not column.generated
        ]
    return tuple(found)
