"""Foreign keys hold afterwards: orphans are rejected, parents of rows that stay are not deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from taly.database.carry.judging import matches
from taly.database.carry.sql import lit, q, rows, run
from taly.database.carry.work import Name, Work, Works

if TYPE_CHECKING:
    from taly.database.carry.applying import Applying

REFERENCES = """
SELECT k.conname, cn.nspname, c.relname, pn.nspname, p.relname,
  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
  ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o)
FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY k.oid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key of the target."""

    name: str
    child: Name
    parent: Name
    child_work: Work | None
    parent_work: Work | None
    columns: tuple[str, ...]
    to: tuple[str, ...]

    def filled(self, row: str) -> str:
        """Condition: the row refers to something."""
        return " AND ".join(f"{row}.{q(name)} IS NOT NULL" for name in self.columns)

    def met(self, child: str, parent: str) -> str:
        """Condition: the child's row refers to the parent's."""
        return " AND ".join(
            f"{parent}.{q(to)} = {child}.{q(name)}"
            for name, to in zip(self.columns, self.to, strict=True)
        )

    def orphan(self, child: str) -> str:
        """Condition: what the row refers to is not there."""
        return (
            f"{self.filled(child)} AND NOT EXISTS"
            f" (SELECT FROM {q(*self.parent)} p WHERE {self.met(child, 'p')})"
        )


def read_references(target: psycopg.Connection, works: Works) -> tuple[Reference, ...]:
    """All foreign keys of the target."""
    return tuple(
        Reference(
            name=name,
            child=(child_schema, child),
            parent=(parent_schema, parent),
            child_work=works.of_target((child_schema, child)),
            parent_work=works.of_target((parent_schema, parent)),
            columns=tuple(columns),
            to=tuple(to),
        )
        for name, child_schema, child, parent_schema, parent, columns, to in rows(
            target, REFERENCES
        )
    )


def settle(applying: Applying, touched: list[Work]) -> None:
    """Repeat until no row refers to nothing; raises Again when that needs a new start."""
    changed = True
    while changed:
        changed = False
        for one in applying.references:
            if one.child_work in touched:
                changed |= _reject_orphans(applying, one, touched)
        for one in applying.references:
            if one.parent_work in touched:
                changed |= _keep_parents(applying, one, touched)


def _reject_orphans(applying: Applying, one: Reference, touched: list[Work]) -> bool:
    work, scratch, target = one.child_work, applying.scratch, applying.target
    assert work is not None
    v, m, o = (scratch.at(kind, work) for kind in "vmo")
    table = f"{work.target_only}{q(*one.child)}"
    if not work.key:
        return _reject_keyless(applying, one, work)
    why = f"the row of {'.'.join(one.parent)} that it refers to is not there"
    numbers = {column.pair.target: i for i, column in enumerate(work.columns)}
    here, there = [f"t.{q(name)}" for name in one.columns], f" JOIN {table} t ON {matches(work)}"
    if set(one.columns) <= set(numbers):  # then the staged row says it
        here, there = [f"v.c{numbers[name]} AS {q(name)}" for name in one.columns], ""
    found = rows(
        target,
        f"UPDATE {m} m SET verdict = 'rejected', why = {lit(why)}, again = true"
        f" FROM (SELECT v.i, {', '.join(here)} FROM {v} v{there}) t"
        f" WHERE m.i = t.i AND m.verdict IN ('new', 'changed') AND {one.orphan('t')}"
        " RETURNING m.i",
    )
    if not found:
        return False
    gone = f"SELECT i FROM {m} WHERE verdict = 'rejected'"
    run(
        target,
        f"DELETE FROM {table} t USING {v} v WHERE {matches(work)} AND v.i IN ({gone})"
        f" AND {one.orphan('t')}",
    )
    lost = (
        f'SELECT o.* FROM {o} o WHERE o."taly i" IN ({gone}) AND NOT EXISTS'
        f" (SELECT FROM {table} t WHERE {applying.is_old(work)})"
    )
    if not applying.restore(work, lost):
        _again(applying, touched)
    return True


def _reject_keyless(applying: Applying, one: Reference, work: Work) -> bool:
    """The rows that are orphans are found by their values."""
    v, m = applying.scratch.at("v", work), applying.scratch.at("m", work)
    numbers = {column.pair.target: i for i, column in enumerate(work.columns)}
    if not set(one.columns) <= set(numbers):
        return False
    names = ", ".join(f"v.c{numbers[name]} AS {q(name)}" for name in one.columns)
    why = f"the row of {'.'.join(one.parent)} that it refers to is not there"
    found = rows(
        applying.target,
        f"UPDATE {m} m SET verdict = 'rejected', why = {lit(why)}, again = true"
        f" FROM (SELECT v.i, {names} FROM {v} v) t WHERE m.i = t.i"
        f" AND m.verdict IN ('new', 'unchanged')"
        f" AND {one.orphan('t')} RETURNING m.i",
    )
    if found:
        table = f"{work.target_only}{q(*one.child)}"
        run(applying.target, f"DELETE FROM {table} t WHERE {one.orphan('t')}")
    return bool(found)


def _keep_parents(applying: Applying, one: Reference, touched: list[Work]) -> bool:
    work, scratch, target = one.parent_work, applying.scratch, applying.target
    assert work is not None
    o = scratch.at("o", work)
    same = " AND ".join(f"p.{q(to)} = o.{q(to)}" for to in one.to)
    needed = (
        f"NOT EXISTS (SELECT FROM {q(*one.parent)} p WHERE {same})"
        f" AND EXISTS (SELECT FROM {q(*one.child)} c WHERE {one.met('c', 'o')})"
    )
    if not work.key:
        return _keep_keyless(applying, one, work, needed)
    if set(one.to) <= set(work.target_key):  # what changed has kept its key
        needed = f'o."taly i" IS NULL AND {needed}'
    keys = ", ".join(f"o.{q(name)}::text" for name in work.target_key)
    found = rows(target, f'SELECT o."taly i", ARRAY[{keys}]::text[] FROM {o} o WHERE {needed}')
    if not found:
        return False
    why = f"a row of {'.'.join(one.child)} that stays refers to it"
    applying.remember_all(touched)
    for i, key in found:
        if i is None:
            applying.spared.setdefault(work.n, {})[tuple(key)] = why
        else:
            applying.rejected.setdefault(work.n, {})[i] = (why, True)
    _again(applying, touched)
    return True


def _keep_keyless(applying: Applying, one: Reference, work: Work, needed: str) -> bool:
    """The old rows that others need come back."""
    scratch, target = applying.scratch, applying.target
    query = (
        f"SELECT DISTINCT ON ({', '.join(f'o.{q(to)}' for to in one.to)}) o.*"
        f" FROM {scratch.at('o', work)} o WHERE {needed}"
    )
    if not rows(target, f"SELECT FROM ({query}) o LIMIT 1"):
        return False
    why = f"a row of {'.'.join(one.child)} that stays refers to it"
    applying.keep_keyless(work, query, why)
    return True


def _again(applying: Applying, touched: list[Work]) -> None:
    from taly.database.carry.applying import Again

    applying.remember_all(touched)
    raise Again
