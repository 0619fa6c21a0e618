"""The difference that a migration makes, seen by the release before it."""

from collections.abc import Callable, Iterator

from taly.planning.migrations.facts import EnumValueUsed, HasNulls, IndexInvalid, Question
from taly.planning.migrations.model import Column, Effect, Enum, Schema, Table, Unique
from taly.planning.migrations.types import retype

Ask = Callable[[Question], bool | None]
"""Answers a question about the live catalog; None = it is not known."""


def effects(schema: Schema, ask: Ask) -> Iterator[Effect]:
    """What the old code meets, and what undoing it would need."""
    yield from schema.effects
    for dropped in schema.dropped_tables:
        yield Effect(breaks=True, undo="data", reason=f"table {dropped.was} is gone with its rows")
    for table in schema.tables.values():
        yield from _table(schema, table, ask)
    yield from _enums(schema, ask)
    yield from _indexes(schema, ask)


def _table(schema: Schema, table: Table, ask: Ask) -> Iterator[Effect]:
    if table.was is None:
        yield Effect(breaks=False, undo="automatic", reason=f"adds table {table.name}")
        return
    if table.was != table.name:
        reason = f"table {table.was} is now {table.name}"
        yield Effect(breaks=True, undo="automatic", reason=reason)
    for column in table.dropped:
        reason = f"column {table.was}.{column.was} is gone with its values"
        yield Effect(breaks=True, undo="data", reason=reason)
    for column in table.columns.values():
        if column.was is None:
            yield _added(table, column)
        else:
            yield from _kept(schema, table, column, ask)


def _added(table: Table, column: Column) -> Effect:
    place = f"{table.name}.{column.name}"
    if column.not_null and not column.default:
        reason = f"{place} is required and has no default: the old code's inserts fail"
        return Effect(breaks=True, undo="automatic", reason=reason)
    return Effect(breaks=False, undo="automatic", reason=f"adds column {place}")


def _kept(schema: Schema, table: Table, column: Column, ask: Ask) -> Iterator[Effect]:
    place = f"{table.was}.{column.was}"
    if column.was != column.name:
        reason = f"column {place} is now {column.name}"
        yield Effect(breaks=True, undo="automatic", reason=reason)
    if (column.type and not _same_type(schema, column)) or column.rewritten:
        yield _retyped(column, place)
    if column.not_null is not column.not_null_was:
        yield _nullability(table, column, place, ask)
    if column.default_changed and (column.default or column.default_was is not False):
        yield _default(column, place)


def _same_type(schema: Schema, column: Column) -> bool:
    enum = schema.enums.get(column.type.removesuffix("[]"))
    renamed = enum is not None and enum.was == column.type_was.removesuffix("[]")
    return column.type == column.type_was or renamed


def _retyped(column: Column, place: str) -> Effect:
    result = retype(column.type_was, column.type, rewritten=column.rewritten)
    what = f"overwrites {place}: the old values are not kept"
    if result.why:
        what = f"{place}: {column.type_was or 'its type'} → {column.type}: {result.why}"
    return Effect(breaks=result.breaks, undo=result.undo, reason=what)


def _nullability(table: Table, column: Column, place: str, ask: Ask) -> Effect:
    if column.not_null:
        reason = f"{place} is now required: the old code's NULL writes fail"
        return Effect(breaks=True, undo="automatic", reason=reason)
    if ask(HasNulls(table=table.name, column=column.name)) is False:
        reason = f"{place} may now be NULL; no row has one"
        return Effect(breaks=False, undo="automatic", reason=reason)
    reason = f"{place} may now be NULL, which the old code cannot read"
    return Effect(breaks=True, undo="data", reason=reason)


def _default(column: Column, place: str) -> Effect:
    if column.default or column.not_null is False:
        return Effect(breaks=False, undo="catalog", reason=f"changes the default of {place}")
    reason = f"{place} has lost its default: old inserts that leave it out fail"
    return Effect(breaks=True, undo="catalog", reason=reason)


def _enums(schema: Schema, ask: Ask) -> Iterator[Effect]:
    gone = {enum.was: enum for enum in schema.dropped_enums}
    for enum in schema.enums.values():
        before = gone.pop(enum.name, None)
        if enum.was is None and before is not None:
            yield from _rebuilt(enum, before, ask)
        elif enum.was is None:
            yield Effect(breaks=False, undo="automatic", reason=f"adds type {enum.name}")
        else:
            yield from _changed(enum, ask)
    for name in gone:
        reason = f"type {name} is gone, which the old code may cast to"
        yield Effect(breaks=True, undo="catalog", reason=reason)


def _changed(enum: Enum, ask: Ask) -> Iterator[Effect]:
    if enum.was != enum.name:
        reason = f"type {enum.was} is now {enum.name}"
        yield Effect(breaks=True, undo="automatic", reason=reason)
    for old, new in enum.renamed:
        reason = f"value {old} of {enum.name} is now {new}"
        yield Effect(breaks=True, undo="automatic", reason=reason)
    renamed = {new for _, new in enum.renamed}
    for label in enum.labels:
        if label not in enum.labels_was and label not in renamed:
            yield _new_label(enum.name, label, ask)


def _rebuilt(enum: Enum, before: Enum, ask: Ask) -> Iterator[Effect]:
    if not before.known:
        reason = f"type {enum.name} was rebuilt; its values before are not known"
        yield Effect(breaks=True, undo="catalog", reason=reason)
        return
    for label in before.labels_was:
        if label not in enum.labels:
            reason = f"{enum.name} has lost the value {label}: old writes of it fail"
            yield Effect(breaks=True, undo="catalog", reason=reason)
    for label in enum.labels:
        if label not in before.labels_was:
            yield _new_label(enum.name, label, ask)


def _new_label(name: str, label: str, ask: Ask) -> Effect:
    used = ask(EnumValueUsed(type=name, value=label))
    if used is False:
        reason = f"adds value {label} to {name}; no row uses it"
        return Effect(breaks=False, undo="automatic", reason=reason)
    known = "rows use it" if used else "whether a row uses it is not known"
    reason = f"adds value {label} to {name}, which old reads throw on; {known}"
    return Effect(breaks=True, undo="data", reason=reason)


def _indexes(schema: Schema, ask: Ask) -> Iterator[Effect]:
    for index in schema.indexes.values():
        if index.was is None:
            yield from _new_index(schema, index, ask)
    for index in schema.dropped_indexes:
        yield _lost_index(schema, index)


def _new_index(schema: Schema, index: Unique, ask: Ask) -> Iterator[Effect]:
    table = schema.tables.get(index.table)
    if table is None or table.was is None:
        return
    what = "index" if index.kind == "index" else f"{index.kind} constraint"
    reason = f"adds {what} {index.name}"
    if index.kind == "index" and ask(IndexInvalid(index=index.name)):
        reason += ", which is INVALID: its CONCURRENTLY build failed"
    if index.unique or index.kind != "index":
        reason += f": writes to {index.table} that violate it are refused"
    yield Effect(breaks=False, undo="automatic", reason=reason)


def _lost_index(schema: Schema, index: Unique) -> Effect:
    if index.kind in ("foreign", "check", "exclude") or index.unique is False:
        what = "index" if index.kind == "index" else f"{index.kind} constraint"
        return Effect(breaks=False, undo="catalog", reason=f"drops {what} {index.name}")
    for other in schema.indexes.values():
        same = index.columns and other.columns == index.columns and other.table == index.table
        if other.unique and same:
            reason = f"{index.name} is replaced by {other.name} on the same columns"
            return Effect(breaks=False, undo="automatic", reason=reason)
    known = "is unique" if index.unique else "may be unique"
    reason = f"drops {index.name}, which {known}: old upserts need it"
    return Effect(breaks=True, undo="catalog", reason=reason)
