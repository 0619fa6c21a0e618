"""What the migration dropped or replaced comes back from its definition in the catalog before."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taly.model.catalog import Table, Trigger
from taly.planning.down.names import column_definition, quoted

if TYPE_CHECKING:
    from taly.planning.down.between import Way

ORDER = ("primary", "unique", "exclude", "check", "foreign", "trigger")
"""Of constraints: a foreign key needs the key that it leads to."""


def functions_and_sequences(way: "Way") -> None:
    """First, because defaults, checks and triggers call them."""
    for sequence in _lost(way.before.sequences, way.after.sequences):
        way.say(f"CREATE SEQUENCE {quoted(sequence.schema, sequence.name)} {sequence.definition}")
    for one in _lost(way.before.others, way.after.others):
        if one.kind in ("domain", "type"):
            way.say(one.definition)
    now = {one.oid: one for one in way.after.functions}
    found = [
        one
        for one in way.before.functions
        if one.oid not in now or now[one.oid].definition != one.definition
    ]
    renamed = [one for one in found if one.oid in now and now[one.oid].name != one.name]
    lost = [one.definition.rstrip() for one in found if one not in renamed]
    if lost:
        # A body may name what comes back only further down.
        way.say("SET check_function_bodies = off", *lost, "RESET check_function_bodies")


def tables(way: "Way") -> None:
    """Tables with their columns; whatever their rows must satisfy comes afterwards."""
    for table in way.gone():
        if table.kind != "table" or table.parents:
            way.gaps.append(f"{table.kind} table {table.name} with its parents or partitions")
            continue
        listed = ", ".join(column_definition(column) for column in table.columns)
        way.say(f"CREATE TABLE {_place(table)} ({listed})")
        for column in table.columns:
            if column.not_null and not column.identity:
                alter = f"ALTER TABLE {_place(table)} ALTER COLUMN {quoted(column.name)}"
                way.afterwards.append(f"{alter} SET NOT NULL")
        if table.grants:
            way.gaps.append(f"the rights on table {table.name} are not granted again")
        if table.comment or any(column.comment for column in table.columns):
            way.gaps.append(f"the comments on table {table.name} are not put back")


def rest(way: "Way") -> None:
    """Indexes, constraints, views, triggers, policies."""
    _owned_sequences(way)
    empty = Table(schema="", name="", oid=0)
    pairs = [*way.kept(), *((table, empty) for table in way.gone() if table.kind == "table")]
    for before, after in pairs:
        _indexes(way, before, after)
    _constraints(way, pairs)
    _views(way)
    for before, after in pairs:
        _triggers(way, before, after)
        _row_security(way, before, after)
    for one in _lost(way.before.others, way.after.others):
        if one.kind in ("policy", "rule"):
            way.afterwards.append(one.definition.rstrip(";"))


def _owned_sequences(way: "Way") -> None:
    for sequence in _lost(way.before.sequences, way.after.sequences):
        if sequence.owner:
            name = quoted(sequence.schema, sequence.name)
            way.say(f"ALTER SEQUENCE {name} OWNED BY {sequence.owner}")
        way.gaps.append(f"the position of sequence {sequence.name} comes with the saved data")


def _lost(before: Iterable[Any], after: Iterable[Any]) -> list[Any]:
    """What is no more, or no more as it was, oldest first."""
    now = {one.oid: getattr(one, "definition", "") for one in after}
    gone = [one for one in before if now.get(one.oid) is None]
    changed = [
        one
        for one in before
        if one.oid in now
        and now[one.oid] != getattr(one, "definition", "")
        and getattr(one, "kind", "") in ("policy", "rule")
    ]
    return sorted([*gone, *changed], key=lambda one: one.oid)


def _indexes(way: "Way", before: Table, after: Table) -> None:
    now = {one.oid for one in after.indexes}
    for one in before.indexes:
        if one.oid in now:
            continue
        if not one.valid:
            way.gaps.append(f"index {one.name} was INVALID before: it is not made again")
            continue
        text = one.definition
        if before.kind == "partitioned":  # else it stays INVALID: its partitions have none
            text = text.replace(" ON ONLY ", " ON ", 1)
        if one.name in way.concurrent:
            text = text.replace("INDEX", "INDEX CONCURRENTLY", 1)
        way.afterwards.append(text)


def _constraints(way: "Way", pairs: Iterable[tuple[Table, Table]]) -> None:
    found = []
    for before, after in pairs:
        now = {one.oid for one in after.constraints}
        found += [(before, one) for one in before.constraints if one.oid not in now]
    for table, one in sorted(found, key=lambda pair: (ORDER.index(pair[1].kind), pair[1].oid)):
        if one.kind == "trigger":
            continue  # the trigger makes it
        way.afterwards.append(
            f"ALTER TABLE {_place(table)} ADD CONSTRAINT {quoted(one.name)} {one.definition}"
        )


def _views(way: "Way") -> None:
    now = {one.oid: one.definition for one in way.after.views}
    for view in sorted(way.before.views, key=lambda one: one.oid):
        if now.get(view.oid) == view.definition:
            continue
        word = "MATERIALIZED VIEW" if view.materialized else "VIEW"
        options = f" WITH ({view.options})" if view.options else ""
        name = quoted(view.schema, view.name)
        way.afterwards.append(f"CREATE {word} {name}{options} AS{view.definition}")
        way.afterwards += [index.definition for index in view.indexes]


def _triggers(way: "Way", before: Table, after: Table) -> None:
    now = {one.oid: one for one in after.triggers}
    for one in before.triggers:
        found = now.get(one.oid)
        if found is None or found.definition != one.definition:
            way.afterwards.append(one.definition)
            found = None
        if one.enabled != (found.enabled if found is not None else "O"):
            way.afterwards.append(_enabling(before, one))


def _enabling(table: Table, trigger: Trigger) -> str:
    word = {
        "O": "ENABLE",
        "D": "DISABLE",
        "R": "ENABLE REPLICA",
        "A": "ENABLE ALWAYS",
    }[trigger.enabled]
    return f"ALTER TABLE {_place(table)} {word} TRIGGER {quoted(trigger.name)}"


def _row_security(way: "Way", before: Table, after: Table) -> None:
    if before.row_security == after.row_security or (
        not after.oid and before.row_security == "off"
    ):
        return
    alter = f"ALTER TABLE {_place(before)}"
    wanted = before.row_security
    way.afterwards.append(
        f"{alter} {'DISABLE' if wanted == 'off' else 'ENABLE'} ROW LEVEL SECURITY"
    )
    if "forced" in (wanted, after.row_security):
        way.afterwards.append(
            f"{alter} {'FORCE' if wanted == 'forced' else 'NO FORCE'} ROW LEVEL SECURITY"
        )


def _place(table: Table) -> str:
    return quoted(table.schema, table.name)
