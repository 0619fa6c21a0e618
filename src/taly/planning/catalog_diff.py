"""In what two catalogs differ, as sentences: by meaning, not by dump.

The order of columns and every OID are left aside: a table that was dropped and made again as it was
is equal. OIDs only tell a rename from a drop and an addition, and only where both catalogs are of
the same database.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from taly.model.catalog import Catalog, Column, Index, Table, Trigger, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it was."""

    kind: Literal["missing", "added", "renamed", "changed"]
    """`missing`: in the catalog before and not in the one after."""
    what: str
    """The object, e.g. `column public.User.name`."""
    text: str
    """One readable line."""


def differences(before: Catalog, after: Catalog) -> tuple[Difference, ...]:
    """What is not in `after` as it was in `before`; empty when they are equal."""
    same = _same_database(before, after)
    return tuple(
        difference
        for kind, left, right, values in _kinds(before, after)
        for difference in _compared(kind, left, right, values, same)
    )


def _same_database(before: Catalog, after: Catalog) -> bool:
    one, other = before.instant, after.instant
    if one is None or other is None:
        return False
    return (one.system_identifier, one.database_oid) == (
        other.system_identifier,
        other.database_oid,
    )


Values = Callable[[Any], Mapping[str, str]]
"""Of an object: what is compared, by the word for it."""
Kind = tuple[str, Mapping[str, Any], Mapping[str, Any], Values]


def _kinds(before: Catalog, after: Catalog) -> Iterator[Kind]:
    def plain(kind: str, field: str, name: Callable[[Any], str], values: Values) -> Kind:
        return (
            kind,
            {name(one): one for one in getattr(before, field)},
            {name(one): one for one in getattr(after, field)},
            values,
        )

    yield plain("schema", "schemas", str, lambda one: {})
    yield plain("extension", "extensions", lambda one: one.name, _values("schema", "version"))
    yield plain("type", "enums", _named, lambda one: {"values": ", ".join(one.labels)})
    yield plain("sequence", "sequences", _named, _values("definition", "owner"))
    yield plain("function", "functions", _signature, _values("definition"))
    yield plain("table", "tables", _named, _table)
    yield from _within_tables(before.tables, after.tables, _same_database(before, after))
    yield plain("view", "views", _named, _view)
    yield plain("", "others", lambda one: f"{one.kind} {one.name}", _values("definition"))


def _within_tables(before: Sequence[Table], after: Sequence[Table], same: bool) -> Iterator[Kind]:
    """Parts of the tables that are on both sides; a table alone on one is told as a whole."""
    for left, right in _pairs(before, after, same):
        for kind, field, values in PARTS:
            yield (
                kind,
                {f"{_named(right)}.{part.name}": part for part in getattr(left, field)},
                {f"{_named(right)}.{part.name}": part for part in getattr(right, field)},
                values,
            )


def _pairs(
    before: Sequence[Table], after: Sequence[Table], same: bool
) -> Iterator[tuple[Table, Table]]:
    names = {_named(table): table for table in after}
    oids = {table.oid: table for table in after} if same else {}
    taken = {_named(table) for table in before}
    for table in before:
        found = names.get(_named(table))
        if found is None:
            found = oids.get(table.oid)
            found = None if found is None or _named(found) in taken else found
        if found is not None:
            yield table, found


def _compared(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any], values: Values, same: bool
) -> Iterator[Difference]:
    fresh = {_identity(after[name]): name for name in after if name not in before} if same else {}
    fresh.pop(None, None)
    told: set[str] = set()
    for name, one in before.items():
        what = f"{kind} {name}".strip()
        new_name = fresh.get(_identity(one)) if name not in after else name
        if new_name is None:
            yield Difference(kind="missing", what=what, text=f"{what} is missing")
            continue
        if new_name != name:
            told.add(new_name)
            text = f"{what} is now called {new_name}"
            yield Difference(kind="renamed", what=what, text=text)
        yield from _changed(what, values(one), values(after[new_name]))
    for name in after:
        if name not in before and name not in told:
            what = f"{kind} {name}".strip()
            yield Difference(kind="added", what=what, text=f"{what} was not there before")


def _identity(one: Any) -> int | None:
    """What a rename does not change: the OID, or a column's number within its table."""
    if isinstance(one, Column):
        return one.attnum
    return getattr(one, "oid", None)


def _changed(
    what: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[Difference]:
    for word, old in before.items():
        new = after[word]
        if old != new:
            text = f"{what}: {word} was {_short(old)}, is {_short(new)}"
            yield Difference(kind="changed", what=what, text=text)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return (line if len(line) <= 160 else f"{line[:159]}…") or "none"


def _named(one: Any) -> str:
    return f"{one.schema}.{one.name}"


def _signature(one: Any) -> str:
    return f"{_named(one)}({one.arguments})"


def _values(*fields: str) -> Values:
    return lambda one: {field: _text(getattr(one, field)) for field in fields}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _table(table: Table) -> dict[str, str]:
    return {
        "kind": table.kind,
        "parents": ", ".join(table.parents),
        "partitions": table.bound,
        "row security": table.row_security,
        "owner": table.owner,
        "grants": ", ".join(sorted(table.grants.strip("{}").split(","))),
        "comment": table.comment,
    }


def _column(column: Column) -> dict[str, str]:
    return {
        "type": column.type,
        "required": _text(column.not_null),
        "default": column.default,
        "identity": column.identity,
        "generated": column.generated,
        "collation": column.collation,
        "comment": column.comment,
    }


def _index(index: Index) -> dict[str, str]:
    return {"definition": index.definition, "valid": _text(index.valid)}


def _trigger(trigger: Trigger) -> dict[str, str]:
    return {"definition": trigger.definition, "enabled": trigger.enabled}


def _view(view: View) -> dict[str, str]:
    return {
        "query": " ".join(view.definition.split()),
        "materialized": _text(view.materialized),
        "options": view.options,
        "indexes": "; ".join(sorted(index.definition for index in view.indexes)),
    }


PARTS: tuple[tuple[str, str, Values], ...] = (
    ("column", "columns", _column),
    ("constraint", "constraints", _values("definition")),
    ("index", "indexes", _index),
    ("trigger", "triggers", _trigger),
)
