"""CREATE TABLE and ALTER TABLE: what they do to the known schema."""

from collections.abc import Callable, Iterable

from taly.planning.migrations.model import Column, Schema, Table, Unique
from taly.planning.migrations.names import (
    Node,
    enum_name,
    is_plain_cast,
    is_serial,
    kind_of,
    relation_name,
    strings,
    type_text,
)

KINDS = {
    "CONSTR_PRIMARY": "primary",
    "CONSTR_UNIQUE": "unique",
    "CONSTR_FOREIGN": "foreign",
    "CONSTR_CHECK": "check",
    "CONSTR_EXCLUSION": "exclude",
}
SUFFIX = {"primary": "pkey", "unique": "key", "foreign": "fkey", "check": "check"}

HARMLESS = frozenset(
    {
        "AT_SetStatistics",
        "AT_SetStorage",
        "AT_SetCompression",
        "AT_SetOptions",
        "AT_ResetOptions",
        "AT_SetRelOptions",
        "AT_ResetRelOptions",
        "AT_ValidateConstraint",
        "AT_ReplicaIdentity",
        "AT_ClusterOn",
        "AT_DropCluster",
        "AT_SetLogged",
        "AT_SetUnLogged",
        "AT_SetTableSpace",
        "AT_EnableTrig",
        "AT_EnableAlwaysTrig",
        "AT_DisableRowSecurity",
        "AT_NoForceRowSecurity",
    }
)
"""They change how rows are stored or served, never what a statement of the old code means."""


def create_table(schema: Schema, node: Node) -> None:
    """CREATE TABLE."""
    name = relation_name(node.relation)
    if name in schema.tables or (node.if_not_exists and not schema.complete):
        schema.table(name)
        return
    table = Table(name=name)
    schema.tables[name] = table
    for element in node.table_elts:
        if kind_of(element) == "column_def":
            add_column(schema, table, element.column_def)
        elif kind_of(element) == "constraint":
            add_constraint(schema, table, element.constraint)


def alter_table(schema: Schema, node: Node) -> None:
    """ALTER TABLE, each of its commands in turn."""
    name = relation_name(node.relation)
    if enum_name(node, "objtype") == "OBJECT_TYPE":
        schema.say(
            breaks=True, undo="catalog", reason=f"changes the composite type {name}: not examined"
        )
        return
    if enum_name(node, "objtype") in ("OBJECT_INDEX", "OBJECT_SEQUENCE"):
        return
    table = schema.table(name)
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        subtype = enum_name(command, "subtype")
        if subtype in HANDLERS:
            HANDLERS[subtype](schema, table, command)
        elif subtype not in HARMLESS and table.was is not None:
            schema.say(
                breaks=True,
                undo="catalog",
                reason=f"ALTER TABLE {name} does something not examined ({subtype[3:]})",
            )


def add_column(schema: Schema, table: Table, definition: Node) -> None:
    """A new column with its constraints."""
    column = Column(name=definition.colname, type=type_text(definition.type_name))
    column.not_null = column.default = False
    if is_serial(definition.type_name):
        column.not_null = column.default = True
    table.columns[column.name] = column
    for wrapped in definition.constraints:
        constraint = wrapped.constraint
        kind = enum_name(constraint, "contype")
        if kind in ("CONSTR_NOTNULL", "CONSTR_PRIMARY"):
            column.not_null = True
        if kind in ("CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"):
            column.default = not _is_null(constraint.raw_expr)
        if kind == "CONSTR_IDENTITY":
            column.not_null = True
        if kind in KINDS:
            add_constraint(schema, table, constraint, (column.name,))


def add_constraint(
    schema: Schema, table: Table, constraint: Node, columns: tuple[str, ...] = ()
) -> None:
    """A constraint of a table or column; `columns` for one that stands at its column."""
    kind = KINDS.get(enum_name(constraint, "contype"), "constraint")
    keys = tuple(strings(constraint.keys)) or tuple(strings(constraint.fk_attrs)) or columns
    stem = "" if kind in ("primary", "check") else "_".join(keys) + "_"
    name = constraint.conname or f"{table.name}_{stem}{SUFFIX.get(kind, kind)}"
    if f"{table.name}.{name}" in schema.indexes:  # it stands in a block that lets that pass
        return
    schema.indexes[f"{table.name}.{name}"] = Unique(
        name=name,
        table=table.name,
        unique=kind in ("primary", "unique"),
        columns=keys,
        kind=kind,
    )
    if kind == "primary":
        for key in keys:
            table.column(key).not_null = True


def _add_column(schema: Schema, table: Table, command: Node) -> None:
    definition = getattr(command, "def").column_def
    known = table.columns.get(definition.colname)
    if command.missing_ok and (known is not None or not schema.complete):
        table.column(definition.colname)
        return
    add_column(schema, table, definition)


def _drop_column(schema: Schema, table: Table, command: Node) -> None:
    known = table.columns.get(command.name)
    if known is None and command.missing_ok and schema.complete:
        return
    column = table.column(command.name)
    del table.columns[command.name]
    if column.was is not None:
        table.dropped.append(column)


def _retype(schema: Schema, table: Table, command: Node) -> None:
    column, definition = table.column(command.name), getattr(command, "def").column_def
    column.type = type_text(definition.type_name)
    if definition.HasField("raw_default"):
        column.rewritten |= not is_plain_cast(definition.raw_default, command.name)


def _default(schema: Schema, table: Table, command: Node) -> None:
    column = table.column(command.name)
    column.default = command.HasField("def") and not _is_null(getattr(command, "def"))
    column.default_changed = True


def _add_identity(schema: Schema, table: Table, command: Node) -> None:
    column = table.column(command.name)
    column.default = column.default_changed = True


def _not_null(value: bool) -> Callable[[Schema, Table, Node], None]:
    def handler(schema: Schema, table: Table, command: Node) -> None:
        table.column(command.name).not_null = value

    return handler


def _add_constraint(schema: Schema, table: Table, command: Node) -> None:
    add_constraint(schema, table, getattr(command, "def").constraint)


def _drop_constraint(schema: Schema, table: Table, command: Node) -> None:
    key = f"{table.name}.{command.name}"
    constraint = schema.indexes.pop(key, None)
    if constraint is None:
        if command.missing_ok and schema.complete:
            return
        constraint = Unique(
            name=command.name,
            table=table.name,
            unique=None,
            was=command.name if table.was is not None else None,
            kind="constraint",
        )
    if constraint.was is not None:
        schema.dropped_indexes.append(constraint)


def _row_security(schema: Schema, table: Table, command: Node) -> None:
    if table.was is not None:
        schema.say(
            breaks=True,
            undo="automatic",
            reason=f"turns row security on for {table.name}: the old code may see no rows",
        )


HANDLERS: dict[str, Callable[[Schema, Table, Node], None]] = {
    "AT_AddColumn": _add_column,
    "AT_DropColumn": _drop_column,
    "AT_AlterColumnType": _retype,
    "AT_ColumnDefault": _default,
    "AT_AddIdentity": _add_identity,
    "AT_SetIdentity": lambda schema, table, command: None,
    "AT_DropIdentity": _default,
    "AT_SetNotNull": _not_null(True),
    "AT_DropNotNull": _not_null(False),
    "AT_AddConstraint": _add_constraint,
    "AT_DropConstraint": _drop_constraint,
    "AT_EnableRowSecurity": _row_security,
    "AT_ForceRowSecurity": _row_security,
}


def columns_are_new(table: Table, names: Iterable[str]) -> bool:
    """Whether this migration added all of these columns (or the table)."""
    return table.was is None or all(table.column(name).was is None for name in names)


def _is_null(expression: Node) -> bool:
    return kind_of(expression) == "a_const" and expression.a_const.isnull
