"""The statements that lead from one catalog back to an earlier one of the same database.

In this order, because each rests on the one before: what is new goes, names go back, types and
columns are as they were; then, once saved data is there, what that data must satisfy.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from taly.model.catalog import Catalog, Table
from taly.planning.down import columns, fresh, renames, restored, types
from taly.planning.down.names import quoted


@dataclass
class Way:
    """The way down while it is being worked out."""

    before: Catalog
    after: Catalog
    concurrent: frozenset[str] = frozenset()
    """Names of indexes that must not lock their table."""
    statements: list[str] = field(default_factory=list)
    afterwards: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    """What must wait until nothing uses it any more."""
    gaps: list[str] = field(default_factory=list)
    loses: list[str] = field(default_factory=list)
    guards: list[tuple[str, str]] = field(default_factory=list)

    def kept(self) -> Iterator[tuple[Table, Table]]:
        """The tables that are on both sides, as they were and as they are."""
        now = {table.oid: table for table in self.after.tables}
        for table in self.before.tables:
            if table.oid in now:
                yield table, now[table.oid]

    def inherited(self, table: Table, *, now: bool = False) -> frozenset[str]:
        """Columns that a partition or child has from its parents: only there they can be changed.

        `now`: by the catalog as it is, else by the one from before.
        """
        tables = self.after.tables if now else self.before.tables
        by_place = {quoted(one.schema, one.name).replace('"', ""): one for one in tables}
        parents = [by_place.get(name.replace('"', "")) for name in table.parents]
        return frozenset(
            column.name for one in parents if one is not None for column in one.columns
        )

    def gone(self) -> tuple[Table, ...]:
        """The tables that are no more, oldest first."""
        now = {table.oid for table in self.after.tables}
        found = [table for table in self.before.tables if table.oid not in now]
        return tuple(sorted(found, key=lambda table: table.oid))

    def say(self, *statements: str) -> None:
        """Add statements that need no saved data."""
        self.statements += statements


def between(before: Catalog, after: Catalog, concurrent: Iterable[str] = ()) -> Way:
    """The way from `after` back to `before`; both of the same database, told by OIDs."""
    way = Way(before=before, after=after, concurrent=frozenset(concurrent))
    fresh.drop(way)
    types.make_room(way)
    renames.take_back(way)
    types.take_back(way)
    restored.functions_and_sequences(way)
    restored.tables(way)
    columns.take_back(way)
    restored.rest(way)
    way.statements.extend(_in_time(way))
    return way


def _in_time(way: Way) -> list[str]:
    """What could not go earlier; schemas last of all."""
    schemas = [name for name in way.after.schemas if name not in way.before.schemas]
    return [*way.last, *(f"DROP SCHEMA {quoted(name)}" for name in schemas)]
