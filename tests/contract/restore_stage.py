"""A booking database, a bad release, and the means to take it back to before."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Identifier
from tests.contract.checkpoint_stage import Stage

from taly.database.checkpoint.contents import contents, tables
from taly.database.checkpoint.folder import Checkpoint
from taly.database.ledger import digest
from taly.database.restore import check, restore
from taly.database.snapshot import read_catalog
from taly.model.check import Finding
from taly.model.plan import Step, StepKind
from taly.model.ports import Say, silent
from taly.sandbox.server import Server

BASE = """
CREATE TYPE "Status" AS ENUM ('new', 'paid');
CREATE TABLE "Guest" ("id" SERIAL PRIMARY KEY, "Full Name" TEXT NOT NULL, "email" TEXT UNIQUE);
CREATE TABLE "Booking" (
    "id" UUID PRIMARY KEY DEFAULT gen_random_uuid(), "guest" INTEGER NOT NULL
      REFERENCES "Guest" ("id"), "status" "Status" NOT NULL DEFAULT 'new', "price" NUMERIC(10, 2),
    "note" TEXT
);
CREATE TABLE event (k BIGINT GENERATED ALWAYS AS IDENTITY, at DATE NOT NULL, what TEXT,
    PRIMARY KEY (k, at)) PARTITION BY RANGE (at);
CREATE TABLE event_old PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2026-01-01');
CREATE TABLE event_new PARTITION OF event DEFAULT;
CREATE MATERIALIZED VIEW totals AS SELECT "guest", sum("price") FROM "Booking" GROUP BY 1;
CREATE UNIQUE INDEX totals_guest ON totals ("guest");
"""
ROWS = """
INSERT INTO "Guest" ("Full Name", "email")
  SELECT 'guest ' || i, i || '@x' FROM generate_series(1, 300) i;
INSERT INTO "Booking" ("guest", "status", "price", "note")
  SELECT 1 + i % 300, 'new', i, CASE WHEN i % 3 = 0 THEN 'note ' || i END
  FROM generate_series(1, 1500) i;
INSERT INTO event (at, what) SELECT DATE '2025-06-01' + i, 'e' || i FROM generate_series(1, 400) i;
REFRESH MATERIALIZED VIEW totals;
"""
BAD = """
ALTER TABLE "Guest" RENAME COLUMN "Full Name" TO "name";
ALTER TABLE "Booking" DROP COLUMN "note";
ALTER TABLE "Booking" ADD COLUMN "channel" TEXT NOT NULL DEFAULT 'web';
ALTER TYPE "Status" ADD VALUE 'refunded';
CREATE TABLE "Review" ("id" SERIAL PRIMARY KEY, "text" TEXT NOT NULL);
"""
DATABASE = "booking"
OLD, NEW = "20250101_base", "20250202_bad"
LEFT = """
SELECT datname FROM pg_database WHERE datname LIKE '%taly\\_%' AND datname <> 'taly'
"""


class SteppingClock:
    """A clock that tells the stage's time."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits by the clock")


@dataclass
class Scene:
    """A stage on which a restore is played."""

    stage: Stage
    hints: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clock(self) -> SteppingClock:
        return SteppingClock(self.stage.now + timedelta(minutes=10))

    @property
    def environ(self) -> dict[str, str]:
        return {"DATABASE_URL": self.stage.url}

    def address(self, **more: str) -> dict[str, str]:
        stage = self.stage
        return {
            "url_env": "DATABASE_URL",
            "schema": "public",
            "place": stage.target.place,
            "directory": str(stage.migrations),
            "checkpoints": str(stage.base),
            "rescue": str(stage.folder / ".taly" / "rescue"),
            "hints": json.dumps(self.hints) if self.hints else "",
            **more,
        }

    def step(self, names: tuple[str, ...], **more: str) -> Step:
        return Step(
            id="restore:database",
            kind=StepKind.RESTORE,
            component="database",
            provider="postgres",
            title="restore",
            address=self.address(**more),
            wanted={"migrations": digest(names)},
        )

    def back(
        self, made: Checkpoint, run: str = "run-1aaaaa", say: Say = silent, **how: Any
    ) -> Mapping[str, str]:
        step = self.step((OLD,), checkpoint=made.name)
        key = f"{run}:{step.id}"
        return restore(step, key, environ=self.environ, clock=self.clock, say=say, **how)

    def undo(
        self,
        of: str,
        run: str = "run-2bbbbb",
        say: Say = silent,
        names: tuple[str, ...] = (OLD, NEW),
    ) -> Mapping[str, str]:
        step = self.step(names, undoes=of)
        return restore(step, f"{run}:{step.id}", environ=self.environ, clock=self.clock, say=say)

    def check(self, made: Checkpoint | None = None, **more: str) -> tuple[Finding, ...]:
        if made is not None:
            more["checkpoint"] = made.name
        return check(self.step((OLD,), **more), environ=self.environ)

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self.stage.url)._replace(path=f"/{database}"))

    def everything(self, database: str = DATABASE) -> tuple[Any, Any]:
        """Counts and checksums of all tables, and the schema, of one database."""
        with psycopg.connect(self.url_of(database)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SET search_path = ''")
            rows = [one for one in tables(connection) if one.name != "_prisma_migrations"]
            found = contents(connection, rows, lambda *_: None)
            catalog = read_catalog(connection, without=())
            return found, [
                (
                    one.schema,
                    one.name,
                    [(c.name, c.type) for c in one.columns],
                    one.owner,
                    one.grants,
                    [t.name for t in one.triggers],
                )
                for one in catalog.tables
            ] + list(catalog.schemas)

    def clear(self) -> None:
        """Drop everything that a run may have left on the server."""
        for (name,) in self.stage.run(LEFT):
            self.stage.run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def names(self) -> list[str]:
        """Databases on the server, but for the server's own and the checkpoints' copies."""
        ours = (name for name in self.stage.databases() if name.startswith(DATABASE))
        return sorted(name for name in ours if "_taly_2" not in name)


@contextmanager
def played(folder: Path, server: Server) -> Iterator[Scene]:
    """A database of its own for a test, with the old release in it."""
    stage = Stage(folder, server.create_database(DATABASE))
    try:
        yield scene_of(stage)
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            rows = connection.execute("SELECT datname FROM pg_database").fetchall()
            for (name,) in rows:
                if name.startswith(DATABASE):
                    drop = SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name))
                    connection.execute(drop)


def scene_of(stage: Stage) -> Scene:
    """The old release, with rows, ready for a checkpoint; the bad one lies in the checkout."""
    stage.migration(OLD, BASE)
    assert stage.deploy().code == "ok"
    stage.run(ROWS)
    stage.migration(NEW, BAD)
    return Scene(stage)
