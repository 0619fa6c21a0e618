"""Rows of a table without a key, matched by all of their values: each finds at most one equal."""

from taly.database.carry.judging import GONE, as_written, missing
from taly.database.carry.moving import Move
from taly.database.carry.rowsql import there_hash, there_text
from taly.database.carry.sql import array, lit, q, run
from taly.database.carry.work import Work


def match(move: Move, work: Work) -> None:
    """Rows that both sides have are unchanged; what is left in `c` are the target's others.

    For an undo `l` says how the way back told rows apart: those that it had no place for (only `k`,
    as the target has them) stay, those that it had kept though they were deleted (only `b`, as the
    source has them) stay away, and those that it had converted (both) stay as they were.
    """
    c, s, m = (move.scratch.at(kind, work) for kind in "csm")
    assert work.target is not None
    hashed = there_hash(move.works, work)
    run(move.target, f"DROP TABLE IF EXISTS {c}")
    run(
        move.target,
        f"CREATE UNLOGGED TABLE {c} AS SELECT t.tableoid AS part, t.ctid AS at, {hashed} AS h,"
        f" {there_text(work)} AS k, row_number() OVER (PARTITION BY {hashed}) AS nth"
        f" FROM {work.target_only}{q(*work.target)} t",
    )
    new = "m.verdict = 'new'"
    if work.required:  # a row that is there already lacks nothing
        new = f"(m.verdict = 'rejected' AND m.why = {lit(missing(work))})"
    run(
        move.target,
        "WITH live AS MATERIALIZED (SELECT s.i, s.h, row_number() OVER (PARTITION BY s.h) AS nth"
        f" FROM {s} s JOIN {m} m USING (i) WHERE {new}),"
        f" found AS MATERIALIZED (SELECT l.i, c.part, c.at FROM live l JOIN {c} c USING (h, nth)),"
        f" gone AS (DELETE FROM {c} c USING found f WHERE (c.part, c.at) = (f.part, f.at))"
        f" UPDATE {m} m SET verdict = 'unchanged', why = '' FROM found f WHERE m.i = f.i",
    )
    if move.scratch.read_otherwise & {work.n}:
        _spare(move, work)


def _spare(move: Move, work: Work) -> None:
    """Of those without an equal: keep what is as the way back found it, and as it left it."""
    c, s, m, d, left = (move.scratch.at(kind, work) for kind in "csmdl")
    written = array(as_written(work))
    run(
        move.target,
        "WITH live AS MATERIALIZED (SELECT s.i, row_number() OVER (PARTITION BY "
        f"{written}) AS nb, {written} AS b FROM {s} s JOIN {m} m USING (i)"
        " WHERE m.verdict IN ('new', 'rejected')),"
        f" there AS MATERIALIZED (SELECT c.part, c.at, c.h, c.k,"
        f" row_number() OVER (PARTITION BY c.k) AS nk FROM {c} c),"
        " noted AS MATERIALIZED (SELECT l.k, l.b, CASE WHEN l.k IS NOT NULL THEN"
        " row_number() OVER (PARTITION BY l.k ORDER BY l.b) END AS nk, CASE WHEN l.b IS NOT NULL"
        f" THEN row_number() OVER (PARTITION BY l.b ORDER BY l.k) END AS nb FROM {left} l),"
        " found AS MATERIALIZED (SELECT i, part, at, h, t.k FROM noted n"
        " LEFT JOIN live l ON (l.b, l.nb) = (n.b, n.nb)"
        " LEFT JOIN there t ON (t.k, t.nk) = (n.k, n.nk)"
        " WHERE (n.b IS NULL OR l.i IS NOT NULL) AND (n.k IS NULL OR t.at IS NOT NULL)),"
        f" kept AS (INSERT INTO {d} (kh, k, h, verdict, why)"
        " SELECT h, k, h, 'absent', '' FROM found WHERE at IS NOT NULL),"
        f" gone AS (DELETE FROM {c} c USING found f WHERE (c.part, c.at) = (f.part, f.at))"
        f" UPDATE {m} m SET verdict = 'rejected', why = {lit(GONE)} FROM found f WHERE m.i = f.i",
    )
