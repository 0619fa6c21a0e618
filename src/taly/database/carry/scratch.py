"""Our own schema in the target: staging tables, and what is known of every row that was touched."""

import psycopg

from taly.database.carry.capture import schema_of
from taly.database.carry.rowsql import there_is
from taly.database.carry.sql import lit, number, q, run
from taly.database.carry.work import Work, Works

REJECTING = (
    "data_exception OR integrity_constraint_violation OR program_limit_exceeded OR plpgsql_error"
)
"""What a single row can be guilty of; anything else fails the whole."""
NO_PLACE = "its table has no place in the schema that it goes back to"


class Scratch:
    """Names of our tables, each with the table's number."""

    def __init__(self, name: str) -> None:
        self.schema = schema_of(name)
        self.read_otherwise: set[int] = set()
        """Numbers of the tables that have rows in `l`."""

    def at(self, kind: str, work: Work) -> str:
        """One of them, qualified and quoted.

        `s` staged text, `v` the same typed, `m` verdicts, `o` old versions, `d` keys to delete,
        `w` keys to look at, `b` buckets, `c` candidates: for one pass. `f` fates, `r` rescued rows,
        `p` rescued parts, `a` keys that are absent in the source without having been deleted, `l`
        how rows read there that nobody has written since (without a key: what `match` is told);
        these stay until the end.
        """
        return q(self.schema, f"{kind}_{work.n}")

    def create(self, connection: psycopg.Connection, works: Works) -> None:
        """Make the schema and the tables that stay."""
        run(connection, f"DROP SCHEMA IF EXISTS {q(self.schema)} CASCADE")
        run(connection, f"CREATE SCHEMA {q(self.schema)}")
        for work in works.tables:
            for sql in self._staying(work):
                run(connection, sql)

    def drop(self, connection: psycopg.Connection) -> None:
        """Leave nothing of ours."""
        run(connection, f"DROP SCHEMA IF EXISTS {q(self.schema)} CASCADE")

    def _staying(self, work: Work) -> list[str]:
        f, r, p, a, left = (self.at(kind, work) for kind in "frpal")
        key = "kh bigint NOT NULL, k text[]"
        return [
            f"CREATE UNLOGGED TABLE {f} ({key}, h bigint, fate text NOT NULL, why text NOT NULL,"
            " again boolean NOT NULL, there boolean NOT NULL)",
            f"CREATE INDEX ON {f} (kh)",
            f"CREATE UNLOGGED TABLE {r} ({key}, h bigint, live text[])",
            f"CREATE INDEX ON {r} (kh)",
            f"CREATE UNLOGGED TABLE {p} ({key}, x text[], xd boolean[])",
            f"CREATE INDEX ON {p} (kh)",
            f"CREATE UNLOGGED TABLE {a} (k text[])",
            f"CREATE UNLOGGED TABLE {left} (k text[], b text[], known boolean[])",
        ]

    def stage(self, connection: psycopg.Connection, work: Work) -> None:
        """Make the tables of one pass anew."""
        s, v, m, o, d, w = (self.at(kind, work) for kind in "svmodw")
        run(connection, f"DROP TABLE IF EXISTS {s}, {v}, {m}, {o}, {d}, {w}")
        texts = "".join(f", c{i} text" for i in range(len(work.columns)))
        typed = "".join(f", c{i} {one.here.type}" for i, one in enumerate(work.columns))
        key = "kh bigint NOT NULL, k text[]"
        for sql in (
            f"CREATE UNLOGGED TABLE {s} (i bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            f" late boolean, {key}, h bigint, x text[], xd boolean[], misfit text,"
            f" live text[]{texts})",
            f"CREATE UNLOGGED TABLE {v} (i bigint PRIMARY KEY{typed})",
            f"CREATE UNLOGGED TABLE {m} (i bigint PRIMARY KEY, verdict text NOT NULL,"
            " why text NOT NULL DEFAULT '', again boolean NOT NULL DEFAULT false)",
            f"CREATE UNLOGGED TABLE {d} ({key}, h bigint, verdict text NOT NULL,"
            " why text NOT NULL)",
            f"CREATE UNLOGGED TABLE {w} ({key})",
        ):
            run(connection, sql)
        if work.target is not None:
            run(
                connection,
                f'CREATE UNLOGGED TABLE {o} (LIKE {q(*work.target)}, "taly i" bigint)',
            )
            self._functions(connection, work)

    def staged_columns(self, work: Work) -> str:
        """What COPY fills."""
        names = ["late", "kh", "k", "h", "x", "xd", "misfit", "live"]
        names += [f"c{i}" for i in range(len(work.columns))]
        return f"{self.at('s', work)} ({', '.join(names)})"

    def _functions(self, connection: psycopg.Connection, work: Work) -> None:
        s, v, m, o = (self.at(kind, work) for kind in "svmo")
        assert work.target is not None
        values = "".join(f", s.c{i}::{one.here.cast}" for i, one in enumerate(work.columns))
        self._bisecting(
            connection,
            f"convert_{work.n}",
            f"INSERT INTO {v} SELECT s.i{values} FROM {s} s WHERE s.i BETWEEN lo AND hi"
            f" AND NOT EXISTS (SELECT FROM {m} m WHERE m.i = s.i);",
            f"INSERT INTO {m} VALUES (lo, 'rejected', SQLERRM, false);",
        )
        names = [q(one.pair.target) for one in work.columns]
        carried = [f"v.c{i}" for i in range(len(work.columns))]
        rest = [q(name) for name in work.rest]
        target = q(*work.target)

        def insert(verdicts: str, rest: list[str], join: str) -> str:
            into = ", ".join(names + rest)
            what = ", ".join(carried + [f"o.{name}" for name in rest])
            into = f"({into}) OVERRIDING SYSTEM VALUE " if into else ""
            return (
                f"INSERT INTO {target} {into}SELECT {what} FROM {v} v"
                f" JOIN {m} m USING (i) {join} WHERE v.i BETWEEN lo AND hi"
                f" AND m.verdict IN ({verdicts});"
            )

        if rest:  # what only the target has stays with the row
            body = insert("'new'", [], "") + insert(
                "'changed'", rest, f'JOIN {o} o ON o."taly i" = v.i'
            )
        else:
            body = insert("'new', 'changed'", [], "")
        self._bisecting(
            connection,
            f"insert_{work.n}",
            body,
            f"UPDATE {m} SET verdict = 'rejected', why = SQLERRM,"
            " again = SQLSTATE IN ('23505', '23P01')"
            " WHERE i = lo AND verdict IN ('new', 'changed');",
        )

    def _bisecting(self, connection: psycopg.Connection, name: str, body: str, reject: str) -> None:
        """A function that does something to rows lo…hi and, when one is guilty, finds out which."""
        function = q(self.schema, name)
        run(
            connection,
            f"""
CREATE OR REPLACE FUNCTION {function}(lo bigint, hi bigint) RETURNS void LANGUAGE plpgsql AS $taly$
BEGIN
  {body}
EXCEPTION WHEN {REJECTING} THEN
  IF lo >= hi THEN
    {reject}
  ELSE
    PERFORM {function}(lo, lo + (hi - lo) / 2);
    PERFORM {function}(lo + (hi - lo) / 2 + 1, hi);
  END IF;
END $taly$""",
        )

    def each(self, connection: psycopg.Connection, name: str, work: Work) -> None:
        """Run such a function over all staged rows."""
        last = number(connection, f"SELECT max(i) FROM {self.at('s', work)}")
        if last:
            run(connection, f"SELECT {q(self.schema, f'{name}_{work.n}')}(1, {last})")

    def there(self, work: Work, key: str) -> str:
        """Condition: the target has a row of this key."""
        assert work.target is not None
        return (
            f"EXISTS (SELECT FROM {work.target_only}{q(*work.target)} t"
            f" WHERE {there_is(work, key)})"
        )


def reason(text: str) -> str:
    """A reason as an SQL constant."""
    return lit(text)
