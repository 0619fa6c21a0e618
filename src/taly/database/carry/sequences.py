"""Sequences go on where the live database's stand."""

import psycopg

from taly.database.carry.sql import lit, q, rows, run
from taly.database.carry.work import Name, Works

SEQUENCES = """
SELECT n.nspname, c.relname, tn.nspname, t.relname, a.attname, s.seqincrement
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE n.nspname !~ '^pg_' ORDER BY 1, 2
"""
Column = tuple[str, str, str]


def carry(source: psycopg.Connection, target: psycopg.Connection, works: Works) -> int:
    """Set those that both have, by the column that owns them or by name; returns how many.

    None goes back behind where it stood: a number that was given out is not given out again.
    """
    columns: dict[Column, Column] = {}
    for work in works.tables:
        if work.target is not None:
            for one in work.columns:
                columns[(*work.source, one.pair.source)] = (*work.target, one.pair.target)
    theirs = rows(target, SEQUENCES)
    by_column = {(s, t, c): (schema, name) for schema, name, s, t, c, _ in theirs if t}
    names = {(schema, name) for schema, name, *_ in theirs}
    pairs: list[tuple[Name, Name]] = []
    ups: dict[Name, bool] = {}
    for schema, name, owner_schema, owner, column, step in rows(source, SEQUENCES):
        place = by_column.get(columns.get((owner_schema, owner, column), ("", "", "")))
        if place is None and (schema, name) in names:
            place = (schema, name)
        if place is not None:
            pairs.append(((schema, name), place))
            ups[place] = step > 0
    return _set(source, target, pairs, ups)


def _set(
    source: psycopg.Connection,
    target: psycopg.Connection,
    pairs: list[tuple[Name, Name]],
    ups: dict[Name, bool],
) -> int:
    count = 0
    ours = _values(source, [ours for ours, _ in pairs])
    theirs = _values(target, [theirs for _, theirs in pairs])
    for (value, called), (there, there_called), (_, place) in zip(ours, theirs, pairs, strict=True):
        further = (
            (value, called) > (there, there_called)
            if ups[place]
            else ((-value, called) > (-there, there_called))
        )
        if further:
            run(target, f"SELECT setval({lit(q(*place))}::regclass, {value}, {called})")
            count += 1
    return count


def _values(connection: psycopg.Connection, names: list[Name]) -> list[tuple[int, bool]]:
    """All in one statement: there may be hundreds, and writers wait."""
    if not names:
        return []
    parts = [
        f"SELECT {n} AS n, last_value, is_called FROM {q(*name)}" for n, name in enumerate(names)
    ]
    found = rows(connection, " UNION ALL ".join(parts) + " ORDER BY n")
    return [(int(value), bool(called)) for _, value, called in found]
