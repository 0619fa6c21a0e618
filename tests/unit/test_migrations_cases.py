"""The 29 migrations that were run against real old clients, by name: what the verdict must be."""

from typing import NamedTuple

import pytest

from taly.planning.migrations import CatalogFacts, classify
from taly.planning.migrations.facts import EnumValueUsed, HasNulls, IndexInvalid, Question

BASE = """
CREATE TYPE "Role" AS ENUM ('ADMIN', 'USER');
CREATE TABLE "User" ("id" SERIAL NOT NULL, "email" TEXT NOT NULL, "name" TEXT,
  "role" "Role" NOT NULL DEFAULT 'USER',
  "age" TEXT NOT NULL DEFAULT '', "score" INTEGER NOT NULL DEFAULT 0,
  CONSTRAINT "User_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Post" ("id" SERIAL PRIMARY KEY, "authorId" INTEGER NOT NULL REFERENCES "User"("id"));
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
CREATE INDEX "User_name_idx" ON "User"("name");
"""


class Case(NamedTuple):
    """A migration, the verdict, and what undoing it would need."""

    sql: str
    verdict: str
    undo: str
    answers: dict[Question, bool] = {}  # noqa: RUF012 - a NamedTuple's default, never changed


USED = EnumValueUsed(type="Role", value="GUEST")
NULLS = HasNulls(table="User", column="email")
INVALID = IndexInvalid(index="User_name_key")
GUEST = """ALTER TYPE "Role" ADD VALUE 'GUEST';"""
OPTIONAL_EMAIL = 'ALTER TABLE "User" ALTER COLUMN "email" DROP NOT NULL;'
SHOUT = "AS $$ BEGIN RETURN NEW; END $$ LANGUAGE plpgsql;"

CASES = {
    "nullable column": Case('ALTER TABLE "User" ADD COLUMN "bio" TEXT;', "keep", "automatic"),
    "not null column with default": Case(
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT NOT NULL DEFAULT \'\';', "keep", "automatic"
    ),
    "create table": Case(
        'CREATE TABLE "Tag" ("id" SERIAL PRIMARY KEY, "userId" INTEGER REFERENCES "User"("id"));',
        "keep",
        "automatic",
    ),
    "create index": Case('CREATE INDEX "User_role_idx" ON "User"("role");', "keep", "automatic"),
    "add, backfill, set not null": Case(
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT; UPDATE "User" SET "bio" = "email";'
        'ALTER TABLE "User" ALTER COLUMN "bio" SET NOT NULL;',
        "revert",
        "automatic",
    ),
    "required column without default": Case(
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT NOT NULL;', "revert", "automatic"
    ),
    "set not null": Case(
        'ALTER TABLE "User" ALTER COLUMN "name" SET NOT NULL;', "revert", "automatic"
    ),
    "set not null after a backfill": Case(
        """UPDATE "User" SET "name" = '' WHERE "name" IS NULL;"""
        'ALTER TABLE "User" ALTER COLUMN "name" SET NOT NULL;',
        "revert",
        "data",
    ),
    "drop not null, no row is NULL": Case(OPTIONAL_EMAIL, "keep", "automatic", {NULLS: False}),
    "drop not null, a row is NULL": Case(OPTIONAL_EMAIL, "restore", "data", {NULLS: True}),
    "drop column": Case('ALTER TABLE "User" DROP COLUMN "name";', "restore", "data"),
    "drop table": Case('DROP TABLE "Post";', "restore", "data"),
    "rename column": Case(
        'ALTER TABLE "User" RENAME COLUMN "name" TO "fullName";', "revert", "automatic"
    ),
    "rename column as schema diffs emit it": Case(
        'ALTER TABLE "User" DROP COLUMN "name", ADD COLUMN "fullName" TEXT;', "restore", "data"
    ),
    "rename table": Case('ALTER TABLE "Post" RENAME TO "Article";', "revert", "automatic"),
    "text to integer": Case(
        'ALTER TABLE "User" ALTER COLUMN "age" TYPE INTEGER USING "age"::integer;',
        "restore",
        "data",
    ),
    "text to varchar(200)": Case(
        'ALTER TABLE "User" ALTER COLUMN "name" SET DATA TYPE VARCHAR(200);', "keep", "automatic"
    ),
    "integer to bigint": Case(
        'ALTER TABLE "User" ALTER COLUMN "score" SET DATA TYPE BIGINT;', "keep", "automatic"
    ),
    "enum value that no row uses": Case(GUEST, "keep", "automatic", {USED: False}),
    "enum value that a row uses": Case(GUEST, "restore", "data", {USED: True}),
    "create index concurrently": Case(
        'CREATE INDEX CONCURRENTLY "User_role_idx" ON "User"("role");', "keep", "automatic"
    ),
    "unique index concurrently that failed": Case(
        'CREATE UNIQUE INDEX CONCURRENTLY "User_name_key" ON "User"("name");',
        "keep",
        "automatic",
        {INVALID: True},
    ),
    "drop unique index": Case('DROP INDEX "User_email_key";', "revert", "catalog"),
    "drop plain index": Case('DROP INDEX "User_name_idx";', "keep", "catalog"),
    "update": Case('UPDATE "User" SET "score" = "score" * 10;', "keep", "data"),
    "delete": Case('DELETE FROM "Post" WHERE "id" < 100;', "keep", "data"),
    "check constraint": Case(
        'ALTER TABLE "User" ADD CONSTRAINT "score_ok" CHECK ("score" >= 0);', "keep", "automatic"
    ),
    "function": Case(f"CREATE FUNCTION shout() RETURNS trigger {SHOUT}", "keep", "automatic"),
    "trigger": Case(
        f"CREATE FUNCTION shout() RETURNS trigger {SHOUT}"
        'CREATE TRIGGER shouts BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION shout();',
        "keep",
        "automatic",
    ),
}


def facts(case: Case) -> CatalogFacts:
    """The base schema as the only earlier migration, and the case's answers."""
    return CatalogFacts(answers=case.answers, earlier=(BASE,), complete=True)


def test_there_are_29_cases() -> None:
    assert len(CASES) == 29


@pytest.mark.parametrize("name", CASES)
def test_verdict_and_undo(name: str) -> None:
    case = CASES[name]
    found = classify("20260301_case", case.sql, facts(case))
    assert (found.verdict, found.undo) == (case.verdict, case.undo), found.reasons
    if case.verdict != "keep":
        assert found.reasons


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict != "keep"])
def test_what_breaks_also_breaks_when_nothing_else_is_known(name: str) -> None:
    found = classify("20260301_case", CASES[name].sql, CatalogFacts())
    assert found.verdict != "keep", found.reasons


def test_failed_concurrent_index_is_named_invalid() -> None:
    case = CASES["unique index concurrently that failed"]
    assert any("INVALID" in reason for reason in classify("m", case.sql, facts(case)).reasons)


@pytest.mark.parametrize("sql", [GUEST, OPTIONAL_EMAIL, 'DROP INDEX "Other_email_key";'])
def test_a_question_without_an_answer_counts_against_keeping(sql: str) -> None:
    found = classify("m", sql, CatalogFacts(earlier=(BASE,), complete=True))
    assert found.verdict != "keep"
