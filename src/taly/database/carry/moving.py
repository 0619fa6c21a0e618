"""Rows on their way: read from one snapshot of the source, staged in the target."""

from dataclasses import dataclass

import psycopg

from taly.database.carry import rowsql
from taly.database.carry.capture import changed
from taly.database.carry.comparing import Compared, compare
from taly.database.carry.model import Since
from taly.database.carry.scratch import Scratch
from taly.database.carry.sql import array, number, pour, q, run, telling
from taly.database.carry.work import Part, Work, Works
from taly.database.checkpoint.manifest import Sums
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
    sums: Sums = "mixed"
    """How the checkpoint sums up rows."""

    def stage_since(self, work: Work) -> int:
        """Stage what was written since the backup, found by the rows' transactions."""
        assert self.since is not None
        return self._stage(work, self.live(work), rowsql.since(self.since.xmin))

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
            f" {array(flags, 'boolean')} FROM {self.live(work)} WHERE {' OR '.join(flags)}"
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
        before = rowsql.before_window(self.since)
        return f"NOT ({rowsql.since(self.since.window_end)} OR {before})"

    def stage_all(self, work: Work) -> int:
        """Stage every row, whole: for a table whose rows no key finds again."""
        return self._stage(work, self.live(work), "true", whole=True)

    def stage_keys(self, work: Work) -> int:
        """Stage the rows of the keys that are to be looked at; the others are not there."""
        self._send_keys(work, f"SELECT kh, k FROM {self.scratch.at('w', work)}")
        return self._stage(work, self.live(work), self._is_wanted(work))

    def fetch_live(self, work: Work, keys: str) -> int:
        """Read whole rows of the source into the rescued ones; `keys` selects kh and k."""
        self._send_keys(work, keys)
        query = (
            f"SELECT {rowsql.live_key_hash(self.works, work)}, {rowsql.live_key(work)},"
            f" {rowsql.live_hash(self.works, work)}, {rowsql.live_text(work)}"
            f" FROM {self.live(work)} WHERE {self._is_wanted(work)}"
        )
        return self._pour(query, f"{self.scratch.at('r', work)} (kh, k, h, live)", work)

    def rescue_all(self, work: Work) -> int:
        """Read a whole table into the rescued rows."""
        key = rowsql.live_key(work) if work.key else "NULL::text[]"
        query = (
            f"SELECT {rowsql.live_key_hash(self.works, work)}, {key},"
            f" {rowsql.live_hash(self.works, work)}, {rowsql.live_text(work)}"
            f" FROM {self.live(work)}"
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

    def live(self, work: Work) -> str:
        """The live table, its row called `s`."""
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

    def compare(self, work: Work) -> Compared:
        """Find keys whose rows differ beyond what is staged; they are then among those to see."""
        return compare(self, work)

    def live_rows(self, work: Work) -> int:
        """How many rows the live table has."""
        return number(self.source, f"SELECT count(*) FROM {self.live(work)}")
