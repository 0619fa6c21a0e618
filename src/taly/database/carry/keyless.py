"""Tables without a key: compared as multisets.

Rows that read the same on both sides stay, with whatever else the target knows of them.
"""

from typing import NoReturn

import psycopg

from taly.database.carry import rowsql
from taly.database.carry.judging import MASS, MASS_ROWS, MASS_SHARE, WINDOW, judge
from taly.database.carry.matched import match
from taly.database.carry.model import ProofFailed
from taly.database.carry.moving import Move
from taly.database.carry.sql import lit, number, q, rows, run
from taly.database.carry.work import Work
from taly.database.checkpoint.contents import summed

Sum = tuple[int, int]
"""Rows and their checksum."""
STAYS = "fate IN ('kept', 'absent')"


def live(move: Move, work: Work) -> Sum:
    """Of the live table."""
    return _sum(move.source, rowsql.live_hash(move.works, work), _place(work, live=True))


def theirs(move: Move, work: Work) -> Sum:
    """Of the target without what is only kept there, and of what is rescued."""
    f, r = move.scratch.at("f", work), move.scratch.at("r", work)
    n, h = 0, 0
    if work.target is not None:
        n, h = _sum(move.target, rowsql.there_hash(move.works, work), _place(work))
    kept = _sum(move.target, "h", f"{f} WHERE {STAYS}")
    rescued = _sum(move.target, "h", r)
    return n - kept[0] + rescued[0], h - kept[1] + rescued[1]


def _sum(connection: psycopg.Connection, value: str, place: str) -> Sum:
    each = f"SELECT {value} AS h FROM {place} OFFSET 0"
    row = rows(connection, f"SELECT count(*), coalesce(sum({summed('mixed')}), 0) FROM ({each}) r")[
        0
    ]
    return int(row[0]), int(row[1])


def _place(work: Work, *, live: bool = False) -> str:
    if live:
        return f"{work.source_only}{q(*work.source)} s"
    assert work.target is not None
    return f"{work.target_only}{q(*work.target)} t"


def stage(move: Move, work: Work) -> bool:
    """Stage the whole table and judge its rows; False when the target keeps its own."""
    count = move.stage_all(work)
    there = number(move.target, f"SELECT count(*) FROM {_place(work)}")
    undoing = move.since is not None and move.since.leaves
    if count == there and not undoing and _is_migrations_own(move, work):
        _leave(move, work)
        return False
    judge(move.target, move.scratch, work)
    match(move, work)
    if there - count > MASS_ROWS and there - count > there * MASS_SHARE:
        run(
            move.target,
            f"INSERT INTO {move.scratch.at('d', work)} (kh, verdict, why)"
            f" VALUES (0, 'mass', {lit(MASS)})",
        )
    return True


def _is_migrations_own(move: Move, work: Work) -> bool:
    """Whether nothing was written after the migration, as far as can be told without a key."""
    if move.since is None or move.since.window_end is None:
        return False
    after = f"{rowsql.since(move.since.window_end)} OR {rowsql.before_window(move.since)}"
    return not rows(move.source, f"SELECT FROM {_place(work, live=True)} WHERE {after} LIMIT 1")


def _leave(move: Move, work: Work) -> None:
    """The target keeps its rows; those of the live table that it lacks are rescued."""
    s, m, d = (move.scratch.at(kind, work) for kind in "smd")
    run(move.target, f"ANALYZE {s}")
    whole = rowsql.there_hash(move.works, work)
    own = f"SELECT {whole} AS h, {rowsql.there_text(work)} AS k FROM {_place(work)}"
    run(
        move.target,
        f"INSERT INTO {m} SELECT i, CASE WHEN nth <= n THEN 'unchanged' ELSE 'window' END,"
        f" {lit(WINDOW)}, false FROM (SELECT s.i, row_number() OVER (PARTITION BY s.h) AS nth,"
        f" coalesce(o.n, 0) AS n FROM {s} s LEFT JOIN"
        f" (SELECT h, count(*) AS n FROM ({own}) t GROUP BY h) o ON o.h = s.h) r",
    )
    run(
        move.target,
        f"INSERT INTO {d} (kh, k, h, verdict, why) SELECT t.h, t.k, t.h, 'keep', {lit(WINDOW)}"
        f" FROM (SELECT h, k, row_number() OVER (PARTITION BY h) AS nth FROM ({own}) t) t"
        f" LEFT JOIN (SELECT h, count(*) AS n FROM {s} GROUP BY h) l ON l.h = t.h"
        " WHERE t.nth > coalesce(l.n, 0)",
    )


def refuse(work: Work) -> NoReturn:
    """The sums do not fit."""
    raise ProofFailed(work.label, "its rows and checksum are not those of the live table")
