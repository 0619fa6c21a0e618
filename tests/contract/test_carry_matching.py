"""Both ways of matching two schemas, by OIDs and by the migrations' texts, on a real PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgast import split

from taly.database.snapshot import read_catalog
from taly.model.catalog import Catalog
from taly.planning.carry import Matched, correspond, pairs

BASE = """
CREATE TYPE "status" AS ENUM ('requested', 'confirmed', 'cancelled');
CREATE TYPE "Role" AS ENUM ('ADMIN', 'USER');
CREATE DOMAIN "email" AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE "rooms" ("id" serial PRIMARY KEY, "name" varchar(200) NOT NULL, "old" text);
CREATE TABLE "guests" ("id" uuid PRIMARY KEY, "mail" "email" NOT NULL, "roles" "Role"[],
  "full" text GENERATED ALWAYS AS ("id"::text) STORED);
CREATE TABLE "bookings" ("id" integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  "room" integer NOT NULL REFERENCES "rooms", "price" numeric(10,2) NOT NULL, "nights" integer,
  "status" "status" NOT NULL DEFAULT 'requested', "note" text);
CREATE TABLE "logs" ("at" timestamptz(3) NOT NULL, "line" text) PARTITION BY RANGE ("at");
CREATE TABLE "logs_1" PARTITION OF "logs" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE "things" ("id" integer PRIMARY KEY);
CREATE TABLE "heirs" ("more" text) INHERITS ("things");
"""
CASES = {
    "rename a table": 'ALTER TABLE "rooms" RENAME TO "Raum";',
    "rename a column": 'ALTER TABLE "bookings" RENAME COLUMN "note" TO "remark";',
    "rename in a ring": 'ALTER TABLE "bookings" RENAME "note" TO "x"; '
    'ALTER TABLE "bookings" RENAME "nights" TO "note"; '
    'ALTER TABLE "bookings" RENAME "x" TO "nights";',
    "drop a column": 'ALTER TABLE "bookings" DROP COLUMN "note";',
    "add a column": 'ALTER TABLE "bookings" ADD COLUMN "source" text NOT NULL DEFAULT \'web\';',
    "drop and add by one name": 'ALTER TABLE "bookings" DROP COLUMN "note", ADD "note" integer;',
    "drop and make a table": 'DROP TABLE "heirs"; CREATE TABLE "heirs" ("more" text);',
    "retype": 'ALTER TABLE "bookings" ALTER "price" TYPE integer USING round("price" * 100);',
    "widen": 'ALTER TABLE "bookings" ALTER "nights" TYPE bigint; '
    'ALTER TABLE "rooms" ALTER "name" TYPE text;',
    "add an enum's value": "ALTER TYPE \"status\" ADD VALUE 'waitlisted' BEFORE 'confirmed';",
    "rename an enum's value": "ALTER TYPE \"status\" RENAME VALUE 'cancelled' TO 'void';",
    "rename and add values": "ALTER TYPE \"status\" RENAME VALUE 'confirmed' TO 'sure'; "
    "ALTER TYPE \"status\" ADD VALUE 'confirmed'; "
    "ALTER TYPE \"status\" ADD VALUE 'late' AFTER 'requested';",
    "rename an enum": 'ALTER TYPE "Role" RENAME TO "Part";',
    "an enum made anew": "CREATE TYPE \"Role_new\" AS ENUM ('ADMIN', 'GUEST'); "
    'ALTER TABLE "guests" ALTER "roles" TYPE "Role_new"[] USING "roles"::text[]::"Role_new"[]; '
    'ALTER TYPE "Role" RENAME TO "Role_old"; ALTER TYPE "Role_new" RENAME TO "Role"; '
    'DROP TYPE "Role_old";',
    "move to a schema": 'CREATE SCHEMA "hotel"; ALTER TABLE "rooms" SET SCHEMA "hotel"; '
    'ALTER TYPE "status" SET SCHEMA "hotel";',
    "in a DO block": 'DO $$ BEGIN ALTER TABLE "bookings" RENAME COLUMN "note" TO "remark"; END $$;',
    "a new partition": 'CREATE TABLE "logs_2" PARTITION OF "logs" DEFAULT;',
    "everything at once": 'ALTER TABLE "bookings" RENAME TO "stays"; '
    'ALTER TABLE "stays" RENAME "price" TO "cents"; '
    'ALTER TABLE "stays" ALTER "cents" TYPE integer; ALTER TABLE "stays" DROP "note"; '
    'ALTER TYPE "status" RENAME TO "state"; ALTER TYPE "state" ADD VALUE \'waitlisted\'; '
    'CREATE TABLE "payments" ("id" integer PRIMARY KEY);',
}


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The base schema."""
    with psycopg.connect(postgres_url, autocommit=True) as made:
        made.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        made.execute(BASE.encode())
        yield made


def run(connection: psycopg.Connection[Any], sql: str) -> None:
    for statement in split(sql):
        connection.execute(statement.encode())


def both_ways(before: Catalog, live: Catalog, *texts: str) -> tuple[Matched, Matched]:
    named = [(f"m{number}", text) for number, text in enumerate(texts)]
    return (
        pairs(before, live, same_database=True, texts=named, schema="public"),
        pairs(before, live, same_database=False, texts=named, schema="public"),
    )


def as_sets(matched: Matched) -> tuple[Any, ...]:
    return (
        {(one.before, one.live, frozenset(one.columns)) for one in matched.tables},
        {(one.before, one.live, frozenset(one.labels)) for one in matched.enums},
    )


@pytest.mark.parametrize("name", CASES)
def test_oids_and_the_migrations_texts_give_the_same_pairs(
    connection: psycopg.Connection[Any], name: str
) -> None:
    before = read_catalog(connection)
    run(connection, CASES[name])
    live = read_catalog(connection)
    by_oid, by_text = both_ways(before, live, CASES[name])
    assert as_sets(by_oid) == as_sets(by_text)
    there = correspond(live, before, by_oid)
    assert there == correspond(live, before, by_text)
    assert there.gaps == ()
    for one in there.tables:  # every expression is of the source, and runs
        listed = ", ".join(pair.expression for pair in one.columns)
        tests = "".join(f", ({pair.fits})::boolean" for pair in one.columns if pair.fits)
        place = ".".join(f'"{part}"' for part in one.source)
        connection.execute(f"SELECT {listed}{tests} FROM {place} AS s".encode())


def test_a_renamed_schema_is_followed_by_both(connection: psycopg.Connection[Any]) -> None:
    before = read_catalog(connection)
    sql = 'ALTER SCHEMA "public" RENAME TO "b"; CREATE SCHEMA "public";'
    run(connection, sql)
    by_oid, by_text = both_ways(before, read_catalog(connection), sql)
    assert as_sets(by_oid) == as_sets(by_text)
    assert {one.live[0] for one in by_text.tables} == {"b"}
