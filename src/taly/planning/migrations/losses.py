"""What migrations are about to destroy or overwrite, so that it can be copied out before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from postgast import PgQueryError

from taly.planning.migrations.blocks import statements_in
from taly.planning.migrations.model import Column, Schema, Table
from taly.planning.migrations.names import (
    Node,
    enum_name,
    inner,
    kind_of,
    object_name,
    relation_name,
)
from taly.planning.migrations.statements import apply, apply_one
from taly.planning.migrations.tables import columns_are_new
from taly.planning.migrations.types import retype
from taly.planning.parsing import parse

Kind = Literal["table", "schema", "type"]
Reach = Literal["none", "delete", "update", "truncate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Something that exists before the migrations and does not survive them."""

    migration: str
    kind: Kind = "table"
    """`schema`: every table in it; `type`: every column that has it."""
    name: str
    """As it is called before the migrations: `name`, or `schema.name` outside the default one."""
    columns: tuple[str, ...] = ()
    """As they are called before; empty = whole rows."""
    reach: Reach = "none"
    """Which foreign keys take rows of other tables along."""
    why: str
    """One sentence."""


@dataclass(slots=True)
class Losses:
    """What could be told from the texts, and what could not."""

    known: list[Loss] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    """Sentences: statements whose effect on data cannot be read from the text."""


def losses(earlier: Sequence[str], pending: Sequence[tuple[str, str]]) -> Losses:
    """What the pending migrations, by name and text, destroy of what the earlier ones made.

    What a migration makes and a later pending one destroys does not count.
    """
    schema, found = _known(earlier), Losses()
    for name, text in pending:
        reader = _Reader(schema, found, name)
        try:
            reader.read(text)
        except (PgQueryError, ValueError) as error:
            found.unseen.append(f"{name} does not parse: {str(error).splitlines()[0]}")
            continue
        reader.compare()
    return found


def _known(earlier: Sequence[str]) -> Schema:
    schema = Schema(complete=True)
    for text in earlier:
        try:
            apply(schema, text)
        except ValueError:
            schema = Schema()
    schema.settle()
    return schema


@dataclass(slots=True)
class _Reader:
    """Reads one migration, statement by statement, over what is known before each."""

    schema: Schema
    found: Losses
    migration: str

    def read(self, text: str) -> None:
        for raw in parse(text).stmts:
            self._statement(raw.stmt)

    def _statement(self, statement: Node) -> None:
        kind = kind_of(statement)
        if kind == "do_stmt":
            self._block(statement.do_stmt)
            return
        handler = HANDLERS.get(kind)
        if handler is not None:
            handler(self, inner(statement))
        self._nested(inner(statement))
        said = len(self.schema.effects)
        apply_one(self.schema, statement)
        if handler is None:
            opaque = [
                one for one in self.schema.effects[said:] if one.breaks and one.undo == "data"
            ]
            self.found.unseen += [f"{self.migration} {one.reason}" for one in opaque]

    def _block(self, node: Node) -> None:
        bodies = [one.def_elem.arg.string.sval for one in node.args if one.def_elem.defname == "as"]
        texts = statements_in(bodies[0], complete=True) if len(node.args) == 1 and bodies else None
        if texts is None:
            self.found.unseen.append(f"{self.migration} has a DO block that hides what it does")
            return
        for text in texts:
            self.read(text)

    def _nested(self, node: Node) -> None:
        """Data changes inside WITH."""
        if "with_clause" not in node.DESCRIPTOR.fields_by_name or not node.HasField("with_clause"):
            return
        for wrapped in node.with_clause.ctes:
            query = wrapped.common_table_expr.ctequery
            handler = HANDLERS.get(kind_of(query))
            if handler is not None:
                handler(self, inner(query))

    def rows(self, relation: Node, why: str, *, reach: Reach = "delete") -> None:
        """Whole rows of a table that was there before."""
        table = self.schema.table(relation_name(relation))
        if table.was is not None:
            self._add(Loss(migration=self.migration, name=table.was, reach=reach, why=why))

    def values(self, relation: Node, names: Sequence[str], why: str) -> None:
        """Columns of a table, as far as both were there before."""
        table = self.schema.table(relation_name(relation))
        if columns_are_new(table, names):
            return
        before = tuple(was for name in names if (was := table.column(name).was) is not None)
        assert table.was is not None, "else all of its columns were new"
        self._add(
            Loss(migration=self.migration, name=table.was, columns=before, reach="update", why=why)
        )

    def whole(self, kind: Kind, name: str, why: str) -> None:
        """A schema with its tables, or a type with the columns that use it."""
        self._add(Loss(migration=self.migration, kind=kind, name=name, why=why))

    def compare(self) -> None:
        """What is gone from the schema at the migration's end."""
        for dropped in self.schema.dropped_tables:
            assert dropped.was is not None, "only those are kept there"
            self._add(Loss(migration=self.migration, name=dropped.was, why="drops the table"))
        for table in self.schema.tables.values():
            if table.was is not None:
                self._columns(table, table.was)

    def _columns(self, table: Table, was: str) -> None:
        gone = [(column, "drops") for column in table.dropped]
        changed = [(one, "retypes") for one in table.columns.values() if self._retyped(one)]
        for column, verb in [*gone, *changed]:
            if column.was is not None:
                why = f"{verb} {column.was}"
                self._add(Loss(migration=self.migration, name=was, columns=(column.was,), why=why))

    def _retyped(self, column: Column) -> bool:
        if column.was is None or not (column.type or column.rewritten):
            return False
        enum = self.schema.enums.get(column.type.removesuffix("[]"))
        if enum is not None and enum.was == column.type_was.removesuffix("[]"):
            return column.rewritten
        change = retype(column.type_was, column.type, rewritten=column.rewritten)
        return change.undo == "data"

    def _add(self, loss: Loss) -> None:
        # What is gone from the schema stays gone: it is the first migration's doing.
        if not any(replace(loss, migration=one.migration) == one for one in self.found.known):
            self.found.known.append(loss)


def _update(reader: _Reader, node: Node) -> None:
    names = [str(target.res_target.name) for target in node.target_list]
    reader.values(node.relation, names, f"overwrites {', '.join(names)}")


def _delete(reader: _Reader, node: Node) -> None:
    reader.rows(node.relation, "deletes rows")


def _insert(reader: _Reader, node: Node) -> None:
    clause = node.on_conflict_clause
    if not node.HasField("on_conflict_clause") or enum_name(clause, "action") != (
        "ONCONFLICT_UPDATE"
    ):
        return
    names = [str(target.res_target.name) for target in clause.target_list]
    reader.values(node.relation, names, f"may overwrite {', '.join(names)}")


def _merge(reader: _Reader, node: Node) -> None:
    reader.rows(node.relation, "merges rows, which may overwrite or delete")


def _truncate(reader: _Reader, node: Node) -> None:
    for wrapped in node.relations:
        reader.rows(
            wrapped.range_var,
            "empties the table",
            reach="truncate" if enum_name(node, "behavior") == "DROP_CASCADE" else "none",
        )


def _drop(reader: _Reader, node: Node) -> None:
    kind = enum_name(node, "remove_type")
    cascade = enum_name(node, "behavior") == "DROP_CASCADE"
    for wrapped in node.objects:
        name = object_name(wrapped)
        if kind == "OBJECT_SCHEMA":
            reader.whole("schema", name, "drops the schema")
        elif kind == "OBJECT_TYPE" and cascade:
            reader.whole("type", name, "drops the type with the columns that have it")
        elif kind in ("OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE", "OBJECT_EXTENSION"):
            word = kind.removeprefix("OBJECT_").replace("_", " ").lower()
            reader.found.unseen.append(f"{reader.migration} drops {word} {name}")


def _no_data(reader: _Reader, node: Node) -> None:
    """It adds rows or a value to a list: nothing that was there goes."""


HANDLERS: dict[str, Callable[[_Reader, Node], None]] = {
    "update_stmt": _update,
    "delete_stmt": _delete,
    "insert_stmt": _insert,
    "merge_stmt": _merge,
    "truncate_stmt": _truncate,
    "drop_stmt": _drop,
    "copy_stmt": _no_data,
}
