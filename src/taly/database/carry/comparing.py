"""How both sides compare, without moving their rows: sums of hashes in buckets of keys."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taly.database.carry import rowsql
from taly.database.carry.sql import number, pour, q, rows, run, telling
from taly.database.carry.work import Work
from taly.database.checkpoint.contents import HASH_RECORDS_SINCE, row_hash, summed

if TYPE_CHECKING:
    from taly.database.carry.moving import Move

COARSE, FINE, FINEST = 1 << 10, 1 << 14, 1 << 18
"""Numbers of buckets. The sums of few stay in the processor's cache; of many, few rows need to be
read for each one that differs. The bits that tell them apart are the same, and more."""
FEW = 16
"""One of so many buckets may differ, and they are looked at row by row as they are."""
MOST = 2
"""Of one in so many buckets that differ, all are summed up anew: to leave some out costs more."""
EXPECTED = """
SELECT greatest(reltuples, 0)::bigint, pg_stat_get_tuples_deleted(oid) FROM pg_class
WHERE oid = %s::regclass
"""
"""Only to choose how many buckets; what is there is counted."""
KEYS, ROWS = summed("mixed", "kh"), summed("mixed", "h")
ODD_COLLATION = """
SELECT EXISTS (SELECT FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
               WHERE a.attrelid = %s::regclass AND NOT c.collisdeterministic)
"""
"""Only there the hash of a text is not that of its bytes, which is the one that we take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One table, as both sides have it."""

    rows: int
    """Of the live table."""
    checksum: str
    own_rows: int
    """Of the target before this pass."""
    own_checksum: str
    """The one that `checkpoint.contents` gives; so the backup is proved by the same scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """Buckets of one size, and the temporary tables that hold their sums."""

    name: str
    buckets: int

    @property
    def bucket(self) -> str:
        return f"(kh & {self.buckets - 1})::integer"

    def at(self, what: str) -> str:
        return f"pg_temp.taly_{self.name}_{what}"

    @property
    def within(self) -> str:
        """Condition: the row is in a bucket that differs; on both sides, after `send`."""
        return f"{self.bucket} IN (SELECT b FROM {self.at('differ')})"


def compare(move: Move, work: Work) -> Compared:
    """Find keys whose rows differ beyond what is staged; they are then among those to look at.

    Sums of hashes in buckets of keys are compared, then in smaller buckets where many differ, and
    only what is in those is looked at row by row.
    """
    move.say(f"{work.label}: compares checksums")
    comparison = _Comparison(move=move, work=work)
    level = _Level(name="coarse", buckets=comparison.first())
    hashed = comparison.backup_hash()
    differ = comparison.sum_up(level, backup_hash=hashed)
    if differ:
        comparison.send(level)
        fine = _Level(name="fine", buckets=comparison.fineness(level, differ))
        within = "true" if differ * MOST > level.buckets else level.within
        too_many = differ * FEW > level.buckets and fine.buckets > level.buckets
        if too_many and comparison.sum_up(fine, within=within):
            comparison.send(fine)
            comparison.look_into(fine)
        else:
            comparison.look_into(level)
    ((own, own_checksum, live, checksum),) = rows(
        move.target,
        f"SELECT o.*, l.* FROM (SELECT coalesce(sum(n), 0), coalesce(sum({'m' if hashed else 'h'}),"
        f" 0)::text FROM {level.at('own')}) o,"
        f" (SELECT coalesce(sum(n), 0), coalesce(sum(h), 0)::text FROM {level.at('live')}) l",
    )
    return Compared(rows=int(live), checksum=checksum, own_rows=int(own), own_checksum=own_checksum)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    move: Move
    work: Work

    def first(self) -> int:
        """So many buckets that what must be expected to differ is told apart at once.

        With nothing recorded that is what users wrote; else only rows that they have deleted.
        """
        name = q(*self.work.source)
        ((count, deleted),) = rows(self.move.source, EXPECTED, (name,))
        expected = 4 * deleted if deleted < count else 0
        if self.move.since is None:
            expected = count // 16
        return min(FINEST, max(COARSE, 1 << int(expected).bit_length()))

    def backup_hash(self) -> str:
        """How a checkpoint hashes a row `t`; empty where ours is the same number."""
        target, works, name = self.move.target, self.move.works, self.work.target
        table = works.leaves.get(name) if name is not None else None
        if table is None:
            return ""
        hash_records = target.info.server_version >= HASH_RECORDS_SINCE
        ours = tuple((one.pair.target, one.native) for one in self.work.columns)
        odd = rows(target, ODD_COLLATION, (q(table.schema, table.name),))
        same = (ours, works.hash_records, odd) == (table.columns, hash_records, [(False,)])
        if same and self.move.sums == "mixed":
            return ""
        return row_hash(table, hash_records, "t").as_string(target)

    def sum_up(self, level: _Level, *, within: str = "true", backup_hash: str = "") -> int:
        """Sum up both sides; returns how many buckets differ."""
        move = self.move
        for what in ("own", "live", "differ"):
            run(move.target, f"DROP TABLE IF EXISTS {level.at(what)}")
        run(move.source, f"DROP TABLE IF EXISTS {level.at('live')}")
        there = self._there(f", {backup_hash} AS m" if backup_hash else "")
        more = f", sum({summed(move.sums, 'm')}) AS m" if backup_hash else ""
        self._both(
            _sums(level, "live", self._live(), within, ""),
            _sums(level, "own", there, within, more),
        )
        run(
            move.target,
            f"CREATE TEMP TABLE {level.at('live')} (b integer, n bigint, kh numeric, h numeric)"
            " ON COMMIT DROP",
        )
        tell = telling(move.say, f"{self.work.label}: sums")
        table = level.at("live")
        pour(move.source, f"SELECT b, n, kh, h FROM {table}", move.target, table, tell)
        self._note_differing(level, within)
        return number(move.target, f"SELECT count(*) FROM {level.at('differ')}")

    def _both(self, of_source: str, of_target: str) -> None:
        """Run a statement on each side, at the same time: each has a processor of its own."""
        with ThreadPoolExecutor(1) as aside:
            reading = aside.submit(run, self.move.source, of_source)
            run(self.move.target, of_target)
            reading.result()

    def fineness(self, level: _Level, differ: int) -> int:
        """So many buckets that most of them hold no row that is missing or reads otherwise."""
        missing = number(
            self.move.target,
            f"SELECT sum(abs(coalesce(o.n, 0) - coalesce(l.n, 0))) FROM {level.at('own')} o"
            f" FULL JOIN {level.at('live')} l ON l.b = o.b",
        )
        # If rows fall into buckets by chance, so many leave the others untouched.
        spared = max(level.buckets - differ, 1) / level.buckets
        wrong = max(missing, int(-level.buckets * math.log(spared)))
        return min(FINEST, max(FINE, 1 << (4 * wrong).bit_length()))

    def _note_differing(self, level: _Level, within: str) -> None:
        """Buckets in which the live table is not what the target and the staged rows make up.

        A staged row takes the place of the target's own; so its sums change by the difference.
        """
        s, f = self.move.scratch.at("s", self.work), self.move.scratch.at("f", self.work)
        known = f"SELECT k FROM {s} UNION ALL SELECT k FROM {f} WHERE fate <> 'carried'"
        replaced = (
            f"SELECT -1 AS sign, kh, h FROM ({self._there()} WHERE EXISTS"
            f" (SELECT FROM ({known}) n WHERE {rowsql.there_is(self.work, 'n.k')})) t"
        )
        changes = f"{replaced} UNION ALL SELECT 1, kh, h FROM ({self._staged()}) s"
        run(
            self.move.target,
            f"CREATE TEMP TABLE {level.at('differ')} ON COMMIT DROP AS"
            f" SELECT coalesce(l.b, o.b) AS b FROM {level.at('live')} l FULL JOIN"
            " (SELECT b, sum(n) AS n, sum(kh) AS kh, sum(h) AS h FROM"
            f" (SELECT b, n, kh, h FROM {level.at('own')} UNION ALL"
            f" SELECT {level.bucket}, sign, sign * {KEYS}::numeric, sign * {ROWS}::numeric"
            f" FROM ({changes}) c WHERE {within}) e"
            " GROUP BY b HAVING NOT (sum(n) = 0 AND sum(kh) = 0 AND sum(h) = 0)) o ON o.b = l.b"
            " WHERE (l.n, l.kh, l.h) IS DISTINCT FROM (o.n, o.kh, o.h)",
        )

    def send(self, level: _Level) -> None:
        """Tell the source which buckets differ."""
        table = level.at("differ")
        run(self.move.source, f"DROP TABLE IF EXISTS {table}")
        run(self.move.source, f"CREATE TEMP TABLE {table} (b integer) ON COMMIT DROP")
        tell = telling(self.move.say, f"{self.work.label}: differ")
        pour(self.move.target, f"SELECT b FROM {table}", self.move.source, table, tell)

    def look_into(self, level: _Level) -> None:
        """Compare the rows of the buckets that differ."""
        move, work = self.move, self.work
        c, w, s, f = (move.scratch.at(kind, work) for kind in "cwsf")
        run(move.target, f"DROP TABLE IF EXISTS {c}, pg_temp.taly_theirs")
        run(move.target, f"CREATE UNLOGGED TABLE {c} (kh bigint, k text[], h bigint)")
        run(move.source, "DROP TABLE IF EXISTS pg_temp.taly_ours")
        live = self._live(f", {rowsql.live_key(work)} AS k")
        ours = f"SELECT kh, k, h FROM ({live}) l WHERE {level.within}"
        known = f"SELECT kh FROM {s} UNION ALL SELECT kh FROM {f} WHERE fate <> 'carried'"
        theirs = (
            f"SELECT kh, h, k FROM ({self._there(f', {rowsql.there_key(work)} AS k')}) t"
            f" WHERE {level.within} AND NOT EXISTS (SELECT FROM ({known}) n WHERE n.kh = t.kh)"
            f" UNION ALL SELECT kh, h, k FROM ({self._staged()}) s WHERE {level.within}"
        )
        self._both(
            f"CREATE TEMP TABLE taly_ours ON COMMIT DROP AS {ours}",
            f"CREATE TEMP TABLE taly_theirs ON COMMIT DROP AS {theirs}",
        )
        tell, place = telling(move.say, work.label), f"{c} (kh, k, h)"
        pour(move.source, "SELECT kh, k, h FROM pg_temp.taly_ours", move.target, place, tell)
        for table in (c, "pg_temp.taly_theirs"):
            run(move.target, f"ANALYZE {table} (kh, h)")  # of arrays it takes long
        run(
            move.target,
            f"INSERT INTO {w} (kh, k) SELECT c.kh, c.k FROM {c} c WHERE NOT EXISTS"
            f" (SELECT FROM pg_temp.taly_theirs o WHERE o.kh = c.kh AND o.h = c.h)"
            f" UNION SELECT o.kh, o.k FROM pg_temp.taly_theirs o WHERE NOT EXISTS"
            f" (SELECT FROM {c} c WHERE c.kh = o.kh)",
        )

    def _live(self, more: str = "") -> str:
        works, work = self.move.works, self.work
        return (
            f"SELECT {rowsql.live_key_hash(works, work)} AS kh,"
            f" {rowsql.live_hash(works, work)} AS h{more} FROM {self.move.live(work)}"
        )

    def _there(self, more: str = "") -> str:
        works, work = self.move.works, self.work
        return (
            f"SELECT {rowsql.key_hash(works, work)} AS kh, {rowsql.there_hash(works, work)} AS h"
            f"{more} FROM {work.target_only}{q(*(work.target or ()))} t"
        )

    def _staged(self) -> str:
        """Rows that are not in the target yet, or only in the rescue bundle: kh, h, k."""
        s, f = self.move.scratch.at("s", self.work), self.move.scratch.at("f", self.work)
        return (
            f"SELECT kh, h, k FROM {s} UNION ALL"
            f" SELECT kh, h, k FROM {f} f WHERE fate IN ('rescued', 'left')"
            f" AND NOT EXISTS (SELECT FROM {s} s WHERE s.kh = f.kh)"
        )


def _sums(level: _Level, what: str, query: str, within: str, more: str) -> str:
    """OFFSET 0, lest each use of a hash computes it anew."""
    narrowed = query if within == "true" else f"SELECT * FROM ({query}) r WHERE {within}"
    return (
        f"CREATE TEMP TABLE {level.at(what)} ON COMMIT DROP AS SELECT {level.bucket} AS b,"
        f" count(*) AS n, sum({KEYS}) AS kh, sum({ROWS}) AS h{more}"
        f" FROM ({narrowed} OFFSET 0) l GROUP BY 1"
    )
