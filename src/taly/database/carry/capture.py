"""Capture of changes in the live database, so that a later pass costs what changed since."""

import time
from typing import Any

import psycopg

from taly.database.carry.sql import array, lit, number, q, rows, run
from taly.database.carry.work import Work, Works
from taly.errors import VendorUnavailable
from taly.model.ports import Say

PREFIX = "taly_carry_"
WAIT_S = 60.0
"""How long writers may keep a table from us before we give up."""

KEEPS_TEXT = (
    "SET datestyle = 'ISO, MDY' SET timezone = 'UTC' SET intervalstyle = 'postgres'"
    " SET extra_float_digits = 1 SET bytea_output = 'hex'"
)
"""The application's own settings must not decide how a key reads; only some types need it."""
HOLDERS = """
SELECT DISTINCT a.application_name, a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation = %s::regclass AND l.granted AND a.pid <> pg_backend_pid()
"""
PARTITIONS = """
SELECT n.nspname, c.relname FROM pg_partition_tree(%s::regclass) t
  JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.level > 0
"""
LEFT_BEHIND = f"""
SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, '{PREFIX}') ORDER BY 1
"""


TRIGGERS = """
SELECT t.tgrelid::regclass::text, t.oid::bigint, t.xmin::text, p.xmin::text
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid
WHERE p.pronamespace = %s::regnamespace AND t.tgparentid = 0 AND NOT c.relispartition
ORDER BY 1, 2
"""
NOTED = (
    "SELECT oid::bigint, pg_relation_filenode(oid)::bigint FROM pg_class WHERE oid = %s::regclass"
)


def schema_of(name: str) -> str:
    """The name of our schema, and the stem of our triggers'; PostgreSQL cuts at 63 bytes."""
    return (PREFIX + name).encode()[:59].decode(errors="ignore")


def left_behind(connection: psycopg.Connection) -> tuple[str, ...]:
    """Schemas of carry-overs that never ended, in this database."""
    return tuple(str(name) for (name,) in rows(connection, LEFT_BEHIND))


def install(connection: psycopg.Connection, works: Works, name: str, say: Say) -> tuple[int, ...]:
    """Note every change from now on; returns the tables for which we may not.

    The session must be in autocommit: one table after the other is locked, and only briefly.
    """
    remove(connection, name, say)
    schema = schema_of(name)
    run(connection, f"CREATE SCHEMA {q(schema)}")
    run(connection, f"REVOKE ALL ON SCHEMA {q(schema)} FROM PUBLIC")
    # Logged: an unlogged table is empty after a crash of the server, and nobody would know.
    run(
        connection,
        f"CREATE TABLE {q(schema, 'change')} (t integer NOT NULL, k text[], x xid8 NOT NULL)",
    )
    return tuple(work.n for work in works.tables if not _watch(connection, work, schema, say))


class Capture:
    """What noted the changes: whether it has been in place all the time."""

    def __init__(self, connection: psycopg.Connection, name: str) -> None:
        """As it is right after `install`."""
        self._schema = schema_of(name)
        self._triggers, self._table = self._read(connection)

    def check(self, connection: psycopg.Connection) -> None:
        """Raise VendorUnavailable when a trigger was switched off, even if it is on again.

        Each change of a trigger leaves a new version of its row in the catalog.
        """
        triggers, table = self._read(connection)
        changed = sorted({str(row[0]) for row in {*self._triggers} ^ {*triggers}})
        if changed or table != self._table:
            raise VendorUnavailable(
                "what notes the changes was switched off meanwhile:"
                f" {', '.join(changed) or self._schema}",
                reference="database-changed",
                hint="taly rollback   (it starts from scratch)",
            )

    def _read(
        self, connection: psycopg.Connection
    ) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        return (
            rows(connection, TRIGGERS, (q(self._schema),)),
            rows(connection, NOTED, (q(self._schema, "change"),)),
        )


def _watch(connection: psycopg.Connection, work: Work, schema: str, say: Say) -> bool:
    function = q(schema, f"note_{work.n}")
    run(connection, _function(work, schema, function))
    table = q(*work.source)
    create = f"CREATE TRIGGER {q(schema + '_all')} AFTER TRUNCATE"
    # A partition that is emptied by its own name does not tell its parent.
    every = [table, *(q(*one) for one in rows(connection, PARTITIONS, (table,)))]
    parts = [
        f"{create} ON {one} FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n"
        f"ALTER TABLE {one} ENABLE ALWAYS TRIGGER {q(schema + '_all')}"
        for one in every
    ]
    parts += [
        f"CREATE TRIGGER {q(schema + '_row')} AFTER INSERT OR UPDATE OR DELETE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION {function}()",
        # Whatever session_replication_role the writer has.
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {q(schema + '_row')}",
    ]
    try:
        patiently(connection, ";\n".join(parts), work, say)
    except psycopg.errors.InsufficientPrivilege:
        say(f"{work.label}: changes cannot be noted; it is compared as a whole in the end")
        return False
    return True


def _function(work: Work, schema: str, function: str) -> str:
    def key(row: str) -> str:
        return array(f"{row}.{q(name)}::text" for name in work.source_key)

    change = f"INSERT INTO {q(schema, 'change')} VALUES ({work.n}, "
    if not work.key:
        return f"""
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = '' AS $taly$
BEGIN
  {change} NULL, pg_current_xact_id());
  RETURN NULL;
END $taly$"""
    plain = all(work.columns[i].native for i in work.key)
    dated = any(
        work.columns[i].here.typname in ("timestamptz", "date", "timestamp", "bytea")
        for i in work.key
    )
    settings = "SET search_path = ''" + (f" {KEEPS_TEXT}" if dated or not plain else "")
    return f"""
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {settings} AS $taly$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    {change} NULL, pg_current_xact_id());
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    {change} {key("OLD")}, pg_current_xact_id());
  END IF;
  IF TG_OP = 'INSERT' THEN
    {change} {key("NEW")}, pg_current_xact_id());
  ELSIF TG_OP = 'UPDATE' AND {key("OLD")} <> {key("NEW")} THEN
    {change} {key("NEW")}, pg_current_xact_id());
  END IF;
  RETURN NULL;
END $taly$"""


def patiently(connection: psycopg.Connection, sql: str, work: Work, say: Say) -> None:
    """Run statements that need a table for themselves, trying again while others write to it."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            with connection.transaction():
                run(connection, sql)
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            found = rows(connection, HOLDERS, (q(*work.source),))
            who = ", ".join(f"{application or 'a session'} ({pid})" for application, pid in found)
            if time.monotonic() > end:
                raise VendorUnavailable(
                    f"table {work.label} is kept busy by {who or 'others'}",
                    reference="database-locked",
                    hint="taly rollback   (when it has ended)",
                ) from None
            say(f"waiting for {who or 'the writers'} of {work.label}")


def remove(connection: psycopg.Connection, name: str, say: Say) -> None:
    """Take the capture away again; nothing happens when there is none."""
    schema = schema_of(name)
    if not number(connection, f"SELECT count(*) FROM pg_namespace WHERE nspname = {lit(schema)}"):
        return
    held = rows(
        connection,
        "SELECT DISTINCT n.nspname, c.relname"
        " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE p.pronamespace = %s::regnamespace AND t.tgparentid = 0",
        (q(schema),),
    )
    for space, table in held:
        name_of = q(space, table)
        _drop(
            connection,
            f"DROP TRIGGER IF EXISTS {q(schema + '_row')} ON {name_of};"
            f"DROP TRIGGER IF EXISTS {q(schema + '_all')} ON {name_of}",
            f"{space}.{table}",
            say,
        )
    _drop(connection, f"DROP SCHEMA IF EXISTS {q(schema)} CASCADE", schema, say)


def _drop(connection: psycopg.Connection, sql: str, what: str, say: Say) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            with connection.transaction():
                run(connection, sql)
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > end:
                raise
            say(f"waiting for {what}, to take the capture away")


def pending(connection: psycopg.Connection, name: str, last: str, limit: int) -> int:
    """How many writes were noted since that snapshot, counted up to `limit`."""
    return number(
        connection,
        f"SELECT count(*) FROM (SELECT FROM {q(schema_of(name), 'change')}"
        f" WHERE NOT pg_visible_in_snapshot(x, {lit(last)}::pg_snapshot) LIMIT {limit}) c",
    )


def changed(name: str, work: Work, last: str) -> str:
    """Query: the keys of a table that changed since that snapshot, as far as this one sees."""
    return (
        f"SELECT DISTINCT k FROM {q(schema_of(name), 'change')}"
        f" WHERE t = {work.n} AND k IS NOT NULL"
        f" AND NOT pg_visible_in_snapshot(x, {lit(last)}::pg_snapshot)"
    )


def changed_tables(
    connection: psycopg.Connection, name: str, last: str
) -> tuple[set[int], set[int]]:
    """Tables that changed since that snapshot: all of them, and those to compare as a whole.

    The latter were truncated, or have no key.
    """
    found = rows(
        connection,
        f"SELECT t, bool_or(k IS NULL) FROM {q(schema_of(name), 'change')}"
        f" WHERE NOT pg_visible_in_snapshot(x, {lit(last)}::pg_snapshot) GROUP BY t",
    )
    return {int(n) for n, _ in found}, {int(n) for n, whole in found if whole}
