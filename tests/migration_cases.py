"""The 29 migrations that were run against real old clients, with the schema before them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

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
    answers: Mapping[Question, bool] = MappingProxyType({})
    """What the live catalog says."""
    rows: str = ""
    """What the new code wrote afterwards, to make the answers true."""
    before: str = ""
    """What must be so in the rows for the migration to succeed."""


USED = EnumValueUsed(type="Role", value="GUEST")
NULLS = HasNulls(table="User", column="email")
INVALID = IndexInvalid(index="User_name_key")
GUEST = """ALTER TYPE "Role" ADD VALUE 'GUEST';"""
A_GUEST = """UPDATE "User" SET "role" = 'GUEST' WHERE "id" = 1"""
NULL_EMAIL = 'UPDATE "User" SET "email" = NULL WHERE "id" = 1'
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
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT NOT NULL;',
        "revert",
        "automatic",
        before='DELETE FROM "Post"; DELETE FROM "User"',
    ),
    "set not null": Case(
        'ALTER TABLE "User" ALTER COLUMN "name" SET NOT NULL;',
        "revert",
        "automatic",
        before="""UPDATE "User" SET "name" = 'x'""",
    ),
    "set not null after a backfill": Case(
        """UPDATE "User" SET "name" = '' WHERE "name" IS NULL;"""
        'ALTER TABLE "User" ALTER COLUMN "name" SET NOT NULL;',
        "revert",
        "data",
    ),
    "drop not null, no row is NULL": Case(OPTIONAL_EMAIL, "keep", "automatic", {NULLS: False}),
    "drop not null, a row is NULL": Case(
        OPTIONAL_EMAIL,
        "restore",
        "data",
        {NULLS: True},
        'UPDATE "User" SET "email" = NULL WHERE "id" = 1',
    ),
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
        'ALTER TABLE "User" ALTER COLUMN "age" DROP DEFAULT;'
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
    "enum value that a row uses": Case(
        GUEST,
        "restore",
        "data",
        {USED: True},
        """UPDATE "User" SET "role" = 'GUEST' WHERE "id" = 1""",
    ),
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
