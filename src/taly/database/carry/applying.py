"""Rows into the target: all old versions out first, then the new ones in."""

from dataclasses import dataclass, field

import psycopg

from taly.database.carry.foreign import Reference, settle
from taly.database.carry.judging import MASS, matches
from taly.database.carry.model import ProofFailed
from taly.database.carry.rowsql import key_hash, there_hash, there_is, there_text
from taly.database.carry.scratch import REJECTING, Scratch
from taly.database.carry.sql import lit, number, q, rows, run
from taly.database.carry.work import Work, Works
from taly.model.ports import Say

Rejected = dict[int, tuple[str, bool]]
"""Staged row → why, and whether it may fit once another row has changed."""
ALWAYS = """
SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal AND t.tgparentid = 0
"""
ENABLE = {"A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


class Again(Exception):
    """A row that stays is in the way of one that was carried: apply anew, without that one."""


@dataclass(slots=True, kw_only=True)
class Applying:
    """Applies one pass, as often as it takes until everything fits together."""

    target: psycopg.Connection
    scratch: Scratch
    works: Works
    references: tuple[Reference, ...]
    say: Say
    rejected: dict[int, Rejected] = field(default_factory=dict)
    """Table's number → rows found not to fit."""
    spared: dict[int, dict[tuple[str, ...], str]] = field(default_factory=dict)
    """Table's number → keys that are not deleted after all, and why."""

    def apply(self, touched: list[Work]) -> None:
        """Bring the staged rows and deletes of these tables into the target.

        A row that stays wins over one that is carried. Each round rejects more, so it ends.
        """
        run(self.target, "SET LOCAL session_replication_role = replica")
        always = self._without_always()
        while True:
            run(self.target, "SAVEPOINT taly_apply")
            try:
                for work in touched:
                    self.say(f"{work.label}: applies")
                    self._table(work)
                settle(self, touched)
                break
            except Again:
                run(self.target, "ROLLBACK TO SAVEPOINT taly_apply")
        run(self.target, "RELEASE SAVEPOINT taly_apply")
        for sql in always:
            run(self.target, sql)

    def _without_always(self) -> list[str]:
        """Disable triggers that fire even for a replica; returns what enables them again."""
        back = []
        for schema, table, trigger, enabled in rows(self.target, ALWAYS):
            place = f"ALTER TABLE {q(schema, table)}"
            run(self.target, f"{place} DISABLE TRIGGER {q(trigger)}")
            back.append(f"{place} {ENABLE[enabled]} TRIGGER {q(trigger)}")
        return back

    def _table(self, work: Work) -> None:
        assert work.target is not None
        m = self.scratch.at("m", work)
        known = self.rejected.get(work.n, {})
        run(
            self.target,
            f"UPDATE {m} m SET verdict = 'rejected', why = u.why, again = u.again"
            " FROM unnest(%s::bigint[], %s::text[], %s::boolean[]) u (i, why, again)"
            " WHERE m.i = u.i",
            (list(known), [why for why, _ in known.values()], [two for _, two in known.values()]),
        )
        for key, why in self.spared.get(work.n, {}).items():
            run(
                self.target,
                f"UPDATE {self.scratch.at('d', work)} SET verdict = 'keep', why = %s WHERE k = %s",
                (why, list(key)),
            )
        before = number(self.target, f"SELECT count(*) FROM {m} WHERE verdict = 'rejected'")
        self._take_out(work)
        self.scratch.each(self.target, "insert", work)
        if not work.key:
            self._keep_mass(work)
        after = number(self.target, f"SELECT count(*) FROM {m} WHERE verdict = 'rejected'")
        if after > before:
            self._put_back(work)

    def _take_out(self, work: Work) -> None:
        """Keep the old versions of what changes or goes, and delete them."""
        assert work.target is not None
        v, m, o, d = (self.scratch.at(kind, work) for kind in "vmod")
        table = f"{work.target_only}{q(*work.target)}"
        if not work.key:
            others = f"{self.scratch.at('c', work)} c WHERE (t.tableoid, t.ctid) = (c.part, c.at)"
            run(self.target, f"INSERT INTO {o} SELECT t.*, NULL FROM {table} t, {others}")
            run(self.target, f"DELETE FROM {table} t USING {others}")
            return
        run(
            self.target,
            f"INSERT INTO {o} SELECT t.*, v.i FROM {v} v JOIN {m} m USING (i)"
            f" JOIN {table} t ON {matches(work)} WHERE m.verdict = 'changed'",
        )
        run(
            self.target,
            f"INSERT INTO {o} SELECT t.*, NULL FROM {d} d JOIN {table} t ON {there_is(work, 'd.k')}"
            " WHERE d.verdict = 'delete'",
        )
        found_by = ", ".join(q(name) for name in work.target_key)
        run(self.target, f"ANALYZE {o} ({found_by})")
        run(self.target, f"DELETE FROM {table} t USING {o} o WHERE {self.is_old(work)}")

    def _keep_mass(self, work: Work) -> None:
        """Without a key: rows that went with very many others stay."""
        d, o = self.scratch.at("d", work), self.scratch.at("o", work)
        if number(self.target, f"SELECT count(*) FROM {d} WHERE verdict = 'mass'"):
            self.keep_keyless(work, f"SELECT t.* FROM {o} t", MASS)

    def keep_keyless(self, work: Work, query: str, why: str) -> None:
        """Bring old rows of a table without a key back, and say that live has them no more."""
        if not self.restore(work, query):
            raise ProofFailed(work.label, "rows that must stay collide with those carried over")
        key, whole = key_hash(self.works, work), there_hash(self.works, work)
        run(
            self.target,
            f"INSERT INTO {self.scratch.at('d', work)} (kh, k, h, verdict, why)"
            f" SELECT {key}, {there_text(work)}, {whole}, 'keep', {lit(why)} FROM ({query}) t",
        )

    def is_old(self, work: Work) -> str:
        """Condition: `t` has the key of the old version `o`."""
        return " AND ".join(f"t.{q(name)} = o.{q(name)}" for name in work.target_key)

    def _put_back(self, work: Work) -> None:
        """The old versions of what was just rejected come back, or everything is done anew."""
        m, o = self.scratch.at("m", work), self.scratch.at("o", work)
        lost = (
            (
                f"SELECT o.* FROM {o} o JOIN {m} m ON m.i = o.\"taly i\" AND m.verdict = 'rejected'"
                f" WHERE NOT EXISTS (SELECT FROM {work.target_only}{q(*(work.target or ()))} t"
                f" WHERE {self.is_old(work)})"
            )
            if work.key
            else ""
        )
        if lost and not self.restore(work, lost):
            self.remember(work)
            raise Again

    def restore(self, work: Work, query: str) -> bool:
        """Insert old versions again; False when a carried row is in their way."""
        assert work.target is not None
        names = ", ".join(q(name) for name in work.target_columns)
        run(self.target, "SAVEPOINT taly_restore")
        try:
            run(
                self.target,
                f"INSERT INTO {q(*work.target)} ({names}) OVERRIDING SYSTEM VALUE"
                f" SELECT {names} FROM ({query}) o",
            )
        except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation):
            run(self.target, "ROLLBACK TO SAVEPOINT taly_restore")
            return False
        run(self.target, "RELEASE SAVEPOINT taly_restore")
        return True

    def remember(self, work: Work) -> None:
        """Keep in mind what was rejected, over a rollback."""
        known = self.rejected.setdefault(work.n, {})
        texts: dict[str, str] = {}
        found = run(
            self.target,
            f"SELECT i, why, again FROM {self.scratch.at('m', work)} WHERE verdict = 'rejected'",
        )
        for i, why, again in found:
            known[i] = (texts.setdefault(why, why), again)

    def remember_all(self, touched: list[Work]) -> None:
        """The same for every table."""
        for work in touched:
            self.remember(work)


def reject(why: str) -> str:
    """What an UPDATE of verdicts sets for a row that may fit later."""
    return f"SET verdict = 'rejected', why = {lit(why)}, again = true"


__all__ = ["REJECTING", "Again", "Applying", "reject"]
