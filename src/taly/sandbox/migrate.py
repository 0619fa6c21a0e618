"""`prisma migrate deploy`, as it treats the database: the ledger, the order, the refusals."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from postgast import split

LOCK = 72707369
"""The advisory lock that Prisma's schema engine takes around deploy and resolve."""
USUAL_S = 2.0
"""Virtual seconds between a migration's `started_at` and `finished_at`."""

# As prisma-engines makes it (flavour/postgres: create_migrations_table).
LEDGER = """
CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id                      VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum                VARCHAR(64) NOT NULL,
    finished_at             TIMESTAMPTZ,
    migration_name          VARCHAR(255) NOT NULL,
    logs                    TEXT,
    rolled_back_at          TIMESTAMPTZ,
    started_at              TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count     INTEGER NOT NULL DEFAULT 0
)
"""
UNFINISHED = """
SELECT migration_name FROM _prisma_migrations
WHERE finished_at IS NULL AND rolled_back_at IS NULL ORDER BY started_at LIMIT 1
"""
APPLIED = "SELECT migration_name FROM _prisma_migrations WHERE rolled_back_at IS NULL"
STARTED = """
INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at) VALUES (%s, %s, %s, %s)
"""
FINISHED = """
UPDATE _prisma_migrations SET finished_at = %s, applied_steps_count = 1 WHERE id = %s
"""
FAILED = "UPDATE _prisma_migrations SET logs = %s WHERE id = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a `migrate deploy` said and did."""

    code: str
    """`ok`, or Prisma's error code: P3009 (an unfinished row stops it), P3018 (it failed).

    `stopped`: a step of CI's job beside it failed, which `failed` names.
    """
    applied: tuple[str, ...]
    """Names applied by it."""
    failed: str = ""
    """The name of the migration that failed or that stopped it."""
    said: str = ""
    """The end of what the failed step printed."""


def migrate_deploy(
    url: str,
    migrations: Path,
    *,
    now: datetime,
    fail: str = "",
    half: bool = False,
) -> Deployed:
    """Apply every directory that has no live row, in the order of names, ending at `now`.

    `fail` names a migration that must fail; with `half`, all of its statements but the last stay
    applied, as from Prisma 7.4 on; else none, as before that.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        connection.execute(LEDGER)
        stopped = connection.execute(UNFINISHED).fetchone()
        if stopped is not None:
            return Deployed(code="P3009", applied=(), failed=str(stopped[0]))
        live = {str(name) for (name,) in connection.execute(APPLIED)}
        done: list[str] = []
        for file in sorted(migrations.glob("*/migration.sql")):
            name = file.parent.name
            if name in live:
                continue
            text = file.read_text(encoding="utf-8")
            if not _apply(connection, name, text, now=now, fail=name == fail, half=half):
                return Deployed(code="P3018", applied=tuple(done), failed=name)
            done.append(name)
    return Deployed(code="ok", applied=tuple(done))


def resolve_rolled_back(url: str, name: str, *, now: datetime) -> str:
    """`prisma migrate resolve --rolled-back`: `ok`, P3011 (unknown) or P3012 (it did not fail).

    As the real one it runs no SQL of the migration, and says `ok` for a name that once failed, was
    resolved and then applied, changing nothing.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        rows = connection.execute(
            "SELECT finished_at IS NULL, rolled_back_at IS NULL FROM _prisma_migrations"
            " WHERE migration_name = %s",
            (name,),
        ).fetchall()
        if not rows:
            return "P3011"
        if not any(unfinished for unfinished, _ in rows):
            return "P3012"
        connection.execute(
            "UPDATE _prisma_migrations SET rolled_back_at = %s"
            " WHERE migration_name = %s AND finished_at IS NULL AND rolled_back_at IS NULL",
            (now, name),
        )
    return "ok"


def ledger_rows(url: str) -> list[Mapping[str, object]]:
    """The ledger as it stands, oldest first; empty before the first deploy."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        known = connection.execute("SELECT to_regclass('_prisma_migrations') AS it").fetchone()
        if known is None or known["it"] is None:
            return []
        return list(connection.execute("SELECT * FROM _prisma_migrations ORDER BY started_at, id"))


def checksum(text: str) -> str:
    """The ledger's checksum of a migration.sql."""
    return hashlib.sha256(text.encode()).hexdigest()


def _apply(
    connection: psycopg.Connection,
    name: str,
    text: str,
    *,
    now: datetime,
    fail: bool,
    half: bool,
) -> bool:
    row_id = str(uuid.uuid4())
    started = now - timedelta(seconds=USUAL_S)
    connection.execute(STARTED, (row_id, checksum(text), name, started))
    try:
        if fail:
            _run_all_but_last(connection, text if half else "")
            raise psycopg.errors.RaiseException("injected by the sandbox")
        with connection.transaction():
            connection.execute(text.encode())
    except psycopg.Error as error:
        connection.execute(FAILED, (_logs(name, error), row_id))
        return False
    connection.execute(FINISHED, (now, row_id))
    return True


def _run_all_but_last(connection: psycopg.Connection, text: str) -> None:
    for statement in split(text)[:-1]:
        connection.execute(statement.encode())


def _logs(name: str, error: psycopg.Error) -> str:
    # The wording of prisma-engines' ApplyMigrationError, which people search for.
    return (
        "A migration failed to apply. New migrations cannot be applied before the error is"
        " recovered from. Read more about how to resolve migration issues in a production database:"
        f" https://pris.ly/d/migrate-resolve\n\nMigration name: {name}\n\n"
        f"Database error code: {error.sqlstate}\n\nDatabase error:\nERROR: {error}\n"
    )
