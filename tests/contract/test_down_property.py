"""Random sequences of supported DDL: up and down again, the catalog is as before."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from postgast import split
from tests.migration_cases import BASE

from taly.database.snapshot import read_catalog
from taly.model.catalog import Catalog
from taly.planning.catalog_diff import differences
from taly.planning.down import derive

MORE = """
CREATE FUNCTION "touch"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER "touched" BEFORE UPDATE ON "Post" FOR EACH ROW EXECUTE FUNCTION "touch"();
CREATE VIEW "names" AS SELECT "id", "email" FROM "User";
ALTER TABLE "User" ADD CONSTRAINT "score_ok" CHECK ("score" >= 0);
CREATE TABLE "Tag" ("id" UUID PRIMARY KEY, "label" VARCHAR(20) DEFAULT 'x', "at" TIMESTAMPTZ(3),
  "n" INTEGER GENERATED ALWAYS AS IDENTITY, "roles" "Role"[], UNIQUE ("label", "at"));
"""
STATEMENTS = (
    'ALTER TABLE "User" ADD COLUMN "c{n}" TEXT DEFAULT \'a\'',
    'ALTER TABLE "User" ADD COLUMN "u{n}" INTEGER UNIQUE',
    'ALTER TABLE "Post" ADD COLUMN "r{n}" INTEGER REFERENCES "User"("id")',
    'ALTER TABLE "Post" ADD COLUMN "s{n}" SERIAL',
    'ALTER TABLE "User" ADD CHECK ("score" < {n}000)',
    'ALTER TABLE "Tag" ALTER COLUMN "label" TYPE TEXT',
    'ALTER TABLE "Tag" ALTER COLUMN "label" DROP DEFAULT',
    'ALTER TABLE "Tag" ALTER COLUMN "n" DROP IDENTITY',
    'ALTER TABLE "Tag" DROP COLUMN "label"',
    'ALTER TABLE "Tag" DROP COLUMN "roles"',
    'ALTER TABLE "User" ALTER COLUMN "score" TYPE BIGINT',
    'ALTER TABLE "User" ALTER COLUMN "name" SET NOT NULL',
    'ALTER TABLE "User" ALTER COLUMN "age" DROP NOT NULL',
    'ALTER TABLE "User" ALTER COLUMN "age" SET DEFAULT \'{n}\'',
    'ALTER TABLE "User" DROP CONSTRAINT "score_ok"',
    'ALTER TABLE "User" RENAME CONSTRAINT "score_ok" TO "k{n}"',
    'ALTER TABLE "Post" DROP CONSTRAINT "Post_authorId_fkey"',
    'ALTER TABLE "Post" DROP CONSTRAINT "Post_pkey"',
    'ALTER TABLE "User" RENAME COLUMN "name" TO "n{n}"',
    'ALTER TABLE "User" RENAME COLUMN "age" TO "name"',
    'ALTER TABLE "Tag" RENAME TO "t{n}"',
    'ALTER TABLE "Post" RENAME TO "Tag"',
    'ALTER TABLE "User" ENABLE ROW LEVEL SECURITY',
    'DROP TABLE "Post"',
    'DROP TABLE "Tag"',
    'DROP INDEX "User_email_key"',
    'ALTER INDEX "User_name_idx" RENAME TO "i{n}"',
    'CREATE INDEX ON "User"("score")',
    'CREATE UNIQUE INDEX "j{n}" ON "User"("name", "age")',
    "ALTER TYPE \"Role\" ADD VALUE 'V{n}'",
    "ALTER TYPE \"Role\" RENAME VALUE 'USER' TO 'W{n}'",
    'ALTER TYPE "Role" RENAME TO "Q{n}"',
    "CREATE TYPE \"Role\" AS ENUM ('X')",
    'CREATE TABLE "Post" ("id" SERIAL PRIMARY KEY, "a" INTEGER REFERENCES "User"("id"))',
    'CREATE TABLE "f{n}" ("id" SERIAL PRIMARY KEY)',
    'DROP VIEW "names"',
    'CREATE OR REPLACE VIEW "names" AS SELECT "id", "email", {n} AS "more" FROM "User"',
    'CREATE VIEW "v{n}" AS SELECT "score" FROM "User"',
    'DROP TRIGGER "touched" ON "Post"',
    'CREATE OR REPLACE FUNCTION "touch"() RETURNS trigger LANGUAGE plpgsql'
    " AS $$ BEGIN RETURN OLD; END $$",
    'CREATE FUNCTION "g{n}"("a" INTEGER) RETURNS INTEGER LANGUAGE sql AS $$ SELECT "a" $$',
    'CREATE SEQUENCE "q{n}"',
)


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url) as made:
        made.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        made.execute((BASE + MORE).encode())
        made.commit()
        yield made


def applied(connection: psycopg.Connection[Any], statements: list[str]) -> str:
    """The migration made of those statements that run, one after the other."""
    done = []
    for statement in statements:
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except psycopg.errors.DatabaseError:
            continue
        done.append(statement)
    return ";\n".join(done)


numbered = st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=9).map(
    lambda found: [text.format(n=n) for n, text in enumerate(found, 1)]
)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(statements=numbered, seen=st.booleans())
def test_up_and_down_is_as_before(
    connection: psycopg.Connection[Any], statements: list[str], seen: bool
) -> None:
    """`seen`: with the catalog after the migration at hand, else played from its text alone."""
    connection.execute("SELECT 1")  # begins the transaction that all of it is in
    before = read_catalog(connection)
    sql = applied(connection, statements)
    event("some ran" if sql else "none ran")
    after: Catalog | None = read_catalog(connection) if seen else None
    down = derive("m", sql, before, after=after)
    try:
        for statement in down.sql:
            connection.execute(statement.encode())
        left = [one.text for one in differences(before, read_catalog(connection))]
    except psycopg.Error as error:
        raise AssertionError(f"{sql}\n--\n{down.sql}\n{error}") from error
    finally:
        connection.rollback()
    assert not left or down.gaps, f"{sql}\n--\n{split(';'.join(down.sql))}"
