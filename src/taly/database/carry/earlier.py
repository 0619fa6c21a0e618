"""For an undo: which rows the way back had told apart, lest they be taken for users' work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from taly.database.carry.scratch import Scratch
from taly.database.carry.sql import run
from taly.database.carry.work import Name, Work, Works

Row = Mapping[str, str | None]
"""Column → its value as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What the way back did; the target is the database that it took from."""

    absent: Iterable[tuple[Name, Sequence[str]]] = ()
    """Tables and keys of the target that the source never had: nobody has deleted them."""
    otherwise: Iterable[tuple[Name, Row, Row]] = ()
    """For comparisons: table and key columns of the target, and the values with which the way back
    left that row in the source. Who reads so still was not written to since."""
    keyless: Iterable[tuple[Name, Row | None, Row | None]] = ()
    """Rows of tables without a key, as the target has them and as the way back left them in the
    source. None = it had no place for the row there; it kept it there though it was deleted."""


NOTHING_EARLIER = Earlier()


def note(target: psycopg.Connection, scratch: Scratch, works: Works, earlier: Earlier) -> None:
    """Write it where a pass looks it up."""
    for table, absent in earlier.absent:
        work = works.of_target(table)
        if work is not None and len(absent) == len(work.key):
            run(target, f"INSERT INTO {scratch.at('a', work)} VALUES (%s)", (list(absent),))
    for table, row, was in earlier.otherwise:
        work = works.of_target(table)
        if work is not None and work.key and row.keys() >= set(work.target_key):
            key = [row[name] for name in work.target_key]
            known = [name in was for name in _names(work)]
            _left(target, scratch, work, (key, [was.get(name) for name in _names(work)], known))
    for table, there, here in earlier.keyless:
        work = works.of_target(table)
        if work is not None and not work.key:
            told = [row for row in (there, here) if row is not None]
            if all(row.keys() >= set(_names(work)) for row in told):
                _left(target, scratch, work, (_texts(work, there), _texts(work, here), None))


def _names(work: Work) -> list[str]:
    return [one.pair.target for one in work.columns]


def _texts(work: Work, row: Row | None) -> list[str | None] | None:
    return None if row is None else [row[name] for name in _names(work)]


def _left(
    target: psycopg.Connection, scratch: Scratch, work: Work, values: Sequence[object]
) -> None:
    run(target, f"INSERT INTO {scratch.at('l', work)} VALUES (%s, %s, %s)", list(values))
    scratch.read_otherwise.add(work.n)
