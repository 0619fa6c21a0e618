"""CREATE TABLE and ALTER TABLE played over the mirror."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from taly.model.catalog import Column, Constraint, Sequence, Table
from taly.planning.down.mirror import UNKNOWN, Mirror, Name, columns_in, columns_named, mentions
from taly.planning.down.names import bare, quoted
from taly.planning.down.retype import is_kept
from taly.planning.migrations.names import (
    Node,
    enum_name,
    is_plain_cast,
    is_serial,
    kind_of,
    strings,
    type_text,
)
from taly.planning.migrations.tables import HARMLESS, KINDS, SUFFIX


def create_table(mirror: Mirror, node: Node) -> None:
    """CREATE TABLE."""
    name = mirror.relation(node.relation)
    if mirror.find("tables", name) is not None:
        return
    if node.if_not_exists and mirror.assumes:
        mirror.gap(f"whether table {name[1]} was there before is not known: IF NOT EXISTS")
        return
    fresh_table(mirror, name)
    for element in node.table_elts:
        table = mirror.find("tables", name)
        if kind_of(element) == "column_def":
            _new_column(mirror, table, element.column_def)


def fresh_table(mirror: Mirror, name: Name) -> None:
    """A table that this migration makes, without its parts: they go with it."""
    mirror.put("tables", Table(schema=name[0], name=name[1], oid=next(mirror.numbers)))


def alter_table(mirror: Mirror, node: Node) -> None:
    """ALTER TABLE, each of its commands in turn."""
    kind, name = enum_name(node, "objtype"), mirror.relation(node.relation)
    if kind != "OBJECT_TABLE":
        mirror.gap(f"ALTER {kind[7:]} {name[1]} is not taken back")
        return
    for wrapped in node.cmds:
        # The table is looked up for each: the command before may have changed it.
        table = mirror.table(name)
        if table is None:
            if not node.missing_ok:
                mirror.gap(f"table {name[0]}.{name[1]} is not in the catalog from before")
            return
        if mirror.is_fresh("tables", table) and not _has_columns(wrapped.alter_table_cmd):
            continue
        _command(mirror, table, wrapped.alter_table_cmd)


def _has_columns(command: Node) -> bool:
    """Whether the command matters for a new table, which is simply dropped on the way down."""
    return enum_name(command, "subtype") in ("AT_AddColumn", "AT_DropColumn")


def _command(mirror: Mirror, table: Table, command: Node) -> None:
    subtype = enum_name(command, "subtype")
    handler = HANDLERS.get(subtype)
    if handler is not None:
        handler(mirror, table, command)
    elif subtype == "AT_ChangeOwner":
        mirror.gap(f"the owner of {table.name} stays as it is now")
    elif subtype in HARMLESS:
        mirror.gap(f"how {table.name} is stored or served stays as it is now ({subtype[3:]})")
    else:
        mirror.gap(f"ALTER TABLE {table.name} does something not examined ({subtype[3:]})")


def _new_column(mirror: Mirror, table: Table, definition: Node) -> None:
    column = Column(
        name=str(definition.colname),
        attnum=next(mirror.numbers),
        type=type_text(definition.type_name),
    )
    mirror.add(table, "columns", column)
    if is_serial(definition.type_name):
        name = free_name(mirror, table, f"{table.name}_{column.name}_seq")
        owner = quoted(table.schema, table.name) + "." + quoted(column.name)
        made = Sequence(
            schema=table.schema, name=name, oid=next(mirror.numbers), definition="", owner=owner
        )
        mirror.put("sequences", made)
    if mirror.is_fresh("tables", table):
        return
    for wrapped in definition.constraints:
        if enum_name(wrapped.constraint, "contype") in KINDS:
            _new_constraint(mirror, table, wrapped.constraint, (column.name,))


def free_name(mirror: Mirror, table: Table, wanted: str) -> str:
    """The name that PostgreSQL gives, with a number where it is taken."""
    taken = {one.name for kind in ("sequences", "views") for one in mirror.now[kind].values()}
    for one in mirror.now["tables"].values():
        taken |= {one.name, *(part.name for part in (*one.constraints, *one.indexes))}
    number, name = 0, wanted[:63]
    while name in taken:
        number += 1
        name = f"{wanted}{number}"
    return name


def _add_column(mirror: Mirror, table: Table, command: Node) -> None:
    definition = getattr(command, "def").column_def
    name = str(definition.colname)
    if any(column.name == name for column in table.columns):
        return  # IF NOT EXISTS, or it fails
    if command.missing_ok and mirror.assumes:
        mirror.gap(f"whether column {table.name}.{name} was there before is not known")
        return
    _new_column(mirror, table, definition)


def _drop_column(mirror: Mirror, table: Table, command: Node) -> None:
    column = mirror.column(table, command.name)
    if column is None:
        return
    before = mirror.column_was(table, column)
    mirror.change(table, "columns", lambda one: None if one.attnum == column.attnum else one)
    names = {column.name, before.name if before else column.name}
    for part in ("indexes", "constraints"):  # they go with the column
        mirror.change(table, part, lambda one: None if names & columns_in(one.definition) else one)
    drop_sequences(mirror, table, column.name)
    if before is None:
        return
    was = mirror.was["tables"][table.oid]
    if not before.generated:
        why = f"column {was.name}.{before.name} is dropped"
        mirror.save(
            kind="columns", table=f"{was.schema}.{was.name}", columns=(before.name,), why=why
        )
    if enum_name(command, "behavior") == "DROP_CASCADE":
        mirror.gap(f"DROP COLUMN {before.name} CASCADE may take more with it")


def drop_sequences(mirror: Mirror, table: Table, column: str = "") -> None:
    """The sequences that go with a column, or with the whole table."""
    prefix = f"{table.schema}.{table.name}."
    for sequence in list(mirror.now["sequences"].values()):
        owner = bare(sequence.owner)
        if owner.startswith(prefix) and column in ("", owner.removeprefix(prefix)):
            mirror.drop("sequences", sequence)


def _alter_column(
    mirror: Mirror, table: Table, name: str, change: Callable[[Column], Column]
) -> None:
    column = mirror.column(table, name)
    if column is None:
        return
    before = mirror.column_was(table, column)
    if before is not None and not before.type:
        mirror.gap(f"how {table.name}.{name} was before is not known: it is left as it is")
        return

    def keep(one: Column) -> Column:
        return change(one) if one.attnum == column.attnum else one

    mirror.change(table, "columns", keep)


def _retype(mirror: Mirror, table: Table, command: Node) -> None:
    definition = getattr(command, "def").column_def
    wanted = type_text(definition.type_name)
    column = mirror.column(table, command.name)
    before = mirror.column_was(table, column) if column is not None else None
    plain = not definition.HasField("raw_default") or is_plain_cast(
        definition.raw_default, command.name
    )
    if before is not None and not (plain and is_kept(before.type, wanted)):
        was = mirror.was["tables"][table.oid]
        mirror.save(
            kind="columns",
            table=f"{was.schema}.{was.name}",
            columns=(before.name,),
            why=f"column {was.name}.{before.name} is converted: its original values are not kept",
        )
    clause = definition.coll_clause.collname if definition.HasField("coll_clause") else ()
    collation = ".".join(quoted(part) for part in strings(clause))
    _alter_column(
        mirror,
        table,
        command.name,
        lambda one: replace(one, type=wanted, collation=collation),
    )


def _default(mirror: Mirror, table: Table, command: Node) -> None:
    value = UNKNOWN if command.HasField("def") else ""
    _alter_column(mirror, table, command.name, lambda one: replace(one, default=value))


def _not_null(value: bool) -> Callable[[Mirror, Table, Node], None]:
    def handler(mirror: Mirror, table: Table, command: Node) -> None:
        _alter_column(mirror, table, command.name, lambda one: replace(one, not_null=value))

    return handler


def _add_identity(mirror: Mirror, table: Table, command: Node) -> None:
    _alter_column(
        mirror, table, command.name, lambda one: replace(one, identity="always", not_null=True)
    )


def _drop_identity(mirror: Mirror, table: Table, command: Node) -> None:
    _alter_column(mirror, table, command.name, lambda one: replace(one, identity=""))


def _drop_expression(mirror: Mirror, table: Table, command: Node) -> None:
    _alter_column(mirror, table, command.name, lambda one: replace(one, generated="", default=""))


def _add_constraint(mirror: Mirror, table: Table, command: Node) -> None:
    _new_constraint(mirror, table, getattr(command, "def").constraint, ())


def _new_constraint(mirror: Mirror, table: Table, node: Node, columns: tuple[str, ...]) -> None:
    kind: Any = KINDS.get(enum_name(node, "contype"))
    if kind is None:
        mirror.gap(f"ALTER TABLE {table.name} ADD CONSTRAINT of a kind not examined")
        return
    keys = tuple(strings(node.keys)) or tuple(strings(node.fk_attrs)) or columns
    if kind == "check":  # PostgreSQL names it after its column, where it has one only
        named = columns_named(node.raw_expr)
        keys = tuple(named) if len(named) == 1 else ()
    stem = "" if kind == "primary" else "".join(f"{key}_" for key in keys)
    wanted = f"{table.name}_{stem}{SUFFIX.get(kind, 'excl')}"
    name = str(node.conname) or free_name(mirror, table, wanted)
    made = Constraint(name=name, oid=next(mirror.numbers), kind=kind, definition="")
    mirror.add(table, "constraints", made)
    if node.indexname:  # USING INDEX: the index becomes the constraint's
        mirror.change(table, "indexes", lambda one: None if one.name == node.indexname else one)
    for key in keys if kind == "primary" else ():
        _alter_column(
            mirror, mirror.now["tables"][table.oid], key, lambda one: replace(one, not_null=True)
        )


def _drop_constraint(mirror: Mirror, table: Table, command: Node) -> None:
    found = [one for one in table.constraints if one.name == command.name]
    if not found:
        if mirror.assumes:
            mirror.gap(f"the definition of constraint {command.name} from before is not known")
        return
    mirror.change(table, "constraints", lambda one: None if one.name == command.name else one)
    if enum_name(command, "behavior") == "DROP_CASCADE":
        drop_references(mirror, table)


def drop_references(mirror: Mirror, table: Table) -> None:
    """The foreign keys of other tables that lead to this one: CASCADE takes them too."""
    old = mirror.was["tables"].get(table.oid, table)
    for other in list(mirror.now["tables"].values()):
        mirror.change(
            other,
            "constraints",
            lambda one: None if one.kind == "foreign" and _leads_to(one, old) else one,
        )


def _leads_to(constraint: Constraint, table: Table) -> bool:
    target = constraint.definition.partition(" REFERENCES ")[2].partition("(")[0]
    return bool(target) and mentions(target + " ", table)


def _row_security(subtype: str) -> Callable[[Mirror, Table, Node], None]:
    def handler(mirror: Mirror, table: Table, command: Node) -> None:
        now: Any = {
            "AT_EnableRowSecurity": "forced" if table.row_security == "forced" else "on",
            "AT_DisableRowSecurity": "off",
            "AT_ForceRowSecurity": "forced",
            "AT_NoForceRowSecurity": "off" if table.row_security == "off" else "on",
        }[subtype]
        if mirror.assumes:
            mirror.gap(f"whether row security of {table.name} was on before is not known")
            return
        mirror.put("tables", replace(table, row_security=now))

    return handler


def _trigger_state(mirror: Mirror, table: Table, command: Node) -> None:
    def keep(one: Any) -> Any:
        return replace(one, enabled=UNKNOWN) if one.name == command.name else one

    if mirror.assumes or not command.name:
        mirror.gap(f"which triggers of {table.name} were on before is not known")
    mirror.change(table, "triggers", keep)


HANDLERS: dict[str, Callable[[Mirror, Table, Node], None]] = {
    "AT_AddColumn": _add_column,
    "AT_DropColumn": _drop_column,
    "AT_AlterColumnType": _retype,
    "AT_ColumnDefault": _default,
    "AT_SetNotNull": _not_null(True),
    "AT_DropNotNull": _not_null(False),
    "AT_AddIdentity": _add_identity,
    "AT_DropIdentity": _drop_identity,
    "AT_DropExpression": _drop_expression,
    "AT_AddConstraint": _add_constraint,
    "AT_DropConstraint": _drop_constraint,
    "AT_ValidateConstraint": lambda mirror, table, command: mirror.gap(
        f"constraint {command.name} stays validated"
    ),
    **{
        name: _row_security(name)
        for name in (
            "AT_EnableRowSecurity",
            "AT_DisableRowSecurity",
            "AT_ForceRowSecurity",
            "AT_NoForceRowSecurity",
        )
    },
    "AT_EnableTrig": _trigger_state,
    "AT_DisableTrig": _trigger_state,
}
