"""What becomes of each staged row, told in SQL where it is staged."""

import psycopg

from taly.database.carry.rowsql import there_is, there_key
from taly.database.carry.scratch import Scratch
from taly.database.carry.sql import array, lit, number, q, run
from taly.database.carry.work import Column, Work

WINDOW = "changed during the migration window, by the migration or by a user"
GONE = "it was deleted before the rollback, which kept it; nobody has written to it since"
MASS_ROWS = 1_000
MASS_SHARE = 0.1
"""More deletes than both are no users' work that is carried over unseen."""
MASS = "more than a tenth of the table was deleted: the rows are kept"


def judge(
    target: psycopg.Connection, scratch: Scratch, work: Work, *, leaves: bool = False
) -> None:
    """Fill the verdicts: new, changed, unchanged, left, window or rejected.

    `leaves`: what was written in the window is nobody's, so it is left and not rescued; and a row
    that was there before and that the target has not was deleted in it, and stays so.
    """
    # Only the columns by which rows are found: of arrays and long texts it takes long.
    run(target, f"ANALYZE {scratch.at('s', work)} (i, kh)")
    _refuse(target, scratch, work)
    scratch.each(target, "convert", work)
    found_by = ", ".join(["i", *(f"c{i}" for i in work.key)])
    run(target, f"ANALYZE {scratch.at('v', work)} ({found_by})")
    if work.key:
        _compare(target, scratch, work, leaves=leaves)
    else:
        s, m = scratch.at("s", work), scratch.at("m", work)
        verdict = "'rejected'" if work.required else "'new'"
        run(
            target,
            f"INSERT INTO {m} SELECT i, {verdict}, {lit(missing(work))}, false FROM {s} s"
            f" WHERE NOT EXISTS (SELECT FROM {m} m WHERE m.i = s.i)",
        )
    run(target, f"ANALYZE {scratch.at('m', work)} (i, verdict)")


def _refuse(target: psycopg.Connection, scratch: Scratch, work: Work) -> None:
    """Reject what can be told from the text alone, all at once."""
    cases = ["WHEN s.misfit IS NOT NULL THEN s.misfit"]
    for i, column in enumerate(work.columns):
        name = column.pair.target
        if column.pair.labels:
            known = array(lit(label) for label in column.pair.labels)
            cases.append(
                f"WHEN s.c{i} <> ALL ({known}) THEN"
                f" {lit(f'column {name}: no value of its enum: ')} || s.c{i}"
            )
        if column.here.not_null:
            cases.append(f"WHEN s.c{i} IS NULL THEN {lit(f'column {name} must not be empty')}")
    s, m = scratch.at("s", work), scratch.at("m", work)
    run(
        target,
        f"INSERT INTO {m} SELECT i, 'rejected', why, false FROM"
        f" (SELECT i, CASE {' '.join(cases)} END AS why FROM {s} s) r WHERE why IS NOT NULL",
    )


def _compare(target: psycopg.Connection, scratch: Scratch, work: Work, *, leaves: bool) -> None:
    assert work.target is not None
    s, v, m = (scratch.at(kind, work) for kind in "svm")
    plain = [(i, one) for i, one in enumerate(work.columns) if not one.converted]
    new = "'rejected'" if work.required else "'new'"
    join, untouched, gone = "", "", "s.late" if leaves else "false"
    if work.n in scratch.read_otherwise:
        join = f" LEFT JOIN {scratch.at('l', work)} l ON l.k = s.k"
        untouched = f" WHEN {_untouched(work)} THEN 'left'"
        gone = f"{gone} OR ({_untouched(work)})"
    first = f"t.{q(work.target_key[0])}"
    run(
        target,
        f"INSERT INTO {m} SELECT i, CASE verdict WHEN 'gone' THEN 'rejected' ELSE verdict END,"
        f" CASE verdict WHEN 'rejected' THEN {lit(missing(work))} WHEN 'gone' THEN {lit(GONE)}"
        f" WHEN 'window' THEN {lit(WINDOW)} ELSE '' END, false"
        f" FROM (SELECT v.i, CASE WHEN {first} IS NULL AND ({gone}) THEN 'gone'"
        f" WHEN {first} IS NULL THEN {new}"
        f" WHEN {same(list(enumerate(work.columns)))} THEN 'unchanged'"
        f"{untouched} WHEN s.late AND ({'true' if leaves else same(plain)}) THEN 'left'"
        f" WHEN s.late THEN 'window' ELSE 'changed' END AS verdict"
        f" FROM {v} v JOIN {s} s USING (i)"
        f" LEFT JOIN {work.target_only}{q(*work.target)} t ON {matches(work)}{join}) j",
    )


def _untouched(work: Work) -> str:
    """Condition: the row reads as the rollback left it, so the target's own version stays.

    Of a column of which that is not known, both sides must read the same.
    """
    conditions = ["l.k IS NOT NULL"]
    for i, (column, text) in enumerate(zip(work.columns, as_written(work), strict=True)):
        conditions.append(
            f"CASE WHEN l.known[{i + 1}] THEN {text} IS NOT DISTINCT FROM l.b[{i + 1}]"
            f" ELSE t.{q(work.target_key[0])} IS NULL OR {same([(i, column)])} END"
        )
    return " AND ".join(conditions)


def as_written(work: Work) -> list[str]:
    """The values of a staged row `s` as the source has them, not as they read in the target."""
    raw = {part.column: f"s.x[{j}]" for j, part in enumerate(work.parts, 1) if part.column >= 0}
    return [raw.get(i, f"s.c{i}") for i in range(len(work.columns))]


def same(columns: list[tuple[int, Column]]) -> str:
    """Condition: the target's row `t` reads as the typed row `v`, bit by bit."""
    if not columns:
        return "true"
    theirs = ", ".join(f"t.{q(one.pair.target)}" for _, one in columns)
    ours = ", ".join(f"v.c{i}" for i, _ in columns)
    return f"record_image_eq(ROW({theirs}), ROW({ours}))"


def matches(work: Work) -> str:
    """Condition: the target's row `t` has the key of the typed row `v`."""
    return " AND ".join(
        f"t.{q(name)} = v.c{i}" for i, name in zip(work.key, work.target_key, strict=True)
    )


def missing(work: Work) -> str:
    return (
        f"columns without a value or default: {', '.join(work.required)}" if work.required else ""
    )


def find_deletes(
    target: psycopg.Connection, scratch: Scratch, work: Work, deleted_before: int
) -> None:
    """Put the keys that only the target has any more among those to delete, or to keep."""
    assert work.target is not None
    d, w, s, v = (scratch.at(kind, work) for kind in "dwsv")
    table = f"{work.target_only}{q(*work.target)}"
    run(target, f"ANALYZE {w} (kh)")
    spared = f"SELECT FROM {scratch.at('a', work)} a WHERE a.k = d.k"
    run(
        target,
        f"INSERT INTO {d} (kh, k, verdict, why)"
        f" SELECT DISTINCT w.kh, {there_key(work)}, 'delete', ''"
        f" FROM {w} w JOIN {table} t ON {there_is(work, 'w.k')}"
        f" WHERE NOT EXISTS (SELECT FROM {s} s WHERE s.kh = w.kh AND s.k = w.k)"
        # 1.0 and 1.00 are one key, and two texts.
        f" AND NOT EXISTS (SELECT FROM {v} v WHERE {matches(work)})",
    )
    run(target, f"UPDATE {d} d SET verdict = 'absent' WHERE EXISTS ({spared})")
    found = number(target, f"SELECT count(*) FROM {d} WHERE verdict = 'delete'")
    total = found + deleted_before
    if found and total > MASS_ROWS:
        whole = number(target, f"SELECT count(*) FROM {table} t") + deleted_before
        if total > whole * MASS_SHARE:
            run(
                target,
                f"UPDATE {d} SET verdict = 'keep', why = {lit(MASS)} WHERE verdict = 'delete'",
            )
