"""Foreign keys, read from their definitions: which tables must be filled before which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from postgast import PgQueryError, walk

from taly.model.catalog import Table
from taly.planning.migrations.names import strings
from taly.planning.parsing import parse

Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key."""

    columns: tuple[str, ...]
    table: Name
    to: tuple[str, ...]


def named_tables(statements: Sequence[str], schema: str) -> set[Name]:
    """Every table that a text names; `schema` is where names without one lie."""
    found: set[Name] = set()
    for statement in statements:
        try:
            tree = parse(statement)
        except PgQueryError:
            continue
        for _, node in walk(tree):
            if type(node).__name__ == "RangeVar":
                found.add((str(node.schemaname) or schema, str(node.relname)))
    return found


class OfTable(Protocol):
    """Something of one table."""

    @property
    def before(self) -> Table:
        """The table."""
        ...


T = TypeVar("T", bound=OfTable)


def of(table: Table) -> list[Reference]:
    """A table's foreign keys."""
    found = []
    for one in table.constraints:
        if one.kind != "foreign":
            continue
        try:
            tree = parse(f"ALTER TABLE x ADD CONSTRAINT x {one.definition}")
        except PgQueryError:
            continue
        node = getattr(tree.stmts[0].stmt.alter_table_stmt.cmds[0].alter_table_cmd, "def")
        key = node.constraint
        found.append(
            Reference(
                columns=tuple(strings(key.fk_attrs)),
                table=(str(key.pktable.schemaname), str(key.pktable.relname)),
                to=tuple(strings(key.pk_attrs)),
            )
        )
    return found


def parents_first(found: Sequence[T]) -> tuple[T, ...]:
    """Each after those that it refers to, as far as there is no circle."""
    by_name: dict[Name, list[T]] = {}
    for one in found:
        by_name.setdefault((one.before.schema, one.before.name), []).append(one)
    done: dict[Name, list[T]] = {}
    open_: set[Name] = set()

    def visit(name: Name) -> None:
        if name in done or name in open_ or name not in by_name:
            return
        open_.add(name)
        for reference in of(by_name[name][0].before):
            visit(reference.table)
        done[name] = by_name[name]

    for name in by_name:
        visit(name)
    return tuple(one for ones in done.values() for one in ones)
