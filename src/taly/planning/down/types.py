"""Enum types as they were: dropped ones made again, values that were added taken out."""

from typing import TYPE_CHECKING

from taly.model.catalog import Column, Enum, Table
from taly.planning.down.names import bare, moved_aside, quoted, text_literal

if TYPE_CHECKING:
    from taly.planning.down.between import Way


def make_room(way: "Way") -> None:
    """New types step aside from old names, and wait till nothing uses them."""
    old = {enum.oid for enum in way.before.enums}
    wanted = {(enum.schema, enum.name) for enum in way.before.enums}
    for enum in way.after.enums:
        if enum.oid not in old:
            taken = (enum.schema, enum.name) in wanted
            name = _aside(way, enum) if taken else enum.name
            way.last.append(f"DROP TYPE {quoted(enum.schema, name)}")


def take_back(way: "Way") -> None:
    """PostgreSQL removes no value from a type: one that has got more is built anew."""
    now = {enum.oid: enum for enum in way.after.enums}
    for enum in way.before.enums:
        found = now.get(enum.oid)
        if found is None:
            way.say(_create(enum))
        elif len(found.labels) != len(enum.labels):
            _rebuild(way, enum, found)


def _aside(way: "Way", enum: Enum) -> str:
    name = moved_aside(enum.name)
    way.say(f"ALTER TYPE {quoted(enum.schema, enum.name)} RENAME TO {quoted(name)}")
    return name


def _create(enum: Enum) -> str:
    labels = ", ".join(text_literal(label) for label in enum.labels)
    return f"CREATE TYPE {quoted(enum.schema, enum.name)} AS ENUM ({labels})"


def _rebuild(way: "Way", before: Enum, after: Enum) -> None:
    added = [label for label in after.labels if label not in before.labels]
    aside = _aside(way, before)
    way.say(_create(before))
    for table, now in way.kept():
        _free(way, table, now, before)
    for table, now in way.kept():
        current = {column.attnum: column for column in now.columns}
        for column in table.columns:
            if column.attnum in current and _is_of(column, before):
                _convert(way, table, column)
                _guard(way, now, current[column.attnum], added)
    way.last.append(f"DROP TYPE {quoted(before.schema, aside)}")


def _free(way: "Way", table: Table, now: Table, enum: Enum) -> None:
    """Checks and indexes with a value of the type in them go for a while: they keep the old one."""
    place = quoted(table.schema, table.name)
    left = {one.oid for one in now.constraints}
    for check in table.constraints:
        if (
            check.kind in ("check", "exclude")
            and check.oid in left
            and _names(check.definition, enum)
        ):
            name = quoted(check.name)
            way.say(f"ALTER TABLE {place} DROP CONSTRAINT {name}")
            way.afterwards.append(f"ALTER TABLE {place} ADD CONSTRAINT {name} {check.definition}")
    left = {one.oid for one in now.indexes}
    for index in table.indexes:
        if index.valid and index.oid in left and _names(index.definition, enum):
            way.say(f"DROP INDEX {quoted(table.schema, index.name)}")
            text = index.definition
            if table.kind == "partitioned":
                text = text.replace(" ON ONLY ", " ON ", 1)
            way.afterwards.append(text)


def _names(definition: str, enum: Enum) -> bool:
    return f"::{enum.schema}.{enum.name}" in bare(definition)


def _is_of(column: Column, enum: Enum) -> bool:
    return bare(column.type).removesuffix("[]") == f"{enum.schema}.{enum.name}"


def _convert(way: "Way", table: Table, column: Column) -> None:
    alter = f"ALTER TABLE {quoted(table.schema, table.name)} ALTER COLUMN {quoted(column.name)}"
    through = "text[]" if column.type.endswith("[]") else "text"
    has_default = bool(column.default) and not column.generated
    if has_default:
        way.say(f"{alter} DROP DEFAULT")
    way.say(f"{alter} TYPE {column.type} USING {quoted(column.name)}::{through}::{column.type}")
    if has_default:
        way.say(f"{alter} SET DEFAULT {column.default}")


def _guard(way: "Way", table: Table, column: Column, added: list[str]) -> None:
    for label in added:
        text = (
            f"rows of {table.name} have {column.name} = {label}, which the old type does not know"
        )
        way.guards.append((label_guard(table, column, label), text))


def label_guard(table: Table, column: Column, label: str) -> str:
    """SQL: whether a row has that label."""
    name, value = quoted(column.name), text_literal(label)
    test = f"{value} = ANY ({name}::text[])" if "[]" in column.type else f"{name}::text = {value}"
    return f"SELECT EXISTS (SELECT FROM {quoted(table.schema, table.name)} WHERE {test})"
