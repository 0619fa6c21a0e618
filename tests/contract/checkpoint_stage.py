"""A database with everything odd in it, a checkout, and the means to make checkpoints of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from taly.database.checkpoint.after import end_window
from taly.database.checkpoint.create import Order, create
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import Backup
from taly.database.checkpoint.verify import Proof, verify
from taly.database.connection import Target, target_of
from taly.sandbox.migrate import Deployed, migrate_deploy

BASE = """
CREATE TYPE "Status" AS ENUM ('new', 'it''s done');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE "User" (
    "id" SERIAL PRIMARY KEY, "Full Name" TEXT NOT NULL DEFAULT '', "status" "Status",
    "price" NUMERIC, "blob" BYTEA, "tags" TEXT[], "doc" JSONB, "raw" JSON, "at" TIMESTAMPTZ,
    "ratio" DOUBLE PRECISION, "n" positive, "states" "Status"[], "spot" POINT,
    "twice" INTEGER GENERATED ALWAYS AS ("id" * 2) STORED
);
CREATE TABLE "Order" (
    "a" UUID DEFAULT gen_random_uuid(), "b" BIGINT GENERATED ALWAYS AS IDENTITY,
    "user id" INTEGER NOT NULL REFERENCES "User" ("id") ON DELETE CASCADE ON UPDATE CASCADE,
    PRIMARY KEY ("a", "b")
);
CREATE TABLE keyless (x INTEGER, y TEXT);
CREATE TABLE nothing ();
CREATE SCHEMA "Other One";
CREATE TABLE "Other One"."odd ""name"".x" (id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE parted (k INTEGER, v TEXT, PRIMARY KEY (k)) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
"""
ROWS = r"""
INSERT INTO "User" ("Full Name", "status", "price", "blob", "tags", "doc", "raw", "at", "ratio",
                    "n", "states", "spot") VALUES
  ('', 'new', 'NaN', '\x00ff5c0a09', '{}', '{"a": [1, null]}', '{"b":  2}', 'infinity', 'NaN',
   1, '{new,"it''s done"}', '(1,2)'),
  (E'tab\t line\n back\\slash \\N \\.', 'it''s done', 1.10, '', '{a,"b c",NULL}', 'null', '1',
   '-infinity', '-Infinity', 2, '{}', '(0.1,-0)'),
  ('日本 🎉', NULL, 1e100, NULL, NULL, NULL, NULL, '2024-02-29 12:00:00.123456+05', 1e-300,
   3, NULL, NULL);
INSERT INTO "Order" ("user id") SELECT 1 + i % 3 FROM generate_series(1, 50) i;
INSERT INTO keyless SELECT i % 3, NULLIF(i % 2, 0)::text FROM generate_series(1, 40) i;
INSERT INTO nothing SELECT FROM generate_series(1, 4);
INSERT INTO "Other One"."odd ""name"".x" SELECT i, repeat('x', i) FROM generate_series(1, 20) i;
INSERT INTO parted SELECT i, i::text FROM generate_series(1, 30) i;
"""
BAD = """
ALTER TABLE "User" RENAME COLUMN "Full Name" TO "name";
ALTER TABLE "User" DROP COLUMN "blob";
UPDATE "User" SET "price" = "price" * 10;
UPDATE keyless SET x = x + 1;
DELETE FROM parted WHERE k > 5;
DROP TABLE "Other One"."odd ""name"".x";
"""
NOW = datetime(2026, 11, 23, 13, 45, tzinfo=UTC)


def silent(what: str, done: int, whole: int) -> None:
    """No progress is shown."""


@dataclass
class Stage:
    """One database and its checkout."""

    folder: Path
    url: str
    target: Target = field(init=False)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.migrations.mkdir(parents=True)
        self.target = self.target_for(self.url)

    @property
    def base(self) -> Path:
        return self.folder / ".taly" / "checkpoints"

    @property
    def migrations(self) -> Path:
        return self.folder / "prisma" / "migrations"

    @property
    def password(self) -> str:
        return str(urlsplit(self.url).password)

    def target_for(self, url: str) -> Target:
        return target_of({"schema": "public"}, {"DATABASE_URL": url})

    def url_as(self, user: str, password: str) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))

    def migration(self, name: str, sql: str) -> None:
        """Put a migration into the checkout."""
        (self.migrations / name).mkdir()
        (self.migrations / name / "migration.sql").write_text(sql, "utf-8")

    def deploy(self, **how: Any) -> Deployed:
        """`prisma migrate deploy`."""
        return migrate_deploy(self.url, self.migrations, now=self.now, **how)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL by hand."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def databases(self) -> set[str]:
        """Names of all databases on the server."""
        return {str(name) for (name,) in self.run("SELECT datname FROM pg_database")}

    def order(self, backup: Backup = "none", **changes: Any) -> Order:
        self.now += timedelta(seconds=1)
        order = Order(
            base=self.base,
            target=self.target,
            migrations=self.migrations,
            environment="production",
            component="database",
            backup=backup,
            commit="18a3d05c590ee5056a319b57a75e692b48d1fe51",
            label="",
            by="ada",
            now=self.now,
            report=silent,
            trial=False,
        )
        return replace(order, **changes)

    def checkpoint(self, backup: Backup = "none", **changes: Any) -> Checkpoint:
        return create(self.order(backup, **changes))

    def after(self, name: str = "", **changes: Any) -> Checkpoint:
        given = {"environment": "production", "component": "database", "by": "ada"}
        return end_window(self.base, self.target, name=name, now=self.now, **{**given, **changes})

    def verify(self, checkpoint: Checkpoint, target: Target | None = None) -> Proof:
        return verify(checkpoint, target or self.target, silent)

    def about_to_go_bad(self) -> "Stage":
        """The odd database with its first migration applied and a bad one pending."""
        self.migration("20250101_base", BASE)
        assert self.deploy().code == "ok"
        self.run(ROWS)
        self.migration("20250202_bad", BAD)
        return self

    def drop_ours(self) -> None:
        """Drop the databases that taly made beside it."""
        for (name,) in self.run(r"SELECT datname FROM pg_database WHERE datname LIKE '%taly\_%'"):
            self.run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def left(self) -> list[str]:
        """What lies in the folder of checkpoints, hidden files included."""
        return sorted(path.name for path in self.base.iterdir()) if self.base.exists() else []


def once(action: Callable[[], object]) -> Callable[[str, int, int], None]:
    """A report that does something the first time it is called."""
    todo = [action]

    def report(what: str, done: int, whole: int) -> None:
        if todo:
            todo.pop()()

    return report
