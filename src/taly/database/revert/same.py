"""A catalog that was read of an empty copy, told in the OIDs of the live database.

Two catalogs of one database tell renames from drops by OID and column number. Those of a copy say
nothing about the live database, but the copy's own two catalogs, before and after the migration,
say what became of each object: by its name after the migration it is found in the live database.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from taly.model.catalog import Catalog, Function, Table

KINDS = ("tables", "enums", "views", "functions", "sequences", "others")
PARTS = ("constraints", "indexes", "triggers")
ELSEWHERE = 10**10
"""Added to the OID of what the live database has not: it stays in order, and is nobody's."""


def in_place(before: Catalog, after: Catalog, live: Catalog, *, finished: bool) -> Catalog:
    """`before` with the OIDs and column numbers of `live`.

    `before` and `after` are of one other database. `finished`: whether the migration ran to its
    end in the live one; else what it had not come to is looked for under its old name.
    """
    changed: dict[str, Any] = {
        kind: _numbered(
            getattr(before, kind), getattr(after, kind), getattr(live, kind), _name, finished
        )
        for kind in KINDS
    }
    tables = {table.oid: table for table in live.tables}
    later = {table.oid: table for table in after.tables}
    changed["tables"] = tuple(
        _parts(table, later.get(old.oid), tables.get(table.oid), finished)
        for old, table in zip(before.tables, changed["tables"], strict=True)
    )
    return replace(before, **changed, instant=live.instant)


def _parts(table: Table, after: Table | None, live: Table | None, finished: bool) -> Table:
    if live is None:
        return table
    later = after if after is not None else replace(live, columns=(), constraints=(), indexes=())

    def name(one: Any) -> str:
        return str(one.name)

    parts: dict[str, Any] = {
        part: _numbered(
            getattr(table, part), getattr(later, part), getattr(live, part), name, finished
        )
        for part in PARTS
    }
    numbers = _found(
        {one.attnum: name(one) for one in table.columns},
        {one.attnum: name(one) for one in later.columns},
        {name(one): one.attnum for one in live.columns},
        finished,
    )
    columns = tuple(
        replace(one, attnum=numbers.get(one.attnum, ELSEWHERE + one.attnum))
        for one in table.columns
    )
    return replace(table, **parts, columns=columns)


def _numbered(
    before: Sequence[Any],
    after: Sequence[Any],
    live: Sequence[Any],
    name: Callable[[Any], str],
    finished: bool,
) -> tuple[Any, ...]:
    found = _found(
        {one.oid: name(one) for one in before},
        {one.oid: name(one) for one in after},
        {name(one): one.oid for one in live},
        finished,
    )
    return tuple(replace(one, oid=found.get(one.oid, ELSEWHERE + one.oid)) for one in before)


def _found(
    before: Mapping[int, str], after: Mapping[int, str], live: Mapping[str, int], finished: bool
) -> dict[int, int]:
    """Number there → number here."""
    found: dict[int, int] = {}
    names = set(after.values())
    for number, name in before.items():
        now = after.get(number)
        if now is not None and now in live:
            found[number] = live[now]
        elif name in live and not (finished and now is None and name in names):
            found[number] = live[name]
    return found


def _name(one: Any) -> str:
    arguments = f"({one.arguments})" if isinstance(one, Function) else ""
    return f"{getattr(one, 'schema', '')}.{one.name}{arguments}.{getattr(one, 'kind', '')}"
