"""What the migration made goes again; names are as they are now."""

from typing import TYPE_CHECKING, Any

from taly.model.catalog import Table
from taly.planning.down.mirror import UNKNOWN
from taly.planning.down.names import function_name, is_procedure, quoted

if TYPE_CHECKING:
    from taly.planning.down.between import Way


def drop(way: "Way") -> None:
    """Everything new, dependents before what they depend on; types and functions wait till last."""
    _rows_are_lost(way)
    _triggers_and_policies(way)
    _views(way)
    _constraints(way, foreign=True)
    _tables(way)
    _constraints(way, foreign=False)
    _indexes(way)
    _columns(way)
    _sequences(way)
    _functions(way)
    _others(way)


def _new(before: Any, after: Any) -> list[Any]:
    """What has no counterpart, newest first."""
    old = {one.oid for one in before}
    return sorted((one for one in after if one.oid not in old), key=lambda one: -one.oid)


def _rows_are_lost(way: "Way") -> None:
    for table in _new(way.before.tables, way.after.tables):
        way.loses.append(f"every row of {table.name}")
    for before, after in way.kept():
        for column in _new_columns(before, after):
            if not column.generated:
                way.loses.append(f"what was written to {after.name}.{column.name}")


def _triggers_and_policies(way: "Way") -> None:
    for before, after in way.kept():
        for trigger in _unlike(before.triggers, after.triggers):
            way.say(f"DROP TRIGGER {quoted(trigger.name)} ON {_place(after)}")
    for one in _unlike(way.before.others, way.after.others):
        if one.kind in ("policy", "rule"):
            way.say(f"DROP {one.kind.upper()} {one.name}")


def _unlike(before: Any, after: Any) -> list[Any]:
    """What is new or defined otherwise than before."""
    old = {one.oid: one.definition for one in before}
    return [one for one in after if old.get(one.oid) != one.definition]


def _views(way: "Way") -> None:
    # CREATE OR REPLACE cannot take columns away: a changed one is made anew.
    found = _unlike(way.before.views, way.after.views)
    for view in sorted(found, key=lambda one: -one.oid):
        word = "MATERIALIZED VIEW" if view.materialized else "VIEW"
        way.say(f"DROP {word} {quoted(view.schema, view.name)}")


def _constraints(way: "Way", *, foreign: bool) -> None:
    for before, after in way.kept():
        old = {one.oid: one.definition for one in before.constraints}
        for one in sorted(after.constraints, key=lambda one: -one.oid):
            if (one.kind == "foreign") is foreign and one.oid not in old:
                way.say(f"ALTER TABLE {_place(after)} DROP CONSTRAINT {quoted(one.name)}")


def _tables(way: "Way") -> None:
    made = _new(way.before.tables, way.after.tables)
    if made:  # in one statement: they may refer to each other
        way.say("DROP TABLE " + ", ".join(_place(table) for table in made))


def _indexes(way: "Way") -> None:
    for before, after in way.kept():
        for one in _new(before.indexes, after.indexes):
            word = "CONCURRENTLY " if one.name in way.concurrent else ""
            way.say(f"DROP INDEX {word}{quoted(after.schema, one.name)}")


def _new_columns(before: Table, after: Table) -> list[Any]:
    old = {column.attnum for column in before.columns}
    return [column for column in after.columns if column.attnum not in old]


def _columns(way: "Way") -> None:
    for before, after in way.kept():
        theirs = way.inherited(after, now=True)
        for column in _new_columns(before, after):
            if column.name not in theirs:
                way.say(f"ALTER TABLE {_place(after)} DROP COLUMN {quoted(column.name)}")


def _sequences(way: "Way") -> None:
    names = {(one.schema, one.name) for one in way.before.sequences}
    for one in _new(way.before.sequences, way.after.sequences):
        if not one.owner:  # else it went with its column
            taken = (one.schema, one.name) in names
            (way.statements if taken else way.last).append(
                f"DROP SEQUENCE {quoted(one.schema, one.name)}"
            )


def _functions(way: "Way") -> None:
    same = {(one.schema, one.name, one.arguments) for one in way.before.functions}
    for one in _new(way.before.functions, way.after.functions):
        if (one.schema, one.name, one.arguments) in same:
            continue  # dropped and made anew: the old text replaces the new one
        word = "PROCEDURE" if is_procedure(one) else "FUNCTION"
        # Where the types are not known, PostgreSQL finds it unless its name is overloaded.
        known = UNKNOWN not in one.arguments
        name = function_name(one) if known else quoted(one.schema, one.name)
        way.last.append(f"DROP {word} {name}")


def _others(way: "Way") -> None:
    for one in _new(way.before.others, way.after.others):
        if one.kind not in ("policy", "rule"):
            way.last.append(f"DROP {one.kind.upper()} {one.name}")
    old = {one.name for one in way.before.extensions}
    for extension in way.after.extensions:
        if extension.name not in old:
            way.last.append(f"DROP EXTENSION {quoted(extension.name)}")


def _place(table: Table) -> str:
    return quoted(table.schema, table.name)
