"""Names and types out of PostgreSQL's syntax tree (libpg_query's protobuf nodes)."""

from typing import Any

Node = Any
"""A protobuf message of postgast; its stub does not parse, so it has no static type."""

ALIASES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "bpchar": "char",
    "serial": "integer",
    "serial4": "integer",
    "bigserial": "bigint",
    "serial8": "bigint",
    "smallserial": "smallint",
    "serial2": "smallint",
    "decimal": "numeric",
}
SERIALS = frozenset({"serial", "serial4", "bigserial", "serial8", "smallserial", "serial2"})
DEFAULT_SCHEMAS = frozenset({"", "public", "pg_catalog"})


def kind_of(node: Node) -> str:
    """The name of the node inside a wrapper, e.g. `alter_table_stmt`."""
    return str(node.WhichOneof("node"))


def inner(node: Node) -> Node:
    """The node inside a wrapper."""
    return getattr(node, kind_of(node))


def enum_name(node: Node, field: str) -> str:
    """The name of an enum field's value, e.g. `AT_AddColumn`."""
    values = node.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[getattr(node, field)].name)


def relation_name(relation: Node) -> str:
    """`name`, or `schema.name` outside the default schema."""
    schema = str(relation.schemaname)
    return relation.relname if schema in DEFAULT_SCHEMAS else f"{schema}.{relation.relname}"


def strings(nodes: Node) -> list[str]:
    """The texts of a list of string nodes."""
    return [str(node.string.sval) for node in nodes]


def joined(parts: list[str]) -> str:
    """A qualified name as `relation_name` would give it."""
    return ".".join(part for part in parts if part not in DEFAULT_SCHEMAS)


def object_name(node: Node) -> str:
    """The name of an object in a DROP or RENAME, whatever kind of node carries it."""
    kind = kind_of(node)
    if kind == "list":
        return joined(strings(node.list.items))
    if kind == "type_name":
        return joined(strings(node.type_name.names))
    if kind == "object_with_args":
        return joined(strings(node.object_with_args.objname))
    if kind == "string":
        return str(node.string.sval)
    return ""


def type_text(type_name: Node) -> str:
    """A type as text: alias resolved, modifiers and array brackets kept."""
    name = joined(strings(type_name.names))
    text = ALIASES.get(name, name)
    modifiers = [
        str(modifier.a_const.ival.ival)
        for modifier in type_name.typmods
        if kind_of(modifier) == "a_const"
    ]
    if text == "interval":  # its modifiers are bit masks of fields
        modifiers = []
    if modifiers:
        text += f"({','.join(modifiers)})"
    return text + "[]" * len(type_name.array_bounds)


def is_serial(type_name: Node) -> bool:
    """Whether the type brings its own sequence and default."""
    return joined(strings(type_name.names)) in SERIALS


def is_plain_cast(expression: Node, column: str) -> bool:
    """Whether an expression is the column itself, cast any number of times."""
    while kind_of(expression) == "type_cast":
        expression = expression.type_cast.arg
    if kind_of(expression) != "column_ref":
        return False
    fields = expression.column_ref.fields
    return bool(fields) and kind_of(fields[-1]) == "string" and fields[-1].string.sval == column
