"""DROP, indexes, enums, views, functions, triggers played over the mirror."""

from dataclasses import replace
from typing import Any

from taly.model.catalog import Enum, Function, Index, Other, Sequence, Table, Trigger, View
from taly.planning.down.mirror import UNKNOWN, Mirror, Name, mentions
from taly.planning.down.names import bare, quoted
from taly.planning.down.renaming import WHOLE, name_of
from taly.planning.down.tables import drop_references, drop_sequences, free_name
from taly.planning.migrations.names import Node, enum_name, strings


def drop(mirror: Mirror, node: Node) -> None:
    """DROP, each of its objects in turn."""
    kind = enum_name(node, "remove_type")
    cascades = enum_name(node, "behavior") == "DROP_CASCADE"
    for wrapped in node.objects:
        if kind == "OBJECT_INDEX":
            _drop_index(mirror, name_of(mirror, wrapped), node)
        elif kind == "OBJECT_TRIGGER":
            _drop_trigger(mirror, strings(wrapped.list.items))
        elif kind in WHOLE:
            _drop_whole(mirror, kind, wrapped, cascades=cascades)
        elif kind in ("OBJECT_POLICY", "OBJECT_RULE", "OBJECT_DOMAIN"):
            _drop_other(mirror, kind[7:].lower(), wrapped)
        else:
            word = kind[7:].lower().replace("_", " ")
            mirror.gap(f"DROP {word.upper()} is not taken back")


def _drop_whole(mirror: Mirror, kind: str, wrapped: Node, *, cascades: bool) -> None:
    field, name = WHOLE[kind], name_of(mirror, wrapped)
    found: Any = (
        _overload(mirror, name, wrapped) if field == "functions" else mirror.find(field, name)
    )
    if found is None:
        other = f"{quoted(*name)}"
        composite = [one for one in mirror.now["others"].values() if bare(one.name) == bare(other)]
        if composite and field == "enums":
            mirror.drop("others", composite[0])
        elif mirror.assumes:
            mirror.gap(f"the definition of {name[1]}, which is dropped, is not known")
            if field == "tables":
                _save_table(mirror, name)
        return
    if field == "tables":
        _forget_table(mirror, found, cascades=cascades)
    elif cascades:
        mirror.gap(f"DROP of {name[1]} CASCADE may take more with it")
    if mirror.drop(field, found) and field == "sequences":
        mirror.gap(f"the position of sequence {name[1]} is not kept")


def _forget_table(mirror: Mirror, table: Table, *, cascades: bool) -> None:
    if not mirror.is_fresh("tables", table):
        was = mirror.was["tables"][table.oid]
        _save_table(mirror, (was.schema, was.name))
    drop_sequences(mirror, table)
    old = mirror.was["tables"].get(table.oid, table)
    for other in list(mirror.now["others"].values()):  # policies and rules
        if bare(other.name).endswith(f" ON {old.schema}.{old.name}"):
            mirror.drop("others", other)
    if cascades:
        drop_references(mirror, table)
        for view in list(mirror.now["views"].values()):
            if mentions(view.definition, old):
                mirror.drop("views", view)


def _save_table(mirror: Mirror, name: Name) -> None:
    why = f"table {name[1]} is dropped"
    mirror.save(kind="table", table=f"{name[0]}.{name[1]}", why=why)


def _overload(mirror: Mirror, name: Name, wrapped: Node) -> Function | None:
    """The function of that name; of several, the one with as many arguments."""
    found = [one for one in mirror.now["functions"].values() if (one.schema, one.name) == name]
    if len(found) > 1 and not wrapped.object_with_args.args_unspecified:
        wanted = len(wrapped.object_with_args.objargs)
        found = [one for one in found if one.arguments.count(",") + bool(one.arguments) == wanted]
    if len(found) > 1:
        mirror.gap(f"which of several functions {name[1]} is dropped is not told apart")
        return None
    return found[0] if found else None


def _drop_index(mirror: Mirror, name: Name, node: Node) -> None:
    found = mirror.index(name)
    if node.concurrent:
        mirror.concurrent.add(name[1])
    if found is not None:
        mirror.change(found[0], "indexes", lambda one: None if one is found[1] else one)
        return
    for view in list(mirror.now["views"].values()):
        if view.schema == name[0] and name[1] in [one.name for one in view.indexes]:
            kept = tuple(one for one in view.indexes if one.name != name[1])
            mirror.put("views", replace(view, indexes=kept))
            return
    if mirror.assumes:
        mirror.gap(f"the definition of index {name[1]}, which is dropped, is not known")


def _drop_trigger(mirror: Mirror, parts: list[str]) -> None:
    table = mirror.table(mirror.split(parts[:-1]))
    if table is None:
        return
    if mirror.assumes and parts[-1] not in [one.name for one in table.triggers]:
        mirror.gap(f"the definition of trigger {parts[-1]}, which is dropped, is not known")
    mirror.change(table, "triggers", lambda one: None if one.name == parts[-1] else one)


def _drop_other(mirror: Mirror, word: str, wrapped: Node) -> None:
    if word == "domain":
        wanted = bare(quoted(*name_of(mirror, wrapped)))
    else:
        parts = strings(wrapped.list.items)
        wanted = f"{parts[-1]} ON {'.'.join(mirror.split(parts[:-1]))}"
    for one in list(mirror.now["others"].values()):
        if one.kind == word and bare(one.name) == wanted:
            mirror.drop("others", one)
            return
    if mirror.assumes:
        mirror.gap(f"the definition of {word} {wanted}, which is dropped, is not known")


def create_index(mirror: Mirror, node: Node) -> None:
    """CREATE INDEX."""
    name = mirror.relation(node.relation)
    view = mirror.find("views", name)
    table = None if view is not None else mirror.table(name)
    columns = [str(one.index_elem.name) for one in node.index_params]
    stem = "_".join(column or "expr" for column in columns)
    index_name = str(node.idxname)
    if table is not None and not index_name:
        index_name = free_name(mirror, table, f"{name[1]}_{stem}_idx")
    if table is None or mirror.index((table.schema, index_name)) is not None:
        if view is not None and not mirror.is_fresh("views", view):
            mirror.gap(f"index {index_name} on materialised view {name[1]} is not taken back")
        return
    if node.if_not_exists and mirror.assumes:
        mirror.gap(f"whether index {index_name} was there before is not known: IF NOT EXISTS")
        return
    if node.concurrent:
        mirror.concurrent.add(index_name)
    if not mirror.is_fresh("tables", table):
        listed = ", ".join(quoted(column) for column in columns if column)
        made = Index(
            name=index_name,
            oid=next(mirror.numbers),
            definition=f"CREATE INDEX ON x ({listed})" if listed else "",
            unique=bool(node.unique),
            valid=True,
        )
        mirror.add(table, "indexes", made)


def create_enum(mirror: Mirror, node: Node) -> None:
    """CREATE TYPE … AS ENUM."""
    name = mirror.split(strings(node.type_name))
    if mirror.find("enums", name) is None:
        made = Enum(
            schema=name[0],
            name=name[1],
            oid=next(mirror.numbers),
            labels=tuple(strings(node.vals)),
        )
        mirror.put("enums", made)


def alter_enum(mirror: Mirror, node: Node) -> None:
    """ALTER TYPE … ADD VALUE, RENAME VALUE."""
    name = mirror.split(strings(node.type_name))
    enum = mirror.find("enums", name)
    new, old = str(node.new_val), str(node.old_val)
    if enum is None and mirror.assumes and old:
        enum = Enum(schema=name[0], name=name[1], oid=next(mirror.numbers), labels=(old,))
        mirror.assume(enum, "enums")
    if enum is None or (mirror.assumes and not old):
        mirror.gap(f"the values that type {name[1]} had before are not known: {new} stays")
    elif old:
        labels = tuple(new if label == old else label for label in enum.labels)
        mirror.put("enums", replace(enum, labels=labels))
    elif new not in enum.labels:
        mirror.put("enums", replace(enum, labels=(*enum.labels, new)))


def view(mirror: Mirror, node: Node) -> None:
    """CREATE VIEW."""
    _created(mirror, "views", mirror.relation(node.view), replaces=bool(node.replace))


def function(mirror: Mirror, node: Node) -> None:
    """CREATE FUNCTION, CREATE PROCEDURE."""
    parameters = [one.function_parameter for one in node.parameters]
    takes = [one for one in parameters if enum_name(one, "mode") not in RESULTS]
    name = mirror.split(strings(node.funcname))
    same = [
        one
        for one in mirror.now["functions"].values()
        if (one.schema, one.name) == name
        and one.arguments.count(",") + bool(one.arguments) == len(takes)
    ]
    if same:
        mirror.put("functions", replace(same[0], definition=UNKNOWN))
        return
    if node.replace and mirror.assumes:
        mirror.gap(f"whether function {name[1]} was there before is not known: OR REPLACE")
        return
    word = "PROCEDURE" if node.is_procedure else "FUNCTION"
    made = Function(
        schema=name[0],
        name=name[1],
        oid=next(mirror.numbers),
        arguments=", ".join(UNKNOWN for _ in takes),
        definition=f"CREATE OR REPLACE {word}",
    )
    mirror.put("functions", made)


RESULTS = ("FUNC_PARAM_OUT", "FUNC_PARAM_TABLE")


def _created(mirror: Mirror, kind: str, name: Name, *, replaces: bool) -> None:
    found = mirror.find(kind, name)
    if found is not None:
        if replaces:
            mirror.put(kind, replace(found, definition=UNKNOWN))
        return
    if replaces and mirror.assumes:
        mirror.gap(f"whether {kind[:-1]} {name[1]} was there before is not known: OR REPLACE")
        return
    made = View(schema=name[0], name=name[1], oid=next(mirror.numbers), definition=UNKNOWN)
    mirror.put(kind, made)


def materialized(mirror: Mirror, name: Name) -> None:
    """CREATE MATERIALIZED VIEW."""
    made = View(
        schema=name[0],
        name=name[1],
        oid=next(mirror.numbers),
        definition=UNKNOWN,
        materialized=True,
    )
    if mirror.find("views", name) is None:
        mirror.put("views", made)


def trigger(mirror: Mirror, node: Node) -> None:
    """CREATE TRIGGER."""
    table = mirror.table(mirror.relation(node.relation))
    if table is None or mirror.is_fresh("tables", table):
        return
    name = str(node.trigname)
    if name in [one.name for one in table.triggers]:
        mirror.change(
            table,
            "triggers",
            lambda one: replace(one, definition=UNKNOWN) if one.name == name else one,
        )
        return
    if node.replace and mirror.assumes:
        mirror.gap(f"whether trigger {name} was there before is not known: OR REPLACE")
        return
    made = Trigger(name=name, oid=next(mirror.numbers), definition=UNKNOWN, enabled="O")
    mirror.add(table, "triggers", made)


def policy(mirror: Mirror, node: Node) -> None:
    """CREATE POLICY."""
    table = quoted(*mirror.relation(node.table))
    other(mirror, "policy", f"{quoted(str(node.policy_name))} ON {table}")


def rule(mirror: Mirror, node: Node) -> None:
    """CREATE RULE."""
    if node.replace:
        mirror.gap(f"whether rule {node.rulename} was there before is not known: OR REPLACE")
        return
    table = quoted(*mirror.relation(node.relation))
    other(mirror, "rule", f"{quoted(str(node.rulename))} ON {table}")


def other(mirror: Mirror, kind: str, name: str) -> None:
    """Something new that is known by its name only."""
    made = Other(kind=kind, name=name, oid=next(mirror.numbers), definition=UNKNOWN)
    mirror.put("others", made)


def sequence(mirror: Mirror, node: Node) -> None:
    """CREATE SEQUENCE."""
    name = mirror.relation(node.sequence)
    if mirror.find("sequences", name) is None:
        if node.if_not_exists and mirror.assumes:
            mirror.gap(f"whether sequence {name[1]} was there before is not known")
            return
        made = Sequence(schema=name[0], name=name[1], oid=next(mirror.numbers), definition=UNKNOWN)
        mirror.put("sequences", made)
