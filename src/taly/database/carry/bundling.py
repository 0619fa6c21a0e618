"""What has no place goes into the rescue bundle: after each pass what that one has touched."""

from collections.abc import Iterator
from typing import Any

import psycopg

from taly.database.carry.rowsql import there_is
from taly.database.carry.scratch import NO_PLACE, Scratch
from taly.database.carry.sql import array, q
from taly.database.carry.work import Work
from taly.database.rescue.bundle import Bundle, RescuedTable, TableFile
from taly.model.ports import Say

PARTS = "the column has no place, or its value reads differently, in the schema it goes back to"
PARTS_KEYLESS = f"{PARTS}; the table has no key, so nobody can tell to which row they belong"


def write(
    target: psycopg.Connection, scratch: Scratch, work: Work, bundle: Bundle, say: Say
) -> int:
    """Write one table's rows, anew if need be; returns how many. Memory: one row."""
    file = bundle.table(
        RescuedTable(
            schema=work.source[0],
            name=work.source[1],
            columns=tuple(fact.name for fact in work.live),
            types=tuple(fact.type for fact in work.live),
            key=work.source_key,
        )
    )
    if file.rows:
        file.restart()
    _rows(target, scratch, work, file, say)
    _parts(target, scratch, work, file, say)
    if work.target is not None:
        _kept(target, scratch, work, file)
    return file.rows


def _stream(target: psycopg.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Row by row, whatever their size."""
    with target.cursor() as cursor:
        yield from cursor.stream(query)


def _base(work: Work) -> tuple[str, str]:
    """The row as the target has it, and how it is found."""
    if work.target is None or not work.key:
        return "NULL::text[]", ""
    texts = array(f"t.{q(one.pair.target)}::text" for one in work.columns)
    first = q(work.target_key[0])
    join = f" LEFT JOIN {work.target_only}{q(*work.target)} t ON {there_is(work, 'r.k')}"
    return f"CASE WHEN t.{first} IS NOT NULL THEN {texts} END", join


def _named(work: Work, texts: list[str | None] | None) -> dict[str, str | None] | None:
    """As the live database calls the columns."""
    if texts is None:
        return None
    return {
        one.pair.source: text
        for one, text in zip(work.columns, texts, strict=True)
        if one.pair.source
    }


def _rows(
    target: psycopg.Connection, scratch: Scratch, work: Work, file: TableFile, say: Say
) -> None:
    f, r = scratch.at("f", work), scratch.at("r", work)
    base, join = _base(work)
    why, of_fate = "NULL", ""
    if work.target is not None:
        why = "f.why"
        of_fate = f" JOIN {f} f ON f.kh = r.kh AND f.k = r.k AND f.fate = 'rescued'"
    if not work.key and work.target is not None:
        # Equal rows have equal reasons: which of them is which does not matter.
        why = f"(SELECT f.why FROM {f} f WHERE f.kh = r.kh AND f.fate = 'rescued' LIMIT 1)"
        of_fate = ""
    query = f"SELECT r.live, {base}, {why} FROM {r} r{of_fate}{join}"
    for live, there, said in _stream(target, query):
        file.add("row", live, why=said or NO_PLACE, base=_named(work, there))
        say(f"{work.label}: {file.rows:,} rows to the rescue bundle")


def _parts(
    target: psycopg.Connection, scratch: Scratch, work: Work, file: TableFile, say: Say
) -> None:
    if not work.parts:
        return
    base, join = _base(work)
    names = [part.name for part in work.parts]
    converted = [part.name for part in work.parts if part.column >= 0]
    query = f"SELECT r.k, r.x, r.xd, {base} FROM {scratch.at('p', work)} r{join}"
    for key, values, flags, there in _stream(target, query):
        if not work.key:
            live, carried = values[: len(work.live)], values[len(work.live) :]
            file.add("columns", live, why=PARTS_KEYLESS, base=_named(work, carried or None))
            continue
        chosen = [i for i, flag in enumerate(flags) if flag]
        known = _named(work, there) or {}
        file.add(
            "columns",
            [*key, *(values[i] for i in chosen)],
            why=PARTS,
            base={name: known[name] for name in converted if name in known} or None,
            columns=[*work.source_key, *(names[i] for i in chosen)],
        )
        say(f"{work.label}: {file.rows:,} rows to the rescue bundle")


def _kept(target: psycopg.Connection, scratch: Scratch, work: Work, file: TableFile) -> None:
    f = scratch.at("f", work)
    if not work.key:
        named = [one.pair.source for one in work.columns if one.pair.source]
        for texts, why in _stream(target, f"SELECT k, why FROM {f} WHERE fate = 'kept'"):
            known = _named(work, texts) or {}
            file.add("deleted", [known[name] for name in named], why=why, columns=named)
        return
    base, join = _base(work)
    query = f"SELECT r.k, r.why, {base} FROM {f} r{join} WHERE r.fate = 'kept'"
    for key, why, texts in _stream(target, query):
        known = _named(work, texts) or {}
        for one in work.columns:
            if one.converted:
                known.pop(one.pair.source, None)
        file.add("deleted", key, why=why, columns=work.source_key, base=known)
