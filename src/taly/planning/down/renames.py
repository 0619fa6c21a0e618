"""Names go back; from here on everything that was there before has the name that it had."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taly.model.catalog import Table
from taly.planning.down.names import moved_aside, quoted, text_literal

if TYPE_CHECKING:
    from taly.planning.down.between import Way

Step = tuple[str, str, str]
"""What stands before RENAME, the name now, the name before."""


def take_back(way: "Way") -> None:
    """Tables first, then what lies in them."""
    _moves(way)
    _whole(way, "TABLE", way.before.tables, way.after.tables)
    for before, after in way.kept():
        _columns(way, before, after)
        _parts(way, before, after)
    _whole(way, "SEQUENCE", way.before.sequences, way.after.sequences)
    _whole(way, "TYPE", way.before.enums, way.after.enums)
    _whole(way, "VIEW", *_unchanged_views(way))
    _functions(way)
    _labels(way)


def _moves(way: "Way") -> None:
    for kind, befores, afters in (
        ("TABLE", way.before.tables, way.after.tables),
        ("TYPE", way.before.enums, way.after.enums),
    ):
        for before, after in _both(befores, afters):
            if before.schema != after.schema:
                place = quoted(after.schema, after.name)
                way.say(f"ALTER {kind} {place} SET SCHEMA {quoted(before.schema)}")


def _both(before: Iterable[Any], after: Iterable[Any]) -> list[tuple[Any, Any]]:
    now = {one.oid: one for one in after}
    return [(one, now[one.oid]) for one in before if one.oid in now]


def _whole(way: "Way", word: str, before: Iterable[Any], after: Iterable[Any]) -> None:
    pairs = [(old.schema, new.name, old.name) for old, new in _both(before, after)]
    for schema in dict.fromkeys(schema for schema, _, _ in pairs):
        names = [(new, old) for where, new, old in pairs if where == schema and new != old]
        for now, then in ordered(names):
            way.say(f"ALTER {word} {quoted(schema, now)} RENAME TO {quoted(then)}")


def _columns(way: "Way", before: Table, after: Table) -> None:
    now = {column.attnum: column.name for column in after.columns}
    theirs = way.inherited(before)
    names = [
        (now[column.attnum], column.name)
        for column in before.columns
        if now.get(column.attnum, column.name) != column.name and column.name not in theirs
    ]
    place = quoted(before.schema, before.name)
    for new, old in ordered(names):
        way.say(f"ALTER TABLE {place} RENAME COLUMN {quoted(new)} TO {quoted(old)}")


def _parts(way: "Way", before: Table, after: Table) -> None:
    place = quoted(before.schema, before.name)
    pairs = [(new.name, old.name) for old, new in _both(before.constraints, after.constraints)]
    for now, then in ordered(pairs):
        way.say(f"ALTER TABLE {place} RENAME CONSTRAINT {quoted(now)} TO {quoted(then)}")
    pairs = [(new.name, old.name) for old, new in _both(before.indexes, after.indexes)]
    for now, then in ordered(pairs):
        way.say(f"ALTER INDEX {quoted(before.schema, now)} RENAME TO {quoted(then)}")
    for old, new in _both(before.triggers, after.triggers):
        # A trigger whose definition differs was dropped; its name stands in the definition.
        if old.name != new.name and old.definition == new.definition:
            way.say(f"ALTER TRIGGER {quoted(new.name)} ON {place} RENAME TO {quoted(old.name)}")


def _unchanged_views(way: "Way") -> tuple[list[Any], list[Any]]:
    pairs = _both(way.before.views, way.after.views)
    same = [(old, new) for old, new in pairs if old.definition == new.definition]
    return [old for old, _ in same], [new for _, new in same]


def _functions(way: "Way") -> None:
    for old, new in _both(way.before.functions, way.after.functions):
        if old.name != new.name:
            name = f"{quoted(new.schema, new.name)}({old.arguments})"
            way.say(f"ALTER ROUTINE {name} RENAME TO {quoted(old.name)}")


def _labels(way: "Way") -> None:
    for old, new in _both(way.before.enums, way.after.enums):
        place = quoted(old.schema, old.name)
        if len(old.labels) != len(new.labels):
            continue  # then the type is built anew
        pairs = list(zip(new.labels, old.labels, strict=True))
        for now, then in ordered(pairs):
            way.say(f"ALTER TYPE {place} RENAME VALUE {text_literal(now)} TO {text_literal(then)}")


def ordered(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The renames (from, to) in an order in which no name is taken; a ring goes by a third name."""
    left = {now: then for now, then in pairs if now != then}
    done: list[tuple[str, str]] = []
    while left:
        free = [(now, then) for now, then in left.items() if then not in left]
        if free:
            now, then = free[0]
            del left[now]
            done.append((now, then))
        else:
            now = next(iter(left))
            done.append((now, moved_aside(now)))
            left[moved_aside(now)] = left.pop(now)
    return done
