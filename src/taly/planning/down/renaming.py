"""RENAME and SET SCHEMA played over the mirror."""

from dataclasses import replace
from typing import Any

from taly.model.catalog import Enum, Table
from taly.planning.down.mirror import Mirror, Name
from taly.planning.down.names import bare, normal, quoted
from taly.planning.migrations.names import Node, enum_name, kind_of, strings

WHOLE = {
    "OBJECT_TABLE": "tables",
    "OBJECT_FOREIGN_TABLE": "tables",
    "OBJECT_VIEW": "views",
    "OBJECT_MATVIEW": "views",
    "OBJECT_SEQUENCE": "sequences",
    "OBJECT_TYPE": "enums",
    "OBJECT_FUNCTION": "functions",
    "OBJECT_PROCEDURE": "functions",
    "OBJECT_ROUTINE": "functions",
}
OF_TABLE = {
    "OBJECT_TABCONSTRAINT": "constraints",
    "OBJECT_TRIGGER": "triggers",
}


def name_of(mirror: Mirror, node: Node) -> Name:
    """The name in a DROP or RENAME, whatever kind of node carries it."""
    kind = kind_of(node)
    if kind == "list":
        return mirror.split(strings(node.list.items))
    if kind == "type_name":
        return mirror.split(strings(node.type_name.names))
    if kind == "object_with_args":
        return mirror.split(strings(node.object_with_args.objname))
    return ("", str(node.string.sval) if kind == "string" else "")


def rename(mirror: Mirror, node: Node) -> None:
    """ALTER … RENAME."""
    kind, new = enum_name(node, "rename_type"), str(node.newname)
    if kind in WHOLE:
        has_relation = bool(node.relation.relname)
        name = mirror.relation(node.relation) if has_relation else name_of(mirror, node.object)
        # ALTER TABLE … RENAME also renames views, sequences and indexes.
        kinds = ("tables", "views", "sequences") if has_relation else (WHOLE[kind],)
        found = [(one, mirror.find(one, name)) for one in kinds]
        known = next(((one, what) for one, what in found if what is not None), None)
        if known is not None:
            mirror.put(known[0], replace(known[1], name=new))
            if known[0] == "enums":
                _retype_columns(mirror, name, (name[0], new))
        elif not _assumed(mirror, WHOLE[kind], name, new):
            mirror.gap(f"{name[0]}.{name[1]}, which is renamed, is not in the catalog from before")
    elif kind == "OBJECT_COLUMN":
        _rename_column(mirror, node, new)
    elif kind in OF_TABLE:
        _rename_part(mirror, node, OF_TABLE[kind], new)
    elif kind == "OBJECT_INDEX":
        _rename_index(mirror, mirror.relation(node.relation), new)
    else:
        mirror.gap(f"a RENAME of {kind[7:].lower()} to {new} is not taken back")


def _retype_columns(mirror: Mirror, old: Name, new: Name) -> None:
    """The columns of a type that got another name."""
    types = {normal(quoted(*old)) + suffix: quoted(*new) + suffix for suffix in ("", "[]")}
    for table in list(mirror.now["tables"].values()):
        mirror.change(
            table,
            "columns",
            lambda one: replace(one, type=types.get(normal(one.type), one.type)),
        )


def _assumed(mirror: Mirror, kind: str, name: Name, new: str) -> bool:
    """Rename what must have been there, when the catalog from before is not known."""
    if not mirror.assumes or kind not in ("tables", "enums"):
        return False
    number = next(mirror.numbers)
    made: Any = (
        Table(schema=name[0], name=name[1], oid=number)
        if kind == "tables"
        else Enum(schema=name[0], name=name[1], oid=number, labels=())
    )
    mirror.put(kind, replace(mirror.assume(made, kind), name=new))
    return True


def _rename_column(mirror: Mirror, node: Node, new: str) -> None:
    table = mirror.table(mirror.relation(node.relation))
    column = mirror.column(table, str(node.subname)) if table is not None else None
    if table is None or column is None:
        mirror.gap(f"column {node.subname}, which is renamed, is not known from before")
        return
    mirror.change(
        table, "columns", lambda one: replace(one, name=new) if one.attnum == column.attnum else one
    )


def _rename_part(mirror: Mirror, node: Node, part: str, new: str) -> None:
    table = mirror.table(mirror.relation(node.relation))
    names = [one.name for one in getattr(table, part)] if table is not None else []
    if table is None or node.subname not in names:
        if table is None or not mirror.is_fresh("tables", table):
            mirror.gap(f"{part[:-1]} {node.subname}, which is renamed, is not known from before")
        return
    mirror.change(
        table, part, lambda one: replace(one, name=new) if one.name == node.subname else one
    )


def _rename_index(mirror: Mirror, name: Name, new: str) -> None:
    found = mirror.index(name)
    if found is not None:
        mirror.change(
            found[0], "indexes", lambda one: replace(one, name=new) if one is found[1] else one
        )
        return
    for table in mirror.now["tables"].values():  # a constraint goes by its index's name
        if (table.schema, name[1]) in [(name[0], one.name) for one in table.constraints]:
            mirror.change(
                table,
                "constraints",
                lambda one: replace(one, name=new) if one.name == name[1] else one,
            )
            return
    mirror.gap(f"index {name[1]}, which is renamed, is not known from before")


def set_schema(mirror: Mirror, node: Node) -> None:
    """ALTER … SET SCHEMA."""
    kind = WHOLE.get(enum_name(node, "object_type"), "")
    has_relation = bool(node.relation.relname)
    name = mirror.relation(node.relation) if has_relation else name_of(mirror, node.object)
    found = mirror.find(kind, name) if kind else None
    if kind not in ("tables", "enums") or found is None:
        mirror.gap(f"the move of {name[1]} to schema {node.newschema} is not taken back")
        return
    mirror.put(kind, replace(found, schema=str(node.newschema)))
    if kind == "enums":
        _retype_columns(mirror, name, (str(node.newschema), name[1]))
    if kind == "tables":  # its sequences go with it
        for sequence in list(mirror.now["sequences"].values()):
            if bare(sequence.owner).startswith(f"{name[0]}.{name[1]}."):
                mirror.put("sequences", replace(sequence, schema=str(node.newschema)))
