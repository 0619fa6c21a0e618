"""What became of every row that was touched, and the proof of it row by row."""

from dataclasses import dataclass

from taly.database.carry.judging import matches, same
from taly.database.carry.model import ProofFailed
from taly.database.carry.moving import Move
from taly.database.carry.rowsql import there_hash, there_is
from taly.database.carry.sql import array, number, q, rows, run
from taly.database.carry.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a pass did to one table."""

    changes: int
    carried: int
    rescued: int
    unchanged: int
    deleted: int


def tally(move: Move, work: Work) -> Tally:
    """Count the verdicts."""
    m, d = move.scratch.at("m", work), move.scratch.at("d", work)
    found = dict(rows(move.target, f"SELECT verdict, count(*) FROM {m} GROUP BY 1"))
    gone = number(move.target, f"SELECT count(*) FROM {d} WHERE verdict = 'delete'")
    return Tally(
        changes=sum(found.values()) + gone,
        carried=found.get("new", 0) + found.get("changed", 0),
        rescued=found.get("rejected", 0) + found.get("window", 0),
        unchanged=found.get("unchanged", 0) + found.get("left", 0),
        deleted=gone,
    )


def record(move: Move, work: Work) -> None:
    """Replace what was known of the touched keys."""
    _forget(move, work)
    s, m, d, f = (move.scratch.at(kind, work) for kind in "smdf")
    run(
        move.target,
        f"INSERT INTO {f} SELECT s.kh, s.k, s.h, CASE WHEN m.verdict IN ('new', 'changed') THEN"
        " 'carried' WHEN m.verdict = 'left' THEN 'left' ELSE 'rescued' END, m.why, m.again, false"
        f" FROM {s} s JOIN {m} m USING (i) WHERE m.verdict <> 'unchanged'",
    )
    run(
        move.target,
        f"INSERT INTO {f} SELECT kh, k, h, CASE verdict WHEN 'keep' THEN 'kept'"
        " WHEN 'delete' THEN 'deleted' ELSE verdict END, why, false, false"
        f" FROM {d} WHERE verdict <> 'mass'",
    )
    run(move.target, f"ANALYZE {f} (kh, fate)")
    _rescue(move, work)
    _keep_parts(move, work)


def _forget(move: Move, work: Work) -> None:
    s, m, w, f, r, p = (move.scratch.at(kind, work) for kind in "smwfrp")
    if not work.key:
        run(move.target, f"TRUNCATE {f}, {r}, {p}")
        return
    touched = f"SELECT kh, k FROM {s} UNION SELECT kh, k FROM {w}"
    for table in (r, p):
        run(
            move.target,
            f"DELETE FROM {table} x USING ({touched}) t WHERE x.kh = t.kh AND x.k = t.k",
        )
    # A row that was carried over and reads the same still is one that was carried over.
    again = f"SELECT s.kh, s.k FROM {s} s JOIN {m} m USING (i) WHERE m.verdict = 'unchanged'"
    run(
        move.target,
        f"DELETE FROM {f} x USING ({touched}) t WHERE x.kh = t.kh AND x.k = t.k"
        f" AND NOT (x.fate = 'carried'"
        f" AND EXISTS (SELECT FROM ({again}) a WHERE a.kh = x.kh AND a.k = x.k))",
    )


def _rescue(move: Move, work: Work) -> None:
    """Bring the whole live rows that have no place to our side."""
    s, m, f, r = (move.scratch.at(kind, work) for kind in "smfr")
    without = f"{s} s JOIN {m} m USING (i) WHERE m.verdict IN ('rejected', 'window')"
    if not work.key:
        run(move.target, f"INSERT INTO {r} SELECT s.kh, NULL, s.h, s.live FROM {without}")
        return
    wanted = number(move.target, f"SELECT count(*) FROM {without}")
    if not wanted:
        return
    fetched = move.fetch_live(work, f"SELECT s.kh, s.k FROM {without}")
    if fetched != wanted:
        raise ProofFailed(work.label, f"{wanted} rows were to be rescued, and {fetched} were")
    run(
        move.target,
        f"UPDATE {f} f SET there = {move.scratch.there(work, 'f.k')} WHERE fate = 'rescued'"
        f" AND EXISTS (SELECT FROM {s} s WHERE s.kh = f.kh AND s.k = f.k)",
    )


def _keep_parts(move: Move, work: Work) -> None:
    """Keep single values without a place, of rows that have one."""
    if not work.parts:
        return
    s, v, m, p = (move.scratch.at(kind, work) for kind in "svmp")
    leaves = move.since is not None and move.since.leaves
    flags = array(
        (
            (f"s.xd[{j}] AND NOT s.late" if leaves else f"s.xd[{j}]")
            if part.column < 0
            else f"NOT s.late AND (s.xd[{j}] OR s.x[{j}] IS DISTINCT FROM v.c{part.column}::text)"
            for j, part in enumerate(work.parts, 1)
        ),
        "boolean",
    )
    # Without a key only the whole row tells where the value belongs.
    values = "s.x" if work.key else f"s.live || {array(_there(work))}"
    run(
        move.target,
        f"INSERT INTO {p} SELECT kh, k, x, xd FROM (SELECT s.kh, s.k, {values} AS x,"
        f" {flags} AS xd FROM {s} s JOIN {m} m USING (i) LEFT JOIN {v} v USING (i)"
        " WHERE m.verdict IN ('new', 'changed', 'unchanged', 'left')) a WHERE true = ANY (xd)",
    )


def _there(work: Work) -> list[str]:
    """How the row reads in the target, where some of its values are converted."""
    converted = any(one.converted for one in work.columns)
    return [f"v.c{i}::text" for i in range(len(work.columns))] if converted else []


def prove(move: Move, work: Work) -> None:
    """Every touched row is where its verdict says; raises ProofFailed."""
    assert work.target is not None
    s, v, m, d = (move.scratch.at(kind, work) for kind in "svmd")
    t = f"{work.target_only}{q(*work.target)} t"
    every = same(list(enumerate(work.columns)))
    # End to end: the hash that the source computed is the one that the target computes.
    hashed = "false" if any(one.converted for one in work.columns) else _other_hash(move, work)
    ((wrong, other),) = rows(
        move.target,
        f"SELECT count(*) FILTER (WHERE ({every}) IS NOT TRUE), count(*) FILTER (WHERE {hashed})"
        f" FROM {m} m JOIN {s} s USING (i) JOIN {v} v USING (i) LEFT JOIN {t} ON {matches(work)}"
        f" WHERE m.verdict IN ('new', 'changed', 'unchanged')",
    )
    if wrong:
        raise ProofFailed(work.label, f"{wrong} rows do not read as the live ones")
    if other:
        raise ProofFailed(work.label, f"the checksums of {other} rows are not those of live")
    left = number(
        move.target,
        f"SELECT count(*) FROM {d} d JOIN {t} ON {there_is(work, 'd.k')}"
        " WHERE d.verdict = 'delete'",
    )
    if left:
        raise ProofFailed(work.label, f"{left} rows that live has deleted are still there")
    judged = number(move.target, f"SELECT count(*) FROM {m}")
    staged = number(move.target, f"SELECT count(*) FROM {s}")
    if judged != staged:
        raise ProofFailed(work.label, f"{staged} rows were read, and {judged} have a verdict")


def _other_hash(move: Move, work: Work) -> str:
    return f"s.h IS DISTINCT FROM {there_hash(move.works, work)}"
