"""A generated booking database of any size, with a bad migration and what users wrote since."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from taly.database.checkpoint.after import end_window
from taly.database.checkpoint.create import Order, create
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import Backup
from taly.database.connection import Target, target_of
from taly.sandbox.migrate import migrate_deploy
from taly.sandbox.server import find_server

CHANGED = 0.015
"""Share of all rows that users write between the bad migration and the rollback."""
PARTS = {"customers": 0.1, "bookings": 0.6, "payments": 0.3}
"""Table → share of all rows."""

INDEXES = {
    "customers_email_key": 'CREATE UNIQUE INDEX "customers_email_key" ON "customers" ("email")',
    "bookings_customer": 'CREATE INDEX "bookings_customer" ON "bookings" ("customer_id")',
    "bookings_starts_at": 'CREATE INDEX "bookings_starts_at" ON "bookings" ("starts_at")',
    "payments_booking": 'CREATE INDEX "payments_booking" ON "payments" ("booking_id")',
}
FIRST = """
CREATE TYPE "booking_status" AS ENUM ('requested', 'confirmed', 'cancelled');
CREATE TABLE "customers" (
  "id" UUID PRIMARY KEY, "email" TEXT NOT NULL, "name" TEXT NOT NULL,
  "created_at" TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE "bookings" (
  "id" BIGSERIAL PRIMARY KEY, "customer_id" UUID NOT NULL REFERENCES "customers" ("id"),
  "starts_at" TIMESTAMP NOT NULL, "status" "booking_status" NOT NULL DEFAULT 'requested',
  "price" NUMERIC(10, 2) NOT NULL, "note" TEXT, "channel" TEXT NOT NULL DEFAULT 'web'
);
CREATE TABLE "payments" (
  "id" UUID PRIMARY KEY, "booking_id" BIGINT NOT NULL REFERENCES "bookings" ("id"),
  "amount" NUMERIC(10, 2) NOT NULL, "paid_at" TIMESTAMPTZ NOT NULL DEFAULT now()
);
""" + ";\n".join(INDEXES.values())
BAD = """
ALTER TYPE "booking_status" ADD VALUE 'waitlisted';
ALTER TABLE "bookings" RENAME COLUMN "note" TO "remarks";
ALTER TABLE "bookings" DROP COLUMN "channel";
ALTER TABLE "bookings" ADD COLUMN "currency" TEXT;
CREATE TABLE "refunds" (
  "id" BIGSERIAL PRIMARY KEY, "payment_id" UUID NOT NULL REFERENCES "payments" ("id"),
  "amount" NUMERIC(10, 2) NOT NULL
);
"""
MIGRATIONS = {"20250101000000_first": FIRST, "20250407140000_bad": BAD}

CUSTOMERS = """
INSERT INTO customers (id, email, name, created_at)
SELECT md5('c' || n)::uuid, 'user' || n || '@example.com', 'Customer number ' || n,
  timestamptz '2024-01-01' + n * interval '1 minute' FROM generate_series(1, %(customers)s) n
"""
BOOKINGS = """
INSERT INTO bookings (customer_id, starts_at, status, price, note)
SELECT md5('c' || 1 + n %% %(customers)s)::uuid, timestamp '2024-01-01' + n * interval '7 minutes',
  (ARRAY['requested', 'confirmed', 'cancelled'])[1 + n %% 3]::booking_status,
  (n %% 20000) / 100.0, CASE WHEN n %% 4 = 0 THEN 'please call back, number ' || n END
FROM generate_series(1, %(bookings)s) n
"""
PAYMENTS = """
INSERT INTO payments (id, booking_id, amount)
SELECT md5('p' || n)::uuid, 1 + n %% %(bookings)s, (n %% 20000) / 100.0
FROM generate_series(1, %(payments)s) n
"""
USERS = (
    """INSERT INTO bookings (customer_id, starts_at, status, price, remarks, currency)
SELECT md5('c' || 1 + n %% %(customers)s)::uuid, now(),
  (ARRAY['requested', 'waitlisted'])[1 + (n %% 50 = 0)::int]::booking_status,
  10.5, 'new', CASE WHEN n %% 2 = 0 THEN 'EUR' END
FROM generate_series(1, %(changed)s / 3) n""",
    """UPDATE bookings SET remarks = 'changed by a user', price = price + 1
WHERE id %% (%(bookings)s / (%(changed)s / 3)) = 0""",
    "DELETE FROM payments WHERE booking_id %% (%(bookings)s * 3 / %(changed)s) = 1",
    """INSERT INTO refunds (payment_id, amount)
SELECT id, 1 FROM payments ORDER BY id LIMIT 1000""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A database that must go back, and the checkpoints from before its bad migration."""

    target: Target
    folder: Path
    checkpoints: Mapping[Backup, Checkpoint]
    rows: int


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server's empty database, for as long as the block runs."""
    with find_server(folder) as url:
        yield url


def booked(url: str, folder: Path, *, rows: int, backups: Sequence[Backup]) -> Booked:
    """Fill the empty database at `url`: rows, checkpoint, bad migration, users' writes since."""
    target = target_of({}, {"DATABASE_URL": url})
    folder.mkdir(parents=True, exist_ok=True)
    migrations = folder / "migrations"
    _deploy(url, migrations, "20250101000000_first")
    counts = {table: max(60, int(rows * share)) for table, share in PARTS.items()}
    counts["changed"] = max(30, int(rows * CHANGED))
    _fill(url, counts)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    (migrations / "20250407140000_bad").mkdir()
    (migrations / "20250407140000_bad" / "migration.sql").write_text(BAD)
    made = {backup: _checkpoint(target, folder, backup) for backup in backups}
    _deploy(url, migrations, "20250407140000_bad")
    closed = {backup: _closed(target, folder, one) for backup, one in made.items()}
    _run(url, *USERS, counts=counts)
    return Booked(target=target, folder=folder, checkpoints=closed, rows=rows)


def _checkpoint(target: Target, folder: Path, backup: Backup) -> Checkpoint:
    return create(
        Order(
            base=folder / "checkpoints",
            target=target,
            migrations=folder / "migrations",
            environment="bench",
            component="database",
            backup=backup,
            commit="",
            label=backup,
            by="bench",
            now=datetime.now(UTC),
            report=lambda what, done, whole: None,
            trial=False,
        )
    )


def _closed(target: Target, folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    return end_window(
        folder / "checkpoints",
        target,
        environment="bench",
        component="database",
        name=checkpoint.name,
        by="bench",
        now=datetime.now(UTC),
    )


def _deploy(url: str, migrations: Path, name: str) -> None:
    (migrations / name).mkdir(parents=True, exist_ok=True)
    (migrations / name / "migration.sql").write_text(MIGRATIONS[name])
    done = migrate_deploy(url, migrations, now=datetime.now(UTC))
    assert done.code == "ok", done


def _fill(url: str, counts: dict[str, int]) -> None:
    """The indexes are made afterwards, and keys that are made to fit are not checked one by one."""
    _run(
        url,
        "SET session_replication_role = replica",
        *(f'DROP INDEX "{name}"' for name in INDEXES),
        *(CUSTOMERS, BOOKINGS, PAYMENTS),
        *INDEXES.values(),
        counts=counts,
    )


def _run(url: str, *statements: str, counts: dict[str, int]) -> None:
    with psycopg.connect(url) as connection, psycopg.ClientCursor(connection) as cursor:
        for statement in statements:
            cursor.execute(statement.encode(), counts)
