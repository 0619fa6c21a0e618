"""RENAME, DROP, indexes and enums: what they do to the known schema."""

from taly.planning.migrations.model import Enum, Schema, Table, Unique
from taly.planning.migrations.names import (
    Node,
    enum_name,
    joined,
    object_name,
    relation_name,
    strings,
)

WORD = {
    "OBJECT_FUNCTION": "function",
    "OBJECT_PROCEDURE": "function",
    "OBJECT_ROUTINE": "function",
    "OBJECT_TRIGGER": "trigger",
    "OBJECT_VIEW": "view",
    "OBJECT_MATVIEW": "view",
    "OBJECT_SEQUENCE": "sequence",
    "OBJECT_SCHEMA": "schema",
    "OBJECT_EXTENSION": "extension",
    "OBJECT_POLICY": "policy",
    "OBJECT_DOMAIN": "domain",
    "OBJECT_RULE": "rule",
}
HARMLESS_DROPS = frozenset({"OBJECT_STATISTIC_EXT", "OBJECT_PUBLICATION", "OBJECT_EVENT_TRIGGER"})


def rename(schema: Schema, node: Node) -> None:
    """ALTER … RENAME."""
    kind = enum_name(node, "rename_type")
    if kind == "OBJECT_TABLE":
        _rename_table(schema, relation_name(node.relation), node.newname)
    elif kind in ("OBJECT_COLUMN", "OBJECT_ATTRIBUTE"):
        _rename_column(schema.table(relation_name(node.relation)), node.subname, node.newname)
    elif kind == "OBJECT_TYPE":
        _rename_type(schema, object_name(node.object), node.newname)
    elif kind == "OBJECT_INDEX":
        _rename_index(schema, relation_name(node.relation), node.newname)
    elif kind == "OBJECT_TABCONSTRAINT":
        table = relation_name(node.relation)
        constraint = schema.indexes.pop(f"{table}.{node.subname}", None)
        if constraint is not None:
            constraint.name = node.newname
            schema.indexes[f"{table}.{node.newname}"] = constraint
    elif kind != "OBJECT_TRIGGER":
        _rename_other(schema, WORD.get(kind, kind[7:].lower()), node)


def _rename_table(schema: Schema, old: str, new: str) -> None:
    table = schema.table(old)
    del schema.tables[old]
    table.name = new if "." not in old else f"{old.rpartition('.')[0]}.{new}"
    schema.tables[table.name] = table
    for key in [key for key in schema.indexes if key.startswith(f"{old}.")]:
        constraint = schema.indexes.pop(key)
        constraint.table = table.name
        schema.indexes[f"{table.name}.{constraint.name}"] = constraint
    for index in schema.indexes.values():
        if index.table == old:
            index.table = table.name


def _rename_column(table: Table, old: str, new: str) -> None:
    column = table.column(old)
    del table.columns[old]
    column.name = new
    table.columns[new] = column


def _rename_type(schema: Schema, old: str, new: str) -> None:
    enum = schema.enum(old)
    del schema.enums[old]
    enum.name = new
    schema.enums[new] = enum
    for table in schema.tables.values():
        for column in table.columns.values():
            if column.type.removesuffix("[]") == old:
                column.type = column.type.replace(old, new)


def _rename_index(schema: Schema, old: str, new: str) -> None:
    index = schema.indexes.pop(old, None)
    if index is not None:
        index.name = new
        schema.indexes[new] = index


def _rename_other(schema: Schema, word: str, node: Node) -> None:
    old = relation_name(node.relation) or object_name(node.object) or str(node.subname)
    if f"{word} {old}" in schema.fresh_others:
        schema.fresh_others.add(f"{word} {node.newname}")
        return
    schema.say(breaks=True, undo="automatic", reason=f"renames {word} {old} to {node.newname}")


def drop(schema: Schema, node: Node) -> None:
    """DROP, each of its objects in turn."""
    kind = enum_name(node, "remove_type")
    for wrapped in node.objects:
        name = object_name(wrapped)
        if kind == "OBJECT_TABLE":
            _drop_table(schema, name, if_exists=node.missing_ok)
        elif kind == "OBJECT_INDEX":
            _drop_index(schema, name, if_exists=node.missing_ok)
        elif kind == "OBJECT_TYPE":
            _drop_type(schema, name, node)
        elif kind not in HARMLESS_DROPS:
            _drop_other(schema, WORD.get(kind, kind[7:].lower().replace("_", " ")), name, node)


def _drop_table(schema: Schema, name: str, *, if_exists: bool) -> None:
    if name not in schema.tables and if_exists and schema.complete:
        return
    table = schema.table(name)
    del schema.tables[name]
    if table.was is not None:
        schema.dropped_tables.append(table)
    for key in [key for key, index in schema.indexes.items() if index.table == name]:
        del schema.indexes[key]


def _drop_index(schema: Schema, name: str, *, if_exists: bool) -> None:
    index = schema.indexes.pop(name, None)
    if index is None:
        if if_exists and schema.complete:
            return
        index = Unique(name=name, table="", unique=None, was=name)
    if index.was is not None:
        schema.dropped_indexes.append(index)


def _drop_type(schema: Schema, name: str, node: Node) -> None:
    if name not in schema.enums and node.missing_ok and schema.complete:
        return
    enum = schema.enum(name)
    del schema.enums[name]
    if enum.was is not None:
        schema.dropped_enums.append(enum)
    if enum_name(node, "behavior") == "DROP_CASCADE":
        schema.say(
            breaks=True, undo="data", reason=f"drops type {name} with every column that uses it"
        )


def _drop_other(schema: Schema, word: str, name: str, node: Node) -> None:
    key = f"{word} {name}"
    known = key in schema.others
    if key in schema.fresh_others or (not known and node.missing_ok and schema.complete):
        schema.others.discard(key)
        return
    schema.others.discard(key)
    holds_data = word in ("schema", "sequence", "foreign table")
    schema.say(
        breaks=True,
        undo="data" if holds_data else "catalog",
        reason=f"drops {word} {name}, which the old code may rely on",
    )


def create_index(schema: Schema, node: Node) -> None:
    """CREATE INDEX."""
    table = relation_name(node.relation)
    elements = [wrapped.index_elem for wrapped in node.index_params]
    plain = all(element.name for element in elements) and not node.HasField("where_clause")
    columns = tuple(str(element.name) for element in elements) if plain else ()
    stem = "_".join(str(element.name) or "expr" for element in elements)
    name = str(node.idxname) or f"{table}_{stem}_idx"
    schema.table(table)
    if name in schema.indexes:
        return
    schema.indexes[name] = Unique(
        name=name, table=table, unique=bool(node.unique), columns=columns, kind="index"
    )


def create_enum(schema: Schema, node: Node) -> None:
    """CREATE TYPE … AS ENUM."""
    name = joined(strings(node.type_name))
    if name not in schema.enums:  # else it stands in a block that lets that pass
        schema.enums[name] = Enum(name=name, known=True, labels=tuple(strings(node.vals)))


def alter_enum(schema: Schema, node: Node) -> None:
    """ALTER TYPE … ADD VALUE, RENAME VALUE."""
    enum = schema.enum(joined(strings(node.type_name)))
    if node.old_val:
        enum.labels = tuple(
            node.new_val if label == node.old_val else label for label in enum.labels
        )
        enum.renamed = (*enum.renamed, (node.old_val, node.new_val))
    elif node.new_val not in enum.labels:
        enum.labels = (*enum.labels, node.new_val)
