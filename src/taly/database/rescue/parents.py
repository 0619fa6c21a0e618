"""Rows that refer to rows which are not there yet: they wait, and cycles go in all at once."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from taly.database.rescue.deciding import Value
from taly.database.rescue.present import Present, Reference
from taly.database.rescue.work import Noted, Todo, Work, all_of, attempt
from taly.database.rescue.writing import (
    PARAMETERS,
    Candidate,
    grouped,
    insert,
    insertion,
    joined,
    without_parent,
)

Waiting = list[tuple[Work, Candidate]]
Key = tuple[Value, ...]


def ready(
    connection: psycopg.Connection, table: Present, rows: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """Rows whose parents are there or among them, and the others."""
    good = list(rows)
    for reference in table.references:
        orphans = {row.number for row in without_parent(connection, reference, good)}
        own = reference.parent == table.oid
        while orphans:
            there = {_named(row, reference.to) for row in good} if own else set[Key]()
            kept = [
                row
                for row in good
                if row.number not in orphans or _named(row, reference.columns) in there
            ]
            if len(kept) == len(good):
                break
            good = kept
    numbers = {row.number for row in good}
    return _parents_first(table, good), [row for row in rows if row.number not in numbers]


def _parents_first(table: Present, rows: list[Candidate]) -> list[Candidate]:
    """Rows of one table in an order in which none refers to a later one; cycles come last."""
    own = [one for one in table.references if one.parent == table.oid]
    if not own:
        return rows
    by_key = {(one.to, _named(row, one.to)): row for one in own for row in rows}
    children: dict[int, list[Candidate]] = defaultdict(list)
    needs: dict[int, int] = {}
    for row in rows:
        found = {
            parent.number
            for one in own
            if (parent := by_key.get((one.to, _named(row, one.columns)))) and parent is not row
        }
        needs[row.number] = len(found)
        for number in found:
            children[number].append(row)
    ordered = [row for row in rows if not needs[row.number]]
    for row in ordered:  # it grows while we go
        for child in children[row.number]:
            needs[child.number] -= 1
            if not needs[child.number]:
                ordered.append(child)
    return [*ordered, *(row for row in rows if needs[row.number])]


def bring_in(connection: psycopg.Connection, waiting: Waiting) -> None:
    """Insert rows as their parents come in; then cycles, in one statement; the rest is left."""
    while waiting:
        still: Waiting = []
        for work, rows in _by_work(waiting).items():
            still += [(work, row) for row in _insert_ready(connection, work, rows)]
        if len(still) == len(waiting):
            break
        waiting = still
    lacks = _lacks(connection, waiting)
    cycles = _cycles(waiting, lacks)
    done = set[int]()
    if cycles and _insert_at_once(connection, cycles):
        done = {id(row) for _, row in cycles}
    for work, row in waiting:
        if id(row) not in done:
            names = ", ".join(sorted({one.parent_label for one in lacks[id(row)]}))
            why = f"it refers to a row that is not there, of {names}"
            work.leave(row.number, row.whole, why)


def _by_work(waiting: Waiting) -> dict[Work, list[Candidate]]:
    found: dict[Work, list[Candidate]] = defaultdict(list)
    for work, row in waiting:
        found[work].append(row)
    return found


def _named(row: Candidate, columns: Sequence[str]) -> Key:
    return tuple(row.values.get(name) for name in columns)


def _insert_ready(
    connection: psycopg.Connection, work: Work, rows: Sequence[Candidate]
) -> list[Candidate]:
    good, still = ready(connection, work.table, rows)
    by_number = {row.number: row for row in good}

    def action(todo: Todo) -> Noted:
        some = [by_number[number] for number, _ in todo]
        insert(connection, work.table, some)
        return all_of([partial(work.came_in, row) for row in some])

    if good:
        attempt(connection, [(row.number, row.whole) for row in good], action, work.leave)
    return still


def _lacks(connection: psycopg.Connection, waiting: Waiting) -> dict[int, list[Reference]]:
    """Of each row (by identity), the references whose rows are not in the database."""
    found: dict[int, list[Reference]] = defaultdict(list)
    for work, rows in _by_work(waiting).items():
        for reference in work.table.references:
            for row in without_parent(connection, reference, rows):
                found[id(row)].append(reference)
    return found


def _cycles(waiting: Waiting, lacks: dict[int, list[Reference]]) -> Waiting:
    """Those that lack only each other."""
    while True:
        there = {
            (one.name, one.child, _named(row, one.to))
            for work, row in waiting
            for one in work.table.referring
        }
        kept = [
            (work, row)
            for work, row in waiting
            if all(
                (one.name, one.child, _named(row, one.columns)) in there for one in lacks[id(row)]
            )
        ]
        if len(kept) == len(waiting):
            return kept
        waiting = kept


def _insert_at_once(connection: psycopg.Connection, rows: Waiting) -> bool:
    """One statement for several tables: foreign keys are checked at its end."""
    parts: list[Composed] = []
    parameters: list[Value] = []
    for work, some in _by_work(rows).items():
        for columns, alike in grouped(some).items():
            query, values = insertion(work.table, columns, alike)
            parts.append(SQL("{} AS ({})").format(Identifier(f"i{len(parts)}"), query))
            parameters += values
    if len(parameters) > PARAMETERS:
        return False
    try:
        with connection.transaction():
            connection.execute(SQL("WITH {} SELECT").format(joined(parts)), parameters)
    except (psycopg.DataError, psycopg.IntegrityError):
        return False
    for work, row in rows:
        work.came_in(row)
    return True
