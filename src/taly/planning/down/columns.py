"""Columns as they were: dropped ones come back (last), changed ones get their old definition."""

from typing import TYPE_CHECKING

from taly.model.catalog import Column, Table
from taly.planning.down.names import column_definition, normal, quoted
from taly.planning.down.retype import way_back

if TYPE_CHECKING:
    from taly.planning.down.between import Way


def take_back(way: "Way") -> None:
    """Every column of every table that is there on both sides."""
    was = {enum.oid: enum for enum in way.before.enums}
    names = {
        normal(quoted(enum.schema, enum.name)): normal(
            quoted(was[enum.oid].schema, was[enum.oid].name)
        )
        if enum.oid in was
        else ""
        for enum in way.after.enums
    }
    for before, after in way.kept():
        now = {column.attnum: column for column in after.columns}
        theirs = way.inherited(before)
        for column in before.columns:
            if column.name in theirs:
                continue
            if column.attnum in now:
                _changed(way, before, column, now[column.attnum], names)
            else:
                _gone(way, before, column)


def _gone(way: "Way", table: Table, column: Column) -> None:
    if not column.type:
        way.gaps.append(f"the type of {table.name}.{column.name}, which is dropped, is not known")
        return
    place = quoted(table.schema, table.name)
    way.say(f"ALTER TABLE {place} ADD COLUMN {column_definition(column)}")
    if column.not_null and not column.identity:
        way.afterwards.append(
            f"ALTER TABLE {place} ALTER COLUMN {quoted(column.name)} SET NOT NULL"
        )
    if column.comment:
        way.gaps.append(f"the comment on {table.name}.{column.name} is not put back")


def _changed(way: "Way", table: Table, old: Column, new: Column, names: dict[str, str]) -> None:
    alter = f"ALTER TABLE {quoted(table.schema, table.name)} ALTER COLUMN {quoted(old.name)}"
    place = f"{table.name}.{old.name}"
    stem = normal(new.type).removesuffix("[]")
    # Told by what the type was called before: another type may have its name by now.
    retyped = normal(new.type).replace(stem, names.get(stem, stem)) != normal(old.type)
    if old.generated != new.generated:
        way.gaps.append(f"{place} was generated, and is no more: it must be made anew by hand")
        return
    if retyped or old.collation != new.collation:
        back = way_back(old.name, old.type, new.type) if retyped else f"TYPE {old.type}"
        if back is None:
            way.gaps.append(f"{no_way_back(table, old)} {new.type} back to {old.type} for sure")
            return
        if old.default or new.default:
            way.say(f"{alter} DROP DEFAULT")
        way.say(f"{alter} {_collated(back, old, new)}")
    _default(way, alter, old, new, again=retyped)
    _identity(way, alter, old, new)
    _required(way, alter, table, old, new)


def no_way_back(table: Table, column: Column) -> str:
    """How a gap begins that says so of a column."""
    return f"{table.name}.{column.name}: no cast leads from"


def required_guard(table: Table, column: Column) -> str:
    """SQL: whether a row lacks the value."""
    place = quoted(table.schema, table.name)
    return f"SELECT EXISTS (SELECT FROM {place} WHERE {quoted(column.name)} IS NULL)"


def _collated(back: str, old: Column, new: Column) -> str:
    """A type without COLLATE gets its own collation, not the one that the column had."""
    collation = old.collation or ('pg_catalog."default"' if new.collation else "")
    if not collation:
        return back
    return back.replace(f"TYPE {old.type}", f"TYPE {old.type} COLLATE {collation}", 1)


def _default(way: "Way", alter: str, old: Column, new: Column, *, again: bool) -> None:
    if old.generated:
        return
    if old.default and (again or old.default != new.default):
        way.say(f"{alter} SET DEFAULT {old.default}")
    elif new.default and not old.default and not again:
        way.say(f"{alter} DROP DEFAULT")


def _identity(way: "Way", alter: str, old: Column, new: Column) -> None:
    if old.identity == new.identity:
        return
    if new.identity and not old.identity:
        way.say(f"{alter} DROP IDENTITY")
    elif old.identity and not new.identity:
        way.say(f"{alter} ADD GENERATED {old.identity.upper()} AS IDENTITY")
        way.gaps.append(f"the position of the identity column {old.name} is not kept")
    else:
        way.say(f"{alter} SET GENERATED {old.identity.upper()}")


def _required(way: "Way", alter: str, table: Table, old: Column, new: Column) -> None:
    if old.not_null and not new.not_null:
        way.afterwards.append(f"{alter} SET NOT NULL")
        now = next(one for before, one in way.kept() if before.oid == table.oid)
        text = f"rows of {now.name} have no {new.name}, which was required"
        way.guards.append((required_guard(now, new), text))
    elif new.not_null and not old.not_null:
        way.say(f"{alter} DROP NOT NULL")
