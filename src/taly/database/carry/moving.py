"""Rows on their way: read from one snapshot of the source, staged in the target."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from taly.database.carry import rowsql
from taly.database.carry.capture import changed
from taly.database.carry.model import Since
from taly.database.carry.scratch import Scratch
from taly.database.carry.sql import array, number, pour, put, q, read, rows, run, telling
from taly.database.carry.work import Part, Work, Works
from taly.model.ports import Say


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Both ends of one pass; each is in a transaction of its own."""

    source: psycopg.Connection
    """One snapshot: span, counts and rows are of the same instant."""
    target: psycopg.Connection
    works: Works
    scratch: Scratch
    name: str
    since: Since | None
    say: Say

    def stage_since(self, work: Work) -> int:
        """Stage what was written since the backup, found by the rows' transactions."""
        assert self.since is not None
        return self._stage(work, self._live(work), rowsql.since(self.since.xmin))

    def stage_parts(self, work: Work) -> None:
        """Note every value without a place, whoever wrote the row and whenever.

        It may stand in a row that nobody has written since, or that otherwise reads the same.
        """
        flags = [
            rowsql.differs(work, part) if part.column < 0 else self._converted(work, part)
            for part in work.parts
        ]
        if not flags:
            return
        if self.since is not None and self.since.leaves:
            flags = [f"({flag} AND {rowsql.since(self.since.xmin)})" for flag in flags]
        values, _ = rowsql.parts_of(work)
        p = self.scratch.at("p", work)
        run(self.target, f"TRUNCATE {p}")
        query = (
            f"SELECT {rowsql.live_key_hash(self.works, work)}, {rowsql.live_key(work)}, {values},"
            f" {array(flags, 'boolean')} FROM {self._live(work)} WHERE {' OR '.join(flags)}"
        )
        self._pour(query, f"{p} (kh, k, x, xd)", work)

    def _converted(self, work: Work, part: Part) -> str:
        """Condition: a user's value reads otherwise than it was written."""
        conditions = [rowsql.differs(work, part)]
        if self.since is not None:
            conditions += [rowsql.since(self.since.xmin), f"NOT ({self._late()})"]
        return f"({' AND '.join(conditions)})"

    def _late(self) -> str:
        """Condition: the row was written in the migration window, or before it."""
        if self.since is None or self.since.window_end is None:
            return "false"
        return f"NOT ({rowsql.since(self.since.window_end)})"

    def stage_all(self, work: Work) -> int:
        """Stage every row, whole: for a table whose rows no key finds again."""
        return self._stage(work, self._live(work), "true", whole=True)

    def stage_keys(self, work: Work) -> int:
        """Stage the rows of the keys that are to be looked at; the others are not there."""
        self._send_keys(work, f"SELECT kh, k FROM {self.scratch.at('w', work)}")
        return self._stage(work, self._live(work), self._is_wanted(work))

    def fetch_live(self, work: Work, keys: str) -> int:
        """Read whole rows of the source into the rescued ones; `keys` selects kh and k."""
        self._send_keys(work, keys)
        query = (
            f"SELECT {rowsql.live_key_hash(self.works, work)}, {rowsql.live_key(work)},"
            f" {rowsql.live_hash(self.works, work)}, {rowsql.live_text(work)}"
            f" FROM {self._live(work)} WHERE {self._is_wanted(work)}"
        )
        return self._pour(query, f"{self.scratch.at('r', work)} (kh, k, h, live)", work)

    def rescue_all(self, work: Work) -> int:
        """Read a whole table into the rescued rows."""
        key = rowsql.live_key(work) if work.key else "NULL::text[]"
        query = (
            f"SELECT {rowsql.live_key_hash(self.works, work)}, {key},"
            f" {rowsql.live_hash(self.works, work)}, {rowsql.live_text(work)}"
            f" FROM {self._live(work)}"
        )
        return self._pour(query, f"{self.scratch.at('r', work)} (kh, k, h, live)", work)

    def note_changed(self, work: Work, last: str) -> int:
        """Put the keys that were captured since that snapshot among those to look at."""
        key = ", ".join(f"(k[{i}])::{type_}" for i, type_ in enumerate(work.key_types, 1))
        names = ", ".join(q(name) for name in work.source_key)
        query = (
            f'SELECT {rowsql.live_key_hash(self.works, work)}, s."taly k"'
            f" FROM (SELECT k, {key} FROM"
            f' ({changed(self.name, work, last)}) c) s ("taly k", {names})'
        )
        return self._pour(query, f"{self.scratch.at('w', work)} (kh, k)", work)

    def _live(self, work: Work) -> str:
        return f"{work.source_only}{q(*work.source)} s"

    def _is_wanted(self, work: Work) -> str:
        """Condition: one of the keys that were sent is the row's; several texts may be one key."""
        same = " AND ".join(f"s.{q(name)} = w.k{i}" for i, name in enumerate(work.source_key, 1))
        return f"EXISTS (SELECT FROM pg_temp.taly_keys w WHERE {same})"

    def _send_keys(self, work: Work, query: str) -> None:
        typed = ", ".join(f"k{i} {type_}" for i, type_ in enumerate(work.key_types, 1))
        run(self.source, "DROP TABLE IF EXISTS pg_temp.taly_keys")
        run(self.source, f"CREATE TEMP TABLE taly_keys ({typed}) ON COMMIT DROP")
        texts = ", ".join(f"k[{i}]" for i in range(1, len(work.key) + 1))
        pour(
            self.target,
            f"SELECT DISTINCT {texts} FROM ({query}) w",
            self.source,
            "pg_temp.taly_keys",
            telling(self.say, work.label),
        )
        run(self.source, "ANALYZE pg_temp.taly_keys")

    def _stage(self, work: Work, source: str, where: str, *, whole: bool = False) -> int:
        values, flags = rowsql.parts_of(work)
        parts = [
            self._late(),
            rowsql.live_key_hash(self.works, work),
            rowsql.live_key(work) if work.key else "NULL::text[]",
            rowsql.live_hash(self.works, work),
            values,
            flags,
            rowsql.misfit(work),
            rowsql.live_text(work) if whole else "NULL::text[]",
            *(rowsql.live_value(one) for one in work.columns),
        ]
        query = f"SELECT {', '.join(parts)} FROM {source} WHERE {where}"
        return self._pour(query, self.scratch.staged_columns(work), work)

    def _pour(self, query: str, place: str, work: Work) -> int:
        return pour(self.source, query, self.target, place, telling(self.say, work.label))

    # How both sides compare, without moving their rows.

    def compare(self, work: Work) -> tuple[int, str]:
        """Find keys whose rows differ beyond what is staged; returns live rows and their checksum.

        Sums of hashes in buckets of keys are compared, and only buckets that differ are looked at
        row by row. What differs is among the keys to look at afterwards.
        """
        b = self.scratch.at("b", work)
        run(self.target, f"DROP TABLE IF EXISTS {b}")
        run(
            self.target,
            f"CREATE UNLOGGED TABLE {b} (b integer, n bigint, kh numeric, h numeric)",
        )
        bucket = f"(kh & {rowsql.BUCKETS - 1})::integer"
        sums = f"SELECT {bucket} AS b, count(*) AS n, sum(kh) AS kh, sum(h) AS h"
        live = (
            f"SELECT {rowsql.live_key_hash(self.works, work)} AS kh,"
            f" {rowsql.live_hash(self.works, work)} AS h FROM {self._live(work)} OFFSET 0"
        )
        self.say(f"{work.label}: compares checksums")
        with ThreadPoolExecutor(1) as aside:  # each side has a processor of its own to use
            reading = aside.submit(read, self.source, f"{sums} FROM ({live}) l GROUP BY 1")
            run(self.target, "DROP TABLE IF EXISTS pg_temp.taly_there")
            run(
                self.target,
                "CREATE TEMP TABLE taly_there ON COMMIT DROP AS"
                f" {sums} FROM ({self._theirs(work)}) t GROUP BY 1",
            )
            put(self.target, b, reading.result())
        found = rows(
            self.target,
            f"SELECT coalesce(l.b, o.b) FROM {b} l FULL JOIN pg_temp.taly_there o ON o.b = l.b"
            " WHERE (l.n, l.kh, l.h) IS DISTINCT FROM (o.n, o.kh, o.h)",
        )
        if found:
            self._look_into(work, [int(bucket) for (bucket,) in found], live)
        whole = rows(self.target, f"SELECT coalesce(sum(n), 0), coalesce(sum(h), 0) FROM {b}")[0]
        return int(whole[0]), str(whole[1])

    def _look_into(self, work: Work, buckets: list[int], live: str) -> None:
        c, w = self.scratch.at("c", work), self.scratch.at("w", work)
        run(self.target, f"DROP TABLE IF EXISTS {c}")
        run(self.target, f"CREATE UNLOGGED TABLE {c} (kh bigint, k text[], h bigint)")
        listed = "'{" + ",".join(map(str, buckets)) + "}'::integer[]"
        within = f"(kh & {rowsql.BUCKETS - 1})::integer = ANY ({listed})"
        if len(buckets) > rowsql.BUCKETS / 2:
            within = "true"
        keyed = live.replace("SELECT ", f"SELECT {rowsql.live_key(work)} AS k, ", 1)
        self._pour(f"SELECT kh, k, h FROM ({keyed}) l WHERE {within}", f"{c} (kh, k, h)", work)
        run(self.target, f"ANALYZE {c}")
        theirs = f"(SELECT * FROM ({self._theirs(work)}) t WHERE {within})"
        run(
            self.target,
            f"INSERT INTO {w} (kh, k) SELECT c.kh, c.k FROM {c} c WHERE NOT EXISTS"
            f" (SELECT FROM {theirs} o WHERE o.kh = c.kh AND o.h = c.h)"
            f" UNION SELECT o.kh, o.k FROM {theirs} o WHERE NOT EXISTS"
            f" (SELECT FROM {c} c WHERE c.kh = o.kh)",
        )

    def _theirs(self, work: Work) -> str:
        """The rows that make up the live table, seen from the target: kh, h, k.

        Its own rows that nobody has touched, the staged ones as they were read, and those of
        earlier passes that are in the rescue bundle.
        """
        assert work.target is not None
        s, f = self.scratch.at("s", work), self.scratch.at("f", work)
        known = f"SELECT kh FROM {s} UNION ALL SELECT kh FROM {f} WHERE fate <> 'carried'"
        own = (
            f"SELECT {rowsql.key_hash(self.works, work)} AS kh,"
            f" {rowsql.there_hash(self.works, work)} AS h, {rowsql.there_key(work)} AS k"
            f" FROM {work.target_only}{q(*work.target)} t OFFSET 0"
        )
        return (
            f"SELECT kh, h, k FROM ({own}) t"
            f" WHERE NOT EXISTS (SELECT FROM ({known}) n WHERE n.kh = t.kh)"
            f" UNION ALL SELECT kh, h, k FROM {s}"
            f" UNION ALL SELECT kh, h, k FROM {f} f WHERE fate IN ('rescued', 'left')"
            f" AND NOT EXISTS (SELECT FROM {s} s WHERE s.kh = f.kh)"
        )

    def live_rows(self, work: Work) -> int:
        """How many rows the live table has."""
        return number(self.source, f"SELECT count(*) FROM {self._live(work)}")
